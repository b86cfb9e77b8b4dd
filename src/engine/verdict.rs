//! From what a run did to what it says: verdict, reason, message, counts. Pure but for the clock that stamps the end.

mod identity;
mod words;

use std::time::SystemTime;

use super::halt::{Halt, exit_of};
use super::verify::Compared;
use super::{Context, Extras, Options, Outcome, Pair, Run, Search, SearchMode, fill, quiet, search};
use crate::exit::Exit;
use crate::report::{Check, CollectionReport, Counts, Direction, Reason, Report, SCHEMA, Verdict};
use crate::store::{Finding, Target};
use words::{Task, beside, forbidden, held_too};

/// How far a run got. Only `Proved` can become the reason `Verified`, and only verification can make a [`Compared`].
pub(super) enum End {
    /// A dry run.
    Planned,
    /// This process was to fill the target for the next one; whether it has.
    Filled(bool),
    /// Only counts were compared.
    Counted,
    /// Every record was compared; one proof a collection.
    Proved(Vec<Compared>),
}

/// The outcome of a migration.
pub(super) fn outcome(
    context: &Context<'_>,
    target: &dyn Target,
    direction: Direction,
    run: &Run,
    started: SystemTime,
    ended: &Result<End, Halt>,
) -> Outcome {
    let collections = reports(run, ended.as_ref().ok());
    let counts = total(&collections);
    let (reason, message) = match ended {
        Err(halt) => (halt.reason(run.written), halt.to_string()),
        Ok(End::Planned) => (Reason::DryRunCompleted, planned(run, &counts)),
        // the run goes on in another process, whose verdict is the run's
        Ok(End::Filled(is_filled)) => (Reason::DryRunCompleted, filled(run, *is_filled)),
        Ok(End::Counted) => counted(run, &counts, direction, context.options.extras),
        Ok(End::Proved(proofs)) => {
            let (reason, message) = proved((Task::Migration, direction), run, &counts, proofs, context.options);
            let (reason, message) = searched(run, context.options.search, (reason, message));
            (reason, message + &fill::instead(context, run).unwrap_or_default())
        }
    };
    let names = format!("{} to {}", context.source.name(), target.name());
    let said = Said { reason, message: format!("{names}: {message}"), collections };
    let outcome = finished(Some(run), direction, started, said);
    // a refusal says that nothing was written
    let exit = if reason == Reason::SourceReplaced && run.written { Exit::Different } else { outcome.exit };
    Outcome { exit, ..outcome }
}

/// The outcome of a comparison that wrote nothing.
pub(super) fn verified_only(
    context: &Context<'_>,
    target: &str,
    direction: Direction,
    run: &Run,
    started: SystemTime,
    ended: &Result<End, Halt>,
) -> Outcome {
    let mut collections = reports(run, ended.as_ref().ok());
    for CollectionReport { counts, .. } in &mut collections {
        // nothing was copied: what is equal was there
        counts.present += counts.copied + counts.overwritten;
        (counts.copied, counts.overwritten) = (0, 0);
    }
    let counts = total(&collections);
    let (reason, message) = match ended {
        Ok(End::Proved(proofs)) => searched(
            run,
            context.options.search,
            proved((Task::Comparison, direction), run, &counts, proofs, context.options),
        ),
        Ok(_) => (Reason::InternalError, "a comparison ended without a proof; please report this".to_owned()),
        Err(halt) => (halt.reason(false), halt.to_string()),
    };
    let message = format!("{} against {target}, nothing was written: {message}", context.source.name());
    let Outcome { report, exit } = finished(Some(run), direction, started, Said { reason, message, collections });
    Outcome { report: Report { comparison: true, ..report }, exit }
}

/// The outcome of a run whose stores could not be opened.
pub(super) fn not_started(halt: &Halt, direction: Direction, started: SystemTime) -> Outcome {
    let said = Said { reason: halt.reason(false), message: halt.to_string(), collections: Vec::new() };
    finished(None, direction, started, said)
}

/// What a run comes to.
struct Said {
    reason: Reason,
    message: String,
    collections: Vec<CollectionReport>,
}

