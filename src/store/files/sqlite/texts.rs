//! Holds the documents of records against the full-text table, which has each of them once more. Works inside the caller's transaction;
//! which of the two is right it does not say.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, Result, Rows};

use super::tables::has;
use super::values::shown;
use crate::store::files::log::queue::{DOCUMENT, Operation};

/// Records of one segment whose document and full-text row contradict each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Documents without their full-text row.
    pub unindexed: u64,
    /// Full-text rows of records that have no document.
    pub undocumented: u64,
    /// Full-text rows with another text than the document.
    pub differing: u64,
    /// The first of these records.
    pub ids: Vec<String>,
}

/// Records that are named.
const NAMED: usize = 20;

impl Texts {
    fn name(&mut self, id: String) {
        if self.ids.len() < NAMED && !self.ids.contains(&id) {
            self.ids.push(id);
        }
    }
}

/// By METADATA segment. `born`: the migrations that the store was made with.
///
/// # Errors
/// `SQLite`'s.
pub(super) fn of(db: &Connection, born: &BTreeMap<String, i64>) -> Result<HashMap<String, Texts>> {
    const FULL_TEXT: &str = "embedding_fulltext_search_docsize";
    let mut found = HashMap::new();
    // that migration gave the table the numbers of other rows
    if !has(db, FULL_TEXT)? || born.get("metadb").is_some_and(|version| *version < 3) {
        return Ok(found);
    }
    // Up to 0.4.24 a deleted record leaves its full-text row (measured; 0.5.23 and newer do not).
    let strict = born.get("sysdb").is_some_and(|version| *version >= 9);
    numbers(db, FULL_TEXT, strict, &mut found)?;
    contents(db, &mut found)?;
    Ok(found)
}

/// One of the numbers that come in order.
struct Numbers<'s>(Rows<'s>);

impl Numbers<'_> {
    fn next(&mut self) -> Result<Option<i64>> {
        self.0.next()?.map(|row| row.get(0)).transpose()
    }
}

/// Documents and full-text rows are listed in the order of their numbers, and no text is read.
fn numbers(db: &Connection, full_text: &str, strict: bool, found: &mut HashMap<String, Texts>) -> Result<()> {
    // Up to 0.6.3 a record that is written with a null for its document gets a full-text row without a text (measured).
    let mut text_of = db.prepare("SELECT c0 IS NULL FROM embedding_fulltext_search_content WHERE id = ?1")?;
    let by_key = "SELECT name FROM pragma_index_list('embedding_metadata') WHERE origin = 'pk'";
    let index: Option<String> = db.query_row(by_key, [], |row| row.get(0)).optional()?;
    let Some(index) = index else { return Ok(()) };
    let documents =
        format!("SELECT id FROM embedding_metadata INDEXED BY \"{index}\" WHERE key = 'chroma:document' ORDER BY id");
    let mut rows = db.prepare("SELECT id, segment_id, embedding_id FROM embeddings NOT INDEXED ORDER BY id")?;
    let (mut documents, mut texts) =
        (db.prepare(&documents)?, db.prepare(&format!("SELECT id FROM {full_text} ORDER BY id"))?);
    let (mut rows, mut documents, mut texts) =
        (rows.query([])?, Numbers(documents.query([])?), Numbers(texts.query([])?));
    let (mut document, mut text) = (documents.next()?, texts.next()?);
    // where a number is given again, a text may be that of a record that is gone: the log tells
    let mut left = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let has_document = reaches(&mut documents, &mut document, number)?;
        let has_text = reaches(&mut texts, &mut text, number)?;
        if has_document == has_text || (has_text && text_of.query_row([number], |row| row.get(0))?) {
            continue;
        }
        let (segment, id) = (row.get::<_, String>(1)?, shown(row, 2)?.0);
        if has_text && !strict {
            left.push((segment, id));
            continue;
        }
        let texts = found.entry(segment).or_default();
        texts.unindexed += u64::from(has_document);
        texts.undocumented += u64::from(has_text);
        texts.name(id);
    }
    for (segment, id) in documented(db, left)? {
        let texts = found.entry(segment).or_default();
        texts.undocumented += 1;
        texts.name(id);
    }
    Ok(())
}

