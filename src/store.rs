//! What the engine knows of a store: traits to read and to write one, and the errors of both.
//! Picks no implementation and does no I/O; `endpoint` opens stores.

pub mod files;
pub mod http;
#[cfg(test)]
pub(crate) mod memory;
pub mod odd;
mod remarks;

use async_trait::async_trait;
use tokio_util::bytes::Bytes;

use crate::chroma::{Capabilities, NewCollection};
use crate::model::{Collection, Fetched, Filter, Metadata, Record};
use crate::scratch::SortedIds;

pub use self::remarks::Remarks;
pub use crate::model::{Error, Result};

/// Reads a store: a server over HTTP, or a folder's files.
///
/// # Guarantees
/// - Nothing is ever written, created or migrated on what is read.
/// - An answer is whole or an error: never silently shorter.
///
/// # Caveats
/// A store may change between two calls; each call by itself is consistent.
#[async_trait]
pub trait Reader: Send + Sync {
    /// The store in a person's words, for messages: "local store /data/chroma" or "server `http://chroma:8000`".
    fn name(&self) -> String;

    /// The Chroma version or layout found, in a person's words.
    fn version(&self) -> String;

    /// Every collection of the tenant and of the databases that this was opened for.
    ///
    /// # Errors
    /// As [`Error`] says; a missing tenant or database is [`Error::NotFound`].
    async fn collections(&self) -> Result<Vec<Collection>>;

    /// The names of all databases of the tenant; None where the store cannot list them.
    ///
    /// # Errors
    /// As [`Error`] says.
    async fn databases(&self) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    /// How many records the collection holds, by the store's own count.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the collection is gone.
    async fn count(&self, collection: &Collection) -> Result<u64>;

    /// Every id of the collection, those whose content cannot be read included.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the collection is gone.
    async fn ids(&self, collection: &Collection) -> Result<SortedIds>;

    /// As [`Reader::ids`], with the store's own count of about the same moment: fewer ids than that contradict it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the collection is gone.
    async fn listing(&self, collection: &Collection) -> Result<(SortedIds, u64)> {
        Ok((self.ids(collection).await?, self.count(collection).await?))
    }

    /// The records with these ids, in any order. An id that the store does not (any more) hold is left out of the
    /// answer; one that it holds but cannot read is [`Fetched::Unreadable`].
    ///
    /// # Errors
    /// [`Error::NotFound`] when the collection is gone.
    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>>;

    /// As [`Reader::fetch`], for as many of these ids, from the first on, as `budget` has place for; also tells how many that
    /// are. The ids are sorted, and none is there twice.
    ///
    /// # Errors
    /// Those of [`Reader::fetch`].
    async fn fetch_within(
        &self,
        collection: &Collection,
        ids: &[String],
        _budget: Budget,
    ) -> Result<(Vec<Fetched>, usize)> {
        Ok((self.fetch(collection, ids).await?, ids.len()))
    }

    /// Those of these ids that the store answers for, in any order; one whose record it cannot read is among them. The ids
    /// are sorted, and none is there twice. Asked for by id, so that it is another look than a listing.
    ///
    /// # Errors
    /// Those of [`Reader::fetch`].
    async fn held(&self, collection: &Collection, ids: &[String]) -> Result<Vec<String>> {
        const WINDOW: Budget = Budget { bytes: 4 << 20, first: true, most: usize::MAX };
        let (mut held, mut rest) = (Vec::new(), ids);
        while !rest.is_empty() {
            let (found, count) = self.fetch_within(collection, rest, WINDOW).await?;
            held.extend(found.iter().map(|fetched| fetched.id().to_owned()));
            rest = rest.get(count.max(1)..).unwrap_or_default();
        }
        Ok(held)
    }

    /// What answers searches; None where nothing does (files).
    fn searches(&self) -> Option<&dyn Searches> {
        None
    }

    /// What the store says of the collection beside its records, as far as it was read until now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the collection is gone.
    async fn remarks(&self, _collection: &Collection) -> Result<Remarks> {
        Ok(Remarks::default())
    }

    /// A text that changes with every change of the collection; None where the store cannot tell (a server).
    ///
    /// # Errors
    /// [`Error::NotFound`] when the collection is gone.
    async fn generation(&self, _collection: &Collection) -> Result<Option<String>> {
        Ok(None)
    }
}

