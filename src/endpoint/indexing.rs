//! Has a server build the index of a collection that was filled by its files: it does so at the first search, and answers when
//! it is done. No time is too long for that, and the request is never repeated; a server that ends, or is silent to everybody
//! else, is waited for no longer.

use std::time::Duration;

use crate::model::{Collection, Error, Result};
use crate::store::Reader as _;
use crate::store::http::{self, ServerConfig};

/// As good as for ever.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// From one look at the server's life to the next.
const BEAT: Duration = Duration::from_secs(15);
/// How long it may be silent meanwhile.
const SILENT: Duration = Duration::from_secs(300);

/// Waits until the index is built, of vectors with so many components; `ended`: tells when the server's process has ended, where
/// that can be seen.
pub(super) async fn build(
    server: ServerConfig,
    ended: impl Future<Output = Error>,
    collection: &Collection,
    dimension: usize,
) -> Result<()> {
    let mut beat = server.clone();
    beat.timeouts.start = SILENT;
    let mut patient = server;
    patient.database.clone_from(&collection.database);
    patient.timeouts.request = FOR_EVER;
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
            tokio::time::sleep(BEAT).await;
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
    use super::*;
    use crate::model::Distance;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_server_that_fails_on_the_index_alone_is_not_tried_again() {
        let collection =
            MemoryStore::new("store").with("memories", Distance::L2, []).collections().await.unwrap().remove(0);
        let (store, attempt, why) = ("server".to_owned(), "a search".to_owned(), "500: no such id".to_owned());
        let failing = Error::Failing { store: store.clone(), attempt: attempt.clone(), why: why.clone() };
        let told = failed(&collection, failing);
        assert!(!told.is_transient(), "{told:?}");
        assert!(told.to_string().contains("500: no such id") && told.to_string().contains("\"memories\""), "{told}");
        let down = Error::Unavailable { store, attempt, why };
        assert!(failed(&collection, down).is_transient());
    }
}
