//! Flags that several subcommands share, as typed. Opens nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::engine::select::Entry;
use crate::engine::{Duplicates, Extras, Fill, OnConflict, Relation, Search, SearchMode, Selection, Verification};

/// The kind of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// A folder that Chroma wrote.
    Local,
    /// A Chroma server.
    Remote,
}

/// Where to read and where to write.
#[derive(Debug, Args)]
#[command(after_help = CREDENTIALS)]
pub(super) struct Endpoints {
    /// Kind of the source. Default: as the configuration says
    #[arg(long, value_enum)]
    pub(super) source_type: Option<Kind>,
    /// The source: a store's folder, a server's URL, JSON, or a file that holds JSON
    ///
    /// JSON is {"path": …} or {"host": …, "port": …, "ssl": …, "tenant": …, "database": …}, or the whole
    /// {"type": "local|remote", "config": {…}}.
    #[arg(long, value_name = "PATH_OR_JSON")]
    pub(super) source_config: String,
    /// Kind of the target. Default: as the configuration says
    #[arg(long, value_enum)]
    pub(super) target_type: Option<Kind>,
    /// The target, in the same forms
    #[arg(long, value_name = "PATH_OR_JSON")]
    pub(super) target_config: String,
    #[command(flatten)]
    pub(super) what: What,
}

/// Which collections of which databases.
#[derive(Debug, Args)]
pub(super) struct What {
    /// A collection or a pattern with *, and its name in the target if that differs. Repeatable. Default: all
    ///
    /// The first entry that matches a collection decides. A * in TARGET stands for the text that the pattern's * matched:
    /// 'user-memory-*=prod-memory-*'.
    #[arg(long = "collection", value_name = "NAME[=TARGET]", value_parser = pair)]
    collections: Vec<(String, Option<String>)>,
    /// Leave out collections that match this pattern. Repeatable
    #[arg(long = "exclude", value_name = "PATTERN")]
    exclude: Vec<String>,
    #[command(flatten)]
    pub(super) databases: Databases,
}

/// Several databases of one tenant.
#[derive(Debug, Args)]
pub(super) struct Databases {
    /// A database of the source's tenant, or a pattern with *. It has the same name in the target, where migrate creates it
    /// if necessary. Repeatable. Default: the database of each configuration
    #[arg(long = "database", value_name = "NAME")]
    pub(super) names: Vec<String>,
}

impl What {
    /// What is asked for.
    ///
    /// # Errors
    /// A sentence that names the flag.
    pub(super) fn selection(&self) -> Result<Selection, String> {
        let entry = |(name, target): &(String, Option<String>)| {
            let target = target.as_deref();
            let entry = if name.contains('*') {
                Entry::matching(name, target, &self.exclude)
            } else {
                Entry::named(name, target)
            };
            entry.map_err(|why| format!("--collection {name}: {why}"))
        };
        let mut entries = self.collections.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        if entries.is_empty() && !self.exclude.is_empty() {
            let all = Entry::matching("*", None, &self.exclude);
            entries.push(all.map_err(|why| format!("--exclude without --collection: {why}"))?);
        }
        Selection::new(&self.databases.names, entries)
    }
}

macro_rules! variables {
    () => {
        "  MEMORY_MIGRATION_SOURCE_TOKEN        a bearer token\n  \
        MEMORY_MIGRATION_SOURCE_TOKEN_FILE   a file that holds it\n  \
        MEMORY_MIGRATION_SOURCE_USERNAME     makes the token a password (basic authentication)\n  \
        MEMORY_MIGRATION_SOURCE_HEADER       sends the token in this header instead, as X-Chroma-Token\n  \
        MEMORY_MIGRATION_SOURCE_CA_FILE      PEM file of a certificate authority to trust"
    };
}

/// How credentials come in. Never by a flag: arguments are visible to every process of the machine.
pub(super) const CREDENTIALS: &str =
    concat!("Credentials come from the environment, for SOURCE and TARGET each:\n", variables!());

/// The same for a command that has one store.
pub(super) const CREDENTIALS_OF_ONE: &str = concat!("Credentials come from the environment:\n", variables!());

