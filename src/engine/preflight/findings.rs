//! What preflight tells: one finding a check, with a remedy where it failed. Pure.

use std::collections::{BTreeSet, HashMap};

use super::mapping::{self, Asked, Refused};
use crate::chroma::{Capabilities, creation, rules};
use crate::engine::halt::Halt;
use crate::engine::select::Selected;
use crate::engine::{Context, Extras, Options, Run, SearchMode, Verification, Warning};
use crate::model::Collection;
use crate::model::distance::embedding_function;
use crate::store::{Finding, Problem, Reader, Target};

/// How many ids or collections a message names.
const NAMED: usize = 5;

/// A check that passed.
pub(super) fn passed(check: &'static str, message: String) -> Finding {
    Finding { check, problem: None, message }
}

fn failed(check: &'static str, message: String, remedy: &str) -> Finding {
    let problem = Some(Problem { remedy: remedy.to_owned(), may_pass: false });
    Finding { check, problem, message }
}

/// A search check that is required of a run that compares no record.
pub(super) fn search(options: &Options) -> Option<Finding> {
    let is_void = options.search.mode == SearchMode::Require && options.verification == Verification::Counts;
    let message = "the search check is required, and verification by counts compares no record to judge an answer by";
    let remedy =
        "set verification.mode: Full (--verification full) or verification.search.mode: Report (--search report)";
    is_void.then(|| failed("search", message.to_owned(), remedy))
}

/// Stops the run if a check failed, with all that failed in one message.
pub(super) fn refuse(findings: &[Finding]) -> Result<(), Halt> {
    let bad: Vec<(&Finding, &Problem)> = findings.iter().filter_map(|f| Some((f, f.problem.as_ref()?))).collect();
    if bad.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = bad.iter().map(|(f, p)| format!("{}: {}; {}", f.check, f.message, p.remedy)).collect();
    let text = format!("preflight refused, nothing was written by this try. {}", texts.join(". "));
    if bad.iter().all(|(_, problem)| problem.may_pass) { Err(Halt::NotYet(text)) } else { Err(Halt::Refused(text)) }
}

pub(super) fn source_found(source: &dyn Reader, selected: &[Selected], idle: &[String]) -> Finding {
    let databases: BTreeSet<&str> = selected.iter().map(|s| s.source.database.as_str()).collect();
    let several = selected.iter().any(|s| s.target_database.is_some());
    let databases = if several { format!(" of {} databases", databases.len()) } else { String::new() };
    let idle = if idle.is_empty() { String::new() } else { format!("; nothing is left for {}", first(idle)) };
    let collections = selected.len();
    let message = format!("{} ({}), {collections} collections{databases}{idle}", source.name(), source.version());
    passed("source", message)
}

/// The first of some texts, and how many more there are.
fn first(texts: &[String]) -> String {
    let more = texts.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    texts[..texts.len().min(NAMED)].join(", ") + &more
}

pub(super) fn target_found(target: &dyn Target, capabilities: &Capabilities) -> Finding {
    let Capabilities { version, max_batch, .. } = capabilities;
    passed("target", format!("{} (written by Chroma {version}, {max_batch} records a call)", target.name()))
}

/// What a side says against collections, and what to paste so that all others are moved.
pub(super) struct Against<'a> {
    /// In sentences.
    pub(super) told: Vec<String>,
    pub(super) collections: Refused,
    pub(super) asked: &'a Asked<'a>,
}

impl<'a> Against<'a> {
    pub(super) fn none(asked: &'a Asked<'a>) -> Self {
        Self { told: Vec::new(), collections: Refused::new(), asked }
    }

    pub(super) fn add(&mut self, source: &Collection, told: String) {
        self.told.push(told);
        self.collections.insert(place(source));
    }

    fn finding(&self, check: &'static str, change: &str) -> Option<Finding> {
        let remedy = || mapping::or_others(change, self.asked, &self.collections);
        (!self.told.is_empty()).then(|| failed(check, self.told.join("; "), &remedy()))
    }
}

fn place(source: &Collection) -> (String, String) {
    (source.database.clone(), source.name.clone())
}

/// What the source says of its collections beside their records.
pub(super) fn source_state(against: &Against<'_>, notes: &[String]) -> Finding {
    if let Some(finding) = against.finding("source-state", "leave these collections out") {
        return finding;
    }
    let message = if notes.is_empty() { "nothing speaks against its collections".to_owned() } else { notes.join("; ") };
    passed("source-state", message)
}

