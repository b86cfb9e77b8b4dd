//! Answers that a server must not give, over real sockets: too few, too many, others, endless, with a secret in them.
//! Sends nothing to a real server; those are in `tests/`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;

use super::auth::Auth;
use super::reader::{HttpStore, open};
use super::scripted::{Act, ONE, Scripted, answer, asked_ids, collection, ids, records_of, unreadable};
use crate::model::{Distance, Error, Fetched, Glob};
use crate::store::Reader;

/// What of a `get` for ids a request asks for: from which one on, and at most how many.
pub(super) fn page(request: &str) -> Option<(usize, usize)> {
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

#[tokio::test]
async fn an_answer_with_other_records_is_asked_for_once_more_and_then_an_error() {
    let server = Scripted::chroma(move |_, _| answer(200, ONE)).await;
    let error = server.store().await.fetch(&collection(), &["a".into()]).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    // together, alone, and in search of a record that comes
    assert!(server.sent().len() <= 12, "{:?}", server.sent());
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

/// Each collection's query was waited for twice, for a minute each, two minutes in all.
#[tokio::test]
async fn a_server_that_answers_no_query_is_asked_twice_by_each_probe_under_way_and_then_no_more() {
    let names = &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let server = database(names, |_| Act::Hang).await;
    let store = server.store().await;
    let collections = store.collections().await.unwrap();
    assert_eq!(collections.len(), names.len());
    let queries = server.sent().into_iter().filter(|line| line.contains("/query")).count();
    assert!(queries <= 8, "four probes at once, and {queries} queries");
    let notes = |at: usize| store.remarks(&collections[at]);
    assert!(notes(0).await.unwrap().notes[0].contains("no answer within"), "{:?}", notes(0).await);
    assert!(notes(11).await.unwrap().notes[0].contains("queries of other collections"), "{:?}", notes(11).await);
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

/// A server that fails on what `is_bad` says of the number of its requests and the ids.
async fn failing(is_bad: impl Fn(usize, &[String]) -> bool + Send + Sync + 'static) -> (Scripted, HttpStore) {
    let server = Scripted::chroma(move |n, request| {
        let ids = asked_ids(request);
        if is_bad(n, &ids) { answer(500, r#"{"error":"IndexError('boom')"}"#) } else { records_of(&ids, ids.len()) }
    })
    .await;
    let store = server.hasty().await;
    (server, store)
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
