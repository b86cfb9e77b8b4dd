//! Which ids a server answers for, asked for by id and without content. Writes nothing.

use super::api::Api;
use super::get::{Came, FETCH};
use crate::model::{Collection, Fetched, Result};
use crate::scratch;

impl Api {
    /// Those of these ids that the server answers for. An answer without content is short; where the server fails on one, or
    /// gives too long a one, records are asked for, down to each by itself. One that it fails on alone may be there or not:
    /// that says its list.
    pub(super) async fn held(&self, collection: &Collection, ids: &[String]) -> Result<Vec<String>> {
        let (mut held, mut doubtful) = (Vec::new(), Vec::new());
        for part in ids.chunks(FETCH) {
            match self.get(collection, part, &[]).await? {
                Came::Records(found) => held.extend(found.iter().map(|fetched| fetched.id().to_owned())),
                Came::TooLong | Came::Fails(_) => {
                    for fetched in self.fetch(collection, part).await? {
                        match fetched {
                            Fetched::Record { record, .. } => held.push(record.id),
                            Fetched::Unreadable { id, .. } => doubtful.push(id),
                        }
                    }
                }
            }
        }
        if !doubtful.is_empty() {
            let (listed, _) = self.ids(collection).await?;
            for id in doubtful {
                if listed.contains(&id).map_err(scratch::failed)? {
                    held.push(id);
                }
            }
        }
        Ok(held)
    }
}
