//! One bad thing costs itself and nothing else: records that the target does not take, and collections that the source does not
//! read. Stores in memory; real Chroma has its own tests.

use super::*;
use crate::engine::{Extras, verify};
use crate::report::{Counts, Difference};

fn listed(outcome: &Outcome) -> Vec<(&str, &str)> {
    let all = outcome.report.collections.iter().flat_map(|c| &c.differences);
    all.map(|Difference { id, field, .. }| (id.as_str(), field.as_str())).collect()
}

/// Only a 413 was halved: any other refusal of a write ended the run.
#[tokio::test]
async fn a_write_that_the_target_refuses_is_halved_down_to_its_records() {
    for status in [400, 403, 404, 409, 413, 422] {
        for (pacing, batch_size) in [(Pacing::Fixed, 10), (Pacing::Adaptive { slowdown: None }, 10), (Pacing::Fixed, 1)]
        {
            let case = format!("{status}, {pacing:?}, {batch_size}");
            let (source, target) = (source(numbered(60)), MemoryStore::new("target"));
            target.state().refuses = (status, vec!["0007".into(), "0008".into(), "0031".into()]);
            let outcome = run(&source, &target, &Options { pacing, batch_size, ..fast() }).await;
            assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed), "{case}");
            let message = &outcome.report.message;
            assert!(
                message.contains("3 records were not moved")
                    && message.contains("\"0007\" of \"memories\": the target does not take it")
                    && (status == 404 || message.contains("not \"0007\"")),
                "{case}: {message}"
            );
            let Counts { verified, missing, copied, .. } = outcome.report.counts;
            assert_eq!((verified, missing, copied), (57, 3, 57), "{case}: {message}");
            assert_eq!(listed(&outcome), [("0007", "refused"), ("0008", "refused"), ("0031", "refused")], "{case}");
            assert_eq!(target.records("memories").len(), 57, "{case}");
        }
    }
}

/// Without a comparison, too, only what was sent is called copied.
#[tokio::test]
async fn what_the_target_refuses_is_not_counted_as_copied() {
    let (source, target) = (source(numbered(60)), MemoryStore::new("target"));
    target.state().refuses = (422, vec!["0007".into(), "0031".into()]);
    let outcome = run(&source, &target, &Options { verification: Verification::Counts, ..fast() }).await;
    assert_eq!(outcome.report.reason, Reason::VerificationFailed, "{}", outcome.report.message);
    assert_eq!(outcome.report.counts.copied, 58, "{}", outcome.report.message);
}

#[tokio::test]
async fn an_update_that_the_target_refuses_is_halved_down_to_its_records() {
    let source = source(numbered(30));
    let old = (0..30).map(|n| record(&format!("{n:04}"), "old"));
    let target = MemoryStore::new("target").with("memories", Distance::L2, old);
    target.state().refuses = (422, vec!["0011".into()]);
    let outcome = run(&source, &target, &Options { on_conflict: OnConflict::Overwrite, ..fast() }).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
    let Counts { verified, different, overwritten, .. } = outcome.report.counts;
    assert_eq!((verified, different, overwritten), (29, 1, 29), "{}", outcome.report.message);
    assert_eq!(listed(&outcome), [("0011", "refused")]);
    assert_eq!(target.records("memories")["0011"].document.as_deref(), Some("old"));
}

/// A tester's finding: to clear a document takes a delete and an add. The add was refused, and the old record was gone.
#[tokio::test]
async fn a_replacement_that_the_target_refuses_leaves_what_was_there() {
    let records = numbered(3).into_iter().map(|one| Record { document: None, ..one }).collect();
    let source = source(records);
    let old = (0..3).map(|n| record(&format!("{n:04}"), "old"));
    let target = MemoryStore::new("target").with("memories", Distance::L2, old);
    target.after_write(|state| {
        if state.log.len() == 1 {
            state.faults.push_back(Fault::Reject);
        }
    });
    let outcome = run(&source, &target, &Options { on_conflict: OnConflict::Overwrite, ..fast() }).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
    assert_eq!(listed(&outcome), [("0000", "refused")], "{}", outcome.report.message);
    let left: Vec<_> = target.records("memories").into_values().map(|one| one.document).collect();
    assert_eq!(left, [Some("old".to_owned()), None, None]);
}

