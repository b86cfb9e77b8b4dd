//! The typed columns of Chroma's tables: a text, or the one column of several that holds a value.
//! A value that is not as Chroma writes it is read as Chroma's own client of that version reads it, and said.

use rusqlite::types::ValueRef;
use rusqlite::{Result, Row};

use super::python;
use crate::model::Value;
use crate::store::files::log::queue::{DOCUMENT, URI};
use crate::store::odd::Odd;

/// A name of a table, an index or a column, as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What a value is, or why it cannot be read.
pub(super) type Read<T> = std::result::Result<T, String>;

/// A key and its value, as Chroma's own client reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Keyed {
    /// The key.
    pub(super) key: String,
    /// Its value; None where the record is read without it.
    pub(super) value: Option<Value>,
    /// What is odd about it.
    pub(super) odd: Option<Odd>,
}

/// The typed columns of a value, in the order in which Chroma looks at them.
const COLUMNS: [&str; 4] = ["string_value", "int_value", "float_value", "bool_value"];

/// Which client reads a value that is not as Chroma writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Up to 0.6: the first column that is not null, whatever its type; of a bool all but 1 is false (measured on 0.4.24 and
    /// 0.6.3).
    Python,
    /// From 1.0 on: the first column that holds its own type, and of a bool all but 0 is true (measured on 1.0.20 and 1.5.9).
    Rust,
}

/// A key and its value, from five columns that begin at `first`: key, string, int, float, bool.
///
/// # Errors
/// `SQLite`'s; inside, why Chroma's own client cannot read it either.
pub(super) fn keyed(row: &Row<'_>, first: usize, client: Client) -> Result<Read<Keyed>> {
    let key = match text(row, first)? {
        Ok(key) => key,
        Err(why) => return Ok(Err(format!("one of its metadata keys {why}"))),
    };
    let columns = [row.get_ref(first + 1)?, row.get_ref(first + 2)?, row.get_ref(first + 3)?, row.get_ref(first + 4)?];
    let read = if key == DOCUMENT || key == URI { text_value(columns, client) } else { value(columns, client) };
    Ok(match read {
        Ok((value, odd)) => Ok(Keyed { key, value, odd }),
        Err(why) => Err(format!("its metadata {key:?} {why}")),
    })
}

