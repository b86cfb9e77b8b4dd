//! A store in memory with fault points, for tests of the engine. Behaves like Chroma where the engine could tell: adds of
//! a known id are ignored, updates merge metadata and keep an absent document.

mod writes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;

use super::{Budget, Reader, Remarks};
use crate::model::{Collection, Distance, Error, Fetched, Metadata, Origin, Record, Result};
use crate::scratch::SortedIds;

/// What one write does instead of going well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is applied, and the outcome is uncertain.
    Before,
    /// All is applied, and the outcome is uncertain.
    After,
    /// The first record is applied, and the outcome is uncertain.
    Half,
    /// A 400.
    Reject,
    /// Told to come back later once; then it goes well.
    Busy,
}

/// One record's share of a write.
type Change<'a> = Box<dyn FnOnce(&mut BTreeMap<String, Record>) + 'a>;

type Hook = Box<dyn FnMut(&mut State) + Send>;

/// What the store holds; hooks change it between calls.
#[derive(Default)]
pub(crate) struct State {
    /// Collections with their records.
    pub(crate) collections: BTreeMap<String, (Collection, BTreeMap<String, Record>)>,
    /// Ids without content.
    pub(crate) unreadable: Vec<String>,
    /// So many of them it still searches for: then nothing of an answer with one comes.
    pub(crate) patience: Option<usize>,
    /// Ids that no listing names.
    pub(crate) unlisted: Vec<String>,
    /// Ids that are listed and never answered.
    pub(crate) silent: Vec<String>,
    /// Records of one answer, at most.
    pub(crate) cap: Option<usize>,
    /// Answers only for one id at once.
    pub(crate) only_alone: bool,
    /// Counts what it lists.
    pub(crate) counts_listed: bool,
    /// Ids of one listing, at most.
    pub(crate) listing_cap: Option<usize>,
    /// So many listings of collections are empty.
    pub(crate) hidden_listings: usize,
    /// Names of collections on which every count and listing fails.
    pub(crate) failing: Vec<String>,
    /// Names of collections of which no record can be read.
    pub(crate) broken: Vec<String>,
    /// Ids that no write may have, and the status that says so.
    pub(crate) refuses: (u16, Vec<String>),
    /// What is said of the collections beside their records.
    pub(crate) remarks: Remarks,
    /// What the next writes do.
    pub(crate) faults: VecDeque<Fault>,
    /// Every write, as "add 3".
    pub(crate) log: Vec<String>,
    /// What its files would say of their state; None: it is a server.
    pub(crate) generation: Option<u64>,
    /// How often it has told to come back later.
    pub(crate) pushed_back: u64,
    /// Adds under way, and the most that there were at once.
    pub(crate) under_way: (usize, usize),
    /// Bytes of the largest body that it takes; None: 1 MiB.
    pub(crate) max_body: Option<usize>,
    /// Bytes of documents in the largest answer with more than one record.
    pub(crate) largest: usize,
}

/// The store.
pub(crate) struct MemoryStore {
    label: String,
    state: Mutex<State>,
    after_write: Mutex<Option<Hook>>,
    before_fetch: Mutex<Option<Hook>>,
    before_write: Mutex<Option<Hook>>,
    before_list: Mutex<Option<Hook>>,
    before_count: Mutex<Option<Hook>>,
}

/// A collection as Chroma 1.x describes one.
pub(crate) fn collection(store: &str, name: &str, distance: Distance, dimension: u32) -> Collection {
    Collection {
        id: format!("{store}/{name}"),
        name: name.to_owned(),
        tenant: "default_tenant".to_owned(),
        database: "default_database".to_owned(),
        dimension: Some(dimension),
        distance,
        metadata: Metadata::new(),
        configuration: None,
        schema: None,
        unreadable: None,
    }
}

fn document(fetched: &Fetched) -> usize {
    match fetched {
        Fetched::Record { record, .. } => record.document.as_ref().map_or(0, String::len),
        Fetched::Unreadable { .. } => 0,
    }
}

