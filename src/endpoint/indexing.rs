//! Has a server build the index of a collection that was filled by its files: it does so at the first search, and answers when
//! it is done. No time is too long for that, and the request is never repeated; a server that ends, or is silent to everybody
//! else, is waited for no longer.

use std::time::Duration;

use crate::model::{Collection, Error, Result};
use crate::store::Reader as _;
use crate::store::http::{self, ServerConfig};

/// As good as for ever.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How a server's life is watched meanwhile.
const WATCH: Watch = Watch { every: Duration::from_secs(15), silent: Duration::from_secs(300) };

#[derive(Clone, Copy)]
struct Watch {
    /// From one look to the next.
    every: Duration,
    /// How long it may be silent.
    silent: Duration,
}

/// Waits until the index is built, of vectors with so many components; `ended`: tells when the server's process has ended, where
/// that can be seen.
pub(super) async fn build(
    server: ServerConfig,
    ended: impl Future<Output = Error>,
    collection: &Collection,
    dimension: usize,
) -> Result<()> {
    watched(server, ended, collection, dimension, WATCH).await
}

async fn watched(
    server: ServerConfig,
    ended: impl Future<Output = Error>,
    collection: &Collection,
    dimension: usize,
    watch: Watch,
) -> Result<()> {
    let mut beat = server.clone();
    beat.timeouts.start = watch.silent;
    let mut patient = server;
    patient.database.clone_from(&collection.database);
    patient.timeouts.request = FOR_EVER;
    patient.timeouts.retry = Duration::ZERO;
    let store = http::open(patient).await?;
    let mut asked = vec![0.0; dimension];
    if let Some(first) = asked.first_mut() {
        *first = 1.0;
    }
    let answer = async {
        let searches = store.searches().ok_or_else(|| nothing(collection))?;
        let found = searches.nearest(collection, &[asked.as_slice()], 1).await.map_err(|e| failed(collection, e))?;
        if found.iter().all(Vec::is_empty) { Err(nothing(collection)) } else { Ok(()) }
    };
    let silent = async {
        loop {
            tokio::time::sleep(watch.every).await;
            if let Err(error) = http::open(beat.clone()).await {
                return error;
            }
        }
    };
    tokio::select! {
        built = answer => built,
        error = silent => Err(error),
        error = ended => Err(error),
    }
}

fn nothing(collection: &Collection) -> Error {
    misfilled(collection, "a search finds none of the records that were written into its files".to_owned())
}

/// A server that answers everything else and fails on the search that builds the index fails each time: no rerun helps.
fn failed(collection: &Collection, error: Error) -> Error {
    match error {
        Error::Failing { why, .. } => {
            misfilled(collection, format!("its first search, which builds the index, fails: {why}"))
        }
        other => other,
    }
}

fn misfilled(collection: &Collection, why: String) -> Error {
    Error::Misfilled {
        store: format!("the Chroma server of collection {:?}", collection.name),
        why,
        remedy: "remove the target's folder and use --fill engine (fill: Engine)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::http::scripted::{Act, Scripted, answer, collection};

    const FOUND: &str = r#"{"ids": [["a"]], "distances": [[0.5]]}"#;
    const HASTY: Watch = Watch { every: Duration::from_millis(20), silent: Duration::from_millis(300) };

    async fn built(server: &Scripted, ended: impl Future<Output = Error>) -> Result<()> {
        watched(server.config(), ended, &collection(), 3, HASTY).await
    }

    fn searches(server: &Scripted) -> usize {
        server.sent().iter().filter(|line| line.contains("/query")).count()
    }

    #[tokio::test]
    async fn an_answer_is_waited_for_beyond_every_timeout() {
        let late = Duration::from_secs(2);
        let server = Scripted::chroma(move |_, _| Act::Late(late, FOUND.to_owned())).await;
        assert!(server.config().timeouts.request * 3 < late);
        built(&server, pending()).await.unwrap();
        assert_eq!(searches(&server), 1);
    }

    #[tokio::test]
    async fn what_fails_is_asked_once_and_not_tried_again_by_a_rerun() {
        let server = Scripted::chroma(|_, _| answer(500, "no such id")).await;
        let told = built(&server, pending()).await.unwrap_err();
        assert!(!told.is_transient() && told.to_string().contains("no such id"), "{told}");
        assert_eq!(searches(&server), 1);
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_a_matter_of_a_rerun() {
        let server = Scripted::chroma(|_, _| Act::Close).await;
        let told = built(&server, pending()).await.unwrap_err();
        assert!(told.is_transient(), "{told}");
        assert_eq!(searches(&server), 1);
    }

    #[tokio::test]
    async fn a_search_that_finds_nothing_is_no_index() {
        let server = Scripted::chroma(|_, _| answer(200, r#"{"ids": [[]], "distances": [[]]}"#)).await;
        let told = built(&server, pending()).await.unwrap_err();
        assert!(told.to_string().contains("finds none of the records"), "{told}");
    }

    #[tokio::test]
    async fn a_server_that_is_silent_to_everybody_is_given_up() {
        let is_silent = AtomicBool::new(false);
        let server = Scripted::start(move |_, request| {
            let path = request.split_whitespace().nth(1).unwrap_or_default();
            if path.ends_with("/query") {
                is_silent.store(true, Ordering::Relaxed);
            }
            match path {
                _ if is_silent.load(Ordering::Relaxed) => Act::Hang,
                "/api/v2/version" => answer(200, "\"1.0.0\""),
                "/api/v2/pre-flight-checks" => answer(200, r#"{"max_batch_size":9,"supports_base64_encoding":true}"#),
                _ => answer(404, ""),
            }
        })
        .await;
        let told = built(&server, pending()).await.unwrap_err();
        assert!(told.is_transient(), "{told}");
        assert_eq!(searches(&server), 1);
    }

    #[tokio::test]
    async fn a_process_that_has_ended_is_waited_for_no_longer() {
        let server = Scripted::chroma(|_, _| Act::Hang).await;
        let (store, attempt, why) = ("server".to_owned(), "an index".to_owned(), "it was killed".to_owned());
        let ended = async { Error::Unavailable { store, attempt, why } };
        let told = built(&server, ended).await.unwrap_err();
        assert!(told.to_string().contains("it was killed"), "{told}");
    }
}
