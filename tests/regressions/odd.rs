//! Odd values: metadata that Chroma does not write so, settings that are no JSON, names that break a line. The record is
//! read as Chroma's own client reads it, and the value is named.

use std::collections::BTreeMap;

use memory_migration_operator::model::{Distance, Fetched, Value};
use memory_migration_operator::store::Reader;
use memory_migration_operator::store::files::LocalStore;

use crate::support::chroma::{ChromaServer, Python, VERSIONS};
use crate::support::command::TestCommand;
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::{Store, committed, oracle};

use super::damage::IN_DEFAULT;
use super::files::{everything, one, says};

fn change(store: &Store, sql: &str) {
    let tables = rusqlite::Connection::open(store.path.join("chroma.sqlite3")).unwrap();
    tables.execute_batch(&format!("pragma foreign_keys = off; {sql}")).unwrap();
}

/// A bool of 7, a text in the column of integers, two types at once: the whole record was dropped. What its own client reads
/// (by the official client of each version, asked for these rows) is read.
#[tokio::test]
async fn an_odd_value_is_read_as_the_client_reads_it() {
    let set = [
        ("many-0", "bool_value = 7"),
        ("many-1", "int_value = 'abc'"),
        ("many-2", "string_value = 's', int_value = 1"),
        ("many-3", "float_value = -9e999"),
        ("many-4", "int_value = 1.5"),
    ];
    let text = |text: &str| Some(Value::Str(text.to_owned()));
    for version in ["0.4.24", "0.6.3", "1.0.20", "1.5.9"] {
        let store = Store::absent();
        Python::run(version, "tests/stores/history.py", &[store.path(), "many", "5"]);
        let mut sql = String::new();
        for (id, values) in set {
            let row = format!("(select id from embeddings where embedding_id = '{id}')");
            let one = format!(
                "delete from embedding_metadata where id = {row} and key = 'k'; insert into embedding_metadata (id, key) \
                 values ({row}, 'k'); update embedding_metadata set {values} where id = {row} and key = 'k';"
            );
            sql.push_str(&one);
        }
        change(&store, &sql);
        let reader = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
        let collection = reader.collections().await.unwrap().remove(0);
        let ids = set.map(|(id, _)| id.to_owned());
        let mut found = BTreeMap::new();
        for fetched in reader.fetch(&collection, &ids).await.unwrap() {
            let Fetched::Record { mut record, .. } = fetched else { panic!("{version}: {fetched:?}") };
            found.insert(record.id, record.metadata.remove("k"));
        }
        let is_old = version.starts_with("0.");
        let expected = [
            Some(Value::Bool(!is_old)),
            text("abc").filter(|_| is_old),
            text("s"),
            None,
            Some(Value::Float(1.5)).filter(|_| is_old),
        ];
        assert_eq!(found.into_values().collect::<Vec<_>>(), expected, "{version}");
        let notes = reader.remarks(&collection).await.unwrap().notes;
        says(&notes, &["metadata \"k\" of 1 record (\"many-0\") holds the integer 7 in bool_value"]);
        says(&notes, &["(\"many-1\") holds a text in int_value"]);
        says(
            &notes,
            &["(\"many-2\") holds a text in string_value and the integer 1 in int_value and was read as that text"],
        );
        says(&notes, &["(\"many-3\") is infinite, which Chroma's client reads from the files"]);
        let into = Store::absent();
        let target = ChromaServer::start("1.5.9", &into.path);
        let run = Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT));
        assert_eq!(run.verified().count("verified"), 5, "{version}");
    }
}

