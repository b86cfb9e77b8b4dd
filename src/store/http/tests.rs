//! Faults that no real server makes on demand, over real sockets: what is sent, how often, and what it is called.
//! Real servers are in `tests/`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::store::distance::Distance;
use crate::store::record::{Metadata, Record};
use crate::store::{Fetched, Writer};

/// What the scripted server does with a request.
#[derive(Clone, Debug)]
enum Act {
    /// Answers, and says how long the answer is.
    Answer(u16, String),
    /// Answers with one more header.
    With(u16, &'static str, String),
    /// Promises the whole answer and breaks off in its middle.
    Cut(String),
    /// Closes the connection.
    Close,
    /// Never answers.
    Hang,
}

fn answer(status: u16, body: &str) -> Act {
    Act::Answer(status, body.to_owned())
}

/// A server that does what a function of the request's number and text says. Each connection serves one request.
struct Scripted {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn start(script: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
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
    async fn chroma(script: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
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

    fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::new(self.url.parse().unwrap());
        config.timeouts.request = Duration::from_millis(500);
        config.timeouts.start = Duration::from_millis(500);
        config
    }

    async fn store(&self) -> HttpStore {
        open(self.config()).await.unwrap()
    }

    async fn writer(&self) -> HttpWriter {
        self.store().await.into_writer().await.unwrap()
    }

    /// The first lines of the requests that went below the collections.
    fn sent(&self) -> Vec<String> {
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
        Act::Close => return Ok(()),
        Act::Hang => std::future::pending().await,
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

fn collection() -> Collection {
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
    }
}

fn record() -> Record {
    Record { id: "a".into(), embedding: vec![1.0, 2.0], document: None, uri: None, metadata: Metadata::new() }
}

#[tokio::test]
async fn a_read_is_repeated_until_it_is_whole() {
    let server = Scripted::chroma(|n, _| match n {
        0 => answer(503, "starting"),
        1 => Act::Close,
        2 => Act::Cut("12345678".into()),
        3 => Act::With(429, "retry-after: 1", String::new()),
        4 => Act::Hang,
        _ => answer(200, "7"),
    })
    .await;
    assert_eq!(server.store().await.count(&collection()).await.unwrap(), 7);
    assert_eq!(server.sent().len(), 6);
}

#[tokio::test]
async fn a_read_ends_at_its_deadline_and_says_how_often_it_was_tried() {
    let server = Scripted::chroma(|_, _| answer(500, "boom")).await;
    let mut config = server.config();
    config.timeouts.retry = Duration::from_millis(300);
    let error = open(config).await.unwrap().count(&collection()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("boom") && error.to_string().contains("(tried"), "{error}");
}

#[tokio::test]
async fn a_wish_beyond_the_deadline_ends_the_read_at_once() {
    let server = Scripted::chroma(|_, _| Act::With(429, "retry-after: 3600", String::new())).await;
    let error = server.store().await.count(&collection()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && server.sent().len() == 1, "{error}");
}

#[tokio::test]
async fn a_write_that_may_have_arrived_is_never_sent_again() {
    let acts = [
        answer(500, "boom"),
        answer(502, ""),
        answer(503, ""),
        answer(504, ""),
        answer(408, ""),
        answer(200, "<html>"),
        Act::Close,
        Act::Hang,
        Act::Cut("{\"a\": 1}".into()),
    ];
    for act in acts {
        let name = format!("{act:?}");
        let server = Scripted::chroma(move |_, _| act.clone()).await;
        let error = server.writer().await.add(&collection(), &[record()]).await.unwrap_err();
        assert!(matches!(error, Error::Uncertain { .. }), "{name}: {error}");
        assert_eq!(server.sent().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_write_that_was_surely_not_applied_is_sent_again() {
    let server = Scripted::chroma(|n, _| answer(if n < 2 { 429 } else { 201 }, "{}")).await;
    server.writer().await.add(&collection(), &[record()]).await.unwrap();
    assert_eq!(server.sent().len(), 3);
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_for_reads_and_writes() {
    let server = Scripted::chroma(|_, _| Act::Close).await;
    let mut writer = server.writer().await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let mut config = ServerConfig::new(gone.parse().unwrap());
    config.timeouts.start = Duration::from_millis(300);
    config.timeouts.retry = Duration::from_millis(300);
    assert!(matches!(open(config.clone()).await, Err(Error::Unavailable { .. })));
    writer.store.api.transport = Transport::new(&config).unwrap();
    let error = writer.add(&collection(), &[record()]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn refusals_say_what_to_do_and_show_no_secret() {
    let secret = "s3cret-token";
    let echo = |request: &str| answer(400, &format!("no: {request}"));
    let server = Scripted::chroma(move |n, request| match n {
        0 => answer(401, request),
        1 => answer(413, "too large"),
        2 => Act::With(307, "location: http://elsewhere/x?token=s3cret-token", String::new()),
        3 => answer(404, "{}"),
        _ => echo(request),
    })
    .await;
    let mut config = server.config();
    config.auth = Auth::Bearer(SecretString::from(secret));
    let writer = open(config.clone()).await.unwrap().into_writer().await.unwrap();
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.push(writer.add(&collection(), &[record()]).await.unwrap_err());
    }
    assert!(matches!(&errors[0], Error::Denied { status: 401, hint, .. } if hint.contains("bearer")), "{errors:?}");
    assert!(matches!(&errors[1], Error::Rejected { status: 413, body, .. } if body.contains("limit")), "{errors:?}");
    assert!(matches!(&errors[2], Error::Unsupported { why, .. } if why.contains("http://elsewhere/x")), "{errors:?}");
    assert!(matches!(&errors[3], Error::NotFound { what, .. } if what.contains("memories")), "{errors:?}");
    assert!(matches!(&errors[4], Error::Rejected { status: 400, body, .. } if body.contains("no: POST")), "{errors:?}");
    assert_eq!(server.sent().len(), 5);
    let sent = server.seen.lock().unwrap().last().cloned().unwrap();
    assert!(sent.contains(secret), "the token was not sent");
    let shown = format!("{errors:?} {config:?} {writer:?}");
    assert!(!shown.contains(secret), "{shown}");
    assert!(errors.iter().all(|error| !error.to_string().contains(secret)));
}

#[tokio::test]
async fn what_is_no_chroma_is_named() {
    for (status, body) in [(200, "<!DOCTYPE html><html>hello"), (200, r#"{"version": 1}"#), (404, "not here")] {
        let server = Scripted::start(move |_, _| answer(status, body)).await;
        let error = open(server.config()).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{body}: {error}");
        let text = error.to_string();
        assert!(text.contains(&server.url) && text.contains("check the URL"), "{text}");
    }
}

#[tokio::test]
async fn an_old_server_is_spoken_to_in_v1_and_one_too_old_is_refused() {
    let v1 = |version: &'static str| {
        Scripted::start(move |_, request| match request.split_whitespace().nth(1) {
            Some("/api/v1/version") => answer(200, version),
            _ => answer(404, r#"{"detail":"Not Found"}"#),
        })
    };
    let store = v1("\"0.5.15\"").await.store().await;
    assert_eq!(store.version(), "Chroma 0.5.15 (API v1)");
    assert!(matches!(store.into_writer().await, Err(Error::Unsupported { remedy, .. }) if remedy.contains("0.5.16")));
    let error = open(v1("\"0.4.14\"").await.config()).await.unwrap_err();
    assert!(error.to_string().contains("0.4.15"), "{error}");
}

#[tokio::test]
async fn a_limit_on_answers_is_found_out() {
    let ids = r#"{"ids":["a","b"]}"#;
    let server =
        Scripted::chroma(move |_, r| if r.contains("/count") { answer(200, "3") } else { answer(200, ids) }).await;
    let error = server.store().await.ids(&collection()).await.unwrap_err();
    assert!(matches!(&error, Error::Unsupported { why, .. } if why.contains("counts 3")), "{error}");
}

#[tokio::test]
async fn a_cut_list_of_ids_is_read_again() {
    let ids = r#"{"ids":["a","b"]}"#;
    let server = Scripted::chroma(move |n, _| match n {
        1 => Act::Cut(ids.into()),
        2 => answer(200, ids),
        _ => answer(200, "2"),
    })
    .await;
    assert_eq!(server.store().await.ids(&collection()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_answer_with_other_records_is_an_error() {
    let body = r#"{"ids":["b"],"embeddings":[[1.0]],"documents":[null],"uris":[null],"metadatas":[null]}"#;
    let server = Scripted::chroma(move |_, _| answer(200, body)).await;
    let error = server.store().await.fetch(&collection(), &["a".into()]).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let found = server.store().await.fetch(&collection(), &["b".into()]).await.unwrap();
    assert!(matches!(&found[0], Fetched::Record { .. }), "{found:?}");
}

#[tokio::test]
async fn a_list_that_the_server_limits_is_paged_to_its_end() {
    let all = 250_usize;
    let server = Scripted::chroma(move |_, request| {
        let target = request.split_whitespace().nth(1).unwrap_or_default();
        if target.ends_with("collections_count") {
            return answer(200, &all.to_string());
        }
        let offset = target.split("offset=").nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        let page = (offset..all.min(offset + 100)).map(|n| format!(r#"{{"id":"{n}","name":"c{n}","metadata":null}}"#));
        answer(200, &format!("[{}]", page.collect::<Vec<_>>().join(",")))
    })
    .await;
    assert_eq!(server.store().await.collections().await.unwrap().len(), all);
}

#[tokio::test]
async fn names_are_encoded_below_the_path_of_a_gateway() {
    let server =
        Scripted::start(|_, request| answer(200, if request.contains("/version") { "\"1.0.0\"" } else { "1" })).await;
    let mut config = server.config();
    config.url = format!("{}/gateway/chroma/", server.url).parse().unwrap();
    config.tenant = "a/b ü".into();
    config.database = "?#".into();
    open(config).await.unwrap().count(&collection()).await.unwrap();
    let expected = "GET /gateway/chroma/api/v2/tenants/a%2Fb%20%C3%BC/databases/%3F%23/collections/c1/count HTTP/1.1";
    assert_eq!(server.sent(), [expected]);
}

#[tokio::test]
async fn https_on_a_plain_port_is_named_at_once() {
    let server = Scripted::start(|_, _| answer(400, "plain")).await;
    let mut config = server.config();
    config.url = server.url.replace("http:", "https:").parse().unwrap();
    config.timeouts.start = Duration::from_secs(60);
    let error = open(config).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { why, .. } if why.contains("TLS")), "{error}");
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn configurations_that_cannot_be_used_are_refused_before_anything_is_sent() {
    let url = |text: &str| ServerConfig::new(text.parse().unwrap());
    let mut dots = url("http://h:1");
    dots.tenant = "..".into();
    let mut ca = url("https://h:1");
    ca.tls.ca_pem = b"no certificate".to_vec();
    let cases = [url("http://ada:hunter2@h:1"), url("ftp://h"), url("http://h/?token=hunter2"), dots, ca];
    for config in cases {
        let error = open(config).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
