//! Rows that lead nowhere, and a database that is cut short: what belongs to nobody any more is named, and nothing that a sound
//! Chroma leaves behind is called damage.

use std::fs;

use memory_migration_operator::model::Fetched;
use memory_migration_operator::store::Reader;
use memory_migration_operator::store::files::LocalStore;

use crate::support::chroma::{ChromaServer, Python, VERSIONS};
use crate::support::command::TestCommand;
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::{Store, committed};

use super::damage::{IN_DEFAULT, change};
use super::files::{everything, found, one, says};

const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// A collection whose database is gone was named nowhere: the copy lacked it, and ended with exit code 0.
#[tokio::test]
async fn a_collection_without_a_database_is_named_and_can_be_moved() {
    for version in VERSIONS {
        let store = committed(version);
        let whole = one(&store.path, "synced_cosine").await;
        change(
            &store,
            &format!("update collections set database_id = 'nowhere' where id = ({IN_DEFAULT} 'synced_cosine')"),
        );
        let words = ["\"synced_cosine\"", "whose database is not in the table databases", "\"nowhere\""];
        let shown = TestCommand::new().args(["inspect", store.path()]).run().code(5);
        words.iter().fold(shown, |shown, word| shown.stdout(word));
        let into = Store::absent();
        let target = ChromaServer::start("1.5.9", &into.path);
        Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).ends(5).says(&words);
        let lost = (DEFAULT.0, "nowhere");
        let run = Migration::new(&local(&store.path, lost), &remote(&target, DEFAULT)).ends(5);
        assert_eq!(run.count("verified"), whole.vectors.len() as u64, "{version}");
        let all = everything(&store.path).await.unwrap();
        assert_eq!(all["default_tenant/nowhere/synced_cosine"].vectors, whole.vectors, "{version}");
    }
}

/// The row of a database gone or odd: "it has the databases []", exit code 4, and no way out.
#[tokio::test]
async fn a_lost_row_of_a_database_costs_its_name_at_most() {
    for version in ["0.4.24", "0.6.3", "1.5.9"] {
        let whole = everything(&committed(version).path).await.unwrap();
        for sql in [
            "delete from databases".to_owned(),
            format!("delete from databases where id = '{NIL}'"),
            format!("update databases set name = x'0102' where id = '{NIL}'"),
            format!("update databases set tenant_id = x'01' where id = '{NIL}'"),
            format!("update databases set tenant_id = 'ghost' where id = '{NIL}'"),
            format!(
                "update databases set id = 'other' where id = '{NIL}'; update databases set name = 'moved' where id = 'other'"
            ),
        ] {
            let case = format!("{version} {sql}");
            let store = committed(version);
            change(&store, &sql);
            let after = everything(&store.path).await.unwrap();
            assert_eq!(after.len(), whole.len(), "{case}");
            for (name, expected) in &whole {
                let is_default = name.starts_with("default_tenant/default_database/");
                let Some(found) = after.get(name) else {
                    assert!(!is_default, "{case}: {name}");
                    continue;
                };
                assert_eq!(found.vectors, expected.vectors, "{case}: {name}");
                says(&found.remarks.damage, &["table databases"]);
            }
            let into = Store::absent();
            let target = ChromaServer::start("1.5.9", &into.path);
            let report = Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).ends(5);
            report.says(&["table databases"]);
            assert!(report.count("verified") > 100, "{case}");
        }
    }
}

