//! What is wrong with a `MemoryMigrationSchedule`: the CRD's own rules, evaluated in process, and those that the API
//! server's rule language cannot say. Pure.

use std::sync::LazyLock;

use kube::ResourceExt;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};

use super::MemoryMigrationSchedule;
use super::calendar::Calendar;
use crate::api::crd::SCHEDULE_SCHEMA;
use crate::api::spec::MemoryMigration;

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
        let migration = MemoryMigration::new("of-the-schedule", self.spec.template.spec.clone());
        migration.problems().into_iter().map(|problem| problem.replacen("spec.", "spec.template.spec.", 1)).collect()
    }
}