/// The one column that holds a value says its type.
fn value(columns: [ValueRef<'_>; 4], client: Client) -> Read<(Option<Value>, Option<Odd>)> {
    const NULL: ValueRef<'_> = ValueRef::Null;
    let found = match columns {
        [ValueRef::Text(bytes), NULL, NULL, NULL] => {
            std::str::from_utf8(bytes).ok().map(|text| Value::Str(text.to_owned()))
        }
        [NULL, ValueRef::Integer(n), NULL, NULL] => Some(Value::Int(n)),
        [NULL, NULL, ValueRef::Real(x), NULL] if x.is_finite() => Some(Value::Float(x)),
        [NULL, NULL, NULL, ValueRef::Integer(n @ (0 | 1))] => Some(Value::Bool(n == 1)),
        _ => None,
    };
    match found {
        Some(value) => Ok((Some(value), None)),
        None => odd(columns, client).map(|(value, odd)| (value, Some(odd))),
    }
}

/// What the client makes of columns that Chroma does not write so.
fn odd(columns: [ValueRef<'_>; 4], client: Client) -> Read<(Option<Value>, Odd)> {
    let held = || COLUMNS.iter().zip(columns).filter(|(_, held)| *held != ValueRef::Null);
    let has = |(column, held): (&&str, ValueRef<'_>)| format!("{} in {column}", kind(held));
    let all = held().map(has).collect::<Vec<_>>().join(" and ");
    let is_bool = |column: &str| column == COLUMNS[3];
    let read = match client {
        Client::Python => held().next().map(|(column, held)| match held {
            _ if is_bool(column) => {
                // the column makes an integer of 1.0
                Ok(Some(Value::Bool(held == ValueRef::Integer(1))))
            }
            // SQLite's Python module fails on the whole answer
            ValueRef::Text(bytes) => {
                utf8(bytes).map(|text| Some(Value::Str(text))).map_err(|why| format!("in {column} {why}"))
            }
            ValueRef::Integer(n) => Ok(Some(Value::Int(n))),
            ValueRef::Real(x) => Ok(Some(Value::Float(x))),
            ValueRef::Blob(_) | ValueRef::Null => Ok(None),
        }),
        Client::Rust => COLUMNS
            .iter()
            .zip(columns)
            .find_map(|(column, held)| match (*column, held) {
                ("string_value", ValueRef::Text(bytes)) => utf8(bytes).ok().map(Value::Str),
                ("int_value", ValueRef::Integer(n)) => Some(Value::Int(n)),
                ("float_value", ValueRef::Real(x)) => Some(Value::Float(x)),
                ("bool_value", ValueRef::Integer(n)) => Some(Value::Bool(n != 0)),
                _ => None,
            })
            .map(|value| Ok(Some(value))),
    };
    let value = match read.transpose()? {
        None if all.is_empty() => return Ok((None, Odd::nothing())),
        Some(Some(Value::Float(x))) if !x.is_finite() => return Ok((None, Odd::infinite())),
        read => read.flatten(),
    };
    // Python's client shows bytes, which JSON does not have
    let is_lost = value.is_none() && client == Client::Python;
    let how = match &value {
        Some(value) => format!("was read as {}, as Chroma's client reads it", kind_of(value)),
        None if is_lost => "was left out, for no copy can hold it".to_owned(),
        None => "was left out, as Chroma's client leaves it out".to_owned(),
    };
    Ok((value, Odd { what: format!("holds {all} and {how}"), is_lost }))
}

/// A document or uri. Chroma from 1.0 on answers null for what is no text; the older ones the text that Python makes of it,
/// and nothing at all for a text that is no UTF-8 (measured on 0.4.24, 0.5.23, 0.6.3, 1.0.20 and 1.5.9, client and server).
fn text_value(columns: [ValueRef<'_>; 4], client: Client) -> Read<(Option<Value>, Option<Odd>)> {
    if let [ValueRef::Text(bytes), ValueRef::Null, ValueRef::Null, ValueRef::Null] = columns
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Ok((Some(Value::Str(text.to_owned())), None));
    }
    let held = || COLUMNS.iter().zip(columns).filter(|(_, held)| *held != ValueRef::Null);
    let all = held().map(|(column, held)| format!("{} in {column}", kind(held))).collect::<Vec<_>>().join(" and ");
    let text = match client {
        Client::Python => match held().next() {
            Some((column, held)) => {
                Some(python::text(held, *column == COLUMNS[3]).map_err(|why| format!("in {column} {why}"))?)
            }
            None => None,
        },
        Client::Rust => match columns[0] {
            ValueRef::Text(bytes) => utf8(bytes).ok(),
            _ => None,
        },
    };
    let how = match &text {
        Some(_) => "was read as text",
        None => "was left out",
    };
    let all = if all.is_empty() { "nothing" } else { &all };
    let what = format!("holds {all} and {how}, as Chroma's client reads it");
    Ok((text.map(Value::Str), Some(Odd { what, is_lost: false })))
}

fn kind(held: ValueRef<'_>) -> String {
    match held {
        ValueRef::Null => "nothing".to_owned(),
        ValueRef::Integer(n) => format!("the integer {n}"),
        ValueRef::Real(x) => format!("the number {x}"),
        ValueRef::Text(bytes) if std::str::from_utf8(bytes).is_err() => "a text that is no UTF-8".to_owned(),
        ValueRef::Text(_) => "a text".to_owned(),
        ValueRef::Blob(_) => "bytes".to_owned(),
    }
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Str(_) => "that text",
        Value::Int(_) => "that integer",
        Value::Float(_) => "that number",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::List(_) => "an array",
    }
}

/// A text column, of any bytes that are UTF-8, NUL included.
///
/// # Errors
/// `SQLite`'s; inside, why it is no text.
pub(super) fn text(row: &Row<'_>, column: usize) -> Result<Read<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => utf8(bytes),
        other => Err(format!("is of type {}", other.data_type())),
    })
}

fn utf8(bytes: &[u8]) -> Read<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|e| format!("is no UTF-8 ({e})"))
}

/// A `seq_id`: a big-endian blob up to 0.6, an integer later; None for anything else.
///
/// # Errors
/// `SQLite`'s.
pub(super) fn seq_id(row: &Row<'_>, column: usize) -> Result<Option<i64>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(n) => Some(n),
        ValueRef::Blob(bytes @ [_, ..]) => {
            bytes.iter().try_fold(0i64, |n, b| n.checked_mul(256)?.checked_add(i64::from(*b)))
        }
        _ => None,
    })
}

/// What is in a column, for a sentence: "a text".
///
/// # Errors
/// `SQLite`'s.
pub(super) fn what(row: &Row<'_>, column: usize) -> Result<String> {
    row.get_ref(column).map(|held| match held {
        ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()),
        other => kind(other),
    })
}

