//! What the source is as a whole: empty, replaced since an earlier attempt, damaged. Reads no record.

use sha2::{Digest as _, Sha256};

use crate::engine::halt::Halt;
use crate::engine::select::Selected;
use crate::engine::{Context, Pair, Run, Warning, damage};
use crate::model::Collection;
use crate::report::{Listed, ListedCollection};

use super::findings::{self, Against};
use super::mapping::Asked;

/// Looks at the source before any record is read: refuses what is empty or replaced, and names what is damaged.
pub(super) async fn look(context: &Context<'_>, asked: &Asked<'_>, run: &mut Run) -> Result<(), Halt> {
    let now = listed(run);
    if !context.options.allow_empty {
        none_left(run)?;
    }
    if let Some(before) = &context.options.listed
        && let Some(why) = replaced(before, &now)
    {
        return Err(Halt::SourceReplaced(why));
    }
    if now.records == 0 && !context.options.allow_empty {
        empty(context, run).await?;
    }
    run.tracker.listed(now);
    remarks(context, asked, run).await
}

/// The collections of which something can be read. The others are named, and speak against the verdict. Where only the distance is not
/// known, that of the collection `there`, in the target, is a person's choice.
pub(in crate::engine) fn readable(
    mut selected: Vec<Selected>,
    there: &[Collection],
    run: &mut Run,
) -> Result<Vec<Selected>, Halt> {
    for one in &mut selected {
        let target = there.iter().find(|target| one.is_target(target) && target.unreadable.is_none());
        let Some(target) = target.filter(|_| one.source.lacks_distance_only()) else { continue };
        (one.source.distance, one.source.unreadable) = (target.distance, None);
        run.warnings.push(Warning {
            check: "source-distance",
            message: format!(
                "nothing left of collection {} tells its distance: {}, that of the target's collection, was taken",
                one.source_words(),
                target.distance
            ),
            remedy: "if it was another one, delete the target's collection and create it with the right one",
        });
    }
    let (sound, broken): (Vec<_>, Vec<_>) = selected.into_iter().partition(|one| one.source.unreadable.is_none());
    for one in broken {
        let why = one.source.unreadable.as_deref().unwrap_or_default();
        leave_out(run, &one.source_words(), &format!("it {why}"));
    }
    if sound.is_empty() {
        none_left(run)?;
    }
    Ok(sound)
}

/// The check that a collection fails of which nothing can be read.
pub(in crate::engine) const LEFT_OUT: &str = "source-collection";

/// Notes that a collection is not moved, of which nothing can be read.
pub(in crate::engine) fn leave_out(run: &mut Run, name: &str, why: &str) {
    skip(run, name, &format!("nothing of it can be read: {why}"));
}

/// Notes that a collection is not moved.
pub(super) fn skip(run: &mut Run, name: &str, why: &str) {
    run.warnings.push(Warning {
        check: LEFT_OUT,
        message: format!("collection {name} was skipped: {why}"),
        remedy: "restore it from a backup; all other collections are moved",
    });
}

/// Refuses a run that has nothing left to move.
pub(super) fn none_left(run: &Run) -> Result<(), Halt> {
    let left_out: Vec<&str> = run.warnings.iter().filter(|w| w.check == LEFT_OUT).map(|w| w.message.as_str()).collect();
    if left_out.is_empty() || run.pairs.iter().any(|pair| !pair.ledger.ids().is_empty()) {
        return Ok(());
    }
    let told = left_out.join("; ");
    Err(Halt::Refused(format!(
        "there is no other record to move, and nothing was written. {told}; restore it from a backup"
    )))
}

