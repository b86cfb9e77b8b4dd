//! Reads windows of records by id, from one side or both at once. Never by offset; writes nothing.

use std::collections::HashMap;

use super::batch::Window;
use super::halt::Halt;
use super::{Context, Pair};
use crate::store::{Collection, Fetched, Reader, Record, Value};

/// What one window of records takes in memory, about.
const WINDOW_BYTES: usize = 4 << 20;
/// Records in one window: what a server answers fastest, measured.
const WINDOW_RECORDS: usize = 1000;

/// Answers by id.
pub(super) type Answers = HashMap<String, Fetched>;

/// A window sized for records of any size.
pub(super) fn sized() -> Window {
    Window::new(WINDOW_BYTES, WINDOW_RECORDS)
}

/// Reads these ids of the pair's source.
pub(super) async fn of_source(context: &Context<'_>, pair: &Pair, ids: &[String]) -> Result<Answers, Halt> {
    of_collection(context, &pair.source, ids).await
}

/// Reads these ids of a collection of the source.
pub(super) async fn of_collection(context: &Context<'_>, source: &Collection, ids: &[String]) -> Result<Answers, Halt> {
    if ids.is_empty() {
        return Ok(Answers::new());
    }
    let answer = context.until_stopped(context.source.fetch(source, ids)).await?;
    Ok(by_id(answer.map_err(Halt::Source)?))
}

/// Reads these ids of a target.
pub(super) async fn of_target(
    context: &Context<'_>,
    target: &dyn Reader,
    collection: Option<&Collection>,
    ids: &[String],
) -> Result<Answers, Halt> {
    let Some(collection) = collection.filter(|_| !ids.is_empty()) else { return Ok(Answers::new()) };
    let answer = context.until_stopped(target.fetch(collection, ids)).await?;
    Ok(by_id(answer.map_err(Halt::Target)?))
}

fn by_id(answer: Vec<Fetched>) -> Answers {
    answer.into_iter().map(|fetched| (fetched.id().to_owned(), fetched)).collect()
}

/// Bytes that these answers take, about: to size the next window.
pub(super) fn bytes(answers: &Answers) -> usize {
    let of = |fetched: &Fetched| match fetched {
        Fetched::Record { record, .. } => record_bytes(record),
        Fetched::Unreadable { .. } => 0,
    };
    answers.values().map(of).sum()
}

/// Bytes of one record, about.
pub(super) fn record_bytes(record: &Record) -> usize {
    let Record { id, embedding, document, uri, metadata } = record;
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let metadata: usize = metadata.iter().map(|(key, value)| key.len() + value_bytes(value)).sum();
    id.len() + embedding.len() * size_of::<f32>() + text(document) + text(uri) + metadata
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => 8,
        Value::List(items) => items.iter().map(value_bytes).sum(),
    }
}
