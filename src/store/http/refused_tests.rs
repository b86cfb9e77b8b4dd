//! A server that refuses one record, answers oddly for it, or refuses all, over real sockets. No real server does so on demand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::reader::{HttpStore, open};
use super::scripted::{Act, ONE, Scripted, answer, asked_ids, collection, ids, records_of, unreadable};
use crate::model::{Error, Fetched};
use crate::store::Reader;

/// A server that does this with every `get` for one of the ids that `is_bad` names, and answers for all others.
async fn refusing(act: Act, is_bad: impl Fn(&str) -> bool + Send + Sync + 'static) -> (Scripted, HttpStore) {
    let server = Scripted::chroma(move |_, request| {
        let ids = asked_ids(request);
        let fails = !ids.is_empty() && ids.iter().any(|id| is_bad(id));
        if fails { act.clone() } else { records_of(&ids, ids.len()) }
    })
    .await;
    let store = server.hasty().await;
    (server, store)
}

fn refusals() -> Vec<(Act, &'static str)> {
    vec![
        (answer(400, r#"{"error":"InvalidArgumentError","message":"bad id"}"#), "status 400: "),
        (answer(403, "blocked"), "status 403: blocked"),
        (answer(404, "<html>not here</html>"), "status 404: <html>"),
        (answer(409, "no"), "status 409: no"),
        (answer(422, r#"{"detail":"unprocessable"}"#), "status 422: "),
        (answer(451, "no"), "status 451: no"),
        (answer(501, "no"), "status 501: no"),
        (answer(413, "too large"), "status 413: too large"),
        (answer(200, "<html>maintenance</html>"), "<html>maintenance"),
        (answer(200, r#"{"ids":["0003"], oops}"#), "key must be a string"),
        (answer(200, ONE), "which was not asked for"),
    ]
}

/// Only a server's own 500 was halved: a refusal of one record ended the run.
#[tokio::test]
async fn a_refusal_of_one_record_is_a_matter_of_that_record() {
    let fails = [(500, ""), (500, "<html>boom</html>")].map(|(status, body)| (answer(status, body), "status 500: "));
    let short = [Act::Cut(ONE.to_owned()), answer(200, r#"{"ids":["0003""#), answer(200, "")].map(|act| (act, ""));
    for (act, words) in refusals().into_iter().chain(fails).chain(short) {
        let case = format!("{act:?}");
        let (server, store) = refusing(act, |id| id == "0003").await;
        let fetched = store.fetch(&collection(), &ids(40)).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!((fetched.len(), unreadable(&fetched)), (40, vec!["0003"]), "{case}");
        let why = fetched.iter().find_map(|f| if let Fetched::Unreadable { why, .. } = f { Some(why) } else { None });
        assert!(why.is_some_and(|why| why.contains(words)), "{case}: {why:?}");
        assert!(server.sent().len() < 60, "{case}: {}", server.sent().len());
    }
}

/// What speaks of every request is told as it is, and at once: by one more request where a record was read before.
#[tokio::test]
async fn a_refusal_of_everything_is_the_servers_and_is_not_halved_for_long() {
    for (act, words) in refusals() {
        let case = format!("{act:?}");
        let (server, store) = refusing(act.clone(), |_| true).await;
        let error = store.fetch(&collection(), &ids(600)).await.unwrap_err();
        assert!(!matches!(error, Error::Failing { .. } | Error::Unavailable { .. }), "{case}: {error}");
        let shown = error.to_string().contains(words) || matches!(error, Error::Denied { .. } | Error::NotFound { .. });
        assert!(shown || words.starts_with("status"), "{case}: {error}");
        assert!(server.sent().len() <= 110, "{case}: {}", server.sent().len());

        let refuses = Arc::new(Mutex::new(false));
        let now = refuses.clone();
        let (server, store) = refusing(act, move |_| *now.lock().unwrap()).await;
        assert_eq!(store.fetch(&collection(), &ids(10)).await.unwrap().len(), 10);
        *refuses.lock().unwrap() = true;
        let before = server.sent().len();
        let error = store.fetch(&collection(), &ids(600)).await.unwrap_err();
        assert!(!matches!(error, Error::Failing { .. } | Error::Unavailable { .. }), "{case}: {error}");
        // one that is too long is made smaller first
        let most = if words.contains("413") { 12 } else { 6 };
        assert!(server.sent().len() - before <= most, "{case}: {}", server.sent().len() - before);
    }
}

/// The only record of a collection has no neighbour there: one of another collection stands for it.
#[tokio::test]
async fn the_only_record_of_a_collection_has_its_neighbour_in_another_one() {
    let server = Scripted::chroma(|_, request| {
        let line = request.lines().next().unwrap_or_default();
        match line {
            _ if line.contains("collections_count") => answer(200, "2"),
            _ if line.contains("/collections ") => {
                let one = |name: &str| format!(r#"{{"id":"{name}","name":"{name}","metadata":null,"dimension":1}}"#);
                answer(200, &format!("[{},{}]", one("c1"), one("c2")))
            }
            _ if line.contains("/c2/get") && asked_ids(request).is_empty() => answer(200, r#"{"ids":["007"]}"#),
            _ if line.contains("/c2/get") => records_of(&asked_ids(request), 1),
            _ => answer(400, "not this one"),
        }
    })
    .await;
    let mut config = server.config();
    config.timeouts.apart = Duration::from_millis(1);
    let store = open(config).await.unwrap();
    let fetched = store.fetch(&collection(), &ids(1)).await.unwrap();
    assert_eq!(unreadable(&fetched), ["0000"]);
    // but not for many: that is the collection, or its server
    let error = store.fetch(&collection(), &ids(30)).await.unwrap_err();
    assert!(matches!(&error, Error::Failing { why, .. } if why.contains("status 400: not this one")), "{error}");
    assert!(error.to_string().contains("records fail alone"), "{error}");
}

/// A proxy that takes no long request: fewer ids are asked for, and it is remembered.
#[tokio::test]
async fn a_read_that_is_too_large_for_a_proxy_is_made_smaller_and_that_is_remembered() {
    let server = Scripted::chroma(|_, request| {
        let ids = asked_ids(request);
        if ids.len() > 30 { answer(413, "too large") } else { records_of(&ids, ids.len()) }
    })
    .await;
    let store = server.store().await;
    assert_eq!(store.fetch(&collection(), &ids(200)).await.unwrap().len(), 200);
    let before = server.sent().len();
    assert_eq!(store.fetch(&collection(), &ids(200)).await.unwrap().len(), 200);
    assert!(server.sent().len() - before <= 8, "{}", server.sent().len() - before);
}

/// One cell of another kind spoiled the whole answer.
#[tokio::test]
async fn a_cell_of_another_kind_spoils_its_own_record_and_takes_one_request() {
    let server = Scripted::chroma(|_, _| {
        answer(
            200,
            r#"{"ids":["a","b","c","d"],"embeddings":[[1.0],null,[2.0],[3.0]],"documents":["x","y",7,"z"],
                "uris":[null,null,null,null],"metadatas":[null,null,null,[1]]}"#,
        )
    })
    .await;
    let ids: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
    let fetched = server.store().await.fetch(&collection(), &ids).await.unwrap();
    assert_eq!(unreadable(&fetched), ["b", "c", "d"]);
    assert_eq!(server.sent().len(), 1);
}

/// One collection that cannot be described stopped all others.
#[tokio::test]
async fn a_collection_with_metadata_of_another_kind_is_unreadable_and_stops_no_other() {
    for metadata in ["[1]", r#"{"k":{"x":1}}"#] {
        let list = format!(
            r#"[{{"id":"1","name":"bad","metadata":{metadata}}},{{"id":"2","name":"good","metadata":{{"k":1}}}}]"#
        );
        let count = |request: &str| request.contains("collections_count");
        let server = Scripted::chroma(move |_, r| if count(r) { answer(200, "2") } else { answer(200, &list) }).await;
        let found = server.store().await.collections().await.unwrap();
        let told: Vec<(&str, bool)> = found.iter().map(|c| (&*c.name, c.unreadable.is_some())).collect();
        assert_eq!(told, [("bad", true), ("good", false)], "{metadata}");
    }
}

/// A request that says nothing of codings allows any of them.
#[tokio::test]
async fn a_compressed_answer_is_forbidden_and_named() {
    let server = Scripted::start(|_, _| Act::With(200, "content-encoding: gzip", "\u{1f}\u{8b}".to_owned())).await;
    let error = open(server.config()).await.unwrap_err().to_string();
    assert!(error.contains("compressed (\"gzip\")") && error.contains("turn that off"), "{error}");
    let sent = server.seen.lock().unwrap()[0].to_lowercase();
    assert!(sent.contains("accept-encoding: identity") && sent.contains("cache-control: no-cache"), "{sent}");
}

/// A later server than 0.4.15 that answers 422 for one record has uris all the same.
#[tokio::test]
async fn a_422_of_a_server_with_uris_speaks_of_its_record() {
    let server = Scripted::start(|_, request| match request.split_whitespace().nth(1).unwrap_or_default() {
        "/api/v1/version" => answer(200, "\"0.4.24\""),
        path if path.starts_with("/api/v2") => answer(404, "{}"),
        _ if asked_ids(request).contains(&"0003".to_owned()) => answer(422, "unprocessable"),
        _ => records_of(&asked_ids(request), asked_ids(request).len()),
    })
    .await;
    let mut config = server.config();
    config.timeouts.apart = Duration::from_millis(1);
    let store = open(config).await.unwrap();
    let fetched = store.fetch(&collection(), &ids(9)).await.unwrap();
    assert_eq!(unreadable(&fetched), ["0003"]);
    assert_eq!(store.remarks(&collection()).await.unwrap().notes, Vec::<String>::new());
}

/// A target that refuses an id was taken to hold it: the record was not sent, and counted as another client's.
#[tokio::test]
async fn an_id_that_is_refused_is_held_only_if_it_is_listed() {
    for listed in [false, true] {
        let server = Scripted::chroma(move |_, request| {
            let asked = asked_ids(request);
            match () {
                () if request.contains("/count ") => answer(200, if listed { "2" } else { "1" }),
                () if asked.contains(&"0003".to_owned()) => answer(400, "no"),
                () if asked.is_empty() => {
                    answer(200, if listed { r#"{"ids":["0001","0003"]}"# } else { r#"{"ids":["0001"]}"# })
                }
                () => records_of(&asked.into_iter().filter(|id| id == "0001").collect::<Vec<_>>(), 1),
            }
        })
        .await;
        let mut config = server.config();
        config.timeouts.apart = Duration::from_millis(1);
        let store = open(config).await.unwrap();
        // a record that was read is the neighbour
        assert_eq!(store.fetch(&collection(), &["0001".to_owned()]).await.unwrap().len(), 1);
        let mut held = store.held(&collection(), &["0001".to_owned(), "0003".to_owned()]).await.unwrap();
        held.sort();
        assert_eq!(held, if listed { vec!["0001", "0003"] } else { vec!["0001"] });
    }
}
