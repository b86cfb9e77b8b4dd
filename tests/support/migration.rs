//! A run of `migrate` or `verify` through the real binary, with its report, and what every report must hold.
//! The report is read as plain JSON: its shape is a contract, and the library's own types would follow a mistake in it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::chroma::{ChromaServer, env};
use super::command::{Output, TestCommand};

/// Tenant and database.
pub(crate) type Place = (&'static str, &'static str);

/// What Chroma uses when none is named.
pub(crate) const DEFAULT: Place = ("default_tenant", "default_database");

/// A local endpoint in the configuration's JSON.
pub(crate) fn local(path: &Path, (tenant, database): Place) -> String {
    json!({"path": path, "tenant": tenant, "database": database}).to_string()
}

/// A server in the configuration's JSON.
pub(crate) fn remote(server: &ChromaServer, (tenant, database): Place) -> String {
    json!({"host": "127.0.0.1", "port": server.port, "tenant": tenant, "database": database}).to_string()
}

/// A run to be made. Batches are larger and faster than the defaults, which `cli.rs` tests.
#[must_use]
pub(crate) struct Migration {
    command: TestCommand,
    scratch: TempDir,
    written_by: Option<&'static str>,
    batch: Option<&'static str>,
}

impl Migration {
    /// `migrate` from and to configurations as [`local`] and [`remote`] write them, or plain paths and URLs.
    pub(crate) fn new(source: &str, target: &str) -> Self {
        Self::of("migrate", source, target).args(["--delay", "0"]).batch("100")
    }

    /// `verify` of the same two.
    pub(crate) fn verify(source: &str, target: &str) -> Self {
        Self::of("verify", source, target)
    }

    fn of(subcommand: &str, source: &str, target: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let report = scratch.path().join("report.json");
        let command = TestCommand::new()
            .args([subcommand, "--source-config", source, "--target-config", target, "--report"])
            .args([report]);
        Self { command, scratch, written_by: None, batch: None }
    }

    /// `--collection`, for each.
    pub(crate) fn only(mut self, collections: &[&str]) -> Self {
        for collection in collections {
            self.command = self.command.args(["--collection", collection]);
        }
        self
    }

    /// `--batch-size`.
    pub(crate) fn batch(mut self, size: &'static str) -> Self {
        self.batch = Some(size);
        self
    }

    /// More arguments.
    pub(crate) fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.command = self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command = self.command.env(name, value);
        self
    }

    /// The version whose Chroma writes a local target.
    pub(crate) fn written_by(mut self, version: &'static str) -> Self {
        self.written_by = Some(version);
        self
    }

    /// As a user who has asked for what cannot be: exit 2, with this sentence.
    #[track_caller]
    pub(crate) fn usage(self, text: &str) {
        self.command.run().code(2).stderr(text);
    }

    /// Runs it, asserts its exit code and what holds of every report, and returns the report.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Report {
        let Report { json, output } = self.ended();
        Report { json, output: output.code(code) }
    }

    /// Runs it, asserts what holds of every report, and returns the report with whatever exit code there was.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Report {
        if let Some(size) = self.batch {
            self.command = self.command.args(["--batch-size", size]);
        }
        if let Some(version) = self.written_by {
            self.command = self.command.args(["--chroma-bin"]).args([env(version).chroma()]);
        }
        let output = self.command.run();
        let code = output.exit_code();
        let text = std::fs::read_to_string(self.scratch.path().join("report.json"));
        let text = text.unwrap_or_else(|error| panic!("{error}: no report\n{output:?}"));
        let report = Report { json: serde_json::from_str(&text).unwrap(), output };
        report.holds(code);
        report
    }

    /// As [`Self::ends`] with exit 0 and every record verified.
    #[track_caller]
    pub(crate) fn verified(self) -> Report {
        let report = self.ends(0);
        assert_eq!(report.reason(), "Verified", "{}", report.json);
        report
    }

    /// As [`Self::ends`] with exit 3, before any write, for a reason whose text holds all of these.
    #[track_caller]
    pub(crate) fn refused(self, texts: &[&str]) -> Report {
        let report = self.ends(3);
        assert_eq!(report.reason(), "PreflightRefused", "{}", report.json);
        report.says(texts);
        report
    }
}

