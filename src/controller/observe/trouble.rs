//! Why a Job makes no pod and why a pod does not start, from what Kubernetes says of them, each with a remedy. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use kube::ResourceExt;

use super::ending;
use super::world::Trouble;
use crate::api::conditions::Reason;
use crate::controller::build::{LAYOUT, MOVER, SERVER};

/// Restarts after which a server that comes up is no longer believed to stay up.
const RESTARTS: i32 = 3;
/// Seconds that a pod may take longer than it should before that is said.
const OVERDUE: i64 = 30;

/// Why the pod does not start, get on or end, if something keeps it from it. `events` are those of the pod.
#[must_use]
pub fn of_pod(pod: &Pod, events: &[Event], now: &Time) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let lost = lost_node(pod, name, now);
    lost.or_else(|| of_containers(pod, name))
        .or_else(|| of_scheduling(pod, name))
        .or_else(|| of_mounts(pod, name, events))
        .or_else(|| kept(pod, name, now))
}

/// Why the Job makes no pod. `events` are those of the Job.
#[must_use]
pub fn of_job(name: &str, events: &[Event]) -> Option<Trouble> {
    let why = without_pod_name(text(last(events, &["FailedCreate"])?), name);
    let remedy = to_be_admitted(&why);
    Some(Trouble { reason: Reason::NotAdmitted, message: format!("Job {name} may make no pod: {why}; {remedy}") })
}

/// That somebody has suspended the Job itself: the operator never does.
#[must_use]
pub fn suspended(job: &Job) -> Option<Trouble> {
    let message = format!(
        "somebody has set spec.suspend of Job {} itself, so it makes no pod: set it to false; to suspend the migration, set \
         spec.suspend of the MemoryMigration",
        job.name_any()
    );
    job.spec.as_ref()?.suspend.filter(|suspended| *suspended)?;
    Some(Trouble { reason: Reason::Retrying, message })
}

/// The API server's sentence without the name that its pod would have had: each try has another one.
fn without_pod_name(why: &str, job: &str) -> String {
    let Some((before, rest)) = why.split_once(&format!("\"{job}-")) else { return why.to_owned() };
    let Some((_, after)) = rest.split_once('"') else { return why.to_owned() };
    format!("{before}of Job {job}{after}")
}

/// What to do about a refusal, by what the API server says.
#[must_use]
pub fn to_be_admitted(why: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| why.to_lowercase().contains(word));
    if says(&["exceeded quota", "failed quota"]) {
        "raise the namespace's quota, or set resources of the containers in spec.runner.podTemplate to what it allows"
    } else if says(&["violates podsecurity"]) {
        "correct each securityContext in spec.runner.podTemplate, or label the namespace with a level that allows it"
    } else if says(&["priorityclass", "priority class"]) {
        "create that PriorityClass, or correct spec.runner.podTemplate.spec.priorityClassName"
    } else if says(&["serviceaccount", "service account"]) {
        "create that ServiceAccount, or correct spec.runner.podTemplate.spec.serviceAccountName"
    } else if says(&["per container is", "per pod is", "limit to request ratio"]) {
        "set resources of the containers in spec.runner.podTemplate within the namespace's LimitRange"
    } else if says(&["denied the request", "validatingadmissionpolicy", "admission webhook"]) {
        "allow the runner there, or set in spec.runner what is asked for"
    } else {
        "allow it there, or correct what of spec.runner is refused"
    }
}

/// A pod whose node does not answer. Nobody knows whether it still runs, so nothing else may write meanwhile.
fn lost_node(pod: &Pod, name: &str, now: &Time) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    // The time at which its grace period is over.
    let overdue = pod.metadata.deletion_timestamp.as_ref().is_some_and(|at| seconds(at, now) > OVERDUE);
    let what = if overdue {
        format!("pod {name} was told to end and has not: its node {node} does not answer, or cannot end it")
    } else if pod.metadata.deletion_timestamp.is_none() && not_ready_by_its_node(status) {
        format!("node {node} of pod {name} does not answer")
    } else {
        return None;
    };
    Some(Trouble {
        reason: Reason::NodeLost,
        message: format!(
            "{what}. It may still write, so nothing else is started: bring the node back, or, if the machine is off for \
             certain, `kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute`, or delete the Node; \
             the migration then resumes on its own"
        ),
    })
}

/// Whether Kubernetes' node controller took the pod's readiness away: the kubelet gives a reason with its own No, and
/// has called all of its containers ready.
fn not_ready_by_its_node(status: &PodStatus) -> bool {
    let unready = |c: &PodCondition| c.type_ == "Ready" && c.status == "False" && c.reason.is_none();
    let all_ready = status.container_statuses.iter().flatten().all(|c| c.ready);
    let any = status.container_statuses.iter().flatten().next().is_some();
    status.phase.as_deref() == Some("Running") && any && all_ready && status.conditions.iter().flatten().any(unready)
}

/// A pod that does not end although its mover has: another container, put there by others, still runs.
fn kept(pod: &Pod, name: &str, now: &Time) -> Option<Trouble> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let mover = statuses.iter().find(|c| c.name == MOVER)?.state.as_ref()?.terminated.as_ref()?;
    if mover.finished_at.as_ref().is_none_or(|at| seconds(at, now) < OVERDUE) {
        return None;
    }
    let runs = |c: &&ContainerStatus| c.name != MOVER && c.state.as_ref().is_some_and(|s| s.running.is_some());
    let stays = statuses.iter().find(runs)?;
    let container = pod.spec.as_ref()?.containers.iter().find(|c| c.name == stays.name)?;
    Some(Trouble {
        reason: Reason::NoProgress,
        message: format!(
            "the mover of pod {name} has ended (exit code {}), and container {} keeps the pod from ending: {}; {}",
            mover.exit_code,
            stays.name,
            ending::quit(&stays.name, name),
            ending::keep_out(container)
        ),
    })
}

