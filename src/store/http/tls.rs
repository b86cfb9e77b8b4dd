//! What TLS trusts and shows, and the name under which a server is asked. Sends nothing; the only place that resolves a
//! name by itself.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, ClientBuilder, Identity};
use tokio::sync::OnceCell;
use url::Url;

use super::config::ServerConfig;
use super::words::chain;

/// The builder with what the configuration says of TLS.
///
/// The environment's proxy (`HTTPS_PROXY`, `NO_PROXY`) is used for https only: plain http goes to loopback and inside a
/// cluster, where a proxy would see every memory and usually cannot reach the server.
pub(super) fn prepared(config: &ServerConfig, builder: ClientBuilder) -> Result<ClientBuilder, String> {
    let tls = &config.tls;
    let mut builder = builder.tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
    let extra = Certificate::from_pem_bundle(&tls.ca_pem).map_err(|e| chain(&e))?;
    if extra.is_empty() && !tls.ca_pem.is_empty() {
        return Err("the CA file holds no PEM certificate".to_owned());
    }
    if config.url.scheme() != "https" {
        // An image without any system certificate must still speak plain http.
        return Ok(builder.no_proxy().tls_certs_only(extra));
    }
    if !extra.is_empty() {
        builder = builder.tls_certs_merge(extra);
    }
    if !tls.identity_pem.is_empty() {
        let identity = Identity::from_pem(&tls.identity_pem)
            .map_err(|e| format!("the client certificate and its key cannot be read: {}", chain(&e)))?;
        builder = builder.identity(identity);
    }
    if tls.server_name.is_some() {
        // A proxy would look for the server under that name.
        let host = config.url.host_str().unwrap_or_default().to_owned();
        builder = builder.no_proxy().dns_resolver(AtHost { host: Arc::new(host), resolver: Arc::default() });
    }
    Ok(builder)
}

/// The URL as it is asked: under the name that the certificate is for. [`AtHost`] leads back to the host.
pub(super) fn asked(config: &ServerConfig, url: &Url) -> Result<Url, String> {
    let mut asked = url.clone();
    if let Some(name) = config.tls.server_name.as_deref().filter(|_| url.scheme() == "https") {
        asked.set_host(Some(name)).map_err(|e| format!("{name:?} is no server name ({e})"))?;
    }
    Ok(asked)
}

/// Answers every name with the addresses of one host.
#[derive(Clone, Debug)]
struct AtHost {
    host: Arc<String>,
    /// Made at the first question: it needs the runtime.
    resolver: Arc<OnceCell<TokioResolver>>,
}

impl Resolve for AtHost {
    fn resolve(&self, _name: Name) -> Resolving {
        let Self { host, resolver } = self.clone();
        Box::pin(async move {
            if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
                return Ok(addresses(vec![address]));
            }
            let resolver = resolver.get_or_try_init(async || TokioResolver::builder_tokio()?.build()).await?;
            let found = resolver.lookup_ip(host.as_str()).await?;
            Ok(addresses(found.iter().collect()))
        })
    }
}

/// The port is the URL's.
fn addresses(found: Vec<IpAddr>) -> Addrs {
    Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)))
}
