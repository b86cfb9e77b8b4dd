//! What is said before records of the target are replaced, and how far a comparison is.

use super::*;
use crate::engine::{Search, SearchMode, verify};

fn conflicting() -> (MemoryStore, MemoryStore) {
    let old = [record("0001", "x"), record("0002", "y")];
    (source(numbered(3)), MemoryStore::new("target").with("memories", Distance::L2, old))
}

fn overwriting(seconds: u64) -> Options {
    Options { on_conflict: OnConflict::Overwrite, overwrite_wait: Duration::from_secs(seconds), ..fast() }
}

#[tokio::test(start_paused = true)]
async fn the_first_overwrite_is_named_and_waited_for() {
    let (source, target) = conflicting();
    let (mut tracker, _progress) = Tracker::new();
    let (told, heard) = std::sync::mpsc::channel();
    tracker.on_overwrites(move |records, wait| told.send((records, wait)).unwrap());
    let began = tokio::time::Instant::now();
    let stop = CancellationToken::new();
    let outcome = migrate(&source, &target, Direction::LocalToRemote, &overwriting(30), tracker, &stop).await;
    assert_copied(&source, &target, &outcome);
    assert_eq!(heard.recv().unwrap(), (2, Duration::from_secs(30)));
    assert!(began.elapsed() >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_while_it_waits_has_replaced_nothing() {
    let (source, target) = conflicting();
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let (mut tracker, _progress) = Tracker::new();
    tracker.on_overwrites(move |_, _| stopping.cancel());
    let outcome = migrate(&source, &target, Direction::LocalToRemote, &overwriting(30), tracker, &stop).await;
    assert_eq!(outcome.report.reason, Reason::Interrupted, "{}", outcome.report.message);
    assert_eq!(target.records("memories")["0001"].document.as_deref(), Some("x"));
    assert!(target.state().log.is_empty(), "nothing was written: {:?}", target.state().log);
}

/// What preflight found equal another client has changed since: the first overwrite of the run comes only now.
#[tokio::test(start_paused = true)]
async fn an_overwrite_that_nobody_foresaw_is_named_and_waited_for_too() {
    let (source, target) =
        (source(numbered(3)), MemoryStore::new("target").with("memories", Distance::L2, numbered(1)));
    target.after_write(|state| {
        if state.log.len() == 1 {
            edit(state, "0000", "theirs");
        }
    });
    let (mut tracker, _progress) = Tracker::new();
    let (told, heard) = std::sync::mpsc::channel();
    tracker.on_overwrites(move |records, wait| told.send((records, wait)).unwrap());
    let began = tokio::time::Instant::now();
    let stop = CancellationToken::new();
    let outcome = migrate(&source, &target, Direction::LocalToRemote, &overwriting(30), tracker, &stop).await;
    assert_copied(&source, &target, &outcome);
    assert_eq!(heard.try_recv().unwrap(), (1, Duration::from_secs(30)));
    assert!(began.elapsed() >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_where_nothing_is_replaced() {
    for (on_conflict, seconds) in [(OnConflict::Skip, 30), (OnConflict::Overwrite, 0)] {
        let (source, target) = conflicting();
        let began = tokio::time::Instant::now();
        run(&source, &target, &Options { on_conflict, ..overwriting(seconds) }).await;
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}

/// The whole run is the comparison.
#[tokio::test]
async fn a_comparison_rises_from_its_beginning_to_its_end() {
    let (source, target) = (source(numbered(1300)), MemoryStore::new("target"));
    run(&source, &target, &fast()).await;
    target.state().log.clear();
    let (tracker, mut progress) = Tracker::new();
    let seen = tokio::spawn(async move {
        let mut all = Vec::new();
        while progress.changed().await.is_ok() {
            all.push(*progress.borrow_and_update());
        }
        all.push(*progress.borrow());
        all
    });
    let stop = CancellationToken::new();
    let outcome = verify(&source, &target, Direction::LocalToRemote, &fast(), tracker, &stop).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert!(outcome.report.message.contains("nothing was written"), "{}", outcome.report.message);
    assert!(target.state().log.is_empty());
    let seen = seen.await.unwrap();
    assert!(seen.windows(2).all(|two| two[0].percent <= two[1].percent && two[0].done <= two[1].done), "{seen:?}");
    let last = seen.last().unwrap();
    assert_eq!((last.done, last.of, last.percent), (1300, 1300, 99), "{last:?}");
}

#[tokio::test]
async fn a_required_search_check_needs_a_full_verification() {
    let options = |verification, mode| {
        let search = Search { mode, ..Search::default() };
        Options { verification, search, ..fast() }
    };
    let (store, empty) = (source(numbered(3)), MemoryStore::new("target"));
    let outcome = run(&store, &empty, &options(Verification::Counts, SearchMode::Require)).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Refused, Reason::PreflightRefused));
    for part in ["search check is required", "--verification full", "--search report"] {
        assert!(outcome.report.message.contains(part), "{part}: {}", outcome.report.message);
    }
    assert!(empty.state().log.is_empty());
    let outcome = run(&store, &empty, &options(Verification::Counts, SearchMode::Report)).await;
    assert_eq!(outcome.report.reason, Reason::CountsVerified, "{}", outcome.report.message);
}
