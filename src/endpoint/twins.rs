//! Whether a Chroma's stores can be filled by their files: on its scratch store it and the importer make the same of the same
//! records, and it goes on with the importer's as with its own. Decides nothing about a record of anybody's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use crate::chroma::{NewCollection, creation};
use crate::fill::import::{Beside, Import};
use crate::fill::index::Plan;
use crate::fill::twin::{self, Twin};
use crate::fill::{layout, sample};
use crate::model::{Collection, Distance, Fetched, Metadata, Record, Result, Value};
use crate::store::files::{DATABASE, Layout};
use crate::store::http::HttpWriter;
use crate::store::{Amendment, Reader as _, Writer as _};

/// Vectors after which the index of a sample is written to the disk: more than the samples, fewer than with what comes later.
const LATER: u8 = 20;
/// And fewer than the samples: they are in the index at once.
const AT_ONCE: u8 = 10;

/// Why stores of this server are not filled by their files; None where they are. `folder`: its own, which nobody needs.
pub(super) async fn problem(writer: &HttpWriter, folder: &Path, found: &Layout) -> Option<String> {
    if let Some(problem) = layout::problem(found) {
        return Some(problem);
    }
    let all = [(Distance::L2, LATER), (Distance::L2, AT_ONCE), (Distance::Cosine, AT_ONCE), (Distance::Ip, AT_ONCE)];
    for (distance, sync) in all {
        let of = format!("{distance}, an index from {sync} records on");
        match pair(writer, folder, distance, sync).await {
            Ok(None) => {}
            Ok(Some(difference)) => return Some(format!("on sample records ({of}) it differs, {difference}")),
            Err(error) => return Some(format!("sample records ({of}) could not be tried: {error}")),
        }
    }
    None
}

async fn pair(writer: &HttpWriter, folder: &Path, distance: Distance, sync: u8) -> Result<Option<String>> {
    let database = folder.join(DATABASE);
    let engine = writer.create(&new(writer, "engine", distance, sync)).await?;
    let ours = writer.create(&new(writer, "importer", distance, sync)).await?;
    let samples = sample::records(writer.capabilities().arrays);
    let both = Both {
        writer,
        database: &database,
        engine: Half { collection: engine, base: 0 },
        ours: Half { collection: ours, base: 0 },
    };
    both.tried(samples).await
}

/// One collection of the two, and the log's newest entry before its first one.
struct Half {
    collection: Collection,
    base: i64,
}

struct Both<'a> {
    writer: &'a HttpWriter,
    database: &'a Path,
    engine: Half,
    ours: Half,
}

