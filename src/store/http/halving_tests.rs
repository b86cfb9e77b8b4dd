//! What becomes of records that a server fails on in whole ranges. In the mock, where requests can be counted and a server gets
//! worse at a moment of the test's choice.

use super::answer_tests::page;
use super::reader::HttpStore;
use super::scripted::{Scripted, answer, asked_ids, collection, ids, records_of, unreadable};
use crate::model::{Error, Fetched};
use crate::store::Reader as _;

/// A server that fails on the vectors of these ids, and answers for everything else of them.
async fn without_vectors(is_bad: impl Fn(usize, &str) -> bool + Send + Sync + 'static) -> (Scripted, HttpStore) {
    let server = Scripted::chroma(move |n, request| {
        if request.contains("/count") {
            return answer(200, "600");
        }
        if let Some((offset, _)) = page(request) {
            return records_of(&[format!("{offset:04}")], 1);
        }
        let ids = asked_ids(request);
        let fails = request.contains("\"embeddings\"") && ids.iter().any(|id| is_bad(n, id));
        if fails { answer(500, r#"{"error":"Error finding id"}"#) } else { records_of(&ids, ids.len()) }
    })
    .await;
    let store = server.hasty().await;
    (server, store)
}

/// 500 vectors were lost on end, and the run called that the server's trouble.
#[tokio::test]
async fn many_records_on_end_are_unreadable_where_the_server_answers_but_for_their_vectors() {
    let (server, store) = without_vectors(|_, id| id >= "0100").await;
    let fetched = store.fetch(&collection(), &ids(600)).await.unwrap();
    assert_eq!((fetched.len(), unreadable(&fetched).len()), (600, 500));
    assert!(unreadable(&fetched).iter().all(|id| *id >= "0100"));
    let why = |one: &Fetched| matches!(one, Fetched::Unreadable { why, .. } if why.contains("fails on its vector"));
    assert!(fetched.iter().filter(|one| unreadable(std::slice::from_ref(*one)).len() == 1).all(why));
    let requests = server.sent().len();
    assert!(requests < 1600, "three requests a record, and few beside: {requests}");
    let again = store.fetch(&collection(), &ids(600)).await.unwrap();
    assert_eq!(unreadable(&again).len(), 500);
    assert!(server.sent().len() - requests < 510, "{}", server.sent().len() - requests);
}

/// The first window has eight ids, all of them in the range that was lost, and nothing was read before.
#[tokio::test]
async fn a_lost_range_that_is_read_first_is_unreadable_where_any_other_record_comes() {
    for (lost, is_server) in [(300, false), (600, true)] {
        let (server, store) = without_vectors(move |_, id| id < &*format!("{lost:04}")).await;
        match store.fetch(&collection(), &ids(8)).await {
            Ok(fetched) => assert!(!is_server && unreadable(&fetched).len() == 8, "{lost}"),
            Err(error) => assert!(is_server && matches!(error, Error::Failing { .. }), "{lost}: {error}"),
        }
        assert!(is_server || server.sent().len() < 60, "{}", server.sent().len());
    }
}

#[tokio::test]
async fn many_records_on_end_are_the_server_once_no_neighbour_comes() {
    // it gives records without vectors all the time, and no vector at all after a while
    let (server, store) = without_vectors(|n, id| id >= "0100" || n > 60).await;
    let error = store.fetch(&collection(), &ids(600)).await.unwrap_err();
    assert!(matches!(&error, Error::Failing { .. }), "{error}");
    assert!(server.sent().len() < 1500, "{}", server.sent().len());
}
