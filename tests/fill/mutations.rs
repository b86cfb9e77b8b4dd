//! An importer that errs is found: each part of what it writes, left out or off by one. It errs by SQL that a fault point runs
//! when all is written, before this program looks at it; the twin samples, which come before, are left alone.

use memory_migration_operator::faults::{SPOILS, SPOILS_INDEX, SPOILS_SAMPLES};

use super::super::support::migration::{Migration, Report};
use super::super::support::stores::{Store, generated};
use super::{answers, by_files, twins};

/// What is done to the filled store: each table left out or off by one. The table of docs/reliability.md says what finds each.
const MUTATIONS: &[(&str, &str)] = &[
    ("a record is left out", "DELETE FROM embeddings WHERE id = 7"),
    ("a record has another id", "UPDATE embeddings SET embedding_id = embedding_id || 'x' WHERE id = 7"),
    ("a number of a record is one more", "UPDATE embeddings SET seq_id = seq_id + 1 WHERE id = 30"),
    ("metadata is left out", "DELETE FROM embedding_metadata WHERE id = (SELECT min(id) FROM embedding_metadata)"),
    (
        "metadata is another record's",
        "UPDATE embedding_metadata SET id = 1000000 WHERE id = (SELECT min(id) FROM embedding_metadata)",
    ),
    ("an integer is one more", "UPDATE embedding_metadata SET int_value = int_value + 1 WHERE id = 7 AND key = 'n'"),
    ("a float is one more", "UPDATE embedding_metadata SET float_value = float_value + 1 WHERE id = 7 AND key = 'f'"),
    ("a bool is another", "UPDATE embedding_metadata SET bool_value = 1 - bool_value WHERE id = 7 AND key = 'b'"),
    ("an array is left out", "DELETE FROM embedding_metadata_array WHERE id = 7"),
    (
        "an element of an array is left out",
        "DELETE FROM embedding_metadata_array WHERE rowid = (SELECT min(rowid) FROM embedding_metadata_array WHERE id = 7)",
    ),
    (
        "an element of an array is one more",
        "UPDATE embedding_metadata_array SET int_value = int_value + 1 WHERE id = 7",
    ),
    (
        "a text is another",
        "UPDATE embedding_metadata SET string_value = string_value || 'x' WHERE rowid = (SELECT min(rowid) FROM embedding_metadata WHERE key = 'chroma:document')",
    ),
    ("the full-text table is left out", "DELETE FROM embedding_fulltext_search"),
    (
        "a full-text row is left out",
        "DELETE FROM embedding_fulltext_search WHERE rowid = (SELECT min(rowid) FROM embedding_fulltext_search)",
    ),
    (
        "a full-text row is another record's",
        "UPDATE embedding_fulltext_search SET rowid = 1000000 WHERE rowid = (SELECT min(rowid) FROM embedding_fulltext_search)",
    ),
    ("the log is left out", "DELETE FROM embeddings_queue"),
    ("an entry of the log is left out", "DELETE FROM embeddings_queue WHERE seq_id = 7"),
    (
        "the vector of an entry is another",
        "UPDATE embeddings_queue SET vector = (SELECT vector FROM embeddings_queue WHERE seq_id = 8) WHERE seq_id = 7",
    ),
    ("the entry of the log is another record's", "UPDATE embeddings_queue SET id = id || 'x' WHERE seq_id = 7"),
    ("the log is another collection's", "UPDATE embeddings_queue SET topic = topic || 'x'"),
    ("the watermark is left out", "DELETE FROM max_seq_id"),
    ("the watermark is one less", "UPDATE max_seq_id SET seq_id = seq_id - 1"),
    ("the watermark is beyond the log", "UPDATE max_seq_id SET seq_id = seq_id + 1000"),
    ("the dimension is left out", "UPDATE collections SET dimension = NULL"),
    ("the dimension is one more", "UPDATE collections SET dimension = dimension + 1"),
    ("the schema is left out", "UPDATE collections SET schema_str = NULL"),
    ("a key of the schema is left out", "UPDATE collections SET schema_str = json_remove(schema_str, '$.keys.n')"),
];