/// What the target says of its collections beside their records. Chroma answers wrongly for a damaged store, or not at all,
/// and hides what it writes there (measured on 1.5.9): nothing is written into one.
pub(super) fn target_state(damage: Option<String>, against: &Against<'_>, notes: &[String]) -> Finding {
    let check = "target-state";
    if let Some(damage) = damage {
        let remedy = "restore it from a backup, or migrate into a new store: see the guide on rescuing a store";
        return failed(check, format!("the target is damaged: {damage}"), remedy);
    }
    let change = "choose other target names for these collections (--collection NAME=TARGET, targetName)";
    if let Some(finding) = against.finding(check, change) {
        return finding;
    }
    let message = if notes.is_empty() { "nothing speaks against its collections".to_owned() } else { notes.join("; ") };
    passed(check, message)
}

/// The checks of names and of collections that exist on both sides.
pub(super) fn collections(
    selected: &[Selected],
    asked: &Asked<'_>,
    there: &[Collection],
    capabilities: &Capabilities,
) -> Vec<Finding> {
    let settings = settings(selected, asked, there, capabilities);
    vec![names(selected, asked, capabilities), compatible(selected, asked, there), settings]
}

/// The databases that will be made in the target.
pub(super) fn databases(selected: &[Selected], there: &BTreeSet<String>, capabilities: &Capabilities) -> Finding {
    let wanted: BTreeSet<&String> = selected.iter().filter_map(|one| one.target_database.as_ref()).collect();
    let new: Vec<String> = wanted.into_iter().filter(|name| !there.contains(*name)).cloned().collect();
    let problem = |name: &String| {
        let why = rules::database_problem(name, capabilities)?;
        Some(format!("{name:?} is no database name that Chroma takes ({why})"))
    };
    let bad: Vec<String> = new.iter().filter_map(problem).collect();
    if !bad.is_empty() {
        let remedy = "leave these databases out (--database, spec.databases), and move each by a run of its own, with the name of \
                      its database in the target";
        return failed("databases", first(&bad), remedy);
    }
    let message =
        if new.is_empty() { "all are in the target".to_owned() } else { format!("to be made: {}", first(&new)) };
    passed("databases", message)
}

fn names(selected: &[Selected], asked: &Asked<'_>, capabilities: &Capabilities) -> Finding {
    let mut taken: HashMap<(Option<&str>, &str), &str> = HashMap::new();
    let mut bad = Vec::new();
    for one in selected {
        let Selected { source, target_name, target_database } = one;
        if let Some(why) = rules::name_problem(target_name, capabilities) {
            bad.push(format!("{target_name:?} is no collection name that Chroma takes ({why})"));
        }
        if let Some(other) = taken.insert((target_database.as_deref(), target_name), &source.name) {
            bad.push(format!("{other:?} and {:?} would both go to {}", source.name, one.target_words()));
        }
    }
    if bad.is_empty() {
        passed("names", format!("{} target names are free or in use by one collection each", selected.len()))
    } else {
        failed("names", first(&bad), &mapping::remedy(asked, capabilities))
    }
}

fn compatible(selected: &[Selected], asked: &Asked<'_>, there: &[Collection]) -> Finding {
    let mut against = Against::none(asked);
    let mut existing = 0;
    for one in selected {
        let Some(target) = there.iter().find(|c| one.is_target(c)) else { continue };
        existing += 1;
        if let Some(why) = conflict_of(&one.source, target) {
            against.add(&one.source, format!("{} {why}", one.target_words()));
        }
    }
    let change = "choose another target name, or delete the target's collection";
    against.finding("compatible", change).unwrap_or_else(|| {
        let message =
            format!("{existing} target collections exist with the same dimension, distance and embedding function");
        passed("compatible", message)
    })
}

/// What makes an existing collection unfit to hold the source's records.
fn conflict_of(source: &Collection, target: &Collection) -> Option<String> {
    if let Some(why) = &target.unreadable {
        return Some(why.clone());
    }
    if let (Some(a), Some(b)) = (source.dimension, target.dimension)
        && a != b
    {
        return Some(format!("has dimension {b}, the source {a}"));
    }
    if source.distance != target.distance {
        return Some(format!("has distance {}, the source {}", target.distance, source.distance));
    }
    let function = |c: &Collection| embedding_function(c.schema.as_ref(), c.configuration.as_ref());
    match (function(source), function(target)) {
        (Some(a), Some(b)) if a != b => {
            Some(format!("has embedding function {:?} ({}), the source {:?} ({})", b.name, b.config, a.name, a.config))
        }
        _ => None,
    }
}