/// What to say, and how.
#[derive(Clone, Debug, Args)]
pub(super) struct Telling {
    /// Write the whole outcome to this file: as JSON, or as a page for a browser if its name ends in .html
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `--on-conflict`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ConflictFlag {
    /// Keep the target's record; count and list it
    Skip,
    /// Replace the target's record by the source's
    Overwrite,
    /// Refuse before the first write
    Fail,
}

impl From<ConflictFlag> for OnConflict {
    fn from(flag: ConflictFlag) -> Self {
        match flag {
            ConflictFlag::Skip => Self::Skip,
            ConflictFlag::Overwrite => Self::Overwrite,
            ConflictFlag::Fail => Self::Fail,
        }
    }
}

/// `--fill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FillFlag {
    /// The target's Chroma server
    Engine,
    /// This program, into the store's files, with the index. Faster, and verified as any run. For a folder that is new or empty,
    /// and Chroma 1.0.20 or 1.5.9
    Files,
}

impl From<FillFlag> for Fill {
    fn from(flag: FillFlag) -> Self {
        match flag {
            FillFlag::Engine => Self::Engine,
            FillFlag::Files => Self::Files,
        }
    }
}

/// `--duplicates`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DuplicatesFlag {
    /// Same id
    ById,
    /// Same id, or same document under another id
    ByContent,
}

impl From<DuplicatesFlag> for Duplicates {
    fn from(flag: DuplicatesFlag) -> Self {
        match flag {
            DuplicatesFlag::ById => Self::ById,
            DuplicatesFlag::ByContent => Self::ByContent,
        }
    }
}

/// `--verification`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum VerificationFlag {
    /// Compare every record
    Full,
    /// Compare only counts; this proves less
    Counts,
}

impl From<VerificationFlag> for Verification {
    fn from(flag: VerificationFlag) -> Self {
        match flag {
            VerificationFlag::Full => Self::Full,
            VerificationFlag::Counts => Self::Counts,
        }
    }
}

/// `--extras`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ExtrasFlag {
    /// Count and list them
    Allow,
    /// Fail (exit code 5); none is deleted
    Fail,
}

impl From<ExtrasFlag> for Extras {
    fn from(flag: ExtrasFlag) -> Self {
        match flag {
            ExtrasFlag::Allow => Self::Allow,
            ExtrasFlag::Fail => Self::Fail,
        }
    }
}

/// The search check.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct SearchFlags {
    /// Whether to check that searches in the target find what they should
    #[arg(long = "search", value_enum, default_value = "report")]
    mode: SearchFlag,
}

/// `--search`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SearchFlag {
    /// Put the result into the report; it never changes the verdict
    Report,
    /// Fail on wrong or poor answers (exit code 5)
    Require,
    /// Ask nothing
    Off,
}

impl From<SearchFlags> for Search {
    fn from(flags: SearchFlags) -> Self {
        let mode = match flags.mode {
            SearchFlag::Report => SearchMode::Report,
            SearchFlag::Require => SearchMode::Require,
            SearchFlag::Off => SearchMode::Off,
        };
        Self { mode, ..Self::default() }
    }
}

/// `--one-store`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OneStoreFlag {
    /// They are one store
    Yes,
    /// They are two: whoever serves one side does not have the other side's files. An id must differ, too
    No,
    /// Nobody knows
    Unknown,
}

impl From<OneStoreFlag> for Relation {
    fn from(flag: OneStoreFlag) -> Self {
        match flag {
            OneStoreFlag::Yes => Self::Same,
            OneStoreFlag::No => Self::Unshared,
            OneStoreFlag::Unknown => Self::Unknown,
        }
    }
}

/// `--pacing`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PacingFlag {
    /// Use --batch-size and --delay
    Fixed,
    /// Go as fast as the target allows without errors and slow reads
    Adaptive,
}

