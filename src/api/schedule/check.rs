//! What is wrong with a `MemoryMigrationSchedule`: the CRD's own rules, evaluated in process, and those that the API
//! server's rule language cannot say. Pure.

use std::sync::LazyLock;

use kube::ResourceExt;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};

use super::calendar::Calendar;
use super::{MemoryMigrationSchedule, calendar};
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
        let spec = self.spec_for(jiff::Timestamp::UNIX_EPOCH);
        let longest = spec.target.local.as_ref().map_or(0, |local| local.path.len());
        if longest > MAX_PATH {
            return vec![format!(
                "spec.template.spec.target.local.path: with a generation's folder it has {longest} characters: write one that \
                 is shorter by {}",
                longest - MAX_PATH
            )];
        }
        let migration = MemoryMigration::new("of-the-schedule", spec);
        migration.problems().into_iter().map(|problem| problem.replacen("spec.", "spec.template.spec.", 1)).collect()
    }

    /// The spec of the migration for this due time: the template's, with the generation's folder as the target's path.
    #[must_use]
    pub fn spec_for(&self, due: jiff::Timestamp) -> MemoryMigrationSpec {
        let mut spec = self.spec.template.spec.clone();
        if self.spec.generations.is_some()
            && let Some(local) = &mut spec.target.local
        {
            let path = local.path.trim_end_matches('/');
            let above = if path.is_empty() { String::new() } else { format!("{path}/") };
            local.path = format!("{above}{}/{STORE}", calendar::folder(due));
        }
        spec
    }
}

/// The longest path that a migration takes.
const MAX_PATH: usize = 1024;
/// The folder of a generation that holds its store.
pub const STORE: &str = "chroma";
