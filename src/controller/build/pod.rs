//! The runner's pod: preflight, then for a local target what fills it and the Chroma server that writes it, then the mover. Pure.
//! Restricted pod security, no service-account token; what is only read is mounted read-only.

use std::collections::BTreeMap;

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EnvVar, ObjectFieldSelector,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements,
    SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::mounted::Mounted;
use super::parts::{mount, scratch};
use super::{ANNOTATION_LISTED, ANNOTATION_MANIFEST, Input, fill, placement, template};
use crate::api::schedule::generation::Origin;
use crate::api::{ContainerName, LocalTarget, MemoryMigration, MemoryMigrationSpec, Runner, endpoint};
use crate::controller::observe::world::Ids;
use crate::controller::{Platform, Settings};

const MANIFEST_DIR: &str = "/etc/memory-migration";
const MANIFEST_FILE: &str = "migration.yaml";
const LISTED_FILE: &str = "listed.json";
const SOURCE_DIR: &str = "/volumes/source";
pub(super) const TARGET_DIR: &str = "/volumes/target";
const WRITER_URL: &str = "http://127.0.0.1:8000";
/// Of official distroless images, and of none that runs as root.
const NOBODY: i64 = 65532;
/// The mover ends its request within 20 s of a SIGTERM; the rest is Chroma's, to close the store.
const GRACE_SECONDS: i64 = 120;

/// The object as the runner gets it: what is moved and how, with every default and namespace filled in, and without
/// what is only about the pod.
///
/// # Errors
/// Only when JSON cannot hold it: a bug.
pub fn manifest(migration: &MemoryMigration, settings: &Settings) -> serde_json::Result<String> {
    let mut spec = migration.spec.clone();
    let namespace = migration.namespace();
    for remote in [spec.source.remote.as_mut(), spec.target.remote.as_mut()].into_iter().flatten() {
        if let Some(service) = &mut remote.service {
            service.namespace = service.namespace.take().or_else(|| namespace.clone());
        }
    }
    if let Some(local) = &mut spec.target.local {
        local.image = Some(server_image(local, settings).to_owned());
    }
    spec.runner = Runner::default();
    let mut object = MemoryMigration::new(&migration.name_any(), spec);
    object.metadata.namespace = namespace;
    if fill::is_in(&object.spec) {
        // whose fill it is
        object.metadata.uid = migration.uid();
    }
    serde_json::to_string(&object)
}

/// The pod of one attempt, on top of what the chart and the migration say of it.
#[must_use]
pub fn spec(spec: &MemoryMigrationSpec, template: &PodTemplateSpec, settings: &Settings, input: &Input) -> PodSpec {
    let mut init = Vec::new();
    // A dry run is nothing but preflight, a verification nothing but a comparison: the mover's verdict says all.
    if spec.writes() {
        init.push(worker(ContainerName::Preflight, spec, template, settings, input));
        if let Some(local) = &spec.target.local {
            if fill::is_in(spec) {
                let worker = runner(ContainerName::Mover, &fill::args(), spec, template, settings, input);
                init.extend(fill::containers(server(local, template, settings), worker));
            }
            init.push(server(local, template, settings));
        }
    }
    let own = template.spec.clone().unwrap_or_default();
    let mut tolerations = own.tolerations.clone().unwrap_or_default();
    let pinned = input.pin.tolerations.iter().filter(|t| !tolerations.contains(t)).cloned().collect::<Vec<_>>();
    tolerations.extend(pinned);
    PodSpec {
        init_containers: Some(init),
        containers: vec![worker(ContainerName::Mover, spec, template, settings, input)],
        volumes: Some(volumes(spec, settings, input)),
        restart_policy: Some("Never".into()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security(own.security_context.as_ref(), settings, &input.ids)),
        node_selector: Some(node_selector(own.node_selector.as_ref())),
        tolerations: Some(tolerations),
        affinity: placement::affinity(own.affinity.as_ref(), input.pin.node.as_deref()),
        ..own
    }
}

/// The images are Linux': in a mixed cluster nothing else keeps the pod from a Windows node.
pub(super) fn node_selector(own: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut selector = BTreeMap::from([("kubernetes.io/os".to_owned(), "linux".to_owned())]);
    selector.extend(own.cloned().unwrap_or_default());
    selector
}

