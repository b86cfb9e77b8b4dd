//! What the search check tells of one collection. Serde only.

use serde::{Deserialize, Serialize};

/// What searches in the target find: answers to queries whose exact nearest ten records are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Search {
    /// Queries that were judged.
    pub queries: u64,
    /// Queries that could not be: more records are equally near than are kept, or too many in the answers were not verified.
    pub not_judged: u64,
    /// The share of the exact nearest ten that was found, 0 to 1: the mean over all judged queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall_mean: Option<f64>,
    /// Its 5th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall_p5: Option<f64>,
    /// The lowest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall_min: Option<f64>,
    /// The share of records, 0 to 1, that find themselves, or one with an equal vector; absent for `ip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_found: Option<f64>,
    /// The mean recall of the source's own server for the same queries; absent for a source that is read from files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_recall_mean: Option<f64>,
    /// The share of records that find themselves on the source's own server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_self_found: Option<f64>,
    /// Answers to queries that have a record twice, more records than were asked for, or fewer than were asked for and are
    /// there. Shorter ones do not count where the source's own server gives such, too.
    pub wrong_answers: u64,
    /// Distances in answers that are not those of the records' vectors.
    pub wrong_distances: u64,
    /// Ids in answers to queries and filters that neither side holds.
    pub unknown_ids: u64,
    /// Filters, of which the exact answers are known, too.
    pub filters: Filters,
    /// What a person should know, for instance why nothing was asked.
    pub notes: Vec<String>,
}

/// What `where` and `where_document` answer in the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filters {
    /// Filters whose answers were judged.
    pub asked: u64,
    /// Answers that are wrong.
    pub wrong: u64,
    /// Answers that are not exact, as by every sound server of that version.
    pub known: u64,
    /// Filters that could not be judged: too many records match, records changed meanwhile, or the server did not answer.
    pub not_judged: u64,
}
