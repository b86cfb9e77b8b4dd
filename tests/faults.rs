//! The fault table: whatever breaks on the way, nothing is lost, nothing is twice, and a rerun finishes the work.
//! Servers are real; only faults that a server cannot be made to show come from a proxy before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use memory_migration_operator::endpoint::{LocalWriter, migrate};
use memory_migration_operator::engine::progress::Tracker;
use memory_migration_operator::engine::select::Entry;
use memory_migration_operator::engine::{OnConflict, Options, Outcome, Pacing, Selection};
use memory_migration_operator::exit::Exit;
use memory_migration_operator::report::Reason;
use memory_migration_operator::store::http::ServerConfig;
use memory_migration_operator::{Endpoint, Folder, Request};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::support::chroma::{ChromaServer, Python, env, free_port};
use super::support::command::TestCommand;
use super::support::dump::{Tolerance, assert_same_content, dump};
use super::support::proxy::{Fault, Proxy, Seen};
use super::support::stores::{Store, generated};

const RECORDS: usize = 60;

/// A source store, and a server to migrate it to.
struct Bench {
    source: Store,
    target: ChromaServer,
    _folder: TempDir,
}

impl Bench {
    fn new(records: usize) -> Self {
        let source = generated("1.5.9", records, 8, "cosine");
        let folder = tempfile::tempdir().unwrap();
        let target = ChromaServer::start("1.5.9", folder.path());
        Self { source, target, _folder: folder }
    }

    /// Migrates through a proxy into a collection of this name.
    async fn migrate(&self, url: &str, name: &str, options: Options) -> Outcome {
        self.migrate_until(url, name, options, &CancellationToken::new()).await
    }

    async fn migrate_until(&self, url: &str, name: &str, options: Options, stop: &CancellationToken) -> Outcome {
        let mut server = ServerConfig::new(url.parse().unwrap());
        server.timeouts.request = Duration::from_secs(2);
        server.timeouts.retry = Duration::from_secs(20);
        let selection = Selection::new(&[], vec![Entry::named("generated", Some(name)).unwrap()]).unwrap();
        let request = Request {
            source: Endpoint::Local(Folder::new(self.source.path.clone())),
            target: Endpoint::Remote(Box::new(server)),
            options: Options { selection, batch_size: 10, delay: Duration::ZERO, ..options },
            writer: LocalWriter::Program(None),
        };
        migrate(request, Tracker::new().0, stop).await
    }

    /// Through the official client: what is in the target is what is in the source.
    fn assert_same(&self, names: &[&str]) {
        let (tenant, database) = ("default_tenant", "default_database");
        let expected = dump("1.5.9", self.source.path(), tenant, database);
        let found = dump("1.5.9", &self.target.url, tenant, database);
        for name in names {
            assert_same_content(expected.collection("generated"), found.collection(name), Tolerance::MIGRATED);
        }
    }
}

fn assert_verified(outcome: &Outcome, what: &str) {
    assert_all_verified(outcome, RECORDS, what);
}

fn assert_all_verified(outcome: &Outcome, records: usize, what: &str) {
    assert_eq!(outcome.report.reason, Reason::Verified, "{what}: {}", outcome.report.message);
    assert!(outcome.report.counts.is_complete(), "{what}");
    assert_eq!(outcome.report.counts.verified, records as u64, "{what}");
}

