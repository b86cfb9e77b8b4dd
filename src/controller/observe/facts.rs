//! From Kubernetes' objects to the facts that `plan` decides on. Pure: takes what `observe` read.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{
    ContainerStatus, Event, PersistentVolumeClaim, Pod, PodSecurityContext, Volume, VolumeDevice, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::world::{Asked, Endpoint, Handle, Ids, JobFact, JobPhase, LogFact, PodFact, UserFact, World};
use super::{ending, trouble};
use crate::api::status::MAX_COLLECTIONS;
use crate::api::{KIND, LABEL_ATTEMPT, LABEL_RUN, MemoryMigration, MemoryMigrationStatus};
use crate::controller::build::{ANNOTATION_FAILED, ANNOTATION_MANIFEST, ANNOTATION_PIN, FILL, MOVER, PREFLIGHT};
use crate::report::{Line, Summary};

/// The facts of a Job; `events` are those about it.
#[must_use]
pub fn job(job: &Job, events: &[Event]) -> JobFact {
    JobFact {
        name: job.name_any(),
        uid: job.uid().unwrap_or_default(),
        run: job.labels().get(LABEL_RUN).cloned().unwrap_or_default(),
        attempt: job.labels().get(LABEL_ATTEMPT).and_then(|n| n.parse().ok()).unwrap_or_default(),
        created: job.creation_timestamp().map_or(0, |t| t.0.as_second()),
        phase: job_phase(job),
        deleting: job.metadata.deletion_timestamp.is_some(),
        deleted_at: job.metadata.deletion_timestamp.as_ref().map(|t| t.0.as_second()),
        gone: false,
        exit: policy_exit(job),
        asked: asked(job),
        ttl: job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished),
        failed: job.status.as_ref().and_then(|status| status.failed).unwrap_or_default(),
        failed_before: job.annotations().get(ANNOTATION_FAILED).and_then(|n| n.parse().ok()).unwrap_or_default(),
        pin: job.annotations().get(ANNOTATION_PIN).cloned(),
        trouble: trouble::suspended(job).or_else(|| trouble::of_job(&job.name_any(), events)),
    }
}

/// The Job that the status names and that somebody removed without its pods, or before they ended: of those, and of the
/// status, is known what is left of it. None: it is there, or nothing is left.
#[must_use]
pub fn vanished(status: &MemoryMigrationStatus, world: &World) -> Option<JobFact> {
    let uid = Some(&status.job_uid).filter(|uid| !uid.is_empty())?;
    let is_there = world.jobs.iter().any(|job| job.uid == *uid);
    let has_left = world.pods.iter().any(|pod| pod.job_uid == *uid);
    (has_left && !is_there).then(|| JobFact {
        name: status.job_name.clone(),
        uid: uid.clone(),
        run: status.run_hash.clone(),
        attempt: status.attempts,
        created: 0,
        phase: JobPhase::Active,
        deleting: false,
        deleted_at: None,
        gone: true,
        exit: None,
        asked: None,
        ttl: None,
        failed: 0,
        failed_before: status.failures,
        pin: None,
        trouble: None,
    })
}

/// Whether the object with this UID owns it.
#[must_use]
pub fn is_owned(object: &impl ResourceExt, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.kind == KIND && owner.uid == uid)
}

fn ended(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref().and_then(|s| s.conditions.as_ref());
    let mut true_ones = conditions.into_iter().flatten().filter(|c| c.status == "True");
    true_ones.find(|c| c.type_ == "Complete" || c.type_ == "Failed")
}

/// The condition has it in words, also when the pod is gone: `Container mover for pod team/p failed with exit code 7
/// matching FailJob rule at index 1` (the words in the source of its Job controller).
fn policy_exit(job: &Job) -> Option<i32> {
    let condition = ended(job).filter(|c| c.reason.as_deref() == Some("PodFailurePolicy"))?;
    let (_, after) = condition.message.as_deref()?.split_once("failed with exit code ")?;
    after.split_whitespace().next()?.parse().ok()
}

/// What the Job's own manifest asks for: the spec may have been edited since.
fn asked(job: &Job) -> Option<Asked> {
    let template = &job.spec.as_ref()?.template;
    let manifest = template.metadata.as_ref()?.annotations.as_ref()?.get(ANNOTATION_MANIFEST)?;
    let migration: MemoryMigration = serde_json::from_str(manifest).ok()?;
    Some(Asked::of(&migration.spec))
}

/// Whether the Job has ended, and how.
#[must_use]
pub fn job_phase(job: &Job) -> JobPhase {
    match ended(job) {
        None => JobPhase::Active,
        Some(condition) if condition.type_ == "Complete" => JobPhase::Complete,
        Some(condition) => JobPhase::Failed(condition.reason.clone().unwrap_or_default()),
    }
}

