//! One cell of an answer's column: what it should hold, nothing, or JSON of another kind, which then spoils its own record
//! and no other. Knows no record and sends nothing.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A cell.
#[derive(Debug, Default)]
pub(super) enum Part<T> {
    /// What is wanted.
    Is(T),
    /// `null`, or the column was not asked for.
    #[default]
    Absent,
    /// JSON of another kind, in a person's words.
    Odd(&'static str),
}

impl<T> Part<T> {
    /// What is there; an error says that it is of another kind than `what` is.
    pub(super) fn held(self, what: &str) -> Result<Option<T>, String> {
        match self {
            Self::Is(value) => Ok(Some(value)),
            Self::Absent => Ok(None),
            Self::Odd(kind) => Err(format!("the server answers {kind} as {what}")),
        }
    }
}

/// What a cell may hold: one kind of JSON. The other kinds are read to their end and give None.
pub(super) trait Shape: Sized {
    /// From a text.
    fn of_text(_: &str) -> Option<Self> {
        None
    }

    /// From an array.
    fn of_array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<Option<Self>, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// From an object.
    fn of_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A cell that holds a text.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl Shape for Text {
    fn of_text(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
}

impl<'de, T: Shape> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

struct Any<T>(PhantomData<T>);

impl<'de, T: Shape> Visitor<'de> for Any<T> {
    type Value = Part<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cell")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Part<T>, E> {
        Ok(Part::Odd("true or false"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Part<T>, E> {
        Ok(Part::Odd("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Part<T>, E> {
        Ok(Part::Odd("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Part<T>, E> {
        Ok(Part::Odd("a number"))
    }

    fn visit_unit<E>(self) -> Result<Part<T>, E> {
        Ok(Part::Absent)
    }

    fn visit_str<E>(self, text: &str) -> Result<Part<T>, E> {
        Ok(T::of_text(text).map_or(Part::Odd("a text"), Part::Is))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Part<T>, A::Error> {
        Ok(T::of_array(array)?.map_or(Part::Odd("an array"), Part::Is))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Part<T>, A::Error> {
        Ok(T::of_object(object)?.map_or(Part::Odd("an object"), Part::Is))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_json_is_a_cell_and_only_one_is_the_right_one() {
        for (json, expected) in [
            (r#""x""#, Ok(Some("x".to_owned()))),
            ("null", Ok(None)),
            ("1", Err("a number")),
            ("-1.5", Err("a number")),
            ("18446744073709551615", Err("a number")),
            ("true", Err("true or false")),
            (r#"[1,["x"],{}]"#, Err("an array")),
            (r#"{"a":{"b":[]}}"#, Err("an object")),
        ] {
            let cells: Vec<Part<Text>> = serde_json::from_str(&format!("[{json},null]")).unwrap();
            let held = cells.into_iter().next().unwrap().held("its document").map(|text| text.map(|text| text.0));
            let expected = expected.map_err(|kind| format!("the server answers {kind} as its document"));
            assert_eq!(held, expected, "{json}");
        }
    }
}
