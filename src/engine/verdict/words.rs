//! What a verdict says, in a person's words: one task copies, the other only compares. Pure.

use super::identity::{self, NAMED};
use crate::engine::ledger::Plan;
use crate::engine::preflight::LEFT_OUT;
use crate::engine::sendable::REFUSED;
use crate::engine::{Extras, Run, damage};
use crate::report::{Counts, Direction};

/// What a run was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Copy, then compare.
    Migration,
    /// Compare only.
    Comparison,
}

impl Task {
    /// What was done with all records but those that a sentence is about.
    const fn did(self) -> &'static str {
        match self {
            Self::Migration => "All others were copied and compared",
            Self::Comparison => "All others were compared",
        }
    }

    /// That every record is equal.
    pub(super) fn equal(self, records: u64) -> String {
        match self {
            Self::Migration => format!("{records} records verified: every one was compared and is equal"),
            Self::Comparison => format!("{records} records compared: every one is equal"),
        }
    }

    /// What differs, why where that is known, and what to do.
    pub(super) fn differing(self, run: &Run, counts: &Counts) -> String {
        let Counts { different, missing, unreadable, .. } = counts;
        let unread = if *unreadable == 0 {
            String::new()
        } else {
            format!(". {unreadable} records of the source cannot be read, which are listed, too")
        };
        let lost: u64 = run.pairs.iter().map(|pair| pair.ledger.count(|plan| plan == Plan::Lost)).sum();
        if lost > 0 && lost == different + missing {
            return format!(
                "{lost} records cannot be read in the target, so that nothing is proved of them; they were left alone (onConflict: \
                 Skip). {}. This run's output lists them: run it again with onConflict Overwrite, which replaces them{unread}",
                self.did()
            );
        }
        let lost = if lost == 0 {
            String::new()
        } else {
            format!(". {lost} of these cannot be read in the target, and were left alone (onConflict: Skip)")
        };
        let (refused, named) = refused(run);
        if refused > 0 && refused == different + missing {
            return format!(
                "{refused} records were not moved, for the target does not take them as they are: {named}. {}. This run's output \
                 lists them: change or delete them in the source, then run it again{unread}",
                self.did()
            );
        }
        let refused = if refused == 0 {
            String::new()
        } else {
            format!(". {refused} of these were not sent, for the target does not take them as they are: {named}")
        };
        let remedy = match self {
            // what to do is said of the damage
            _ if damage::of_target(&run.pairs).is_some() => "run this again when the target is sound",
            Self::Migration => "check that nothing else writes the target, and run again with onConflict Overwrite",
            Self::Comparison => "migrate them (onConflict: Overwrite replaces what differs), and compare again",
        };
        format!(
            "{different} records differ and {missing} are missing in the target. This run's output lists them; \
             {remedy}{lost}{refused}{unread}"
        )
    }

    /// That the source did not rest, and what to do.
    pub(super) fn changing(self, records: u64) -> String {
        let done = match self {
            Self::Migration => "copied",
            Self::Comparison => "compared",
        };
        format!(
            "{records} records changed in the source faster than they could be {done}; stop its writers, or run again when \
             it is quieter"
        )
    }

    /// What was not read, though it might be another time.
    pub(super) fn unread(self, run: &Run) -> Option<String> {
        let all: Vec<&str> = run.pairs.iter().flat_map(|pair| pair.unread.iter().map(String::as_str)).collect();
        (!all.is_empty()).then(|| {
            format!(
                "{}. {}. Mend the server, or read the store's files instead, and run it again",
                all.join("; "),
                self.did()
            )
        })
    }

    /// What became of the records where the store as a whole is what does not add up.
    pub(super) fn rest(self, unreadable: u64, direction: Direction) -> String {
        match (unreadable, self) {
            (0, Self::Migration) => "All records that can be read were copied and compared".to_owned(),
            (0, Self::Comparison) => "All records that can be read were compared".to_owned(),
            _ => self.unreadable(unreadable, direction),
        }
    }

    /// What cannot be read, and what to do.
    pub(super) fn unreadable(self, records: u64, direction: Direction) -> String {
        // files often have what their server fails on
        let files = match direction {
            Direction::RemoteToLocal | Direction::RemoteToRemote => {
                "read the server's files instead if you can (source.local, --source-type local), "
            }
            Direction::LocalToLocal | Direction::LocalToRemote => "",
        };
        format!(
            "{records} records of the source cannot be read. {}. This run's output lists them: {files}restore them from a \
             backup, or leave them behind on purpose",
            self.did()
        )
    }

    /// What stands against the verdict beside single records.
    pub(super) fn problems(self, run: &Run) -> Option<String> {
        let copy = match self {
            Self::Migration => {
                "If the store is itself a copy, made while a Chroma ran on it, make a new one without that Chroma. If it is broken, the \
                 guide \"Rescue a broken store\" says what is lost, what is not, and how to add that from a backup"
            }
            Self::Comparison => {
                "If the store is itself a copy, made while a Chroma ran on it, make a new one without that Chroma. If it is broken, the \
                 guide \"Rescue a broken store\" says what is lost, and what is not"
            }
        };
        let mut all = Vec::new();
        all.extend(damage::of_source(&run.pairs).map(|what| format!("the source is damaged: {what}. {copy}")));
        all.extend(damage::of_target(&run.pairs).map(|what| {
            format!("the target is damaged: {what}. Restore it from a backup, or migrate into a new store")
        }));
        let left_out = run.warnings.iter().filter(|warning| warning.check == LEFT_OUT);
        all.extend(left_out.map(|warning| warning.message.clone()));
        for problem in run.pairs.iter().flat_map(|pair| &pair.problems) {
            if !all.contains(problem) {
                all.push(problem.clone());
            }
        }
        let left_out = all.len().saturating_sub(NAMED);
        all.truncate(NAMED);
        let more = if left_out > 0 { format!("; and {left_out} more") } else { String::new() };
        (!all.is_empty()).then(|| all.join("; ") + &more)
    }
}

