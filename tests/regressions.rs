//! One test for each bug that was found and fixed; its comment says what happened.
//!
//! What public reports tell of, and the tests that hold it (`reports::each_report_has_its_test` reads this table):
//!
//! | report | what happened | test |
//! |---|---|---|
//! | chroma#1623, chroma#4218 | the mapping of an index is empty after a crash | `without_its_index_a_collection_has_what_the_log_has` |
//! | chroma#872 | an index without its .bin files | `without_its_index_a_collection_has_what_the_log_has` |
//! | MemPalace#1710, MemPalace#2513 | the folder of an index was moved away, the log is whole | `without_its_index_a_collection_has_what_the_log_has` |
//! | MemPalace#2510 | the folder of an index was moved away, the log was purged | `folders_of_indexes_were_moved_away` |
//! | MemPalace#1218 | the index of one of three collections is cut | `of_a_cut_index_the_whole_rows_are_used` |
//! | chroma#2104, chroma#2928 | a collection has no segments | `a_collection_without_segments_is_skipped_by_name` |
//! | chroma#2104 | `hnsw:ef` is refused by a creation | `ch2104_what_a_creation_refuses_is_set_after_it` |
//! | chroma#7751 | NaN in metadata, from files | `a_number_that_json_does_not_have_costs_its_key_and_not_its_record` |
//! | chroma#7751 | NaN in metadata, over HTTP | `ch7751_one_bad_value_is_not_a_bad_record` |
//! | dify#11827 | NaN in a vector | `nanvec_a_vector_that_is_no_number_costs_its_record_and_no_other` |
//! | MemPalace#1134 | a watermark of 1.2e18 | `a_watermark_of_1_2e18_hides_no_write` |
//! | chroma#2619, MemPalace#2510 | a server answers 500 for one record | `a_server_that_fails_for_one_record` |
//! | srvlost | a server has lost a vector | `srvlost_a_server_fails_on_one_record_and_gives_all_others` |
//! | srvlost | a target has lost a vector | `srvlost_a_target_that_has_lost_a_vector_fails_the_run_and_is_mended_with_overwrite` |
//! | chroma 0.5.7 | a server answers 7 ids with 6 vectors | `v057_an_answer_with_fewer_vectors_than_ids_is_halved_down_to_the_record` |
//! | chroma 0.4.15 | a server without uris | `v0416_a_server_without_uris_is_read_without_and_that_is_said` |
//! | open-webui#17872 | thousands of collections | `owscale_a_small_collection_takes_at_most_eight_requests_on_each_side` |
//! | ingress-nginx#6005, chroma#5192 | a proxy answers 413 | `proxy413_batches_fit_through_a_proxy_and_the_limit_is_remembered` |
//! | ingress-nginx#6005 | a proxy redirects to https | `a_server_behind_a_redirect_to_https_is_read_and_written_there` |
//! | Velero, VolSync | a restored snapshot beside its original | `samestore_a_restored_snapshot_goes_back_into_the_live_server` |
//! | srv500 | a server cannot count one of its collections | `a_collection_that_a_server_cannot_count_is_left_out_and_the_others_are_moved` |
//! | fault 1 | a gateway caps its answers | `f1_a_gateway_that_caps_answers_or_listings_loses_nothing` |
//! | fault 2 | a wrong entry of an index of `SQLite`'s | `a_wrong_entry_of_sqlite_s_index_hides_no_record` |
//! | fault 3 | another client's record comes in the last moment | `f3_another_clients_record_in_the_last_moment_is_left_alone` |
//! | fault 3b | two runs at once | `f3b_two_runs_at_once_overwrite_nothing_of_each_other` |
//! | fault 4 | the making of a local target is cut short | `a_target_whose_making_was_cut_short_is_taken_by_the_next_run` |
//! | fault 5 | a new metadata key during the run | `f5_a_new_metadata_key_during_the_run_is_no_difference_of_settings` |
//! | fault 6 | a server echoes the token | `no_part_of_a_secret_is_shown_wherever_a_text_is_cut` |
//! | fault 7 | a torn copy of a live store | `a_torn_copy_is_never_taken_for_whole` |
//! | campaign moving-http | 0.6.3 answers 400 with a `TypeError` of its own | `an_old_server_that_slips_while_a_record_goes_is_asked_again` |
//! | srvlost | 0.6.3 answers 400 for a window with a lost vector | `a_type_error_of_an_old_server_is_a_matter_of_its_record` |
//! | campaign kill-out | a null among the documents of a write, up to 0.6.3 | `a_record_that_was_written_with_a_null_document_is_no_damage` |

