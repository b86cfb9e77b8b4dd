//! What came to the source after the selection was resolved: it is named, and not copied. Writes nothing.

use std::collections::HashSet;

use crate::engine::halt::Halt;
use crate::engine::{Context, select};
use crate::model::Collection;

/// What the selection matches and was not there when it was resolved: in a person's words, and not copied.
pub(super) async fn than(
    context: &Context<'_>,
    sources: &[Collection],
    resolved: &HashSet<(String, String)>,
) -> Result<Vec<String>, Halt> {
    let selection = &context.options.selection;
    let is_new = |c: &&Collection| {
        selection.target_of(&c.name).is_some() && !resolved.contains(&(c.database.clone(), c.name.clone()))
    };
    let words = |c: &Collection| {
        let database = selection.has_databases().then_some(c.database.as_str());
        format!("collection {}", select::words(database, &c.name))
    };
    let mut found: Vec<String> = sources.iter().filter(is_new).map(words).collect();
    if selection.has_database_patterns() {
        let listed = context.until_stopped(context.source.databases()).await?.map_err(Halt::Source)?;
        let now = selection.databases(listed.as_deref()).unwrap_or_default();
        let had = &context.options.databases;
        found.extend(now.iter().filter(|name| !had.contains(name)).map(|name| format!("database {name:?}")));
    }
    Ok(found)
}
