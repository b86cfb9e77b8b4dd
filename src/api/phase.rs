//! The one word of a status for people. Output only: nothing branches on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One word for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing has been started.
    Pending,
    /// Something outside must happen first; it goes on by itself.
    Waiting,
    /// Checks and comparison; nothing is written yet.
    Preflight,
    /// Records are written.
    Copying,
    /// Records are compared.
    Verifying,
    /// Done and proved.
    Succeeded,
    /// A person is needed.
    Failed,
    /// `spec.suspend` is true.
    Suspended,
}

impl Phase {
    /// Every phase there is.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Waiting,
        Self::Preflight,
        Self::Copying,
        Self::Verifying,
        Self::Succeeded,
        Self::Failed,
        Self::Suspended,
    ];

    /// The word that the status and the metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Waiting => "Waiting",
            Self::Preflight => "Preflight",
            Self::Copying => "Copying",
            Self::Verifying => "Verifying",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Suspended => "Suspended",
        }
    }
}
