//! A Chroma server over HTTP: opens it and picks API v2 or v1 once.
//! Reads any server from 0.4.15; writes those from 0.5.16.

mod api;
mod auth;
mod body;
mod decision;
mod payload;
mod probe;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod v1;
mod v2;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use url::Url;

pub use self::auth::Auth;
pub use self::v2::HttpWriter;

use self::api::{Api, Dialect};
use self::transport::{Transport, whole};
use super::Reader;
use super::collection::Collection;
use super::error::{Error, Result};
use super::ids::SortedIds;
use super::record::Fetched;

/// Where a server is, and how to reach it.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `http://` or `https://`, host, port and, behind a gateway, a path. No credentials.
    pub url: Url,
    /// The tenant, `default_tenant` unless the server has several.
    pub tenant: String,
    /// The database, `default_database` unless the tenant has several.
    pub database: String,
    /// Credentials; none by default.
    pub auth: Auth,
    /// What TLS trusts.
    pub tls: Tls,
    /// How long to wait.
    pub timeouts: Timeouts,
}

impl ServerConfig {
    /// The default tenant and database of a server, without credentials.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            tenant: "default_tenant".to_owned(),
            database: "default_database".to_owned(),
            auth: Auth::None,
            tls: Tls::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// What TLS trusts, beyond the system's own authorities.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM certificates of further authorities, in any number; empty for none.
    pub ca_pem: Vec<u8>,
    /// Trusts every certificate. For tests: whoever is on the way reads every memory and every credential.
    pub insecure_skip_verify: bool,
}

/// How long to wait for a server.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, each time; 5 s.
    pub connect: Duration,
    /// For one request with its whole answer; 60 s.
    pub request: Duration,
    /// For one read with all its retries, and for a write as long as it was surely not received; 60 s.
    pub retry: Duration,
    /// For the first answer when a server is opened; 10 s.
    pub start: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), request: seconds(60), retry: seconds(60), start: seconds(10) }
    }
}

/// A Chroma server, to read from.
#[derive(Debug)]
pub struct HttpStore {
    api: Api,
}

/// The first version with API v2, and so the first that can be written.
const FIRST_WRITABLE: [u32; 3] = [0, 5, 16];
/// The first version with tenants and databases, which its layout and API kept since.
const FIRST_READABLE: [u32; 3] = [0, 4, 15];

/// Finds out which API the server speaks.
///
/// # Errors
/// [`Error::Unavailable`] when nothing answers within `timeouts.start`, [`Error::Denied`] for wrong credentials, and
/// [`Error::Unsupported`] when what answers is no Chroma, is older than 0.4.15, or `config` cannot be used.
pub async fn open(config: ServerConfig) -> Result<HttpStore> {
    let transport = Transport::new(&config)?;
    let ServerConfig { tenant, database, timeouts, .. } = config;
    for (what, name) in [("tenant", &tenant), ("database", &database)] {
        if matches!(name.as_str(), "" | "." | "..") {
            let why = format!("the {what} {name:?} cannot be part of a path");
            return Err(unsupported(&transport, why, "give its real name"));
        }
    }
    let (dialect, version) = match version(&transport, "v2", timeouts.start).await {
        Ok(version) => (Dialect::V2, version),
        Err(Error::NotFound { .. }) => match version(&transport, "v1", timeouts.start).await {
            Ok(version) => (Dialect::V1, version),
            Err(Error::NotFound { .. }) => {
                let why = "it has neither /api/v2/version nor /api/v1/version".to_owned();
                let remedy = "check the URL, its port and its path: no Chroma answers there";
                return Err(unsupported(&transport, why, remedy));
            }
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    if numbers(&version).is_some_and(|numbers| numbers < FIRST_READABLE) {
        let why = format!("it is Chroma {version}, which has no tenants");
        return Err(unsupported(&transport, why, "upgrade it to 0.4.15 or later"));
    }
    Ok(HttpStore { api: Api { transport, dialect, version, tenant, database } })
}

async fn version(transport: &Transport, api: &str, deadline: Duration) -> Result<String> {
    let url = transport.url(["api", api, "version"]);
    let request = transport::Request {
        kind: decision::Kind::Read,
        method: reqwest::Method::GET,
        url,
        body: None,
        subject: "Chroma's API".to_owned(),
    };
    transport.call_within(deadline, &request, |response| async { wire::parse(&whole(response).await?) }).await
}

/// The first three numbers of a version; None for one that has none.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |end| &part[..end]);
        digits.parse().ok()
    });
    Some([parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)])
}

fn unsupported(transport: &Transport, why: String, remedy: &str) -> Error {
    Error::Unsupported { store: transport.name(), why, remedy: remedy.to_owned() }
}

impl HttpStore {
    /// Makes it writable: asks the server what it can take.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a server before 0.5.16, which can only be read; else as [`Error`] says.
    pub async fn into_writer(self) -> Result<HttpWriter> {
        let Api { transport, dialect, version, .. } = &self.api;
        let old = numbers(version).is_some_and(|numbers| numbers < FIRST_WRITABLE);
        if *dialect == Dialect::V1 || old {
            let why = format!("it is Chroma {version}, which this program only reads");
            return Err(unsupported(transport, why, "upgrade the target to Chroma 0.5.16 or later"));
        }
        HttpWriter::new(self).await
    }
}

#[async_trait]
impl Reader for HttpStore {
    fn name(&self) -> String {
        self.api.transport.name()
    }

    fn version(&self) -> String {
        let Api { dialect, version, .. } = &self.api;
        match dialect {
            // All of 1.x say 1.0.0.
            Dialect::V2 if version == "1.0.0" => "Chroma 1.x (API v2)".to_owned(),
            Dialect::V2 => format!("Chroma {version} (API v2)"),
            Dialect::V1 => format!("Chroma {version} (API v1)"),
        }
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        self.api.collections().await
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        self.api.count(collection).await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        self.api.ids(collection).await
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        self.api.fetch(collection, ids).await
    }
}