/// What is done to the index of a store of 60 vectors with 3 components: the file, the byte and what is added to it.
/// A row has 132 bytes of links, 12 of the vector and 8 of the label; before the first label of the ids there are 93 bytes and
/// the id's five.
const OF_THE_INDEX: &[(&str, &str)] = &[
    ("a row is called deleted", "data_level0.bin 2 1"),
    ("a component is another", "data_level0.bin 134 1"),
    ("a row has another label", "data_level0.bin 144 1"),
    ("a link leads nowhere", "data_level0.bin 6 1"),
    ("the norm of a vector is another", "length.bin 2 1"),
    ("the index has a row less", "header.bin 20 255"),
    ("the entry is nowhere", "header.bin 58 1"),
    ("the rows begin elsewhere", "header.bin 44 4"),
    ("an id has another label", "index_metadata.pickle 99 1"),
    ("a list of links above is longer", "link_lists.bin 0 1"),
];

/// What is done to a sample, which is written beside Chroma's own: each part that the comparison of both looks at.
const OF_A_SAMPLE: &[(&str, &str, &str)] = &[
    ("its numbers", SPOILS, "UPDATE embeddings SET seq_id = seq_id - 1 WHERE id = (SELECT max(id) FROM embeddings)"),
    (
        "its metadata",
        SPOILS,
        "UPDATE embedding_metadata SET int_value = int_value + 1 WHERE rowid = (SELECT max(rowid) FROM embedding_metadata WHERE int_value IS NOT NULL)",
    ),
    (
        "its full text",
        SPOILS,
        "DELETE FROM embedding_fulltext_search WHERE rowid = (SELECT max(id) FROM embedding_metadata WHERE key = 'chroma:document')",
    ),
    (
        "its log",
        SPOILS,
        "UPDATE embeddings_queue SET vector = zeroblob(length(vector)) WHERE seq_id = (SELECT max(seq_id) FROM embeddings_queue)",
    ),
    (
        "its watermark",
        SPOILS,
        "UPDATE max_seq_id SET seq_id = seq_id - 1 WHERE rowid = (SELECT max(rowid) FROM max_seq_id)",
    ),
    ("its dimension", SPOILS, "UPDATE collections SET dimension = dimension + 1 WHERE name LIKE 'importer%'"),
    (
        "its schema",
        SPOILS,
        "UPDATE collections SET schema_str = json_set(schema_str, '$.x', 1) WHERE name LIKE 'importer%'",
    ),
    ("its index's header", SPOILS_INDEX, "header.bin 20 255"),
    ("its index's rows", SPOILS_INDEX, "data_level0.bin 134 1"),
    ("its index's ids", SPOILS_INDEX, "index_metadata.pickle 99 1"),
];

/// The comparison on samples sees each part: where one differs, Chroma takes the records, and the run says so. Every third in
/// `make test`.
#[test]
fn samples_that_come_out_otherwise_leave_the_records_to_chroma() {
    let step = if std::env::var_os("FILL_MUTATIONS").is_some() { 1 } else { 3 };
    let source = Store::absent();
    twins("1.5.9", &["plain", source.path()]);
    for (what, variable, how) in OF_A_SAMPLE.iter().step_by(step) {
        let target = Store::absent();
        let run = by_files(source.path(), &target, "1.5.9").env(variable, how).env(SPOILS_SAMPLES, "1");
        let report = run.verified();
        let told = report.check("fill")["message"].as_str().unwrap();
        println!("| {what} | {} |", told.chars().take(300).collect::<String>());
        assert!(
            told.starts_with("the target's Chroma takes the records") && told.contains("sample records"),
            "{what}: {told}"
        );
        let said = report.output.stderr_text();
        assert!(said.contains("fault point ") && said.contains("its files are not filled"), "{what}: {said}");
        report.says(&["Its files were not filled"]);
    }
}

