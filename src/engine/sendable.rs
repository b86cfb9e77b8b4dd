//! Which records may be sent to the target: the last check before a write. Sends nothing.

use std::io;

use super::Pair;
use super::ledger::Plan;
use super::window::Answers;
use crate::chroma::{Capabilities, rules};
use crate::model::{Fetched, Record};

/// The field by which a report lists a record that the target does not take.
pub(super) const REFUSED: &str = "refused";

/// Why this record must not be sent to the target.
pub(super) fn problem(record: &Record, pair: &Pair, capabilities: &Capabilities) -> Option<String> {
    let bytes = rules::body_len(record, capabilities.base64);
    if bytes > capabilities.max_body {
        return Some(format!("{bytes} bytes as sent; the target takes {} in one body", capabilities.max_body));
    }
    rules::record_problem(record, pair.source.distance, capabilities)
}

/// The records that may be sent, in id order. Preflight has refused those that may not, but a record can have changed
/// since: it is named and not sent, and costs itself and no other.
pub(super) fn of(pair: &mut Pair, capabilities: &Capabilities, answers: Answers) -> io::Result<Vec<Record>> {
    let mut records = Vec::with_capacity(answers.len());
    for fetched in answers.into_values() {
        match fetched {
            Fetched::Record { record, .. } => match problem(&record, pair, capabilities) {
                None => records.push(record),
                Some(why) => refuse(pair, &record.id, why)?,
            },
            Fetched::Unreadable { id, why } => {
                pair.ledger.plan(&id, Plan::Unreadable)?;
                pair.notes.add(&id, "unreadable", why);
            }
        }
    }
    records.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    Ok(records)
}

/// Names a record that the target does not take.
pub(super) fn refuse(pair: &mut Pair, id: &str, why: String) -> io::Result<()> {
    pair.details.remove(id);
    pair.notes.add(id, REFUSED, why);
    pair.ledger.refused(id)
}
