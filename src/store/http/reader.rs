//! A Chroma server as a store to read: opens it and picks API v2 or v1 once.
//! Reads any server from 0.4.15. Writes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use super::api::{Api, Several};
use super::bounded::{SMALL, whole};
use super::config::ServerConfig;
use super::decision::{Kind, Reason};
use super::paths::{Dialect, Path, Root};
use super::transport::{Request, Stopped, Transport};
use super::wire;
use crate::model::{Collection, Error, Fetched, Glob, Result};
use crate::scratch::SortedIds;
use crate::store::{Budget, Reader, Remarks, Searches};

/// A Chroma server, to read from.
#[derive(Debug)]
pub struct HttpStore {
    pub(super) api: Api,
}

/// The first version with tenants and databases, which its layout and API kept since.
const FIRST_READABLE: [u32; 3] = [0, 4, 15];

/// Finds out which API the server speaks.
///
/// # Errors
/// [`Error::Unavailable`] when nothing answers within `timeouts.start`, [`Error::Denied`] for wrong credentials, and
/// [`Error::Unsupported`] when what answers is no Chroma, is older than 0.4.15, or `config` cannot be used.
pub async fn open(mut config: ServerConfig) -> Result<HttpStore> {
    let mut transport = Transport::new(&config)?;
    in_path(&transport, "tenant", &config.tenant)?;
    in_path(&transport, "database", &config.database)?;
    let start = config.timeouts.start;
    let mut newer = version(&transport, "v2", start).await;
    if let Some(url) = newer.as_ref().err().and_then(|stopped| over_https(transport.base(), stopped)) {
        // the first request has no body that could be lost, and every further one goes there at once
        config.url = url;
        transport = Transport::new(&config)?;
        newer = version(&transport, "v2", start).await;
    }
    let (dialect, version) = match newer {
        Ok(version) => (Dialect::V2, version),
        Err(stopped) if stopped.reason == Reason::Missing => match version(&transport, "v1", start).await {
            Ok(version) => (Dialect::V1, version),
            Err(stopped) if stopped.reason == Reason::Missing => {
                let why = "it has neither /api/v2/version nor /api/v1/version".to_owned();
                let remedy = "check the URL, its port and its path: no Chroma answers there";
                return Err(unsupported(&transport, why, remedy));
            }
            Err(stopped) => return Err(transport.error(&asked_for_version(&transport, "v1"), &stopped)),
        },
        Err(stopped) => return Err(transport.error(&asked_for_version(&transport, "v2"), &stopped)),
    };
    if numbers(&version).is_some_and(|numbers| numbers < FIRST_READABLE) {
        let why = format!("it is Chroma {version}, which has no tenants");
        return Err(unsupported(&transport, why, "upgrade it to 0.4.15 or later"));
    }
    let ServerConfig { tenant, database, .. } = config;
    Ok(HttpStore { api: Api::new(transport, Root { dialect, tenant, database }, version) })
}

/// Whether a name stays one segment of a path.
fn in_path(transport: &Transport, what: &str, name: &str) -> Result<()> {
    if matches!(name, "" | "." | "..") {
        let why = format!("the {what} {name:?} cannot be part of a path");
        return Err(unsupported(transport, why, "give its real name"));
    }
    Ok(())
}

/// Characters of a version that are kept: no Chroma says more.
const VERSION: usize = 40;

/// The server's URL by https, where a request that was given up was redirected there: the same path on the same host.
fn over_https(base: &Url, stopped: &Stopped) -> Option<Url> {
    let to = stopped.refusal.location.as_ref().filter(|_| stopped.reason == Reason::Redirected)?;
    let mut url = base.clone();
    let same_path = to.path().starts_with(url.path().trim_end_matches('/')) && to.path().ends_with("/version");
    let moved = url.scheme() == "http" && to.scheme() == "https" && to.host() == url.host() && same_path;
    (moved && url.set_scheme("https").is_ok() && url.set_port(to.port()).is_ok()).then_some(url)
}

fn asked_for_version(transport: &Transport, api: &str) -> Request<'static> {
    Request {
        kind: Kind::Read,
        method: reqwest::Method::GET,
        url: transport.url(&Path::of(["api", api, "version"])),
        body: None,
        subject: "Chroma's API".to_owned(),
    }
}

async fn version(transport: &Transport, api: &str, deadline: Duration) -> Result<String, Stopped> {
    let take = |response| async { wire::parse::<String>(&whole(response, SMALL).await?) };
    let version = transport.try_call(deadline, &asked_for_version(transport, api), take).await;
    // it goes into messages and reports, and whatever answers there may have echoed what it was sent
    version.map(|text| transport.shown(&text, VERSION))
}

/// The first three numbers of a version; None for one that has none.
pub(super) fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |end| &part[..end]);
        digits.parse().ok()
    });
    Some([parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)])
}

pub(super) fn unsupported(transport: &Transport, why: String, remedy: &str) -> Error {
    Error::Unsupported { store: transport.name(), why, remedy: remedy.to_owned() }
}

impl HttpStore {
    /// Limits the probe of distances to collections whose names match one of these: the first query makes an old server load a
    /// collection's whole index, and what nobody asked for is left in peace. Others have the distance that their
    /// documents declare.
    #[must_use]
    pub fn probing_only(mut self, names: Vec<Glob>) -> Self {
        self.api.probed = Some(names);
        self
    }

    /// Looks at these databases of the tenant instead of its own one. `may_be_missing`: one that is not there is taken for
    /// empty, for it is made with its first collection.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a name that cannot be part of a path.
    pub fn of_databases(mut self, names: Vec<String>, may_be_missing: bool) -> Result<Self> {
        names.iter().try_for_each(|name| in_path(&self.api.transport, "database", name))?;
        self.api.several = Some(Several { names, may_be_missing });
        Ok(self)
    }

    /// The UUID of every collection of the databases, without a look at any of them.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn uuids(&self) -> Result<BTreeSet<String>> {
        Ok(self.api.declared().await?.into_iter().map(|collection| collection.id).collect())
    }
}

#[async_trait]
impl Reader for HttpStore {
    fn name(&self) -> String {
        self.api.transport.name()
    }

    fn version(&self) -> String {
        let Api { place, version, .. } = &self.api;
        match place.dialect {
            // All of 1.x say 1.0.0.
            Dialect::V2 if version == "1.0.0" => "Chroma 1.x (API v2)".to_owned(),
            Dialect::V2 => format!("Chroma {version} (API v2)"),
            Dialect::V1 => format!("Chroma {version} (API v1)"),
        }
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        self.api.collections().await
    }

    async fn databases(&self) -> Result<Option<Vec<String>>> {
        self.api.databases().await
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        self.api.count(collection).await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        self.api.ids(collection).await.map(|(ids, _)| ids)
    }

    async fn listing(&self, collection: &Collection) -> Result<(SortedIds, u64)> {
        self.api.ids(collection).await
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        self.api.fetch(collection, ids).await
    }

    async fn fetch_within(
        &self,
        collection: &Collection,
        ids: &[String],
        budget: Budget,
    ) -> Result<(Vec<Fetched>, usize)> {
        self.api.fetch_within(collection, ids, budget).await
    }

    async fn held(&self, collection: &Collection, ids: &[String]) -> Result<Vec<String>> {
        self.api.held(collection, ids).await
    }

    fn searches(&self) -> Option<&dyn Searches> {
        Some(&self.api)
    }

    async fn remarks(&self, collection: &Collection) -> Result<Remarks> {
        Ok(self.api.remarks(collection))
    }
}
