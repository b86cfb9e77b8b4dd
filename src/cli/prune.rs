//! `prune`: removes generations of a schedule that are kept no longer. What the operator's prune Job runs, under the target's
//! lock. Believes neither its arguments nor the files alone: a folder goes if it is named, and if the rules, on what lies on the
//! disk, let it go. Removes nothing without a record of the schedule.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::generation::{read_record, sync_folder};
use super::output;
use crate::api::schedule::generation::prune::{self, Generation};
use crate::api::schedule::generation::{
    FoundGeneration, Keep, Kept, PruneReport, RECORD_FILE, REMOVED_PREFIX, Record, SCHEMA, STORE_FOLDER, due_of_stamp,
    stamp,
};
use crate::exit::Exit;

/// The file that every store has.
const DATABASE: &str = "chroma.sqlite3";

/// Remove generations of a schedule that are kept no longer
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder with the generations: the path of the schedule's target, where its claim is mounted
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// The schedule that they belong to
    #[arg(long, value_name = "NAMESPACE/NAME")]
    schedule: String,
    /// Whose days, weeks and months count: a name of the IANA time zone database
    #[arg(long, value_name = "ZONE", default_value = "Etc/UTC", value_parser = zone)]
    time_zone: TimeZone,
    /// Good generations to keep: the newest ones
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..))]
    keep_last: i32,
    /// Days of which the newest one is kept
    #[arg(long, value_name = "DAYS", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    keep_daily: i32,
    /// Weeks of which the newest one is kept
    #[arg(long, value_name = "WEEKS", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    keep_weekly: i32,
    /// Months of which the newest one is kept
    #[arg(long, value_name = "MONTHS", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    keep_monthly: i32,
    /// A generation to remove, if the rules let it go; repeatable. Default: none, and those that could go are printed
    #[arg(long = "remove", value_name = "FOLDER", value_parser = folder)]
    remove: Vec<String>,
    /// A generation that something still reads or writes; repeatable
    #[arg(long = "in-use", value_name = "FOLDER", value_parser = folder)]
    in_use: Vec<String>,
    /// A generation whose run did not end well, whatever its record says; repeatable
    #[arg(long = "not-good", value_name = "FOLDER", value_parser = folder)]
    not_good: Vec<String>,
    /// A generation that need not be reported; repeatable
    #[arg(long = "known", value_name = "FOLDER", value_parser = folder)]
    known: Vec<String>,
    /// Write what was done to this file, for the kubelet
    #[arg(long, value_name = "FILE")]
    termination_log: Option<PathBuf>,
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| "write a name of the IANA time zone database, as in Europe/Berlin".into())
}

fn folder(name: &str) -> Result<String, String> {
    match due_of_stamp(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err("write a generation's folder, as in 20261126T020000Z".into()),
    }
}

/// Runs it.
pub(super) fn run(args: &Args) -> Exit {
    if let Some(why) = mistaken(args) {
        output::error(&why);
        return Exit::Usage;
    }
    let report = carry_out(args, Timestamp::now());
    for name in &report.removed {
        output::line(&format!("removed {name}"));
    }
    for kept in &report.kept {
        output::line(&format!("kept {}: {}", kept.folder, kept.why));
    }
    for name in &report.missing {
        output::line(&format!("{name} does not exist"));
    }
    let mut exit = Exit::Success;
    if !report.error.is_empty() {
        output::error(&report.error);
        exit = Exit::Interrupted;
    }
    if let Some(file) = &args.termination_log
        && let Err(error) = fs::write(file, report.to_json())
    {
        output::error(&format!("failed to write what was done to {}: {error}", file.display()));
        exit = Exit::Interrupted;
    }
    exit
}

