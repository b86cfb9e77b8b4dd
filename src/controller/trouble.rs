//! Why a Job makes no pod and why a pod does not start, from what Kubernetes says of them, each with a remedy. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};

use super::observed::Trouble;
use super::pod::SERVER;
use crate::api::conditions::Reason;

/// Restarts after which a server that comes up is no longer believed to stay up.
const RESTARTS: i32 = 3;

/// Why the pod does not start, if something keeps it from it. `events` are those of the pod.
#[must_use]
pub fn of_pod(pod: &Pod, events: &[Event]) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    of_containers(pod, name).or_else(|| of_scheduling(pod, name)).or_else(|| of_mounts(pod, name, events))
}

/// Why the Job makes no pod. `events` are those of the Job.
#[must_use]
pub fn of_job(name: &str, events: &[Event]) -> Option<Trouble> {
    let event = last(events, &["FailedCreate"])?;
    Some(Trouble {
        reason: Reason::NotAdmitted,
        message: format!(
            "Job {name} may make no pod: {}; raise the namespace's quota or lower runner.resources, or correct what else of \
             spec.runner is refused (serviceAccountName, priorityClassName, the pod-security level)",
            text(event)
        ),
    })
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
                "image {} of pod {pod} cannot be pulled ({why}: {message}): correct the image, or set runner.imagePullSecrets",
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
        _ if container.name == SERVER && crash_looping(container, why) => (
            Reason::ServerCrashLooping,
            format!(
                "the Chroma server of pod {pod} ended {} times{}: look at `kubectl logs {pod} -c {SERVER}`, and see whether image {} can open this store",
                container.restart_count,
                last_words(container),
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
    if why.contains("volume node affinity conflict") {
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
            "no node takes pod {name} ({why}): make room, or change runner.resources, nodeSelector or tolerations"
        ),
    })
}

fn of_mounts(pod: &Pod, name: &str, events: &[Event]) -> Option<Trouble> {
    // Events stay for an hour: what they say of mounts is over once a container runs.
    if has_started(pod) {
        return None;
    }
    let why = text(last(events, &["FailedMount", "FailedAttachVolume", "FailedMapVolume"])?);
    let missing = (why.contains("secret") || why.contains("Secret"))
        && (why.contains("not found") || why.contains("non-existent") || why.contains("not registered"));
    let trouble = if missing {
        Trouble {
            reason: Reason::SecretNotReady,
            message: format!(
                "a Secret that pod {name} needs is not there ({why}): create it with the key that the spec names"
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