/// A record whose segment is gone was listed nowhere, if it had no document: exit code 0 without it.
#[tokio::test]
async fn rows_without_a_segment_or_a_record_are_counted() {
    let uuid = "00000000-1111-4222-8333-444444444444";
    for version in VERSIONS {
        let vector = "select id from segments where scope = 'VECTOR' limit 1";
        for segment in ["'nowhere'".to_owned(), format!("'{uuid}'"), format!("({vector})"), "x'00'".to_owned()] {
            let case = format!("{version} {segment}");
            let store = Store::absent();
            Python::run(version, "tests/stores/history.py", &[store.path(), "twins"]);
            change(
                &store,
                &format!(
                    "delete from embeddings_queue where id = 'id3'; update embeddings set segment_id = {segment} where id = \
                     (select min(id) from embeddings where embedding_id = 'id3')"
                ),
            );
            // looked for in a store that nothing has open, as this process will have it
            if segment == "'nowhere'" {
                let into = Store::absent();
                let target = ChromaServer::start("1.5.9", &into.path);
                Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).ends(5).says(&["\"id3\""]);
            }
            for name in ["one", "two"] {
                let damage = one(&store.path, name).await.remarks.damage;
                says(&damage, &["1 row of SQLite's table embeddings", "\"id3\"", "no collection"]);
                // a blob among texts is out of order in the index, too
                let more = damage.iter().filter(|what| !what.contains("the index is out of order")).count();
                assert_eq!(more, 1, "{case}: {damage:?}");
            }
        }
        // a value whose record is gone is lost to another one
        let store = Store::absent();
        Python::run(version, "tests/stores/history.py", &[store.path(), "twins"]);
        change(
            &store,
            "delete from embeddings_queue; update embedding_metadata set id = 4711 where id = (select min(id) from embeddings)",
        );
        says(
            &one(&store.path, "two").await.remarks.damage,
            &["1 row of SQLite's table embedding_metadata", "no record"],
        );
    }
}

/// Chroma 0.5 and 0.6 leave rows of a deleted collection behind, 0.6 and newer segments of a deleted database (measured on 0.4.24,
/// 0.5.23, 0.6.3, 1.0.20 and 1.5.9).
#[tokio::test]
async fn what_chroma_leaves_behind_is_no_damage() {
    for version in VERSIONS {
        let store = Store::absent();
        Python::run(version, "tests/stores/history.py", &[store.path(), "twins", "dropped"]);
        for newer in [version, "1.5.9"] {
            if newer != version {
                Python::run(newer, "tests/stores/history.py", &[store.path(), "retag"]);
            }
            let all = everything(&store.path).await.unwrap();
            assert_eq!(all.len(), 2, "{version} {newer}");
            for (name, found) in all {
                assert_eq!(found.remarks.damage, Vec::<String>::new(), "{version} {newer} {name}");
            }
        }
    }
}

/// A file that is shorter than its header says: exit code 3, although all but its last pages can be read.
#[tokio::test]
async fn a_cut_database_is_read_as_far_as_it_goes() {
    for version in VERSIONS {
        let whole = everything(&committed(version).path).await.unwrap();
        for bytes in [4096, 5 * 4096, 1000, 3 * 4096 + 500] {
            let case = format!("{version} {bytes}");
            let store = committed(version);
            let file = fs::OpenOptions::new().write(true).open(store.path.join("chroma.sqlite3")).unwrap();
            file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
            super::index::age(&store.path.join("chroma.sqlite3"));
            let shown = TestCommand::new().args(["inspect", "--records", store.path()]).run().code(5);
            shown.stdout("is cut short").stdout("synced_l2");
            let reader = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
            let (mut readable, mut lost) = (0, 0);
            for collection in reader.everything().await.unwrap() {
                let name = format!("{}/{}/{}", collection.tenant, collection.database, collection.name);
                if let Some(why) = &collection.unreadable {
                    assert!(why.contains("is cut short: its header tells"), "{case} {name}: {why}");
                    lost += 1;
                    continue;
                }
                let found = found(&reader, collection).await.unwrap_or_else(|error| panic!("{case} {name}: {error}"));
                says(&found.remarks.damage, &["is cut short: its header tells"]);
                for (id, vector) in found.vectors.iter().filter(|(_, vector)| vector.is_some()) {
                    assert_eq!(vector, &whole[&name].vectors[id], "{case} {name} {id}");
                    readable += 1;
                }
            }
            // with the last five pages of some versions the distance of every collection goes
            assert!(readable > 100 || (bytes > 4096 && lost > 0), "{case}: {readable}");
        }
    }
}

