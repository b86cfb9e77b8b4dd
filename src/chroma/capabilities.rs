//! What a server can take, as far as it decides what is sent. Pure: who asks the server fills it in.

/// What a server can take.
// Each is a question of its own that a version answers; together they are no state.
#[allow(clippy::struct_excessive_bools)]
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
    /// Whether a collection is created from a `configuration` that it goes by: the mark of 1.x.
    pub configuration: bool,
    /// Whether a collection can be created from a `schema` (later 1.x).
    pub schema: bool,
    /// Whether record metadata may hold arrays (later 1.x).
    pub arrays: bool,
}

impl Capabilities {
    /// What a Chroma 1.5 takes (measured on 1.5.9): for checks made before the server that will write is there to be asked.
    #[must_use]
    pub fn newest() -> Self {
        Self {
            version: "1.x".to_owned(),
            max_batch: 5461,
            max_body: 40 << 20,
            base64: true,
            configuration: true,
            schema: true,
            arrays: true,
        }
    }
}