/// A container with this program, and what it is to do.
fn worker(
    name: ContainerName,
    spec: &MemoryMigrationSpec,
    template: &PodTemplateSpec,
    settings: &Settings,
    input: &Input,
) -> Container {
    let mut own = Vec::new();
    if name == ContainerName::Preflight {
        own.push("--preflight-only".to_owned());
    } else if spec.target.local.is_some() && spec.writes() {
        own.extend(["--writer-url", WRITER_URL].map(Into::into));
        if fill::is_in(spec) {
            own.extend(fill::args_of_mover());
        }
    }
    runner(name, &own, spec, template, settings, input)
}

/// What all containers with this program have in common, beside arguments of their own.
fn runner(
    name: ContainerName,
    own: &[String],
    spec: &MemoryMigrationSpec,
    template: &PodTemplateSpec,
    settings: &Settings,
    input: &Input,
) -> Container {
    let mut args: Vec<String> = ["run", "-f", &format!("{MANIFEST_DIR}/{MANIFEST_FILE}")].map(Into::into).into();
    args.extend(["--run-hash".into(), input.hash.clone()]);
    args.extend(["--termination-log", "/dev/termination-log", "--wait-exit", "--log-format", "json"].map(Into::into));
    if input.listed.is_some() {
        args.extend(["--listed".into(), format!("{MANIFEST_DIR}/{LISTED_FILE}")]);
    }
    // of two claims the runner sees the files
    if spec.source.remote.is_some() || spec.target.remote.is_some() {
        let known = input.one_store.map_or("unknown", |is_one| if is_one { "yes" } else { "no" });
        args.extend(["--one-store", known].map(Into::into));
    }
    for (claim, dir) in claim_dirs(spec) {
        args.extend(["--volume".into(), format!("{claim}={dir}")]);
    }
    args.extend(Mounted::of(spec).args());
    args.extend(own.iter().cloned());
    if let Some(Origin { schedule, uid }) = &input.generation {
        args.extend(["--generation-of".into(), schedule.clone(), "--migration-uid".into(), uid.clone()]);
    }
    Container {
        image: Some(settings.runner_image.clone()),
        args: Some(args),
        volume_mounts: Some(worker_mounts(name, spec, input)),
        ..container(template, name, resources("100m", "128Mi"), &[("TMPDIR", "/tmp")])
    }
}

/// The Chroma server as a native sidecar: it starts after preflight has passed, and is ended after the mover.
fn server(local: &LocalTarget, template: &PodTemplateSpec, settings: &Settings) -> Container {
    let folders = endpoint::folders(&local.path);
    let path = [TARGET_DIR].into_iter().chain(folders).collect::<Vec<_>>().join("/");
    let env = [("HOME", "/tmp"), ("ANONYMIZED_TELEMETRY", "False")];
    Container {
        image: Some(server_image(local, settings).to_owned()),
        args: Some(["run", "--host", "127.0.0.1", "--port", "8000", "--path", &path].map(Into::into).into()),
        restart_policy: Some("Always".into()),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(vec![mount("target", TARGET_DIR, false), mount("server-scratch", "/tmp", false)]),
        ..container(template, ContainerName::Chroma, resources("250m", "512Mi"), &env)
    }
}

/// What people may write of a container, between what is ours by default and what is ours always.
pub(super) fn container(
    template: &PodTemplateSpec,
    name: ContainerName,
    resources: ResourceRequirements,
    always: &[(&str, &str)],
) -> Container {
    let mut container =
        Container { resources: Some(resources), security_context: Some(container_security()), ..Container::default() };
    container.merge_from(template::container(template, name));
    let mut variables = container.env.take().unwrap_or_default();
    variables.retain(|variable| !always.iter().any(|(name, _)| *name == variable.name));
    variables.extend(always.iter().map(|(name, value)| env(name, value)));
    Container { name: name.as_str().into(), env: Some(variables), ..container }
}

/// Preflight judges by it what the server will make of the store, so the manifest holds it too.
fn server_image<'s>(local: &'s LocalTarget, settings: &'s Settings) -> &'s str {
    local.image.as_deref().unwrap_or(&settings.chroma_image)
}

