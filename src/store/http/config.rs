//! Where a server is, what it is sent to prove who asks, what TLS trusts, and how long to wait. Opens nothing.

use std::fmt;
use std::time::Duration;

use url::Url;

use super::auth::Auth;

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

/// What TLS trusts, beyond the system's own authorities, and what it shows.
#[derive(Clone, Default)]
pub struct Tls {
    /// PEM certificates of further authorities, in any number; empty for none.
    pub ca_pem: Vec<u8>,
    /// The name under which the server is asked, and that its certificate must be for; none is the URL's host. The
    /// connection goes to the URL's host and port, past any proxy.
    pub server_name: Option<String>,
    /// The certificate to show, with its chain and its private key, in PEM; empty for none.
    pub identity_pem: Vec<u8>,
    /// Trusts every certificate. For tests: whoever is on the way reads every memory and every credential.
    pub insecure_skip_verify: bool,
}

impl fmt::Debug for Tls {
    /// Shows no private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ca_pem, server_name, identity_pem, insecure_skip_verify } = self;
        f.debug_struct("Tls")
            .field("ca_pem", &ca_pem.len())
            .field("server_name", server_name)
            .field("identity_pem", &identity_pem.len())
            .field("insecure_skip_verify", insecure_skip_verify)
            .finish()
    }
}

/// How long to wait for a server.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, each time; 5 s.
    pub connect: Duration,
    /// For one request with its whole answer; 60 s.
    pub request: Duration,
    /// For one read with all its retries, and for a write as long as it was surely not received; 150 s, more than two
    /// requests may take.
    pub retry: Duration,
    /// For the first answer when a server is opened; 10 s.
    pub start: Duration,
    /// From one try to read a single record that the server fails on to the next; 2 s.
    pub apart: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), request: seconds(60), retry: seconds(150), start: seconds(10), apart: seconds(2) }
    }
}
