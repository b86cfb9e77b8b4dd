//! Whether an index is its collection's: files of another one may have come into its folder, by a backup or by hand.
//! Reads tables, log and rows through the caller's transaction; a few hundred records of each, from all over the index.

use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;

use rusqlite::Connection;

use super::audit::{Judged, Shared};
use super::indexes::moved;
use super::state::State;
use super::witness::{Logged, Seen};
use super::{exchanged, same};
use crate::model::{Collection, Distance, Metadata, distance, vector};
use crate::scratch;
use crate::store::files::index::hnsw::Doubt;
use crate::store::files::index::{Index, IndexRow, Vectors};
use crate::store::files::log::queue::{self, Operation};
use crate::store::files::log::replay::{Effect, VectorAt};
use crate::store::files::sqlite::connection::{failure, is_corrupt};
use crate::store::files::sqlite::segments::KnownRows;
use crate::store::files::sqlite::tables::{self, By};
use crate::store::files::sqlite::{check, foreign, unlogged};
use crate::store::files::system::Attempt;

/// Records that are looked at.
const SAMPLE: usize = 256;
/// Labels out of order that are no chance.
const TURNS: usize = 8;
/// Records of the pickle that are looked for in other collections.
const FEW: usize = 16;

/// Brings the state up to the transaction, without its index if that is another collection's.
///
/// # Errors
/// `SQLite`'s, those of the scratch space and of the index's files.
pub fn refresh(
    (db, known): (&Connection, &KnownRows),
    file: &Path,
    collection: &Collection,
    state: &mut State,
    shared: &Shared,
) -> Attempt<()> {
    let judged = shared.audit(&collection.id).judged.filter(|judged| judged.of == state.stamps);
    if let Some(what) = judged.as_ref().and_then(|judged| judged.foreign.clone()) {
        state.condemn(what, &shared.indexes);
    }
    state.refresh((shared.catalog(db), known), file, &collection.id, &shared.indexes)?;
    if exchanged::judge((db, known), file, collection, state, shared)? {
        return Err(moved(&state.folder));
    }
    // an old index was judged when it was loaded
    if judged.is_some() || state.is_old() {
        return Ok(());
    }
    let Vectors::Index(index) = &*state.vectors else { return Ok(()) };
    let look = Look { db, file, collection, state, index, shared, is_confirmed: Cell::new(false) };
    let judged = match (look.foreign()?, look.by_distance()?) {
        (Some(what), _) => Judged { of: state.stamps, foreign: Some(what), doubt: None },
        // whose index it is, and which distance it has: nobody knows both
        (None, Some(doubt)) => {
            let what = format!("is not the index of a collection with the distance {}", collection.distance);
            Judged { of: state.stamps, foreign: Some(what), doubt: Some(doubt) }
        }
        (None, None) => {
            let doubt =
                look.unlisted()?.or_else(|| look.unmarked()).map_or_else(|| look.lacking(), |what| Ok(Some(what)))?;
            let doubt = doubt.map_or_else(|| look.doubt(), |what| Ok(Some(what)))?;
            Judged { of: state.stamps, foreign: None, doubt }
        }
    };
    // files that change meanwhile explain it
    state.check()?;
    let foreign = judged.foreign.clone();
    shared.amend(&collection.id, |audit| audit.judged = Some(judged));
    if let Some(what) = foreign {
        state.condemn(what, &shared.indexes);
        state.refresh((shared.catalog(db), known), file, &collection.id, &shared.indexes)?;
    }
    Ok(())
}

/// Whether the rows speak against the distance, and no document of the collection agrees with them.
fn is_alone(collection: &Collection, space: &Metadata, doubt: Doubt) -> bool {
    let Collection { schema, configuration, metadata, .. } = collection;
    let agrees = |named: &Distance| (*named == Distance::Cosine) == doubt.cosine;
    let named = distance::named(schema.as_ref(), configuration.as_ref(), &[space, metadata]);
    doubt.is_clear() && !named.iter().any(agrees)
}

struct Look<'a> {
    db: &'a Connection,
    file: &'a Path,
    collection: &'a Collection,
    state: &'a State,
    index: &'a Index,
    shared: &'a Shared,
    /// Whether the log or a change's number says that the index is the collection's.
    is_confirmed: Cell<bool>,
}