/// Every fourth of them; with `FILL_MUTATIONS=all`, all, and the rows of the table of docs/reliability.md. A store is called verified
/// only if it answers as Chroma's own.
#[test]
fn what_a_builder_of_indexes_could_do_wrong_is_caught() {
    let step = if std::env::var_os("FILL_MUTATIONS").is_some() { 1 } else { 4 };
    let source = Store::absent();
    twins("1.5.9", &["plain", source.path(), "cosine", "20"]);
    let engine = Store::absent();
    Migration::new(source.path(), engine.path()).written_by("1.5.9").verified();
    let expected = answers("1.5.9", &engine);
    for (what, spoilt) in OF_THE_INDEX.iter().step_by(step) {
        let target = Store::absent();
        let report = erred(&source, &target, what, (SPOILS_INDEX, spoilt));
        match report.reason() {
            "Verified" => assert_eq!(answers("1.5.9", &target), expected, "{what}: called verified"),
            "Unavailable" | "VerificationFailed" => {}
            other => panic!("{what}: {other}"),
        }
    }
}

/// Every fifth of them; with `FILL_MUTATIONS=all`, all, and the rows of the table of docs/reliability.md. A store that is called
/// verified has to answer as Chroma's own, and still so after changes of all kinds.
#[test]
fn what_an_importer_could_do_wrong_is_caught() {
    let step = if std::env::var_os("FILL_MUTATIONS").is_some() { 1 } else { 5 };
    let source = Store::absent();
    twins("1.5.9", &["plain", source.path()]);
    let engine = Store::absent();
    Migration::new(source.path(), engine.path()).written_by("1.5.9").verified();
    let expected = answers("1.5.9", &engine);
    live(&engine);
    let later = answers("1.5.9", &engine);
    let mut uncaught = Vec::new();
    for (what, sql) in MUTATIONS.iter().step_by(step) {
        let target = Store::absent();
        let report = erred(&source, &target, what, (SPOILS, sql));
        match report.reason() {
            "Verified" | "VerifiedWithSkips" => {
                let is_like = answers("1.5.9", &target) == expected;
                live(&target);
                if !is_like || answers("1.5.9", &target) != later {
                    uncaught.push((*what, is_like));
                }
            }
            "VerificationFailed" if report.message().contains("does not add up") => {
                assert!(!target.path.exists(), "{what}");
            }
            "Unavailable" | "VerificationFailed" => {}
            other => panic!("{what}: {other}"),
        }
    }
    assert!(uncaught.is_empty(), "called verified, and not as Chroma's own (true: only later): {uncaught:?}");
}

/// A tester's finding: a fill that does not add up ended as something that a rerun resumes (exit 4), which fills as wrongly again.
#[test]
fn a_fill_that_does_not_add_up_is_a_failed_verification_and_says_what_helps() {
    let (source, target) = (generated("1.5.9", 50, 3, "l2"), Store::absent());
    let run = || by_files(source.path(), &target, "1.5.9");
    let report = run().env(SPOILS, "DELETE FROM embeddings WHERE id = 7").ends(5);
    assert_eq!(report.reason(), "VerificationFailed", "{}", report.json);
    report.says(&["does not add up", "--fill engine", "the target is as it was"]);
    assert!(!report.message().contains("run it again") && !target.path.exists(), "{}", report.message());
    run().verified();
}

/// A run whose importer errs as this variable says.
#[track_caller]
fn erred(source: &Store, target: &Store, what: &str, (variable, how): (&str, &str)) -> Report {
    let report = by_files(source.path(), target, "1.5.9").env(variable, how).ended();
    assert!(report.output.stderr_text().contains("fault point "), "{what}: {report:?}");
    println!("| {what} | {} | {} |", report.reason(), report.message().chars().take(400).collect::<String>());
    report
}

fn live(store: &Store) {
    twins("1.5.9", &["live", store.path(), "3", "60"]);
}
