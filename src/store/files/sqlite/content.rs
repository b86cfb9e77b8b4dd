//! The content of records, from Chroma's metadata tables: one row is one key and value, or one element of an array.
//! A value that cannot be read makes its record unreadable, and no other.

use rusqlite::{Connection, OptionalExtension as _, Result, params_from_iter};

use super::around::Pages;
use super::connection::is_corrupt;
use super::schema::Columns;
use super::tables::{CHUNK, placeholders};
use super::values::{Client, Keyed, Read, keyed, quoted};
use super::walks::{Error, Walks};
use crate::model::Value;
use crate::store::files::log::queue::{Content, DOCUMENT, URI};
use crate::store::files::system::Stamp;

/// The content of each of these rows of `embeddings`, by sorted numbers; empty for a row without any metadata. An inner
/// error is for that record only. Where a page of an index cannot be read, the rows are found by `detour`.
///
/// # Errors
/// See [`Error`].
pub fn contents(
    db: &Connection,
    columns: Columns,
    numbers: &[i64],
    detour: Detour<'_>,
) -> std::result::Result<Vec<Read<Content>>, Error> {
    let mut contents: Vec<Read<Content>> = numbers.iter().map(|_| Ok(Content::default())).collect();
    if detour.pages.is_missing("embedding_metadata") {
        let lost = || Err("its document and its metadata are lost with SQLite's table embedding_metadata".to_owned());
        return Ok(numbers.iter().map(|_| lost()).collect());
    }
    let bools = if columns.record_bools { "bool_value" } else { "NULL" };
    let client = columns.client;
    let scalars = Values { table: "embedding_metadata", bools, order: "", client };
    let mut take = |at: usize, item: Read<Keyed>| {
        amend(&mut contents[at], |content| {
            item.and_then(|Keyed { key, value, odd }| content.set_or_drop(key, value, odd))
        });
    };
    scalars.each(db, numbers, detour, &mut take)?;
    // where the store holds no array, none is looked for
    let any = || db.prepare_cached("SELECT 1 FROM embedding_metadata_array")?.exists([]);
    if columns.arrays && any().or_else(|e| if is_corrupt(&e) { Ok(true) } else { Err(e) })? {
        // Elements have no number of their own: they were inserted in order.
        let arrays = Values { table: "embedding_metadata_array", bools: "bool_value", order: "ORDER BY rowid", client };
        let mut take = |at: usize, item: Read<Keyed>| {
            amend(&mut contents[at], |content| append(content, item?));
        };
        arrays.each(db, numbers, detour, &mut take)?;
    }
    Ok(contents)
}

/// How rows are found where a page of an index cannot be read.
#[derive(Clone, Copy, Debug)]
pub struct Detour<'a> {
    /// Walks through tables.
    pub walks: &'a Walks,
    /// Where bad pages are noted.
    pub pages: &'a Pages,
    /// The state of the database; None where it has just changed.
    pub stamp: Option<Stamp>,
}

/// A table of values.
#[derive(Clone, Copy)]
struct Values<'a> {
    table: &'static str,
    bools: &'a str,
    order: &'a str,
    client: Client,
}

