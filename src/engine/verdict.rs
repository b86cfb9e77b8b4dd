//! From what a run did to what it says: verdict, reason, message, counts. Pure but for the clock that stamps the end.

use std::time::SystemTime;

use super::halt::{Halt, exit_of};
use super::preflight::LEFT_OUT;
use super::verify::Compared;
use super::{Context, Outcome, Pair, Run, damage};
use crate::exit::Exit;
use crate::report::{Check, CollectionReport, Counts, Direction, Reason, Report, SCHEMA, Verdict, Verification};
use crate::store::{Finding, Target};

/// How far a run got. Only `Proved` can become the reason `Verified`, and only verification can make a [`Compared`].
pub(super) enum End {
    /// A dry run.
    Planned,
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
        Ok(End::Counted) => counted(run, &counts),
        Ok(End::Proved(proofs)) => proved(run, &counts, proofs),
    };
    let names = format!("{} to {}", context.source.name(), target.name());
    let outcome = finished(&checks(run), direction, started, reason, format!("{names}: {message}"), collections);
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
        Ok(End::Proved(proofs)) => proved(run, &counts, proofs),
        Ok(_) => (Reason::InternalError, "a comparison ended without a proof; please report this".to_owned()),
        Err(halt) => (halt.reason(false), halt.to_string()),
    };
    let message = format!("{} against {target}, nothing was written: {message}", context.source.name());
    finished(&checks(run), direction, started, reason, message, collections)
}

/// The outcome of a run whose stores could not be opened.
pub(super) fn not_started(halt: &Halt, direction: Direction, started: SystemTime) -> Outcome {
    finished(&[], direction, started, halt.reason(false), halt.to_string(), Vec::new())
}

