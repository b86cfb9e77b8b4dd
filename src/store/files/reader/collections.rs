//! A collection as the tables describe it: settings, distance, and what is wrong with its row.
//! Works inside the caller's transaction, and reads no record.

use std::path::Path;

use super::state::Segments;
use crate::model::distance::SPACE;
use crate::model::{Collection, Distance, Metadata, Value, distance};
use crate::store::files::sqlite::catalog::{Catalog, CollectionRow};
use crate::store::files::sqlite::connection::failure;
use crate::store::files::sqlite::schema::Columns;
use crate::store::files::system::Attempt;

/// A collection by its row. What is wrong with the row is a matter of this collection alone: it is named, and the others
/// are read.
pub(super) fn of_row(catalog: Catalog<'_>, file: &Path, columns: Columns, row: CollectionRow) -> Attempt<Collection> {
    let sql = |e| failure(file, &e);
    let mut wrong = Vec::new();
    let mut json = |text: &Option<String>, column: &str| {
        let parsed = text.as_deref().map(serde_json::from_str::<serde_json::Value>).transpose();
        parsed.unwrap_or_else(|e| {
            wrong.push(format!("has a {column} that is no JSON ({e})"));
            None
        })
    };
    let configuration = json(&row.configuration, "config_json_str");
    let schema = json(&row.schema, "schema_str");
    let metadata = catalog.collection_metadata(columns, &row.id).map_err(sql)?.unwrap_or_else(|why| {
        wrong.push(format!("has unreadable settings: {why}"));
        Metadata::new()
    });
    let dimension = row.dimension.map(u32::try_from).transpose().unwrap_or_else(|_| {
        wrong.push(format!("has the dimension {:?}", row.dimension));
        None
    });
    let (space, is_known) = match Segments::of(&catalog.segments(&row.id).map_err(sql)?) {
        Ok(segments) => {
            let found = catalog.segment_space(&segments.vector).map_err(sql)?;
            (found.rows.into_iter().collect(), found.whole)
        }
        Err(why) => {
            wrong.push(why);
            (Metadata::new(), true)
        }
    };
    let declared = |space: &Metadata| distance::declared(schema.as_ref(), configuration.as_ref(), space);
    let distance = declared(&space);
    let would_be = |word: &str| declared(&Metadata::from([(SPACE.to_owned(), Value::Str(word.to_owned()))]));
    if !is_known
        && space.is_empty()
        && [Distance::L2, Distance::Cosine, Distance::Ip].iter().any(|one| would_be(one.as_str()) != distance)
    {
        wrong.push("has its distance on a page of the table segment_metadata that cannot be read".to_owned());
    }
    Ok(Collection {
        id: row.id,
        name: row.name,
        tenant: row.tenant,
        database: row.database,
        dimension,
        distance,
        metadata,
        configuration,
        schema,
        unreadable: (!wrong.is_empty()).then(|| wrong.join(", and ")),
    })
}
