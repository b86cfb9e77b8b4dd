//! `crd`: prints crds/ from the types. Reads nothing.

use super::output;
use crate::exit::Exit;

/// Prints both `CustomResourceDefinitions` as YAML.
pub(super) fn run() -> Exit {
    match crate::api::crd_yaml() {
        Ok(yaml) => {
            output::text(&yaml);
            Exit::Success
        }
        Err(error) => {
            output::error(&format!("failed to write the CustomResourceDefinitions as YAML: {error}"));
            Exit::Bug
        }
    }
}