fn settings(selected: &[Selected], asked: &Asked<'_>, there: &[Collection], capabilities: &Capabilities) -> Finding {
    let (mut against, mut notes) = (Against::none(asked), Vec::new());
    for one in selected {
        let (source, words) = (&one.source, one.target_words());
        if let Some(target) = there.iter().find(|c| one.is_target(c)) {
            let own = creation::differences(source, target, None).others.into_iter();
            notes.extend(own.map(|difference| format!("{words} keeps its own: {difference}")));
            continue;
        }
        if let Some(why) = rules::collection_metadata_problem(&source.metadata, capabilities) {
            against.add(source, format!("{}: {why}", one.source_words()));
        }
        let losses = creation::plan(source, &one.target_name, capabilities).losses;
        notes.extend(losses.into_iter().map(|loss| format!("{words}: {loss}")));
    }
    if let Some(finding) = against.finding("settings", "change the metadata of these collections in the source") {
        return finding;
    }
    let message = if notes.is_empty() {
        "metadata, configuration, distance and embedding function are kept".to_owned()
    } else {
        notes.join("; ")
    };
    passed("settings", message)
}

pub(super) fn conflicts(conflicts: u64, failed_: bool) -> Finding {
    let message = format!("{conflicts} ids are in the target with other content");
    if failed_ {
        failed("conflicts", message, "use onConflict Skip or Overwrite, or remove these records from the target")
    } else {
        passed("conflicts", message)
    }
}

/// Warns of what a run will fail for at its end, where the target may hold nothing else than the source.
pub(super) fn warn_of_extras(context: &Context<'_>, run: &mut Run) {
    let extra: u64 = run.pairs.iter().map(|pair| pair.surplus.extra).sum();
    if context.options.extras != Extras::Fail || (extra == 0 && run.others.is_empty()) {
        return;
    }
    let others =
        if run.others.is_empty() { String::new() } else { format!(", and the collections {}", first(&run.others)) };
    run.warnings.push(Warning {
        check: "extras",
        message: format!("the target holds {extra} records that the source does not{others}, and extras are not allowed"),
        remedy: "the run will end with VerificationFailed: delete them in the target if nobody needs them, or allow them \
                 (--extras allow, verification.extras: Allow)",
    });
}

/// Records that the target cannot hold, counted, the first ones by id.
#[derive(Default)]
pub(super) struct Problems {
    count: u64,
    named: Vec<String>,
}

impl Problems {
    pub(super) fn add(&mut self, collection: &str, id: &str, why: &str) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("{id:?} of {collection}: {why}"));
        }
    }

    pub(super) fn finding(&self) -> Finding {
        if self.count == 0 {
            return passed("records", "every record can be held by the target unchanged".to_owned());
        }
        let message = format!("{} records cannot be held by the target unchanged: {}", self.count, self.listed());
        failed("records", message, "change or delete these records in the source")
    }

    fn listed(&self) -> String {
        let more = self.count.saturating_sub(self.named.len() as u64);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{}{more}", self.named.join("; "))
    }

    /// What these mean if they are too large for this process; None where none is.
    pub(super) fn too_large(&self) -> Option<Finding> {
        let message = format!("{} records do not fit into memory: {}", self.count, self.listed());
        let remedy = "raise resources.limits.memory of the containers preflight and mover in spec.runner.podTemplate and set \
                      another spec.runId; outside a cluster raise the memory limit of this process";
        (self.count > 0).then(|| failed("memory", message, remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::select::Selection;
    use crate::model::Distance;
    use crate::store::memory::collection;

    /// One collection that is refused stopped all others, and "name the other collections" left it to a person how.
    #[test]
    fn what_refuses_a_collection_comes_with_the_words_that_move_all_others() {
        let selected = ["good", "bad", "other"].map(|name| {
            let source = collection("source", name, Distance::L2, 2);
            Selected { source, target_name: name.to_owned(), target_database: None }
        });
        let there = [collection("target", "bad", Distance::Cosine, 2), collection("target", "good", Distance::L2, 2)];
        let selection = Selection::default();
        let asked = Asked { all: &selected, selection: &selection };
        let mut against = Against::none(&asked);
        against.add(&selected[1].source, "\"bad\": it answers by cosine and says l2".to_owned());
        for finding in
            [source_state(&against, &[]), target_state(None, &against, &[]), compatible(&selected, &asked, &there)]
        {
            let remedy = finding.problem.unwrap_or_else(|| panic!("{} passed", finding.check)).remedy;
            let words = "or move all others: --collection '*' --exclude bad, or in the manifest collections: [{";
            assert!(remedy.contains(words), "{}: {remedy}", finding.check);
            assert!(finding.message.contains("bad") && !finding.message.contains("other"), "{}", finding.message);
        }
        // of one collection alone nothing is left
        let alone = Asked { all: &selected[1..2], selection: &selection };
        let remedy = compatible(&selected[1..2], &alone, &there).problem.unwrap().remedy;
        assert!(!remedy.contains("others"), "{remedy}");
    }
}
