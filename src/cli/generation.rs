//! The files of the runner beside a generation's store: `generation.json` before the first write, the verdict and
//! `report.json` after the run. Touches nothing of the store itself, and no folder that another migration has filled.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::session::{self, Failure};
use crate::api::schedule::generation::{Origin, RECORD_FILE, REPORT_FILE, Record, STORE_FOLDER, due_of_stamp};
use crate::engine::Outcome;
use crate::exit::Exit;
use crate::report::Report;

/// A record has some 300 bytes; what is much longer is none of ours.
const LONGEST_RECORD: u64 = 64 * 1024;
/// What is written until it is whole.
const PART: &str = ".part";

/// The generation that a run writes.
#[derive(Debug)]
pub(super) struct Generation {
    folder: PathBuf,
    begun: Record,
}

impl Generation {
    /// The one whose store is this folder.
    ///
    /// # Errors
    /// When that is no generation's.
    pub(super) fn of_store(origin: &Origin, store: &Path) -> Result<Self, Failure> {
        let no =
            || Failure::usage(format!("{} is no generation's store: its path ends in DUE/chroma", store.display()));
        let folder = store.parent().filter(|_| store.ends_with(STORE_FOLDER)).ok_or_else(no)?;
        let due = folder.file_name().and_then(|name| due_of_stamp(name.to_str()?)).ok_or_else(no)?;
        Ok(Self { folder: folder.to_owned(), begun: Record::begun(origin, due) })
    }

