//! The runner's pod: preflight, then for a local target the Chroma server that writes it, then the mover. Pure.
//! Restricted pod security, no service-account token; what is only read is mounted read-only.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EmptyDirVolumeSource, EnvVar, KeyToPath,
    ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, ResourceRequirements,
    SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::{ANNOTATION_LISTED, ANNOTATION_MANIFEST, Input, MOVER, PREFLIGHT, SERVER, placement};
use crate::api::{Auth, LocalTarget, MemoryMigration, MemoryMigrationSpec, Remote, Runner, endpoint};
use crate::controller::{Platform, Settings};

const MANIFEST_DIR: &str = "/etc/memory-migration";
const MANIFEST_FILE: &str = "migration.yaml";
const LISTED_FILE: &str = "listed.json";
const SOURCE_DIR: &str = "/volumes/source";
const TARGET_DIR: &str = "/volumes/target";
const SECRETS_DIR: &str = "/secrets";
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
        local.resources = None;
        local.image = Some(server_image(local, settings).to_owned());
    }
    spec.runner = Runner::default();
    let mut object = MemoryMigration::new(&migration.name_any(), spec);
    object.metadata.namespace = namespace;
    serde_json::to_string(&object)
}

/// The pod of one attempt.
#[must_use]
pub fn spec(spec: &MemoryMigrationSpec, settings: &Settings, input: &Input) -> PodSpec {
    let runner = &spec.runner;
    let mut init = Vec::new();
    // A dry run is nothing but preflight, and its plan is the mover's verdict.
    if !spec.dry_run {
        init.push(worker(PREFLIGHT, spec, settings, input));
        init.extend(spec.target.local.as_ref().map(|local| server(local, runner, settings)));
    }
    let mut tolerations = runner.tolerations.clone();
    tolerations.extend(input.pin.tolerations.iter().filter(|t| !runner.tolerations.contains(t)).cloned());
    PodSpec {
        init_containers: Some(init),
        containers: vec![worker(MOVER, spec, settings, input)],
        volumes: Some(volumes(spec, settings, input)),
        restart_policy: Some("Never".into()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security(runner, settings, input)),
        node_selector: Some(node_selector(runner)),
        tolerations: Some(tolerations),
        affinity: placement::affinity(runner.affinity.as_ref(), input.pin.node.as_deref()),
        service_account_name: runner.service_account_name.clone(),
        image_pull_secrets: (!runner.image_pull_secrets.is_empty()).then(|| runner.image_pull_secrets.clone()),
        priority_class_name: runner.priority_class_name.clone(),
        ..PodSpec::default()
    }
}

/// The images are Linux': in a mixed cluster nothing else keeps the pod from a Windows node.
fn node_selector(runner: &Runner) -> BTreeMap<String, String> {
    let mut selector = BTreeMap::from([("kubernetes.io/os".to_owned(), "linux".to_owned())]);
    selector.extend(runner.node_selector.clone());
    selector
}

/// A container with this program.
fn worker(name: &str, spec: &MemoryMigrationSpec, settings: &Settings, input: &Input) -> Container {
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
    for (claim, dir) in claim_dirs(spec, input) {
        args.extend(["--volume".into(), format!("{claim}={dir}")]);
    }
    if !secrets(spec).is_empty() {
        args.extend(["--secrets-dir", SECRETS_DIR].map(Into::into));
    }
    if name == PREFLIGHT {
        args.push("--preflight-only".into());
    } else if spec.target.local.is_some() && !spec.dry_run {
        args.extend(["--writer-url", WRITER_URL].map(Into::into));
    }
    Container {
        name: name.into(),
        image: Some(settings.runner_image.clone()),
        args: Some(args),
        env: Some(vec![env("TMPDIR", "/tmp")]),
        resources: Some(resources(spec.runner.resources.as_ref(), "100m", "128Mi")),
        security_context: Some(container_security(&spec.runner)),
        volume_mounts: Some(worker_mounts(spec, input)),
        ..Container::default()
    }
}

/// The Chroma server as a native sidecar: it starts after preflight has passed, and is ended after the mover.
fn server(local: &LocalTarget, runner: &Runner, settings: &Settings) -> Container {
    let folders = endpoint::folders(&local.path);
    let path = [TARGET_DIR].into_iter().chain(folders).collect::<Vec<_>>().join("/");
    Container {
        name: SERVER.into(),
        image: Some(server_image(local, settings).to_owned()),
        args: Some(["run", "--host", "127.0.0.1", "--port", "8000", "--path", &path].map(Into::into).into()),
        restart_policy: Some("Always".into()),
        env: Some(vec![env("HOME", "/tmp"), env("ANONYMIZED_TELEMETRY", "False")]),
        resources: Some(resources(local.resources.as_ref(), "250m", "512Mi")),
        security_context: Some(container_security(runner)),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(vec![mount("target", TARGET_DIR, false), mount("server-scratch", "/tmp", false)]),
        ..Container::default()
    }
}

