//! Collections as the tables describe them: settings, distance, and what is wrong with a row.
//! Reads no record; the rows of an index only where no document tells the distance.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use super::audit::Shared;
use super::core::Core;
use super::dimension::{self, Settled};
use super::segments::{NONE, Segments};
use super::state::State;
use crate::chroma::settings::metadata_problem;
use crate::model::collection::NO_DISTANCE;
use crate::model::distance::SPACE;
use crate::model::{Collection, Distance, Error, Metadata, Value, distance};
use crate::store::files::index::{Shape, Vectors};
use crate::store::files::sqlite::around::Around;
use crate::store::files::sqlite::catalog::{Catalog, CollectionRow, OwnMetadata};
use crate::store::files::sqlite::connection::failure;
use crate::store::files::sqlite::lengths;
use crate::store::files::sqlite::schema::{Client, Columns};
use crate::store::files::sqlite::segments::KnownRows;
use crate::store::files::system::{Attempt, Failure};
use crate::store::odd::Odd;

/// A collection by its row.
struct Described {
    collection: Collection,
    /// What of the row cannot be read, each in a sentence without a subject. Its records can be.
    wrong: Vec<String>,
    /// Whether the metadata of its VECTOR segment cannot be read, which may have told its distance.
    is_unsaid: bool,
    /// Odd values of its own metadata.
    odd: Vec<(String, Odd)>,
    /// Where its distance is from, if the document that should say it cannot be read.
    distance: From,
    /// The folder of its index, which need not be there.
    folder: Option<PathBuf>,
}

/// Where a distance is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The document that the engine goes by.
    Truth,
    /// Another document, which names one.
    Hint,
    /// No document: Chroma's default.
    Default,
    /// Nothing that can be read: the place where it would be is lost, and so is what was written beside it.
    Nothing,
}

impl Core {
    /// Every collection of every database.
    pub(super) fn all(&mut self) -> Attempt<Vec<Collection>> {
        let (file, shared) = (self.file.clone(), Arc::clone(&self.shared));
        let found: Vec<Described> = self.look(|db, columns, known| {
            let catalog = shared.catalog(db);
            let rows = catalog.collections(columns).map_err(|e| failure(&file, &e))?;
            let rows = rows.into_iter().map(|row| of_row((catalog, known), &file, columns, row));
            let found = rows.collect::<Attempt<Vec<_>>>()?;
            let recent = lengths::recent(db).map_err(|e| failure(&file, &e))?;
            found.into_iter().map(|one| sized(catalog, &file, one, &recent, &shared)).collect::<Attempt<_>>()
        })?;
        found.into_iter().map(|described| self.settled(described)).collect()
    }

    /// A collection, once its distance is found as far as anything tells it. What cannot be read of its row is kept.
    fn settled(&mut self, described: Described) -> Attempt<Collection> {
        let Described { mut collection, wrong, is_unsaid, odd, distance, folder: _ } = described;
        let what = match distance {
            From::Truth => None,
            From::Hint => Some(format!("its distance, {}, was taken from what else is written of it", collection.distance)),
            From::Default | From::Nothing if collection.unreadable.is_none() && self.is_cosine(&collection)? => {
                collection.distance = Distance::Cosine;
                Some("its distance was found by its index, whose rows are such as only cosine makes".to_owned())
            }
            From::Default => Some(
                "its distance is not known, and l2, Chroma's default, was taken for it: check that before you use the copy"
                    .to_owned(),
            ),
            From::Nothing => {
                let why = collection.unreadable.take().map_or_else(String::new, |why| format!("{why}, and "));
                collection.unreadable = Some(format!("{why}{NO_DISTANCE}"));
                None
            }
        };
        let mut lost = Vec::new();
        if !wrong.is_empty() {
            let words = format!("its row in the table collections {}", wrong.join(", and "));
            lost.push(format!("{words}. Settings that only that tells are lost"));
        }
        if is_unsaid {
            lost.push("what the table segment_metadata said of it cannot be read".to_owned());
        }
        let settings = if lost.is_empty() {
            Vec::new()
        } else {
            vec![lost.into_iter().chain(what).collect::<Vec<_>>().join("; ")]
        };
        self.shared.amend(&collection.id, |audit| (audit.settings, audit.own) = (settings, odd));
        Ok(collection)
    }

