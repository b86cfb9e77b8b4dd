//! A record in the forms that Chroma keeps it in: the columns of its tables, and the texts of its log. Pure: runs no query.
//! Measured on 1.0.20 and 1.5.9; `twin` compares it with what the engine makes.

use rusqlite::types::{ToSqlOutput, ValueRef};
use serde_json::{Map, Number, Value as Json};

use crate::model::{Record, Value};
use crate::store::files::log::queue::{DOCUMENT, URI};

/// The columns of a value: string, integer, float, truth.
pub(super) type Columns<'a> = [ToSqlOutput<'a>; 4];

/// No value.
pub(super) const NULL: ToSqlOutput<'static> = ToSqlOutput::Borrowed(ValueRef::Null);

/// Text as `SQLite` takes it.
pub(super) const fn text(text: &str) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
}

/// The columns of one scalar. An array has none: each of its elements is a row.
pub(super) fn columns(value: &Value) -> Columns<'_> {
    let one = |value| ToSqlOutput::Borrowed(value);
    match value {
        Value::Str(of) => [text(of), NULL, NULL, NULL],
        Value::Int(of) => [NULL, one(ValueRef::Integer(*of)), NULL, NULL],
        Value::Float(of) => [NULL, NULL, one(ValueRef::Real(*of)), NULL],
        Value::Bool(of) => [NULL, NULL, NULL, one(ValueRef::Integer(i64::from(*of)))],
        Value::List(_) => [NULL, NULL, NULL, NULL],
    }
}

/// What the log says of a record beside its vector.
///
/// # Errors
/// A sentence about a number that JSON does not have.
pub(super) fn document(record: &Record) -> Result<String, String> {
    let mut all = Map::new();
    for (key, value) in &record.metadata {
        all.insert(key.clone(), json(value).ok_or_else(|| format!("its metadata {key:?} is NaN or infinite"))?);
    }
    for (key, text) in [(DOCUMENT, &record.document), (URI, &record.uri)] {
        if let Some(text) = text {
            all.insert(key.to_owned(), Json::String(text.clone()));
        }
    }
    serde_json::to_string(&all).map_err(|error| error.to_string())
}

fn json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Str(text) => Json::String(text.clone()),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) => Json::Number(Number::from_f64(*number)?),
        Value::Bool(truth) => Json::Bool(*truth),
        Value::List(values) => Json::Array(values.iter().map(json).collect::<Option<_>>()?),
    })
}

/// A vector as the log keeps it.
pub(super) fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}