/// The same where already the delete is refused: that ended the run, and the other records were not replaced.
#[tokio::test]
async fn a_delete_that_the_target_refuses_is_a_matter_of_its_record() {
    let records = numbered(3).into_iter().map(|one| Record { document: None, ..one }).collect();
    let source = source(records);
    let old = (0..3).map(|n| record(&format!("{n:04}"), "old"));
    let target = MemoryStore::new("target").with("memories", Distance::L2, old);
    target.state().faults.push_back(Fault::Reject);
    let outcome = run(&source, &target, &Options { on_conflict: OnConflict::Overwrite, ..fast() }).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
    assert_eq!(listed(&outcome), [("0000", "refused")], "{}", outcome.report.message);
    let left: Vec<_> = target.records("memories").into_values().map(|one| one.document).collect();
    assert_eq!(left, [Some("old".to_owned()), None, None]);
}

/// What is refused whatever is sent is the target's refusal, and no matter of records.
#[tokio::test]
async fn a_target_that_takes_nothing_ends_the_run_in_its_words() {
    for (status, records, exit) in [
        (400, 60, Exit::Different),
        (413, 60, Exit::Different),
        (403, 60, Exit::Interrupted),
        (403, 5, Exit::Interrupted),
        (404, 1, Exit::Interrupted),
    ] {
        let (source, target) = (source(numbered(records)), MemoryStore::new("target"));
        target.state().refuses = (status, (0..records).map(|n| format!("{n:04}")).collect());
        let outcome = run(&source, &target, &Options { batch_size: 50, ..fast() }).await;
        assert_eq!(outcome.exit, exit, "{status}, {records}: {}", outcome.report.message);
        assert!(!outcome.report.message.contains("not moved"), "{status}, {records}: {}", outcome.report.message);
    }
}

const NAMES: [&str; 3] = ["first", "second", "third"];

fn three() -> MemoryStore {
    let of =
        |name: &str| numbered(30).into_iter().map(|one| Record { document: Some(name.to_owned()), ..one }).collect();
    let [a, b, c]: [Vec<Record>; 3] = NAMES.map(of);
    MemoryStore::new("source").with(NAMES[0], Distance::L2, a).with(NAMES[1], Distance::L2, b).with(
        NAMES[2],
        Distance::L2,
        c,
    )
}

/// A tester's finding: a collection whose reads by id all fail stopped the others.
#[tokio::test]
async fn a_collection_of_which_no_record_can_be_read_is_left_out_by_name() {
    for broken in [vec!["first"], vec!["second"], vec!["third"], vec!["first", "second"]] {
        let (source, target) = (three(), MemoryStore::new("target"));
        source.state().broken = broken.iter().map(|name| (*name).to_owned()).collect();
        let outcome = run(&source, &target, &fast()).await;
        let message = &outcome.report.message;
        assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed), "{message}");
        for name in &broken {
            assert!(message.contains(&format!("collection \"{name}\" was skipped")), "{message}");
        }
        let sound: Vec<&str> = NAMES.into_iter().filter(|name| !broken.contains(name)).collect();
        assert_eq!(outcome.report.counts.verified, 30 * sound.len() as u64, "{message}");
        for name in sound {
            assert_eq!(target.records(name), source.records(name), "{name}");
        }
        let stop = CancellationToken::new();
        let options = Options { extras: Extras::Allow, ..fast() };
        let compared =
            verify(&source, &target_of(&source), Direction::RemoteToRemote, &options, Tracker::new().0, &stop).await;
        assert_eq!(compared.exit, Exit::Different, "{}", compared.report.message);
        assert!(compared.report.message.contains("was skipped"), "{}", compared.report.message);
    }
    // where no other one is read either, it is the source
    let (source, target) = (three(), MemoryStore::new("target"));
    source.state().broken = NAMES.map(str::to_owned).to_vec();
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::Unavailable));
    assert!(target.state().log.is_empty());
}

fn target_of(source: &MemoryStore) -> MemoryStore {
    NAMES.into_iter().fold(MemoryStore::new("target"), |target, name| {
        target.with(name, Distance::L2, source.records(name).into_values())
    })
}

/// Records that the source counts and cannot list are lost: they are counted as such.
#[tokio::test]
async fn what_a_source_cannot_list_is_counted_as_unreadable() {
    let (source, target) = (source(numbered(120)), MemoryStore::new("target"));
    let short = Some("10 of 130 records cannot be listed".to_owned());
    source.state().remarks = crate::store::Remarks { short, counted: 130, ..crate::store::Remarks::default() };
    for verification in [Verification::Full, Verification::Counts] {
        let outcome = run(&source, &target, &Options { verification, ..fast() }).await;
        assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
        let Counts { source, unreadable, .. } = outcome.report.counts;
        assert_eq!((source, unreadable), (130, 10), "{}", outcome.report.message);
        assert!(outcome.report.message.contains("cannot be listed"), "{}", outcome.report.message);
        assert!(!outcome.report.verification.identical);
    }
}
