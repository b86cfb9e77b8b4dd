//! What must be said of a mutant, and whether it was. Pure: reads reports, runs nothing.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::catalogue::{Fault, Field, Mutant};
use super::described::Described;
use crate::support::migration::Report;

/// What the fault is, for a judge.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// Nobody can tell it from what Chroma does on its own.
    Equal,
    /// These ids with these fields, and no others.
    Named(Vec<(String, String)>),
    /// A part of the message; and whether the run must fail.
    Said(String, bool),
    /// Anything but a success: the answer is none that a server gives.
    NoSuccess,
}

impl Expected {
    pub(crate) fn of_records(mutant: &Mutant, named: Vec<(String, String)>) -> Self {
        let is_foreign = matches!(mutant.field, Field::Id | Field::Vector | Field::Document | Field::Uri)
            && mutant.fault == Fault::TypeChanged;
        match named {
            _ if is_foreign => Self::NoSuccess,
            named if named.is_empty() => Self::Equal,
            named => Self::Named(named),
        }
    }

    pub(crate) fn of_collection(described: &Described) -> Self {
        Self::Said(described.said.clone(), described.is_vital)
    }

    /// Those of the named ids with this field, or with any other.
    fn ids(&self, is: impl Fn(&str) -> bool) -> Vec<&str> {
        let Self::Named(named) = self else { return Vec::new() };
        let ids: BTreeSet<_> = named.iter().filter(|(_, field)| is(field)).map(|(id, _)| id.as_str()).collect();
        ids.into_iter().collect()
    }

    /// Ids that are in the target alone.
    pub(crate) fn extra(&self) -> Vec<&str> {
        self.ids(|field| field == "extra")
    }

    /// Ids that the target has not.
    pub(crate) fn missing(&self) -> Vec<&str> {
        self.ids(|field| field == "missing")
    }

    /// Ids that both have, with other content.
    pub(crate) fn different(&self) -> Vec<&str> {
        self.ids(|field| field != "missing" && field != "extra")
    }
}

pub(crate) type Judged = Result<(), String>;

fn judged(ok: bool, what: &str, report: &Report) -> Judged {
    if ok { Ok(()) } else { Err(format!("{what}: {} {}", report.reason(), report.json)) }
}

pub(crate) fn is_success(report: &Report) -> bool {
    report.output.exit_code() == 0
}

/// Everything that a person reads: message and checks.
fn said(report: &Report) -> String {
    let checks = report.json["preflight"].as_array().unwrap().iter();
    let texts = checks.map(|check| check["message"].as_str().unwrap_or_default().to_owned());
    std::iter::once(report.message().to_owned()).chain(texts).collect::<Vec<_>>().join("\n")
}

fn listed(report: &Report) -> Vec<(String, String, String)> {
    let collections = report.json["collections"].as_array().unwrap().iter();
    let all = collections.flat_map(|one| one["differences"].as_array().unwrap());
    let text = |one: &Json, key: &str| one[key].as_str().unwrap().to_owned();
    all.map(|one| (text(one, "id"), text(one, "field"), text(one, "detail"))).collect()
}

/// A bug of ours is never the right answer.
fn is_no_bug(report: &Report) -> Judged {
    judged(report.output.exit_code() != 1 && report.reason() != "InternalError", "called a bug", report)
}

/// What `verify --extras fail` said.
pub(crate) fn of_verify(expected: &Expected, report: &Report) -> Judged {
    is_no_bug(report)?;
    match expected {
        Expected::Equal => judged(report.reason() == "Verified", "a tolerated one is no difference", report),
        Expected::NoSuccess => judged(!is_success(report), "a false answer passed", report),
        Expected::Named(named) => {
            judged(report.reason() == "VerificationFailed", "not found", report)?;
            names(named, report)
        }
        Expected::Said(part, is_vital) => {
            judged(said(report).contains(part), &format!("does not say {part:?}"), report)?;
            judged(report.json["verification"]["identical"] == false, "called identical", report)?;
            judged(!*is_vital || !is_success(report), "a success", report)
        }
    }
}

/// Each one by id and field, and nobody else. A record whose vector is none may be called unreadable.
fn names(named: &[(String, String)], report: &Report) -> Judged {
    let listed = listed(report);
    for (id, field) in named {
        let is = |(other, name, _): &(String, String, String)| {
            other == id && (name == field || name == "unreadable" && field == "embedding")
        };
        judged(listed.iter().any(is), &format!("{id:?} {field} is not named"), report)?;
    }
    let innocent = listed.iter().find(|(id, ..)| !named.iter().any(|(other, _)| other == id));
    judged(innocent.is_none(), "another record is named, too", report)
}

/// What `migrate` (conflicts are skipped) said of a target that holds the fault, or whose answers have it.
pub(crate) fn of_skipping(expected: &Expected, report: &Report, is_answer: bool) -> Judged {
    is_no_bug(report)?;
    let Expected::Named(named) = expected else { return of_verify(expected, report) };
    if is_answer && !expected.missing().is_empty() {
        // the target holds it and denies it: nothing can be added, and nothing is proved
        return judged(!is_success(report), "a record that never comes passed", report);
    }
    let listed = listed(report);
    if listed.iter().any(|(_, field, _)| field == "unreadable") {
        // it was compared with nothing
        judged(report.reason() == "VerificationFailed", "a record that cannot be read passed", report)?;
        return names(named, report);
    }
    let different = expected.different();
    let reason = if different.is_empty() { "Verified" } else { "VerifiedWithSkips" };
    judged(report.reason() == reason, &format!("is not {reason}"), report)?;
    for id in different {
        let is_listed = listed.iter().any(|(other, field, _)| other == id && field == "conflict");
        judged(is_listed, &format!("{id:?} is no conflict"), report)?;
    }
    extras(expected, report)
}

/// What `migrate` said of files where a vector's bytes are too many or too few: the server takes them in its own way, but from
/// the files there is none, and that fails by name.
pub(crate) fn of_a_broken_vector(expected: &Expected, report: &Report) -> Judged {
    is_no_bug(report)?;
    judged(!is_success(report), "a vector that files do not hold passed", report)?;
    match expected {
        // 1.5.9 cannot apply a log of which an entry has no vector (measured), and then answers for none of them
        Expected::Named(named) if report.reason() != "Unavailable" => names(named, report),
        _ => Ok(()),
    }
}

/// What `migrate --on-conflict overwrite` said of a target that held the fault.
pub(crate) fn of_overwriting(expected: &Expected, report: &Report) -> Judged {
    is_no_bug(report)?;
    let Expected::Named(_) = expected else { return of_verify(expected, report) };
    judged(report.reason() == "Verified", "was not mended", report)?;
    let overwritten = expected.different().len() as u64;
    judged(report.count("overwritten") == overwritten, &format!("{overwritten} were different"), report)?;
    extras(expected, report)
}

fn extras(expected: &Expected, report: &Report) -> Judged {
    let extra = expected.extra();
    judged(report.count("extra") == extra.len() as u64, &format!("{} are extra", extra.len()), report)?;
    judged(extra.is_empty() || report.json["verification"]["identical"] == false, "called identical", report)
}

/// A store whose parts no longer agree: the damage is named, and nothing is called a success.
pub(crate) fn is_damage(report: &Report) -> bool {
    !is_success(report)
        && ["damage", "does not hold together", "do not add up"].iter().any(|word| said(report).contains(word))
}