impl MemoryStore {
    pub(crate) fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            state: Mutex::default(),
            after_write: Mutex::default(),
            before_fetch: Mutex::default(),
            before_write: Mutex::default(),
            before_list: Mutex::default(),
            before_count: Mutex::default(),
        }
    }

    pub(crate) fn with(self, name: &str, distance: Distance, records: impl IntoIterator<Item = Record>) -> Self {
        let records: BTreeMap<String, Record> = records.into_iter().map(|r| (r.id.clone(), r)).collect();
        let dimension = records.values().next().map_or(1, |r| r.embedding.len());
        let described = collection(&self.label, name, distance, u32::try_from(dimension).unwrap());
        self.state().collections.insert(name.to_owned(), (described, records));
        self
    }

    /// As [`MemoryStore::with`], in a database; the state's key is then `database/name`.
    pub(crate) fn within(self, database: &str, name: &str, records: impl IntoIterator<Item = Record>) -> Self {
        let key = format!("{database}/{name}");
        let store = self.with(&key, Distance::L2, records);
        if let Some((described, _)) = store.state().collections.get_mut(&key) {
            (described.database, described.name) = (database.to_owned(), name.to_owned());
        }
        store
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn records(&self, name: &str) -> BTreeMap<String, Record> {
        self.state().collections.get(name).map(|(_, records)| records.clone()).unwrap_or_default()
    }

    /// Runs after every write.
    pub(crate) fn after_write(&self, hook: impl FnMut(&mut State) + Send + 'static) {
        *self.after_write.lock().unwrap() = Some(Box::new(hook));
    }

    /// Runs before every fetch.
    pub(crate) fn before_fetch(&self, hook: impl FnMut(&mut State) + Send + 'static) {
        *self.before_fetch.lock().unwrap() = Some(Box::new(hook));
    }

    /// Runs before every write, when it is on its way already.
    pub(crate) fn before_write(&self, hook: impl FnMut(&mut State) + Send + 'static) {
        *self.before_write.lock().unwrap() = Some(Box::new(hook));
    }

    /// Runs before every count.
    pub(crate) fn before_count(&self, hook: impl FnMut(&mut State) + Send + 'static) {
        *self.before_count.lock().unwrap() = Some(Box::new(hook));
    }

    /// Runs before every listing of ids.
    pub(crate) fn before_list(&self, hook: impl FnMut(&mut State) + Send + 'static) {
        *self.before_list.lock().unwrap() = Some(Box::new(hook));
    }

    fn refuse_failing(&self, state: &State, collection: &Collection) -> Result<()> {
        if !state.failing.contains(&collection.name) {
            return Ok(());
        }
        let (attempt, why) = (format!("a listing of {}", collection.name), "made by a test".to_owned());
        Err(Error::Failing { store: self.label.clone(), attempt, why })
    }

    /// What is said of a write with one of the ids that are refused.
    fn refusal(&self, attempt: &str, mut ids: impl Iterator<Item = String>) -> Result<()> {
        let state = self.state();
        let (status, refused) = &state.refuses;
        let Some(id) = ids.find(|id| refused.contains(id)) else { return Ok(()) };
        let (store, attempt, status) = (self.label.clone(), attempt.to_owned(), *status);
        Err(match status {
            403 => Error::Denied { store, attempt, status, words: format!("not {id:?}"), hint: "a hint".to_owned() },
            404 => Error::NotFound { store, what: format!("{id:?}"), remedy: "made by a test".to_owned() },
            _ => Error::Rejected { store, attempt, status, body: format!("not {id:?}") },
        })
    }

    fn write(&self, id: &str, attempt: &str, mut one: Vec<Change<'_>>) -> Result<()> {
        let mut state = self.state();
        if let Some(hook) = self.before_write.lock().unwrap().as_mut() {
            hook(&mut state);
        }
        state.log.push(format!("{attempt} {}", one.len()));
        let fault = state.faults.pop_front();
        match fault {
            Some(Fault::Before | Fault::Reject) => one.clear(),
            Some(Fault::Half) => one.truncate(1),
            Some(Fault::Busy) => state.pushed_back += 1,
            Some(Fault::After) | None => {}
        }
        let Some((_, records)) = state.collections.values_mut().find(|(c, _)| c.id == id) else {
            let (store, what) = (self.label.clone(), format!("collection {id}"));
            return Err(Error::NotFound { store, what, remedy: "made by a test".to_owned() });
        };
        for apply in one {
            apply(records);
        }
        if let Some(hook) = self.after_write.lock().unwrap().as_mut() {
            hook(&mut state);
        }
        let (store, attempt, why) = (self.label.clone(), attempt.to_owned(), "made by a test".to_owned());
        match fault {
            None | Some(Fault::Busy) => Ok(()),
            Some(Fault::Reject) => Err(Error::Rejected { store, attempt, status: 400, body: why }),
            Some(_) => Err(Error::Uncertain { store, attempt, why }),
        }
    }
}