/// Why a person's arguments name nothing that could be pruned. The operator's own are right: its claim may be empty still.
fn mistaken(args: &Args) -> Option<String> {
    if args.termination_log.is_some() {
        return None;
    }
    let folder = args.folder.display();
    if !args.folder.is_dir() {
        return Some(format!(
            "--folder {folder} is not a folder: name the path of the schedule's target, where its claim is mounted"
        ));
    }
    // what cannot be listed is told by the run itself
    let names = folders(&args.folder).ok()?;
    let mut others = BTreeSet::new();
    for name in names {
        let stamp = name.strip_prefix(REMOVED_PREFIX).unwrap_or(&name);
        let Some(text) = due_of_stamp(stamp).and_then(|_| read_record(&args.folder.join(&name)).ok().flatten()) else {
            continue;
        };
        if Record::read(&text, &args.schedule, stamp).is_ok() {
            return None;
        }
        let record: Option<Record> = serde_json::from_str(&text).ok();
        others.extend(record.map(|record| output::in_line(&record.schedule)));
    }
    let others: Vec<String> = others.into_iter().take(3).collect();
    let whose = if others.is_empty() { String::new() } else { format!(", but some of {}", others.join(", ")) };
    Some(format!("{folder} has no generation of schedule {}{whose}: check --folder and --schedule", args.schedule))
}

fn carry_out(args: &Args, now: Timestamp) -> PruneReport {
    let mut report = PruneReport { schema: SCHEMA, ..PruneReport::default() };
    let there = match generations(&args.folder, &args.schedule) {
        Ok(there) => there,
        Err(error) => {
            report.error = format!("failed to list the generations in {}: {error}", args.folder.display());
            return report;
        }
    };
    let is_asked = args.termination_log.is_none();
    let mut errors = Vec::new();
    let gone = if args.remove.is_empty() {
        let left = left_over(args).unwrap_or_default().into_iter().filter(|_| is_asked);
        report.kept.extend(left.map(|name| Kept { folder: name, why: "left by a removal that did not end".into() }));
        BTreeSet::new()
    } else {
        finish(args, &mut errors, delete)
    };
    if let Some(record) = there.iter().find(|record| record.state.is_good() && !has_store(args, record)) {
        let folder = args.folder.join(stamp(record.due()));
        let verdict = record.state.as_str();
        errors.push(format!(
            "{} is called {verdict} and has no {STORE_FOLDER}/{DATABASE}: that copy is lost; remove the folder",
            folder.display()
        ));
    }
    let may_go = may_go(args, &there, now);
    if args.remove.is_empty() && is_asked {
        report.kept.extend(may_go.iter().map(|name| Kept { folder: name.clone(), why: "could be removed".into() }));
    }
    for name in args.remove.iter().collect::<BTreeSet<_>>() {
        match remove_one(args, &there, &may_go, name) {
            Ok(End::Removed) => report.removed.push(name.clone()),
            // an earlier run has renamed it, and this one has deleted it
            Ok(End::Absent) if gone.contains(name) => report.removed.push(name.clone()),
            Ok(End::Absent) => report.missing.push(name.clone()),
            Ok(End::Kept(why)) => report.kept.push(Kept { folder: name.clone(), why }),
            Err(error) => errors.push(format!("failed to remove {}: {error}", args.folder.join(name).display())),
        }
    }
    report.error = errors.join("; ");
    let is_missing = |name: &&String| {
        let is_named = args.remove.contains(name) || args.in_use.contains(name);
        !is_named
            && matches!(fs::symlink_metadata(args.folder.join(name)), Err(e) if e.kind() == io::ErrorKind::NotFound)
    };
    report.missing.extend(args.known.iter().filter(is_missing).cloned());
    let is_news = |name: &String| !args.known.contains(name) && !report.removed.contains(name);
    let found = there.iter().map(|record| (stamp(record.due()), record)).filter(|(name, _)| is_news(name));
    report.found = found
        .map(|(folder, record)| FoundGeneration {
            folder,
            state: record.state.as_str().into(),
            records: record.records,
            bytes: record.bytes,
            fingerprint: record.fingerprint.clone(),
        })
        .collect();
    report
}

