//! One collection on its way: both sides' descriptions, the ledger, and what is to be told of it.
//! Holds no record.

use std::collections::{BTreeMap, HashSet};
use std::io;

use super::compare::FieldDifference;
use super::ledger::{Entry, Ledger, Plan};
use super::search::state::State;
use super::select::{self, Selected};
use super::{OnConflict, Options};
use crate::chroma::NewCollection;
use crate::model::{Collection, ulp};
use crate::report::{CollectionReport, Counts, Difference, SourceQuiet};
use crate::scratch::Table;

/// How many records a report lists by id for one collection.
pub(super) const LISTED: usize = 1000;

/// One collection of the source with its counterpart.
pub(super) struct Pair {
    pub(super) source: Collection,
    pub(super) target_name: String,
    /// The counterpart's database; None: the only one that the target was opened for.
    pub(super) target_database: Option<String>,
    /// The counterpart, once it exists.
    pub(super) target: Option<Collection>,
    /// How the counterpart is created; None where it exists already.
    pub(super) new: Option<NewCollection>,
    /// Components of the vectors that this run has written into the counterpart's files; None where its server took all.
    pub(super) filled: Option<usize>,
    /// A record of these files that could not be read from them.
    pub(super) misfilled: Option<String>,
    pub(super) ledger: Ledger,
    /// Ids of target records that are none of the source's, by the mark of their document.
    pub(super) documents: Table,
    /// Marks among them whose record the target has no longer.
    pub(super) lost_twins: HashSet<u128>,
    pub(super) notes: Notes,
    /// What differs, by id, as the newest comparison found it.
    pub(super) details: BTreeMap<String, Vec<FieldDifference>>,
    /// What stands against the verdict beside its records: each in one sentence.
    pub(super) problems: Vec<String>,
    /// What a person should know of the settings; it leaves the verdict as it is.
    pub(super) named: Vec<String>,
    /// How the counterpart's settings differ from the source's, also where that is allowed or cannot be otherwise.
    pub(super) unlike: Vec<String>,
    /// What both sides say of the collection beside its records, and what leaves the verdict as it is.
    pub(super) remarks: Vec<String>,
    /// What in the source does not add up, as preflight or a later look found it.
    pub(super) source_damage: Vec<String>,
    /// The same of the target.
    pub(super) target_damage: Vec<String>,
    /// What of either side was not read, though it might be another time.
    pub(super) unread: Vec<String>,
    /// Whether values were left out of records as they were read; the remarks say which.
    pub(super) partial: bool,
    /// Whether source and target may be one store, so that nothing must be written.
    pub(super) may_be_one: bool,
    /// Ids of the newest batch that was written.
    pub(super) last_batch: Vec<String>,
    /// Records that the source counts and cannot list, so that nobody can ask for them.
    pub(super) unlisted: u64,
    /// Ids that the source has got since the last pass that copied.
    pub(super) came_later: u64,
    /// What the target holds beside the source's records.
    pub(super) surplus: Surplus,
    /// Which state the source's files were in before the first listing; None for a server.
    pub(super) generation: Option<String>,
    /// Whether the source stood still: its files were in that state also after the comparison, or something changed.
    pub(super) source_quiet: SourceQuiet,
    pub(super) target_before: u64,
    pub(super) target_after: u64,
    pub(super) max_ulps: u32,
    /// Comparisons that found a record equal, by the largest distance that they saw: at `n` those of `n` ULP.
    pub(super) ulps: [u64; ulp::TOLERATED as usize + 1],
    pub(super) from_wal: u64,
    pub(super) from_hnsw: u64,
    pub(super) fingerprint: String,
    /// Records sent by this run; what `Counts` reports as copied.
    pub(super) sent: u64,
    pub(super) overwrite: bool,
    /// The search check.
    pub(super) search: State,
}

impl Pair {
    pub(super) fn new(selected: Selected, ledger: Ledger, options: &Options) -> Self {
        let Selected { source, target_name, target_database } = selected;
        Self {
            source,
            target_name,
            target_database,
            target: None,
            new: None,
            filled: None,
            misfilled: None,
            ledger,
            documents: Table::default(),
            lost_twins: HashSet::new(),
            notes: Notes::default(),
            details: BTreeMap::new(),
            problems: Vec::new(),
            named: Vec::new(),
            unlike: Vec::new(),
            remarks: Vec::new(),
            source_damage: Vec::new(),
            target_damage: Vec::new(),
            unread: Vec::new(),
            partial: false,
            may_be_one: false,
            last_batch: Vec::new(),
            unlisted: 0,
            came_later: 0,
            surplus: Surplus::default(),
            generation: None,
            source_quiet: SourceQuiet::Unknown,
            target_before: 0,
            target_after: 0,
            max_ulps: 0,
            ulps: [0; ulp::TOLERATED as usize + 1],
            from_wal: 0,
            from_hnsw: 0,
            fingerprint: String::new(),
            sent: 0,
            overwrite: options.on_conflict == OnConflict::Overwrite,
            search: State::default(),
        }
    }

    /// Whether this is the counterpart, by name.
    pub(super) fn is_target(&self, other: &Collection) -> bool {
        select::is_at(other, self.target_database.as_deref(), &self.target_name)
    }

    /// Whether a listing's collection has the source's name.
    pub(super) fn is_source(&self, other: &Collection) -> bool {
        other.name == self.source.name && other.database == self.source.database
    }

    /// The counterpart's name in a person's words.
    pub(super) fn target_words(&self) -> String {
        select::words(self.target_database.as_deref(), &self.target_name)
    }

