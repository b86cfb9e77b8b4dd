//! The content of records, from Chroma's metadata tables: one row is one key and value, or one element of an array.
//! A value that cannot be read makes its record unreadable, and no other.

use rusqlite::{Connection, Result, params_from_iter};

use super::schema::Columns;
use super::tables::{CHUNK, placeholders};
use super::values::{Keyed, Read, keyed};
use crate::model::Value;
use crate::store::files::log::queue::{Content, DOCUMENT, URI};

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