/// Preflight judges by it what the server will make of the store, so the manifest holds it too.
fn server_image<'s>(local: &'s LocalTarget, settings: &'s Settings) -> &'s str {
    local.image.as_deref().unwrap_or(&settings.chroma_image)
}

fn env(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), value_from: None }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// Which claim is in which folder.
fn claim_dirs<'a>(spec: &'a MemoryMigrationSpec, input: &Input) -> Vec<(&'a str, &'static str)> {
    let source = spec.source.local.as_ref().filter(|_| !input.one_claim).map(|s| (s.claim_name.as_str(), SOURCE_DIR));
    let target = spec.target.local.as_ref().map(|t| (t.claim_name.as_str(), TARGET_DIR));
    source.into_iter().chain(target).collect()
}

fn worker_mounts(spec: &MemoryMigrationSpec, input: &Input) -> Vec<VolumeMount> {
    let mut mounts = vec![mount("manifest", MANIFEST_DIR, true), mount("scratch", "/tmp", false)];
    mounts.extend(claim_dirs(spec, input).into_iter().map(|(_, dir)| {
        let volume = if dir == SOURCE_DIR { "source" } else { "target" };
        mount(volume, dir, true)
    }));
    for (n, secret) in secrets(spec).into_keys().enumerate() {
        mounts.push(mount(&format!("secret-{n}"), &format!("{SECRETS_DIR}/{secret}"), true));
    }
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
    for (claim, dir) in claim_dirs(spec, input) {
        // Read-only at the claim too: at the mount alone, fsGroup would still change a live source's modes.
        let read_only = (dir == SOURCE_DIR || spec.dry_run).then_some(true);
        volumes.push(Volume {
            name: if dir == SOURCE_DIR { "source" } else { "target" }.into(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: claim.into(), read_only }),
            ..Volume::default()
        });
    }
    if spec.target.local.is_some() && !spec.dry_run {
        volumes.push(scratch("server-scratch", "1Gi"));
    }
    volumes.extend(secrets(spec).into_iter().enumerate().map(|(n, (secret, keys))| secret_volume(n, secret, &keys)));
    volumes
}

/// With its keys by name: a pod whose Secret lacks one waits for it.
fn secret_volume(number: usize, secret: &str, keys: &BTreeSet<&str>) -> Volume {
    let item = |key: &&str| KeyToPath { key: (*key).into(), path: (*key).into(), mode: None };
    let source = SecretVolumeSource {
        secret_name: Some(secret.into()),
        items: Some(keys.iter().map(item).collect()),
        ..SecretVolumeSource::default()
    };
    Volume { name: format!("secret-{number}"), secret: Some(source), ..Volume::default() }
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

fn scratch(name: &str, limit: &str) -> Volume {
    Volume {
        name: name.into(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity(limit.into())), medium: None }),
        ..Volume::default()
    }
}

/// Every Secret that the spec names, with the keys that are needed of it. The kubelet mounts them; the controller cannot
/// read them.
#[must_use]
pub fn secrets(spec: &MemoryMigrationSpec) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for remote in [spec.source.remote.as_ref(), spec.target.remote.as_ref()].into_iter().flatten() {
        for (secret, key) in secrets_of(remote) {
            found.entry(secret).or_default().insert(key);
        }
    }
    found
}

/// Secret and key of each credential.
fn secrets_of(remote: &Remote) -> Vec<(&str, &str)> {
    let Remote { service: _, url: _, tenant: _, database: _, auth, tls } = remote;
    let mut found = Vec::new();
    if let Some(Auth { bearer, basic, header }) = auth {
        found.extend(bearer.iter().map(|b| (b.secret_name.as_str(), b.key.as_str())));
        found.extend(basic.iter().map(|b| (b.secret_name.as_str(), b.username_key.as_str())));
        found.extend(basic.iter().map(|b| (b.secret_name.as_str(), b.password_key.as_str())));
        found.extend(header.iter().map(|h| (h.secret_name.as_str(), h.key.as_str())));
    }
    let authority = tls.as_ref().and_then(|t| Some((t.ca_secret_name.as_deref()?, t.ca_secret_key.as_str())));
    found.extend(authority);
    found
}

fn resources(own: Option<&ResourceRequirements>, cpu: &str, memory: &str) -> ResourceRequirements {
    own.cloned().unwrap_or_else(|| {
        let quantities = |all: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
            all.iter().map(|(name, amount)| ((*name).into(), Quantity((*amount).into()))).collect()
        };
        ResourceRequirements {
            requests: Some(quantities(&[("cpu", cpu), ("memory", memory)])),
            limits: Some(quantities(&[("memory", "2Gi")])),
            claims: None,
        }
    })
}

fn container_security(runner: &Runner) -> SecurityContext {
    let mut context = SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    };
    if let Some(own) = &runner.security_context {
        context.merge_from(own.clone());
    }
    context
}

fn pod_security(runner: &Runner, settings: &Settings, input: &Input) -> PodSecurityContext {
    let ids = &input.ids;
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
    if let Some(own) = &runner.pod_security_context {
        context.merge_from(own.clone());
    }
    context
}