    /// The source's name in a person's words.
    pub(super) fn source_words(&self) -> String {
        // it goes to the database of its own name, where a run goes over several
        select::words(self.target_database.as_deref(), &self.source.name)
    }

    /// Notes that the source was seen to change, if it was.
    pub(super) const fn has_moved(&mut self, moved: bool) {
        if moved {
            self.source_quiet = SourceQuiet::No;
        }
    }

    /// Notes that the source counts so many records and cannot list them all; 0 where it lists all.
    pub(super) fn lacks(&mut self, counted: u64) {
        self.unlisted = counted.saturating_sub(self.ledger.counts(self.overwrite).source);
    }

    /// Whether the migration makes the target's record equal to the source's.
    pub(super) const fn is_wanted(&self, entry: Entry) -> bool {
        entry.is_wanted(self.overwrite)
    }

    /// Leaves a record of the target alone, as a conflict or as one that cannot be read there, and lists it.
    pub(super) fn leaves(&mut self, at: usize, id: &str, plan: Plan, why: String) -> io::Result<()> {
        self.ledger.change(at, |entry| entry.plan = plan)?;
        self.details.remove(id);
        self.notes.forget(id);
        self.notes.add(id, if plan == Plan::Lost { "unreadable" } else { "conflict" }, why);
        Ok(())
    }

    fn plans_a_write(&self, plan: Plan) -> bool {
        plan == Plan::New || (plan == Plan::Conflict && self.overwrite)
    }

    /// Records to send, as planned.
    pub(super) fn to_send(&self) -> u64 {
        self.ledger.count(|plan| self.plans_a_write(plan))
    }

    /// Records to compare.
    pub(super) fn to_verify(&self) -> u64 {
        self.ledger.count(|plan| plan == Plan::Present || self.plans_a_write(plan))
    }

    /// Records to compare that are not verified.
    pub(super) fn open(&self) -> u64 {
        self.to_verify() - self.ledger.counts(self.overwrite).verified
    }

    pub(super) fn counts(&self) -> Counts {
        let counts = self.ledger.counts(self.overwrite);
        Counts {
            source: counts.source + self.unlisted,
            unreadable: counts.unreadable + self.unlisted,
            target_before: self.target_before,
            target_after: self.target_after,
            came_later: self.came_later,
            extra: self.surplus.extra,
            ..counts
        }
    }

    /// The counts of a plan: what would be done.
    pub(super) fn planned(&self) -> Counts {
        let present = self.ledger.count(|plan| plan == Plan::Present);
        let copied = self.ledger.count(|plan| plan == Plan::New);
        let overwritten = self.ledger.count(|plan| self.overwrite && plan == Plan::Conflict);
        Counts { copied, present, overwritten, ..self.counts() }
    }

    /// A comparison found a record equal, with this largest distance. `is_first`: it was not known to be equal.
    pub(super) fn is_apart(&mut self, ulps: u32, is_first: bool) {
        self.max_ulps = self.max_ulps.max(ulps);
        if let Some(number) = self.ulps.get_mut(ulps as usize).filter(|_| is_first) {
            *number += 1;
        }
    }

    pub(super) fn report(&self, counts: Counts) -> CollectionReport {
        let Notes { listed: differences, left_out } = self.notes.beside(&self.surplus);
        CollectionReport {
            database: self.source.database.clone(),
            name: self.source.name.clone(),
            target_name: self.target_name.clone(),
            dimension: self.source.dimension,
            distance: self.source.distance.as_str().to_owned(),
            counts,
            fingerprint: self.fingerprint.clone(),
            max_ulps: self.max_ulps,
            ulps: if self.ulps == [0; ulp::TOLERATED as usize + 1] { Vec::new() } else { self.ulps.to_vec() },
            search: self.search.told().cloned(),
            vectors_from_wal: self.from_wal,
            vectors_from_hnsw: self.from_hnsw,
            differences,
            differences_left_out: left_out,
        }
    }
}

/// What the target holds of a collection beside the source's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surplus {
    /// Records that the target answers for, and the source neither lists nor answers for.
    pub(super) extra: u64,
    /// The first ids of them, as many as a report lists.
    pub(super) first: Vec<String>,
    /// Ids that the source answers for, although it never listed them: they were not compared.
    pub(super) unlisted: u64,
    /// Ids that the target lists and does not answer for.
    pub(super) silent: u64,
}

/// Records to be listed by id, up to a bound.
#[derive(Clone, Default)]
pub(super) struct Notes {
    pub(super) listed: Vec<Difference>,
    pub(super) left_out: u64,
}

impl Notes {
    /// Lists a record, unless the same is listed of it already.
    pub(super) fn add(&mut self, id: &str, field: &str, detail: impl Into<String>) {
        if self.listed.iter().any(|listed| listed.id == id && listed.field == field) {
            return;
        }
        self.list(id, field, detail);
    }

    /// Lists what is not about a record that is listed already; an empty id is the collection itself.
    pub(super) fn list(&mut self, id: &str, field: &str, detail: impl Into<String>) {
        if self.listed.len() < LISTED {
            let (id, field, detail) = (id.to_owned(), field.to_owned(), detail.into());
            self.listed.push(Difference { id, field, detail });
        } else {
            self.left_out += 1;
        }
    }

    /// With the records that only the target holds, after all others.
    fn beside(&self, surplus: &Surplus) -> Self {
        let mut notes = self.clone();
        for id in &surplus.first {
            notes.list(id, "extra", "in the target and not in the source");
        }
        notes.left_out += surplus.extra - surplus.first.len() as u64;
        notes
    }

    /// Takes a record off the list: what was said of it holds no longer.
    pub(super) fn forget(&mut self, id: &str) {
        self.listed.retain(|listed| listed.id != id);
    }
}
