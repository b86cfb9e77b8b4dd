//! Servers, judges and folders that trials share, because an old server takes seconds to start. Tries nothing by itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::client::Client;
use super::judge::Judge;
use super::memories::{Memories, Memory, memories};
use crate::support::chroma::ChromaServer;
use crate::support::dice::Dice;

pub(crate) const NEW: &str = "1.5.9";
pub(crate) const OLD: &str = "0.6.3";

/// A server and the folder that it has open.
pub(crate) struct Side {
    // dropped in this order: the server ends before its folder goes
    pub(crate) server: ChromaServer,
    pub(crate) folder: PathBuf,
    pub(crate) client: Client,
    scratch: TempDir,
}

impl Side {
    pub(crate) fn start(version: &str) -> Self {
        Self::on(version, |_| ())
    }

    /// As `start`, with something done to the empty folder before.
    pub(crate) fn on(version: &str, prepare: impl FnOnce(&Path)) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("store");
        std::fs::create_dir(&folder).unwrap();
        prepare(&folder);
        let server = ChromaServer::start(version, &folder);
        Self { client: Client::new(&server.url), folder, server, scratch }
    }

    /// A place for copies of the folder.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

/// Source and target of one version, and its client.
pub(crate) struct Pair {
    pub(crate) version: &'static str,
    pub(crate) source: Side,
    pub(crate) target: Side,
}

impl Pair {
    pub(crate) fn start(version: &'static str) -> Self {
        Self { version, source: Side::start(version), target: Side::start(version) }
    }
}

/// What one lane of the campaign works with.
#[derive(Default)]
pub(crate) struct Bench {
    pairs: HashMap<&'static str, Pair>,
    judges: HashMap<&'static str, Judge>,
    /// Local targets that hold other content under the source's ids, by version.
    templates: HashMap<&'static str, TempDir>,
    /// How long a run without a fault took, by row and version.
    pub(crate) usual: HashMap<(&'static str, &'static str), Duration>,
}

/// How many records of a template another client has written before.
pub(crate) const CONFLICTS: usize = 60;

impl Bench {
    /// The version of the n-th trial, where every so many-th is the old one.
    pub(crate) fn version(n: usize, every: usize) -> &'static str {
        if n % every == every - 1 { OLD } else { NEW }
    }

    /// The servers of a version; taken, and given back by `keep` unless the trial has spoiled them.
    pub(crate) fn pair(&mut self, version: &'static str) -> Pair {
        let kept = self.pairs.remove(version).filter(|pair| pair.source.server.is_up() && pair.target.server.is_up());
        kept.unwrap_or_else(|| Pair::start(version))
    }

    pub(crate) fn keep(&mut self, pair: Pair) {
        self.pairs.insert(pair.version, pair);
    }

    pub(crate) fn judge(&mut self, version: &'static str) -> &mut Judge {
        self.judges.entry(version).or_insert_with(|| Judge::start(version))
    }

    /// A folder whose collection `generated` (l2) has other content under the first ids; a copy of one's own at `to`.
    pub(crate) fn conflicting(&mut self, version: &'static str, to: &Path) {
        let template = self.templates.entry(version).or_insert_with(|| {
            let folder = tempfile::tempdir().unwrap();
            let mut server = ChromaServer::start(version, folder.path());
            Client::new(&server.url).create("generated", "l2", &conflicts());
            server.stop();
            folder
        });
        copy(template.path(), to);
    }
}

/// Other content under the first ids of a source. Each has a uri, which only delete and add can clear.
pub(crate) fn conflicts() -> Memories {
    let mut dice = Dice::new(7);
    let other = |(id, _): (String, Memory)| {
        let mut memory = Memory::new(&id, 900, &mut dice);
        memory.uri = Some(format!("file:///other/{id}"));
        (id, memory)
    };
    memories(CONFLICTS, &mut Dice::new(8)).into_iter().map(other).collect()
}

/// A copy of a folder, as it is at this moment, with its times.
pub(crate) fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success(), "cp -a {} {}", from.display(), to.display());
}
