//! Which migrations, tables and columns each Chroma version has, and how two layouts compare.
//! Pure: runs no query.

use std::collections::{BTreeMap, BTreeSet};

pub use super::values::Client;

/// One row of Chroma's `migrations` table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Migration {
    /// `sysdb`, `metadb` or `embeddings_queue`.
    pub dir: String,
    /// Its number in that folder, from 1.
    pub version: i64,
    /// The file's name.
    pub filename: String,
    /// The hash that Chroma kept: MD5 or SHA-256, as it was configured.
    pub hash: String,
}

/// The migrations that a store has been through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Sorted by folder and number.
    pub migrations: Vec<Migration>,
}

/// How one layout stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The same migrations.
    Equal,
    /// The other has all of these and more: its engine would migrate this store in place.
    Older,
    /// This has all of the other's and more: the other's engine refuses this store.
    Newer,
    /// Each has what the other has not.
    Diverged,
}

/// The first and the last migration that this reader knows, by folder: 0.4.15 to 1.5.9.
const KNOWN: [(&str, i64, i64); 3] = [("embeddings_queue", 1, 2), ("metadb", 2, 6), ("sysdb", 4, 10)];

/// The tables that are read, with the columns that must and those that may be there. Any other column could hold
/// content that this reader would miss.
const TABLES: [(&str, &[&str], &[&str]); 10] = [
    ("tenants", &["id"], &["resource_name"]),
    ("databases", &["id", "name", "tenant_id"], &[]),
    ("collections", &["id", "name", "dimension", "database_id"], &["topic", "config_json_str", "schema_str"]),
    ("collection_metadata", &["collection_id", "key", "str_value", "int_value", "float_value"], &["bool_value"]),
    ("segments", &["id", "type", "scope", "collection"], &["topic"]),
    ("segment_metadata", &["segment_id", "key", "str_value", "int_value", "float_value"], &["bool_value"]),
    ("embeddings", &["id", "segment_id", "embedding_id", "seq_id"], &["created_at"]),
    ("embedding_metadata", &["id", "key", "string_value", "int_value", "float_value"], &["bool_value"]),
    ("embeddings_queue", &["seq_id", "operation", "topic", "id", "vector", "encoding", "metadata"], &["created_at"]),
    ("max_seq_id", &["segment_id", "seq_id"], &[]),
];

/// The columns of the table of migrations that are read.
const MIGRATIONS: &[&str] = &["dir", "version", "filename", "hash"];

/// The table of metadata arrays, from 1.5 on.
const ARRAYS: (&str, [&str; 6]) =
    ("embedding_metadata_array", ["id", "key", "string_value", "int_value", "float_value", "bool_value"]);

/// Which of the optional parts a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Columns {
    /// `collections.config_json_str`.
    pub configuration: bool,
    /// `collections.schema_str`.
    pub schema: bool,
    /// `collection_metadata.bool_value`.
    pub collection_bools: bool,
    /// `embedding_metadata.bool_value`.
    pub record_bools: bool,
    /// The table `embedding_metadata_array`.
    pub arrays: bool,
    /// Which client reads what is not as Chroma writes it.
    pub client: Client,
}

impl Layout {
    /// The layout of these migrations, in any order.
    #[must_use]
    pub fn new(mut migrations: Vec<Migration>) -> Self {
        migrations.sort();
        Self { migrations }
    }

