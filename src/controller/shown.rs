//! What a status shows to people: names, records and progress over a whole run, the pod to look at, the last success. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observed::{JobFact, Observed};
use crate::api::conditions::{Reason, Situation};
use crate::api::status::{Counts, LastSuccess, Progress};
use crate::api::{MemoryMigrationSpec, MemoryMigrationStatus, Remote};
use crate::report::{self, Stage};

/// Chroma's own names for what nobody named.
const DEFAULTS: [&str; 2] = ["default_tenant", "default_database"];

/// Where the memories are read, in one word.
#[must_use]
pub fn source(spec: &MemoryMigrationSpec) -> String {
    let local = spec.source.local.as_ref().map(|l| (&l.claim_name, &l.path, [l.tenant.as_str(), l.database()]));
    place(local, spec.source.remote.as_ref())
}

/// Where they are written, in one word.
#[must_use]
pub fn target(spec: &MemoryMigrationSpec) -> String {
    let local = spec.target.local.as_ref().map(|l| (&l.claim_name, &l.path, [l.tenant.as_str(), l.database()]));
    place(local, spec.target.remote.as_ref())
}

/// `claim:path`, `namespace/service` or the url; with `#database`, or `#tenant/database`, where it is not Chroma's default.
fn place(local: Option<(&String, &String, [&str; 2])>, remote: Option<&Remote>) -> String {
    if let Some((claim, path, within)) = local {
        let store = if path.is_empty() { claim.clone() } else { format!("{claim}:{path}") };
        return store + &database(within);
    }
    let Some(remote) = remote else { return String::new() };
    let server = match (&remote.service, &remote.url) {
        (Some(service), _) => match &service.namespace {
            Some(namespace) => format!("{namespace}/{}", service.name),
            None => service.name.clone(),
        },
        (None, url) => url.clone().unwrap_or_default(),
    };
    server + &database([&remote.tenant, remote.database()])
}

fn database([tenant, database]: [&str; 2]) -> String {
    match [tenant, database] {
        DEFAULTS => String::new(),
        [tenant, database] if tenant == DEFAULTS[0] => format!("#{database}"),
        [tenant, database] => format!("#{tenant}/{database}"),
    }
}

/// The pod to look at: the Job's one that is alive, else its newest; what was known where none is there any more.
#[must_use]
pub fn pod(before: &str, job: Option<&JobFact>, observed: &Observed) -> String {
    let ours = observed.pods.iter().filter(|pod| job.is_some_and(|job| job.name == pod.job));
    ours.max_by_key(|pod| (pod.alive, pod.created)).map_or_else(|| before.to_owned(), |pod| pod.name.clone())
}

/// Puts what the runner's log says into the status. Records and percent never fall within a run, also when the next try
/// begins with its checks again.
pub fn progress(status: &mut MemoryMigrationStatus, told: &report::Progress, now: &Time) {
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
pub fn begin_again(status: &mut MemoryMigrationStatus) {
    if let Some(progress) = &mut status.progress {
        progress.stage = Reason::from(Stage::Preflight).as_str().into();
        progress.records_per_second = 0;
        progress.eta_seconds = None;
    }
}

/// Puts the numbers of a run that has ended into its status.
pub fn ended(status: &mut MemoryMigrationStatus, reason: Reason, counts: &Counts, at: &Time) {
    let good = counts.verified + counts.conflicts_skipped + counts.duplicates;
    let done = match reason {
        Reason::DryRunCompleted => counts.present,
        reason if reason.situation() == Situation::Done => counts.source,
        _ => good,
    };
    status.records = of_all(done, counts.source);
    if reason.situation() == Situation::Done {
        let stage = status.progress.take().map(|p| p.stage).unwrap_or_default();
        let (records, total) = (done, counts.source);
        status.progress =
            Some(Progress { stage, records, total, percent: 100, updated_at: Some(at.clone()), ..Progress::default() });
    }
}

/// The run that has just ended well, as the object keeps it; None for one that moved nothing.
#[must_use]
pub fn success(status: &MemoryMigrationStatus, reason: Reason) -> Option<LastSuccess> {
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
    })
}

fn of_all(done: i64, all: i64) -> String {
    format!("{done}/{all}")
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
