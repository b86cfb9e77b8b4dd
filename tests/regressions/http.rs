//! What was found wrong with servers: their distance, their answers, and whose server it is.

mod one_bad;
mod records;
mod refused;
mod words;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memory_migration_operator::endpoint::serving::process_has_files_of;
use memory_migration_operator::model::Collection;
use memory_migration_operator::store::Reader;
use memory_migration_operator::store::http::{Auth, HttpStore, ServerConfig, open};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::super::support::api::{create, snapshot, write};
use super::super::support::chroma::{ChromaServer, Python, VERSIONS, env};
use super::super::support::command::TestCommand;
use super::super::support::dump::dump_folder;
use super::super::support::gateway::Gateway;
use super::super::support::migration::{DEFAULT, Migration, remote};
use super::super::support::stores::{Store, generated};

fn opened(url: &str) -> (tokio::runtime::Runtime, HttpStore) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(open(ServerConfig::new(url.parse().unwrap()))).unwrap();
    (runtime, store)
}

/// A collection's engine goes by the distance it was made with, whatever its metadata says since (`modify` replaces it on
/// every version, `get_or_create_collection` on 0.4.24): such a collection was taken for l2, and its copy made l2.
#[test]
fn the_distance_is_the_engines_also_where_its_metadata_was_replaced() {
    for version in VERSIONS {
        let store = Store::absent();
        Python::run(version, "tests/chroma/replace_metadata.py", &[store.path()]);
        let newer: &[&str] = if version.starts_with("0.") { &["1.0.20", "1.5.9"] } else { &[] };
        for served_by in [version].iter().chain(newer) {
            let copy = Store::absent();
            copy_folder(&store.path, &copy.path);
            let server = ChromaServer::start(served_by, &copy.path);
            let (runtime, reader) = opened(&server.url);
            let collections = runtime.block_on(reader.collections()).unwrap();
            assert!(collections.len() >= 14);
            for collection in &collections {
                let case = format!("{} of {version}, served by {served_by}: {collection:?}", collection.name);
                distance_is_known(&runtime, &reader, collection, version.starts_with("0."), &case);
            }
        }
    }
}

fn distance_is_known(
    runtime: &tokio::runtime::Runtime,
    reader: &HttpStore,
    collection: &Collection,
    is_old: bool,
    case: &str,
) {
    let remarks = runtime.block_on(reader.remarks(collection)).unwrap();
    if collection.name == "contradicted" {
        assert_eq!(collection.distance.as_str(), "cosine", "{case}");
        let refusal = remarks.refusal.unwrap_or_else(|| panic!("not refused: {case}"));
        assert!(refusal.contains("compares by cosine") && refusal.contains("l2"), "{refusal}");
        return;
    }
    let (kind, expected) = collection.name.rsplit_once('-').unwrap();
    if kind == "zeroed" && expected != "l2" && is_old {
        // its documents are gone, and zero vectors tell that it is not l2, and no more
        let refusal = remarks.refusal.unwrap_or_else(|| panic!("not refused: {case}"));
        assert!(refusal.contains("does not compare by l2") && refusal.contains("cosine and ip"), "{case}: {refusal}");
        return;
    }
    assert_eq!(collection.distance.as_str(), expected, "{case}");
    assert_eq!(
        collection.dimension,
        (collection.name != "emptied-cosine" || collection.dimension.is_some()).then_some(3)
    );
    assert_eq!(remarks.refusal, None, "{case}");
    let is_open = kind.starts_with("zero") && expected != "l2";
    assert_eq!(remarks.notes.iter().any(|note| note.contains("not probed")), is_open, "{case}: {remarks:?}");
}

fn copy_folder(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(done.success());
}