mod campaign;
mod damage;
mod engine;
mod exchanged;
mod files;
mod foreign;
mod http;
mod index;
mod kept;
mod lost;
mod odd;
mod parts;
mod reports;
mod strays;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::json;

use super::support::api::{create, write};
use super::support::chroma::ChromaServer;
use super::support::command::TestCommand;
use super::support::dump::{Tolerance, assert_same, dump_folder};
use super::support::migration::{DEFAULT, Migration, local, remote};
use super::support::stores::{Store, committed, oracle};

/// A tenant that the store had not yet was "not found", where a new store was given it.
#[test]
fn a_tenant_is_made_in_a_local_target_that_has_others() {
    let (source, target) = (committed("1.5.9"), committed("1.5.9"));
    let new = ("team-c", "notes");
    let from = local(&source.path, ("team-a", "notes"));
    let report = Migration::new(&from, &local(&target.path, new)).written_by("1.5.9").verified();
    assert_eq!((report.count("targetBefore"), report.count("targetAfter")), (0, 2));
    let expected = oracle("1.5.9").in_database("team-a", "notes");
    let written = dump_folder("1.5.9", &target.path);
    assert_same(&expected, &written.in_database(new.0, new.1), Tolerance::MIGRATED);
    let before = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1);
    assert_same(&before, &written.in_database(DEFAULT.0, DEFAULT.1), Tolerance::EXACT);
}

/// A run that preflight refused told its plan as "copied", in the report and in the table.
#[test]
fn a_run_that_wrote_nothing_claims_no_copies() {
    let (folder, other) = (Store::absent(), Store::absent());
    let (source, target) = (ChromaServer::start("1.5.9", &folder.path), ChromaServer::start("1.5.9", &other.path));
    for (server, document) in [(&source, "one"), (&target, "two")] {
        create(server, DEFAULT, &json!({"name": "memories"}));
        write(
            server,
            DEFAULT,
            "memories",
            "add",
            &json!({"ids": ["a"], "embeddings": [[1.0]], "documents": [document]}),
        );
    }
    write(&source, DEFAULT, "memories", "add", &json!({"ids": ["b"], "embeddings": [[2.0]]}));
    let run = Migration::new(&remote(&source, DEFAULT), &remote(&target, DEFAULT));
    let report = run.args(["--on-conflict", "fail"]).ends(6);
    assert_eq!((report.count("source"), report.count("copied"), report.count("targetAfter")), (2, 0, 0));
}

