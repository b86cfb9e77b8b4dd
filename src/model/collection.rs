//! A collection as a store describes it, and what of a configuration decides how vectors are compared.
//! Pure data and pure functions: no I/O. Chroma's own documents stay untouched JSON here.

use serde_json::Value as Json;

use super::distance::Distance;
use super::record::Metadata;

/// How [`Collection::unreadable`] says that nothing tells the distance.
pub const NO_DISTANCE: &str = "has no distance that can be read: what the store had written of it is lost. Create it in the target with \
                               the distance that it had, and run this again: then that one is taken";

/// One collection of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// Chroma's UUID, the same in the files and over HTTP; equal on two stores means the same store.
    pub id: String,
    /// Its name, unique in its database.
    pub name: String,
    /// The tenant it belongs to.
    pub tenant: String,
    /// The database it belongs to.
    pub database: String,
    /// Components of each vector; None until the first record was written.
    pub dimension: Option<u32>,
    /// The distance that the engine really uses (see `store::distance`).
    pub distance: Distance,
    /// The user's collection metadata, legacy `hnsw:*` keys included.
    pub metadata: Metadata,
    /// The configuration document as the store holds it; None where the version has none.
    pub configuration: Option<Json>,
    /// The schema document (1.x) as the store holds it; None where the version has none.
    pub schema: Option<Json>,
    /// Why nothing of it can be read, in a sentence without a subject; None for a collection that can be. A server never
    /// says so.
    pub unreadable: Option<String>,
}

impl Collection {
    /// The word for its distance; "unknown" where nothing tells it.
    #[must_use]
    pub fn distance_word(&self) -> &'static str {
        let is_unknown = self.unreadable.as_ref().is_some_and(|why| why.contains(NO_DISTANCE));
        if is_unknown { "unknown" } else { self.distance.as_str() }
    }

    /// Whether all of it can be read once its distance is known.
    #[must_use]
    pub fn lacks_distance_only(&self) -> bool {
        self.unreadable.as_deref() == Some(NO_DISTANCE)
    }
}
