//! From a schedule to the migration of one due time. Pure. Its labels and annotations are the template's alone: a tracking
//! label of Argo CD on it would make Argo CD remove it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::api::schedule::calendar;
use crate::api::{MemoryMigration, MemoryMigrationSchedule};

/// The migration for this due time.
#[must_use]
pub fn build(schedule: &MemoryMigrationSchedule, due: Timestamp) -> MemoryMigration {
    let name = calendar::child_name(&schedule.name_any(), due);
    let template = &schedule.spec.template.metadata;
    let owner = schedule.controller_owner_ref(&());
    let owner = owner.map(|owner| OwnerReference { block_owner_deletion: Some(true), ..owner });
    let mut migration = MemoryMigration::new(&name, schedule.migration_spec(due));
    migration.metadata = ObjectMeta {
        name: Some(name),
        namespace: schedule.namespace(),
        labels: Some(template.labels.clone()).filter(|labels| !labels.is_empty()),
        annotations: Some(template.annotations.clone()).filter(|annotations| !annotations.is_empty()),
        owner_references: owner.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    migration
}
