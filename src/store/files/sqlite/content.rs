//! The typed columns of Chroma's metadata tables: one row is one key and value, or one element of an array.
//! Never guesses: a value that fits no type makes its record unreadable.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result, Row, params_from_iter};

use super::schema::Columns;
use super::tables::{CHUNK, placeholders};
use crate::model::Value;
use crate::store::files::log::queue::{Content, DOCUMENT, URI};

/// What a value is, or why it cannot be read.
type Read<T> = std::result::Result<T, String>;

/// The content of each of these rows of `embeddings`, by sorted numbers; empty for a row without any metadata. An inner
/// error is for that record only.
///
/// # Errors
/// `SQLite`'s.
pub fn contents(db: &Connection, columns: Columns, numbers: &[i64]) -> Result<Vec<Read<Content>>> {
    let mut contents: Vec<Read<Content>> = numbers.iter().map(|_| Ok(Content::default())).collect();
    let bools = if columns.record_bools { "bool_value" } else { "NULL" };
    let scalars =
        format!("SELECT id, key, string_value, int_value, float_value, {bools} FROM embedding_metadata WHERE id IN");
    each(db, &format!("{scalars} ({})", placeholders()), numbers, |at, item| {
        amend(&mut contents[at], |content| item.and_then(|(key, value)| content.set_or_drop(key, value)));
    })?;
    // where the store holds no array, none is looked for
    if columns.arrays && db.prepare_cached("SELECT 1 FROM embedding_metadata_array")?.exists([])? {
        // Elements have no number of their own: they were inserted in order.
        let arrays = format!(
            "SELECT id, key, string_value, int_value, float_value, bool_value FROM embedding_metadata_array \
             WHERE id IN ({}) ORDER BY rowid",
            placeholders()
        );
        each(db, &arrays, numbers, |at, item| {
            let item = item.and_then(|(key, value)| value.map(|value| (key, value)).ok_or_else(|| NOTHING.to_owned()));
            amend(&mut contents[at], |content| item.and_then(|(key, value)| append(content, key, value)));
        })?;
    }
    Ok(contents)
}

/// Calls `take` with every row and the place of its number.
fn each(db: &Connection, sql: &str, numbers: &[i64], mut take: impl FnMut(usize, Read<Keyed>)) -> Result<()> {
    let mut statement = db.prepare_cached(sql)?;
    for (n, chunk) in numbers.chunks(CHUNK).enumerate() {
        let padded = chunk.iter().map(|n| Some(*n)).chain(std::iter::repeat(None)).take(CHUNK);
        let mut rows = statement.query(params_from_iter(padded))?;
        let mut last = 0;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            // the rows of one number mostly come one after the other
            let at = if chunk.get(last) == Some(&number) { Ok(last) } else { chunk.binary_search(&number) };
            if let Ok(at) = at {
                take(n * CHUNK + at, keyed(row, 1)?);
                last = at;
            }
        }
    }
    Ok(())
}

fn amend(content: &mut Read<Content>, change: impl FnOnce(&mut Content) -> Read<()>) {
    if let Ok(known) = content
        && let Err(why) = change(known)
    {
        *content = Err(why);
    }
}

fn append(content: &mut Content, key: String, value: Value) -> Read<()> {
    if key == DOCUMENT || key == URI {
        return Err(format!("its {key} is an array"));
    }
    match content.metadata.entry(key).or_insert_with(|| Value::List(Vec::new())) {
        Value::List(items) => {
            if items.first().is_some_and(|first| std::mem::discriminant(first) != std::mem::discriminant(&value)) {
                return Err("one of its metadata arrays holds values of two types".to_owned());
            }
            items.push(value);
            Ok(())
        }
        _ => Err("one of its metadata keys is both a value and an array".to_owned()),
    }
}

/// Why an element of an array has no value.
const NOTHING: &str = "one of its metadata arrays holds NaN or infinity";

/// A key and its value; None for NaN and infinity, which `SQLite` keeps as null and as itself, and JSON not at all.
pub(super) type Keyed = (String, Option<Value>);

/// A key and its value, from five columns that begin at `first`: key, string, int, float, bool.
///
/// # Errors
/// `SQLite`'s; inside, why the value cannot be read.
pub(super) fn keyed(row: &Row<'_>, first: usize) -> Result<Read<Keyed>> {
    let key = match text(row, first)? {
        Ok(key) => key,
        Err(why) => return Ok(Err(format!("one of its metadata keys {why}"))),
    };
    let columns = [row.get_ref(first + 1)?, row.get_ref(first + 2)?, row.get_ref(first + 3)?, row.get_ref(first + 4)?];
    Ok(value(columns).map_err(|why| format!("its metadata {key:?} {why}")).map(|value| (key, value)))
}

/// The one column that holds a value says its type.
fn value(columns: [ValueRef<'_>; 4]) -> Read<Option<Value>> {
    let foreign = |column: &str, found: ValueRef<'_>| format!("holds a {} in the column {column}", found.data_type());
    match columns {
        [text, ValueRef::Null, ValueRef::Null, ValueRef::Null] if text != ValueRef::Null => match text {
            ValueRef::Text(bytes) => utf8(bytes).map(Value::Str).map(Some),
            other => Err(foreign("string_value", other)),
        },
        [ValueRef::Null, int, ValueRef::Null, ValueRef::Null] if int != ValueRef::Null => match int {
            ValueRef::Integer(n) => Ok(Some(Value::Int(n))),
            other => Err(foreign("int_value", other)),
        },
        [ValueRef::Null, ValueRef::Null, float, ValueRef::Null] if float != ValueRef::Null => match float {
            ValueRef::Real(x) => Ok(Some(x).filter(|x| x.is_finite()).map(Value::Float)),
            other => Err(foreign("float_value", other)),
        },
        [ValueRef::Null, ValueRef::Null, ValueRef::Null, bool] if bool != ValueRef::Null => match bool {
            ValueRef::Integer(n @ (0 | 1)) => Ok(Some(Value::Bool(n == 1))),
            other => Err(foreign("bool_value", other)),
        },
        [ValueRef::Null, ValueRef::Null, ValueRef::Null, ValueRef::Null] => Ok(None),
        _ => Err("has values of two types".to_owned()),
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
