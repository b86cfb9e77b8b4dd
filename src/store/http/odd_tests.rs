//! A server that answers 200 or 204 with nothing, or with JSON of another kind: no such answer is a success, whatever was asked.
//! No real server answers so.

use std::time::Duration;

use super::reader::open;
use super::scripted::{Scripted, answer, asked_ids, collection, record, records_of};
use crate::chroma::NewCollection;
use crate::model::{Error, Filter, Metadata, Value};
use crate::store::{Amendment, Reader, Writer};

/// Status and body of answers that say nothing of what was asked.
const ODD: [(u16, &str); 12] = [
    (204, ""),
    (200, ""),
    (200, "null"),
    (200, "true"),
    (200, "-1"),
    (200, "1.5"),
    (200, "\"text\""),
    (200, "[]"),
    (200, "{}"),
    (200, "[null]"),
    (200, "{\"ids\":7}"),
    (200, "{\"error\":\"oops\"}"),
];

async fn odd(status: u16, body: &'static str) -> (Scripted, super::writer::HttpWriter) {
    let server = Scripted::chroma(move |_, _| answer(status, body)).await;
    let mut config = server.config();
    config.timeouts.retry = Duration::from_millis(100);
    config.timeouts.apart = Duration::from_millis(1);
    let writer = open(config).await.unwrap().into_writer().await.unwrap();
    (server, writer)
}

#[tokio::test]
async fn an_answer_without_content_or_of_another_kind_is_no_success_of_a_read() {
    for (status, body) in ODD {
        let case = format!("{status} {body}");
        let (_server, store) = odd(status, body).await;
        let (one, ids) = (collection(), vec!["a".to_owned(), "b".to_owned()]);
        // an empty list of collections is one, if the database is there
        if body != "[]" {
            assert!(store.collections().await.is_err(), "collections: {case}");
        }
        assert!(store.count(&one).await.is_err(), "count: {case}");
        assert!(store.ids(&one).await.is_err(), "ids: {case}");
        assert!(store.fetch(&one, &ids).await.is_err(), "fetch: {case}");
        assert!(store.held(&one, &ids).await.is_err(), "held: {case}");
        let searches = store.searches().unwrap();
        assert!(searches.nearest(&one, &[&[1.0, 2.0]], 3).await.is_err(), "query: {case}");
        assert!(
            searches.matching(&one, &Filter::Equal { key: "k".into(), value: Value::Bool(true) }, 3).await.is_err(),
            "{case}"
        );
    }
}

/// A write is done where the server says so in JSON, whatever that holds: every record is read back. Nothing at all says nothing.
#[tokio::test]
async fn a_write_that_is_answered_by_nothing_is_uncertain() {
    for (status, body) in [(204, ""), (200, ""), (201, ""), (200, "<html></html>"), (200, "{\"a\":")] {
        let case = format!("{status} {body}");
        let (_server, store) = odd(status, body).await;
        let is_uncertain = |ended: Result<(), Error>| matches!(ended, Err(Error::Uncertain { .. }));
        assert!(is_uncertain(store.add(&collection(), &[record()]).await), "add: {case}");
        let amendment = Amendment { record: record(), surplus: Vec::new() };
        assert!(is_uncertain(store.update(&collection(), &[amendment]).await), "update: {case}");
        assert!(is_uncertain(store.delete(&collection(), &["a".to_owned()]).await), "delete: {case}");
        assert!(is_uncertain(store.set_metadata(&collection(), &Metadata::new()).await), "modify: {case}");
        let new = NewCollection {
            name: "new".into(),
            database: None,
            metadata: Metadata::new(),
            later: Metadata::new(),
            configuration: None,
            schema: None,
            losses: Vec::new(),
            lost: Vec::new(),
        };
        assert!(is_uncertain(store.create(&new).await.map(|_| ())), "create: {case}");
    }
}

/// A tester's finding: a collection on which every read by id fails was tried for 157 s.
#[tokio::test]
async fn a_collection_that_cannot_be_read_at_all_is_given_up_where_another_one_can() {
    for (status, words) in [(500, "boom"), (404, "not here"), (500, "")] {
        let server = Scripted::chroma(move |_, request| {
            let line = request.lines().next().unwrap_or_default();
            let asked = asked_ids(request);
            match line {
                _ if line.contains("collections_count") => answer(200, "2"),
                _ if line.contains("/collections ") => {
                    let one =
                        |name: &str| format!(r#"{{"id":"{name}","name":"{name}","metadata":null,"dimension":1}}"#);
                    answer(200, &format!("[{},{}]", one("c1"), one("c2")))
                }
                _ if line.contains("/c1/count") => answer(200, "60"),
                _ if asked.is_empty() && line.contains("/c1/get") => answer(200, r#"{"ids":["0001"]}"#),
                _ if asked.is_empty() => answer(200, r#"{"ids":["007"]}"#),
                _ if line.contains("/c2/get") => records_of(&asked, asked.len()),
                _ => answer(status, words),
            }
        })
        .await;
        let mut config = server.config();
        // long, so that only the ruling can end it
        config.timeouts.retry = Duration::from_secs(3600);
        config.timeouts.apart = Duration::from_millis(1);
        let store = open(config).await.unwrap();
        let error = store.fetch(&collection(), &super::scripted::ids(60)).await.unwrap_err();
        assert!(matches!(error, Error::Failing { .. }), "{status} {words}: {error}");
        assert!(server.sent().len() < 250, "{status} {words}: {}", server.sent().len());
    }
}
