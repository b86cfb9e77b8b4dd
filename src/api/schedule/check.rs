//! What is wrong with a `MemoryMigrationSchedule`: the CRD's own rules, evaluated in process, and those that the API
//! server's rule language cannot say. Pure.

use std::sync::LazyLock;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};

use super::calendar::Calendar;
use super::{MemoryMigrationSchedule, generation};
use crate::api::crd::SCHEDULE_SCHEMA;
use crate::api::spec::{MemoryMigration, MemoryMigrationSpec};

/// The CRD's rules, compiled once.
static RULES: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&SCHEDULE_SCHEMA));

impl MemoryMigrationSchedule {
    /// When migrations are due.
    ///
    /// # Errors
    /// A sentence with the field, what is wrong and what to write instead.
    pub fn calendar(&self) -> Result<Calendar, String> {
        Calendar::parse(&self.spec.schedule, &self.spec.time_zone)
    }

    /// The spec of the migration that is made at this due time.
    #[must_use]
    pub fn migration_spec(&self, due: Timestamp) -> MemoryMigrationSpec {
        let mut spec = self.spec.template.spec.clone();
        if let Some(local) = spec.target.local.as_mut().filter(|_| self.spec.generations.is_some()) {
            local.path = generation::store_path(&local.path, due);
        }
        spec
    }

    /// Everything else that is wrong with it, each with its place and what to write instead; empty when it can be carried
    /// out.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let object = serde_json::json!({"metadata": {"name": self.name_any()}, "spec": self.spec});
        let broken: Vec<String> = match Validator::new().validate_compiled(&RULES, &object, None) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.into_vec().iter().map(ToString::to_string).collect(),
        };
        if !broken.is_empty() {
            return broken;
        }
        let migration = MemoryMigration::new("of-the-schedule", self.migration_spec(Timestamp::UNIX_EPOCH));
        migration.problems().into_iter().map(|problem| problem.replacen("spec.", "spec.template.spec.", 1)).collect()
    }
}