impl Values<'_> {
    /// What is selected, and of which table.
    fn selected(self) -> String {
        format!("id, key, string_value, int_value, float_value, {} FROM {}", self.bools, self.table)
    }

    /// Calls `take` with every row and the place of its number: by the index where that can be read and agrees with the table.
    fn each(
        self,
        db: &Connection,
        numbers: &[i64],
        detour: Detour<'_>,
        take: &mut impl FnMut(usize, Read<Keyed>),
    ) -> std::result::Result<(), Error> {
        let Self { table, order, client, .. } = self;
        if detour.pages.is_at_odds(table) {
            return self.by_both(db, numbers, detour, take);
        }
        let by_index = format!("SELECT {} WHERE id IN ({}) {order}", self.selected(), placeholders());
        // what the index gave before it failed is taken back
        let mut found = Vec::new();
        match each(db, &by_index, numbers, client, |at, item| found.push((at, item))) {
            Ok(()) => found.into_iter().for_each(|(at, item)| take(at, item)),
            Err(e) if is_corrupt(&e) => {
                detour.pages.note(table, &e, true);
                return self.by_both(db, numbers, detour, take);
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// As `each`, by a walk through the table, which gives all rows and none twice. A row that only the index names is lost.
    fn by_both(
        self,
        db: &Connection,
        numbers: &[i64],
        detour: Detour<'_>,
        take: &mut impl FnMut(usize, Read<Keyed>),
    ) -> std::result::Result<(), Error> {
        let Self { table, client, .. } = self;
        let Some(walk) = detour.walks.of(db, table, detour.stamp)? else {
            detour.pages.lose(table);
            return self.one_by_one(db, numbers, take);
        };
        let mut statement = db.prepare_cached(&format!("SELECT {} NOT INDEXED WHERE rowid = ?", self.selected()))?;
        let index = index_of(db, table)?;
        for (at, number) in numbers.iter().enumerate() {
            let rowids = walk.rowids(*number)?;
            let named = index.as_ref().map_or_else(|| Ok(Vec::new()), |index| named(db, table, index, *number))?;
            let lost = named.iter().filter(|row| !rowids.contains(row)).count();
            for rowid in rowids {
                let row = statement.query_row([rowid], |row| keyed(row, 1, client));
                take(at, row.optional()?.unwrap_or_else(|| Err(format!("a value of it {LOST}"))));
            }
            if lost > 0 {
                detour.pages.lose(table);
                take(at, Err(format!("{lost} of its values {LOST}")));
            }
        }
        Ok(())
    }

    /// As `each`, where pages of the table are lost: what stood on one is a matter of its records.
    fn one_by_one(
        self,
        db: &Connection,
        numbers: &[i64],
        take: &mut impl FnMut(usize, Read<Keyed>),
    ) -> std::result::Result<(), Error> {
        let Self { table, order, client, .. } = self;
        let mut statement = db.prepare_cached(&format!("SELECT {} WHERE id = ? {order}", self.selected()))?;
        for (at, number) in numbers.iter().enumerate() {
            let mut step = || -> Result<()> {
                let mut rows = statement.query([number])?;
                while let Some(row) = rows.next()? {
                    take(at, keyed(row, 1, client)?);
                }
                Ok(())
            };
            match step() {
                Err(e) if is_corrupt(&e) => {
                    take(
                        at,
                        Err(format!(
                            "its document or metadata stood on a page of SQLite's table {table} that cannot be read ({e})"
                        )),
                    );
                }
                read => read?,
            }
        }
        Ok(())
    }
}

/// Why a record lacks values.
const LOST: &str =
    "stood in rows of SQLite's metadata tables that are lost: an index names them, and the table does not have them";

/// The index that leads from a record's number to its rows, and holds nothing else of them than their key.
fn index_of(db: &Connection, table: &str) -> Result<Option<String>> {
    let sql = "SELECT l.name FROM pragma_index_list(?1) l JOIN pragma_index_info(l.name) i \
               WHERE l.partial = 0 AND i.seqno = 0 AND i.name = 'id'";
    db.prepare_cached(sql)?.query_row([table], |row| row.get(0)).optional()
}

/// The rows of a record that an index names; those on a page of it that cannot be read, it does not.
fn named(db: &Connection, table: &str, index: &str, number: i64) -> Result<Vec<i64>> {
    let sql = format!("SELECT rowid FROM {table} INDEXED BY {} WHERE id = ?1", quoted(index));
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([number])?;
    let mut found = Vec::new();
    loop {
        match rows.next() {
            Ok(Some(row)) => found.push(row.get(0)?),
            Ok(None) => return Ok(found),
            Err(e) if is_corrupt(&e) => return Ok(found),
            Err(e) => return Err(e),
        }
    }
}

/// Calls `take` with every row and the place of its number.
fn each(
    db: &Connection,
    sql: &str,
    numbers: &[i64],
    client: Client,
    mut take: impl FnMut(usize, Read<Keyed>),
) -> Result<()> {
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
                take(n * CHUNK + at, keyed(row, 1, client)?);
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

fn append(content: &mut Content, Keyed { key, value, odd }: Keyed) -> Read<()> {
    let value = value.ok_or_else(|| NOTHING.to_owned())?;
    content.odd.extend(odd.map(|odd| (key.clone(), odd)));
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
const NOTHING: &str = "one of its metadata arrays holds what is no text, number or bool, or is NaN or infinite";