/// A text column that should be UTF-8: what can be shown of it, and what is wrong with it.
///
/// # Errors
/// `SQLite`'s.
pub(super) fn shown(row: &Row<'_>, column: usize) -> Result<(String, Option<String>)> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => match utf8(bytes) {
            Ok(text) => (text, None),
            Err(why) => (String::from_utf8_lossy(bytes).into_owned(), Some(why)),
        },
        other => (String::new(), Some(format!("is of type {}", other.data_type()))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the clients of 0.4.24, 0.6.3, 1.0.20 and 1.5.9 read the same rows.
    /// As client and server of five versions answer for the same rows.
    #[test]
    fn a_document_that_is_no_text_is_read_as_the_client_reads_it() {
        use ValueRef::{Blob, Integer, Null, Real, Text};
        let cases = [
            ([Null, Integer(5), Null, Null], Some("5"), None),
            ([Blob(b"abc"), Null, Null, Null], Some("b'abc'"), None),
            ([Null, Null, Real(1.5), Null], Some("1.5"), None),
            ([Null, Null, Null, Integer(1)], Some("True"), None),
            ([Text(b"text"), Integer(3), Null, Null], Some("text"), Some("text")),
            ([Null; 4], None, None),
        ];
        for (columns, python, rust) in cases {
            for (client, expected) in [(Client::Python, python), (Client::Rust, rust)] {
                let (found, odd) = text_value(columns, client).unwrap();
                assert_eq!(found, expected.map(|text| Value::Str(text.to_owned())), "{columns:?} {client:?}");
                assert!(!odd.unwrap().is_lost, "{columns:?} {client:?}");
            }
        }
        let no_text = [Text(b"a\xffb"), Null, Null, Null];
        assert!(text_value(no_text, Client::Python).unwrap_err().contains("in string_value is no UTF-8"));
        assert_eq!(text_value(no_text, Client::Rust).unwrap().0, None);
        assert_eq!(
            text_value([Text(b"a"), Null, Null, Null], Client::Rust).unwrap(),
            (Some(Value::Str("a".into())), None)
        );
    }

    #[test]
    fn a_value_that_chroma_does_not_write_is_read_as_its_client_reads_it() {
        use ValueRef::{Blob, Integer, Null, Real, Text};
        let (str, int, float) =
            (|s: &str| Some(Value::Str(s.to_owned())), |n| Some(Value::Int(n)), |x| Some(Value::Float(x)));
        let bool = |b| Some(Value::Bool(b));
        let cases = [
            ([Null, Null, Null, Integer(7)], bool(false), bool(true)),
            ([Null, Null, Null, Text(b"abc")], bool(false), None),
            ([Null, Null, Null, Real(1.5)], bool(false), None),
            ([Null, Text(b"abc"), Null, Null], str("abc"), None),
            ([Null, Real(1.5), Null, Null], float(1.5), None),
            ([Null, Blob(b"\x01"), Null, Null], None, None),
            ([Null, Null, Text(b"abc"), Null], str("abc"), None),
            ([Text(b"s"), Integer(1), Null, Null], str("s"), str("s")),
            ([Text(b"s"), Null, Null, Integer(7)], str("s"), str("s")),
            ([Null, Integer(1), Real(1.5), Null], int(1), int(1)),
            ([Null, Integer(3), Null, Integer(1)], int(3), int(3)),
            ([Null, Null, Real(1.5), Integer(1)], float(1.5), float(1.5)),
            ([Null, Text(b"abc"), Real(1.5), Null], str("abc"), float(1.5)),
            ([Blob(b"abc"), Null, Null, Null], None, None),
        ];
        for (columns, python, rust) in cases {
            for (client, expected) in [(Client::Python, &python), (Client::Rust, &rust)] {
                let (value, odd) = value(columns, client).unwrap();
                assert_eq!(value, *expected, "{columns:?} {client:?}");
                let odd = odd.unwrap();
                assert_eq!(odd.is_lost, value.is_none() && client == Client::Python, "{odd:?}");
            }
        }
        for client in [Client::Python, Client::Rust] {
            let no_number = |x| value([Null, Null, Real(x), Null], client);
            assert_eq!(no_number(f64::NEG_INFINITY), Ok((None, Some(Odd::infinite()))));
            assert_eq!(value([Null; 4], client), Ok((None, Some(Odd::nothing()))));
            assert_eq!(value([Null, Null, Null, Integer(1)], client), Ok((bool(true), None)));
        }
        let no_text = [Text(b"a\xff"), Null, Null, Null];
        assert!(value(no_text, Client::Python).unwrap_err().contains("is no UTF-8"));
        assert_eq!(value(no_text, Client::Rust).unwrap().0, None);
    }
}
