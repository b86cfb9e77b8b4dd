//! A server for tests that does what a script says of each request: faults that no real server makes on demand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::config::ServerConfig;
use super::reader::{HttpStore, open};
use super::writer::HttpWriter;
use crate::model::{Collection, Distance, Fetched, Metadata, Record};

/// What the scripted server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers, and says how long the answer is.
    Answer(u16, String),
    /// Answers with one more header.
    With(u16, &'static str, String),
    /// Promises the whole answer and breaks off in its middle.
    Cut(String),
    /// Answers after a while.
    Late(Duration, String),
    /// Closes the connection.
    Close,
    /// Never answers.
    Hang,
    /// Answers, and never stops.
    Endless,
}

pub(crate) fn answer(status: u16, body: &str) -> Act {
    Act::Answer(status, body.to_owned())
}

/// A server that does what a function of the request's number and text says. Each connection serves one request.
pub(crate) struct Scripted {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(crate) async fn start(script: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (seen.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (log.clone(), script.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, &log, &*script).await;
                });
            }
        });
        Self { url, seen }
    }

    /// A Chroma 1.x, except for what the script says of the requests below its collections; those are counted from 0.
    pub(crate) async fn chroma(script: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        let count = Mutex::new(0);
        Self::start(move |_, request| match request.split_whitespace().nth(1).unwrap_or_default() {
            "/api/v2/version" => answer(200, "\"1.0.0\""),
            "/api/v2/pre-flight-checks" => answer(200, r#"{"max_batch_size":9,"supports_base64_encoding":true}"#),
            "/openapi.json" => answer(404, ""),
            _ => {
                let mut count = count.lock().unwrap();
                *count += 1;
                script(*count - 1, request)
            }
        })
        .await
    }

    pub(crate) fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::new(self.url.parse().unwrap());
        config.timeouts.request = Duration::from_millis(500);
        config.timeouts.start = Duration::from_millis(500);
        config
    }

    pub(crate) async fn store(&self) -> HttpStore {
        open(self.config()).await.unwrap()
    }

    /// A store that gives up soon, and hardly pauses between the tries for one record.
    pub(crate) async fn hasty(&self) -> HttpStore {
        let mut config = self.config();
        config.timeouts.request = Duration::from_secs(5);
        config.timeouts.retry = Duration::from_millis(300);
        config.timeouts.apart = Duration::from_millis(1);
        open(config).await.unwrap()
    }

    pub(crate) async fn writer(&self) -> HttpWriter {
        self.store().await.into_writer().await.unwrap()
    }

    /// The first lines of the requests that went below the collections.
    pub(crate) fn sent(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let lines = seen.iter().filter_map(|request| request.lines().next());
        lines.filter(|line| line.contains("/collections")).map(str::to_owned).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<String>>,
    script: &(dyn Fn(usize, &str) -> Act + Send + Sync),
) -> std::io::Result<()> {
    let request = read_request(&mut stream).await?;
    let number = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len() - 1
    };
    let (status, header, body, length) = match script(number, &request) {
        Act::Answer(status, body) => (status, String::new(), body.clone(), body.len()),
        Act::With(status, header, body) => (status, format!("{header}\r\n"), body.clone(), body.len()),
        Act::Cut(body) => (200, String::new(), body[..body.len() / 2].to_owned(), body.len()),
        Act::Late(pause, body) => {
            tokio::time::sleep(pause).await;
            (200, String::new(), body.clone(), body.len())
        }
        Act::Close => return Ok(()),
        Act::Hang => std::future::pending().await,
        Act::Endless => {
            stream.write_all(b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n\"").await?;
            loop {
                stream.write_all(&vec![b'a'; 1 << 16]).await?;
            }
        }
    };
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{header}content-length: {length}\r\n\r\n");
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 || bytes[0] == 0x16 {
            return Ok("TLS".to_owned());
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if bytes.len() >= head + 4 + length.unwrap_or(0) {
            return Ok(text.into_owned());
        }
    }
}

pub(crate) fn collection() -> Collection {
    Collection {
        id: "c1".into(),
        name: "memories".into(),
        tenant: "t".into(),
        database: "d".into(),
        dimension: Some(2),
        distance: Distance::L2,
        metadata: Metadata::new(),
        configuration: None,
        schema: None,
        unreadable: None,
    }
}

pub(crate) fn record() -> Record {
    Record { id: "a".into(), embedding: vec![1.0, 2.0], document: None, uri: None, metadata: Metadata::new() }
}

/// The answer to a `get` of one record, `b`.
pub(crate) const ONE: &str =
    r#"{"ids":["b"],"embeddings":[[1.0]],"documents":[null],"uris":[null],"metadatas":[null]}"#;

/// Ids that a request asks for.
pub(crate) fn asked_ids(request: &str) -> Vec<String> {
    let body = request.split("\r\n\r\n").nth(1).and_then(|body| serde_json::from_str(body).ok());
    let ids = body.as_ref().and_then(|body: &serde_json::Value| body["ids"].as_array());
    ids.map(|ids| ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()).unwrap_or_default()
}

pub(crate) fn records_of(ids: &[String], vectors: usize) -> Act {
    let column = |cell: &str, n: usize| vec![cell; n].join(",");
    let named: Vec<String> = ids.iter().map(|id| format!("{id:?}")).collect();
    let (nulls, count) = (column("null", ids.len()), named.join(","));
    let vectors = column("[1.0]", vectors);
    answer(
        200,
        &format!(
            "{{\"ids\":[{count}],\"embeddings\":[{vectors}],\"documents\":[{nulls}],\"uris\":[{nulls}],\"metadatas\":[{nulls}]}}"
        ),
    )
}

pub(crate) fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:04}")).collect()
}

pub(crate) fn unreadable(fetched: &[Fetched]) -> Vec<&str> {
    fetched.iter().filter(|f| matches!(f, Fetched::Unreadable { .. })).map(Fetched::id).collect()
}