/// The second add, or the first get, has the fault.
fn once(verb: &'static str, fault: Fault) -> impl FnMut(&Seen) -> Fault + Send {
    let at = usize::from(verb == "add");
    move |seen| if seen.verb() == verb && seen.before == at { fault } else { Fault::Pass }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_one_write_or_read_is_overcome() {
    let bench = Bench::new(RECORDS);
    let table = [
        ("reset-before", "add", Fault::ResetBefore),
        ("reset-after", "add", Fault::ResetAfter),
        ("error-before", "add", Fault::StatusBefore(500)),
        ("error-after", "add", Fault::StatusAfter(500)),
        ("unavailable-before", "add", Fault::StatusBefore(503)),
        ("unavailable-after", "add", Fault::StatusAfter(503)),
        ("throttled", "add", Fault::StatusBefore(429)),
        ("timeout-before", "add", Fault::SilenceBefore),
        ("timeout-after", "add", Fault::SilenceAfter),
        ("cut-answer", "add", Fault::Cut),
        ("read-reset", "get", Fault::ResetBefore),
        ("read-error", "get", Fault::StatusBefore(500)),
        ("read-unavailable", "get", Fault::StatusBefore(503)),
        ("read-throttled", "get", Fault::StatusBefore(429)),
        ("read-timeout", "get", Fault::SilenceBefore),
        ("read-cut", "get", Fault::Cut),
    ];
    for (name, verb, fault) in table {
        let proxy = Proxy::start(&bench.target.url, once(verb, fault)).await;
        let outcome = bench.migrate(&proxy.url, name, Options::default()).await;
        assert_verified(&outcome, name);
        let hit = proxy.seen().iter().filter(|seen| seen.verb() == verb).count();
        assert!(hit > usize::from(verb == "add"), "{name}: the fault was never reached: {:?}", proxy.seen());
    }
    bench.assert_same(&table.map(|(name, ..)| name));
}

/// Enough for several writes at once: the first batches have 100.
const SEVERAL: usize = 1200;

fn adaptive(slowdown: Option<f64>) -> Options {
    Options { pacing: Pacing::Adaptive { slowdown }, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_writes_under_way_every_fault_of_one_is_overcome_too() {
    let bench = Bench::new(SEVERAL);
    let table = [
        ("together-reset-before", "add", Fault::ResetBefore),
        ("together-reset-after", "add", Fault::ResetAfter),
        ("together-error-after", "add", Fault::StatusAfter(500)),
        ("together-unavailable", "add", Fault::StatusBefore(503)),
        ("together-throttled", "add", Fault::StatusBefore(429)),
        ("together-timeout-after", "add", Fault::SilenceAfter),
        ("together-cut", "add", Fault::Cut),
        ("together-read-reset", "get", Fault::ResetBefore),
    ];
    for (name, verb, fault) in table {
        let proxy = Proxy::start(&bench.target.url, once(verb, fault)).await;
        // the bound is far away, so that probes are made and nothing is slowed down for them
        let outcome = bench.migrate(&proxy.url, name, adaptive(Some(1e6))).await;
        assert_all_verified(&outcome, SEVERAL, name);
        assert!(proxy.adds_at_once() <= 8, "{name}: {}", proxy.adds_at_once());
        let adds = proxy.seen().iter().filter(|seen| seen.verb() == "add").count();
        assert!(adds > 4, "{name}: {adds} adds");
    }
    let proxy = Proxy::start(&bench.target.url, |_| Fault::Pass).await;
    assert_all_verified(&bench.migrate(&proxy.url, "together", adaptive(None)).await, SEVERAL, "together");
    assert!(proxy.adds_at_once() > 1, "nothing was under way together");
    bench.assert_same(&table.map(|(name, ..)| name));
    bench.assert_same(&["together"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_several_writes_get_no_answer_ends_the_run_and_a_rerun_finishes() {
    let bench = Bench::new(SEVERAL);
    let stop = CancellationToken::new();
    let signal = stop.clone();
    let rule = move |seen: &Seen| {
        if seen.verb() != "add" || seen.before < 2 {
            return Fault::Pass;
        }
        if seen.before == 3 {
            signal.cancel();
        }
        if seen.before == 2 { Fault::SilenceBefore } else { Fault::SilenceAfter }
    };
    let proxy = Proxy::start(&bench.target.url, rule).await;
    let outcome = bench.migrate_until(&proxy.url, "hung", adaptive(None), &stop).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::Interrupted));
    let adds = proxy.seen().iter().filter(|seen| seen.verb() == "add").count();
    assert_eq!(adds, 4, "two that are answered and two under way");
    let again = bench.migrate(&bench.target.url, "hung", adaptive(None)).await;
    assert_all_verified(&again, SEVERAL, "rerun");
    assert!(again.report.counts.present >= 200, "{:?}", again.report.counts);
    bench.assert_same(&["hung"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_answer_is_lost_is_looked_up_and_not_repeated() {
    let bench = Bench::new(RECORDS);
    for (name, fault) in [("created-500", Fault::StatusAfter(500)), ("created-cut", Fault::ResetAfter)] {
        let mut done = false;
        let rule = move |seen: &Seen| {
            let creation = seen.line.starts_with("POST") && seen.verb() == "collections";
            if creation && !std::mem::replace(&mut done, true) { fault } else { Fault::Pass }
        };
        let proxy = Proxy::start(&bench.target.url, rule).await;
        assert_verified(&bench.migrate(&proxy.url, name, Options::default()).await, name);
        let created = proxy.seen().iter().filter(|s| s.line.starts_with("POST") && s.verb() == "collections").count();
        assert_eq!(created, 1, "{name}");
    }
    bench.assert_same(&["created-500", "created-cut"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_always_fails_ends_the_run_with_exit_4_and_a_rerun_resumes() {
    let bench = Bench::new(RECORDS);
    let broken =
        |seen: &Seen| if seen.verb() == "add" && seen.before >= 2 { Fault::StatusAfter(500) } else { Fault::Pass };
    let proxy = Proxy::start(&bench.target.url, broken).await;
    let options = Options { write_deadline: Duration::ZERO, ..Options::default() };
    let outcome = bench.migrate(&proxy.url, "broken", options).await;
    assert_eq!(
        (outcome.exit, outcome.report.reason),
        (Exit::Interrupted, Reason::Unavailable),
        "{}",
        outcome.report.message
    );
    let again = bench.migrate(&bench.target.url, "broken", Options::default()).await;
    assert_verified(&again, "rerun");
    assert_eq!(again.report.counts.present, 30);
    bench.assert_same(&["broken"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_delete_and_the_add_of_a_repair_loses_nothing() {
    let bench = Bench::new(RECORDS);
    assert_verified(&bench.migrate(&bench.target.url, "repaired", Options::default()).await, "first");
    give_a_uri(&bench, "repaired");
    // the run is cut off after the delete: nothing that follows reaches the server
    let cut = Arc::new(AtomicBool::new(false));
    let seen_delete = cut.clone();
    let rule = move |seen: &Seen| {
        let off = seen_delete.load(Ordering::SeqCst);
        if seen.verb() == "delete" {
            seen_delete.store(true, Ordering::SeqCst);
        }
        if off { Fault::ResetBefore } else { Fault::Pass }
    };
    let proxy = Proxy::start(&bench.target.url, rule).await;
    let options =
        || Options { on_conflict: OnConflict::Overwrite, write_deadline: Duration::ZERO, ..Options::default() };
    let outcome = bench.migrate(&proxy.url, "repaired", options()).await;
    assert!(cut.load(Ordering::SeqCst), "no delete was sent: {:?}", proxy.seen());
    assert_eq!(outcome.exit, Exit::Interrupted, "{}", outcome.report.message);
    let again = bench.migrate(&bench.target.url, "repaired", options()).await;
    assert_verified(&again, "rerun");
    assert_eq!(again.report.counts.copied, 1);
    bench.assert_same(&["repaired"]);
}

/// Gives the first record of a collection a uri that its source has not: only delete and add can clear it.
fn give_a_uri(bench: &Bench, collection: &str) {
    let script = "tests/chroma/edit.py";
    Python::run("1.5.9", script, &[&bench.target.url, collection, "uri"]);
}

#[test]
fn a_process_killed_at_ten_moments_loses_nothing_and_a_rerun_finishes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = Bench::new(RECORDS);
    let mut names = Vec::new();
    // the moment is a request, of any kind, that the process waits for when it is killed
    for moment in [2_usize, 5, 9, 11, 12, 13, 15, 17, 18, 20] {
        let name = format!("killed-{moment}");
        let reached = Arc::new(AtomicUsize::new(0));
        let count = reached.clone();
        let fault = if moment % 2 == 0 { Fault::SilenceBefore } else { Fault::SilenceAfter };
        let rule = move |_: &Seen| if count.fetch_add(1, Ordering::SeqCst) == moment { fault } else { Fault::Pass };
        let proxy = runtime.block_on(Proxy::start(&bench.target.url, rule));
        let mut run = command(&bench, &proxy.url, &name).start();
        while reached.load(Ordering::SeqCst) <= moment && run.is_running() {
            std::thread::sleep(Duration::from_millis(2));
        }
        run.signal(Signal::KILL);
        drop(run.wait());
        command(&bench, &bench.target.url, &name).run().code(0).stdout("Verified");
        names.push(name);
    }
    bench.assert_same(&names.iter().map(String::as_str).collect::<Vec<_>>());
}

fn command(bench: &Bench, url: &str, name: &str) -> TestCommand {
    migration(bench, url, name, "0")
}

fn migration(bench: &Bench, url: &str, name: &str, delay: &str) -> TestCommand {
    let collection = format!("generated={name}");
    let source = bench.source.path();
    TestCommand::new().args([
        "migrate",
        "--source-config",
        source,
        "--target-config",
        url,
        "--collection",
        &collection,
        "--delay",
        delay,
    ])
}

#[test]
fn sigterm_ends_after_the_batch_under_way_with_exit_4() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = Bench::new(RECORDS);
    let (first, release) = (Arc::new(AtomicBool::new(false)), bench.target.url.clone());
    let seen = first.clone();
    let rule = move |request: &Seen| {
        if request.verb() == "add" {
            seen.store(true, Ordering::SeqCst);
        }
        Fault::Pass
    };
    let proxy = runtime.block_on(Proxy::start(&release, rule));
    let mut run = migration(&bench, &proxy.url, "stopped", "1h").start();
    while !first.load(Ordering::SeqCst) && run.is_running() {
        std::thread::sleep(Duration::from_millis(2));
    }
    run.signal(Signal::TERM);
    run.wait().code(4).stdout("Interrupted").stdout("run it again");
    command(&bench, &bench.target.url, "stopped").run().code(0).stdout("Verified");
    bench.assert_same(&["stopped"]);
}

#[test]
fn a_target_server_that_is_killed_and_restarted_in_the_middle_is_waited_for() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut bench = Bench::new(RECORDS);
    let adds = Arc::new(AtomicUsize::new(0));
    let count = adds.clone();
    let rule = move |seen: &Seen| {
        if seen.verb() == "add" {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Fault::Pass
    };
    let proxy = runtime.block_on(Proxy::start(&bench.target.url, rule));
    let run = command(&bench, &proxy.url, "restarted").start();
    while adds.load(Ordering::SeqCst) < 2 {
        std::thread::sleep(Duration::from_millis(2));
    }
    bench.target.kill();
    bench.target.restart();
    run.wait().code(0).stdout("Verified");
    bench.assert_same(&["restarted"]);
}

#[test]
fn a_target_that_is_not_there_is_exit_4_and_says_where_it_looked() {
    let source = generated("1.5.9", 1, 3, "l2");
    let url = format!("http://127.0.0.1:{}", free_port());
    let output = TestCommand::new().args(["migrate", "--source-config", source.path(), "--target-config", &url]).run();
    output.code(4).stdout(&url).stdout("refused");
}

#[test]
fn two_runs_into_one_local_target_at_once_do_not_meet() {
    let source = generated("1.5.9", RECORDS, 8, "l2");
    let target = Store::absent();
    let chroma = env("server").chroma();
    let run = || {
        let args = ["migrate", "--source-config", source.path(), "--target-config", target.path(), "--delay", "50ms"];
        TestCommand::new().args(args).args(["--chroma-bin".as_ref(), chroma.as_os_str()])
    };
    let (first, second) = (run().start(), run().start());
    let outputs = [first.wait(), second.wait()];
    let codes: Vec<i32> = outputs.iter().map(super::support::command::Output::exit_code).collect();
    assert!(codes.contains(&0), "{outputs:?}");
    for output in outputs.iter().filter(|output| output.exit_code() != 0) {
        assert_eq!(output.exit_code(), 4, "{output:?}");
        assert!(output.stdout_text().contains("in use"), "{output:?}");
    }
    run().run().code(0).stdout("Verified");
}

#[test]
fn two_runs_into_one_server_at_once_lose_nothing_and_write_nothing_twice() {
    let bench = Bench::new(RECORDS);
    let run = || migration(&bench, &bench.target.url, "shared", "20ms");
    let (first, second) = (run().start(), run().start());
    first.wait().code(0).stdout("Verified");
    second.wait().code(0).stdout("Verified");
    bench.assert_same(&["shared"]);
}

#[test]
fn a_local_target_that_another_process_has_open_is_refused_and_named() {
    let source = generated("1.5.9", 3, 8, "l2");
    let folder = generated("1.5.9", 1, 8, "l2");
    let server = ChromaServer::start("1.5.9", &folder.path);
    let chroma = env("server").chroma();
    let args = [
        "migrate",
        "--source-config",
        source.path(),
        "--target-config",
        folder.path(),
        "--collection",
        "generated=other",
    ];
    let output = TestCommand::new().args(args).args(["--chroma-bin".as_ref(), chroma.as_os_str()]).run();
    output.code(4).stdout("has it open").stdout("TargetBusy");
    drop(server);
}

/// A writer that changes a source while it is migrated, and the log of what it did.
struct Writer {
    process: super::support::chroma::Process,
    log: std::path::PathBuf,
}

impl Writer {
    /// Starts it, and waits for its first change.
    fn start(url: &str, log: std::path::PathBuf) -> Self {
        let process =
            Python::spawn("1.5.9", "tests/chroma/writer.py", &[url, "generated", log.to_str().unwrap(), "0.01"]);
        let writer = Self { process, log };
        while writer.changes().is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        writer
    }

    /// Id and document of each change so far; None says that the record was deleted.
    fn changes(&self) -> Vec<(String, Option<String>)> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let change = |line: &str| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            (json["id"].as_str().unwrap().to_owned(), json["document"].as_str().map(str::to_owned))
        };
        whole.lines().map(change).collect()
    }

    /// Ends it after the change under way.
    fn stop(mut self) -> Vec<(String, Option<String>)> {
        self.process.signal(Signal::TERM);
        assert!(self.process.0.wait().unwrap().success(), "the writer did not write until the end");
        self.changes()
    }
}

#[test]
fn a_source_that_changes_is_followed_whether_read_from_its_server_or_beside_it() {
    let bench = Bench::new(400);
    let source = ChromaServer::start("1.5.9", &bench.source.path);
    let scratch = tempfile::tempdir().unwrap();
    for (name, config) in [("from-server", source.url.as_str()), ("beside-server", bench.source.path())] {
        let before = dump("1.5.9", &source.url, "default_tenant", "default_database");
        let writer = Writer::start(&source.url, scratch.path().join(name));
        let run = |name: &str| {
            let collection = format!("generated={name}");
            TestCommand::new()
                .args(["migrate", "--source-config", config, "--target-config", &bench.target.url])
                .args(["--collection", &collection, "--delay", "20ms", "--on-conflict", "overwrite"])
        };
        let moving = run(name).run();
        let during = writer.stop();
        assert!([0, 4].contains(&moving.exit_code()), "{moving:?}");
        assert!(moving.exit_code() == 0 || moving.stdout_text().contains("SourceChanging"), "{moving:?}");
        let copied = dump("1.5.9", &bench.target.url, "default_tenant", "default_database");
        for record in &copied.collection(name).records {
            let was = |change: &(String, Option<String>)| change.0 == record.id && change.1 == record.document;
            let earlier = || {
                before
                    .collection("generated")
                    .records
                    .iter()
                    .any(|r| (&r.id, &r.document) == (&record.id, &record.document))
            };
            assert!(
                during.iter().any(was) || earlier() || name == "beside-server",
                "{} never was {:?}",
                record.id,
                record.document
            );
        }
        run(name).run().code(0).stdout("Verified");
        let now = dump("1.5.9", &source.url, "default_tenant", "default_database");
        let copied = dump("1.5.9", &bench.target.url, "default_tenant", "default_database");
        for record in &now.collection("generated").records {
            assert_eq!(copied.collection(name).record(&record.id).document, record.document);
            assert_eq!(copied.collection(name).record(&record.id).metadata, record.metadata);
        }
    }
}

#[test]
fn a_full_disk_under_a_local_target_is_exit_4_and_a_rerun_with_space_finishes() {
    let source = generated("1.5.9", 3000, 8, "l2");
    let disk = tempfile::tempdir().unwrap();
    let Some(_mounted) = SmallDisk::mount(disk.path()) else {
        return println!("skipped: a small file system cannot be mounted here (not root)");
    };
    let target = disk.path().join("store");
    let chroma = env("server").chroma();
    let run = || {
        let args =
            ["migrate", "--source-config", source.path(), "--batch-size", "500", "--delay", "0", "--target-config"];
        TestCommand::new().args(args).args([target.as_os_str(), "--chroma-bin".as_ref(), chroma.as_os_str()])
    };
    run().run().code(4).stdout("Unavailable");
    SmallDisk::grow(disk.path());
    run().run().code(0).stdout("Verified");
}

/// A file system in memory that is soon full.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &std::path::Path) -> Option<Self> {
        let done =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=2M", "tmpfs"]).arg(folder).output();
        done.is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }

    fn grow(folder: &std::path::Path) {
        let done = std::process::Command::new("mount").args(["-o", "remount,size=200M"]).arg(folder).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // the folder is removed next, and that fails loudly enough if this did
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}