fn finished(run: Option<&Run>, direction: Direction, started: SystemTime, said: Said) -> Outcome {
    let Said { reason, message, collections } = said;
    let counts = total(&collections);
    let exit = exit_of(reason);
    let verdict = match reason {
        Reason::DryRunCompleted => Verdict::DryRun,
        _ if exit == crate::exit::Exit::Success => Verdict::Succeeded,
        _ => Verdict::Failed,
    };
    let stamp = |time| humantime::format_rfc3339_millis(time).to_string();
    let report = Report {
        schema: SCHEMA,
        verdict,
        reason,
        message,
        direction,
        started_at: stamp(started),
        finished_at: stamp(SystemTime::now()),
        preflight: run.map(checks).unwrap_or_default(),
        counts,
        verification: run.map(|run| identity::of(run, reason, &counts, quiet::of(run))).unwrap_or_default(),
        target_bytes: None,
        comparison: false,
        rate: run.and_then(|run| run.tracker.rate()),
        collections,
        collections_left_out: 0,
    };
    Outcome { report, exit }
}

fn checks(run: &Run) -> Vec<Check> {
    let warned = run.warnings.iter().map(|warning| Check {
        check: warning.check.to_owned(),
        ok: false,
        message: warning.message.clone(),
        remedy: warning.remedy.to_owned(),
    });
    run.findings.iter().map(check).chain(warned).collect()
}

fn check(finding: &Finding) -> Check {
    Check {
        check: finding.check.to_owned(),
        ok: finding.problem.is_none(),
        message: finding.message.clone(),
        remedy: finding.problem.as_ref().map(|p| p.remedy.clone()).unwrap_or_default(),
    }
}

fn reports(run: &Run, end: Option<&End>) -> Vec<CollectionReport> {
    let counts = |pair: &Pair| match end {
        Some(End::Planned) => pair.planned(),
        // without a comparison nothing is verified: what was sent is all there is to say
        Some(End::Counted | End::Filled(_)) => Counts { copied: pair.sent, ..pair.planned() },
        // a run that stopped before its first write tells what it found, and claims no write
        None if !run.written => Counts { copied: 0, overwritten: 0, ..pair.planned() },
        Some(End::Proved(_)) | None => pair.counts(),
    };
    run.pairs.iter().map(|pair| pair.report(counts(pair))).collect()
}

fn total(collections: &[CollectionReport]) -> Counts {
    let mut total = Counts::default();
    for collection in collections {
        total.add(&collection.counts);
    }
    total
}

/// Adds what searches in the target answer, which makes a proved run fail only where that is required.
fn searched(run: &Run, asked: Search, (reason, message): (Reason, String)) -> (Reason, String) {
    let is_proved = matches!(reason, Reason::Verified | Reason::VerifiedWithSkips);
    if !is_proved {
        return (reason, message);
    }
    let left_out =
        search::left_out(run, asked).map(|left_out| format!(". Search check: {left_out}")).unwrap_or_default();
    match search::degraded(run, asked) {
        None => (reason, message + &left_out),
        Some(why) if asked.mode == SearchMode::Require => {
            let allow = "To accept it, use --search report (verification.search.mode: Report)";
            (Reason::SearchDegraded, format!("search check: {why}{left_out}. {message}. {allow}"))
        }
        Some(why) => (reason, format!("{message}. Search check: {why}")),
    }
}

fn planned(run: &Run, counts: &Counts) -> String {
    let Counts { source, copied, present, conflicts_skipped, overwritten, duplicates, different, unreadable, .. } =
        counts;
    let lost = if *different == 0 {
        String::new()
    } else {
        format!(", {different} cannot be read in the target and would be left alone, which fails the run")
    };
    format!(
        "dry run, nothing was written. Of {source} records {copied} would be copied, {overwritten} overwritten, {present} \
         are in the target already, {conflicts_skipped} conflict, {duplicates} are duplicates, {unreadable} cannot be read{lost}{}{}",
        beyond(run),
        run.warnings.iter().map(|w| [". ", &w.message, "; ", w.remedy].concat()).collect::<String>()
    )
}

fn filled(run: &Run, is_filled: bool) -> String {
    let why = fill::told(run).unwrap_or_default();
    if !is_filled {
        return format!("nothing was written. {why}");
    }
    let records: u64 = run.pairs.iter().map(|pair| pair.sent).sum();
    format!(
        "{records} records are in the files of the new store. Nothing was compared yet: the container mover does it"
    )
}

/// What only the target holds, for a plan.
fn beyond(run: &Run) -> String {
    let held = identity::extra(run).into_iter().chain(identity::others(run));
    held.map(|text| [". ", &text[..1].to_uppercase(), &text[1..]].concat()).collect()
}

