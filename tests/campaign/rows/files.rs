//! The folder that is read is not what it was: replaced during the run, torn, or left behind in a transaction.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::campaign::bench::{Bench, Pair, Side, copy};
use crate::campaign::memories::{Memories, Truth, memories};
use crate::campaign::run::Run;
use crate::campaign::trial::{Outcome, Trial};
use crate::support::dice::Dice;
use crate::support::stores::damage;

pub(crate) const REPLACED: &str =
    "at a random moment: removed, an empty folder, or another store's in its place; then put back";
pub(crate) const TORN: &str = "a header of another moment, or a file cut short at a random byte; then put back";
pub(crate) const JOURNAL: &str = "a transaction that a killed writer left in the file, before or at its commit";

/// A store of the trial's own with the collection `generated`, and a copy of it.
struct Own {
    scratch: TempDir,
    folder: PathBuf,
    source: Memories,
}

impl Own {
    fn new(version: &str, count: usize, dice: &mut Dice) -> Self {
        let mut side = Side::start(version);
        let source = memories(count, dice);
        side.client.create("generated", "l2", &source);
        side.server.stop();
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("store");
        copy(&side.folder, &folder);
        copy(&folder, &scratch.path().join("kept"));
        Self { scratch, folder, source }
    }

    fn path(&self) -> &str {
        self.folder.to_str().unwrap()
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// As it was in the beginning.
    fn put_back(&self) {
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).unwrap();
        }
        copy(&self.beside("kept"), &self.folder);
    }
}

fn taken(bench: &mut Bench, n: usize) -> Pair {
    bench.pair(Bench::version(n, 5))
}

pub(crate) fn replaced(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let pair = taken(bench, n);
    let own = Own::new(pair.version, 400, dice);
    let other = (n % 3 == 1).then(|| Own::new(pair.version, 300, dice));
    let name = format!("replaced-{n}");
    let run = Run {
        policy: "overwrite",
        batch: 5,
        ..Run::new(own.path(), &pair.target.server.url, ("generated", &name), pair.version)
    };
    let after = dice.millis(700);
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&own.source), &pair.target.server.url);
    let (ended, ()) = run.beside(|| {
        std::thread::sleep(after);
        std::fs::rename(&own.folder, own.beside("away")).unwrap();
        match &other {
            Some(other) => std::fs::rename(&other.folder, &own.folder).unwrap(),
            None if n % 3 == 2 => std::fs::create_dir(&own.folder).unwrap(),
            None => {}
        }
    });
    trial.outcome.said.push(format!("replaced after {after:?}"));
    if let Some(other) = other.as_ref().filter(|_| ended.is_success() && !trial.found().is_nothing()) {
        // it was not the old one, so it must be the new one
        let earlier = own.source.iter().map(|(id, memory)| (id.clone(), vec![memory.clone()])).collect();
        trial.truth = Truth { earlier, ..Truth::of(&other.source) };
    }
    trial.ended(ended);
    own.put_back();
    trial.truth = Truth::of(&own.source);
    let outcome = trial.recovers();
    super::cleared(bench, pair, &name, outcome)
}

pub(crate) fn torn(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let pair = taken(bench, n);
    // more than Chroma writes into its index at once, so that a part is in the log
    let own = Own::new(pair.version, 1200 + dice.below(400), dice);
    let name = format!("torn-{n}");
    let how = if n.is_multiple_of(2) {
        damage(&own.folder, "tear", &["generated"]);
        "tear".to_owned()
    } else {
        let file = dice.one_of(&["header.bin", "data_level0.bin", "length.bin", "index_metadata.pickle"]);
        let size = index_file(&own.folder, file).metadata().unwrap().len();
        let size = dice.below(usize::try_from(size).unwrap().max(1)).to_string();
        damage(&own.folder, "truncate", &["generated", file, &size]);
        format!("{file} cut to {size} bytes")
    };
    let run = Run { batch: 200, ..Run::new(own.path(), &pair.target.server.url, ("generated", &name), pair.version) };
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&own.source), &pair.target.server.url);
    trial.outcome.said.push(how);
    trial.ended(run.ended());
    own.put_back();
    let outcome = trial.recovers();
    super::cleared(bench, pair, &name, outcome)
}

/// The only file of this name in the folders of a store.
fn index_file(folder: &Path, name: &str) -> PathBuf {
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    folders.map(|one| one.join(name)).find(|file| file.exists()).unwrap_or_else(|| panic!("no {name}"))
}

pub(crate) fn journal(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let pair = taken(bench, n);
    let own = Own::new(pair.version, 1200 + dice.below(400), dice);
    let name = format!("journal-{n}");
    let how = if n.is_multiple_of(2) { "hot-journal" } else { "hot-journal-at-commit" };
    damage(&own.folder, how, &[]);
    let run = Run { batch: 200, ..Run::new(own.path(), &pair.target.server.url, ("generated", &name), pair.version) };
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&own.source), &pair.target.server.url);
    trial.outcome.said.push(how.to_owned());
    trial.ended(run.ended());
    let outcome = trial.recovers();
    super::cleared(bench, pair, &name, outcome)
}