/// A server that answers searches by its own index, as people's searches use it.
///
/// # Errors
/// Every call fails within seconds, as [`Error`] says: a failing search is told, not waited for.
#[async_trait]
pub trait Searches: Send + Sync {
    /// The version that the server says: "0.6.3"; every 1.x says "1.0.0".
    fn engine(&self) -> &str;

    /// At most `most` nearest records of each vector, nearest first.
    async fn nearest(&self, collection: &Collection, vectors: &[&[f32]], most: usize) -> Result<Vec<Vec<Neighbour>>>;

    /// The ids of at most `most` records that the filter asks for, in any order.
    async fn matching(&self, collection: &Collection, filter: &Filter, most: usize) -> Result<Vec<String>>;
}

/// One record of a search's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// Its id.
    pub id: String,
    /// How far the store says it is, in the collection's distance; None where that is not finite.
    pub distance: Option<f64>,
}

/// How much of what is asked for may be held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of content, about.
    pub bytes: usize,
    /// Whether the first record is wanted, however large it is.
    pub first: bool,
    /// Bytes of a record that this process has memory for: a larger first one is [`Error::TooLarge`].
    pub most: usize,
}

/// Writes a store, always through a Chroma server.
///
/// # Caveats
/// No call repeats a write whose outcome is uncertain: it returns [`Error::Uncertain`], and the caller compares the
/// content before it sends again.
#[async_trait]
pub trait Writer: Reader {
    /// What this server can take.
    fn capabilities(&self) -> Capabilities;

    /// Creates the collection, and its database where that is missing; a collection of that name that is already there is an
    /// error.
    ///
    /// # Errors
    /// [`Error::Uncertain`] when it may have been created: list the collections and look.
    async fn create(&self, new: &NewCollection) -> Result<Collection>;

    /// Sets all metadata of a collection that was just created here. Safe to repeat.
    ///
    /// # Errors
    /// [`Error::Uncertain`] when it may have been set.
    async fn set_metadata(&self, collection: &Collection, metadata: &Metadata) -> Result<()>;

    /// Adds records; Chroma ignores, without a word, those whose id it already holds.
    ///
    /// # Errors
    /// [`Error::Uncertain`] when some or all may have been added.
    async fn add(&self, collection: &Collection, records: &[Record]) -> Result<()> {
        self.add_prepared(collection, records, self.prepare(records)?).await
    }

    /// Makes the body of an add of these records, which can be done while another one is under way.
    ///
    /// # Errors
    /// When they cannot be written down.
    fn prepare(&self, records: &[Record]) -> Result<Bytes>;

    /// As [`Writer::add`], with the body that [`Writer::prepare`] made of these records.
    ///
    /// # Errors
    /// Those of [`Writer::add`].
    async fn add_prepared(&self, collection: &Collection, records: &[Record], body: Bytes) -> Result<()>;

    /// Sets each record's vector, document, uri and metadata; the named surplus keys are removed.
    /// An absent document or uri is left as it is: only delete and add clears one.
    ///
    /// # Errors
    /// [`Error::Uncertain`] when some or all may have been applied.
    async fn update(&self, collection: &Collection, amendments: &[Amendment]) -> Result<()>;

    /// Deletes these ids.
    ///
    /// # Errors
    /// [`Error::Uncertain`] when some or all may have been deleted.
    async fn delete(&self, collection: &Collection, ids: &[String]) -> Result<()>;

    /// How many bytes the record takes in the body of an add: never less than what is sent.
    fn encoded_len(&self, record: &Record) -> usize;

    /// Bytes of the largest body to send now: less once the server, or a proxy before it, has refused one as too large (413).
    fn max_body(&self) -> usize {
        usize::MAX
    }

    /// Bytes of the largest body that was taken, since it was opened.
    fn largest_taken(&self) -> usize {
        0
    }

    /// How often this server has told to come back later (429), since it was opened. Such a write is sent again within
    /// the call; a rising number says that less should be sent.
    fn pushed_back(&self) -> u64;
}

/// What makes a target's record equal to `record`: its content, and the keys to remove.
#[derive(Clone, Debug)]
pub struct Amendment {
    /// The content to set.
    pub record: Record,
    /// Metadata keys that the target's record has and `record` has not.
    pub surplus: Vec<String>,
}

/// One check made before anything is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable name, for instance `target-layout`.
    pub check: &'static str,
    /// None: passed. Otherwise why a migration must not start, and what to do about it.
    pub problem: Option<Problem>,
    /// What was found, in one sentence.
    pub message: String,
}

