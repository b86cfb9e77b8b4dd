//! `/healthz`, `/readyz` and `/metrics` over HTTP. Serves what it is handed; knows no cluster and no migration.

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// Whether the process does its work, and why (not): one source for the probe and the log.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<RwLock<(bool, String)>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(RwLock::new((false, "starting".into()))))
    }
}

impl Readiness {
    /// Says whether it is ready, and the reason in a person's words.
    pub fn set(&self, ready: bool, reason: &str) {
        if let Ok(mut state) = self.0.write()
            && *state != (ready, reason.to_owned())
        {
            tracing::info!(ready, reason, "readiness");
            *state = (ready, reason.to_owned());
        }
    }

    /// Whether it is ready, and why (not).
    #[must_use]
    pub fn get(&self) -> (bool, String) {
        self.0.read().map_or_else(|_| (false, "a thread panicked".into()), |state| state.clone())
    }
}

/// The three paths. A missing dependency never fails `/healthz`: a restart would not bring it.
pub fn router(readiness: Readiness, metrics: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(move || std::future::ready(ready(&readiness))))
        .route(
            "/metrics",
            get(move || std::future::ready(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics()))),
        )
}

fn ready(readiness: &Readiness) -> Response {
    let (ready, reason) = readiness.get();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{reason}\n")).into_response()
}

/// Listens; where the address is `[::]` and the machine has no IPv6, on `0.0.0.0`.
///
/// # Errors
/// When the port is taken, or the address is none of this machine's.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let refused = match TcpListener::bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(refused) => refused,
    };
    if address.ip() != Ipv6Addr::UNSPECIFIED || refused.kind() == std::io::ErrorKind::AddrInUse {
        return Err(refused);
    }
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
}

/// Serves until `stop` resolves.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A kubelet of an IPv6-only cluster asks the pod's IPv6 address, any other its IPv4 address.
    #[tokio::test]
    async fn both_families_are_answered_where_both_are_there() {
        let listener = listen((Ipv6Addr::UNSPECIFIED, 0).into()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(serve(listener, router(Readiness::default(), String::new), std::future::pending()));
        assert!(ask((Ipv4Addr::LOCALHOST, port).into(), "/healthz").await.starts_with("HTTP/1.1 200"));
        match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await {
            Ok(_) => assert!(ask((Ipv6Addr::LOCALHOST, port).into(), "/healthz").await.starts_with("HTTP/1.1 200")),
            Err(error) => eprintln!("IPv6 is not looked at: this machine has none ({error})"),
        }
        let taken = listen((Ipv6Addr::UNSPECIFIED, port).into()).await.unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        server.abort();
    }

    #[tokio::test]
    async fn the_probe_says_why_it_is_not_ready() {
        let readiness = Readiness::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(readiness.clone(), || "some_metric 1\n".into());
        let server = tokio::spawn(serve(listener, router, std::future::pending()));
        readiness.set(false, "the CRD is not installed");
        let answer = ask(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("the CRD is not installed\n"), "{answer}");
        assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        readiness.set(true, "leading");
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/metrics").await.ends_with("some_metric 1\n"));
        server.abort();
    }
}