/// The names of those that the rules let go, on what lies on the disk.
fn may_go(args: &Args, there: &[Record], now: Timestamp) -> BTreeSet<String> {
    let keep =
        Keep { last: args.keep_last, daily: args.keep_daily, weekly: args.keep_weekly, monthly: args.keep_monthly };
    let known = |record: &Record| {
        let is_bad = args.not_good.contains(&stamp(record.due()));
        Generation { due: record.due(), good: record.state.is_good() && !is_bad && has_store(args, record) }
    };
    let known: Vec<Generation> = there.iter().map(known).collect();
    let in_use = args.in_use.iter().filter_map(|name| due_of_stamp(name)).collect();
    let gone = prune::prune(&keep, &args.time_zone, &known, &in_use, now);
    gone.into_iter().map(stamp).collect()
}

/// Whether a generation's store is there: a record alone is no copy, and lets no other one go.
fn has_store(args: &Args, record: &Record) -> bool {
    let file = args.folder.join(stamp(record.due())).join(STORE_FOLDER).join(DATABASE);
    fs::symlink_metadata(file).is_ok_and(|file| file.is_file() && file.len() > 0)
}

/// What became of a folder that was named.
enum End {
    Removed,
    /// It does not exist.
    Absent,
    /// Why it stays.
    Kept(String),
}

fn remove_one(args: &Args, there: &[Record], may_go: &BTreeSet<String>, name: &str) -> io::Result<End> {
    let path = args.folder.join(name);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(End::Absent),
        other => {
            other?;
        }
    }
    if !there.iter().any(|record| stamp(record.due()) == name) {
        return Ok(End::Kept(format!("it has no readable {RECORD_FILE} of schedule {}", args.schedule)));
    }
    if !may_go.contains(name) {
        return Ok(End::Kept("it is in use, or one of those to keep, by what lies on the claim".into()));
    }
    // under another name it is no generation any more, whatever happens to this process
    let going = args.folder.join(format!("{REMOVED_PREFIX}{name}"));
    fs::rename(&path, &going)?;
    sync_folder(&args.folder)?;
    delete(&going).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", going.display())))?;
    Ok(End::Removed)
}

/// Deletes what was renamed by a run that did not get to its end. Returns which generations these were; what cannot be
/// deleted is named, and stops nothing.
fn finish(args: &Args, errors: &mut Vec<String>, delete: impl Fn(&Path) -> io::Result<()>) -> BTreeSet<String> {
    let left = left_over(args).unwrap_or_else(|error| {
        errors.push(format!("failed to list what was pruned before in {}: {error}", args.folder.display()));
        Vec::new()
    });
    let mut gone = BTreeSet::new();
    for name in left {
        let path = args.folder.join(&name);
        match delete(&path) {
            Ok(()) => gone.extend(name.strip_prefix(REMOVED_PREFIX).map(ToOwned::to_owned)),
            Err(error) => errors.push(format!("failed to delete {}, pruned before: {error}", path.display())),
        }
    }
    gone
}

/// The schedule's generations that a run renamed and did not delete, by the names that they have now.
fn left_over(args: &Args) -> io::Result<Vec<String>> {
    let is_ours = |name: &String| {
        let Some(stamp) = name.strip_prefix(REMOVED_PREFIX).filter(|stamp| due_of_stamp(stamp).is_some()) else {
            return false;
        };
        let path = args.folder.join(name);
        match read_record(&path) {
            Ok(Some(text)) => Record::read(&text, &args.schedule, stamp).is_ok(),
            // its record goes last
            Ok(None) => fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none()),
            Err(_) => false,
        }
    };
    Ok(folders(&args.folder)?.into_iter().filter(is_ours).collect())
}

