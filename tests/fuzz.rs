//! Every parser of bytes that somebody else has written, given what nobody would write: fields at their edges, rows without
//! their values, answers of another shape. It must not panic, not hang, and not take more memory than its bound; and nothing is
//! called `Verified` that the client reads otherwise. Some of each in every run of the tests; `make fuzz` goes on as long as it is
//! told. Cases run in a process of their own, whose memory is limited: what a parser asks for beyond that ends it.

mod case;
mod child;
mod extremes;
mod index;
mod parent;
mod series;
mod tables;

use std::fs;
use std::io::Cursor;

use memory_migration_operator::api::parse_manifest;
use memory_migration_operator::store::files::index::{hnsw, pickle};
use memory_migration_operator::store::files::log::queue::Content;

use crate::support::chroma::crate_path;

/// What is given such bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Pickle,
    Index,
    Log,
    Tables,
    Proof,
    Answers,
    Manifest,
    Flags,
}

impl Target {
    pub(crate) const ALL: [Self; 8] =
        [Self::Pickle, Self::Index, Self::Log, Self::Tables, Self::Proof, Self::Answers, Self::Manifest, Self::Flags];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pickle => "pickle",
            Self::Index => "index",
            Self::Log => "log",
            Self::Tables => "tables",
            Self::Proof => "proof",
            Self::Answers => "answers",
            Self::Manifest => "manifest",
            Self::Flags => "flags",
        }
    }

    /// What is changed, and what reads it.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Pickle => "opcodes of `index_metadata.pickle`",
            Self::Index => "files of an HNSW folder: header, rows, norms, links, pickle",
            Self::Log => "metadata and vectors of the write-ahead log",
            Self::Tables => "a whole store: values, rows, tables, pages, files of an index",
            Self::Proof => "the same as a target; what `verify` calls Verified is read by Chroma's client",
            Self::Answers => "a server's answers",
            Self::Manifest => "manifests and pod templates",
            Self::Flags => "command lines",
        }
    }

    /// MiB that all cases together may take beside what there was before the first one.
    pub(crate) const fn bound(self) -> u64 {
        match self {
            Self::Pickle | Self::Index | Self::Log => 64,
            Self::Tables | Self::Proof | Self::Manifest => 160,
            Self::Answers | Self::Flags => 256,
        }
    }

    /// Cases of one process: a reader keeps the database of each store open until its process ends.
    pub(crate) const fn at_once(self) -> u64 {
        match self {
            Self::Pickle | Self::Log | Self::Manifest => 20_000,
            Self::Index => 4000,
            Self::Answers => 1000,
            Self::Tables | Self::Proof | Self::Flags => 200,
        }
    }

    /// Cases in a run of the tests: some seconds.
    const fn few(self) -> u64 {
        match self {
            Self::Pickle | Self::Log => 2000,
            Self::Index => 400,
            Self::Manifest => 150,
            Self::Answers | Self::Tables | Self::Flags => 40,
            Self::Proof => 20,
        }
    }
}

/// The same in every run of the suite.
const SEED: u64 = 20;

fn try_few(target: Target) {
    let found = parent::run(target, SEED, 0, target.few(), "1.5.9");
    println!("{}: {:?}, {} MiB", target.name(), found.words, found.peak);
    assert!(found.findings.is_empty(), "{}:\n{}", target.name(), found.findings.join("\n"));
    assert_eq!(found.cases, target.few());
}

#[test]
fn pickles() {
    try_few(Target::Pickle);
}

#[test]
fn files_of_an_index() {
    try_few(Target::Index);
}

#[test]
fn entries_of_a_log() {
    try_few(Target::Log);
}

#[test]
fn tables_of_a_store() {
    try_few(Target::Tables);
}

#[test]
fn what_is_verified_is_what_the_client_reads() {
    try_few(Target::Proof);
}

#[test]
fn answers_of_a_server() {
    try_few(Target::Answers);
}

#[test]
fn manifests() {
    try_few(Target::Manifest);
}

#[test]
fn command_lines() {
    try_few(Target::Flags);
}

/// A process that runs cases; not a test by itself.
#[test]
fn child_of_another_run() {
    child::run();
}

/// What was found once, by what reads it. `tests/regressions` has what needs a whole store.
#[test]
fn each_finding_is_answered() {
    for entry in fs::read_dir(crate_path("tests/fuzz/corpus")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("pickle") => drop(pickle::parse(&bytes[..], bytes.len() as u64).unwrap()),
            Some("header") => {
                if let Ok(header) = hnsw::header(&bytes) {
                    drop(hnsw::rows(&mut Cursor::new([0; 4096]), &header, |_, _| ()));
                }
            }
            Some("json") => drop(Content::default().merge(&text)),
            Some("yaml") => drop(parse_manifest(&text)),
            _ => {}
        }
    }
}