/// Moves on to a number; whether it is there.
fn reaches(numbers: &mut Numbers<'_>, current: &mut Option<i64>, number: i64) -> Result<bool> {
    while let Some(known) = *current {
        match known.cmp(&number) {
            Ordering::Less => *current = numbers.next()?,
            Ordering::Equal => return Ok(true),
            Ordering::Greater => return Ok(false),
        }
    }
    Ok(false)
}

/// What the log says of a record's document, from its first entry on.
#[derive(Clone, Copy, Default)]
struct Logged {
    exists: bool,
    has_document: bool,
}

impl Logged {
    fn take(&mut self, operation: Operation, says: Option<bool>) {
        match operation {
            Operation::Delete => *self = Self::default(),
            Operation::Add if self.exists => {}
            Operation::Update if !self.exists => {}
            _ => (self.exists, self.has_document) = (true, says.unwrap_or(self.has_document)),
        }
    }
}

/// Those of these records, each with its segment, that have a document by the log. What was purged from it, it does not tell.
fn documented(db: &Connection, records: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
    if records.is_empty() {
        return Ok(records);
    }
    let mut collections = db.prepare("SELECT id, collection FROM segments WHERE typeof(collection) = 'text'")?;
    let collections: HashMap<String, String> =
        collections.query_map([], |row| Ok((shown(row, 0)?.0, shown(row, 1)?.0)))?.collect::<Result<_>>()?;
    let wanted: HashSet<&str> = records.iter().map(|(_, id)| id.as_str()).collect();
    let mut logged: HashMap<(String, String), Logged> = HashMap::new();
    let mut statement = db.prepare("SELECT topic, id, operation, metadata FROM embeddings_queue ORDER BY seq_id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (Ok(topic), Ok(id)) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str()) else { continue };
        let Some(operation) = row.get_ref(2)?.as_i64().ok().and_then(Operation::from_code) else { continue };
        let Some((_, collection)) = topic.rsplit_once('/').filter(|_| wanted.contains(id)) else { continue };
        let says = row.get_ref(3)?.as_str().ok().and_then(says);
        logged.entry((collection.to_owned(), id.to_owned())).or_default().take(operation, says);
    }
    let is_documented = |(segment, id): &(String, String)| {
        let collection = collections.get(segment)?;
        logged.get(&(collection.clone(), id.clone())).map(|logged| logged.has_document)
    };
    Ok(records.into_iter().filter(|one| is_documented(one) == Some(true)).collect())
}

/// Whether an entry of the log gives its record a document, or takes it; None where it says nothing of it.
fn says(json: &str) -> Option<bool> {
    let entry: serde_json::Value = serde_json::from_str(json).ok()?;
    entry.get(DOCUMENT).map(|text| !text.is_null())
}

/// Texts that are not the same.
fn contents(db: &Connection, found: &mut HashMap<String, Texts>) -> Result<()> {
    let sql = "SELECT e.segment_id, e.embedding_id FROM embedding_metadata m NOT INDEXED \
               CROSS JOIN embedding_fulltext_search_content c ON c.id = m.id CROSS JOIN embeddings e ON e.id = m.id \
               WHERE m.key = ?1 AND c.c0 IS NOT NULL AND m.string_value IS NOT c.c0";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([DOCUMENT])?;
    while let Some(row) = rows.next()? {
        let texts = found.entry(shown(row, 0)?.0).or_default();
        texts.differing += 1;
        texts.name(shown(row, 1)?.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Operation::{Add, Delete, Update, Upsert};
    use super::*;

    #[test]
    fn the_log_says_whether_a_record_has_a_document() {
        assert_eq!(says(r#"{"chroma:document": "text", "n": 1}"#), Some(true));
        assert_eq!(says(r#"{"chroma:document": null}"#), Some(false));
        assert_eq!(says(r#"{"n": {"chroma:document": 1}}"#), None);
        let (with, without, silent) = (Some(true), Some(false), None);
        for (log, expected) in [
            (&[][..], false),
            (&[(Add, with)], true),
            (&[(Add, with), (Update, silent)], true),
            (&[(Add, with), (Update, without)], false),
            (&[(Add, with), (Delete, silent), (Add, silent)], false),
            (&[(Add, silent), (Add, with)], false),
            (&[(Update, with)], false),
            (&[(Upsert, with), (Upsert, silent)], true),
        ] {
            let mut logged = Logged::default();
            for (operation, says) in log {
                logged.take(*operation, *says);
            }
            assert_eq!(logged.has_document, expected, "{log:?}");
        }
    }
}