fn finished(
    preflight: &[Check],
    direction: Direction,
    started: SystemTime,
    reason: Reason,
    message: String,
    collections: Vec<CollectionReport>,
) -> Outcome {
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
        preflight: preflight.to_vec(),
        counts: total(&collections),
        verification: Verification::default(),
        collections,
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
        Some(End::Counted) => Counts { copied: pair.sent, ..pair.planned() },
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

fn planned(run: &Run, counts: &Counts) -> String {
    let Counts { source, copied, present, conflicts_skipped, overwritten, duplicates, unreadable, .. } = counts;
    format!(
        "dry run, nothing was written. Of {source} records {copied} would be copied, {overwritten} overwritten, {present} \
         are in the target already, {conflicts_skipped} conflict, {duplicates} are duplicates, {unreadable} cannot be read{}",
        run.warnings.iter().map(|w| [". ", &w.message, "; ", w.remedy].concat()).collect::<String>()
    )
}

fn counted(run: &Run, counts: &Counts) -> (Reason, String) {
    let pairs = &run.pairs;
    if let Some(problems) = problems(run) {
        return (Reason::VerificationFailed, problems);
    }
    if let Some(pair) = pairs.iter().find(|pair| pair.target_after < pair.target_before + pair.sent) {
        let expected = pair.target_before + pair.sent;
        let message = format!(
            "collection {} should hold {expected} records and holds {}; run it again with verification Full",
            pair.target_words(),
            pair.target_after
        );
        return (Reason::VerificationFailed, message);
    }
    if let Some(message) = unread(run) {
        return (Reason::Unavailable, message);
    }
    if counts.unreadable > 0 {
        return (Reason::VerificationFailed, unreadable(counts.unreadable));
    }
    let message = format!(
        "{} records were copied and the counts agree{}. Contents were not compared, as verification Counts asks: \
         this is less than Verified",
        counts.copied,
        beside(run, counts)
    );
    (Reason::CountsVerified, message)
}

/// What was not read, though it might be another time; all else was copied and compared.
fn unread(run: &Run) -> Option<String> {
    let all: Vec<&str> = run.pairs.iter().flat_map(|pair| pair.unread.iter().map(String::as_str)).collect();
    (!all.is_empty()).then(|| {
        format!(
            "{}. All others were copied and compared. Mend the server, or read the store's files instead, and run it again",
            all.join("; ")
        )
    })
}

fn unreadable(records: u64) -> String {
    format!(
        "{records} records of the source cannot be read; all others were copied and compared. This run's output lists them: \
         restore them from a backup, or leave them behind on purpose"
    )
}

fn proved(run: &Run, counts: &Counts, proofs: &[Compared]) -> (Reason, String) {
    if proofs.len() != run.pairs.len() || !counts.is_complete() {
        let message = format!("the counts do not add up ({counts:?}); please report this bug with this run's output");
        return (Reason::InternalError, message);
    }
    if let Some(problems) = problems(run) {
        let and =
            if counts.different + counts.missing > 0 { format!(". {}", differing(counts)) } else { String::new() };
        return (Reason::VerificationFailed, format!("{problems}{and}"));
    }
    if counts.different + counts.missing > 0 {
        return (Reason::VerificationFailed, differing(counts));
    }
    if let Some(message) = unread(run) {
        return (Reason::Unavailable, message);
    }
    if counts.unreadable > 0 {
        return (Reason::VerificationFailed, unreadable(counts.unreadable));
    }
    if counts.changed > 0 {
        let message = format!(
            "{} records changed in the source faster than they could be copied; stop its writers, or run again when \
             it is quieter",
            counts.changed
        );
        return (Reason::SourceChanging, message);
    }
    let beside = beside(run, counts);
    let skipped = counts.conflicts_skipped + counts.duplicates;
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
    let message = format!("{} records verified: every one was compared and is equal{beside}", counts.verified);
    (Reason::Verified, message)
}

/// How many problems a message names.
const NAMED: usize = 5;

/// What stands against the verdict beside single records.
fn problems(run: &Run) -> Option<String> {
    let mut all = Vec::new();
    all.extend(damage::of_source(&run.pairs).map(|what| {
        format!(
            "the source is damaged: {what}. Compare the copy with a backup, or copy the store again while no Chroma runs \
             on it"
        )
    }));
    all.extend(
        damage::of_target(&run.pairs).map(|what| {
            format!("the target is damaged: {what}. Restore it from a backup, or migrate into a new store")
        }),
    );
    let left_out = run.warnings.iter().filter(|warning| warning.check == LEFT_OUT);
    all.extend(left_out.map(|warning| warning.message.clone()));
    for problem in run.pairs.iter().flat_map(|pair| &pair.problems) {
        if !all.contains(problem) {
            all.push(problem.clone());
        }
    }
    let left_out = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    let more = if left_out > 0 { format!("; and {left_out} more") } else { String::new() };
    (!all.is_empty()).then(|| all.join("; ") + &more)
}

/// What a person should know that leaves the verdict as it is.
fn beside(run: &Run, counts: &Counts) -> String {
    let mut told = Vec::new();
    if run.pairs.iter().any(|pair| pair.may_be_one) {
        told.push(
            "source and target hold the same collections (equal UUIDs): this may be one store and no second copy"
                .to_owned(),
        );
    }
    if counts.gone_from_source > 0 {
        told.push(format!(
            "{} records left the source during the run, and the target may hold them",
            counts.gone_from_source
        ));
    }
    if counts.came_later > 0 {
        told.push(format!(
            "{} records came to the source after the last pass, and the next run copies them",
            counts.came_later
        ));
    }
    if !run.came_later.is_empty() {
        let left_out = run.came_later.len().saturating_sub(NAMED);
        let more = if left_out > 0 { format!(" and {left_out} more") } else { String::new() };
        told.push(format!(
            "{}{more} came to the source after the selection was made, and the next run copies them",
            run.came_later[..run.came_later.len().min(NAMED)].join(", ")
        ));
    }
    let remarks: Vec<&str> = run.pairs.iter().flat_map(|pair| pair.remarks.iter().map(String::as_str)).collect();
    if let Some(first) = remarks.first() {
        let more = if remarks.len() > 1 {
            format!(" (and {} more, which the report lists)", remarks.len() - 1)
        } else {
            String::new()
        };
        told.push(format!("noticed {first}{more}"));
    }
    let named: Vec<&str> = run.pairs.iter().flat_map(|pair| pair.named.iter().map(String::as_str)).collect();
    if !named.is_empty() {
        let left_out = named.len().saturating_sub(NAMED);
        let more = if left_out > 0 { format!(" and {left_out} more") } else { String::new() };
        told.push(format!(
            "the target keeps settings of its own: {}{more}",
            named[..named.len().min(NAMED)].join("; ")
        ));
    }
    told.iter().map(|text| [". ", &text[..1].to_uppercase(), &text[1..]].concat()).collect()
}

fn differing(counts: &Counts) -> String {
    format!(
        "{} records differ and {} are missing in the target. This run's output lists them; check that nothing else \
         writes the target, and run again with onConflict Overwrite",
        counts.different, counts.missing
    )
}
