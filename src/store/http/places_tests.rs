//! A server that fails on its list of ids wherever some records are in it, over real sockets. No real server does so on demand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value as Json;

use super::reader::HttpStore;
use super::scripted::{Act, Scripted, answer, collection, ids};
use crate::model::Error;
use crate::store::Reader;

/// A server of so many records that does `act` with each list of ids in which one of these places is.
async fn holed(records: usize, holes: impl IntoIterator<Item = usize>, act: Act) -> (Scripted, HttpStore) {
    let holes: BTreeSet<usize> = holes.into_iter().collect();
    let server = Scripted::chroma(move |_, request| {
        if request.lines().next().is_some_and(|line| line.contains("/count")) {
            return answer(200, &records.to_string());
        }
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
        let asked: Json = serde_json::from_str(body).unwrap();
        let number = |key: &str, default: usize| asked[key].as_u64().map_or(default, |n| usize::try_from(n).unwrap());
        let from = number("offset", 0).min(records);
        let to = (from + number("limit", records)).min(records);
        if holes.range(from..to).next().is_some() {
            return act.clone();
        }
        answer(200, &serde_json::json!({"ids": ids(records)[from..to]}).to_string())
    })
    .await;
    let store = server.hasty().await;
    (server, store)
}

fn failures() -> [Act; 5] {
    [
        answer(500, r#"{"error":"InternalError","message":"page is torn"}"#),
        answer(500, ""),
        answer(400, "page is torn"),
        answer(422, "page is torn"),
        answer(200, "<html>page is torn</html>"),
    ]
}

/// A tester's finding: 120 of 130 ids could be listed by pages, and none was.
#[tokio::test]
async fn a_list_is_halved_down_to_the_places_that_the_server_fails_on() {
    for act in failures() {
        for holes in [vec![77], (40..50).collect(), vec![0, 129], (0..30).collect(), (100..130).collect()] {
            let case = format!("{act:?}, {holes:?}");
            let (server, store) = holed(130, holes.clone(), act.clone()).await;
            let (listed, counted) =
                store.listing(&collection()).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            let all = ids(130);
            let expected: Vec<&String> = (0..130).filter(|n| !holes.contains(n)).map(|n| &all[n]).collect();
            let found: Vec<String> = listed.iter().map(Result::unwrap).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{case}");
            assert_eq!(counted, expected.len() as u64, "{case}");
            let remarks = store.remarks(&collection()).await.unwrap();
            let short = remarks.short.unwrap();
            assert!(short.starts_with(&format!("{} of 130 records cannot be listed", holes.len())), "{case}: {short}");
            assert!(short.contains("page is torn") || short.contains("status 500"), "{case}: {short}");
            assert_eq!(remarks.counted, 130, "{case}");
            assert!(server.sent().len() < 220, "{case}: {}", server.sent().len());
        }
    }
}

/// The fuzzer's finding: a count at the end of its type ended the process, and a large one took its pages from memory.
#[tokio::test]
async fn a_count_that_no_collection_has_ends_the_search() {
    for counted in [u64::MAX, 1 << 60] {
        let server = Scripted::chroma(move |_, request| {
            if request.lines().next().is_some_and(|line| line.contains("/count")) {
                return answer(200, &counted.to_string());
            }
            let asked: Json = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap_or_default()).unwrap();
            match (asked["offset"].as_u64(), asked["limit"].as_u64()) {
                (from, Some(limit)) => {
                    let from = from.unwrap_or_default().min(130);
                    let to = from.saturating_add(limit).min(130);
                    let all = ids(130);
                    let part = &all[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()];
                    answer(200, &serde_json::json!({ "ids": part }).to_string())
                }
                _ => answer(500, "page is torn"),
            }
        })
        .await;
        let store = server.hasty().await;
        let (listed, number) = store.listing(&collection()).await.unwrap();
        assert_eq!((listed.len(), number), (130, 130), "{counted}");
        let short = store.remarks(&collection()).await.unwrap().short.unwrap();
        assert!(short.contains(&format!("of {counted} records cannot be listed")), "{short}");
    }
}

#[tokio::test]
async fn a_server_that_lists_nothing_is_told_as_it_is() {
    for act in failures() {
        let case = format!("{act:?}");
        let (server, store) = holed(130, 0..130, act.clone()).await;
        let error = store.listing(&collection()).await.unwrap_err();
        let is_own = matches!(act, Act::Answer(500, _));
        assert_eq!(matches!(error, Error::Failing { .. }), is_own, "{case}: {error}");
        assert!(server.sent().len() < 150, "{case}: {}", server.sent().len());
        let remarks = store.remarks(&collection()).await.unwrap();
        assert_eq!((remarks.short, remarks.counted), (None, 0), "{case}");
    }
}

/// A failure that passes leaves no remark, and nothing out.
#[tokio::test]
async fn a_list_that_fails_for_a_while_is_whole_in_the_end() {
    for failures in [1, 2, 3, 8] {
        let left = Arc::new(AtomicUsize::new(failures));
        let server = Scripted::chroma(move |_, request| {
            if request.contains("/count") {
                return answer(200, "40");
            }
            if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                return answer(500, "for a while");
            }
            let body: Json = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
            let number =
                |key: &str, default: usize| body[key].as_u64().map_or(default, |n| usize::try_from(n).unwrap());
            let from = number("offset", 0).min(40);
            answer(200, &serde_json::json!({"ids": ids(40)[from..(from + number("limit", 40)).min(40)]}).to_string())
        })
        .await;
        let store = server.hasty().await;
        let (listed, counted) = store.listing(&collection()).await.unwrap();
        assert_eq!((listed.len(), counted), (40, 40), "{failures}");
        assert_eq!(store.remarks(&collection()).await.unwrap().short, None, "{failures}");
    }
}