impl Look<'_> {
    fn sql<T>(&self, result: rusqlite::Result<T>) -> Attempt<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            // a page that cannot be read says nothing of the index
            Err(e) if is_corrupt(&e) => Ok(None),
            Err(e) => Err(failure(self.file, &e)),
        }
    }

    /// Why the index is another collection's, in a sentence without a subject.
    fn foreign(&self) -> Attempt<Option<String>> {
        for look in [Self::by_log, Self::by_ids, Self::by_changes] {
            if let Some(what) = look(self)? {
                return Ok(Some(what));
            }
        }
        Ok(self.by_norms())
    }

    /// Rows of unit length without a norm: the norms are another index's, whatever the distance is.
    fn by_norms(&self) -> Option<String> {
        let evidence = self.index.evidence;
        let is_other = self.state.shape.cosine && self.index.flawed.is_none() && evidence.unnormed * 2 > evidence.rows;
        is_other.then(|| {
            format!(
                "is not the index of {:?}: in length.bin, {} of {} rows of unit length have no length of their own",
                self.collection.name, evidence.unnormed, evidence.rows
            )
        })
    }

    /// The rows speak against the distance, and no document agrees with them: what is to be said.
    fn by_distance(&self) -> Attempt<Option<String>> {
        let doubt = self.index.evidence.doubt(self.state.shape.cosine);
        // of a cut file the last rows may be of no record
        let Some(doubt) = doubt.filter(|_| self.index.flawed.is_none()) else { return Ok(None) };
        let space = self.sql(self.shared.catalog(self.db).segment_space(&self.state.segments.vector))?;
        let space: Metadata = space.map_or_else(Vec::new, |space| space.rows).into_iter().collect();
        let what = is_alone(self.collection, &space, doubt).then(|| {
            format!(
                "collection {:?} is declared {}, but {}, and none of its documents says so: it is another collection's index, or its \
                 distance is another one. If it is, open a copy of the store with the Chroma that wrote it, find out its \
                 distance, and migrate from that server",
                self.collection.name,
                self.collection.distance,
                doubt.spoken()
            )
        });
        Ok(what)
    }

    /// The log has vectors that the index has taken. Most of them are others there, and not by a damaged byte of one row: it is
    /// another collection's index, or an older one, and nobody knows which of its other vectors are the records' own. From 1.0 on
    /// the log keeps one entry of each collection at least, the last one (measured on 1.0.20 and 1.5.9).
    fn by_log(&self) -> Attempt<Option<String>> {
        let logged = self.logged()?;
        // rows that no cosine made are compared as they stand: the distance may be wrong, and the index its own
        let cosine = self.state.shape.cosine;
        let is_raw = cosine && self.index.evidence.doubt(cosine).is_some_and(|doubt| doubt.is_clear());
        let rows = logged.iter().map(|one| IndexRow { norm: one.row.norm.filter(|_| !is_raw), ..one.row });
        let rows: Vec<IndexRow> = rows.collect();
        let mut seen = Seen::new(rows.len());
        let mut all = logged.iter();
        let same = same::sameness(self.index, cosine && !is_raw);
        self.index.vectors(&rows, false, |read| {
            let (Some(one), Ok(indexed)) = (all.next(), read) else { return };
            let is_strange = || vector::is_another(&indexed, &one.vector, cosine && !is_raw);
            seen.take(one, same(&indexed, &one.vector), is_strange);
        })?;
        self.is_confirmed.set(seen.first_same.is_some());
        let is_whole = self.state.overlay.damage.is_empty();
        Ok(seen
            .is_foreign(is_whole)
            .then(|| format!("is not the index of {:?}: {}", self.collection.name, seen.spoken())))
    }

    /// Vectors of the log that the index should have, too, each with its row there.
    fn logged(&self) -> Attempt<Vec<Logged>> {
        // what such a watermark says of updates is worth nothing; of an add that made its record it is not asked
        let is_believed = self.state.sequence.is_some_and(|now| now.vector <= now.last);
        let overlay = &self.state.overlay;
        let made: HashSet<&str> = overlay.made.iter().map(String::as_str).collect();
        let mut ids = overlay.some_ids(SAMPLE).map_err(scratch::failed)?;
        ids.extend(overlay.made.iter().cloned());
        ids.sort_unstable();
        ids.dedup();
        let mut logged = Vec::new();
        for id in ids {
            let Some(VectorAt::Either(entry)) = self.effect(&id)?.vector else { continue };
            let Ok(row) = self.index.row(&id).map_err(scratch::failed)? else { continue };
            let read = tables::entry_vector(self.db, entry).and_then(|v| Ok((v, tables::entry_kind(self.db, entry)?)));
            let Some((Some((bytes, encoding)), kind)) = self.sql(read)? else { continue };
            let (is_made, brings) = (made.contains(id.as_str()), kind != Some(Operation::Update));
            if (is_believed || is_made)
                && let Ok(vector) = queue::vector(&bytes, encoding.as_deref(), self.collection.dimension)
            {
                logged.push(Logged { entry, row, vector, brings, is_made });
            }
        }
        logged.sort_unstable_by_key(|one| one.row.row.number);
        Ok(logged)
    }

    /// Most ids of the pickle are not the collection's, and most records that it should hold are not in it.
    fn by_ids(&self) -> Attempt<Option<String>> {
        let Some((unknown, of)) = self.unknown()? else { return Ok(None) };
        let segment = &self.state.segments.metadata;
        let mark = self.state.sequence.map_or(0, |now| now.vector);
        let Some(rows) = self.sql(foreign::applied(self.db, segment, mark, SAMPLE))? else { return Ok(None) };
        let mut absent = 0;
        for id in &rows {
            absent += usize::from(!self.index.knows(id).map_err(scratch::failed)?);
        }
        Ok((absent * 2 > rows.len()).then(|| {
            format!(
                "is not the index of {:?}: {unknown} of {of} ids that were looked at are not in that collection",
                self.collection.name
            )
        }))
    }

    /// Some ids of the pickle, if neither tables nor log know most of them: how many, and of how many.
    fn unknown(&self) -> Attempt<Option<(usize, usize)>> {
        let mut ids = self.index.some_ids(SAMPLE).map_err(scratch::failed)?;
        ids.sort_unstable();
        ids.dedup();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let segment = &self.state.segments.metadata;
        let Some(places) = self.sql(tables::places(self.db, segment, &names, By::Index))? else { return Ok(None) };
        let mut unknown = 0;
        for (id, _) in ids.iter().zip(places).filter(|(_, place)| place.is_none()) {
            unknown += usize::from(self.effect(id)? == Effect::default());
        }
        Ok((unknown >= 2 && unknown * 2 > ids.len()).then_some((unknown, ids.len())))
    }

    /// Records that the index has, and tables and log have lost: what Chroma deletes leaves the index, or its delete is in the log,
    /// unless somebody emptied that. 0.6.3 writes its index before `SQLite` commits: 3 of some 50 stores whose server was killed
    /// while it added had such records.
    fn unlisted(&self) -> Attempt<Option<String>> {
        if self.state.sequence.is_some_and(|now| now.metadata > now.vector.max(now.last)) {
            return Ok(None);
        }
        Ok(self.unknown()?.map(|(unknown, of)| {
            format!(
                "{unknown} of {of} ids of its index that were looked at are neither in SQLite's table embeddings nor in the write-ahead \
                 log: these records are lost, their rows name another segment, or a Chroma up to 0.6 was killed while it added them"
            )
        }))
    }

    /// Chroma up to 0.6 keeps the number of each record's last change in the pickle, which no other record has: the tables have
    /// that one, or a later one that changed no vector.
    fn by_changes(&self) -> Attempt<Option<String>> {
        let mark = self.state.sequence.map_or(0, |now| now.metadata);
        let (mut same, mut before, mut after) = (0_usize, Vec::new(), 0_usize);
        for (id, change) in &self.index.changes {
            let row = self.sql(tables::row_seq_id(self.db, &self.state.segments.metadata, id))?;
            match row.flatten().flatten() {
                Some(last) if last == *change => same += 1,
                Some(last) if last < *change => {
                    // what the tables have not taken yet is in the log
                    let is_there = *change > mark && self.sql(unlogged::is_logged(self.db, *change))? == Some(true);
                    after += usize::from(!is_there);
                }
                Some(_) => before.push((id, *change)),
                None => {}
            }
        }
        let said = |how: String| format!("is not the index of {:?}: {how}", self.collection.name);
        if after >= 2 && after > same + before.len() {
            return Ok(Some(said(format!(
                "by its pickle, {after} records had changes that neither tables nor write-ahead log know"
            ))));
        }
        if same > 0 {
            self.is_confirmed.set(true);
        }
        if same > 0 || before.len() < 2 {
            return Ok(None);
        }
        // all records may have been changed without their vectors; if another collection's have these very numbers, it is its pickle
        before.truncate(FEW);
        let others = self.sql(foreign::others(self.db, &self.state.segments.metadata))?.unwrap_or_default();
        for (segment, name) in others {
            let mut found = 0;
            for (id, change) in &before {
                let row = self.sql(tables::row_seq_id(self.db, &segment, id))?;
                found += usize::from(row.flatten().flatten() == Some(*change));
            }
            if found * 2 > before.len() {
                let of = before.len();
                return Ok(Some(said(format!(
                    "by the numbers of {found} of {of} changes in its pickle, it is that of {name:?}"
                ))));
            }
        }
        Ok(None)
    }

    /// Records that the index should have taken, by its watermark, and has not: it is older than the watermark, or a part of it. What the
    /// log tells of a record says nothing here: Chroma 0.4 leaves some adds out of its index.
    fn lacking(&self) -> Attempt<Option<String>> {
        let mark = self.state.sequence.map_or(0, |now| now.vector);
        let Some(rows) = self.sql(foreign::applied(self.db, &self.state.segments.metadata, mark, SAMPLE))? else {
            return Ok(None);
        };
        let mut absent = 0;
        for id in &rows {
            let is_absent = !self.index.knows(id).map_err(scratch::failed)?;
            absent += usize::from(is_absent && self.effect(id)? == Effect::default());
        }
        let of = rows.len();
        Ok((absent >= 2 && self.index.flawed.is_none()).then(|| {
            format!(
                "{absent} of {of} records that were looked at are not in its index, which by max_seq_id has taken them: it may be older, \
                 and other vectors in it, too"
            )
        }))
    }

    /// Nothing says how far the index has followed the log, and nothing that it is the collection's: Chroma writes that number when it
    /// writes an index.
    fn unmarked(&self) -> Option<String> {
        let is_unknown = !self.state.is_marked() && !self.is_confirmed.get() && self.index.evidence.rows > 0;
        is_unknown.then(|| {
            "the table max_seq_id has no row of its index, and the write-ahead log no vector that the index has, too: nothing says that \
             it is the index of this collection, and vectors may be those of other records"
                .to_owned()
        })
    }

    /// What speaks against the index without saying whose it is. In a store that Chroma 1.x made, labels and rows of the
    /// tables are given in one order, and no label without a row (measured on 1.0.20 and 1.5.9, with up to 120,000 records). A
    /// record that is added again after Chroma was killed may have its old label (measured: 4 turns among 29): several turns, and
    /// more than every third, are another order.
    fn doubt(&self) -> Attempt<Option<String>> {
        let born = self.sql(check::born(self.db))?.unwrap_or_default();
        if self.index.flawed.is_some() || born.get("metadb").is_none_or(|version| *version < 5) {
            return Ok(None);
        }
        let mark = self.state.sequence.map_or(0, |now| now.vector);
        if let Some(other) = self.sql(foreign::logged(self.db, mark))?.flatten().filter(|of| *of != self.collection.id)
        {
            return Ok(Some(format!(
                "max_seq_id says that its index has followed the write-ahead log up to entry {mark}, which is one of the collection \
                 {other}: it may be the index of that collection, and vectors may be those of other records"
            )));
        }
        if let Some((given, rows)) = self.index.uneven() {
            return Ok(Some(format!(
                "index_metadata.pickle has given {given} labels and header.bin counts {rows} rows: they are not of one index, and \
                 vectors may be those of other records"
            )));
        }
        let mut ids = self.index.some_ids(SAMPLE).map_err(scratch::failed)?;
        ids.sort_unstable();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let segment = &self.state.segments.metadata;
        let Some(places) = self.sql(tables::places(self.db, segment, &names, By::Index))? else { return Ok(None) };
        let mut pairs = Vec::new();
        for (id, place) in ids.iter().zip(places) {
            // a later change may have made the row anew
            let Some(place) = place.filter(|place| place.seq_id.is_some_and(|last| last <= mark)) else { continue };
            if let Ok(row) = self.index.row(id).map_err(scratch::failed)? {
                pairs.push((place.number, row.row.label));
            }
        }
        pairs.sort_unstable();
        let turned = pairs.windows(2).filter(|pair| pair[0].1 > pair[1].1).count();
        Ok((turned >= TURNS && turned * 3 > pairs.len()).then(|| {
            format!(
                "the labels in index_metadata.pickle are not in the order of the records ({turned} times among {}): it may be another \
                 index's, and vectors may be those of other records",
                pairs.len()
            )
        }))
    }

    fn effect(&self, id: &str) -> Attempt<Effect> {
        Ok(self.state.overlay.of(id).map_err(scratch::failed)?)
    }
}
