//! Puts mutants into a store's files: rows of its tables, the log's bytes, the index's bytes. The tables' layout is that of
//! 1.5.9. Judges nothing.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value as Json, json};

use super::catalogue::{Field, Mutant};
use super::described::Described;
use super::records::{DIMENSION, Record};

/// A stopped store, opened for writing.
pub(crate) struct Files<'a> {
    folder: &'a Path,
    tables: Connection,
    collection: String,
    vectors: String,
    metadata: String,
}

impl<'a> Files<'a> {
    pub(crate) fn open(folder: &'a Path, name: &str) -> Self {
        let tables = Connection::open(folder.join("chroma.sqlite3")).unwrap();
        let one = |sql: &str, of: &str| -> String { tables.query_row(sql, [of], |row| row.get(0)).unwrap() };
        let collection = one("select id from collections where name = ?", name);
        let vectors = one("select id from segments where scope = 'VECTOR' and collection = ?", &collection);
        let metadata = one("select id from segments where scope = 'METADATA' and collection = ?", &collection);
        Self { folder, tables, collection, vectors, metadata }
    }

    /// Makes `after` of what is `before`.
    pub(crate) fn change(&self, before: &[Record], after: &[Record]) {
        // all at once: two records that exchange their vectors could not be told apart after the first one
        self.alter_index(before, after);
        for (n, old) in before.iter().enumerate() {
            // in place, or (where one was taken out) by its id
            let in_place = after.get(n).filter(|_| before.len() == after.len());
            match in_place.or_else(|| after.iter().find(|one| one.id == old.id)) {
                None => self.remove(&old.id),
                Some(new) if new != old => self.alter(old, new),
                Some(_) => {}
            }
        }
        for new in after.iter().skip(before.len()) {
            self.insert(new);
        }
    }

    fn row(&self, id: &str) -> i64 {
        let sql = "select id from embeddings where segment_id = ? and embedding_id = ?";
        self.tables.query_row(sql, [&self.metadata, id], |row| row.get(0)).unwrap()
    }

    fn topic(&self) -> String {
        format!("persistent://default/default/{}", self.collection)
    }

    fn remove(&self, id: &str) {
        let row = self.row(id);
        self.clear(row);
        self.tables.execute("delete from embeddings where id = ?", [row]).unwrap();
        self.tables.execute("delete from embeddings_queue where topic = ? and id = ?", [&self.topic(), id]).unwrap();
    }

    fn clear(&self, row: i64) {
        for table in ["embedding_metadata", "embedding_metadata_array"] {
            self.tables.execute(&format!("delete from {table} where id = ?"), [row]).unwrap();
        }
        self.tables.execute("delete from embedding_fulltext_search where rowid = ?", [row]).unwrap();
    }

    fn insert(&self, new: &Record) {
        let last = "select max(coalesce((select max(seq_id) from embeddings), 0), \
                    coalesce((select max(seq_id) from embeddings_queue), 0))";
        let seq_id: i64 = self.tables.query_row(last, [], |row| row.get(0)).unwrap();
        let sql = "insert into embeddings (segment_id, embedding_id, seq_id) values (?, ?, ?)";
        self.tables.execute(sql, params![self.metadata, new.id, seq_id + 1]).unwrap();
        self.fill(self.tables.last_insert_rowid(), new);
        let sql = "insert into embeddings_queue (seq_id, operation, topic, id, vector, encoding, metadata) \
                   values (?, 0, ?, ?, ?, 'FLOAT32', '{}')";
        self.tables.execute(sql, params![seq_id + 1, self.topic(), new.id, bytes(&new.vector)]).unwrap();
    }