    fn name(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Makes the folder and its record, before anything else is written there. What an attempt before has left is gone on
    /// with, also if that was another migration's which never ended.
    ///
    /// # Errors
    /// When the folder is somebody else's, holds a good copy of another migration, or cannot be written.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        let failed = |attempt: &str| {
            let place = self.folder.display().to_string();
            let attempt = attempt.to_owned();
            move |error: io::Error| Failure::outside(format!("failed to {attempt} {place}: {error}"))
        };
        if self.folder.is_symlink() {
            let place = self.folder.display();
            return Err(Failure::refused(format!(
                "{place} is a link: nothing was written; rename it, or choose another path"
            )));
        }
        fs::create_dir_all(&self.folder).map_err(failed("make the generation's folder"))?;
        match self.there() {
            Ok(Some(there)) if there == self.begun => return Ok(()),
            Ok(Some(there)) if there.uid != self.begun.uid && there.state.is_good() => {
                return Err(Failure::refused(format!(
                    "{} holds a generation that another migration ({}) has verified: nothing was written; remove this \
                     migration, or rename that folder",
                    self.folder.display(),
                    there.uid
                )));
            }
            Ok(Some(_)) => {}
            Ok(None) if self.is_empty().map_err(failed("list the generation's folder"))? => {}
            Ok(None) => {
                return Err(Failure::refused(format!(
                    "{} holds something, but no {RECORD_FILE}: nothing was written; rename that folder, or choose another path",
                    self.folder.display()
                )));
            }
            Err(why) => {
                return Err(Failure::refused(format!(
                    "{}: {why}; nothing was written; rename that folder, or choose another path",
                    self.folder.join(RECORD_FILE).display()
                )));
            }
        }
        self.write_record(&self.begun).map_err(failed("write the record of"))
    }

    /// Puts the report and the verdict beside the store, if another attempt cannot change it. A run that is proved but whose
    /// record cannot be written is no success: its copy would never count as a good one.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn end(&self, mut outcome: Outcome) -> Result<Outcome, Failure> {
        if outcome.exit != Exit::Success && !outcome.exit.is_permanent() {
            return Ok(outcome);
        }
        let bytes = size(&self.folder.join(STORE_FOLDER)).unwrap_or_default();
        outcome.report.target_bytes = Some(bytes);
        match self.write_end(&outcome.report, bytes) {
            Ok(()) => Ok(outcome),
            Err(error) if outcome.exit == Exit::Success => Err(Failure::outside(format!(
                "all records were compared, but the verdict cannot be written to {}: {error}; free space on the claim, the \
                 next attempt compares again",
                self.folder.display()
            ))),
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %error, "the verdict cannot be written beside the store");
                Ok(outcome)
            }
        }
    }

    /// The record is written last: what it says is whole.
    fn write_end(&self, report: &Report, bytes: u64) -> io::Result<()> {
        let text = serde_json::to_string_pretty(report)? + "\n";
        write_whole(&self.folder.join(REPORT_FILE), &text)?;
        let ended = self.begun.ended(report.reason, &report.finished_at);
        let fingerprint = session::fingerprint(report);
        self.write_record(&Record { records: report.counts.source, bytes, fingerprint, ..ended })
    }

    fn write_record(&self, record: &Record) -> io::Result<()> {
        write_whole(&self.folder.join(RECORD_FILE), &(serde_json::to_string_pretty(record)? + "\n"))
    }

    fn there(&self) -> Result<Option<Record>, String> {
        match read_record(&self.folder) {
            Ok(None) => Ok(None),
            Ok(Some(text)) => Record::read(&text, &self.begun.schedule, &self.name()).map(Some),
            Err(error) => Err(error.to_string()),
        }
    }

    /// But for a record that was not written to its end.
    fn is_empty(&self) -> io::Result<bool> {
        for entry in fs::read_dir(&self.folder)? {
            if entry?.file_name().to_string_lossy() != format!("{RECORD_FILE}{PART}") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The text of a folder's record; None: it has none. Links are not followed.
///
/// # Errors
/// When it cannot be read, or is too long for a record.
pub(super) fn read_record(folder: &Path) -> io::Result<Option<String>> {
    let file = folder.join(RECORD_FILE);
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(&file);
    let opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    opened.take(LONGEST_RECORD + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_RECORD {
        return Err(io::Error::other("it is too long"));
    }
    Ok(Some(text))
}

/// So that a reader finds the old text or the new one, also after a crash.
fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let mut part = file.as_os_str().to_owned();
    part.push(PART);
    let part = PathBuf::from(part);
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut written = File::options().write(true).create_new(true).open(&part)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(&part, file)?;
    file.parent().map_or(Ok(()), sync_folder)
}

/// What was made, renamed or removed in it is so after a crash, too.
///
/// # Errors
/// When the disk does not take it.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Bytes of all files below a folder; links are not followed.
fn size(folder: &Path) -> io::Result<u64> {
    let (mut bytes, mut folders) = (0_u64, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                bytes = bytes.saturating_add(entry.metadata()?.len());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schedule::generation::State;
    use crate::report::{self, Reason};

    fn origin(uid: &str) -> Origin {
        Origin { schedule: "team/nightly".into(), uid: uid.into() }
    }

    fn of(claim: &Path, uid: &str) -> Generation {
        Generation::of_store(&origin(uid), &claim.join("a/20261126T020000Z/chroma")).unwrap()
    }

    fn record(generation: &Generation) -> Record {
        generation.there().unwrap().unwrap()
    }

    fn outcome(reason: Reason, exit: Exit) -> Outcome {
        let report = serde_json::json!({
            "schema": 2, "verdict": "Succeeded", "reason": reason, "message": "m", "direction": "remote-to-local",
            "startedAt": "2026-11-26T02:00:01Z", "finishedAt": "2026-11-26T02:00:09Z", "preflight": [],
            "counts": {"source": 7}, "collections": []
        });
        Outcome { report: serde_json::from_value::<report::Report>(report).unwrap(), exit }
    }

    #[test]
    fn a_generation_is_incomplete_before_its_first_write_and_has_its_verdict_after_the_run() {
        let claim = tempfile::tempdir().unwrap();
        let generation = of(claim.path(), "u");
        generation.begin().map_err(|f| f.message).unwrap();
        assert_eq!(record(&generation).state, State::Incomplete);
        assert!(!generation.folder.join(STORE_FOLDER).exists(), "the store is the server's");
        fs::create_dir(generation.folder.join(STORE_FOLDER)).unwrap();
        fs::write(generation.folder.join("chroma/chroma.sqlite3"), "12345").unwrap();
        // another attempt of the same run
        generation.begin().map_err(|f| f.message).unwrap();
        let ended = generation.end(outcome(Reason::Verified, Exit::Success)).map_err(|f| f.message).unwrap();
        assert_eq!(ended.report.target_bytes, Some(5));
        let there = record(&generation);
        assert_eq!((there.state, there.records, there.bytes), (State::Ended(Reason::Verified), 7, 5));
        assert!(fs::read_to_string(generation.folder.join(REPORT_FILE)).unwrap().contains("\"Verified\""));
        // run once more: it is not good until that has ended
        generation.begin().map_err(|f| f.message).unwrap();
        assert_eq!(record(&generation).state, State::Incomplete);
    }

    #[test]
    fn only_a_verdict_that_no_further_attempt_changes_is_written() {
        let claim = tempfile::tempdir().unwrap();
        let generation = of(claim.path(), "u");
        generation.begin().map_err(|f| f.message).unwrap();
        for (reason, exit, state) in [
            (Reason::Interrupted, Exit::Interrupted, State::Incomplete),
            (Reason::VerificationFailed, Exit::Different, State::Ended(Reason::VerificationFailed)),
        ] {
            generation.end(outcome(reason, exit)).map_err(|f| f.message).unwrap();
            assert_eq!(record(&generation).state, state);
        }
    }

    /// A copy that is not known as a good one is no good one.
    #[test]
    fn a_proved_run_whose_verdict_cannot_be_written_is_no_success() {
        let claim = tempfile::tempdir().unwrap();
        let generation = of(claim.path(), "u");
        generation.begin().map_err(|f| f.message).unwrap();
        fs::create_dir_all(generation.folder.join(format!("{REPORT_FILE}{PART}/x"))).unwrap();
        let failure = generation.end(outcome(Reason::Verified, Exit::Success)).err().unwrap();
        assert_eq!(failure.exit, Exit::Interrupted);
        assert_eq!(record(&generation).state, State::Incomplete);
        let failed = generation.end(outcome(Reason::VerificationFailed, Exit::Different)).map_err(|f| f.message);
        assert_eq!(failed.unwrap().exit, Exit::Different);
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused_and_stays_as_it_is() {
        let claim = tempfile::tempdir().unwrap();
        let generation = of(claim.path(), "u");
        let file = generation.folder.join(RECORD_FILE);
        let refused = |words: &str| {
            let failure = generation.begin().err().unwrap();
            assert!(failure.exit == Exit::Refused && failure.message.contains(words), "{}", failure.message);
        };
        fs::create_dir_all(generation.folder.join(STORE_FOLDER)).unwrap();
        refused("holds something, but no generation.json");
        let theirs = Record::begun(&origin("other"), generation.begun.due());
        let good = theirs.ended(Reason::Verified, "2026-11-26T02:00:09Z");
        let text = serde_json::to_string(&good).unwrap();
        fs::write(&file, &text).unwrap();
        refused("that another migration (other) has verified");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        for (content, words) in
            [("{", "cannot be read"), (&*text.replace("team/nightly", "team/x"), "belongs to schedule team/x")]
        {
            fs::write(&file, content).unwrap();
            refused(words);
        }
        // one that never ended is gone on with
        generation.write_record(&theirs).unwrap();
        generation.begin().map_err(|f| f.message).unwrap();
        assert_eq!(record(&generation).uid, "u");
    }

    #[test]
    fn a_record_is_no_link_no_pipe_and_not_endless() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(RECORD_FILE);
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        assert!(read_record(folder.path()).is_err());
        fs::remove_file(&file).unwrap();
        fs::write(&file, "x".repeat(70_000)).unwrap();
        assert!(read_record(folder.path()).is_err());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(read_record(folder.path()).is_err());
        assert!(Generation::of_store(&origin("u"), Path::new("/a/b/chroma")).is_err());
    }
}