impl Both<'_> {
    async fn tried(mut self, samples: Vec<Record>) -> Result<Option<String>> {
        let Self { writer, database, .. } = self;
        let first = twin::tally(database)?;
        self.engine.base = twin::newest(database)?;
        writer.add(&self.engine.collection, &samples).await?;
        let second = twin::tally(database)?;
        self.ours.base = twin::newest(database)?;
        import(database, &self.ours.collection, &samples)?;
        let third = twin::tally(database)?;
        let (by_engine, by_us) = (twin::growth(&first, &second), twin::growth(&second, &third));
        if by_engine != by_us {
            return Ok(Some(format!("rows by table: Chroma writes {by_engine:?}, this program {by_us:?}")));
        }
        if let Some(difference) = self.difference(true)? {
            return Ok(Some(difference));
        }
        if let Some(difference) = self.answers(&samples).await? {
            return Ok(Some(difference));
        }
        // it goes on with both: an index on the disk, and every kind of write
        let further = sample::further(LATER);
        for Half { collection, .. } in [&self.engine, &self.ours] {
            writer.add(collection, &further).await?;
            writer.update(collection, &[amended(&samples[1]), amended(&samples[3])]).await?;
            writer.delete(collection, &[samples[0].id.clone(), samples[4].id.clone()]).await?;
            writer.add(collection, &samples[..1]).await?;
        }
        let all: Vec<Record> = samples.into_iter().chain(further).collect();
        match self.difference(false)? {
            Some(difference) => Ok(Some(format!("{difference} (after further writes)"))),
            None => self.answers(&all).await,
        }
    }

    /// How their tables and logs differ; `alone`: each was written by itself until now.
    fn difference(&self, alone: bool) -> Result<Option<String>> {
        let of = |half: &Half| Twin::read(self.database, &half.collection.id, alone.then_some(half.base));
        Ok(of(&self.engine)?.differs(&of(&self.ours)?))
    }

    /// Whether both answer alike: by id, and the nearest of each record's vector.
    async fn answers(&self, records: &[Record]) -> Result<Option<String>> {
        let ids: Vec<String> = records.iter().map(|record| record.id.clone()).collect();
        let vectors: Vec<&[f32]> = records.iter().map(|record| record.embedding.as_slice()).collect();
        let mut all = Vec::new();
        for Half { collection, .. } in [&self.engine, &self.ours] {
            let mut found = self.writer.fetch(collection, &ids).await?;
            found.sort_by(|a, b| a.id().cmp(b.id()));
            let Some(searches) = self.writer.searches() else { return Ok(Some("it searches nothing".to_owned())) };
            let nearest = searches.nearest(collection, &vectors, records.len()).await?;
            let near =
                nearest.into_iter().map(|all| all.into_iter().map(|n| (n.id, n.distance.map(f64::to_bits))).collect());
            all.push((found, near.collect::<Vec<Near>>()));
        }
        let differs = match all.as_slice() {
            [(found, near), (others, by_them)] => {
                let first = found.iter().zip(others).find(|(a, b)| a != b).map(|(a, _)| a.id());
                match first {
                    Some(id) => Some(format!("answers for record {id:?}")),
                    None if found.len() != others.len() => Some("the number of answers".to_owned()),
                    None if !is_alike(near, by_them) => Some("the nearest records of a vector".to_owned()),
                    None => None,
                }
            }
            _ => None,
        };
        let unreadable =
            all.iter().flat_map(|(found, _)| found).any(|found| matches!(found, Fetched::Unreadable { .. }));
        Ok(differs.or_else(|| unreadable.then(|| "a record cannot be read".to_owned())))
    }
}

/// Ids with the bits of their distance.
type Near = HashMap<String, Option<u64>>;

/// Whether both tell the same distance of each record that both find. Which ones an index finds is another matter: of two that
/// were built of the same vectors one may find more, by ip above all (measured).
fn is_alike(near: &[Near], by_them: &[Near]) -> bool {
    let same = |(a, b): (&Near, &Near)| {
        !a.is_empty() && !b.is_empty() && a.iter().all(|(id, distance)| b.get(id).is_none_or(|other| other == distance))
    };
    near.len() == by_them.len() && near.iter().zip(by_them).all(same)
}

fn import(database: &Path, collection: &Collection, samples: &[Record]) -> Result<()> {
    let mut import = Import::open(database, Beside::Server)?;
    let mut sheet = import.sheet(&collection.id, Plan::of(collection))?;
    import.put(&mut sheet, samples)?;
    import.index(&mut sheet, &AtomicBool::new(false))?;
    import.end(sheet)?;
    import.finish()
}

/// Other content for a record.
fn amended(record: &Record) -> Amendment {
    let mut record = record.clone();
    record.document = Some(format!("amended {}", record.id));
    record.metadata.insert("amended".to_owned(), Value::Int(1));
    record.embedding.iter_mut().for_each(|component| *component += 0.5);
    Amendment { record, surplus: vec!["s".to_owned()] }
}

fn new(writer: &HttpWriter, name: &str, distance: Distance, sync: u8) -> NewCollection {
    let hnsw = json!({"space": distance.as_str(), "sync_threshold": sync, "batch_size": sync});
    let source = Collection {
        id: String::new(),
        name: String::new(),
        tenant: String::new(),
        database: String::new(),
        dimension: None,
        distance,
        metadata: Metadata::from([("sample".to_owned(), Value::Bool(true))]),
        configuration: Some(json!({ "hnsw": hnsw })),
        schema: None,
        unreadable: None,
    };
    creation::plan(&source, &format!("{name}-{distance}-{sync}"), &writer.capabilities())
}
