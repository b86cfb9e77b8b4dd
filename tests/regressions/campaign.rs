//! What the fault campaign found (`make faults`), each by a test of its own.

use serde_json::json;

use crate::support::api::{create, write};
use crate::support::chroma::ChromaServer;
use crate::support::migration::{DEFAULT, Migration};
use crate::support::proxy::{Fault, Proxy};
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

/// 0.6.3 reads the metadata of a record and then its vector. If the record is deleted in between it answers 400 with a
/// `TypeError` of its own, which ended a run beside a source that changed. A proxy says so here, for that moment lasts
/// microseconds; how the server comes to such an answer is in `http::records`.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_that_slips_while_a_record_goes_is_asked_again() {
    const WORDS: &str = "'NoneType' object is not subscriptable";
    let (folder, into) = (Store::absent(), Store::absent());
    for store in [&folder, &into] {
        std::fs::create_dir(&store.path).unwrap();
    }
    let (server, target) = (ChromaServer::start("0.6.3", &folder.path), ChromaServer::start("1.5.9", &into.path));
    create(&server, DEFAULT, &json!({"name": "notes"}));
    let ids: Vec<String> = (0..250).map(|n| format!("n-{n:03}")).collect();
    let vectors: Vec<[usize; 2]> = (0..250).map(|n| [n, 1]).collect();
    let records = json!({"ids": ids, "embeddings": vectors, "documents": ids});
    write(&server, DEFAULT, "notes", "add", &records);
    for slips in [1, 2] {
        // every so many-th answer of a run
        let rule = move |seen: &crate::support::proxy::Seen| {
            let is_slip = seen.verb() == "get" && seen.before % 4 < slips;
            if is_slip { Fault::Says(400, WORDS) } else { Fault::Pass }
        };
        let proxy = Proxy::start(&server.url, rule).await;
        let (from, to, pair) = (proxy.url.clone(), target.url.clone(), format!("notes=after-{slips}"));
        let run = move || Migration::new(&from, &to).only(&[&pair]).verified().count("verified");
        assert_eq!(tokio::task::spawn_blocking(run).await.unwrap(), 250, "{slips} of 4");
    }
}