/// How many records the target does not take, and the first of them with the reason.
fn refused(run: &Run) -> (u64, String) {
    let count = run.pairs.iter().map(|pair| pair.ledger.count(|plan| plan == Plan::Refused)).sum();
    let listed = run.pairs.iter().flat_map(|pair| {
        let refused = pair.notes.listed.iter().filter(|note| note.field == REFUSED);
        refused.map(|note| format!("{:?} of {}: {}", note.id, pair.source_words(), note.detail))
    });
    let first: Vec<String> = listed.take(NAMED).collect();
    let more =
        if count > first.len() as u64 { format!("; and {} more", count - first.len() as u64) } else { String::new() };
    (count, first.join("; ") + &more)
}

/// Why a target fails that may hold nothing else than the source: how many records, where, and what to do.
pub(super) fn forbidden(run: &Run, extras: Extras, proved: &str) -> Option<String> {
    let held = held(run, extras)?;
    Some(format!(
        "{held}. Extras are not allowed, and nothing was deleted. {proved}. This run's output lists them: delete them in the \
             target if nobody needs them, or allow them (--extras allow, verification.extras: Allow)"
    ))
}

/// The same of a run that fails for another reason: nobody should learn of it by the next run only.
pub(super) fn held_too(run: &Run, extras: Extras) -> String {
    let sentence = |held: String| {
        format!(". {}{}. Extras are not allowed either, and nothing was deleted", held[..1].to_uppercase(), &held[1..])
    };
    held(run, extras).map(sentence).unwrap_or_default()
}

/// What only the target holds, where that is not allowed.
fn held(run: &Run, extras: Extras) -> Option<String> {
    let held: Vec<String> = identity::extra(run).into_iter().chain(identity::others(run)).collect();
    (extras == Extras::Fail && !held.is_empty()).then(|| held.join("; "))
}

/// What a person should know that leaves the verdict as it is. `proved`: every record was compared and none was skipped.
pub(super) fn beside(run: &Run, counts: &Counts, proved: bool) -> String {
    let mut told = Vec::new();
    if run.pairs.iter().any(|pair| pair.may_be_one) {
        told.push(
            "source and target hold the same collections (equal UUIDs): this may be one store and no second copy"
                .to_owned(),
        );
    }
    let obstacles = identity::obstacles(run, counts);
    let is_identical = obstacles.is_empty();
    if proved && !is_identical {
        told.push(format!("not identical: {}", obstacles.join("; ")));
    } else {
        told.extend(obstacles);
    }
    let remarks: Vec<&str> = run.pairs.iter().flat_map(|pair| pair.remarks.iter().map(String::as_str)).collect();
    if let Some(first) = remarks.first() {
        let more = if remarks.len() > 1 {
            format!(" (and {} more: see --report FILE)", remarks.len() - 1)
        } else {
            String::new()
        };
        told.push(format!("noticed {first}{more}"));
    }
    let identical = if proved && is_identical { "; source and target are identical" } else { "" };
    let sentence = |text: &String| [". ", &text[..1].to_uppercase(), &text[1..]].concat();
    identical.to_owned() + &told.iter().map(sentence).collect::<String>()
}