    /// How this layout stands to another. Hashes are left out: they differ by configuration.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Order {
        let (ours, theirs) = (self.names(), other.names());
        match (ours.is_subset(&theirs), theirs.is_subset(&ours)) {
            (true, true) => Order::Equal,
            (true, false) => Order::Older,
            (false, true) => Order::Newer,
            (false, false) => Order::Diverged,
        }
    }

    fn names(&self) -> BTreeSet<(&str, i64, &str)> {
        self.migrations.iter().map(|m| (m.dir.as_str(), m.version, m.filename.as_str())).collect()
    }

    /// The last migration of a folder; 0 where it has none.
    #[must_use]
    pub fn last(&self, dir: &str) -> i64 {
        self.migrations.iter().filter(|m| m.dir == dir).map(|m| m.version).max().unwrap_or(0)
    }

    /// The Chroma versions that have this layout, as far as the migrations tell them apart.
    #[must_use]
    pub fn version(&self) -> String {
        if self.migrations.is_empty() {
            return "Chroma of a version that its tables do not tell".to_owned();
        }
        let (sysdb, metadb, queue) = (self.last("sysdb"), self.last("metadb"), self.last("embeddings_queue"));
        let versions = match (sysdb, metadb) {
            (10.., _) | (_, 6..) => "1.x",
            (_, 5) => "1.0",
            (7.., _) => "0.5 or 0.6",
            (5.., _) => "0.5",
            _ => "0.4.15 to 0.4.24",
        };
        format!("Chroma {versions} layout (sysdb {sysdb}, metadb {metadb}, embeddings_queue {queue})")
    }

    /// The client of the Chroma that has this layout.
    #[must_use]
    pub fn client(&self) -> Client {
        if self.last("metadb") >= 5 { Client::Rust } else { Client::Python }
    }

    /// Whether this reader knows the layout.
    ///
    /// # Errors
    /// A sentence that says what was found and what is known.
    pub fn check(&self) -> Result<(), String> {
        for migration in &self.migrations {
            if !KNOWN.iter().any(|(dir, _, _)| *dir == migration.dir) {
                return Err(format!("it has migrations of the unknown kind {:?}", migration.dir));
            }
        }
        for (dir, first, last) in KNOWN {
            let found = self.last(dir);
            if found > last {
                return Err(format!("its layout is newer than this program: {dir} {found}, known up to {last}"));
            }
            if found < first {
                return Err(format!("its layout is older than Chroma 0.4.15: {dir} {found}, needed from {first}"));
            }
            let applied = self.migrations.iter().filter(|m| m.dir == dir).count();
            if i64::try_from(applied) != Ok(found) {
                return Err(format!("its migrations of {dir} have gaps: {applied} applied, the last is {found}"));
            }
        }
        Ok(())
    }
}

/// Whether these are tables of Chroma's: the one that lists what there is, and one that holds records.
#[must_use]
pub fn is_chroma(tables: &BTreeMap<String, BTreeSet<String>>) -> bool {
    tables.contains_key("collections")
        && ["embeddings", "embeddings_queue"].iter().any(|name| tables.contains_key(*name))
}

/// The tables that are missing among these.
#[must_use]
pub fn missing(tables: &BTreeMap<String, BTreeSet<String>>) -> Vec<&'static str> {
    let all = TABLES.iter().map(|(table, ..)| *table).chain(["migrations"]);
    all.filter(|table| !tables.contains_key(*table)).collect()
}

