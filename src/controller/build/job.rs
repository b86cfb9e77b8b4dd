//! From a migration to its Job and pod template. Pure: no client. A Job is made once and never changed.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::{
    ANNOTATION_FAILED, ANNOTATION_LISTED, ANNOTATION_MANIFEST, ANNOTATION_NAME, ANNOTATION_PIN, FILL, Input, MOVER,
    PREFLIGHT, fill, pod, template,
};
use crate::api::run_hash::short_hash;
use crate::api::{
    LABEL_ATTEMPT, LABEL_LOCK, LABEL_MANAGED_BY, LABEL_RUN, LABEL_UID, MANAGER, MemoryMigration, MemoryMigrationSpec,
};
use crate::controller::Settings;
use crate::exit::Exit;

/// All annotations of an object together may have 256 KiB.
const MAX_MANIFEST: usize = 200 * 1024;

/// The Job's name: short enough for a label whatever the object's name is, and another one for each attempt.
#[must_use]
pub fn name(object: &str, uid: &str, hash: &str, attempt: i32) -> String {
    let prefix: String = object.chars().take(50).map(|c| if c == '.' { '-' } else { c }).collect();
    let suffix = short_hash(format!("{uid}/{hash}/{attempt}").as_bytes(), 8);
    format!("{}-{suffix}", prefix.trim_end_matches('-'))
}

/// The Job of one attempt.
///
/// # Errors
/// When the manifest is too large for a pod, with what to do.
pub fn build(migration: &MemoryMigration, settings: &Settings, input: &Input) -> Result<Job, String> {
    let uid = migration.uid().unwrap_or_default();
    let spec = &migration.spec;
    let manifest = pod::manifest(migration, settings).map_err(|e| format!("spec: cannot be written as JSON: {e}"))?;
    if manifest.len() > MAX_MANIFEST {
        return Err(format!(
            "spec.collections: the manifest has {} bytes and a pod takes {MAX_MANIFEST}: list fewer collections, or \
             none to migrate all",
            manifest.len()
        ));
    }
    let name = name(&migration.name_any(), &uid, &input.hash, input.attempt);
    let labels = labels(&uid, input);
    let mut template = template::merged(&settings.pod_template, &spec.runner.pod_template);
    let metadata = template.metadata.take().unwrap_or_default();
    let mut pod_labels = metadata.labels.unwrap_or_default();
    pod_labels.extend(labels.clone());
    let mut pod_annotations = metadata.annotations.unwrap_or_default();
    pod_annotations.insert(ANNOTATION_NAME.into(), migration.name_any());
    pod_annotations.insert(ANNOTATION_MANIFEST.into(), manifest);
    if let Some(listed) = &input.listed {
        let listed = serde_json::to_string(listed).map_err(|e| format!("status.listed: cannot be written: {e}"))?;
        pod_annotations.insert(ANNOTATION_LISTED.into(), listed);
    }
    let mut annotations = BTreeMap::from([
        (ANNOTATION_NAME.to_owned(), migration.name_any()),
        (ANNOTATION_FAILED.to_owned(), input.failures.to_string()),
    ]);
    let mut job_labels = spec.runner.job_labels.clone();
    job_labels.extend(labels);
    annotations.extend(input.pin.node.clone().map(|node| (ANNOTATION_PIN.to_owned(), node)));
    Ok(Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: migration.namespace(),
            labels: Some(job_labels),
            annotations: Some(annotations),
            owner_references: owner(migration).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(spec.backoff_limit.saturating_sub(input.failures).max(0)),
            active_deadline_seconds: input.deadline,
            pod_replacement_policy: Some("Failed".into()),
            pod_failure_policy: Some(failure_policy(spec)),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    annotations: Some(pod_annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod::spec(spec, &template, settings, input)),
            },
            ..JobSpec::default()
        }),
        status: None,
    })
}

/// Who owns what the controller makes: deleting the object deletes it.
#[must_use]
pub fn owner(migration: &MemoryMigration) -> Option<OwnerReference> {
    migration.controller_owner_ref(&()).map(|owner| OwnerReference { block_owner_deletion: Some(true), ..owner })
}

fn labels(uid: &str, input: &Input) -> BTreeMap<String, String> {
    let lock = input.lock.clone().map(|lock| (LABEL_LOCK.to_owned(), lock));
    [
        ("app.kubernetes.io/name".into(), "memory-migration".into()),
        (LABEL_MANAGED_BY.into(), MANAGER.into()),
        (LABEL_UID.into(), uid.into()),
        (LABEL_RUN.into(), input.hash.clone()),
        (LABEL_ATTEMPT.into(), input.attempt.to_string()),
    ]
    .into_iter()
    .chain(lock)
    .collect()
}

/// What a rerun cannot mend fails the Job at once, and so does a wait, which the controller paces; a drained node costs no retry; all else is tried again.
fn failure_policy(spec: &MemoryMigrationSpec) -> PodFailurePolicy {
    let at_once = Exit::ALL.into_iter().filter(|exit| exit.is_permanent() || *exit == Exit::Waiting);
    let at_once: Vec<i32> = at_once.map(|exit| i32::from(exit.code())).collect();
    let before = [(PREFLIGHT, spec.writes()), (FILL, fill::is_in(spec))].into_iter().filter(|(_, is_there)| *is_there);
    let containers = before.map(|(container, _)| container).chain([MOVER]);
    let mut rules: Vec<PodFailurePolicyRule> = containers
        .map(|container| PodFailurePolicyRule {
            action: "FailJob".into(),
            on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                container_name: Some(container.into()),
                operator: "In".into(),
                values: at_once.clone(),
            }),
            on_pod_conditions: None,
        })
        .collect();
    rules.push(PodFailurePolicyRule {
        action: "Ignore".into(),
        on_exit_codes: None,
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
        }]),
    });
    PodFailurePolicy { rules }
}
