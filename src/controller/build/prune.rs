//! From a schedule to the Job that removes generations which are kept no longer. Pure. Its pod has the operator's image, the
//! target's claim and no network that it would need; as the runner's, it has no token.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::parts::mount;
use super::placement::{self, Pin};
use super::pod::{self, TARGET_DIR};
use super::{ANNOTATION_KIND, ANNOTATION_NAME, PRUNER, template};
use crate::api::endpoint::folders;
use crate::api::run_hash::short_hash;
use crate::api::schedule::generation::Keep;
use crate::api::{
    ContainerName, LABEL_LOCK, LABEL_MANAGED_BY, LABEL_UID, MANAGER, MemoryMigrationSchedule, SCHEDULE_KIND,
};
use crate::controller::Settings;
use crate::controller::observe::world::Ids;

/// Seconds within which a prune Job has to end: deleting files takes seconds, and the lock keeps migrations waiting.
const DEADLINE: i64 = 1800;

/// What a prune Job is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// Tells this Job from those before it.
    pub nonce: String,
    /// The lock on the claim.
    pub lock: String,
    /// Where it must run.
    pub pin: Pin,
    /// As whom.
    pub ids: Ids,
    /// What is kept.
    pub keep: Keep,
    /// The folders to remove.
    pub remove: Vec<String>,
    /// The folders that something reads or writes.
    pub in_use: Vec<String>,
    /// The folders whose run did not end well.
    pub not_good: Vec<String>,
    /// The folders that need not be reported.
    pub known: Vec<String>,
}

/// The Job; None: the schedule's target is no claim.
#[must_use]
pub fn job(schedule: &MemoryMigrationSchedule, settings: &Settings, task: &Task) -> Option<Job> {
    let spec = &schedule.spec.template.spec;
    let local = spec.target.local.as_ref()?;
    let (name, uid) = (schedule.name_any(), schedule.uid().unwrap_or_default());
    let mut template = template::merged(&settings.pod_template, &spec.runner.pod_template);
    let metadata = template.metadata.take().unwrap_or_default();
    let labels: BTreeMap<String, String> = [
        ("app.kubernetes.io/name".into(), "memory-migration".into()),
        (LABEL_MANAGED_BY.into(), MANAGER.into()),
        (LABEL_UID.into(), uid.clone()),
        (LABEL_LOCK.into(), task.lock.clone()),
    ]
    .into();
    let ours = [(ANNOTATION_NAME.to_owned(), name.clone()), (ANNOTATION_KIND.to_owned(), SCHEDULE_KIND.to_owned())];
    let mut pod_labels = metadata.labels.unwrap_or_default();
    pod_labels.extend(labels.clone());
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.extend(ours.clone());
    let owner = schedule.controller_owner_ref(&());
    let owner = owner.map(|owner| OwnerReference { block_owner_deletion: Some(true), ..owner });
    let prefix: String = name.chars().take(44).map(|c| if c == '.' { '-' } else { c }).collect();
    let suffix = short_hash(format!("{uid}/{}/{}", task.nonce, task.remove.join(",")).as_bytes(), 8);
    Some(Job {
        metadata: ObjectMeta {
            name: Some(format!("{}-prune-{suffix}", prefix.trim_end_matches('-'))),
            namespace: schedule.namespace(),
            labels: Some(labels),
            annotations: Some(ours.into()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(DEADLINE),
            pod_replacement_policy: Some("Failed".into()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(schedule, &local.claim_name, &local.path, &template, settings, task)),
            },
            ..JobSpec::default()
        }),
        status: None,
    })
}

fn pod_spec(
    schedule: &MemoryMigrationSchedule,
    claim: &str,
    path: &str,
    template: &PodTemplateSpec,
    settings: &Settings,
    task: &Task,
) -> PodSpec {
    let own = template.spec.clone().unwrap_or_default();
    let mut tolerations = own.tolerations.clone().unwrap_or_default();
    tolerations.extend(task.pin.tolerations.clone());
    // what people say of the mover holds for it, too: it has the same files to deal with
    let base = pod::container(template, ContainerName::Mover, pod::resources("50m", "32Mi"), &[]);
    let container = Container {
        name: PRUNER.into(),
        image: Some(settings.runner_image.clone()),
        args: Some(args(schedule, path, task)),
        volume_mounts: Some(vec![mount("target", TARGET_DIR, false)]),
        ..base
    };
    let source = PersistentVolumeClaimVolumeSource { claim_name: claim.into(), read_only: None };
    PodSpec {
        init_containers: None,
        containers: vec![container],
        volumes: Some(vec![Volume {
            name: "target".into(),
            persistent_volume_claim: Some(source),
            ..Volume::default()
        }]),
        restart_policy: Some("Never".into()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod::pod_security(own.security_context.as_ref(), settings, &task.ids)),
        node_selector: Some(pod::node_selector(own.node_selector.as_ref())),
        tolerations: Some(tolerations),
        affinity: placement::affinity(own.affinity.as_ref(), task.pin.node.as_deref()),
        ..own
    }
}

fn args(schedule: &MemoryMigrationSchedule, path: &str, task: &Task) -> Vec<String> {
    let folder = [TARGET_DIR].into_iter().chain(folders(path)).collect::<Vec<_>>().join("/");
    let owner = format!("{}/{}", schedule.namespace().unwrap_or_default(), schedule.name_any());
    let mut args: Vec<String> = ["prune", "--folder", &folder, "--schedule", &owner].map(Into::into).into();
    args.extend(["--time-zone".into(), schedule.spec.time_zone.clone()]);
    let Keep { last, daily, weekly, monthly } = &task.keep;
    for (flag, number) in [("last", last), ("daily", daily), ("weekly", weekly), ("monthly", monthly)] {
        args.extend([format!("--keep-{flag}"), number.to_string()]);
    }
    let lists =
        [("remove", &task.remove), ("in-use", &task.in_use), ("not-good", &task.not_good), ("known", &task.known)];
    for (flag, folders) in lists {
        args.extend(folders.iter().flat_map(|folder| [format!("--{flag}"), folder.clone()]));
    }
    args.extend(["--termination-log", "/dev/termination-log"].map(Into::into));
    args
}
