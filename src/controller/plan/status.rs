//! From a look to the parts of a status: what is known of the run, and what people are shown of it. Pure.
//! Which run a status is about is in `look`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::look::{Look, time};
use super::verdict;
use crate::api::conditions::{Reason, Situation};
use crate::api::status::{CollectionStatus, Counts, LastSuccess, MAX_COLLECTIONS, Progress, VerificationStatus};
use crate::api::{MemoryMigrationSpec, MemoryMigrationStatus, Mode, Remote};
use crate::controller::observe::world::{JobFact, LogFact, World};
use crate::report::{self, Direction, Stage, Summary};

/// Bytes of a message: a condition's may have 32 KiB and an event's note 1 KiB; people read less.
const MAX_MESSAGE: usize = 1000;
/// Chroma's own names for what nobody named.
const DEFAULTS: [&str; 2] = ["default_tenant", "default_database"];

const DEFAULT_PORT: i32 = 8000;

/// The status of a run that goes on: what is known of it, with the log's progress.
#[must_use]
pub(super) fn next(look: &Look<'_>) -> MemoryMigrationStatus {
    let spec = look.spec();
    let before = &look.before;
    let [source_name, target_name] = names(spec);
    let mut status = MemoryMigrationStatus {
        run_hash: look.run.clone(),
        run_id: if look.is_at_the_specs_run() { spec.run_id.clone() } else { before.run_id.clone() },
        failures: failures(look),
        source_name,
        target_name,
        pod_name: pod_name(&before.pod_name, look.job(), look.world),
        completion_time: None,
        counts: None,
        verification: None,
        report: None,
        collections: Vec::new(),
        collections_left_out: 0,
        ..before.clone()
    };
    if look.has_lost_its_job() {
        status.stopped_job.clone_from(&before.job_uid);
    }
    if status.pod_name != before.pod_name {
        begin_again(&mut status);
    }
    if let Some(log) = look.log() {
        status.listed = log.listed.as_ref().map(Into::into).or(status.listed);
        status.overwrites = log.overwrites.map(signed).or(status.overwrites);
        if let Some(progress) = &log.progress {
            show_progress(&mut status, progress, log.said_at.and_then(time).as_ref().unwrap_or(look.now));
        }
    }
    status
}

/// Tries of the run that have failed. A Job that somebody else removed is one.
#[must_use]
pub(super) fn failures(look: &Look<'_>) -> i32 {
    let before = look.before.failures;
    let of_job = look.job().map_or(0, |job| verdict::failures(look, job));
    let lost = if look.has_lost_its_job() { before.saturating_add(1) } else { before };
    before.max(of_job).max(lost)
}

/// Puts a run's end into its status.
pub(super) fn finish(status: &mut MemoryMigrationStatus, look: &Look<'_>, reason: Reason, summary: Option<&Summary>) {
    if let Some(job) = look.job() {
        // A Job that left its end is not lost, even if it is gone.
        status.failures = look.before.failures.max(verdict::failures(look, job));
        status.stopped_job.clone_from(&look.before.stopped_job);
    }
    // The pod whose verdict it is, by the node's clock; the controller may have been away meanwhile.
    let pods = &look.world.pods;
    let said = pods.iter().find(|pod| summary.is_some() && pod.summary.as_ref() == summary);
    let last = pods.iter().find(|pod| pod.name == status.pod_name && reason != Reason::DeadlineExceeded);
    let ended = said.or(last).and_then(|pod| pod.ended.clone()).unwrap_or_else(|| look.now.clone());
    status.completion_time = Some(ended.clone());
    let Some(summary) = summary else { return };
    let counts = Counts::from(summary.counts);
    status.counts = Some(counts);
    status.verification = Some(VerificationStatus {
        result: reason.as_str().into(),
        identical: summary.verification.identical,
        recall: summary.verification.recall,
        source_quiet: summary.verification.source_quiet.into(),
        fingerprint: summary.fingerprint.clone(),
        max_ulps: i64::from(summary.max_ulps),
        compared_at: compared(reason).then(|| ended.clone()),
    });
    if let Some(log) = look.log() {
        show_collections(status, log);
    }
    show_end(status, reason, &counts, &ended);
    if let Some(success) = success(status, reason) {
        let bytes = summary.target_bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        status.last_success = Some(LastSuccess { bytes, ..success });
    }
}

/// The collections' outcomes, as far as the log has them.
pub(super) fn show_collections(status: &mut MemoryMigrationStatus, log: &LogFact) {
    status.collections = log.collections.iter().take(MAX_COLLECTIONS).map(CollectionStatus::from).collect();
    status.collections_left_out =
        i64::from(log.of).saturating_sub(i64::try_from(status.collections.len()).unwrap_or(i64::MAX)).max(0);
}