/// A migration that was applied with its source's Chroma read the store while that made it, and failed for good: "its layout
/// is older than Chroma 0.4.15".
#[test]
fn a_source_that_is_being_made_is_waited_for() {
    let migrations = "CREATE TABLE migrations (dir TEXT, version INTEGER, filename TEXT, sql TEXT, hash TEXT);";
    let first = "INSERT INTO migrations VALUES ('embeddings_queue', 1, '00001-embeddings.sqlite.sql', '', '');
                 CREATE TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, operation INTEGER, topic TEXT, id TEXT);";
    for made in [String::new(), migrations.to_owned(), format!("{migrations}{first}")] {
        let (store, target) = (Store::absent(), Store::absent());
        std::fs::create_dir_all(&store.path).unwrap();
        std::fs::write(store.path.join("chroma.sqlite3"), "").unwrap();
        rusqlite::Connection::open(store.path.join("chroma.sqlite3")).unwrap().execute_batch(&made).unwrap();
        let into = local(&target.path, DEFAULT);
        let run = Migration::new(&local(&store.path, DEFAULT), &into).only(&["values"]).ends(4);
        assert_eq!(run.reason(), "SourceNotFound", "{made}");
        run.says(&["its tables are not all there", "wait, or start that Chroma again"]);
        // Chroma checks the hashes of migrations, which those above do not have
        std::fs::remove_file(store.path.join("chroma.sqlite3")).unwrap();
        let mut server = ChromaServer::start("1.5.9", &store.path);
        create(&server, DEFAULT, &json!({"name": "values"}));
        write(&server, DEFAULT, "values", "add", &json!({"ids": ["a"], "embeddings": [[1.0]]}));
        server.stop();
        Migration::new(&local(&store.path, DEFAULT), &into).only(&["values"]).written_by("1.5.9").verified();
    }
}

/// A mover that started beside its server took the half-made tables of a new store for a layout too old to read.
#[test]
fn a_runner_reads_its_targets_files_only_when_their_server_answers() {
    let (source, target) = (committed("1.5.9"), Store::absent());
    let mut server = ChromaServer::start("1.5.9", &target.path);
    server.stop();
    // What a server has made before its first migration.
    std::fs::remove_dir_all(&target.path).unwrap();
    std::fs::create_dir(&target.path).unwrap();
    let tables = rusqlite::Connection::open(target.path.join("chroma.sqlite3")).unwrap();
    let made = "create table migrations (dir text not null, version integer not null, filename text not null, \
                sql text not null, hash text not null, primary key (dir, version))";
    tables.execute_batch(made).unwrap();
    drop(tables);
    let knocking = TcpListener::bind(("127.0.0.1", server.port)).unwrap();
    let manifest = json!({
        "apiVersion": "memory-migration.dev/v1alpha1",
        "kind": "MemoryMigration",
        "metadata": {"name": "m"},
        "spec": {
            "source": {"local": {"claimName": "from", "path": "store"}},
            "target": {"local": {"claimName": "into", "path": "store"}},
            "collections": [{"name": "values"}],
            "pacing": {"batchSize": 100, "delay": "0s"},
        },
    });
    let volume = |claim: &str, store: &Store| format!("{claim}={}", store.path.parent().unwrap().display());
    let run = TestCommand::new()
        .args(["run", "-f", "-", "--termination-log", "/dev/null", "--writer-url", &server.url])
        .args(["--volume", &volume("from", &source), "--volume", &volume("into", &target)])
        .stdin(manifest.to_string());
    let mut run = run.start();
    knocking.set_nonblocking(true).unwrap();
    while knocking.accept().is_err() {
        assert!(run.is_running(), "it did not wait for its server: {:?}", run.wait());
        std::thread::yield_now();
    }
    drop(knocking);
    server.restart();
    run.wait().code(0).stdout("verified");
}

/// Where nobody read the answer any more (`| head`), the program panicked: a migration that went well ended with 101.
#[test]
fn a_reader_who_goes_away_does_not_change_the_exit_code() {
    let store = committed("1.5.9");
    let folder = store.path.display().to_string();
    for arguments in [vec!["crd"], vec!["inspect", folder.as_str()], vec!["inspect", "/nonexistent"]] {
        let run = |closed: bool| {
            let out = || {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                if closed { Stdio::from(writer) } else { Stdio::null() }
            };
            let mut command = Command::new(env!("CARGO_BIN_EXE_memory-migration"));
            command.args(&arguments).stdout(out()).stderr(out()).status().unwrap().code()
        };
        assert_eq!(run(true), run(false), "{arguments:?}");
    }
}