/// What this run found, for its next attempt.
fn listed(run: &Run) -> Listed {
    let mut pairs: Vec<_> = run.pairs.iter().collect();
    let place = |pair: &&Pair| (pair.source.database.clone(), pair.source.name.clone());
    pairs.sort_by_cached_key(place);
    let mut digest = Sha256::new();
    for pair in &pairs {
        for text in [&pair.source.database, &pair.source.name, &pair.source.id] {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
    }
    let one = |pair: &&Pair| ListedCollection { id: pair.source.id.clone(), records: pair.ledger.ids().len() as u64 };
    Listed {
        collections: pairs.iter().take(Listed::MOST).map(one).collect(),
        records: pairs.iter().map(|pair| pair.ledger.ids().len() as u64).sum(),
        digest: format!("{:x}", digest.finalize()),
    }
}

/// Why the source is not the one that an earlier attempt listed; None where it is, or has only got more collections.
fn replaced(before: &Listed, now: &Listed) -> Option<String> {
    const REMEDY: &str = "Check the source. If this is meant, start a new run (another runId)";
    if now.records == 0 && before.records > 0 {
        let had = before.records;
        return Some(format!("the source held {had} records when this run began and holds none now. {REMEDY}"));
    }
    // beyond the named ones only the digest is known, which a new collection changes too
    let is_cut = now.collections.len() == Listed::MOST;
    for old in &before.collections {
        match now.collections.iter().find(|new| new.id == old.id) {
            None if before.digest == now.digest || is_cut => {}
            None => {
                return Some(format!(
                    "the source's collection with UUID {}, which held {} records when this run began, was replaced or \
                     deleted since. {REMEDY}",
                    old.id, old.records
                ));
            }
            Some(new) if new.records == 0 && old.records > 0 => {
                return Some(format!(
                    "the source's collection with UUID {} held {} records when this run began and holds none now. {REMEDY}",
                    old.id, old.records
                ));
            }
            Some(_) => {}
        }
    }
    None
}

/// No id is listed: empty, if the store's own counts say the same. A dry run tells it and ends well.
async fn empty(context: &Context<'_>, run: &mut Run) -> Result<(), Halt> {
    for pair in &run.pairs {
        let counted = context.until_stopped(context.source.count(&pair.source)).await?.map_err(Halt::Source)?;
        if counted > 0 {
            return Err(Halt::NotYet(format!(
                "collection {} of {} counts {counted} records and lists none: its answers are cut short. Ask the server \
                 directly, without the gateway before it",
                pair.source_words(),
                context.source.name()
            )));
        }
    }
    let collections = run.pairs.len();
    let message = format!("{} holds no record in the {collections} selected collections", context.source.name());
    let remedy = "check the address, tenant, database and collections; if an empty source is meant, allow it (--allow-empty, \
                  allowEmpty: true)";
    if context.options.dry_run {
        run.warnings.push(Warning { check: "source-empty", message, remedy });
        return Ok(());
    }
    Err(Halt::SourceEmpty(format!("{message}, so there is nothing to compare; {remedy}")))
}

/// What the source says of its collections beside their records.
async fn remarks(context: &Context<'_>, asked: &Asked<'_>, run: &mut Run) -> Result<(), Halt> {
    let (mut against, mut notes, mut short) = (Against::none(asked), Vec::new(), Vec::new());
    for pair in &mut run.pairs {
        let told =
            context.until_stopped(context.source.remarks(&pair.source)).await?.map_err(Halt::Source)?.of_source();
        pair.lacks(told.counted);
        let named = |what: String| format!("{}: {what}", pair.source_words());
        if let Some(why) = told.refusal.map(named) {
            against.add(&pair.source, why);
        }
        notes.extend(told.notes.into_iter().map(named));
        short.extend(told.short.map(named));
        pair.source_damage = told.damage;
    }
    if !short.is_empty() {
        run.warnings.push(Warning {
            check: "source-listing",
            message: short.join("; "),
            remedy: "what is listed is copied, and the run is not called Verified while ids are left out",
        });
    }
    if let Some(message) = damage::of_source(&run.pairs) {
        run.warnings.push(Warning {
            check: "source-damage",
            message,
            remedy: "what can be read is copied, and the run is not called Verified: see the guide on rescuing a store",
        });
    }
    run.findings.push(findings::source_state(&against, &notes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(collections: &[(&str, u64)]) -> Listed {
        let one = |(id, records): &(&str, u64)| ListedCollection { id: (*id).to_owned(), records: *records };
        Listed {
            collections: collections.iter().map(one).collect(),
            records: collections.iter().map(|(_, records)| records).sum(),
            digest: collections.iter().map(|(id, _)| *id).collect(),
        }
    }

    #[test]
    fn a_source_that_was_replaced_emptied_or_lost_is_told_from_one_that_grew() {
        let before = of(&[("a", 5), ("b", 0)]);
        for (now, expected) in [
            (of(&[("a", 5), ("b", 0)]), None),
            (of(&[("a", 900), ("b", 3), ("c", 1)]), None),
            (of(&[("a", 1), ("b", 0)]), None),
            (of(&[("x", 5), ("b", 0)]), Some("UUID a")),
            (of(&[("b", 7)]), Some("UUID a")),
            (of(&[("a", 0), ("b", 7)]), Some("held 5 records")),
            (of(&[]), Some("holds none now")),
        ] {
            match (replaced(&before, &now), expected) {
                (None, None) => {}
                (Some(why), Some(text)) => assert!(why.contains(text), "{why}"),
                other => panic!("{now:?}: {other:?}"),
            }
        }
    }
}
