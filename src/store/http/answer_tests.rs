//! Answers that a server must not give, over real sockets: too few, too many, others, endless, with a secret in them.
//! Sends nothing to a real server; those are in `tests/`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;

use super::auth::Auth;
use super::reader::{HttpStore, open};
use super::scripted::{Act, Scripted, answer, collection};
use crate::model::{Distance, Error, Fetched, Glob};
use crate::store::Reader;

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
    assert_eq!(store.remarks(&collection()).await.unwrap().short, None);
}

#[tokio::test]
async fn a_list_that_stays_shorter_than_the_count_is_said() {
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
    let said = store.remarks(&collection()).await.unwrap().short.unwrap_or_default();
    assert!(said.contains("lists 2 ids but counts 3 records"), "{said}");
    *short.lock().unwrap() = false;
    assert_eq!(store.ids(&collection()).await.unwrap().len(), 3);
    assert_eq!(store.remarks(&collection()).await.unwrap().short, None);
}

const ONE: &str = r#"{"ids":["b"],"embeddings":[[1.0]],"documents":[null],"uris":[null],"metadatas":[null]}"#;

#[tokio::test]
async fn an_answer_with_other_records_is_asked_for_once_more_and_then_an_error() {
    let server = Scripted::chroma(move |_, _| answer(200, ONE)).await;
    let error = server.store().await.fetch(&collection(), &["a".into()]).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    // together, alone, and in search of a record that comes
    assert!(server.sent().len() <= 8, "{:?}", server.sent());
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
    let store = server.store().await.probing_only(vec![Glob::exactly("mine")]);
    assert_eq!(store.collections().await.unwrap().len(), 2);
    let queries: Vec<String> = server.sent().into_iter().filter(|line| line.contains("/query")).collect();
    assert!(!queries.is_empty() && queries.iter().all(|line| line.contains("id-mine")), "{queries:?}");
    let server = database(&["mine", "other"], |_| answer(200, r#"{"distances":[[]]}"#)).await;
    assert_eq!(server.store().await.uuids().await.unwrap().len(), 2);
    assert!(!server.sent().iter().any(|line| line.contains("/query")));
}

/// Ids that a request asks for.
fn asked_ids(request: &str) -> Vec<String> {
    let body = request.split("\r\n\r\n").nth(1).and_then(|body| serde_json::from_str(body).ok());
    let ids = body.as_ref().and_then(|body: &serde_json::Value| body["ids"].as_array());
    ids.map(|ids| ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()).unwrap_or_default()
}

fn records_of(ids: &[String], vectors: usize) -> Act {
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

/// A server that fails on what `is_bad` says of the number of its requests and the ids.
async fn failing(is_bad: impl Fn(usize, &[String]) -> bool + Send + Sync + 'static) -> (Scripted, HttpStore) {
    let server = Scripted::chroma(move |n, request| {
        let ids = asked_ids(request);
        if is_bad(n, &ids) { answer(500, r#"{"error":"IndexError('boom')"}"#) } else { records_of(&ids, ids.len()) }
    })
    .await;
    let mut config = server.config();
    config.timeouts.request = Duration::from_secs(5);
    config.timeouts.retry = Duration::from_millis(300);
    config.timeouts.apart = Duration::from_millis(1);
    let store = open(config).await.unwrap();
    (server, store)
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:04}")).collect()
}

fn unreadable(fetched: &[Fetched]) -> Vec<&str> {
    fetched.iter().filter(|f| matches!(f, Fetched::Unreadable { .. })).map(Fetched::id).collect()
}

/// In the mock, for no real server fails on a record and then answers for it.
#[tokio::test]
async fn a_record_that_a_server_fails_on_three_times_is_unreadable_and_one_that_comes_then_is_not() {
    let tries = Mutex::new(0);
    let (server, store) = failing(move |_, ids| {
        let alone = ids.len() == 1 && ids[0] == "0005";
        if alone {
            *tries.lock().unwrap() += 1;
        }
        ids.contains(&"0003".to_owned()) || (ids.contains(&"0005".to_owned()) && *tries.lock().unwrap() < 3)
    })
    .await;
    let fetched = store.fetch(&collection(), &ids(20)).await.unwrap();
    assert_eq!((fetched.len(), unreadable(&fetched)), (20, vec!["0003"]));
    assert!(server.sent().len() < 40, "{}", server.sent().len());
    // it is asked for apart from now on, and told again
    let before = server.sent().len();
    let fetched = store.fetch(&collection(), &ids(20)).await.unwrap();
    assert_eq!(unreadable(&fetched), ["0003"]);
    assert!(server.sent().len() - before <= 6, "{}", server.sent().len() - before);
}

#[tokio::test]
async fn a_server_that_fails_on_everything_is_in_trouble_and_its_address_is_right() {
    let (_, store) = failing(|_, _| true).await;
    let error = store.fetch(&collection(), &ids(50)).await.unwrap_err();
    assert!(matches!(&error, Error::Failing { .. }) && error.is_transient(), "{error}");
    let text = error.to_string();
    assert!(text.contains("IndexError('boom')") && !text.contains("check its address"), "{text}");
}

#[tokio::test]
async fn twenty_records_on_end_are_the_server_and_nineteen_are_not() {
    for (bad, is_server) in [(19, false), (20, true)] {
        let (_, store) = failing(move |_, ids| ids.iter().any(|id| *id < format!("{bad:04}"))).await;
        let fetched = store.fetch(&collection(), &ids(40)).await;
        match fetched {
            Ok(fetched) => assert!(!is_server && unreadable(&fetched).len() == bad, "{bad}"),
            Err(error) => assert!(is_server && matches!(error, Error::Failing { .. }), "{bad}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_answering_in_the_middle_of_a_search_says_nothing_of_records() {
    // the neighbour fails, too, once the halving is done
    let (_, store) = failing(|n, ids| n > 12 || ids.contains(&"0003".to_owned())).await;
    let error = store.fetch(&collection(), &ids(8)).await.unwrap_err();
    assert!(matches!(error, Error::Failing { .. }), "{error}");
}

#[tokio::test]
async fn other_trouble_than_a_servers_own_error_never_speaks_of_a_record() {
    for (status, body) in [(429, "later"), (502, "bad gateway"), (503, "starting"), (504, "late"), (408, "late")] {
        let server = Scripted::chroma(move |_, request| {
            let ids = asked_ids(request);
            if ids.contains(&"0003".to_owned()) { answer(status, body) } else { records_of(&ids, ids.len()) }
        })
        .await;
        let mut config = server.config();
        config.timeouts.retry = Duration::from_millis(200);
        let error = open(config).await.unwrap().fetch(&collection(), &ids(8)).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{status}: {error}");
    }
}

/// v057: Chroma 0.5.7 answered 7 ids with 6 embeddings.
#[tokio::test]
async fn v057_an_answer_with_fewer_vectors_than_ids_is_halved_down_to_the_record() {
    let server = Scripted::chroma(move |_, request| {
        let ids = asked_ids(request);
        let lost = ids.iter().filter(|id| *id == "0003").count();
        records_of(&ids, ids.len() - lost)
    })
    .await;
    let mut config = server.config();
    config.timeouts.apart = Duration::from_millis(1);
    let fetched = open(config).await.unwrap().fetch(&collection(), &ids(7)).await.unwrap();
    assert_eq!((fetched.len(), unreadable(&fetched)), (7, vec!["0003"]));
}

#[tokio::test]
async fn a_search_that_takes_too_much_leaves_the_rest_unread_and_a_target_is_not_touched() {
    let is_bad = |ids: &[String]| ids.iter().any(|id| id.ends_with('7'));
    let (_, store) = failing(move |_, ids| is_bad(ids)).await;
    let fetched = store.fetch(&collection(), &ids(3000)).await.unwrap();
    assert_eq!(fetched.len(), 3000);
    let unread = store.remarks(&collection()).await.unwrap().unread.unwrap();
    assert!(unread.contains("records were not read") && unread.contains("after 200"), "{unread}");
    let writer = store.into_writer().await.unwrap();
    let error = writer.fetch(&collection(), &ids(30)).await.unwrap_err();
    assert!(matches!(error, Error::Failing { .. }), "{error}");
}

/// v0416: a mock, for 0.4.15, the last one without uris, does not run with the client libraries of today.
#[tokio::test]
async fn v0416_a_server_without_uris_is_read_without_and_that_is_said() {
    let server = Scripted::start(|_, request| match request.split_whitespace().nth(1).unwrap_or_default() {
        "/api/v1/version" => answer(200, "\"0.4.15\""),
        path if path.starts_with("/api/v2") => answer(404, "{}"),
        _ if request.contains("\"uris\"") => answer(422, r#"{"detail":"unexpected value"}"#),
        _ => answer(200, r#"{"ids":["a"],"embeddings":[[1.0]],"documents":["x"],"metadatas":[null],"data":null}"#),
    })
    .await;
    let store = server.store().await;
    for _ in 0..2 {
        let fetched = store.fetch(&collection(), &["a".to_owned()]).await.unwrap();
        assert!(matches!(&fetched[0], Fetched::Record { record, .. } if record.uri.is_none()), "{fetched:?}");
    }
    assert_eq!(server.sent().len(), 3);
    let notes = store.remarks(&collection()).await.unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("no uris"), "{notes:?}");
}

/// A server that does this with every `get` for one of the ids that `is_bad` names, and answers for all others.
async fn refusing(act: Act, is_bad: impl Fn(&str) -> bool + Send + Sync + 'static) -> (Scripted, HttpStore) {
    let server = Scripted::chroma(move |_, request| {
        let ids = asked_ids(request);
        let fails = !ids.is_empty() && ids.iter().any(|id| is_bad(id));
        if fails { act.clone() } else { records_of(&ids, ids.len()) }
    })
    .await;
    let mut config = server.config();
    config.timeouts.request = Duration::from_secs(5);
    config.timeouts.retry = Duration::from_millis(300);
    config.timeouts.apart = Duration::from_millis(1);
    let store = open(config).await.unwrap();
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
            _ if line.contains("/c2/get") && asked_ids(request).is_empty() => ids_answer(7..8),
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
    assert!(matches!(error, Error::Rejected { status: 400, .. }), "{error}");
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
    assert!(sent.contains("accept-encoding: identity"), "{sent}");
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
