//! The report's page: made by every command that writes a report, and looked at in a real browser. tests/page/browser.py opens
//! Chromium and says what it sees; what is right is judged here. Without Chromium the test says that it was skipped.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use super::support::chroma::{ChromaServer, crate_path};
use super::support::command::TestCommand;
use super::support::migration::{DEFAULT, local, remote};
use super::support::stores::{Store, committed};

const SAMPLE: &str = "tests/page/report.json";

/// What `browser.py check` says of this page; None without Chromium, which is said.
fn seen_in_a_browser(page: &Path) -> Option<Json> {
    let chosen = std::env::var("CHROMIUM").ok();
    let names = chosen.iter().map(String::as_str).chain(["chromium", "chromium-browser", "google-chrome"]);
    let is_there = |name: &str| {
        let asked = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    if !names.into_iter().any(is_there) {
        eprintln!(
            "SKIPPED: no Chromium on PATH, the page was not looked at: tests/page/install.sh installs it as root"
        );
        return None;
    }
    let seen =
        Command::new("python3").arg(crate_path("tests/page/browser.py")).arg("check").arg(page).output().unwrap();
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    Some(serde_json::from_slice(&seen.stdout).unwrap())
}

#[test]
fn a_page_reads_well_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    TestCommand::new().args(["report"]).args([crate_path(SAMPLE)]).args(["--html"]).args([&page]).run().code(0);
    let Some(seen) = seen_in_a_browser(&page) else { return };
    assert_eq!(seen["console"], json!([]), "no error, no warning");
    assert_eq!(seen["requests"], json!([]), "no request to anywhere");
    for (width, needed) in seen["widths"].as_object().unwrap() {
        assert!(needed.as_u64().unwrap() <= width.parse().unwrap(), "{width} px, and the page needs {needed}");
    }
    let keyboard: Vec<&str> =
        seen["keyboard"].as_array().unwrap().iter().map(|reached| reached.as_str().unwrap()).collect();
    assert_eq!(keyboard.first(), Some(&"skip"), "the first key leads to the content: {keyboard:?}");
    assert!(keyboard.contains(&"filter"), "{keyboard:?}");
    assert_eq!(keyboard.iter().filter(|reached| **reached == "scroll").count(), 7, "tables scroll by keyboard");
    assert_eq!((&seen["rows"], &seen["left"]), (&json!(34), &json!(0)));
    assert_eq!(seen["shown"], "0 of 34 shown");
    let headings = [
        "Failed: VerificationFailed",
        "What was compared",
        "Records",
        "Rate over time",
        "How far numbers are apart",
        "Searches",
    ];
    for heading in headings {
        assert!(
            seen["headings"].as_array().unwrap().iter().any(|there| there.as_str().unwrap().contains(heading)),
            "{seen:#}"
        );
    }
    let images = seen["images"].as_array().unwrap();
    assert_eq!(images.len(), 2, "bars of rows are decoration: {images:?}");
    assert!(images[1].as_str().unwrap().starts_with("Records per second over 1m 42s: at most 7,224"), "{images:?}");
    assert!(images[0].as_str().unwrap().starts_with("Of 49,524 records: 49,494 verified"), "{images:?}");
    assert_eq!(seen["tables"], 7);
    assert_eq!(seen["pdf"], "%PDF", "it can be printed");
    assert_eq!((&seen["rows_without_script"], &seen["filter_without_script"]), (&json!(34), &json!(false)));
    assert_eq!(seen["dark"], "rgb(13, 17, 23)");
}