/// A configuration or a schema that is no JSON: nothing of the collection was read.
#[tokio::test]
async fn settings_that_are_no_json_cost_no_record() {
    for version in VERSIONS {
        let has_schema = version == "1.5.9";
        for column in ["config_json_str", "schema_str"] {
            if version == "0.4.24" || (column == "schema_str" && !has_schema) {
                continue;
            }
            let store = committed(version);
            let whole = everything(&store.path).await.unwrap();
            change(&store, &format!("update collections set {column} = '{{broken'"));
            let after = everything(&store.path).await.unwrap();
            for (name, found) in &after {
                let case = format!("{version} {column} {name}");
                assert_eq!(found.collection.unreadable, None, "{case}");
                says(&found.remarks.damage, &[column, "is no JSON", "Settings that only that tells are lost"]);
                let distance = found.collection.distance;
                if distance != whole[name].collection.distance {
                    // nothing but a guess is left, and it is said
                    says(
                        &found.remarks.damage,
                        &["its distance is not known, and l2, Chroma's default, was taken for it"],
                    );
                    assert_eq!(distance, Distance::L2, "{case}");
                }
                assert!(found.vectors.keys().eq(whole[name].vectors.keys()), "{case}");
            }
            // the rows of a cosine index tell what no document tells
            let (cosine, whole) =
                (one(&store.path, "synced_cosine").await, one(&committed(version).path, "synced_cosine").await);
            assert_eq!(cosine.collection.distance, Distance::Cosine, "{version} {column}");
            assert_eq!(cosine.vectors, whole.vectors, "{version} {column}");
        }
    }
}

/// A name that is no text, or a dimension, hid the whole store.
#[tokio::test]
async fn a_row_that_is_no_text_hides_no_other() {
    for version in ["0.6.3", "1.5.9"] {
        let store = committed(version);
        let whole = everything(&store.path).await.unwrap();
        change(
            &store,
            "update collections set name = cast(x'61ff' as text) where name = 'log_l2'; \
             update collections set dimension = 'three' where name = 'log_ip'",
        );
        let after = everything(&store.path).await.unwrap();
        assert_eq!(after.len(), whole.len(), "{version}");
        let named = &after["default_tenant/default_database/a\u{fffd}"];
        says(&named.remarks.damage, &["has a name that is no UTF-8"]);
        let sized = &after["default_tenant/default_database/log_ip"];
        says(&sized.remarks.damage, &["has a dimension of type Text"]);
        assert_eq!(sized.vectors, whole["default_tenant/default_database/log_ip"].vectors);
    }
}

/// A collection whose name is gone stopped all others: it was called "", and neither `--collection =NAME` nor a manifest, which the
/// message told to paste, can ask for that.
#[test]
fn a_collection_without_a_name_is_moved_under_its_id() {
    for (version, name) in [("0.4.24", "''"), ("0.6.3", "x'ff00'"), ("1.5.9", "x'ff00'"), ("1.5.9", "''")] {
        let store = committed(version);
        change(&store, &format!("update collections set name = {name} where id = ({IN_DEFAULT} 'synced_cosine')"));
        let id = id_of(&store, name);
        let into = Store::absent();
        let target = ChromaServer::start("1.5.9", &into.path);
        let report = Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).ends(5);
        report.says(&["has no name, so its id is taken for it"]);
        let all = oracle(version).in_database(DEFAULT.0, DEFAULT.1);
        for (was, now) in [("synced_cosine", id.as_str()), ("log_l2", "log_l2")] {
            let records = all.collection(was).records.len();
            assert_eq!(report.collection(now)["counts"]["verified"], records, "{version} {name}");
        }
    }
}

/// The id of the collection with this name, as SQL writes it.
fn id_of(store: &Store, name: &str) -> String {
    let tables = rusqlite::Connection::open(store.path.join("chroma.sqlite3")).unwrap();
    tables.query_row(&format!("select id from collections where name = {name}"), [], |row| row.get(0)).unwrap()
}

/// A line break in a name broke the table of `inspect`, and an empty name could not be seen.
#[test]
fn a_name_that_breaks_lines_is_shown_in_one() {
    let store = committed("0.6.3");
    change(
        &store,
        "update collections set name = 'two' || char(10) || 'lines' || char(27) where name = 'log_l2'; \
         update collections set name = '' where name = 'log_ip'; \
         delete from segments where collection = (select id from collections where name = '')",
    );
    let shown = TestCommand::new().args(["inspect", store.path()]).run().code(5);
    let lines: Vec<&str> = shown.stdout_text().lines().collect();
    let row = |start: &str| lines.iter().any(|line| line.trim_start().starts_with(start));
    assert!(row(r#""two\nlines\u{1b}" "#), "{lines:#?}");
    let id = id_of(&store, "''");
    assert!(row(&format!("{id} ")), "{lines:#?}");
    assert!(row(&format!("{id}: nothing of it can be read")), "{lines:#?}");
    assert!(!shown.stdout_text().contains('\u{1b}'));
}