    /// Whether the rows of the index are those of a cosine index. Found out once.
    fn is_cosine(&mut self, collection: &Collection) -> Attempt<bool> {
        if let Some(known) = self.shared.audit(&collection.id).is_cosine {
            return Ok(known);
        }
        let (file, shared) = (self.file.clone(), Arc::clone(&self.shared));
        let (segments, followed, neighbours) = self.look(|db, _, known| {
            let catalog = shared.catalog(db);
            let segments = Segments::of(catalog, known, &file, (&collection.id, &collection.name))?;
            let followed = super::core::followed(catalog, &segments, &file)?;
            let neighbours = catalog.segment_neighbours(&segments.vector).map_err(|e| failure(&file, &e))?;
            Ok((segments, followed, neighbours.and_then(|n| u32::try_from(n).ok())))
        })?;
        let shape = Shape { dimension: collection.dimension, cosine: false, neighbours };
        let state = State::load(&self.path, segments, (shape, followed), &shared.indexes)?;
        let is_cosine = matches!(&*state.vectors, Vectors::Index(index)
            if index.evidence.doubt(false).is_some_and(|doubt| doubt.cosine && doubt.is_clear()));
        shared.amend(&collection.id, |audit| audit.is_cosine = Some(is_cosine));
        Ok(is_cosine)
    }

    /// The names of all databases of a tenant, in order.
    pub(super) fn databases(&mut self, tenant: &str) -> Attempt<Vec<String>> {
        let (file, shared) = (self.file.clone(), Arc::clone(&self.shared));
        let all = self.read(|db, _, _| shared.catalog(db).databases().map_err(|e| failure(&file, &e)))?;
        if let Some(error) = shared.pages.lost("databases") {
            return Err(Failure::Final(Error::Damaged {
                file,
                what: format!("{error}, so that not all names are known"),
                readable: "name each database, without a *; those on the other pages can be read".to_owned(),
            }));
        }
        Ok(all.into_iter().filter(|(of, _)| of == tenant).map(|(_, name)| name).collect())
    }

    /// Every collection of these databases. `may_be_missing`: one that is not there is empty.
    pub(super) fn of_databases(
        &mut self,
        tenant: &str,
        databases: &[String],
        may_be_missing: bool,
    ) -> Attempt<Vec<Collection>> {
        let found = self.all()?.into_iter().filter(|c| c.tenant == tenant && databases.contains(&c.database));
        let found: Vec<Collection> = found.collect();
        let (store, file, shared) = (self.name(), self.file.clone(), Arc::clone(&self.shared));
        let missing = |what: String, there: String, table: &'static str| match shared.pages.lost(table) {
            // absence from a table that cannot be read is none
            Some(error) => Err(Failure::Final(Error::Damaged {
                file: file.clone(),
                what: format!("{error}, and {what} is not in what is left of it"),
                readable: "restore it from a backup, or save what is left with sqlite3's .recover on a copy".to_owned(),
            })),
            None if may_be_missing => Ok(()),
            None => {
                Err(Failure::Final(Error::NotFound { store: store.clone(), what, remedy: format!("it has {there}") }))
            }
        };
        let empty: Vec<&String> = databases.iter().filter(|d| !found.iter().any(|c| c.database == **d)).collect();
        if empty.is_empty() {
            return Ok(found);
        }
        let (tenants, all) = self.read(|db, _, _| {
            let catalog = shared.catalog(db);
            let both = catalog.tenants().and_then(|tenants| Ok((tenants, catalog.databases()?)));
            both.map_err(|e| failure(&file, &e))
        })?;
        if !tenants.iter().any(|t| t == tenant) {
            missing(format!("tenant {tenant:?}"), format!("the tenants {tenants:?}"), "tenants")?;
        }
        let names: Vec<&str> = all.iter().filter(|(t, _)| t == tenant).map(|(_, d)| d.as_str()).collect();
        for database in empty {
            let what = format!("database {database:?} of tenant {tenant:?}");
            if !names.contains(&database.as_str()) {
                missing(what, format!("the databases {names:?}"), "databases")?;
            } else if shared.pages.lost("collections").is_some() {
                missing(format!("any collection of {what}"), String::new(), "collections")?;
            }
        }
        Ok(found)
    }
}

/// With the dimension that its vectors have, if index and log agree on another one than its row says.
fn sized(
    catalog: Catalog<'_>,
    file: &Path,
    mut described: Described,
    recent: &HashMap<String, i64>,
    shared: &Shared,
) -> Attempt<Described> {
    let Described { collection, folder, .. } = &mut described;
    if let Some(folder) = &*folder {
        let said = collection.dimension;
        let known = shared.audit(&collection.id).dimension.filter(|known| known.said == said);
        let recent = recent.get(&collection.id).copied();
        let settled: Option<Settled> = match known {
            Some(known) => Some(known),
            None => {
                dimension::settled(catalog.db, folder, &collection.id, said, recent)?.map_err(|e| failure(file, &e))?
            }
        };
        collection.dimension = settled.map_or(said, |settled| Some(settled.really));
        shared.amend(&collection.id, |audit| audit.dimension = settled);
    }
    Ok(described)
}

