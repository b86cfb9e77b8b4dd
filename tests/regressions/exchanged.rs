//! Rows, pages and numbers that an edit or half a backup has put in each other's place: each is valid by itself, and nothing of another
//! record is taken for a record's own. Each store is one that a real Chroma wrote.

use std::path::Path;

use crate::support::chroma::{ChromaServer, VERSIONS};
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::{Store, committed, damage};

use super::damage::change;
use super::files::says;
use super::foreign::{FILES, swap, twins};
use super::lost::{Read, only_less, read, read_one, readable};

/// Exchanges the segments of this scope of two collections in the table `segments`.
fn exchange(store: &Store, scope: &str) {
    let of = |name: &str| format!("(select id from collections where name = '{name}')");
    let (one, two) = (of("one"), of("two"));
    change(
        store,
        &format!(
            "update segments set collection = case collection when {one} then {two} else {one} end \
             where scope = '{scope}' and collection in ({one}, {two})"
        ),
    );
}

/// What is read of the twins.
async fn both(store: &Path) -> [Read; 2] {
    [read_one(store, "one").await, read_one(store, "two").await]
}

/// Each record is its own, or it is named.
#[track_caller]
fn own(found: &[Read; 2], whole: &[Read; 2], case: &str) {
    for (found, whole) in found.iter().zip(whole) {
        assert!(!found.damage.is_empty(), "{case}: called sound");
        assert!(found.records.keys().eq(whole.records.keys()), "{case}: not all are named");
        for (id, text) in found.records.iter().filter(|(_, text)| text.is_some()) {
            assert_eq!(text, &whole.records[id], "{case}: {id}");
        }
    }
}

/// With the folders of two indexes exchanged and no watermark, 294 of 350 vectors were read as those of the other collection, Verified.
#[tokio::test]
async fn exchanged_folders_without_a_watermark_are_found_by_the_log() {
    for version in ["0.5.23", "0.6.3", "1.0.20", "1.5.9"] {
        let store = twins(version);
        let whole = both(&store.path).await;
        change(&store, "delete from max_seq_id");
        swap(&store.path, "one", "two", &FILES);
        own(&both(&store.path).await, &whole, version);
        let into = Store::absent();
        let target = ChromaServer::start("1.5.9", &into.path);
        Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).ends(5).says(&["is not the index of"]);
    }
}

/// Without watermark and log nothing says whose an index of 1.x is.
#[tokio::test]
async fn an_index_that_nothing_confirms_is_doubted() {
    for version in ["1.0.20", "1.5.9"] {
        let store = twins(version);
        change(&store, "delete from max_seq_id; delete from embeddings_queue");
        for found in both(&store.path).await {
            assert_eq!(found.readable(), 30, "{version}");
            says(&found.damage, &["nothing says that it is the index of this collection"]);
        }
    }
}

/// The rows of two collections in `segments` were exchanged: vectors, or documents and metadata, of the other one were Verified.
#[tokio::test]
async fn exchanged_segments_are_told_by_their_numbers() {
    for version in VERSIONS {
        let store = twins(version);
        let whole = both(&store.path).await;
        exchange(&store, "METADATA");
        let found = both(&store.path).await;
        own(&found, &whole, version);
        for one in &found {
            assert_eq!(one.readable(), 30, "{version}");
            says(&one.damage, &["the table segments gives it the METADATA segment", "was taken instead"]);
        }
        if version != "0.4.24" {
            let store = twins(version);
            exchange(&store, "VECTOR");
            own(&both(&store.path).await, &whole_of(&store).await, version);
        }
    }
}

/// What is in the store before its segments are exchanged back.
async fn whole_of(store: &Store) -> [Read; 2] {
    exchange(store, "VECTOR");
    let whole = both(&store.path).await;
    exchange(store, "VECTOR");
    whole
}

/// Rows that somebody deleted: neither counted nor named, for only the index had them.
#[tokio::test]
async fn records_that_only_an_index_names_are_named() {
    for version in VERSIONS {
        let store = twins(version);
        let whole = both(&store.path).await;
        change(
            &store,
            "delete from embeddings where embedding_id between 'id1' and 'id19'; delete from embeddings_queue",
        );
        let found = both(&store.path).await;
        own(&found, &whole, version);
        assert!(found.iter().all(|one| one.readable() == 19), "{version}: {}", found[0].readable());
    }
}