/// A report, and what was printed beside it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) json: Json,
    pub(crate) output: Output,
}

impl Report {
    /// `Verified`, `PreflightRefused` and so on.
    #[track_caller]
    pub(crate) fn reason(&self) -> &str {
        self.json["reason"].as_str().unwrap()
    }

    /// The sentence of the verdict.
    #[track_caller]
    pub(crate) fn message(&self) -> &str {
        self.json["message"].as_str().unwrap()
    }

    /// A total of all collections.
    #[track_caller]
    pub(crate) fn count(&self, what: &str) -> u64 {
        self.json["counts"][what].as_u64().unwrap_or_else(|| panic!("no count {what}"))
    }

    /// The part about one collection, by its name in the target.
    #[track_caller]
    pub(crate) fn collection(&self, target_name: &str) -> &Json {
        let mut all = self.json["collections"].as_array().unwrap().iter();
        all.find(|one| one["targetName"] == target_name).unwrap_or_else(|| panic!("no {target_name} in {}", self.json))
    }

    /// The ids that are listed for a collection, each with its field.
    #[track_caller]
    pub(crate) fn listed(&self, target_name: &str) -> Vec<(&str, &str)> {
        let listed = self.collection(target_name)["differences"].as_array().unwrap();
        listed.iter().map(|one| (one["id"].as_str().unwrap(), one["field"].as_str().unwrap())).collect()
    }

    /// Fingerprints by the name in the source.
    #[track_caller]
    pub(crate) fn fingerprints(&self) -> BTreeMap<&str, &str> {
        let all = self.json["collections"].as_array().unwrap().iter();
        all.map(|one| (one["name"].as_str().unwrap(), one["fingerprint"].as_str().unwrap())).collect()
    }

    /// A check of preflight.
    #[track_caller]
    pub(crate) fn check(&self, name: &str) -> &Json {
        let mut all = self.json["preflight"].as_array().unwrap().iter();
        all.find(|one| one["check"] == name).unwrap_or_else(|| panic!("no check {name} in {}", self.json))
    }

    /// Asserts that a person reads all of these at the end.
    #[track_caller]
    pub(crate) fn says(&self, texts: &[&str]) {
        let said = self.output.stdout_text();
        for text in texts {
            assert!(self.message().contains(text) && said.contains(text), "expected {text:?} in\n{said}");
        }
    }

    /// What is true of every report.
    #[track_caller]
    fn holds(&self, code: i32) {
        let json = &self.json;
        assert_eq!(json["schema"], 2);
        let verdict = match (code, self.reason()) {
            (0, "DryRunCompleted") => "DryRun",
            (0, _) => "Succeeded",
            _ => "Failed",
        };
        assert_eq!(json["verdict"], verdict, "{json}");
        let collections = json["collections"].as_array().unwrap();
        for (name, total) in json["counts"].as_object().unwrap() {
            let sum: u64 = collections.iter().map(|one| one["counts"][name].as_u64().unwrap()).sum();
            assert_eq!(*total, sum, "the total of {name} in {json}");
        }
        if ["Verified", "VerifiedWithSkips"].contains(&self.reason()) {
            collections.iter().for_each(is_accounted_for);
        }
    }
}

/// The identity of the counts: every record of the source is exactly one of these.
#[track_caller]
fn is_accounted_for(collection: &Json) {
    let count = |name: &str| collection["counts"][name].as_u64().unwrap();
    let parts = ["verified", "conflictsSkipped", "duplicates", "changed", "different", "missing", "unreadable"];
    assert_eq!(count("source"), parts.map(count).iter().sum::<u64>(), "{collection}");
    assert_eq!(count("verified"), count("copied") + count("present") + count("overwritten"), "{collection}");
    assert!(collection["maxUlps"].as_u64().unwrap() <= 4, "{collection}");
    assert_eq!(collection["fingerprint"].as_str().unwrap().len(), 64, "{collection}");
}