/// The record goes last: until then it is known whose folder it is.
fn delete(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == RECORD_FILE {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    match fs::remove_file(folder.join(RECORD_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir(folder)?;
    folder.parent().map_or(Ok(()), sync_folder)
}

/// The schedule's generations, the oldest first. What has no readable record of it is none.
fn generations(folder: &Path, schedule: &str) -> io::Result<Vec<Record>> {
    let mut all: Vec<Record> = Vec::new();
    for name in folders(folder)?.into_iter().filter(|name| due_of_stamp(name).is_some()) {
        if let Ok(Some(text)) = read_record(&folder.join(&name))
            && let Ok(record) = Record::read(&text, schedule, &name)
        {
            all.push(record);
        }
    }
    all.sort_by_key(Record::due);
    Ok(all)
}

/// The names of the folders in it; a link is none.
fn folders(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().to_str().map(ToOwned::to_owned));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schedule::generation::{Origin, State};
    use crate::report::Reason;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    const NOW: &str = "2026-11-30T03:00:00Z";

    struct Claim(tempfile::TempDir);

    impl Claim {
        /// Generations of November at two; those of failed runs, too.
        fn with(good: &[i32], failed: &[i32]) -> Self {
            let claim = Self(tempfile::tempdir().unwrap());
            for day in good {
                claim.put(*day, State::Ended(Reason::Verified), "team/nightly");
            }
            for day in failed {
                claim.put(*day, State::Incomplete, "team/nightly");
            }
            claim
        }

        fn put(&self, day: i32, state: State, schedule: &str) {
            let name = format!("202611{day:02}T020000Z");
            let folder = self.0.path().join(&name);
            fs::create_dir_all(folder.join("chroma/index")).unwrap();
            fs::write(folder.join("chroma/chroma.sqlite3"), "store").unwrap();
            let origin = Origin { schedule: schedule.into(), uid: "u".into() };
            let record = Record { state, ..Record::begun(&origin, due_of_stamp(&name).unwrap()) };
            fs::write(folder.join(RECORD_FILE), serde_json::to_string(&record).unwrap()).unwrap();
        }

        fn args(&self, schedule: &str, flags: &str) -> Args {
            let folder = self.0.path().to_str().unwrap();
            let line = ["prune", "--folder", folder, "--schedule", schedule, "--keep-last", "1"];
            Line::try_parse_from(line.into_iter().chain(flags.split_whitespace())).unwrap().args
        }

        fn prune(&self, flags: &str) -> PruneReport {
            carry_out(&self.args("team/nightly", flags), NOW.parse().unwrap())
        }

        /// A schedule, and flags.
        fn mistake(&self, words: &str) -> Option<String> {
            let (schedule, flags) = words.split_once(' ').unwrap_or((words, ""));
            mistaken(&self.args(schedule, flags))
        }

        fn left(&self) -> Vec<String> {
            let mut left: Vec<String> =
                fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            left.sort();
            left
        }
    }

    fn removes(days: &[i32]) -> String {
        days.iter().fold(String::new(), |flags, day| flags + &format!(" --remove 202611{day:02}T020000Z"))
    }

    #[test]
    fn what_is_named_and_may_go_goes_with_all_its_files() {
        let claim = Claim::with(&[25, 26, 27], &[24]);
        let report = claim.prune(&removes(&[24, 25]));
        assert_eq!(report.removed, ["20261124T020000Z", "20261125T020000Z"]);
        assert_eq!(claim.left(), ["20261126T020000Z", "20261127T020000Z"], "{report:?}");
        // what is gone already was not removed now
        let again = claim.prune(&removes(&[25]));
        assert_eq!((again.removed.len(), again.missing), (0, vec!["20261125T020000Z".to_owned()]));
        let found: Vec<String> = claim.prune("").found.into_iter().map(|found| found.folder).collect();
        assert_eq!(found, ["20261126T020000Z", "20261127T020000Z"]);
        let report = claim.prune(
            "--known 20261126T020000Z --known 20261101T020000Z --known 20261102T020000Z --in-use 20261102T020000Z",
        );
        assert_eq!((report.found.len(), report.missing), (1, vec!["20261101T020000Z".to_owned()]));
    }

    /// Whatever is asked for: each of these stays, and the report says why.
    #[test]
    fn what_has_to_stay_stays_though_it_is_named() {
        let all = removes(&[24, 25, 26, 27, 28]);
        let claim = Claim::with(&[25, 26], &[24, 28]);
        claim.put(27, State::Ended(Reason::Verified), "team/other");
        let report = claim.prune(&format!("{all} --in-use 20261124T020000Z"));
        assert_eq!(report.removed, ["20261125T020000Z"], "{report:?}");
        let why: Vec<&str> = report.kept.iter().map(|kept| kept.why.as_str()).collect();
        assert!(why[2].contains("no readable generation.json of schedule team/nightly"), "{why:?}");
        assert_eq!(claim.left().len(), 4);
        // the only good one, if the operator knows that the newer one is none
        let claim = Claim::with(&[25, 26], &[]);
        let report = claim.prune(&format!("{} --not-good 20261126T020000Z", removes(&[25, 26])));
        assert_eq!((report.removed.len(), claim.left().len()), (0, 2));
        // without a good one
        let claim = Claim::with(&[], &[24, 25]);
        assert_eq!(claim.prune(&removes(&[24, 25])).removed, Vec::<String>::new());
    }

    /// The newest record said Verified, its store was gone, and the older copies went.
    #[test]
    fn a_record_without_its_store_lets_no_other_one_go() {
        for spoil in [
            |store: &Path| fs::remove_dir_all(store).unwrap(),
            |store: &Path| {
                fs::write(store.join(DATABASE), "").unwrap();
            },
        ] {
            let claim = Claim::with(&[25, 26], &[]);
            spoil(&claim.0.path().join("20261126T020000Z").join(STORE_FOLDER));
            let report = claim.prune(&removes(&[25]));
            assert_eq!((report.removed.len(), claim.left().len()), (0, 2), "{report:?}");
            assert!(report.error.contains("20261126T020000Z is called Verified and has no"), "{}", report.error);
        }
    }

    #[test]
    fn nothing_goes_that_was_not_named() {
        let claim = Claim::with(&[25, 26, 27], &[]);
        let report = claim.prune("");
        assert_eq!((report.removed.len(), claim.left().len()), (0, 3));
        let could: Vec<&str> = report.kept.iter().map(|kept| kept.folder.as_str()).collect();
        assert_eq!(could, ["20261125T020000Z", "20261126T020000Z"]);
    }

    #[test]
    fn what_is_no_generation_is_never_touched() {
        let claim = Claim::with(&[26, 27], &[]);
        let root = claim.0.path();
        // no record, one that is no JSON, a link to a folder elsewhere, a file, and somebody's own folder
        fs::create_dir_all(root.join("20261120T020000Z/chroma")).unwrap();
        fs::create_dir_all(root.join("20261121T020000Z")).unwrap();
        fs::write(root.join("20261121T020000Z").join(RECORD_FILE), "{").unwrap();
        std::os::unix::fs::symlink(root.join("20261126T020000Z"), root.join("20261122T020000Z")).unwrap();
        fs::write(root.join("20261123T020000Z"), "a file").unwrap();
        fs::create_dir_all(root.join(".removed-20261119T020000Z/mine")).unwrap();
        fs::create_dir_all(root.join("chroma_db")).unwrap();
        let report = claim.prune(&removes(&[20, 21, 22, 23, 26]));
        assert_eq!(report.removed, ["20261126T020000Z"], "{report:?}");
        assert_eq!((report.kept.len(), report.error.as_str()), (4, ""));
        assert_eq!(claim.left().len(), 7, "{:?}", claim.left());
    }

    /// Killed between the rename and the end of the deletion.
    #[test]
    fn what_was_renamed_is_deleted_by_the_next_run() {
        let claim = Claim::with(&[25, 26], &[]);
        let root = claim.0.path();
        fs::rename(root.join("20261125T020000Z"), root.join(".removed-20261125T020000Z")).unwrap();
        fs::remove_dir_all(root.join(".removed-20261125T020000Z/chroma")).unwrap();
        let report = claim.prune(&removes(&[25]));
        assert_eq!((report.removed.len(), claim.left()), (1, vec!["20261126T020000Z".to_owned()]));
    }

    /// The operator's Job: nobody has written into the claim yet.
    #[test]
    fn a_claim_without_the_folder_has_no_generations() {
        let claim = Claim::with(&[], &[]);
        fs::remove_dir(claim.0.path()).unwrap();
        let report = claim.prune(&format!("--termination-log /nowhere{}", removes(&[25])));
        assert_eq!((report.error.as_str(), report.removed.len()), ("", 0));
        assert_eq!(report.missing, ["20261125T020000Z"]);
        assert_eq!(claim.mistake("team/nightly --termination-log /nowhere"), None);
    }

    #[test]
    fn a_person_who_names_the_wrong_folder_or_schedule_is_told() {
        let claim = Claim::with(&[25], &[]);
        assert_eq!(claim.mistake("team/nightly"), None);
        let why = claim.mistake("team/nigthly").unwrap();
        assert!(why.contains("no generation of schedule team/nigthly, but some of team/nightly: check"), "{why}");
        fs::rename(claim.0.path().join("20261125T020000Z"), claim.0.path().join(".removed-20261125T020000Z")).unwrap();
        assert_eq!(claim.mistake("team/nightly"), None, "its last one was being removed");
        fs::remove_dir_all(claim.0.path().join(".removed-20261125T020000Z")).unwrap();
        assert!(claim.mistake("team/nightly").unwrap().contains("team/nightly: check --folder and --schedule"));
        fs::remove_dir(claim.0.path()).unwrap();
        assert!(claim.mistake("team/nightly").unwrap().contains("is not a folder"));
    }

    /// What an interrupted removal left is only told of, until something is to be removed.
    #[test]
    fn nothing_is_deleted_without_a_name() {
        let claim = Claim::with(&[25, 26, 27], &[]);
        let root = claim.0.path();
        fs::rename(root.join("20261125T020000Z"), root.join(".removed-20261125T020000Z")).unwrap();
        let report = claim.prune("");
        assert_eq!(report.kept[0].folder, ".removed-20261125T020000Z", "{report:?}");
        let report = claim.prune("--termination-log /nowhere");
        assert_eq!((report.kept.len(), claim.left().len()), (0, 3), "{report:?}");
        let report = claim.prune(&removes(&[26]));
        assert_eq!((report.removed.len(), claim.left()), (1, vec!["20261127T020000Z".to_owned()]), "{report:?}");
    }

    /// The failure is put in: what stops root from deleting (a mount, a flag of the file system) cannot be made everywhere.
    #[test]
    fn what_cannot_be_deleted_is_named_and_stops_no_other() {
        let claim = Claim::with(&[24, 25, 26], &[]);
        let root = claim.0.path();
        for day in [24, 25] {
            let name = format!("202611{day}T020000Z");
            fs::rename(root.join(&name), root.join(format!(".removed-{name}"))).unwrap();
        }
        let busy = root.join(".removed-20261124T020000Z");
        let args = claim.args("team/nightly", &removes(&[20]));
        let mut errors = Vec::new();
        let gone = finish(&args, &mut errors, |folder| {
            if folder == busy { Err(io::Error::other("it is busy")) } else { delete(folder) }
        });
        assert_eq!(gone.into_iter().collect::<Vec<_>>(), ["20261125T020000Z"]);
        assert!(errors[0].contains(".removed-20261124T020000Z, pruned before: it is busy"), "{errors:?}");
        assert_eq!(claim.left(), [".removed-20261124T020000Z", "20261126T020000Z"]);
    }
}