/// Statements that make empty tables in the place of missing ones.
#[must_use]
pub fn stand_ins(missing: &[&str]) -> String {
    let of =
        |name: &str| TABLES.iter().find(|(table, ..)| *table == name).map_or(MIGRATIONS, |(_, columns, _)| *columns);
    let one = |table: &&str| format!("CREATE TEMP TABLE IF NOT EXISTS {table} ({})", of(table).join(", "));
    missing.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Makes a log in the order of its entries' numbers of one that is not: a search by number misses rows of that. A walk meets them all, and
/// those of a page that stands in two places twice.
pub const LOG_IN_ORDER: &str =
    "CREATE TEMP TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, operation, topic, id, vector BLOB, \
     encoding, metadata);
     INSERT OR IGNORE INTO temp.embeddings_queue \
     SELECT seq_id, operation, topic, id, vector, encoding, metadata FROM main.embeddings_queue NOT INDEXED";

/// Adds the columns of missing tables.
pub fn complete(tables: &mut BTreeMap<String, BTreeSet<String>>, missing: &[&str]) {
    for (table, columns, _) in TABLES.iter().filter(|(table, ..)| missing.contains(table)) {
        tables.insert((*table).to_owned(), columns.iter().map(|column| (*column).to_owned()).collect());
    }
}

/// The client of the Chroma that has these tables. `whole`: whether all migrations are known; otherwise a table tells that
/// 1.0 and newer have (measured on 0.6.3, 1.0.20 and 1.5.9).
#[must_use]
pub fn client(layout: &Layout, whole: bool, tables: &BTreeMap<String, BTreeSet<String>>) -> Client {
    if !whole && tables.contains_key("acquire_write") { Client::Rust } else { layout.client() }
}

/// Which optional parts these tables (with their columns) have.
///
/// # Errors
/// A sentence that names a missing table or column, or one that could hold content unknown to this reader.
pub fn columns(tables: &BTreeMap<String, BTreeSet<String>>, client: Client) -> Result<Columns, String> {
    for (table, required, optional) in TABLES {
        let found = tables.get(table).ok_or_else(|| format!("the table {table} is missing"))?;
        if let Some(missing) = required.iter().find(|c| !found.contains(**c)) {
            return Err(format!("the table {table} has no column {missing}"));
        }
        if let Some(extra) = found.iter().find(|c| !required.contains(&c.as_str()) && !optional.contains(&c.as_str())) {
            return Err(format!("the table {table} has the unknown column {extra}"));
        }
    }
    let arrays = tables.get(ARRAYS.0);
    if let Some(found) = arrays
        && (found.len() != ARRAYS.1.len() || ARRAYS.1.iter().any(|c| !found.contains(*c)))
    {
        return Err(format!("the table {} has the columns {found:?}", ARRAYS.0));
    }
    let has = |table: &str, column: &str| tables.get(table).is_some_and(|columns| columns.contains(column));
    Ok(Columns {
        configuration: has("collections", "config_json_str"),
        schema: has("collections", "schema_str"),
        collection_bools: has("collection_metadata", "bool_value"),
        record_bools: has("embedding_metadata", "bool_value"),
        arrays: arrays.is_some(),
        client,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(last: [(&str, i64); 3]) -> Layout {
        let one = |dir: &str, version| Migration {
            dir: dir.to_owned(),
            version,
            filename: format!("{version:05}.sql"),
            hash: String::new(),
        };
        Layout::new(last.iter().flat_map(|(dir, last)| (1..=*last).map(|n| one(dir, n))).collect())
    }

    #[test]
    fn an_older_layout_is_told_from_a_newer_and_a_foreign_one() {
        let old = layout([("sysdb", 9), ("metadb", 4), ("embeddings_queue", 2)]);
        let new = layout([("sysdb", 10), ("metadb", 6), ("embeddings_queue", 2)]);
        let other = layout([("sysdb", 10), ("metadb", 3), ("embeddings_queue", 2)]);
        assert_eq!(old.compare(&new), Order::Older);
        assert_eq!(new.compare(&old), Order::Newer);
        assert_eq!(new.compare(&new.clone()), Order::Equal);
        assert_eq!(old.compare(&other), Order::Diverged);
    }

    #[test]
    fn layouts_from_0_4_15_to_1_5_9_are_known_and_no_others() {
        assert_eq!(layout([("sysdb", 4), ("metadb", 3), ("embeddings_queue", 1)]).check(), Ok(()));
        assert_eq!(layout([("sysdb", 10), ("metadb", 6), ("embeddings_queue", 2)]).check(), Ok(()));
        let newer = layout([("sysdb", 11), ("metadb", 6), ("embeddings_queue", 2)]).check().unwrap_err();
        assert!(newer.contains("newer than this program: sysdb 11"), "{newer}");
        let older = layout([("sysdb", 3), ("metadb", 2), ("embeddings_queue", 1)]).check().unwrap_err();
        assert!(older.contains("older than Chroma 0.4.15"), "{older}");
        let mut gap = layout([("sysdb", 9), ("metadb", 4), ("embeddings_queue", 2)]);
        gap.migrations.remove(0);
        assert!(gap.check().unwrap_err().contains("gaps"));
        assert!(layout([("sysdb", 9), ("metadb", 4), ("foreign", 2)]).check().unwrap_err().contains("foreign"));
    }

    #[test]
    fn a_missing_or_unknown_column_is_named() {
        let mut tables: BTreeMap<String, BTreeSet<String>> = TABLES
            .iter()
            .map(|(name, required, _)| ((*name).to_owned(), required.iter().map(|c| (*c).to_owned()).collect()))
            .collect();
        assert!(!columns(&tables, Client::Rust).unwrap().arrays);
        tables.get_mut("embeddings").unwrap().insert("shard".to_owned());
        assert_eq!(columns(&tables, Client::Rust).unwrap_err(), "the table embeddings has the unknown column shard");
        tables.get_mut("embeddings").unwrap().remove("shard");
        tables.get_mut("embeddings").unwrap().remove("seq_id");
        assert_eq!(columns(&tables, Client::Rust).unwrap_err(), "the table embeddings has no column seq_id");
        tables.remove("segments");
        assert_eq!(columns(&tables, Client::Rust).unwrap_err(), "the table segments is missing");
    }
}