/// The facts of a pod of ours; `events` are those about it.
#[must_use]
pub fn pod(pod: &Pod, events: &[Event], now: &Time) -> PodFact {
    let runners: Vec<&ContainerStatus> =
        containers(pod).filter(|c| [PREFLIGHT, FILL, MOVER].contains(&c.name.as_str())).collect();
    let ends = runners.iter().filter_map(|c| c.state.as_ref()?.terminated.as_ref());
    let failed = ends.clone().find(|end| end.exit_code != 0);
    // A preflight that passed says nothing about the run, nor does a fill.
    let mover = runners.iter().find(|c| c.name == MOVER).and_then(|c| c.state.as_ref()?.terminated.as_ref());
    let last = failed.or(mover);
    let alive = is_alive(pod);
    let owner = owner(pod);
    PodFact {
        name: pod.name_any(),
        job: owner.name,
        job_uid: owner.uid,
        created: pod.creation_timestamp().map_or(0, |t| t.0.as_second()),
        alive,
        succeeded: phase(pod) == "Succeeded",
        started: trouble::has_started(pod),
        summary: last.and_then(|end| summary(pod, end.message.as_deref()?)),
        exit: failed.map(|end| end.exit_code),
        trouble: alive.then(|| trouble::of_pod(pod, events, now)).flatten(),
        cause: (!alive || failed.is_some()).then(|| ending::cause(pod)).flatten(),
        speaker: speaker(&runners),
        ended: last.and_then(|end| end.finished_at.clone()),
    }
}

/// Other containers can write around our JSON; only a whole object is believed.
fn summary(pod: &Pod, message: &str) -> Option<Summary> {
    let summary: Summary = serde_json::from_str(message.trim()).ok()?;
    Some(Summary { message: in_claims(pod, &summary.message), ..summary })
}

/// The message with claims in place of the folders where only this pod has them: `dev:chroma_db`.
fn in_claims(pod: &Pod, message: &str) -> String {
    let spec = pod.spec.as_ref();
    let mover = spec.and_then(|spec| spec.containers.iter().find(|c| c.name == MOVER));
    let mut text = message.to_owned();
    for mount in mover.and_then(|mover| mover.volume_mounts.as_ref()).into_iter().flatten() {
        let volumes = spec.and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
        let volume =
            volumes.filter(|volume| volume.name == mount.name).find_map(|v| v.persistent_volume_claim.as_ref());
        if let Some(volume) = volume {
            text = text.replace(&format!("{}/", mount.mount_path), &format!("{}:", volume.claim_name));
            text = text.replace(&mount.mount_path, &volume.claim_name);
        }
    }
    text
}

fn speaker(runners: &[&ContainerStatus]) -> Option<&'static str> {
    let spoke = |name: &str| {
        let state = runners.iter().find(|c| c.name == name).and_then(|c| c.state.as_ref());
        state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
    };
    [MOVER, FILL, PREFLIGHT].into_iter().find(|name| spoke(name))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_ref());
    let main = status.and_then(|s| s.container_statuses.as_ref());
    init.into_iter().chain(main).flatten()
}

/// Whether a pod has not ended: one that is Pending can start at any time.
#[must_use]
pub fn is_alive(pod: &Pod) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed")
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// The Job that made it.
fn owner(pod: &Pod) -> Handle {
    let owner = pod.owner_references().iter().find(|o| o.kind == "Job");
    owner.map(|o| Handle { name: o.name.clone(), uid: o.uid.clone() }).unwrap_or_default()
}

/// One fact for each of these claims that the pod uses.
#[must_use]
pub fn users(pod: &Pod, claims: &[&str]) -> Vec<UserFact> {
    let spec = pod.spec.as_ref();
    let volumes = spec.and_then(|s| s.volumes.as_ref()).into_iter().flatten();
    let used = volumes.filter_map(|volume| Some((volume, claim_of(pod, volume)?)));
    used.filter(|(_, claim)| claims.contains(&claim.as_str()))
        .map(|(volume, claim)| UserFact {
            pod: pod.name_any(),
            claim,
            node: spec.and_then(|s| s.node_name.clone()),
            running: pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"),
            read_only: is_read_only(pod, volume),
            tolerations: spec.and_then(|s| s.tolerations.clone()).unwrap_or_default(),
            ids: ids(pod, &volume.name),
        })
        .collect()
}

