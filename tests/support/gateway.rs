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
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// The gateway; ends when dropped.
pub(crate) struct Gateway {
    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT` with TLS.
    pub(crate) url: String,
    /// The authority to trust, in PEM; empty without TLS.
    pub(crate) ca_pem: String,
    /// A certificate of that authority for a client, and its key, in PEM; empty without TLS.
    pub(crate) client: [String; 2],
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
    pub(crate) fn start(upstream: &str, header: (&'static str, &str), tls: bool) -> Self {
        Self::with(upstream, header, tls.then(|| Certificates::new("localhost")), false)
    }

    /// As `start` with TLS, but its certificate is for `name` alone, and a client has to show one of the same authority.
    pub(crate) fn mutual(upstream: &str, header: (&'static str, &str), name: &str) -> Self {
        Self::with(upstream, header, Some(Certificates::new(name)), true)
    }

    fn with(upstream: &str, (name, value): (&'static str, &str), tls: Option<Certificates>, mutual: bool) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let upstream = Upstream { url: upstream.to_owned(), header: name, value: value.to_owned(), client };
        let app = Router::new().fallback(pass_on).with_state(Arc::new(upstream));
        let runtime = Runtime::new().unwrap();
        let tcp = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let Some(certificates) = tls else {
            runtime.spawn(async { axum::serve(tcp, app).await.unwrap() });
            let url = format!("http://127.0.0.1:{port}");
            return Self { url, ca_pem: String::new(), client: Default::default(), _runtime: runtime };
        };
        let acceptor = TlsAcceptor::from(Arc::new(certificates.server(mutual)));
        runtime.spawn(async { axum::serve(TlsListener { tcp, acceptor }, app).await.unwrap() });
        let Certificates { ca_pem, client, .. } = certificates;
        Self { url: format!("https://localhost:{port}"), ca_pem, client, _runtime: runtime }
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

/// A private authority with what it has signed: a server's certificate for one name, and a client's.
struct Certificates {
    ca_pem: String,
    ca: CertificateDer<'static>,
    server: (CertificateDer<'static>, KeyPair),
    client: [String; 2],
}

impl Certificates {
    fn new(name: &str) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
            (certificate, key)
        };
        let (client, key) = signed("runner");
        let client = [client.pem(), key.serialize_pem()];
        let (server, key) = signed(name);
        Self { ca_pem: authority.pem(), ca: authority.der().clone(), server: (server.into(), key), client }
    }

    fn server(&self, mutual: bool) -> ServerConfig {
        let (certificate, key) = &self.server;
        let key = key.serialize_der().try_into().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let config = if mutual {
            ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build().unwrap())
        } else {
            ServerConfig::builder().with_no_client_auth()
        };
        config.with_single_cert(vec![certificate.clone()], key).unwrap()
    }
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