/// What a failed check means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What to do next.
    pub remedy: String,
    /// Whether it can pass by itself (exit 4) or needs a person (exit 3).
    pub may_pass: bool,
}

/// Fills a new local store by its files, before the target's server runs. Nothing that it does has to be believed: the run that
/// follows compares every record.
#[async_trait]
pub trait Filler: Send + Sync {
    /// Lays a store out, beside the target, with these collections and their settings; made by the engine itself. In the order
    /// of `new`.
    ///
    /// # Errors
    /// When another run writes the target, or the store cannot be made; the target is as it was.
    async fn create(&self, new: &[&NewCollection]) -> Result<Laid>;

    /// Writes records of one collection, whose ids were not given before. They may be on their way when this returns.
    ///
    /// # Errors
    /// When these, or some that were given before, cannot be written; the target is as it was.
    async fn put(&self, collection: &Collection, records: Vec<Record>) -> Result<()>;

    /// Builds the indexes that are built here, of all that was given; it may take long. One that is left early goes on until
    /// the fill is given up.
    ///
    /// # Errors
    /// When they cannot be written; the target is as it was.
    async fn index(&self) -> Result<()>;

    /// Gives the target what was filled, in one step, once all of it is on the disk.
    ///
    /// # Errors
    /// When that cannot be done; the target is as it was.
    async fn finish(&self) -> Result<()>;
}

/// What came of laying a store out.
#[derive(Clone, Debug)]
pub enum Laid {
    /// Its collections, in the order in which they were asked for.
    Out(Vec<Collection>),
    /// It cannot be filled after all, as this finding says; the target is as it was, and its server takes the records.
    Not(Finding),
}

/// What a run is about to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Bytes of all records, about.
    pub bytes: u64,
    /// Bytes of the largest collection's records among them.
    pub largest: u64,
    /// Records of that one.
    pub records: u64,
}

impl Load {
    /// Adds a collection.
    pub fn add(&mut self, bytes: u64, records: u64) {
        self.bytes += bytes;
        if bytes > self.largest {
            (self.largest, self.records) = (bytes, records);
        }
    }
}

/// Where a migration writes: a server, or a folder that a server is started on once preflight has passed.
#[async_trait]
pub trait Target: Send + Sync {
    /// The target in a person's words, for messages.
    fn name(&self) -> String;

    /// What is there before anything is written; None where nothing is (a local store that does not exist yet).
    fn current(&self) -> Option<&dyn Reader>;

    /// What the server that will write can take. For a local target this asks the engine on an empty scratch folder,
    /// never on the target.
    ///
    /// # Errors
    /// When no such server answers or can be started.
    async fn capabilities(&self) -> Result<Capabilities>;

    /// Checks of the target's own kind: disk space for so much more, layout, owner and mode of files, other users.
    ///
    /// # Errors
    /// Only when a check cannot be made at all.
    async fn checks(&self, load: Load) -> Result<Vec<Finding>>;

    /// What fills the target by its files, where that was asked for and the checks have found that it can be done; None: its
    /// server takes every record.
    fn filler(&self) -> Option<&dyn Filler> {
        None
    }

    /// Has the target's server build the index of a collection that was filled, of vectors with so many components. Takes as
    /// long as that takes; called after [`Target::open`], and before anything else is asked.
    ///
    /// # Errors
    /// When the server ends or answers no longer.
    async fn index(&self, _collection: &Collection, _dimension: usize) -> Result<()> {
        Ok(())
    }

    /// Makes it writable; a local target's server starts here.
    ///
    /// # Errors
    /// When it cannot be started, with the end of its log.
    async fn open(&self) -> Result<&dyn Writer>;

    /// A reader of the target's own files, for a local target: the second look at what was written.
    fn files(&self) -> Option<&dyn Reader>;

    /// Ends the server that `open` started and starts it again, to read from; None where the target's server is not ours to
    /// restart. What `open` gave must not be used afterwards.
    ///
    /// # Errors
    /// When it does not start again.
    async fn restarted(&self) -> Result<Option<&dyn Reader>> {
        Ok(None)
    }

    /// Ends what `open` started, with time to close. Safe to call twice.
    ///
    /// # Errors
    /// When the server had to be killed.
    async fn close(&self) -> Result<()>;
}