/// The collections that Chroma up to 0.6 leaves when it refuses their settings: "Chroma was ended while it made the collection".
#[test]
fn a_collection_of_refused_settings_says_which() {
    for version in ["0.4.24", "0.5.23", "0.6.3"] {
        let store = Store::absent();
        Python::run(version, "tests/stores/history.py", &[store.path(), "refused"]);
        let shown = TestCommand::new().args(["inspect", store.path()]).run().code(5);
        let shown = shown.stdout("refuses \"hnsw:batch_size\" = 2").stdout("refuses \"hnsw:ef\" = 100");
        assert!(!shown.stdout_text().contains("Chroma was ended"), "{version}: {shown:?}");
    }
}

/// A last page that is not whole was filled with zeros, and they were read as the rest of a document.
#[tokio::test]
async fn a_page_that_is_not_whole_is_not_read() {
    let store = Store::absent();
    Python::run("1.5.9", "tests/stores/history.py", &[store.path(), "large", "12", "30000"]);
    let database = store.path.join("chroma.sqlite3");
    let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    let (mut read, mut lost) = (0, 0);
    let whole = file.metadata().unwrap().len();
    for pages in 1..40 {
        file.set_len(whole - pages * 4096 + 1000).unwrap();
        super::index::age(&database);
        let Ok(reader) = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await else { continue };
        let collection = reader.collections().await.unwrap().remove(0);
        let ids = reader.ids(&collection).await.unwrap().iter().collect::<std::io::Result<Vec<_>>>().unwrap();
        for fetched in reader.fetch(&collection, &ids).await.unwrap() {
            match fetched {
                Fetched::Record { record, .. } => {
                    read += 1;
                    let text = format!("{:?} {:?}", record.document, record.metadata);
                    assert!(!text.contains("\\0"), "{}", record.id);
                }
                Fetched::Unreadable { .. } => lost += 1,
            }
        }
        says(&reader.remarks(&collection).await.unwrap().damage, &["is cut short"]);
    }
    assert!(read > 100 && lost > 0, "{read} {lost}");
}

/// The rows of a collection under another segment: it was listed with the records of its log alone, and called sound.
#[tokio::test]
async fn an_index_whose_records_are_in_no_table_tells_what_is_lost() {
    for version in VERSIONS {
        let store = Store::absent();
        Python::run(version, "tests/stores/history.py", &[store.path(), "twins"]);
        change(
            &store,
            "delete from embeddings_queue where id <> 'id29'; update segments set id = 'other' where scope = 'METADATA' and \
             collection = (select id from collections where name = 'one')",
        );
        says(&one(&store.path, "one").await.remarks.damage, &["29 of 30 ids of its index", "these records are lost"]);
        assert_eq!(one(&store.path, "two").await.remarks.damage, Vec::<String>::new(), "{version}");
    }
}

/// An entry of the log whose topic is damaged belongs to nobody: its record was listed nowhere, and the run was called Verified.
#[tokio::test]
async fn an_entry_of_the_log_without_a_topic_is_counted() {
    for version in VERSIONS {
        for topic in ["'persistent://default/default/'", "x'00'", "substr(topic, 1, length(topic) - 1)"] {
            let store = Store::absent();
            Python::run(version, "tests/stores/history.py", &[store.path(), "twins"]);
            change(
                &store,
                &format!(
                    "update embeddings_queue set topic = {topic} where seq_id = (select max(seq_id) from embeddings_queue)"
                ),
            );
            // looked for in a store that nothing has open, as this process will have it
            let shown = TestCommand::new().args(["inspect", "--records", store.path()]).run().code(5);
            shown.stdout("no collection has the topic of 1 row of SQLite's table embeddings_queue");
            let found = one(&store.path, "one").await;
            says(&found.remarks.damage, &["no collection has the topic of 1 row"]);
        }
    }
}