/// A collection by its row. What is wrong with the row is a matter of this collection alone: it is named, and the others
/// are read.
fn of_row(
    (catalog, known): (Catalog<'_>, &KnownRows),
    file: &Path,
    columns: Columns,
    row: CollectionRow,
) -> Attempt<Described> {
    let sql = |e| failure(file, &e);
    let (mut wrong, mut unreadable) = (row.wrong, Vec::new());
    if wrong.iter().any(|what| what.starts_with("has an id")) {
        unreadable.push("has an id that is no text, by which nothing of it can be found".to_owned());
    }
    let mut json = |text: &Option<String>, column: &str| {
        let parsed = text.as_deref().map(serde_json::from_str::<Json>).transpose();
        parsed.map_err(|e| wrong.push(format!("has a {column} that is no JSON ({e})")))
    };
    let (configuration, schema) = (json(&row.configuration, "config_json_str"), json(&row.schema, "schema_str"));
    // up to 0.6 no engine goes by these documents
    let decides = columns.client == Client::Rust;
    let is_lost = decides && (schema.is_err() || configuration.is_err() || row.is_lost);
    let (configuration, schema) = (configuration.unwrap_or_default(), schema.unwrap_or_default());
    let OwnMetadata { metadata, wrong: unread, odd, whole } =
        catalog.collection_metadata(columns, &row.id).map_err(sql)?;
    wrong.extend(unread);
    let dimension = row.dimension.map(u32::try_from).transpose().unwrap_or_else(|_| {
        wrong.push(format!("has the dimension {}", row.dimension.unwrap_or_default()));
        None
    });
    let found = Segments::find(catalog, known, file, &row.id)?
        .map_err(|why| refused(&metadata).filter(|_| why == NONE).unwrap_or(why));
    unreadable.extend(found.as_ref().err().cloned());
    let folder = found.as_ref().ok().map(|segments| file.with_file_name(&segments.vector));
    let space = match &found {
        Ok(segments) if !segments.is_without_index() => catalog.segment_space(&segments.vector).map_err(sql)?,
        _ => Around { rows: Vec::new(), whole: catalog.has_no_segment_space().map_err(sql)? },
    };
    let (space, is_known): (Metadata, bool) = (space.rows.into_iter().collect(), space.whole);
    let documents =
        Documents { schema: schema.as_ref(), configuration: configuration.as_ref(), metadata: &metadata, decides };
    let is_unsaid = !is_known && space.is_empty() && !documents.decide();
    let (distance, from) = documents.distance(&space, is_lost || is_unsaid);
    // Chroma's default is no distance where what would say another one is lost
    let is_partial = row.is_lost || is_unsaid || !whole;
    let from = if from == From::Default && is_partial { From::Nothing } else { from };
    let collection = Collection {
        id: row.id,
        name: row.name,
        tenant: row.tenant,
        database: row.database,
        dimension,
        distance,
        metadata,
        configuration,
        schema,
        unreadable: (!unreadable.is_empty()).then(|| unreadable.join(", and ")),
    };
    Ok(Described { collection, wrong, is_unsaid, odd, distance: from, folder })
}

/// Why a collection has no segments, if its own metadata tells: Chroma up to 0.6 makes its row before it refuses a setting
/// (measured on 0.4.24, 0.5.23 and 0.6.3).
fn refused(metadata: &Metadata) -> Option<String> {
    let (key, value) = metadata.iter().find(|(key, value)| metadata_problem(key, value).is_some())?;
    let value = match value {
        Value::Str(text) => format!("{text:?}"),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::List(_) => "a list".to_owned(),
    };
    Some(format!(
        "has no segments: Chroma refuses {key:?} = {value} in its metadata, and up to 0.6 it left such a row, which never held a record"
    ))
}

/// What is written of a collection beside its segment.
struct Documents<'a> {
    schema: Option<&'a Json>,
    configuration: Option<&'a Json>,
    metadata: &'a Metadata,
    /// Whether the engine goes by schema and configuration at all.
    decides: bool,
}

impl Documents<'_> {
    fn declared(&self, space: &Metadata) -> Distance {
        distance::declared(self.schema, self.configuration, space)
    }

    /// Whether the distance does not depend on what the segment's metadata says.
    fn decide(&self) -> bool {
        let would_be = |one: Distance| Metadata::from([(SPACE.to_owned(), Value::Str(one.as_str().to_owned()))]);
        [Distance::L2, Distance::Cosine, Distance::Ip].into_iter().any(|one| self.declared(&would_be(one)) != one)
    }

    /// The distance, and where it is from. A document that is lost may have said it: the next best is what was written beside it.
    fn distance(&self, space: &Metadata, is_lost: bool) -> (Distance, From) {
        let hint = if is_lost && space.is_empty() { self.metadata } else { space };
        let is_said = || self.schema.is_some_and(|schema| !distance::named(Some(schema), None, &[]).is_empty());
        if !is_lost || is_said() {
            return (self.declared(space), From::Truth);
        }
        let is_named = matches!(hint.get(SPACE), Some(Value::Str(word)) if Distance::parse(word).is_some())
            || (self.decides && !distance::named(self.schema, self.configuration, &[]).is_empty());
        (self.declared(hint), if is_named || self.decide() { From::Hint } else { From::Default })
    }
}