/// Whether a run that ended so had compared both sides.
fn compared(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Verified
            | Reason::VerifiedWithSkips
            | Reason::CountsVerified
            | Reason::VerificationFailed
            | Reason::SearchDegraded
    )
}

/// The reason of a run whose log has not been read this time: what it said last.
#[must_use]
pub(super) fn running_reason(before: &MemoryMigrationStatus) -> Reason {
    let stage = before.progress.as_ref().map(|p| p.stage.as_str()).unwrap_or_default();
    Reason::parse(stage).filter(|reason| reason.situation() == Situation::Running).unwrap_or(Reason::Preflight)
}

/// What the runner does, for the condition's message. Without numbers: they are in `progress`.
#[must_use]
pub(super) fn doing(reason: Reason, mode: Mode) -> &'static str {
    match (reason, mode) {
        (Reason::Copying, _) => "copying records",
        (Reason::Verifying, Mode::Migrate) => "comparing every record",
        (Reason::Verifying, Mode::Verify) => "comparing every record, and writing nothing,",
        (Reason::Repairing, _) => "sending again what verification named",
        (_, Mode::Verify) => "reading source and target, and writing nothing,",
        _ => "checking source and target before anything is written",
    }
}

/// What is said before the first record of the target is replaced.
#[must_use]
pub(super) fn overwriting(records: u64) -> String {
    format!(
        "{records} records of the target will be replaced by the source's, as onConflict: Overwrite asks, 30 s after this \
         was found: to keep the target's, set spec.suspend to true now"
    )
}

/// From which kind of endpoint to which.
#[must_use]
pub(super) fn direction(spec: &MemoryMigrationSpec) -> Direction {
    match (spec.source.local.is_some(), spec.target.local.is_some()) {
        (true, true) => Direction::LocalToLocal,
        (true, false) => Direction::LocalToRemote,
        (false, true) => Direction::RemoteToLocal,
        (false, false) => Direction::RemoteToRemote,
    }
}

/// The text, cut where it is too long for a condition or an event.
#[must_use]
pub(super) fn shorten(text: &str) -> String {
    if text.len() <= MAX_MESSAGE {
        return text.into();
    }
    let most = MAX_MESSAGE - '…'.len_utf8();
    let kept = text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= most).map(|(_, c)| c);
    kept.chain(['…']).collect()
}

/// Where the memories are read and where they are written, in one word each: `claim:path`, `namespace/service` or the url, with
/// the port where it is not Chroma's; with `#database`, or `#tenant/database`, where it is not Chroma's default. Two ends of one
/// store or server both say their database: nothing else tells them apart.
fn names(spec: &MemoryMigrationSpec) -> [String; 2] {
    let local = [
        spec.source.local.as_ref().map(|l| (&l.claim_name, &l.path, &l.tenant, l.database())),
        spec.target.local.as_ref().map(|l| (&l.claim_name, &l.path, &l.tenant, l.database())),
    ];
    let remote = [spec.source.remote.as_ref(), spec.target.remote.as_ref()];
    let [source, target] = [0, 1].map(|side| place(local[side], remote[side]));
    let one = source.0 == target.0;
    [source, target].map(|(store, tenant, database)| store + &within(tenant, database, &spec.databases, one))
}

/// The target's name of [`names`].
#[must_use]
pub(super) fn target_name(spec: &MemoryMigrationSpec) -> String {
    let [_, target] = names(spec);
    target
}

/// The store or server, its tenant and its database.
fn place<'a>(
    local: Option<(&String, &String, &'a String, &'a str)>,
    remote: Option<&'a Remote>,
) -> (String, &'a str, &'a str) {
    if let Some((claim, path, tenant, database)) = local {
        let store = if path.is_empty() { claim.clone() } else { format!("{claim}:{path}") };
        return (store, tenant, database);
    }
    let Some(remote) = remote else { return (String::new(), DEFAULTS[0], DEFAULTS[1]) };
    let server = match (&remote.service, &remote.url) {
        (Some(service), _) => {
            let port = if service.port == DEFAULT_PORT { String::new() } else { format!(":{}", service.port) };
            match &service.namespace {
                Some(namespace) => format!("{namespace}/{}{port}", service.name),
                None => format!("{}{port}", service.name),
            }
        }
        (None, url) => url.clone().unwrap_or_default(),
    };
    (server, &remote.tenant, remote.database())
}

/// How many databases are named where a run goes over several.
const NAMED: usize = 2;

fn within(tenant: &str, database: &str, several: &[String], always: bool) -> String {
    let more = if several.len() > NAMED { ",…" } else { "" };
    let names = several[..several.len().min(NAMED)].join(",") + more;
    let database = if several.is_empty() { database } else { names.as_str() };
    match [tenant, database] {
        DEFAULTS if !always => String::new(),
        [tenant, database] if tenant == DEFAULTS[0] => format!("#{database}"),
        [tenant, database] => format!("#{tenant}/{database}"),
    }
}

