//! Faults that no real server makes on demand, over real sockets: what is sent, how often, and what it is called.
//! Real servers are in `tests/`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::transport::Transport;
use super::*;
use crate::store::distance::Distance;
use crate::store::record::{Metadata, Record};
use crate::store::{Collection, Error, Fetched, Reader, Writer};

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
    /// Answers, and never stops.
    Endless,
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

/// A name that nobody knows was told as `timed out`.
#[tokio::test]
async fn a_name_that_does_not_resolve_says_what_to_check() {
    let mut config = ServerConfig::new("http://no-such-service.invalid:8000".parse().unwrap());
    config.timeouts.connect = Duration::from_secs(1);
    config.timeouts.start = Duration::from_millis(300);
    config.timeouts.retry = Duration::from_millis(300);
    let error = open(config).await.err().unwrap().to_string();
    assert!(error.contains("check the Service's name and the cluster's DNS"), "{error}");
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

/// What of a `get` for ids a request asks for: from which one on, and at most how many.
fn page(request: &str) -> Option<(usize, usize)> {
    let body: serde_json::Value = serde_json::from_str(request.split("\r\n\r\n").nth(1)?).ok()?;
    let number = |key: &str| usize::try_from(body[key].as_u64()?).ok();
    Some((number("offset")?, number("limit")?))
}

fn ids_answer(ids: impl Iterator<Item = usize>) -> Act {
    let ids: Vec<String> = ids.map(|n| format!("\"{n:03}\"")).collect();
    answer(200, &format!("{{\"ids\":[{}]}}", ids.join(",")))
}

#[tokio::test]
async fn a_server_that_limits_its_answers_is_asked_for_ids_by_pages() {
    let server = Scripted::chroma(move |_, request| {
        if request.contains("/count") {
            return answer(200, "250");
        }
        let (offset, limit) = page(request).unwrap_or((0, 250));
        ids_answer(offset..250.min(offset + limit.min(100)))
    })
    .await;
    let store = server.store().await;
    assert_eq!(store.ids(&collection()).await.unwrap().len(), 250);
    assert_eq!(store.remarks(&collection()).await.unwrap().damage, Vec::<String>::new());
}

#[tokio::test]
async fn a_list_that_stays_shorter_than_the_count_is_damage() {
    let short = Arc::new(Mutex::new(true));
    let is_short = short.clone();
    let server = Scripted::chroma(move |_, request| {
        if request.contains("/count") {
            return answer(200, "3");
        }
        // whatever page is asked for
        ids_answer(0..if *is_short.lock().unwrap() { 2 } else { 3 })
    })
    .await;
    let store = server.store().await;
    assert_eq!(store.ids(&collection()).await.unwrap().len(), 2);
    let damage = store.remarks(&collection()).await.unwrap().damage;
    assert!(damage.len() == 1 && damage[0].contains("lists 2 ids but counts 3 records"), "{damage:?}");
    *short.lock().unwrap() = false;
    assert_eq!(store.ids(&collection()).await.unwrap().len(), 3);
    assert_eq!(store.remarks(&collection()).await.unwrap().damage, Vec::<String>::new());
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

const ONE: &str = r#"{"ids":["b"],"embeddings":[[1.0]],"documents":[null],"uris":[null],"metadatas":[null]}"#;

#[tokio::test]
async fn an_answer_with_other_records_is_asked_for_once_more_and_then_an_error() {
    let server = Scripted::chroma(move |_, _| answer(200, ONE)).await;
    let error = server.store().await.fetch(&collection(), &["a".into()]).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert_eq!(server.sent().len(), 2);
    let found = server.store().await.fetch(&collection(), &["b".into()]).await.unwrap();
    assert!(matches!(&found[0], Fetched::Record { .. }), "{found:?}");

    let twice =
        ONE.replace("[\"b\"]", "[\"b\",\"b\"]").replace("[null]", "[null,null]").replace("[[1.0]]", "[[1.0],[2.0]]");
    let server = Scripted::chroma(move |n, _| answer(200, if n == 0 { &twice } else { ONE })).await;
    let found = server.store().await.fetch(&collection(), &["b".into()]).await.unwrap();
    assert_eq!((found.len(), server.sent().len()), (1, 2));
}

#[tokio::test]
async fn an_answer_that_does_not_stop_is_stopped() {
    let endless = Scripted::start(|_, _| Act::Endless).await;
    let mut config = endless.config();
    config.timeouts.request = Duration::from_secs(60);
    let error = open(config).await.unwrap_err();
    assert!(matches!(&error, Error::Unsupported { why, .. } if why.contains("longer than 1048576 bytes")), "{error}");
    // also one that does not say how long it is, where ids are read while they arrive
    let server = Scripted::chroma(|_, r| if r.contains("/count") { answer(200, "1") } else { Act::Endless }).await;
    let mut config = server.config();
    config.timeouts.request = Duration::from_secs(60);
    let error = open(config).await.unwrap().ids(&collection()).await.unwrap_err();
    assert!(matches!(&error, Error::Unsupported { why, .. } if why.contains("longer than")), "{error}");
    let promised =
        Scripted::start(|_, _| Act::With(200, "x-is: long", "\"1.0.0".to_owned() + &" ".repeat(2 << 20))).await;
    let error = open(promised.config()).await.unwrap_err();
    assert!(matches!(&error, Error::Unsupported { why, .. } if why.contains("longer than")), "{error}");
}

#[tokio::test]
async fn a_server_that_stands_still_for_longer_than_one_timeout_is_asked_again() {
    let server = Scripted::chroma(|n, _| if n == 0 { Act::Hang } else { answer(200, "7") }).await;
    let mut config = server.config();
    config.timeouts.retry = config.timeouts.request;
    assert_eq!(open(config).await.unwrap().count(&collection()).await.unwrap(), 7);
    assert_eq!(server.sent().len(), 2);
}

/// One that puts a token into whatever it answers, at a place where the text is cut.
#[tokio::test]
async fn no_part_of_a_secret_is_shown_wherever_a_text_is_cut() {
    let secret = "Tk-S3cr3t\"V4lue/S3cr3tV4lue-end";
    let json = serde_json::to_string(secret).unwrap();
    let escaped = json.trim_matches('"').to_owned();
    for filled in [0, 40, 85, 95, 99, 285, 295, 299] {
        for spelling in [secret.to_owned(), escaped.clone(), escaped.replace('/', "\\/")] {
            for (status, quoted) in [(200, false), (200, true), (400, false), (401, false), (500, false)] {
                let text = "z".repeat(filled) + &spelling;
                let body = if quoted { format!("\"{text}\"") } else { format!("<html>{text}") };
                let server = Scripted::start(move |_, _| answer(status, &body)).await;
                let mut config = server.config();
                config.auth = Auth::Bearer(SecretString::from(secret));
                config.timeouts.start = Duration::ZERO;
                let shown = match open(config).await {
                    Ok(store) => format!("{} {store:?}", store.version()),
                    Err(error) => format!("{error} {error:?}"),
                };
                assert!(!shown.contains("Tk-S"), "{filled} {spelling} {status}: {shown}");
            }
        }
    }
}

#[tokio::test]
async fn a_name_that_echoes_a_secret_is_refused() {
    let list = r#"[{"id":"1","name":"the-s3cret-token","metadata":null}]"#;
    let count = |request: &str| request.contains("collections_count");
    let server = Scripted::chroma(move |_, r| if count(r) { answer(200, "1") } else { answer(200, list) }).await;
    let mut config = server.config();
    config.auth = Auth::Bearer(SecretString::from("the-s3cret-token"));
    let error = open(config).await.unwrap().collections().await.unwrap_err().to_string();
    assert!(error.contains("credentials") && !error.contains("s3cret"), "{error}");
}

/// A database of a 1.x server whose collections have one record each; `query` answers the queries.
async fn database(names: &'static [&'static str], query: impl Fn(&str) -> Act + Send + Sync + 'static) -> Scripted {
    Scripted::chroma(move |_, request| {
        let target = request.split_whitespace().nth(1).unwrap_or_default();
        if target.ends_with("collections_count") {
            return answer(200, &names.len().to_string());
        }
        if target.ends_with("/query") {
            return query(target);
        }
        let one = |name: &&str| format!(r#"{{"id":"id-{name}","name":"{name}","metadata":null,"dimension":2}}"#);
        answer(200, &format!("[{}]", names.iter().map(one).collect::<Vec<_>>().join(",")))
    })
    .await
}

#[tokio::test]
async fn a_query_that_fails_stops_no_collection_and_is_a_note() {
    let server = database(&["bad", "good"], |target| {
        if target.contains("id-bad") { answer(500, "index gone") } else { answer(200, r#"{"distances":[[]]}"#) }
    })
    .await;
    let store = server.store().await;
    let collections = store.collections().await.unwrap();
    assert_eq!(collections.iter().map(|c| c.distance).collect::<Vec<_>>(), [Distance::L2, Distance::L2]);
    let remarks = store.remarks(&collections[0]).await.unwrap();
    assert!(remarks.notes[0].contains("not probed (status 500: index gone"), "{remarks:?}");
    assert_eq!((remarks.refusal, remarks.damage.len()), (None, 0));
    // what was found out once is not asked again
    let sent = server.sent().len();
    store.collections().await.unwrap();
    let again: Vec<String> = server.sent().split_off(sent);
    assert!(!again.iter().any(|line| line.contains("id-bad/query")), "{again:?}");
}

#[tokio::test]
async fn only_the_collections_that_are_asked_for_are_probed() {
    let server = database(&["mine", "other"], |_| answer(200, r#"{"distances":[[]]}"#)).await;
    let store = server.store().await.probing_only(["mine".to_owned()]);
    assert_eq!(store.collections().await.unwrap().len(), 2);
    let queries: Vec<String> = server.sent().into_iter().filter(|line| line.contains("/query")).collect();
    assert!(!queries.is_empty() && queries.iter().all(|line| line.contains("id-mine")), "{queries:?}");
    let server = database(&["mine", "other"], |_| answer(200, r#"{"distances":[[]]}"#)).await;
    assert_eq!(server.store().await.uuids().await.unwrap().len(), 2);
    assert!(!server.sent().iter().any(|line| line.contains("/query")));
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
async fn a_redirect_is_followed_to_https_on_the_same_host_and_nowhere_else() {
    let tls = Scripted::start(|_, _| answer(400, "")).await;
    let port = tls.url.rsplit(':').next().unwrap().to_owned();
    for (location, followed) in [
        (format!("https://127.0.0.1:{port}/api/v2/version"), true),
        (format!("https://localhost:{port}/api/v2/version"), false),
        (format!("https://127.0.0.1:{port}/login"), false),
        (format!("http://127.0.0.1:{port}/api/v2/version"), false),
        ("/api/v2/version".to_owned(), false),
    ] {
        tls.seen.lock().unwrap().clear();
        let header: &'static str = format!("location: {location}").leak();
        let server = Scripted::start(move |_, _| Act::With(308, header, String::new())).await;
        let error = open(server.config()).await.unwrap_err();
        assert_eq!(!tls.seen.lock().unwrap().is_empty(), followed, "{location}: {error}");
        assert!(followed || matches!(error, Error::Unsupported { .. }), "{location}: {error}");
    }
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