fn pair(text: &str) -> Result<(String, Option<String>), String> {
    let (name, target) = text.split_once('=').map_or((text, None), |(name, target)| (name, Some(target)));
    if name.is_empty() || target.is_some_and(str::is_empty) {
        return Err("write NAME, or NAME=TARGET".to_owned());
    }
    Ok((name.to_owned(), target.map(str::to_owned)))
}

/// `1s`, `500ms`, `0`; a bare number is seconds, as in the replaced script.
pub(super) fn delay(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|e| format!("{e}; write for instance 1s, 500ms or 0"));
    }
    humantime::parse_duration(text).map_err(|e| format!("{e}; write for instance 1s, 500ms or 0"))
}

/// How many times as long as at rest a small read may take: `2`, or `none` for any number.
pub(super) fn slowdown(text: &str) -> Result<Slowdown, String> {
    if text == "none" {
        return Ok(Slowdown(None));
    }
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 1.0 => Ok(Slowdown(Some(factor))),
        _ => {
            Err("write a number above 1, as 2 for twice as long, or none for a target that nobody else uses".to_owned())
        }
    }
}

/// `--max-slowdown`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slowdown(pub(super) Option<f64>);

/// A batch size that every Chroma can take in one call or cut.
pub(super) fn batch_size(text: &str) -> Result<usize, String> {
    const LARGEST: usize = 41_666;
    match text.parse() {
        Ok(n @ 1..=LARGEST) => Ok(n),
        _ => Err(format!("write a number from 1 to {LARGEST}, the most that any Chroma takes in one call")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_durations_or_seconds() {
        assert_eq!(delay("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(delay("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(delay("0"), Ok(Duration::ZERO));
        for bad in ["fast", "-1", "", "NaN"] {
            assert!(delay(bad).unwrap_err().contains("500ms"), "{bad}");
        }
    }

    #[test]
    fn a_collection_can_be_renamed() {
        assert_eq!(pair("a=b"), Ok(("a".to_owned(), Some("b".to_owned()))));
        assert_eq!(pair("a"), Ok(("a".to_owned(), None)));
        assert!(pair("a=").is_err() && pair("").is_err());
    }

    #[test]
    fn collections_are_names_or_patterns_and_what_is_excluded_is_so_from_every_pattern() {
        let what = |collections: &[&str], exclude: &[&str]| What {
            collections: collections.iter().map(|text| pair(text).unwrap()).collect(),
            exclude: exclude.iter().map(|text| (*text).to_owned()).collect(),
            databases: Databases { names: Vec::new() },
        };
        let selection = what(&["a=b", "u-*=p-*", "x*"], &["*-tmp"]).selection().unwrap();
        for (name, expected) in [
            ("a", Some("b")),
            ("u-1", Some("p-1")),
            ("u-1-tmp", None),
            ("x1", Some("x1")),
            ("x-tmp", None),
            ("c", None),
        ] {
            assert_eq!(selection.target_of(name).as_deref(), expected, "{name}");
        }
        let all = what(&[], &["*-tmp"]).selection().unwrap();
        assert_eq!((all.target_of("a").as_deref(), all.target_of("a-tmp")), (Some("a"), None));
        let error = what(&["a=b-*"], &[]).selection().unwrap_err();
        assert!(error.contains("--collection a"), "{error}");
        for collections in [&[][..], &["u-*"]] {
            let error = what(collections, &["*"]).selection().unwrap_err();
            assert!(error.contains("exclude \"*\" leaves nothing of"), "{error}");
        }
    }

    #[test]
    fn a_slowdown_is_a_factor_above_one_or_none() {
        assert_eq!((slowdown("2.5"), slowdown("none")), (Ok(Slowdown(Some(2.5))), Ok(Slowdown(None))));
        for bad in ["1", "0", "inf", "fast"] {
            assert!(slowdown(bad).unwrap_err().contains("none"), "{bad}");
        }
    }

    #[test]
    fn batch_sizes_have_bounds() {
        assert_eq!(batch_size("10"), Ok(10));
        for bad in ["0", "-1", "5000000", "ten"] {
            assert!(batch_size(bad).unwrap_err().contains("1 to 41666"), "{bad}");
        }
    }
}
