//! Faults that no real server makes on demand, over real sockets: what is sent, how often, and what it is called.
//! Real servers are in `tests/`.

use std::time::Duration;

use secrecy::SecretString;
use tokio::net::TcpListener;

use super::auth::Auth;
use super::config::ServerConfig;
use super::reader::open;
use super::scripted::{Act, Scripted, answer, collection, record};
use super::transport::Transport;
use crate::model::Error;
use crate::store::{Reader, Writer};

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
    assert!(matches!(error, Error::Failing { .. }), "{error}");
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
    assert!(
        matches!(&errors[0], Error::Denied { status: 401, hint, words, .. } if hint.contains("bearer") && words.contains("POST")),
        "{errors:?}"
    );
    assert!(matches!(&errors[1], Error::Rejected { status: 413, body, .. } if body == "too large"), "{errors:?}");
    assert!(errors[1].to_string().contains("Raise the limit"), "{errors:?}");
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
