//! `/healthz`, `/readyz` and `/metrics` over HTTP. Serves what it is handed; knows no cluster and no migration.

use std::future::Future;
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
