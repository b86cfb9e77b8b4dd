//! API v1: its paths and their quirks. Servers 0.4.15 to 0.5.15, which are only read.

use url::Url;

use super::api::Api;

/// The URL of the database's collections, or of something below one.
///
/// A list has no limit: with `limit` alone, 0.4.24 answers 500, and without it everything comes (measured).
/// Tenant and database are parameters of the list only; a collection is found by its id alone.
pub(super) fn collections(api: &Api, below: &[&str]) -> Url {
    let mut url = api.transport.url(["api", "v1", "collections"].into_iter().chain(below.iter().copied()));
    if below.is_empty() {
        url.query_pairs_mut().append_pair("tenant", &api.tenant).append_pair("database", &api.database);
    }
    url
}

/// The URL of the database itself.
pub(super) fn database(api: &Api) -> Url {
    let mut url = api.transport.url(["api", "v1", "databases", &api.database]);
    url.query_pairs_mut().append_pair("tenant", &api.tenant);
    url
}
