//! An importer that errs is found by the ordinary run: each part of what it writes, left out or changed by one. The program that
//! stands for Chroma changes the filled files before the real one opens them, for nothing of ours can be made to err so.

use std::os::unix::fs::PermissionsExt as _;

use super::super::support::chroma::env;
use super::super::support::migration::Migration;
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
    (
        "an integer is one more",
        "UPDATE embedding_metadata SET int_value = int_value + 1 WHERE rowid = (SELECT min(rowid) FROM embedding_metadata WHERE int_value < 1000)",
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
];

/// A Chroma that changes a filled store before it opens it. `$6` is the folder (`run --host H --port P --path F`).
fn chroma(scratch: &std::path::Path, sql: &str) -> std::path::PathBuf {
    let file = scratch.join("chroma");
    let real = env("1.5.9");
    let script = format!(
        "#!/bin/sh\nfor folder; do :; done\ncase \"$folder\" in */store) '{}' - \"$folder\" <<'END'\n\
         import os, sqlite3, sys\npath = sys.argv[1] + '/chroma.sqlite3'\nmark = os.environ['CHANGED']\n\
         if os.path.exists(path) and not os.path.exists(mark):\n    db = sqlite3.connect(path)\n    \
         db.execute(\"\"\"{sql}\"\"\")\n    db.commit()\n    open(mark, 'w').write(str(db.total_changes))\nEND\n;; esac\n\
         exec '{}' \"$@\"\n",
        real.python().display(),
        real.chroma().display()
    );
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

/// Every third of them; with `FILL_MUTATIONS=all`, all, and the rows of the table of docs/reliability.md. A store that is called
/// verified has to answer as Chroma's own, and still so after changes of all kinds.
#[test]
fn what_an_importer_could_do_wrong_is_caught() {
    let step = if std::env::var_os("FILL_MUTATIONS").is_some() { 1 } else { 3 };
    let source = generated("1.5.9", 60, 3, "l2");
    let engine = Store::absent();
    Migration::new(source.path(), engine.path()).written_by("1.5.9").verified();
    let expected = answers("1.5.9", &engine);
    live(&engine);
    let later = answers("1.5.9", &engine);
    let mut uncaught = Vec::new();
    for (what, sql) in MUTATIONS.iter().step_by(step) {
        let (target, scratch) = (Store::absent(), tempfile::tempdir().unwrap());
        let mark = scratch.path().join("changed");
        let program = chroma(scratch.path(), sql);
        let migration = by_files(source.path(), &target, "1.5.9").written_by_program(&program);
        let report = migration.env("CHANGED", mark.to_str().unwrap()).ended();
        let changed = std::fs::read_to_string(&mark).unwrap_or_else(|e| panic!("{what}: nothing was changed: {e}"));
        assert!(changed.trim() != "0", "{what}: it changed no row");
        println!("| {what} | {} | {} |", report.reason(), report.message().chars().take(200).collect::<String>());
        if ["Verified", "VerifiedWithSkips"].contains(&report.reason()) {
            let is_like = answers("1.5.9", &target) == expected;
            live(&target);
            if !is_like || answers("1.5.9", &target) != later {
                uncaught.push((*what, is_like));
            }
        }
    }
    assert!(uncaught.is_empty(), "called verified, and not as Chroma's own (true: only later): {uncaught:?}");
}

fn live(store: &Store) {
    twins("1.5.9", &["live", store.path(), "3", "60"]);
}
