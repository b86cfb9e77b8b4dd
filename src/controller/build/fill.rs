//! The containers that fill a local target by its files, between preflight and the server that writes it: a Chroma server on
//! scratch space that lays the store out, and the runner that fills it. Pure.

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ResourceFieldSelector, Volume};

use super::parts::{mount, scratch};
use super::{FILL, LAYOUT, SERVER};
use crate::api::{Fill, LocalTarget, MemoryMigrationSpec, VerificationMode, endpoint};

const LAYOUT_URL: &str = "http://127.0.0.1:8001";
/// The layout server's scratch space, as the filling container has it.
const LAYOUT_DIR: &str = "/layout";
/// The folder of its store in there.
const STORE: &str = "store";
/// What the filling container leaves for the mover: in the scratch space that they share.
const HANDOVER_DIR: &str = "/tmp/handover";
/// The limit of the server that will write the target.
const MEMORY: &str = "WRITER_MEMORY";

/// Whether a pod fills its target. Nothing can take a name in the place of a claim's root: there the mover says why not.
#[must_use]
pub fn is_in(spec: &MemoryMigrationSpec) -> bool {
    let is_asked = |local: &LocalTarget| local.fill == Fill::Files && !endpoint::folders(&local.path).is_empty();
    spec.writes()
        && spec.verification.mode == VerificationMode::Full
        && spec.target.local.as_ref().is_some_and(is_asked)
}

/// Arguments of the mover, which goes on with what was filled.
pub(super) fn args_of_mover() -> [String; 2] {
    ["--handover", HANDOVER_DIR].map(Into::into)
}

/// The containers, in their order: each starts when the one before it is up, or has ended well.
pub(super) fn containers(server: Container, worker: Container) -> [Container; 2] {
    [layout(server), fill(worker)]
}

/// The layout server: as the target's is made, and on no claim.
fn layout(server: Container) -> Container {
    let args = ["run", "--host", "127.0.0.1", "--port", "8001", "--path"].map(String::from);
    Container {
        name: LAYOUT.into(),
        args: Some(args.into_iter().chain([format!("/tmp/{STORE}")]).collect()),
        volume_mounts: Some(vec![mount(LAYOUT, "/tmp", false)]),
        ..server
    }
}

/// Arguments of the container that fills.
pub(super) fn args() -> Vec<String> {
    let store = format!("{LAYOUT_DIR}/{STORE}");
    let own = ["--layout-url", LAYOUT_URL, "--layout-dir", &store, "--writer-memory"].map(String::from);
    own.into_iter().chain([format!("$({MEMORY})")]).chain(args_of_mover()).collect()
}

/// `worker`: as the mover is made, with these arguments.
fn fill(worker: Container) -> Container {
    let mut env = worker.env.clone().unwrap_or_default();
    env.retain(|variable| variable.name != MEMORY);
    env.push(memory());
    let mut mounts = worker.volume_mounts.clone().unwrap_or_default();
    mounts.push(mount(LAYOUT, LAYOUT_DIR, false));
    Container { name: FILL.into(), env: Some(env), volume_mounts: Some(mounts), ..worker }
}

/// The index is built by the server in one piece: what it takes is compared with the limit before.
fn memory() -> EnvVar {
    let limit = ResourceFieldSelector {
        container_name: Some(SERVER.into()),
        resource: "limits.memory".into(),
        ..ResourceFieldSelector::default()
    };
    let value_from = EnvVarSource { resource_field_ref: Some(limit), ..EnvVarSource::default() };
    EnvVar { name: MEMORY.into(), value: None, value_from: Some(value_from) }
}

/// The layout server's scratch space.
pub(super) fn volume() -> Volume {
    scratch(LAYOUT, "1Gi")
}
