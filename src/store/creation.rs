//! How a source's collection is created on a target of another version: what is sent, and what that version cannot hold.
//! Pure: no I/O.

use serde_json::Value as Json;

use super::collection::Collection;
use super::record::Metadata;

/// What a server can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The version it tells; every 1.x server says "1.0.0".
    pub version: String,
    /// Records in one call, at most (`max_batch_size` of its pre-flight checks).
    pub max_batch: usize,
    /// Bytes in one body, at most. Chroma 1.x answers 413 beyond 40 MiB.
    pub max_body: usize,
    /// Whether vectors may be sent as base64 of little-endian f32.
    pub base64: bool,
    /// Whether a collection can be created from a `schema` (1.x).
    pub schema: bool,
    /// Whether record metadata may hold arrays (1.x).
    pub arrays: bool,
}

/// A collection to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCollection {
    /// Its name on the target.
    pub name: String,
    /// The user's collection metadata, as the source has it.
    pub metadata: Metadata,
    /// Sent where the target takes configurations; never together with a schema.
    pub configuration: Option<Json>,
    /// Sent where the target takes schemas.
    pub schema: Option<Json>,
    /// What of the source's settings this target cannot hold, each in one sentence. Named in preflight.
    pub losses: Vec<String>,
}

/// What to send so that the target's collection has the source's metadata, distance, index parameters and
/// embedding function.
#[must_use]
pub fn plan(source: &Collection, name: &str, target: &Capabilities) -> NewCollection {
    let _ = target;
    NewCollection {
        name: name.to_owned(),
        metadata: source.metadata.clone(),
        configuration: source.configuration.clone(),
        schema: source.schema.clone(),
        losses: Vec::new(),
    }
}

/// What of metadata, distance, index parameters and embedding function differs, each in one sentence.
#[must_use]
pub fn differences(source: &Collection, target: &Collection) -> Vec<String> {
    let _ = (source, target);
    Vec::new()
}
