//! What a run found in its source, as the status keeps it for the next attempt. Types and conversions only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report;

/// What a run found in its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ListedStatus {
    /// The first 50 collections in the order of their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub collections: Vec<ListedCollectionStatus>,
    /// Ids over all collections.
    pub records: i64,
    /// SHA-256 over names and UUIDs of all collections.
    pub digest: String,
}

/// One collection of what a run found in its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ListedCollectionStatus {
    /// Chroma's UUID of it.
    pub id: String,
    /// How many ids it had.
    pub records: i64,
}

impl From<&report::Listed> for ListedStatus {
    fn from(listed: &report::Listed) -> Self {
        let report::Listed { collections, records, digest } = listed;
        let collections = collections.iter().take(report::Listed::MOST);
        Self {
            collections: collections
                .map(|c| ListedCollectionStatus { id: c.id.clone(), records: signed(c.records) })
                .collect(),
            records: signed(*records),
            digest: digest.clone(),
        }
    }
}

impl From<&ListedStatus> for report::Listed {
    fn from(listed: &ListedStatus) -> Self {
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        Self {
            collections: listed
                .collections
                .iter()
                .map(|c| report::ListedCollection { id: c.id.clone(), records: unsigned(c.records) })
                .collect(),
            records: unsigned(listed.records),
            digest: listed.digest.clone(),
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
