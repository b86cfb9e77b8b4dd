//! Bad input: a clear error that says what to do, the exit code of the contract, and a target that nobody has touched.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::support::api::{create, snapshot, write};
use super::support::chroma::{ChromaServer, env, free_port};
use super::support::command::TestCommand;
use super::support::gateway::Gateway;
use super::support::migration::{DEFAULT, Migration, Report, local, remote};
use super::support::stores::{Store, committed, damage, generated};

/// A server with one collection of one record: an untouched target is one that still holds just this.
struct Target {
    server: ChromaServer,
    before: Vec<Json>,
    _folder: Store,
}

impl Target {
    fn new() -> Self {
        let folder = Store::absent();
        let server = ChromaServer::start("1.5.9", &folder.path);
        create(&server, DEFAULT, &json!({"name": "there"}));
        write(&server, DEFAULT, "there", "add", &json!({"ids": ["a"], "embeddings": [[1.0, 2.0]], "documents": ["x"]}));
        let before = snapshot(&server, DEFAULT);
        Self { server, before, _folder: folder }
    }

    fn config(&self) -> String {
        remote(&self.server, DEFAULT)
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(snapshot(&self.server, DEFAULT), self.before);
    }

    /// Runs a migration from there, asserts its exit and what a person reads, and that nothing was written.
    #[track_caller]
    fn refuses(&self, source: &str, collections: &[&str], code: i32, texts: &[&str]) -> Report {
        let report = Migration::new(source, &self.config()).only(collections).ends(code);
        report.says(texts);
        self.is_untouched();
        report
    }
}

/// Every file below a folder: length, time of change and content.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let about = fs::metadata(&path).unwrap();
                let hash = Sha256::digest(fs::read(&path).unwrap()).to_vec();
                found.insert(path, (about.len(), about.modified().unwrap(), hash));
            }
        }
    }
    found
}

/// A usage error: nothing is opened, so it is told on stderr, without a report.
#[track_caller]
fn usage(args: &[&str], texts: &[&str]) {
    let output = TestCommand::new().args(args).run().code(2);
    for text in texts {
        assert!(output.stderr_text().contains(text), "expected {text:?} in\n{}", output.stderr_text());
    }
}