/// Valid pages in wrong places: what their tables lack was read as if it had never been.
#[tokio::test]
async fn rows_that_a_wrong_page_hides_are_found_or_named() {
    let cases: [(&str, &[&str], bool); 7] = [
        ("copy-page", &["embedding_metadata", "20", "70"], false),
        ("swap-pages", &["embedding_metadata", "20", "70"], false),
        ("drop-cells", &["embedding_metadata", "50", "3"], false),
        ("drop-cells", &["sqlite_autoindex_embedding_metadata_1", "50", "3"], true),
        ("copy-page", &["embeddings", "20", "80"], false),
        ("drop-cells", &["embeddings", "50", "3"], false),
        // what is in the wrong place is found
        ("swap-pages", &["embeddings_queue", "20", "80"], true),
    ];
    for version in ["0.6.3", "1.5.9"] {
        let whole = read(&committed(version).path).await;
        for (how, place, is_all) in cases {
            let (case, store) = (format!("{version} {how} {place:?}"), committed(version));
            damage(&store.path, how, place);
            let found = read(&store.path).await;
            only_less(&found, &whole, &case);
            assert!(!is_all || readable(&found) == readable(&whole), "{case}: {}", readable(&found));
        }
    }
}

/// A valid page of another table over the only one of a small table: that was read as an empty table, and nothing was rescued.
#[tokio::test]
async fn a_table_that_lacks_what_its_index_names_is_no_empty_one() {
    for version in ["0.4.24", "0.6.3", "1.5.9"] {
        let whole = read(&committed(version).path).await;
        let over = |other: &'static str| move |table: &'static str| (table, other);
        let tables =
            ["segments", "collections", "databases", "collection_metadata", "max_seq_id"].map(over("embeddings"));
        for (table, other) in tables.into_iter().chain([("collections", "collection_metadata")]) {
            let (case, store) = (format!("{version} {table} {other}"), committed(version));
            damage(&store.path, "lay-page", &[table, other]);
            let found = read(&store.path).await;
            assert!(whole.keys().all(|id| found.contains_key(id)), "{case}: {} collections", found.len());
            assert!(readable(&found) > 0, "{case}: nothing is left");
            // what a row of the other table looks like has no record
            for (id, one) in found {
                for (record, text) in one.records.iter().filter(|(_, text)| text.is_some()) {
                    assert_eq!(Some(text), whole[&id].records.get(record), "{case}: {record}");
                }
                assert!(one.is_said(), "{case}: called sound");
            }
        }
    }
}

/// What says how a store is laid out, and not what is in it: without it, nothing was read.
#[tokio::test]
async fn tables_that_hold_no_record_cost_none() {
    for (version, table, how, other) in [
        ("0.4.24", "migrations", "drop-cells", "1"),
        ("1.5.9", "migrations", "drop-cells", "1"),
        ("1.5.9", "migrations", "lay-page", "collections"),
        ("1.5.9", "embeddings_queue_config", "lay-page", "max_seq_id"),
    ] {
        let (case, store) = (format!("{version} {table} {how} {other}"), committed(version));
        let whole = read(&store.path).await;
        let place: &[&str] = if how == "drop-cells" { &[table, "0", other] } else { &[table, other] };
        damage(&store.path, how, place);
        let found = read(&store.path).await;
        assert!(found.keys().eq(whole.keys()), "{case}: {} collections", found.len());
        assert_eq!(readable(&found), readable(&whole), "{case}");
    }
}

/// The full-text table has each document once more: with 0.4.24 a lost one, and in all versions a changed one, was copied without a word.
#[tokio::test]
async fn documents_that_the_full_text_table_contradicts_are_named() {
    let of = "key = 'chroma:document' and id = (select e.id from embeddings e join segments s on s.id = e.segment_id join collections c \
              on c.id = s.collection where c.name = 'synced_l2' and e.embedding_id = 'synced-7')";
    for version in VERSIONS {
        for (change_it, said) in [
            (format!("delete from embedding_metadata where {of}"), "1 full-text rows have no document"),
            (format!("update embedding_metadata set string_value = 'other' where {of}"), "1 have another text"),
        ] {
            let store = committed(version);
            assert_eq!(read_one(&store.path, "synced_l2").await.damage, Vec::<String>::new(), "{version}");
            change(&store, &change_it);
            let found = read_one(&store.path, "synced_l2").await;
            says(&found.damage, &[said, "1 record (\"synced-7\")"]);
        }
    }
}
