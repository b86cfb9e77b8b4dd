//! What the fault campaign found (`make faults`), each by a test of its own.

use serde_json::json;

use crate::support::api::{create, write};
use crate::support::chroma::ChromaServer;
use crate::support::migration::{DEFAULT, Migration};
use crate::support::stores::Store;

/// Up to 0.6.3 a null among the documents of a write gets a full-text row without a text. That was called damage, so that a
/// verified migration into a local target could not be run again, and a source was refused its proof.
#[test]
fn a_record_that_was_written_with_a_null_document_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let target = ChromaServer::start("1.5.9", folder.path());
    for version in ["1.5.9", "1.0.20", "0.6.3", "0.5.23"] {
        let store = Store::absent();
        std::fs::create_dir(&store.path).unwrap();
        let mut server = ChromaServer::start(version, &store.path);
        create(&server, DEFAULT, &json!({"name": "notes"}));
        let records = json!({
            "ids": ["a", "b", "c"], "embeddings": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "documents": ["a text", null, "another text"], "metadatas": [{"n": 1}, {"n": 2}, {"n": 3}],
        });
        write(&server, DEFAULT, "notes", "add", &records);
        server.stop();
        let pair = format!("notes=from-{version}");
        let report = Migration::new(store.path(), &target.url).only(&[&pair]).verified();
        assert_eq!(report.count("verified"), 3, "{version}");
        if version == "0.6.3" {
            // the same folder as a target, as it is after a run
            let back = Migration::new(&target.url, store.path()).written_by(version).only(&["from-0.6.3=notes"]);
            back.args(["--dry-run"]).ends(0);
        }
    }
}
