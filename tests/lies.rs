//! A source whose answers are short, empty, capped, reordered, cut or refused, and a target that lies in any way: whatever
//! a run says, `Verified` is true, by the official client's reading of both real servers. The lies come from a proxy, for no
//! server can be made to tell them. Seeded: the same lies in every run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memory_migration_operator::endpoint::{LocalWriter, migrate};
use memory_migration_operator::engine::progress::Tracker;
use memory_migration_operator::engine::select::Entry;
use memory_migration_operator::engine::{Options, Outcome, Selection};
use memory_migration_operator::exit::Exit;
use memory_migration_operator::report::Reason;
use memory_migration_operator::store::http::ServerConfig;
use memory_migration_operator::{Endpoint, Request};
use tokio_util::sync::CancellationToken;

use super::support::chroma::ChromaServer;
use super::support::dump::{Dump, Tolerance, assert_same_content, dump};
use super::support::lies::Lie;
use super::support::migration::DEFAULT;
use super::support::proxy::{Fault, Proxy, Seen};
use super::support::stores::generated;

const RECORDS: usize = 240;
/// Lies of one side in each kind of migration.
const TRIES: u64 = 10;

/// Numbers that look random, and are the same for the same seed.
struct Dice(AtomicU64);

impl Dice {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)))
    }

    fn roll(&self, below: u64) -> u64 {
        let next = |x: u64| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(next(x))).unwrap();
        (next(before) >> 33) % below
    }
}

/// What a source may do within the promise: leave out, reorder, cut, refuse. Its content is never wrong.
fn of_source(dice: &Dice) -> Fault {
    let n = usize::try_from(dice.roll(1000)).unwrap();
    match dice.roll(8) {
        0 => Fault::Lie(Lie::Empty),
        1 => Fault::Lie(Lie::Without(n)),
        2 => Fault::Lie(Lie::Capped(1 + n % 40)),
        3 => Fault::Lie(Lie::Turned(n)),
        4 => Fault::Cut,
        5 => Fault::StatusBefore(503),
        6 => Fault::StatusBefore(429),
        _ => Fault::ResetAfter,
    }
}

/// What a target may do: anything.
fn of_target(dice: &Dice, verb: &str) -> Fault {
    let n = usize::try_from(dice.roll(1000)).unwrap();
    if ["add", "update", "delete"].contains(&verb) {
        return match dice.roll(5) {
            // never forwarded, and told as done
            0 => Fault::StatusBefore(201),
            1 => Fault::StatusBefore(500),
            2 => Fault::StatusAfter(500),
            3 => Fault::ResetBefore,
            _ => Fault::ResetAfter,
        };
    }
    match dice.roll(4) {
        0 => Fault::Lie(Lie::OtherDocument(n)),
        1 => Fault::Lie(Lie::OtherVector(n)),
        2 => Fault::Lie(Lie::ShortVector(n)),
        _ => of_source(dice),
    }
}

/// Requests about records; all others are passed on.
fn is_about_records(seen: &Seen) -> bool {
    ["get", "add", "update", "delete"].contains(&seen.verb())
}

async fn run(source: &str, target: &str, name: &str) -> Outcome {
    let server = |url: &str| {
        let mut server = ServerConfig::new(url.parse().unwrap());
        server.timeouts.request = Duration::from_secs(5);
        server.timeouts.retry = Duration::from_secs(20);
        Endpoint::Remote(Box::new(server))
    };
    let request = Request {
        source: server(source),
        target: server(target),
        options: Options {
            selection: Selection::new(&[], vec![Entry::named("generated", Some(name)).unwrap()]).unwrap(),
            batch_size: 40,
            delay: Duration::ZERO,
            write_pause: Duration::from_millis(10),
            ..Options::default()
        },
        writer: LocalWriter::Program(None),
    };
    migrate(request, Tracker::new().0, &CancellationToken::new()).await
}

struct Servers {
    source: ChromaServer,
    target: ChromaServer,
    expected: Dump,
}

impl Servers {
    fn start(folder: &std::path::Path) -> Self {
        let store = generated("1.5.9", RECORDS, 8, "l2");
        let source = ChromaServer::start("1.5.9", &store.path);
        let expected = dump("1.5.9", &source.url, DEFAULT.0, DEFAULT.1);
        // the server has opened its files; the folder goes with the test
        std::mem::forget(store);
        Self { source, target: ChromaServer::start("1.5.9", folder), expected }
    }

    /// What was called verified is true, by the official client.
    fn judge(&self, outcomes: &[(String, Outcome)]) {
        let found = dump("1.5.9", &self.target.url, DEFAULT.0, DEFAULT.1);
        let mut verified = 0;
        for (name, outcome) in outcomes {
            let report = &outcome.report;
            assert_ne!(outcome.exit, Exit::Bug, "{name}: {}", report.message);
            if report.reason == Reason::Verified {
                verified += 1;
                assert_eq!(report.counts.verified, RECORDS as u64, "{name}: {}", report.message);
                assert_same_content(self.expected.collection("generated"), found.collection(name), Tolerance::MIGRATED);
            }
        }
        let reasons: Vec<_> = outcomes.iter().map(|(_, outcome)| outcome.report.reason).collect();
        assert!(verified > 0, "no run got through, so nothing was tried: {reasons:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_leaves_out_and_refuses_is_never_called_verified_falsely() {
    let folder = tempfile::tempdir().unwrap();
    let servers = Servers::start(folder.path());
    let mut outcomes = Vec::new();
    for seed in 0..TRIES {
        let dice = Dice::new(seed);
        let percent = [3, 15, 40][usize::try_from(seed % 3).unwrap()];
        let rule = move |seen: &Seen| {
            if is_about_records(seen) && dice.roll(100) < percent { of_source(&dice) } else { Fault::Pass }
        };
        let proxy = Proxy::start(&servers.source.url, rule).await;
        let name = format!("source-{seed}");
        outcomes.push((name.clone(), run(&proxy.url, &servers.target.url, &name).await));
    }
    // a gateway that caps every answer, listings too
    let capped = |seen: &Seen| if seen.verb() == "get" { Fault::Lie(Lie::Capped(100)) } else { Fault::Pass };
    let proxy = Proxy::start(&servers.source.url, capped).await;
    outcomes.push(("capped".to_owned(), run(&proxy.url, &servers.target.url, "capped").await));
    servers.judge(&outcomes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_lies_in_any_way_is_never_called_verified_falsely() {
    let folder = tempfile::tempdir().unwrap();
    let servers = Servers::start(folder.path());
    let mut outcomes = Vec::new();
    for seed in 0..TRIES {
        let dice = Dice::new(1000 + seed);
        let percent = [3, 15, 40][usize::try_from(seed % 3).unwrap()];
        let rule = move |seen: &Seen| {
            if is_about_records(seen) && dice.roll(100) < percent { of_target(&dice, seen.verb()) } else { Fault::Pass }
        };
        let proxy = Proxy::start(&servers.target.url, rule).await;
        let name = format!("target-{seed}");
        outcomes.push((name.clone(), run(&servers.source.url, &proxy.url, &name).await));
    }
    servers.judge(&outcomes);
}