#[test]
fn arguments_that_make_no_sense() {
    let good = ["migrate", "--source-config", "/nowhere", "--target-config", "http://127.0.0.1:1"];
    let with = |more: &[&'static str]| [good.as_slice(), more].concat();
    usage(&with(&["--batch-size", "0"]), &["invalid value '0' for '--batch-size", "write a number from 1 to 41666"]);
    usage(&with(&["--batch-size", "many"]), &["write a number from 1"]);
    usage(&with(&["--delay", "soon"]), &["'--delay", "write for instance 1s, 500ms or 0"]);
    usage(&with(&["--collection", "=x"]), &["write NAME, or NAME=TARGET"]);
    usage(&with(&["--on-conflict", "merge"]), &["possible values: skip, overwrite, fail"]);
    usage(&with(&["--token", "secret"]), &["unexpected argument '--token'"]);
    usage(&["migrate", "--target-config", "x"], &["--source-config <PATH_OR_JSON>", "required"]);
    usage(&["verify", "--source-config", "a", "--target-config", "b", "--dry-run"], &["unexpected argument"]);
}

#[test]
fn configurations_that_make_no_sense() {
    let source = |text| ["migrate", "--source-config", text, "--target-config", "http://127.0.0.1:1"];
    for (text, says) in [
        (r#"{"path": "#, "the source configuration is not valid JSON"),
        (r#"{"host": "h", "prot": 1}"#, "unknown field `prot`, expected one of `host`, `port`"),
        (r#"{"path": "/x", "token": "abc"}"#, "unknown field `token`"),
        (r#"{"path": 5}"#, "has a wrong key or value"),
        (r#"{"host": "h", "port": 99999}"#, "expected u16"),
        (r#"{"type": "cloud", "config": {}}"#, "write local or remote"),
        (r#"{"type": "local", "config": {"path": "/x"}, "more": 1}"#, "unknown field `more`"),
        (r#"{"host": "a b"}"#, "wrong host \"a b\""),
        ("", "is empty; write a store's folder"),
    ] {
        usage(&source(text), &[says]);
    }
    let both = ["migrate", "--source-type", "remote", "--source-config", "/x", "--target-config", "/y"];
    usage(&both, &["neither JSON, a URL, nor a file", "{\"host\": \"localhost\", \"port\": 8000}"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "{\"host\": ").unwrap();
    let path = file.path().to_str().unwrap();
    usage(&["inspect", path], &[path, "is not valid JSON"]);
}

#[test]
fn a_source_that_is_no_store() {
    let target = Target::new();
    let scratch = tempfile::tempdir().unwrap();
    let missing = scratch.path().join("missing");
    target.refuses(missing.to_str().unwrap(), &[], 4, &["the folder does not exist; check the path"]);

    let empty = scratch.path().join("empty");
    fs::create_dir(&empty).unwrap();
    target.refuses(empty.to_str().unwrap(), &[], 4, &["the folder is empty; check the path"]);

    let other = scratch.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "notes").unwrap();
    let says = ["it holds notes.txt", "give the folder that holds chroma.sqlite3"];
    target.refuses(other.to_str().unwrap(), &[], 3, &says);

    fs::write(other.join("chroma.sqlite3"), "no database, but long enough to have a header".repeat(100)).unwrap();
    target.refuses(other.to_str().unwrap(), &[], 3, &["chroma.sqlite3"]);
    // Looking leaves no trace.
    assert!(!missing.exists());
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn a_damaged_source() {
    let target = Target::new();
    for version in ["1.5.9", "0.4.24"] {
        type Damage<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);
        let damages: [Damage; 2] = [
            ("truncate-database", &["9000"], &["chroma.sqlite3 is damaged"]),
            ("unknown-migration", &[], &["its layout is newer than this program", "migrate from that server"]),
        ];
        for (how, args, says) in damages {
            let store = committed(version);
            damage(&store.path, how, args);
            let before = files(&store.path);
            let report = target.refuses(store.path(), &["synced_l2"], 3, says);
            assert_eq!(files(&store.path), before, "{how}: a source is never written");
            assert_eq!(report.reason(), "PreflightRefused", "{how}");
        }
    }
}

/// A damaged index stopped everything. Now it costs the records whose vector is in no other place: 0.4 never purges its log,
/// and loses none.
#[test]
fn a_damaged_index_costs_its_records_only() {
    for version in ["1.5.9", "0.4.24"] {
        let damages: [(&str, &[&str], &str); 3] = [
            ("truncate", &["synced_l2", "data_level0.bin", "100"], "data_level0.bin is damaged"),
            ("truncate", &["synced_l2", "header.bin", "10"], "header.bin is damaged"),
            ("foreign-pickle", &["synced_l2"], "index_metadata.pickle is damaged"),
        ];
        for (how, args, says) in damages {
            let (store, folder) = (committed(version), Store::absent());
            damage(&store.path, how, args);
            let before = files(&store.path);
            let target = ChromaServer::start("1.5.9", &folder.path);
            let run = Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).only(&["synced_l2"]);
            // the log of 0.4.24 has all, and the layout of the rows is known without the header
            if version == "0.4.24" {
                assert_eq!(run.verified().count("unreadable"), 0, "{how}");
            } else if args.contains(&"header.bin") {
                run.verified().says(&[says]);
            } else {
                let report = run.ends(5);
                assert_eq!(report.reason(), "VerificationFailed", "{how}");
                assert!(report.count("unreadable") > 0 && report.count("verified") > 0, "{how}: {}", report.json);
                report.says(&[says]);
            }
            assert_eq!(files(&store.path), before, "{how}: a source is never written");
            assert!(!store.path.with_file_name("executed").exists(), "a pickle was executed");
        }
    }
}

#[test]
fn an_address_where_no_chroma_is() {
    let target = Target::new();
    let port = free_port();
    let nobody = format!("{{\"host\": \"127.0.0.1\", \"port\": {port}}}");
    let report = target.refuses(&nobody, &[], 4, &[&format!("server http://127.0.0.1:{port} did not answer")]);
    assert_eq!(report.reason(), "Unavailable");
    report.says(&["Connection refused"]);
    target.refuses(
        "{\"host\": \"no-such-host.invalid\"}",
        &[],
        4,
        &["server http://no-such-host.invalid:8000 did not answer"],
    );

    let page = web_server();
    for side in ["source", "target"] {
        let there = target.config();
        let (from, to) =
            if side == "source" { (page.as_str(), there.as_str()) } else { (there.as_str(), page.as_str()) };
        let report =
            Migration::new(from, to).refused(&["no Chroma answers there", "check the URL, its port and its path"]);
        report.says(&[&format!("the {side} failed")]);
    }
    target.is_untouched();
}

/// What answers every request with a web page.
fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let page = "<!DOCTYPE html><title>Welcome</title>";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n", page.len());
            let _ = write!(stream, "{head}Connection: close\r\n\r\n{page}");
        }
    });
    url
}

#[test]
fn credentials_that_are_wrong_or_missing() {
    let target = Target::new();
    let gateway = Gateway::start(&target.server.url, ("authorization", "Bearer the-right-token"), false);
    let source = target.config();
    let missing = Migration::new(&source, &gateway.url).ends(4);
    missing.says(&["(status 401)", "no credentials were given; give a bearer token"]);
    let wrong = Migration::new(&source, &gateway.url).env("MEMORY_MIGRATION_TARGET_TOKEN", "another-token").ends(4);
    wrong.says(&["(status 401)", "check the bearer token"]);
    assert!(!format!("{wrong:?}").contains("another-token"));
    target.is_untouched();
}

#[test]
fn names_that_are_not_there_or_not_possible() {
    let target = Target::new();
    let store = committed("1.5.9");
    let source = ChromaServer::start("1.5.9", &store.path);
    let from = remote(&source, DEFAULT);
    let report = target.refuses(&from, &["singel"], 4, &["collection \"singel\" was not found", "it holds absent, "]);
    assert_eq!(report.reason(), "SourceNotFound");
    for (name, says) in [
        ("single=ab", "\"ab\" is no collection name that Chroma takes (it has 2 characters, not 3 to 512)"),
        ("single=my memories", "holds other characters than"),
        ("single=-x-", "does not start and end with a letter or digit"),
        ("single=a..b", "two periods in a row"),
        ("single=10.0.0.1", "is an IP address"),
    ] {
        target.refuses(&from, &[name], 3, &["names: ", says, "choose other target names"]);
    }
    let says = ["\"single\" and \"values\" would both go to \"same\"", "--collection values=same-2"];
    target.refuses(&from, &["single=same", "values=same"], 3, &says);

    for (place, missing) in [(("nobody", "default_database"), "nobody"), (("default_tenant", "nothing"), "nothing")] {
        let report = target.refuses(&remote(&source, place), &[], 4, &[missing, "was not found"]);
        assert_eq!(report.reason(), "SourceNotFound");
        let report = Migration::new(&from, &remote(&target.server, place)).only(&["single"]).ends(4);
        assert_eq!(report.reason(), "TargetNotFound");
        report.says(&[missing, "was not found"]);
    }
    target.is_untouched();
}

#[test]
fn a_target_collection_that_cannot_hold_the_source() {
    let store = committed("1.5.9");
    let source = ChromaServer::start("1.5.9", &store.path);
    let folder = Store::absent();
    let server = ChromaServer::start("1.5.9", &folder.path);
    let function = |name: &str| json!({"type": "known", "name": name, "config": {"model": "x"}});
    let with = |name: &str, space: &str, function: Option<Json>| {
        let configuration = json!({"hnsw": {"space": space}, "embedding_function": function});
        create(&server, DEFAULT, &json!({"name": name, "configuration": configuration}));
    };
    with("other-dimension", "l2", None);
    write(&server, DEFAULT, "other-dimension", "add", &json!({"ids": ["a"], "embeddings": [[1.0, 2.0]]}));
    with("other-distance", "cosine", None);
    with("other-function", "cosine", Some(function("openai")));
    let before = snapshot(&server, DEFAULT);
    for (pair, says) in [
        ("log_l2=other-dimension", "\"other-dimension\" has dimension 2, the source 3"),
        ("log_l2=other-distance", "\"other-distance\" has distance cosine, the source l2"),
        ("embedded_default=other-function", "\"other-function\" has embedding function \"openai\""),
    ] {
        let remedy = "choose another target name, or delete the target's collection";
        let report = Migration::new(&remote(&source, DEFAULT), &remote(&server, DEFAULT)).only(&[pair]);
        report.refused(&["compatible: ", says, remedy]);
    }
    assert_eq!(snapshot(&server, DEFAULT), before);
}

/// Records that a server takes, and that it or another one then chokes on.
#[test]
fn records_that_a_server_must_not_be_sent() {
    let target = Target::new();
    let store = committed("0.4.24");
    let source = ChromaServer::start("0.4.24", &store.path);
    let from = remote(&source, ("default_tenant", "unsendable"));
    let says =
        ["\"key '#tag'\" of \"keys\"", "\"key '$cost'\"", "is empty or starts with '#' or '$'", "change or delete"];
    target.refuses(&from, &["keys"], 3, &says);
}

#[test]
fn a_source_that_is_the_target() {
    let store = committed("1.5.9");
    let server = ChromaServer::start("1.5.9", &store.path);
    let before = snapshot(&server, DEFAULT);
    let there = remote(&server, DEFAULT);
    // By another name, so that only the collections themselves can tell.
    let other_name = format!("http://localhost:{}", server.port);
    for target in [there.as_str(), other_name.as_str()] {
        let report = Migration::new(&there, target).only(&["single"]);
        report.refused(&["same-store: ", "the same UUID", "one store", "name another target"]);
        let report = Migration::new(&there, target).only(&["single=renamed"]);
        report.refused(&["same-store: ", "one store"]);
    }
    Migration::new(store.path(), &there).only(&["single"]).refused(&["one store"]);
    assert_eq!(snapshot(&server, DEFAULT), before);
}

#[test]
fn a_local_target_of_an_older_layout() {
    let source = committed("1.5.9");
    for version in ["0.6.3", "0.4.24"] {
        let store = committed(version);
        let before = files(&store.path);
        let report = Migration::new(source.path(), store.path()).only(&["single=new_one"]).written_by("1.5.9");
        report.refused(&["target-layout: ", "older than", "would be changed for good", "--chroma-bin"]);
        assert_eq!(files(&store.path), before);
    }
}

#[test]
fn a_local_target_that_is_none() {
    let source = committed("1.5.9");
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("notes.txt"), "notes").unwrap();
    let before = files(scratch.path());
    let target = scratch.path().to_str().unwrap();
    let report = Migration::new(source.path(), target).only(&["single"]).written_by("1.5.9");
    report.refused(&["it holds notes.txt", "give the folder that holds chroma.sqlite3"]);
    assert_eq!(files(scratch.path()), before);

    // A refusal about the source, and no program that could write: the folder is not even made.
    let absent = Store::absent();
    let unsendable = local(&source.path, ("default_tenant", "unsendable"));
    Migration::new(&unsendable, absent.path()).only(&["cosine_log"]).written_by("1.5.9").refused(&["tiny 0"]);
    assert!(!absent.path.exists());
    let report = Migration::new(source.path(), absent.path()).args(["--chroma-bin", "/nowhere/chroma"]).ends(4);
    report.says(&["the program chroma was not found in /nowhere", "pip install chromadb", "--chroma-bin"]);
    assert!(!absent.path.exists());

    let store = committed("1.5.9");
    let before = files(&store.path);
    damage(&store.path, "truncate-database", &["9000"]);
    let report = Migration::new(source.path(), store.path()).only(&["single"]).written_by("1.5.9");
    report.refused(&["the target failed", "chroma.sqlite3"]);
    assert_ne!(files(&store.path), before);

    let program = env("1.5.9").python();
    let report = Migration::new(source.path(), absent.path()).only(&["single"]);
    let report = report.args(["--chroma-bin", program.to_str().unwrap()]).ends(4);
    report.says(&["the Chroma server", "the end of its log"]);
}

/// A tester's finding: a log line that could not be written ended a run with 101, and an answer that was not written with 0.
#[test]
fn what_cannot_be_printed_ends_no_run_and_is_no_answer() {
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let command = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_memory-migration"));
        command.args(args).env("RUST_LOG", "debug").stdout(full());
        command
    };
    for args in [&["crd"][..], &["inspect", committed("1.5.9").path()]] {
        let output = command(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {said}");
        assert!(said.contains("failed to write the answer to standard output: No space left"), "{said}");
    }
    let (source, target) = (generated("1.5.9", 50, 3, "l2"), Store::absent());
    let chroma = env("1.5.9").chroma();
    let args = ["migrate", "--source-config", source.path(), "--target-config", target.path(), "--delay", "0"];
    let args = [&args[..], &["--chroma-bin", chroma.to_str().unwrap()]].concat();
    assert_eq!(command(&args).stderr(full()).status().unwrap().code(), Some(0));
    Migration::verify(source.path(), target.path()).verified();
}
