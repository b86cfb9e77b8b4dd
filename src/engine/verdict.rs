//! From what a run did to what it says: verdict, reason, message, counts. Pure but for the clock that stamps the end.

use std::time::SystemTime;

use super::halt::{Halt, exit_of};
use super::verify::Compared;
use super::{Context, Outcome, Pair, Run};
use crate::report::{Check, CollectionReport, Counts, Direction, Reason, Report, SCHEMA, Verdict};
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
        Ok(End::Planned) => (Reason::DryRunCompleted, planned(&counts)),
        Ok(End::Counted) => counted(&run.pairs, &counts),
        Ok(End::Proved(proofs)) => proved(&run.pairs, &counts, proofs),
    };
    let names = format!("{} to {}", context.source.name(), target.name());
    finished(&run.findings, direction, started, reason, format!("{names}: {message}"), collections)
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
    let collections = reports(run, ended.as_ref().ok());
    let counts = total(&collections);
    let (reason, message) = match ended {
        Ok(End::Proved(proofs)) => proved(&run.pairs, &counts, proofs),
        Ok(_) => (Reason::InternalError, "a comparison ended without a proof; please report this".to_owned()),
        Err(halt) => (halt.reason(false), halt.to_string()),
    };
    let message = format!("{} against {target}: {message}", context.source.name());
    finished(&run.findings, direction, started, reason, message, collections)
}

/// The outcome of a run whose stores could not be opened.
pub(super) fn not_started(halt: &Halt, direction: Direction, started: SystemTime) -> Outcome {
    finished(&[], direction, started, halt.reason(false), halt.to_string(), Vec::new())
}

fn finished(
    findings: &[Finding],
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
        preflight: findings.iter().map(check).collect(),
        counts: total(&collections),
        collections,
    };
    Outcome { report, exit }
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

fn planned(counts: &Counts) -> String {
    let Counts { source, copied, present, conflicts_skipped, overwritten, duplicates, unreadable, .. } = counts;
    format!(
        "dry run, nothing was written. Of {source} records {copied} would be copied, {overwritten} overwritten, {present} \
         are in the target already, {conflicts_skipped} conflict, {duplicates} are duplicates, {unreadable} cannot be read"
    )
}

fn counted(pairs: &[Pair], counts: &Counts) -> (Reason, String) {
    let short = pairs.iter().find(|pair| pair.target_after < pair.target_before + pair.sent);
    if let Some(pair) = short {
        let expected = pair.target_before + pair.sent;
        let message = format!(
            "collection {:?} should hold {expected} records and holds {}; run it again with verification Full",
            pair.target_name, pair.target_after
        );
        return (Reason::VerificationFailed, message);
    }
    if counts.unreadable > 0 {
        return (Reason::VerificationFailed, unreadable(counts.unreadable));
    }
    let message = format!(
        "{} records were copied and the counts agree. Contents were not compared, as verification Counts asks: \
         this is less than Verified",
        counts.copied
    );
    (Reason::CountsVerified, message)
}

fn unreadable(records: u64) -> String {
    format!(
        "{records} records of the source have no content that can be read; all others were copied. This run's output lists them; \
         delete them in the source, or restore it from a backup, and run again"
    )
}

fn proved(pairs: &[Pair], counts: &Counts, proofs: &[Compared]) -> (Reason, String) {
    if proofs.len() != pairs.len() || !counts.is_complete() {
        let message = format!("the counts do not add up ({counts:?}); please report this bug with this run's output");
        return (Reason::InternalError, message);
    }
    let settings: Vec<&str> = proofs.iter().flat_map(|proof| proof.settings.iter().map(String::as_str)).collect();
    if counts.different + counts.missing > 0 || !settings.is_empty() {
        return (Reason::VerificationFailed, differing(counts, &settings));
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
    let skipped = counts.conflicts_skipped + counts.duplicates;
    if skipped > 0 {
        let message = format!(
            "{} records verified; skipped: {} with other content in the target (onConflict: Skip), {} duplicates. \
             This run's output lists them",
            counts.verified, counts.conflicts_skipped, counts.duplicates
        );
        return (Reason::VerifiedWithSkips, message);
    }
    let message = format!("{} records verified: every one was compared and is equal", counts.verified);
    (Reason::Verified, message)
}

fn differing(counts: &Counts, settings: &[&str]) -> String {
    let settings = if settings.is_empty() { String::new() } else { format!("; settings: {}", settings.join("; ")) };
    format!(
        "{} records differ and {} are missing in the target{settings}. This run's output lists them; check that nothing else \
         writes the target, and run again with onConflict Overwrite",
        counts.different, counts.missing
    )
}
