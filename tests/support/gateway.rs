//! A gateway before a Chroma server, as a cluster has one: asks for credentials, and speaks TLS with a certificate of a
//! private authority. Chroma itself does neither since 1.0.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

/// The gateway; ends when dropped.
pub(crate) struct Gateway {
    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT` with TLS.
    pub(crate) url: String,
    /// The authority to trust, in PEM; empty without TLS.
    pub(crate) ca_pem: String,
    _runtime: Runtime,
}

struct Upstream {
    url: String,
    header: &'static str,
    value: String,
    client: reqwest::Client,
}

impl Gateway {
    /// Lets through to `upstream` what has this header, and answers 401 to everything else.
    pub(crate) fn start(upstream: &str, (name, value): (&'static str, &str), tls: bool) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let upstream = Upstream { url: upstream.to_owned(), header: name, value: value.to_owned(), client };
        let app = Router::new().fallback(pass_on).with_state(Arc::new(upstream));
        let runtime = Runtime::new().unwrap();
        let tcp = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let (url, ca_pem) = if tls {
            let (ca_pem, config) = certificates();
            let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
            runtime.spawn(async { axum::serve(listener, app).await.unwrap() });
            (format!("https://localhost:{port}"), ca_pem)
        } else {
            runtime.spawn(async { axum::serve(tcp, app).await.unwrap() });
            (format!("http://127.0.0.1:{port}"), String::new())
        };
        Self { url, ca_pem, _runtime: runtime }
    }
}

/// Echoes in its refusal what was sent, as careless gateways do: nobody may print that.
async fn pass_on(State(upstream): State<Arc<Upstream>>, request: Request) -> Response<Body> {
    let sent = request.headers().get(upstream.header).map(|value| value.to_str().unwrap().to_owned());
    if sent.as_ref() != Some(&upstream.value) {
        let text = format!("who are you, {}: {}?", upstream.header, sent.unwrap_or_default());
        return Response::builder().status(StatusCode::UNAUTHORIZED).body(Body::from(text)).unwrap();
    }
    let (parts, body) = request.into_parts();
    let url = format!("{}{}", upstream.url, parts.uri.path_and_query().unwrap());
    let mut passed = upstream.client.request(parts.method, url).body(to_bytes(body, usize::MAX).await.unwrap());
    if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
        passed = passed.header(header::CONTENT_TYPE, kind);
    }
    let answer = passed.send().await.unwrap();
    let response = Response::builder().status(answer.status()).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// A private authority, and a server's certificate for `localhost` that it has signed.
fn certificates() -> (String, ServerConfig) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let key = key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    (authority.pem(), config.with_single_cert(vec![certificate.into()], key).unwrap())
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // A client that does not trust us ends here, and is no reason to stop.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