fn counted(run: &Run, counts: &Counts, direction: Direction, extras: Extras) -> (Reason, String) {
    let (pairs, task) = (&run.pairs, Task::Migration);
    if let Some(problems) = task.problems(run) {
        return (Reason::VerificationFailed, problems + &held_too(run, extras));
    }
    if let Some(pair) = pairs.iter().find(|pair| pair.target_after < pair.target_before + pair.sent) {
        let expected = pair.target_before + pair.sent;
        let message = format!(
            "collection {} should hold {expected} records and holds {}; run it again with verification Full{}",
            pair.target_words(),
            pair.target_after,
            held_too(run, extras)
        );
        return (Reason::VerificationFailed, message);
    }
    // nothing was compared: these were not sent
    if counts.different + counts.missing > 0 {
        return (Reason::VerificationFailed, task.differing(run, counts) + &held_too(run, extras));
    }
    if let Some(message) = task.unread(run) {
        return (Reason::Unavailable, message + &held_too(run, extras));
    }
    if counts.unreadable > 0 {
        return (Reason::VerificationFailed, task.unreadable(counts.unreadable, direction) + &held_too(run, extras));
    }
    if let Some(message) = forbidden(run, extras, "Contents were not compared, as verification Counts asks") {
        return (Reason::VerificationFailed, message);
    }
    let message = format!(
        "{} records were copied and the counts agree{}. Contents were not compared, as verification Counts asks: \
         this is less than Verified",
        counts.copied,
        beside(run, counts, false)
    );
    (Reason::CountsVerified, message)
}