#[test]
fn a_report_file_is_a_page_where_its_name_says_so() {
    let store = committed("1.5.9");
    let target = Store::absent();
    let server = ChromaServer::start("1.5.9", &target.path);
    let (from, to) = (local(&store.path, DEFAULT), remote(&server, DEFAULT));
    let folder = tempfile::tempdir().unwrap();
    let run = |command: &str, more: &[&str], report: &str| {
        let report = folder.path().join(report);
        let ends = ["--source-config", &from, "--target-config", &to, "--collection", "synced_l2", "--report"];
        TestCommand::new().args([command]).args(ends).args([&report]).args(more).run().code(0);
        fs::read_to_string(report).unwrap()
    };
    let page = run("migrate", &["--delay", "0"], "a.html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("Succeeded: Verified"), "{page}");
    assert!(page.contains("Of 45 records: 45 verified: compared and equal"), "{page}");
    assert!(run("verify", &[], "b.HTM").contains("Succeeded: Verified"));
    let json = run("verify", &[], "c.json");
    let parsed: Json = serde_json::from_str(&json).unwrap();
    let done = |stage: &str| -> u64 {
        parsed["rate"]["points"].as_array().unwrap().iter().filter_map(|point| point[stage].as_u64()).sum()
    };
    assert_eq!((done("verifying"), done("copying")), (45, 0), "each record once: {}", parsed["rate"]);
    let ulps = parsed["collections"][0]["ulps"].as_array().unwrap();
    assert_eq!(
        (ulps.len(), ulps.iter().map(|n| n.as_u64().unwrap()).sum::<u64>()),
        (5, 45),
        "each record once: {ulps:?}"
    );

    let file = folder.path().join("c.json");
    let shown = TestCommand::new().args(["report"]).args([&file]).run().code(0);
    shown.stdout("45 records compared: every one is equal").stdout("Succeeded (Verified)");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"report.json": json}}).to_string();
    let again = folder.path().join("d.html");
    TestCommand::new().args(["report", "-", "--html"]).args([&again]).stdin(map).run().code(0);
    assert!(fs::read_to_string(again).unwrap().contains("Succeeded: Verified"));
    TestCommand::new().args(["report", "/no/such/report.json"]).run().code(2).stderr("failed to read the report");
    let nowhere = folder.path().join("no/such/folder.html");
    TestCommand::new()
        .args(["report"])
        .args([&file])
        .args(["--html"])
        .args([nowhere])
        .run()
        .code(4)
        .stderr("failed to write");
}

/// What the operator keeps: the lines of the log are the report that the termination message proves, without values unless
/// they are asked for.
#[test]
fn a_pods_log_carries_the_report_that_its_termination_message_proves() {
    let store = committed("1.5.9");
    let target = Store::absent();
    let server = ChromaServer::start("1.5.9", &target.path);
    let folder = tempfile::tempdir().unwrap();
    let volume = format!("from={}", store.path.parent().unwrap().display());
    let run = |values: bool| {
        let manifest = json!({
            "apiVersion": "memory-migration.dev/v1alpha1",
            "kind": "MemoryMigration",
            "metadata": {"name": "m"},
            "spec": {
                "source": {"local": {"claimName": "from", "path": store.path.file_name().unwrap().to_str().unwrap()}},
                "target": {"remote": {"url": server.url}},
                "collections": [{"name": "synced_l2"}],
                "pacing": {"batchSize": 100, "delay": "0s"},
                "report": {"values": values},
            },
        });
        let said = folder.path().join("termination-log");
        let ran = TestCommand::new()
            .args(["run", "-f", "-", "--run-hash", "0123", "--log-format", "json", "--termination-log"])
            .args([&said])
            .args(["--volume", &volume])
            .stdin(manifest.to_string())
            .run()
            .code(0);
        let summary: Json = serde_json::from_str(&fs::read_to_string(said).unwrap()).unwrap();
        let lines = ran.stderr_text().lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let parts: Vec<Json> = lines.filter(|line| line["memmig"] == "report").collect();
        let numbers: Vec<u64> = parts.iter().map(|part| part["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=parts.len() as u64).collect::<Vec<_>>());
        assert_eq!(summary["report"]["lines"], parts.len());
        let text: String = parts.iter().map(|part| part["part"].as_str().unwrap()).collect();
        let hash = <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes());
        assert_eq!(summary["report"]["sha256"], format!("{hash:x}"));
        assert_eq!(summary["report"]["bytes"], text.len());
        serde_json::from_str::<Json>(&text).unwrap()
    };
    let whole = run(false);
    assert_eq!((&whole["reason"], &whole["counts"]["verified"]), (&json!("Verified"), &json!(45)));
    let ids = ["a", "b"].map(|id| format!("{id}-{}", "x".repeat(9)));
    super::support::api::write(
        &server,
        DEFAULT,
        "synced_l2",
        "add",
        &json!({"ids": ids, "documents": ["secret", "secret"], "embeddings": [[1, 2, 3], [4, 5, 6]]}),
    );
    for values in [false, true] {
        let listed = run(values)["collections"][0]["differences"].as_array().unwrap().clone();
        assert_eq!(listed.len(), 2);
        for difference in listed {
            assert!(ids.iter().any(|id| difference["id"] == **id) && difference["field"] == "extra", "{difference}");
            assert_eq!(difference["detail"].as_str().unwrap().is_empty(), !values, "{difference}");
        }
    }
}