/// Seconds from `at` to `now`.
fn seconds(at: &Time, now: &Time) -> i64 {
    now.0.as_second() - at.0.as_second()
}

fn of_containers(pod: &Pod, name: &str) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let mut containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.find_map(|container| of_container(container, name))
}

fn of_container(container: &ContainerStatus, pod: &str) -> Option<Trouble> {
    let state = container.state.as_ref();
    let waiting = state.and_then(|s| s.waiting.as_ref());
    let why = waiting.and_then(|w| w.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|w| w.message.as_deref()).unwrap_or_default();
    let (reason, message) = match why {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => (
            Reason::ImagePullFailed,
            format!(
                "image {} of pod {pod} cannot be pulled ({why}: {message}): correct the image, or set imagePullSecrets in spec.runner.podTemplate.spec",
                container.image
            ),
        ),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => (
            Reason::MountFailed,
            format!(
                "container {} of pod {pod} cannot be made ({why}: {message}): correct the spec's runner",
                container.name
            ),
        ),
        _ if [SERVER, LAYOUT].contains(&container.name.as_str()) && crash_looping(container, why) => (
            Reason::ServerCrashLooping,
            format!(
                "the Chroma server of pod {pod} ended {} times{}: look at `kubectl logs {pod} -c {}`, and see whether image {} can open this store",
                container.restart_count,
                last_words(container),
                container.name,
                container.image
            ),
        ),
        _ => return None,
    };
    Some(Trouble { reason, message })
}

fn crash_looping(container: &ContainerStatus, why: &str) -> bool {
    why == "CrashLoopBackOff" || container.restart_count >= RESTARTS
}

/// The exit code of the last end and the last line of what it said.
fn last_words(container: &ContainerStatus) -> String {
    let Some(end) = container.last_state.as_ref().and_then(|s| s.terminated.as_ref()) else { return String::new() };
    if end.reason.as_deref() == Some("OOMKilled") {
        return ", last because it ran out of memory; raise resources.limits.memory of container chroma in spec.runner.podTemplate".into();
    }
    let line = end.message.as_deref().unwrap_or_default().trim().lines().last().unwrap_or_default();
    let line: String = line.chars().take(300).collect();
    format!(", last with exit code {} ({line})", end.exit_code)
}

fn of_scheduling(pod: &Pod, name: &str) -> Option<Trouble> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let refused = conditions
        .iter()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable"))?;
    let why = refused.message.as_deref().unwrap_or_default();
    if are_apart(pod, why) {
        return Some(Trouble {
            reason: Reason::ClaimsOnDifferentNodes,
            message: format!(
                "no node reaches all claims of pod {name} ({why}): put both claims on one node or on storage that every \
                 node reaches, or migrate through a server"
            ),
        });
    }
    Some(Trouble {
        reason: Reason::PodUnschedulable,
        message: format!(
            "no node takes pod {name} ({why}): make room, or change resources, nodeSelector or tolerations in spec.runner.podTemplate"
        ),
    })
}

/// Whether the scheduler finds no node that reaches all of the pod's claims. Its words have changed: "volume node affinity
/// conflict" is the older one, "didn't match `PersistentVolume`'s node affinity" was seen on Kubernetes 1.36.3. One claim alone
/// is never apart, and a node that is cordoned, full or lost may be the one that reaches all.
fn are_apart(pod: &Pod, why: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claims: BTreeSet<_> =
        volumes.filter_map(|v| v.persistent_volume_claim.as_ref()).map(|c| &c.claim_name).collect();
    let conflict =
        ["volume node affinity conflict", "PersistentVolume's node affinity"].iter().any(|w| why.contains(w));
    let elsewhere = ["unschedulable", "Insufficient", "node.kubernetes.io/"].iter().any(|w| why.contains(w));
    conflict && claims.len() > 1 && !elsewhere
}

fn of_mounts(pod: &Pod, name: &str, events: &[Event]) -> Option<Trouble> {
    // Events stay for an hour: what they say of mounts is over once a container runs.
    if has_started(pod) {
        return None;
    }
    let why = text(last(events, &["FailedMount", "FailedAttachVolume", "FailedMapVolume"])?);
    let missing = ["secret", "configmap"].iter().any(|kind| why.to_lowercase().contains(kind))
        && (why.contains("not found") || why.contains("non-existent") || why.contains("not registered"));
    let trouble = if missing {
        Trouble {
            reason: Reason::SecretNotReady,
            message: format!(
                "a Secret or ConfigMap that pod {name} needs is not there ({why}): create it with the key that the spec names"
            ),
        }
    } else {
        Trouble {
            reason: Reason::MountFailed,
            message: format!(
                "a volume of pod {name} cannot be mounted ({why}): see whether the claim is used on another node"
            ),
        }
    };
    Some(trouble)
}

/// Whether a container of the pod has run.
#[must_use]
pub fn has_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.filter_map(|c| c.state.as_ref()).any(|state| state.running.is_some() || state.terminated.is_some())
}

/// The latest event with one of these reasons.
fn last<'a>(events: &'a [Event], reasons: &[&str]) -> Option<&'a Event> {
    let matching = events.iter().filter(|e| e.reason.as_deref().is_some_and(|r| reasons.contains(&r)));
    matching.max_by_key(|e| e.last_timestamp.clone().map(|t| t.0).or_else(|| e.event_time.clone().map(|t| t.0)))
}

/// The event's words without what changes from one time to the next: the status must not change with it.
fn text(event: &Event) -> &str {
    event.message.as_deref().unwrap_or_default().trim()
}