fn proved(
    (task, direction): (Task, Direction),
    run: &Run,
    counts: &Counts,
    proofs: &[Compared],
    options: &Options,
) -> (Reason, String) {
    if proofs.len() != run.pairs.len() || !counts.is_complete() {
        let message = format!("the counts do not add up ({counts:?}); please report this bug with this run's output");
        return (Reason::InternalError, message);
    }
    let held = held_too(run, options.extras);
    if let Some(problems) = task.problems(run) {
        let differs = counts.different + counts.missing > 0;
        let and = if differs { task.differing(run, counts) } else { task.rest(counts.unreadable, direction) };
        return (Reason::VerificationFailed, format!("{problems}. {and}{held}"));
    }
    if counts.different + counts.missing > 0 {
        return (Reason::VerificationFailed, task.differing(run, counts) + &held);
    }
    if let Some(message) = task.unread(run) {
        return (Reason::Unavailable, message + &held);
    }
    if counts.unreadable > 0 {
        return (Reason::VerificationFailed, task.unreadable(counts.unreadable, direction) + &held);
    }
    if counts.changed > 0 {
        return (Reason::SourceChanging, task.changing(counts.changed) + &held);
    }
    let skipped = counts.conflicts_skipped + counts.duplicates;
    let equal =
        if skipped == 0 { task.equal(counts.verified) } else { format!("{} records verified", counts.verified) };
    if let Some(message) = forbidden(run, options.extras, &equal) {
        return (Reason::VerificationFailed, message);
    }
    // a run that ends as SearchDegraded calls nothing identical
    let is_degraded = options.search.mode == SearchMode::Require && search::degraded(run, options.search).is_some();
    let beside = beside(run, counts, skipped == 0 && !is_degraded);
    if skipped > 0 {
        let message = format!(
            "{} records verified; skipped: {} with other content in the target (onConflict: Skip), {} duplicates. \
             This run's output lists them{beside}",
            counts.verified, counts.conflicts_skipped, counts.duplicates
        );
        return (Reason::VerifiedWithSkips, message);
    }
    if counts.source == 0 {
        return (
            Reason::Verified,
            format!("the source holds no record, as was allowed: there was nothing to compare{beside}"),
        );
    }
    (Reason::Verified, format!("{equal}{beside}"))
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::engine::ledger::{Ledger, Plan, Proof};
    use crate::engine::preflight::LEFT_OUT;
    use crate::engine::progress::Tracker;
    use crate::engine::select::Selected;
    use crate::engine::{OnConflict, Warning};
    use crate::model::Distance;
    use crate::store::memory::{self, MemoryStore};

    const INTO_SERVER: Direction = Direction::LocalToRemote;

    pub(super) fn bare() -> Run {
        Run::new(Tracker::new().0)
    }

    /// A collection whose records have these plans and proofs, and whose conflicts are overwritten.
    pub(super) fn pair(records: &[(Plan, Proof)]) -> Pair {
        let mut ledger = Ledger::new((0..records.len()).map(|n| n.to_string()).collect());
        for (at, (plan, proof)) in records.iter().enumerate() {
            ledger.change(at, |entry| (entry.plan, entry.proof) = (*plan, *proof)).unwrap();
        }
        let source = memory::collection("source", "memories", Distance::L2, 1);
        let selected = Selected { source, target_name: "memories".into(), target_database: None };
        Pair::new(selected, ledger, &Options { on_conflict: OnConflict::Overwrite, ..Options::default() })
    }

    /// What a migration asks for whose target may hold more.
    fn proved_by(run: &Run, counts: &Counts) -> (Reason, String) {
        proved((Task::Migration, INTO_SERVER), run, counts, &[], &Options::default())
    }

    #[test]
    fn each_number_decides_by_itself() {
        let of = |source, verified| Counts { source, verified, ..Counts::default() };
        let skips = |conflicts_skipped, duplicates| Counts { conflicts_skipped, duplicates, ..of(4, 2) };
        let identical = "every one was compared and is equal; source and target are identical";
        let cases = [
            (of(4, 4), Reason::Verified, format!("4 records verified: {identical}")),
            (of(0, 0), Reason::Verified, "the source holds no record, as was allowed".to_owned()),
            (of(4, 3), Reason::InternalError, "the counts do not add up".to_owned()),
            (Counts { different: 2, ..of(4, 2) }, Reason::VerificationFailed, "2 records differ and 0 are".to_owned()),
            (Counts { missing: 2, ..of(4, 2) }, Reason::VerificationFailed, "0 records differ and 2 are".to_owned()),
            (
                Counts { different: 1, missing: 1, ..of(4, 2) },
                Reason::VerificationFailed,
                "1 records differ and 1 are".to_owned(),
            ),
            (Counts { unreadable: 2, ..of(4, 2) }, Reason::VerificationFailed, "2 records of the source".to_owned()),
            (Counts { changed: 2, ..of(4, 2) }, Reason::SourceChanging, "2 records changed in the source".to_owned()),
            (skips(2, 0), Reason::VerifiedWithSkips, "2 records verified; skipped: 2 with other content".to_owned()),
            (skips(0, 2), Reason::VerifiedWithSkips, "2 records verified; skipped: 0 with other content".to_owned()),
            (skips(1, 1), Reason::VerifiedWithSkips, "2 records verified; skipped: 1 with other content".to_owned()),
        ];
        for (counts, reason, words) in cases {
            let said = proved_by(&bare(), &counts);
            assert!(said.0 == reason && said.1.starts_with(&words), "{counts:?}: {said:?}");
        }
    }

    #[test]
    fn a_collection_without_its_proof_is_never_verified() {
        let mut run = bare();
        run.pairs.push(pair(&[(Plan::New, Proof::Verified)]));
        let said = proved_by(&run, &Counts { source: 1, verified: 1, ..Counts::default() });
        assert_eq!(said.0, Reason::InternalError, "{said:?}");
    }

    #[test]
    fn beside_a_problem_what_differs_is_told_where_something_does() {
        let mut run = bare();
        run.warnings.push(Warning { check: LEFT_OUT, message: "one was skipped".into(), remedy: "" });
        for (different, missing, words) in [
            (0, 0, "one was skipped. All records that can be read were copied and compared"),
            (2, 0, "one was skipped. 2 records differ and 0 are missing"),
            (0, 2, "one was skipped. 0 records differ and 2 are missing"),
            (1, 1, "one was skipped. 1 records differ and 1 are missing"),
        ] {
            let counts =
                Counts { source: 4, verified: 4 - different - missing, different, missing, ..Counts::default() };
            let said = proved_by(&run, &counts);
            assert!(said.0 == Reason::VerificationFailed && said.1.starts_with(words), "{said:?}");
        }
    }

    #[test]
    fn counts_are_compared_with_what_was_there_and_what_was_sent() {
        let said = |target_after, counts: &Counts| {
            let mut run = bare();
            run.pairs.push(Pair { target_before: 2, sent: 3, target_after, ..pair(&[]) });
            counted(&run, counts, INTO_SERVER, Extras::Allow)
        };
        let none = Counts::default();
        for (after, counts, reason, words) in [
            (5, none, Reason::CountsVerified, "0 records were copied and the counts agree"),
            (6, none, Reason::CountsVerified, "0 records were copied and the counts agree"),
            (4, none, Reason::VerificationFailed, "collection \"memories\" should hold 5 records and holds 4"),
            (5, Counts { different: 2, ..none }, Reason::VerificationFailed, "2 records differ and 0 are missing"),
            (5, Counts { missing: 2, ..none }, Reason::VerificationFailed, "0 records differ and 2 are missing"),
            (5, Counts { different: 1, missing: 1, ..none }, Reason::VerificationFailed, "1 records differ and 1 are"),
            (5, Counts { unreadable: 2, ..none }, Reason::VerificationFailed, "2 records of the source cannot be read"),
        ] {
            let said = said(after, &counts);
            assert!(said.0 == reason && said.1.starts_with(words), "{after}, {counts:?}: {said:?}");
        }
    }

    /// Two records are new, one of them is verified; the same of two conflicts; three were sent.
    fn half_way(written: bool) -> Run {
        let states = [Plan::New, Plan::Conflict].map(|plan| [(plan, Proof::Open), (plan, Proof::Verified)]);
        let mut run = Run { written, ..bare() };
        run.pairs.push(Pair { sent: 3, ..pair(states.as_flattened()) });
        run
    }

    #[test]
    fn what_is_called_copied_and_overwritten_by_how_far_a_run_got() {
        for (written, end, expected) in [
            (false, Some(End::Planned), (2, 2)),
            (true, Some(End::Counted), (3, 2)),
            (true, Some(End::Filled(true)), (3, 2)),
            (true, Some(End::Proved(Vec::new())), (1, 1)),
            (true, None, (1, 1)),
            (false, None, (0, 0)),
        ] {
            let counts = total(&reports(&half_way(written), end.as_ref()));
            assert_eq!((counts.copied, counts.overwritten), expected, "written: {written}");
        }
    }

    #[test]
    fn a_fill_says_what_is_in_the_files() {
        let said = filled(&half_way(true), true);
        assert!(said.starts_with("3 records are in the files of the new store"), "{said}");
        assert_eq!(filled(&half_way(false), false), "nothing was written. ");
    }

    #[test]
    fn what_a_comparison_finds_equal_was_there() {
        let (source, options, stop) = (MemoryStore::new("source"), Options::default(), CancellationToken::new());
        let context = Context { source: &source, options: &options, stop: &stop };
        let mut run = bare();
        let states = [(Plan::New, 1), (Plan::Conflict, 2), (Plan::Present, 3)];
        let states = states.map(|(plan, records)| vec![(plan, Proof::Verified); records]).concat();
        run.pairs.push(pair(&states));
        let ended = Ok(End::Proved(Vec::new()));
        let Report { counts, comparison, .. } =
            verified_only(&context, "target", INTO_SERVER, &run, SystemTime::now(), &ended).report;
        assert_eq!((counts.present, counts.copied, counts.overwritten, comparison), (6, 0, 0, true));
    }

    #[test]
    fn only_proof_counts_and_plans_are_no_failure() {
        for (reason, verdict) in [
            (Reason::Verified, Verdict::Succeeded),
            (Reason::VerifiedWithSkips, Verdict::Succeeded),
            (Reason::CountsVerified, Verdict::Succeeded),
            (Reason::DryRunCompleted, Verdict::DryRun),
            (Reason::VerificationFailed, Verdict::Failed),
            (Reason::SearchDegraded, Verdict::Failed),
            (Reason::SourceChanging, Verdict::Failed),
            (Reason::PreflightRefused, Verdict::Failed),
            (Reason::InternalError, Verdict::Failed),
        ] {
            let said = Said { reason, message: String::new(), collections: Vec::new() };
            let outcome = finished(None, INTO_SERVER, SystemTime::now(), said);
            assert_eq!((outcome.report.verdict, outcome.exit), (verdict, exit_of(reason)), "{reason:?}");
        }
    }

    /// A refusal says that nothing was written.
    #[test]
    fn a_source_that_is_replaced_while_its_target_is_written_is_no_refusal() {
        let (source, options, stop) = (MemoryStore::new("source"), Options::default(), CancellationToken::new());
        let context = Context { source: &source, options: &options, stop: &stop };
        let exit = |written, halt| {
            let run = Run { written, ..bare() };
            outcome(&context, &MemoryStore::new("target"), INTO_SERVER, &run, SystemTime::now(), &Err(halt)).exit
        };
        assert_eq!(exit(false, Halt::SourceReplaced(String::new())), Exit::Refused);
        assert_eq!(exit(true, Halt::SourceReplaced(String::new())), Exit::Different);
        assert_eq!([exit(true, Halt::Interrupted), exit(false, Halt::Interrupted)], [Exit::Interrupted; 2]);
    }
}