/// Whether the pod cannot write to this volume. A container that may be added later, for debugging, counts by its own mounts.
fn is_read_only(pod: &Pod, volume: &Volume) -> bool {
    if volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.read_only == Some(true)) {
        return true;
    }
    let Some(spec) = &pod.spec else { return false };
    let of = |mounts: &Option<Vec<VolumeMount>>, devices: &Option<Vec<VolumeDevice>>| {
        let written = |m: &VolumeMount| m.name == volume.name && m.read_only != Some(true);
        mounts.iter().flatten().any(written) || devices.iter().flatten().any(|d| d.name == volume.name)
    };
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut added = spec.ephemeral_containers.iter().flatten();
    !containers.any(|c| of(&c.volume_mounts, &c.volume_devices))
        && !added.any(|c| of(&c.volume_mounts, &c.volume_devices))
}

/// Every claim that the pod uses.
#[must_use]
pub fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
    volumes.filter_map(|volume| claim_of(pod, volume)).collect()
}

/// The claim of a volume: named, or made for the pod (then it is called POD-VOLUME).
fn claim_of(pod: &Pod, volume: &Volume) -> Option<String> {
    let named = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
    named.or_else(|| volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.name_any(), volume.name)))
}

/// The ids of the container that mounts the volume, else those of the pod.
fn ids(pod: &Pod, volume: &str) -> Ids {
    let Some(spec) = pod.spec.as_ref() else { return Ids::default() };
    let of_pod: PodSecurityContext = spec.security_context.clone().unwrap_or_default();
    let mounts =
        |c: &&k8s_openapi::api::core::v1::Container| c.volume_mounts.iter().flatten().any(|m| m.name == volume);
    let of_container = spec.containers.iter().find(mounts).and_then(|c| c.security_context.clone()).unwrap_or_default();
    Ids {
        user: of_container.run_as_user.or(of_pod.run_as_user),
        group: of_container.run_as_group.or(of_pod.run_as_group),
        fs_group: of_pod.fs_group,
        supplemental: of_pod.supplemental_groups.unwrap_or_default(),
        se_linux: of_container.se_linux_options.or(of_pod.se_linux_options),
    }
}

/// The facts of a claim; None: there is none of that name. One that waits for its first consumer is not missing.
#[must_use]
pub fn claim(name: &str, claim: Option<&PersistentVolumeClaim>) -> Endpoint {
    let Some(claim) = claim else {
        return Endpoint::Missing(format!(
            "there is no PersistentVolumeClaim {name} in this namespace: create it, or correct claimName"
        ));
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Endpoint::Missing(format!("PersistentVolumeClaim {name} is being deleted: name another claim"));
    }
    let modes = claim.spec.as_ref().and_then(|s| s.access_modes.clone()).unwrap_or_default();
    let has = |mode: &str| modes.iter().any(|m| m == mode);
    Endpoint::Found {
        uid: claim.uid().unwrap_or_default(),
        one_node: has("ReadWriteOnce") && !has("ReadWriteMany") && !has("ReadOnlyMany"),
        one_pod: has("ReadWriteOncePod"),
    }
}

/// Parts of a report that are held: whoever writes more into the log is not believed.
const MAX_PARTS: u32 = 64;

/// What a log says. Each line may begin with the time at which it was written.
#[must_use]
pub fn log(text: &str) -> LogFact {
    let mut fact = LogFact::default();
    let mut collections = BTreeMap::new();
    for line in text.lines() {
        let (at, line) = with_time(line);
        fact.last_line = at.or(fact.last_line);
        match Line::parse(line) {
            Some(Line::Progress(progress)) => (fact.progress, fact.said_at) = (Some(progress), at),
            Some(Line::Listed(listed)) => fact.listed = Some(listed),
            Some(Line::Overwrites { records, seconds: _ }) => fact.overwrites = Some(records),
            Some(Line::Collection { number, of, report }) => {
                fact.of = of;
                collections.insert(number, *report);
            }
            Some(Line::Report { number, of: _, part }) if number <= MAX_PARTS => drop(fact.parts.insert(number, part)),
            Some(Line::Report { .. }) | None => {}
        }
    }
    // By their numbers: the runner writes the first ones last, so that they are in whatever part of the log is read.
    let listed = collections.into_iter().filter(|(number, _)| *number as usize <= MAX_COLLECTIONS);
    fact.collections = listed.map(|(_, report)| report).collect();
    fact
}

/// The second at which a line was written, as the kubelet puts it before the line.
fn with_time(line: &str) -> (Option<i64>, &str) {
    let split = line.split_once(' ').and_then(|(time, rest)| Some((time.parse::<Timestamp>().ok()?, rest)));
    split.map_or((None, line), |(time, rest)| (Some(time.as_second()), rest))
}
