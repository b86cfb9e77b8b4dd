//! Which ids a server answers for, asked for by id and without content. Writes nothing.

use super::api::Api;
use super::get::{Came, FETCH};
use crate::model::{Collection, Result};

impl Api {
    /// Those of these ids that the server answers for. An answer without content is short; where the server fails on one, or
    /// gives too long a one, records are asked for, down to each by itself.
    pub(super) async fn held(&self, collection: &Collection, ids: &[String]) -> Result<Vec<String>> {
        let mut held = Vec::new();
        for part in ids.chunks(FETCH) {
            let found = match self.get(collection, part, &[]).await? {
                Came::Records(found) => found,
                Came::TooLong | Came::Fails(_) => self.fetch(collection, part).await?,
            };
            held.extend(found.iter().map(|fetched| fetched.id().to_owned()));
        }
        Ok(held)
    }
}