    fn fill(&self, row: i64, record: &Record) {
        let texts = [("chroma:document", &record.document), ("chroma:uri", &record.uri)];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key, json!(text.as_ref()?))));
        let metadata = record.metadata.iter().map(|(key, value)| (key.as_str(), value.clone()));
        for (key, value) in texts.chain(metadata) {
            match value {
                Json::Array(items) => {
                    for item in &items {
                        self.value("embedding_metadata_array", row, key, item);
                    }
                }
                value => self.value("embedding_metadata", row, key, &value),
            }
        }
        if let Some(document) = &record.document {
            let sql = "insert into embedding_fulltext_search (rowid, string_value) values (?, ?)";
            self.tables.execute(sql, params![row, document]).unwrap();
        }
    }

    fn value(&self, table: &str, row: i64, key: &str, value: &Json) {
        let sql = |column| format!("insert into {table} (id, key, {column}) values (?, ?, ?)");
        let done = match value {
            Json::String(text) => self.tables.execute(&sql("string_value"), params![row, key, text]),
            Json::Bool(value) => self.tables.execute(&sql("bool_value"), params![row, key, value]),
            Json::Number(n) if n.is_f64() => self.tables.execute(&sql("float_value"), params![row, key, n.as_f64()]),
            Json::Number(n) => self.tables.execute(&sql("int_value"), params![row, key, n.as_i64()]),
            other => panic!("{other} is no metadata"),
        };
        done.unwrap();
    }

    fn alter(&self, old: &Record, new: &Record) {
        let row = self.row(&old.id);
        if new.vector != old.vector {
            self.alter_log(&old.id, &new.vector);
        }
        self.clear(row);
        self.fill(row, new);
        if new.id != old.id {
            self.tables.execute("update embeddings set embedding_id = ? where id = ?", params![new.id, row]).unwrap();
            let sql = "update embeddings_queue set id = ? where topic = ? and id = ?";
            self.tables.execute(sql, [&new.id, &self.topic(), &old.id]).unwrap();
        }
    }

    fn alter_log(&self, id: &str, vector: &[f32]) {
        let bytes = (!vector.is_empty()).then(|| bytes(vector));
        let sql = "update embeddings_queue set vector = ? where topic = ? and id = ?";
        self.tables.execute(sql, params![bytes, self.topic(), id]).unwrap();
    }

    /// Writes the new vectors into the rows of the index that have the old ones, whatever their length: cosine keeps unit
    /// vectors.
    fn alter_index(&self, before: &[Record], after: &[Record]) {
        let index = self.folder.join(&self.vectors);
        let (Ok(header), Ok(mut rows)) = (fs::read(index.join("header.bin")), fs::read(index.join("data_level0.bin")))
        else {
            return;
        };
        let number = |at: usize| usize::try_from(u64::from_le_bytes(header[at..at + 8].try_into().unwrap())).unwrap();
        let (count, size, data) = (number(20), number(28), number(44));
        let new_of = |old: &Record| after.iter().find(|one| one.id == old.id).filter(|one| one.vector != old.vector);
        for at in (0..count).map(|n| n * size + data) {
            let held = &mut rows[at..at + 4 * DIMENSION];
            let floats: Vec<f32> = held.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
            let found = before.iter().find_map(|old| Some((scale(&floats, &old.vector)?, old)));
            let Some((scale, old)) = found else { continue };
            let Some(new) = new_of(old) else { continue };
            let altered: Vec<f32> =
                (0..DIMENSION).map(|n| altered(floats[n], old.vector[n], new.vector.get(n), scale)).collect();
            held.copy_from_slice(&bytes(&altered));
        }
        fs::write(index.join("data_level0.bin"), rows).unwrap();
    }

    /// Another collection in the same place.
    pub(crate) fn describe(&self, mutant: &Mutant, described: &Described) {
        let body = &described.body;
        match mutant.field {
            Field::CollectionMetadata => {
                self.tables
                    .execute("delete from collection_metadata where collection_id = ?", [&self.collection])
                    .unwrap();
                for (key, value) in body["metadata"].as_object().unwrap() {
                    let (text, int, float, bool) = (value.as_str(), value.as_i64(), value.as_f64(), value.as_bool());
                    let float = float.filter(|_| int.is_none());
                    let sql = "insert into collection_metadata values (?, ?, ?, ?, ?, ?)";
                    self.tables.execute(sql, params![self.collection, key, text, int, float, bool]).unwrap();
                }
            }
            Field::Dimension => {
                let dimension = i64::try_from(described.dimension).unwrap();
                let sql = "update collections set dimension = ? where id = ?";
                self.tables.execute(sql, params![dimension, self.collection]).unwrap();
            }
            field => {
                let sql = "select schema_str from collections where id = ?";
                let found: Option<String> =
                    self.tables.query_row(sql, [&self.collection], |row| row.get(0)).optional().unwrap();
                let mut schema: Json = serde_json::from_str(&found.unwrap()).unwrap();
                let configuration = &body["configuration"];
                for place in ["/keys/#embedding", "/defaults"] {
                    let config = schema.pointer_mut(&format!("{place}/float_list/vector_index/config")).unwrap();
                    match field {
                        Field::Distance => config["space"] = configuration["hnsw"]["space"].clone(),
                        Field::Setting(name) => config["hnsw"][name] = configuration["hnsw"][name].clone(),
                        _ => config["embedding_function"] = configuration["embedding_function"].clone(),
                    }
                }
                let sql = "update collections set schema_str = ? where id = ?";
                self.tables.execute(sql, [&schema.to_string(), &self.collection]).unwrap();
            }
        }
    }
}

fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// How much longer the one is, if both have the same direction.
fn scale(held: &[f32], old: &[f32]) -> Option<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let (length, of_old) = (dot(held, held).sqrt(), dot(old, old).sqrt());
    (dot(held, old) > 0.999_999 * length * of_old).then_some(length / of_old)
}

/// A component of the index. A bit is turned in what is there, for a scaled number has other bits.
fn altered(held: f32, old: f32, new: Option<&f32>, scale: f32) -> f32 {
    let new = new.copied().unwrap_or_default();
    let turned = new.to_bits() ^ old.to_bits();
    match turned.count_ones() {
        0 => held,
        1 => f32::from_bits(held.to_bits() ^ turned),
        _ => new * scale,
    }
}