#[async_trait]
impl Reader for MemoryStore {
    fn name(&self) -> String {
        self.label.clone()
    }

    fn version(&self) -> String {
        "memory".to_owned()
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        let mut state = self.state();
        if state.hidden_listings > 0 {
            state.hidden_listings -= 1;
            return Ok(Vec::new());
        }
        Ok(state.collections.values().map(|(c, _)| c.clone()).collect())
    }

    async fn databases(&self) -> Result<Option<Vec<String>>> {
        let state = self.state();
        let names: BTreeSet<String> = state.collections.values().map(|(c, _)| c.database.clone()).collect();
        Ok(Some(names.into_iter().collect()))
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        let mut state = self.state();
        if let Some(hook) = self.before_count.lock().unwrap().as_mut() {
            hook(&mut state);
        }
        self.refuse_failing(&state, collection)?;
        let found = state.collections.values().find(|(c, _)| c.id == collection.id);
        let left_out = |id: &&String| state.counts_listed && state.unlisted.contains(id);
        Ok(found.map_or(0, |(_, records)| records.keys().filter(|id| !left_out(id)).count() as u64))
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        let mut state = self.state();
        if let Some(hook) = self.before_list.lock().unwrap().as_mut() {
            hook(&mut state);
        }
        self.refuse_failing(&state, collection)?;
        let found = state.collections.values().find(|(c, _)| c.id == collection.id);
        let Some((_, records)) = found else { return Ok(SortedIds::default()) };
        let listed = records.keys().filter(|id| !state.unlisted.contains(id));
        Ok(listed.take(state.listing_cap.unwrap_or(usize::MAX)).collect())
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        let mut state = self.state();
        if let Some(hook) = self.before_fetch.lock().unwrap().as_mut() {
            hook(&mut state);
        }
        if state.broken.contains(&collection.name) {
            let (attempt, why) = (format!("a read of {}", collection.name), "made by a test".to_owned());
            return Err(Error::Failing { store: self.label.clone(), attempt, why });
        }
        let bad = ids.iter().filter(|id| state.unreadable.contains(id)).count();
        let is_tired = bad > 0 && state.patience == Some(0);
        state.patience = state.patience.map(|left| left.saturating_sub(bad));
        let found = state.collections.values().find(|(c, _)| c.id == collection.id);
        let Some((_, records)) = found.filter(|_| ids.len() == 1 || !state.only_alone) else { return Ok(Vec::new()) };
        let answer = |id: &String| {
            let record = records.get(id)?.clone();
            Some(if is_tired || state.unreadable.contains(id) {
                Fetched::Unreadable { id: id.clone(), why: "no vector".to_owned() }
            } else {
                Fetched::Record { record, origin: Origin::Server }
            })
        };
        let answered = ids.iter().rev().filter(|id| !state.silent.contains(id)).filter_map(answer);
        let answered: Vec<Fetched> = answered.take(state.cap.unwrap_or(usize::MAX)).collect();
        if answered.len() > 1 {
            let bytes = answered.iter().map(document).sum();
            state.largest = state.largest.max(bytes);
        }
        Ok(answered)
    }

    async fn fetch_within(
        &self,
        collection: &Collection,
        ids: &[String],
        budget: Budget,
    ) -> Result<(Vec<Fetched>, usize)> {
        let mut sizes = Vec::new();
        {
            let state = self.state();
            let found = state.collections.values().find(|(c, _)| c.id == collection.id);
            let size = |id| Some(found?.1.get(id)?.document.as_ref()?.len());
            sizes.extend(ids.iter().map(|id| size(id).unwrap_or(0)));
        }
        let mut held = 0;
        let fits = |(n, size): (usize, &usize)| {
            held += size;
            held <= budget.bytes || (n == 0 && budget.first)
        };
        let count = sizes.iter().enumerate().map(fits).take_while(|fits| *fits).count();
        if let (Some(id), Some(size)) = (ids.first(), sizes.first())
            && budget.first
            && *size > budget.most
        {
            let (store, collection) = (self.label.clone(), collection.name.clone());
            return Err(Error::TooLarge { store, collection, id: id.clone(), most: budget.most });
        }
        Ok((if count == 0 { Vec::new() } else { self.fetch(collection, &ids[..count]).await? }, count))
    }

    async fn remarks(&self, _: &Collection) -> Result<Remarks> {
        Ok(self.state().remarks.clone())
    }

    async fn generation(&self, _: &Collection) -> Result<Option<String>> {
        Ok(self.state().generation.map(|number| number.to_string()))
    }
}
