//! What a store holds and what is wrong with it, for a person: reads every record once.
//! Damage is an answer here, never an error.

use std::io;
use std::path::Path;

use super::super::Reader;
use super::reader::LocalStore;
use crate::model::{Collection, Error, Fetched, Origin, Result};
use crate::scratch;

/// Records read at once.
const WINDOW: usize = 1000;
/// Unreadable records that are named.
const NAMED: usize = 20;

/// What was found of one collection.
#[derive(Clone, Debug)]
pub struct Health {
    /// The collection.
    pub collection: Collection,
    /// Records by the store's own count.
    pub count: u64,
    /// Vectors read from the HNSW files.
    pub from_index: u64,
    /// Vectors read from the write-ahead log.
    pub from_log: u64,
    /// Records that cannot be read.
    pub unreadable: u64,
    /// What is wrong, in sentences; at most 20 records are named.
    pub problems: Vec<String>,
}

/// Reads every collection of every tenant and database.
///
/// # Errors
/// When the store as a whole cannot be read.
pub async fn inspect(path: &Path) -> Result<Vec<Health>> {
    let store = LocalStore::open(path, "", "").await?;
    let mut found = Vec::new();
    for collection in store.everything().await? {
        found.push(health(&store, collection).await?);
    }
    Ok(found)
}

async fn health(store: &LocalStore, collection: Collection) -> Result<Health> {
    let count = store.count(&collection).await?;
    let mut health = Health { collection, count, from_index: 0, from_log: 0, unreadable: 0, problems: Vec::new() };
    let ids = match store.ids(&health.collection).await {
        Ok(ids) => ids,
        Err(error) => return damaged(health, error),
    };
    let mut all = ids.iter();
    loop {
        let window: io::Result<Vec<String>> = all.by_ref().take(WINDOW).collect();
        let window = window.map_err(scratch::failed)?;
        if window.is_empty() {
            break;
        }
        match store.fetch(&health.collection, &window).await {
            Ok(fetched) => health.take(&fetched),
            Err(error) => return damaged(health, error),
        }
    }
    let remarks = store.remarks(&health.collection).await?;
    health.problems.extend(remarks.damage.into_iter().chain(remarks.refusal));
    if ids.len() as u64 != health.count {
        health.problems.push(format!("{} ids are listed, the count is {}", ids.len(), health.count));
    }
    Ok(health)
}

fn damaged(mut health: Health, error: Error) -> Result<Health> {
    match error {
        Error::Damaged { .. } => {
            health.problems.push(error.to_string());
            Ok(health)
        }
        other => Err(other),
    }
}

impl Health {
    fn take(&mut self, fetched: &[Fetched]) {
        for answer in fetched {
            match answer {
                Fetched::Record { origin: Origin::Hnsw, .. } => self.from_index += 1,
                Fetched::Record { .. } => self.from_log += 1,
                Fetched::Unreadable { id, why } => {
                    self.unreadable += 1;
                    if self.problems.len() < NAMED {
                        self.problems.push(format!("record {id:?}: {why}"));
                    }
                }
            }
        }
    }
}
