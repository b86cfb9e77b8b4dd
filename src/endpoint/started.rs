//! A Chroma server of our own on a folder, from its start until it answers: what a local target is laid out, written and read
//! through.

use std::time::Duration;

use super::child::server::{Program, Server};
use super::{Folder, serving};
use crate::model::{Error, Result};
use crate::store::http::{self, HttpStore, ServerConfig};

/// How long a server may take until it answers: one that opens a large store reads its index first.
pub(super) const STARTING: Duration = Duration::from_secs(120);
/// How many ports are tried.
const PORTS: usize = 3;

/// Starts a server on the folder, and waits until it answers itself: its port was free a moment before, and another
/// process may have taken it since. Then there is another port.
pub(super) async fn started(program: &Program, folder: &Folder) -> Result<(Server, HttpStore)> {
    let mut last = None;
    for _ in 0..PORTS {
        let mut server = program.start(&folder.path)?;
        let opened = ready(&mut server, folder).await;
        let port = server.port();
        // a server that has ended has no process, and whoever answers is another one
        let ours = server.process().map_or(Some(false), |process| serving::is_port_of(process, port));
        match (opened, ours) {
            (Ok(store), Some(true) | None) => return Ok((server, store)),
            (Err(error), Some(true) | None) => return Err(error),
            (Err(error), Some(false)) if !is_taken(port) => return Err(error),
            (_, Some(false)) => {}
        }
        last = Some(server.failed(&format!("was given port {port}, where another process answers")));
        tracing::warn!(port, "another process took the port of the Chroma server; trying another one");
        // nothing was written through it, so how it ends does not matter
        drop(server.stop().await);
    }
    Err(last.unwrap_or_else(|| Error::Unavailable {
        store: format!("the Chroma server on {}", folder.path.display()),
        attempt: "its start".to_owned(),
        why: "it was not tried".to_owned(),
    }))
}

/// Whether something listens on a port after our own server there has ended.
fn is_taken(port: u16) -> bool {
    std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).is_err()
}

/// Waits until the server answers, or has ended. Writes nothing.
async fn ready(server: &mut Server, folder: &Folder) -> Result<HttpStore> {
    let config = config(server, folder)?;
    let opened = tokio::select! {
        opened = http::open(config) => opened,
        error = server.ended() => return Err(error),
    };
    match opened {
        Err(Error::Unavailable { why, .. }) => Err(server.failed(&format!("did not answer: {why}"))),
        other => other,
    }
}

/// How the server is reached.
pub(super) fn config(server: &Server, folder: &Folder) -> Result<ServerConfig> {
    let mut config = ServerConfig::new(server.url()?);
    config.tenant.clone_from(&folder.tenant);
    config.database.clone_from(&folder.database);
    config.timeouts.start = STARTING;
    Ok(config)
}