/// The pod to look at: the Job's one that is alive, else its newest; what was known where none is there any more.
fn pod_name(before: &str, job: Option<&JobFact>, world: &World) -> String {
    let ours = world.pods.iter().filter(|pod| job.is_some_and(|job| job.name == pod.job));
    ours.max_by_key(|pod| (pod.alive, pod.created)).map_or_else(|| before.to_owned(), |pod| pod.name.clone())
}

/// Puts what the runner's log says into the status. Records and percent never fall within a run, also when the next try
/// begins with its checks again.
fn show_progress(status: &mut MemoryMigrationStatus, told: &report::Progress, now: &Time) {
    let before = status.progress.clone().unwrap_or_default();
    let report::Progress { stage, records, total, done, of, percent, records_per_second, eta_seconds } = *told;
    // A runner of the version before tells of its stage only.
    let (done, of) = if of == 0 { (records.min(total), total) } else { (done, of) };
    let progress = Progress {
        stage: Reason::from(stage).as_str().into(),
        records: signed(done).max(before.records),
        total: signed(of).max(before.records),
        percent: i32::from(percent).max(before.percent),
        records_per_second: whole(records_per_second),
        eta_seconds: eta_seconds.map(signed),
        updated_at: Some(now.clone()),
    };
    status.records = of_all(progress.records, progress.total);
    status.progress = Some(progress);
}

#[expect(clippy::cast_possible_truncation, reason = "a rate of that size is none")]
fn whole(rate: f64) -> i64 {
    rate.round() as i64
}

/// Another pod begins: what the one before did is no longer done.
pub(super) fn begin_again(status: &mut MemoryMigrationStatus) {
    if let Some(progress) = &mut status.progress {
        progress.stage = Reason::from(Stage::Preflight).as_str().into();
        progress.records_per_second = 0;
        progress.eta_seconds = None;
    }
}

/// Puts the numbers of a run that has ended into its status.
fn show_end(status: &mut MemoryMigrationStatus, reason: Reason, counts: &Counts, at: &Time) {
    let good = counts.verified + counts.conflicts_skipped + counts.duplicates;
    let done = match reason {
        Reason::DryRunCompleted => counts.present,
        reason if reason.situation() == Situation::Done => counts.source,
        _ => good,
    };
    status.records = of_all(done, counts.source);
    if reason == Reason::DryRunCompleted {
        let conflicts = counts.conflicts_skipped + counts.overwritten;
        status.records = format!("{}: {} to copy, {conflicts} conflict", status.records, counts.copied);
    }
    if reason.situation() == Situation::Done {
        let stage = status.progress.take().map(|p| p.stage).unwrap_or_default();
        let (records, total) = (done, counts.source);
        status.progress =
            Some(Progress { stage, records, total, percent: 100, updated_at: Some(at.clone()), ..Progress::default() });
    }
}

/// What the conditions of a finished run say that somebody removed.
#[must_use]
pub(super) fn said_anew(status: &MemoryMigrationStatus, is_done: bool) -> (Reason, String) {
    let word = status.verification.as_ref().map(|verification| verification.result.as_str()).unwrap_or_default();
    match Reason::parse(word).filter(|reason| reason.situation() == Situation::Done) {
        Some(reason) if is_done => {
            let message = format!(
                "the run ended with {word}, {} records; somebody removed the conditions, which are written anew from the rest \
                 of the status: see who may write memorymigrations/status",
                status.records
            );
            (reason, message)
        }
        _ => {
            let message = "the run ended without success, and somebody removed the conditions that said why: see its events \
                           and its Job's log, and who may write memorymigrations/status; change runId to run it again";
            (Reason::InternalError, message.to_owned())
        }
    }
}

/// The run that has just ended well, as the object keeps it; None for one that moved nothing.
fn success(status: &MemoryMigrationStatus, reason: Reason) -> Option<LastSuccess> {
    if reason.situation() != Situation::Done || reason == Reason::DryRunCompleted {
        return None;
    }
    Some(LastSuccess {
        time: status.completion_time.clone(),
        run_id: status.run_id.clone(),
        run_hash: status.run_hash.clone(),
        target_name: status.target_name.clone(),
        fingerprint: status.verification.as_ref().map(|v| v.fingerprint.clone()).unwrap_or_default(),
        records: status.counts.map_or(0, |counts| counts.source),
        bytes: 0,
        identical: status.verification.as_ref().is_some_and(|v| v.identical),
    })
}

fn of_all(done: i64, all: i64) -> String {
    format!("{done}/{all}")
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
