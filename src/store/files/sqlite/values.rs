//! The typed columns of Chroma's tables: a text, or the one column of several that holds a value.
//! Never guesses: what fits no type is a sentence that says so.

use rusqlite::types::ValueRef;
use rusqlite::{Result, Row};

use crate::model::Value;

/// What a value is, or why it cannot be read.
pub(super) type Read<T> = std::result::Result<T, String>;

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

/// A `seq_id`: a big-endian blob up to 0.6, an integer later.
///
/// # Errors
/// When it is neither.
pub(super) fn seq_id(row: &Row<'_>, column: usize) -> Result<Option<i64>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(n) => Ok(Some(n)),
        ValueRef::Blob(bytes) if bytes.len() <= 24 => {
            let value = bytes.iter().try_fold(0i64, |n, b| n.checked_mul(256)?.checked_add(i64::from(*b)));
            value.map(Some).ok_or_else(|| rusqlite::Error::IntegralValueOutOfRange(column, i64::MAX))
        }
        other => Err(rusqlite::Error::InvalidColumnType(column, "seq_id".to_owned(), other.data_type())),
    }
}
