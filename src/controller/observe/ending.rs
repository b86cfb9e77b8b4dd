//! Why a pod ended, where Kubernetes knows more than the runner could say: memory, eviction, a mesh without a network yet.
//! Pure.

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

use super::world::Trouble;
use crate::api::conditions::Reason;
use crate::controller::build::{FILL, LAYOUT, MOVER, PREFLIGHT, SERVER};
use crate::exit::Exit;

/// What ended the pod, with the field to change; None where the runner's own words are enough.
#[must_use]
pub fn cause(pod: &Pod) -> Option<Trouble> {
    out_of_memory(pod).or_else(|| evicted(pod)).or_else(|| server_out_of_memory(pod)).or_else(|| behind_a_proxy(pod))
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_ref());
    init.into_iter().chain(status.and_then(|s| s.container_statuses.as_ref())).flatten()
}

fn ended(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
    state.and_then(|state| state.terminated.as_ref())
}

/// The container's memory limit, as "its limit of 2Gi".
fn limit(pod: &Pod, container: &str) -> String {
    let spec = pod.spec.as_ref();
    let mut all = spec.into_iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
    let limits = all.find(|c| c.name == container).and_then(|c| c.resources.as_ref()?.limits.as_ref());
    match limits.and_then(|limits| limits.get("memory")) {
        Some(limit) => format!("its limit of {}", limit.0),
        None => "what its node had left".into(),
    }
}

fn killed_for_memory(state: Option<&ContainerState>) -> bool {
    ended(state).is_some_and(|end| end.reason.as_deref() == Some("OOMKilled"))
}

fn out_of_memory(pod: &Pod) -> Option<Trouble> {
    let ours = |c: &&ContainerStatus| [PREFLIGHT, FILL, MOVER].contains(&c.name.as_str());
    let killed = statuses(pod).filter(ours).find(|c| killed_for_memory(c.state.as_ref()))?;
    let container = &killed.name;
    // it is made as the mover is
    let part = if container == FILL { MOVER } else { container };
    Some(Trouble {
        reason: Reason::OutOfMemory,
        message: format!(
            "container {container} of pod {} was killed: it needed more memory than {}; raise resources.limits.memory of \
             container {part} in spec.runner.podTemplate",
            name(pod),
            limit(pod, container)
        ),
    })
}

/// The mover only sees that the server does not answer.
fn server_out_of_memory(pod: &Pod) -> Option<Trouble> {
    let is_killed = |c: &&ContainerStatus| [c.last_state.as_ref(), c.state.as_ref()].into_iter().any(killed_for_memory);
    let server = statuses(pod).filter(|c| [SERVER, LAYOUT].contains(&c.name.as_str())).find(is_killed)?;
    Some(Trouble {
        reason: Reason::Retrying,
        message: format!(
            "the Chroma server of pod {} was killed: it needed more memory than {}; raise \
             resources.limits.memory of container chroma in spec.runner.podTemplate",
            name(pod),
            limit(pod, &server.name)
        ),
    })
}

fn evicted(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let why = status.message.as_deref().unwrap_or_default().trim();
    if status.reason.as_deref() != Some("Evicted") {
        return None;
    }
    let remedy = if why.contains("EmptyDir") {
        "raise the chart's runner.scratchLimit"
    } else if why.contains("ephemeral") {
        "set resources.requests.ephemeral-storage in spec.runner.podTemplate to what it needs"
    } else if why.contains("memory") {
        "set resources.requests.memory in spec.runner.podTemplate to what it needs"
    } else {
        "see kubectl describe node"
    };
    Some(Trouble {
        reason: Reason::Retrying,
        message: format!("pod {} was evicted from its node ({}); {remedy}", name(pod), why.trim_end_matches(". ")),
    })
}

/// A proxy that is no native sidecar starts after the init containers: preflight has no network then.
fn behind_a_proxy(pod: &Pod) -> Option<Trouble> {
    let preflight = statuses(pod).find(|c| c.name == PREFLIGHT)?;
    let failed =
        ended(preflight.state.as_ref()).is_some_and(|end| end.exit_code == i32::from(Exit::Interrupted.code()));
    let proxy = pod.spec.as_ref()?.containers.iter().find(|c| c.name != MOVER).filter(|_| failed)?;
    Some(Trouble {
        reason: Reason::Retrying,
        message: format!(
            "container {} was put into pod {} and starts after preflight, which may have no network before; {}",
            proxy.name,
            name(pod),
            keep_out(proxy)
        ),
    })
}

/// How a container that others put into the pod is made harmless.
#[must_use]
pub fn keep_out(container: &Container) -> String {
    let own = match container.name.as_str() {
        "istio-proxy" => "set spec.runner.podTemplate.metadata.labels to {sidecar.istio.io/inject: \"false\"}",
        "linkerd-proxy" => "set spec.runner.podTemplate.metadata.annotations to {linkerd.io/inject: disabled}",
        _ => "keep it out of the runner's pods (by labels or annotations in spec.runner.podTemplate.metadata)",
    };
    format!("{own}, or have it injected as a native sidecar; that applies to the next Job: suspend, then resume")
}

/// How a container that does not end by itself is ended, so that the pod and its Job can end well.
#[must_use]
pub fn quit(container: &str, pod: &str) -> String {
    match container {
        "istio-proxy" => {
            format!("to end this one: kubectl exec {pod} -c {container} -- pilot-agent request POST quitquitquit")
        }
        "linkerd-proxy" => {
            format!(
                "to end this one: kubectl port-forward {pod} 4191, then curl -X POST http://localhost:4191/shutdown"
            )
        }
        _ => format!("to end this one, stop its process in pod {pod} so that it ends with exit code 0"),
    }
}
