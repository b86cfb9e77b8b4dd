//! One page of a list of ids. Halves nothing and writes nothing.

use serde_json::json;

use super::api::{Api, words};
use super::bounded::{RECORDS, whole};
use super::decision::Kind;
use super::get::Fails;
use super::transport::Request;
use super::wire::{self, IdsAnswer};
use crate::model::{Collection, Result};

/// Ids in one page.
pub(super) const IDS_PAGE: u64 = 1000;

impl Api {
    /// The ids at these places in the server's own order; inside, why it does not tell them.
    pub(super) async fn page(
        &self,
        collection: &Collection,
        offset: u64,
        limit: u64,
    ) -> Result<std::result::Result<Vec<String>, Fails>> {
        let body = json!({"limit": limit, "offset": offset, "include": []}).to_string();
        let path = self.at(collection).collection(&collection.id, "get");
        let request = Request { kind: Kind::Records, ..self.read(&path, Some(body.into()), words(collection)) };
        let take = |response| async move { wire::parse::<IdsAnswer>(&whole(response, RECORDS).await?) };
        match self.transport.try_call(self.transport.retry, &request, take).await {
            Ok(IdsAnswer { ids }) => Ok(Ok(ids)),
            Err(stopped) => self.fails(&request, &stopped).map(Err),
        }
    }

    /// The id at this place; None at its end, and where the server does not tell it.
    pub(super) async fn id_at(&self, collection: &Collection, offset: u64) -> Result<Option<String>> {
        Ok(self.page(collection, offset, 1).await?.ok().and_then(|ids| ids.into_iter().next()))
    }
}