fn env(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), value_from: None }
}

/// Which claim is in which folder. A claim that both sides share is mounted once.
fn claim_dirs(spec: &MemoryMigrationSpec) -> Vec<(&str, &'static str)> {
    let target = spec.target.local.as_ref().map(|t| (t.claim_name.as_str(), TARGET_DIR));
    let source = spec.source.local.as_ref().map(|s| (s.claim_name.as_str(), SOURCE_DIR));
    source.filter(|(claim, _)| target.is_none_or(|(other, _)| other != *claim)).into_iter().chain(target).collect()
}

/// All is read-only for the runner, but the claim on which it writes a generation's record and report beside the store, or fills
/// the store and takes the mark beside it away.
fn worker_mounts(name: ContainerName, spec: &MemoryMigrationSpec, input: &Input) -> Vec<VolumeMount> {
    let is_written = input.generation.is_some() || (name == ContainerName::Mover && fill::is_in(spec));
    let mut mounts = vec![mount("manifest", MANIFEST_DIR, true), mount("scratch", "/tmp", false)];
    mounts.extend(claim_dirs(spec).into_iter().map(|(_, dir)| {
        let volume = if dir == SOURCE_DIR { "source" } else { "target" };
        mount(volume, dir, dir == SOURCE_DIR || !is_written)
    }));
    mounts.extend(Mounted::of(spec).mounts());
    mounts
}

fn volumes(spec: &MemoryMigrationSpec, settings: &Settings, input: &Input) -> Vec<Volume> {
    let mut files = vec![file(MANIFEST_FILE, ANNOTATION_MANIFEST)];
    files.extend(input.listed.is_some().then(|| file(LISTED_FILE, ANNOTATION_LISTED)));
    let mut volumes = vec![
        Volume {
            name: "manifest".into(),
            downward_api: Some(DownwardAPIVolumeSource { items: Some(files), ..Default::default() }),
            ..Volume::default()
        },
        scratch("scratch", &settings.scratch_limit),
    ];
    for (claim, dir) in claim_dirs(spec) {
        // Read-only at the claim too: at the mount alone, fsGroup would still change a live source's modes.
        let read_only = (dir == SOURCE_DIR || !spec.writes()).then_some(true);
        volumes.push(Volume {
            name: if dir == SOURCE_DIR { "source" } else { "target" }.into(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: claim.into(), read_only }),
            ..Volume::default()
        });
    }
    if spec.target.local.is_some() && spec.writes() {
        volumes.push(scratch("server-scratch", "1Gi"));
    }
    volumes.extend(fill::is_in(spec).then(fill::volume));
    volumes.extend(Mounted::of(spec).volumes());
    volumes
}

/// A file with an annotation of the pod.
fn file(path: &str, annotation: &str) -> DownwardAPIVolumeFile {
    DownwardAPIVolumeFile {
        path: path.into(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.annotations['{annotation}']"),
            api_version: None,
        }),
        ..DownwardAPIVolumeFile::default()
    }
}

pub(super) fn resources(cpu: &str, memory: &str) -> ResourceRequirements {
    let quantities = |all: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
        all.iter().map(|(name, amount)| ((*name).into(), Quantity((*amount).into()))).collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", cpu), ("memory", memory)])),
        limits: Some(quantities(&[("memory", "2Gi")])),
        claims: None,
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    }
}

pub(super) fn pod_security(own: Option<&PodSecurityContext>, settings: &Settings, ids: &Ids) -> PodSecurityContext {
    let mut context = PodSecurityContext {
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    };
    // OpenShift gives every namespace its own range, and refuses ids from outside it.
    if settings.platform == Platform::Kubernetes {
        let user = ids.user.unwrap_or(NOBODY);
        context.run_as_user = Some(user);
        context.run_as_group = Some(ids.group.unwrap_or(user));
        context.fs_group = Some(ids.fs_group.or(ids.group).unwrap_or(user));
        context.fs_group_change_policy = Some("OnRootMismatch".into());
        context.supplemental_groups = (!ids.supplemental.is_empty()).then(|| ids.supplemental.clone());
        context.se_linux_options.clone_from(&ids.se_linux);
    }
    if let Some(own) = own {
        context.merge_from(own.clone());
    }
    context
}