/// A program that stands for `chroma`: `script` sees the real one as `$real`, the target's folder as `$target`, a folder
/// of its own as `$own`, and what a `chroma run` is called with as `$@` (`$5` is the port, `$7` the folder).
fn program(script: &str, target: &Path) -> (TempDir, PathBuf) {
    let own = tempfile::tempdir().unwrap();
    let path = own.path().join("chroma");
    let real = env("server").chroma();
    let head = format!("real={}\ntarget={}\nown={}", real.display(), target.display(), own.path().display());
    fs::write(&path, format!("#!/bin/sh\n{head}\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (own, path)
}

/// A mock, for no real process can be made to take a port in the one moment in which it is free: a program that hands the
/// port to somebody else's server, a real one on another folder, and lives on.
const SQUATTER: &str = r#"
squat() {
  (setsid "$real" run --host 127.0.0.1 --port "$1" --path "$own/theirs" >/dev/null 2>&1 & echo $! >>"$own/pids")
  exec sleep 600
}
"#;

struct Squatters(TempDir);

impl Drop for Squatters {
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.0.path().join("pids")).unwrap_or_default().lines() {
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Whoever answered first at the port of the server that writes a local target was believed, and got the records.
#[test]
fn a_server_that_is_not_ours_gets_nothing() {
    let source = generated("1.5.9", 40, 8, "l2");
    for (always, code) in [(true, 4), (false, 0)] {
        let target = Store::absent();
        let when = if always { "true" } else { r#"[ ! -e "$own/pids" ]"# };
        let script =
            format!("{SQUATTER}\nif [ \"$7\" = \"$target\" ] && {when}; then squat \"$5\"; fi\nexec \"$real\" \"$@\"");
        let (own, chroma) = program(&script, &target.path);
        let own = Squatters(own);
        let run = Migration::new(source.path(), target.path()).args(["--chroma-bin", chroma.to_str().unwrap()]);
        let report = run.ends(code);
        if always {
            report.says(&["was given port", "where another process answers"]);
        } else {
            assert_eq!(report.reason(), "Verified");
            assert_eq!(dump_folder("1.5.9", &target.path).collection("generated").count, 40);
        }
        assert!(own.0.path().join("pids").exists(), "nobody took the port");
        assert_eq!(dump_folder("1.5.9", &own.0.path().join("theirs")).collections.len(), 0);
    }
}

/// The same with a program that starts its server on another folder: its socket is ours, its collections are not.
#[test]
fn a_server_on_another_folder_gets_no_record() {
    let source = generated("1.5.9", 40, 8, "l2");
    for made_before in [false, true] {
        let target = Store::absent();
        let (own, chroma) = program(
            r#"
[ "$7" = "$target" ] && exec "$real" run --host 127.0.0.1 --port "$5" --path "$own/theirs"
exec "$real" "$@""#,
            &target.path,
        );
        let theirs = own.path().join("theirs");
        for folder in [&target.path, &theirs] {
            let mut server = ChromaServer::start("1.5.9", folder);
            if made_before {
                create(&server, DEFAULT, &json!({"name": "there"}));
                write(
                    &server,
                    DEFAULT,
                    "there",
                    "add",
                    &json!({"ids": ["a"], "embeddings": [[1.0]], "documents": ["x"]}),
                );
            }
            server.stop();
        }
        let run = Migration::new(source.path(), target.path()).args(["--chroma-bin", chroma.to_str().unwrap()]);
        run.ends(4).says(&["it does not write", target.path()]);
        let held: u64 = dump_folder("1.5.9", &theirs).collections.iter().map(|one| one.count).sum();
        assert_eq!(held, u64::from(made_before));
    }
}

/// The Chroma that writes a local target was handed the tokens of both sides.
#[test]
fn the_server_of_a_local_target_inherits_no_token() {
    let source = generated("1.5.9", 3, 8, "l2");
    let target = Store::absent();
    let (own, chroma) = program("env >\"$own/seen\"\nexec \"$real\" \"$@\"", &target.path);
    let run = Migration::new(source.path(), target.path()).args(["--chroma-bin", chroma.to_str().unwrap()]);
    run.env("MEMORY_MIGRATION_SOURCE_TOKEN", "hunter2").env("MEMORY_MIGRATION_TARGET_PASSWORD", "hunter3").verified();
    let seen = fs::read_to_string(own.path().join("seen")).unwrap();
    assert!(seen.contains("PATH=") && !seen.contains("hunter"), "{seen}");
}

/// A run that was ended while Chroma made its new target left a folder that every further run refused.
#[test]
fn a_target_whose_making_was_cut_short_is_taken_by_the_next_run() {
    for (version, moments) in [("1.5.9", 12_u32), ("0.6.3", 4)] {
        let source = generated("1.5.9", 20, 8, "l2");
        let mut cut_short = 0;
        for moment in 0..moments {
            let target = Store::absent();
            let run = || {
                let args = ["migrate", "--source-config", source.path(), "--target-config", target.path()];
                let chroma = if version == "1.5.9" { env("server").chroma() } else { env(version).chroma() };
                TestCommand::new().args(args).args(["--delay", "0", "--chroma-bin"]).args([chroma])
            };
            let mut first = run().start();
            let database = target.path.join("chroma.sqlite3");
            while !database.exists() {
                assert!(first.is_running(), "{:?}", first.wait());
                std::thread::yield_now();
            }
            // the moments lie within the making of the tables, which nothing announces
            let made = Instant::now();
            let until = Duration::from_millis(u64::from(moment) * if version == "1.5.9" { 4 } else { 30 });
            while made.elapsed() < until {
                std::thread::yield_now();
            }
            first.signal(if moment % 2 == 0 { Signal::KILL } else { Signal::TERM });
            drop(first.wait());
            cut_short += u32::from(fs::metadata(&database).is_ok_and(|found| found.len() < 200_000));
            // the server of a killed run ends a moment after it
            let mut output = run().run();
            while output.exit_code() == 4 && output.stdout_text().contains("in use") {
                output = run().run();
            }
            output.code(0).stdout("Verified");
        }
        assert!(cut_short > 0, "{version}: no moment was within the making");
    }
}

/// Two endpoints of one UUID are one store or a restored snapshot beside it; the process that serves it can tell.
#[test]
fn a_real_server_is_seen_to_serve_its_folder_and_no_other() {
    for version in ["1.5.9", "1.0.20", "0.6.3", "0.4.24"] {
        let (folder, other) = (Store::absent(), Store::absent());
        let server = ChromaServer::start(version, &folder.path);
        fs::create_dir_all(&other.path).unwrap();
        fs::write(other.path.join("chroma.sqlite3"), "").unwrap();
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("http://{host}:{}", server.port).parse().unwrap();
            assert_eq!(process_has_files_of(&url, &folder.path), Some(true), "{version} {host}");
            assert_eq!(process_has_files_of(&url, &other.path), Some(false), "{version} {host}");
        }
    }
}

/// A server that stood still for longer than one timeout was given up at its end.
#[test]
fn a_frozen_server_is_asked_again_after_its_first_timeout() {
    let folder = Store::absent();
    let server = ChromaServer::start("1.5.9", &folder.path);
    create(&server, DEFAULT, &json!({"name": "memories"}));
    let mut config = ServerConfig::new(server.url.parse().unwrap());
    config.timeouts.request = Duration::from_secs(1);
    config.timeouts.retry = Duration::from_secs(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let reader = runtime.block_on(open(config)).unwrap();
    server.signal(Signal::STOP);
    let listed = runtime.block_on(async {
        let thaw = async {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            server.signal(Signal::CONT);
        };
        tokio::join!(reader.collections(), thaw).0
    });
    assert_eq!(listed.unwrap().len(), 1);
    assert_eq!(snapshot(&server, DEFAULT).len(), 1);
}

/// A proxy that sends plain http to https: the first request follows it, on the same host, and all others go there.
#[test]
fn a_server_behind_a_redirect_to_https_is_read_and_written_there() {
    let folder = Store::absent();
    let server = ChromaServer::start("1.5.9", &folder.path);
    create(&server, DEFAULT, &json!({"name": "memories"}));
    let gateway = Gateway::start(&server.url, ("authorization", "Bearer the-right-token"), true);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let plain = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let to = gateway.url.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let read = std::io::Read::read(&mut stream, &mut head).unwrap_or(0);
            let path = String::from_utf8_lossy(&head[..read]).split(' ').nth(1).unwrap_or("/").to_owned();
            let answer =
                format!("HTTP/1.1 301 X\r\nlocation: {to}{path}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    let mut config = ServerConfig::new(plain.parse().unwrap());
    config.auth = Auth::Bearer("the-right-token".to_owned().into());
    config.tls.ca_pem = gateway.ca_pem.clone().into_bytes();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let reader = runtime.block_on(open(config)).unwrap();
    assert_eq!(runtime.block_on(reader.collections()).unwrap().len(), 1);
    assert!(reader.name().contains(&gateway.url), "{}", reader.name());
}

/// Two thousand collections are probed with a query each, and not slowly.
#[test]
fn a_probe_is_one_query_of_each_collection_and_none_the_second_time() {
    let (source, target) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &source.path);
    for n in 0..30 {
        let name = format!("memories-{n}");
        create(&server, DEFAULT, &json!({"name": name}));
        write(&server, DEFAULT, &name, "add", &json!({"ids": ["a"], "embeddings": [[n, 1.5]], "documents": ["x"]}));
    }
    create(&server, DEFAULT, &json!({"name": "empty"}));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(super::super::support::proxy::Proxy::start(&server.url, |_| {
        super::super::support::proxy::Fault::Pass
    }));
    let reader = runtime.block_on(open(ServerConfig::new(proxy.url.parse().unwrap()))).unwrap();
    for _ in 0..2 {
        assert_eq!(runtime.block_on(reader.collections()).unwrap().len(), 31);
        assert_eq!(proxy.seen().iter().filter(|seen| seen.verb() == "query").count(), 30);
    }
    let into = ChromaServer::start("1.5.9", &target.path);
    Migration::new(&remote(&server, DEFAULT), &remote(&into, DEFAULT)).verified();
}
