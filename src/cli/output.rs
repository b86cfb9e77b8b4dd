//! What a person at a terminal sees: errors, and the table at the end. The only place that prints. A reader who has gone
//! away (`| head`) is no failure: what was done stays done, and the exit code says so. A full disk is one of a command that does
//! nothing but answer.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::OnceLock;

use comfy_table::{CellAlignment, Table, presets};

use crate::engine::Outcome;
use crate::engine::select::{plain_words, shown};
use crate::exit::Exit;
use crate::report::{CollectionReport, Counts, Difference, Report, Verdict};

/// How many differing ids are printed for a person; the report file has more.
pub(super) const PRINTED: usize = 20;

/// A text in one line: what would break a line, or move the cursor, is escaped.
pub(super) fn in_line(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(one).collect()
}

/// A text of several lines: as [`in_line`], but for the line breaks.
fn plain(text: &str) -> String {
    text.split('\n').map(in_line).collect::<Vec<_>>().join("\n")
}

/// An error, on standard error.
pub(super) fn error(message: &str) {
    drop(writeln!(io::stderr(), "error: {}", plain(message)));
}

/// A line of the answer, on standard output.
pub(super) fn line(text: &str) {
    answer(&(plain(text) + "\n"));
}

/// JSON on standard output: it has its own escapes.
pub(super) fn json(text: &str) {
    answer(&format!("{text}\n"));
}

/// Text that ends with a line break of its own, on standard output.
pub(super) fn text(text: &str) {
    answer(&plain(text));
}

/// Why a part of the answer was not written.
static LOST: OnceLock<String> = OnceLock::new();

fn answer(text: &str) {
    let written = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        LOST.get_or_init(|| error.to_string());
    }
}

/// How a command ends that does nothing but answer: its answer has to be there.
pub(super) fn answered(exit: Exit) -> Exit {
    match LOST.get() {
        Some(why) if exit == Exit::Success => {
            error(&format!("failed to write the answer to standard output: {why}; make room, and run it again"));
            Exit::Interrupted
        }
        _ => exit,
    }
}

/// One line for a machine, on standard error among the log lines.
pub(super) fn machine(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// The outcome as a person reads it, with at most so many differences.
pub(super) fn outcome(outcome: &Outcome, report_file: Option<&str>, printed: usize) -> String {
    let report = &outcome.report;
    let mut text = String::new();
    if !report.collections.is_empty() {
        let _ = writeln!(text, "{}", table(report));
    }
    let differences = differences(report);
    for difference in differences.iter().take(printed) {
        let _ = writeln!(text, "  {difference}");
    }
    let kept = differences.len() - differences.len().min(printed);
    if kept > 0 {
        let place = report_file.map_or_else(
            || "run it again with --report FILE, which lists all".to_owned(),
            |file| format!("the report {file} lists all"),
        );
        let _ = writeln!(text, "  and {kept} more ({place})");
    }
    let left_out: u64 = report.collections.iter().map(|c| c.differences_left_out).sum();
    if left_out > 0 {
        let _ = writeln!(text, "  and {left_out} more, beyond the thousand that are listed of a collection");
    }
    let _ = write!(text, "{:?} ({}): {}", report.verdict, report.reason.as_str(), in_line(&report.message));
    text
}

/// The differences in their order, each in a line; what is true of several collections is one.
fn differences(report: &Report) -> Vec<String> {
    let several = report.has_databases();
    let words = |c: &CollectionReport| plain_words(several.then_some(&*c.database), &c.target_name);
    let mut of: HashMap<&str, Vec<String>> = HashMap::new();
    let all = || report.collections.iter().flat_map(|c| c.differences.iter().map(move |difference| (c, difference)));
    for (collection, difference) in all().filter(|(_, difference)| difference.is_of_collection()) {
        of.entry(&difference.detail).or_default().push(words(collection));
    }
    let line = |(collection, difference): (&CollectionReport, &Difference)| {
        let Difference { id, field, detail } = difference;
        if !difference.is_of_collection() {
            return Some(format!("{}: {id:?} {field}: {}", words(collection), in_line(detail)));
        }
        let of = of.remove(detail.as_str())?;
        Some(format!("{}: {}", names(&of, report.collections.len()), in_line(detail)))
    };
    all().filter_map(line).collect()
}

/// Collections that are named where one sentence is true of many.
const NAMED: usize = 5;

/// The collections of which one sentence is true, of so many in all.
pub(super) fn names(of: &[String], all: usize) -> String {
    if of.len() == all && all > 1 {
        return "every collection".to_owned();
    }
    let more = of.len().saturating_sub(NAMED);
    of.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ")
        + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// A comparison copies nothing and leaves nothing out on purpose: it has fewer columns.
fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let copied = if report.verdict == Verdict::DryRun { "TO COPY" } else { "COPIED" };
    let done: &[&str] =
        if report.comparison { &["COMPARED", "EQUAL"] } else { &[copied, "PRESENT", "SKIPPED", "VERIFIED"] };
    let header = [&["COLLECTION", "TARGET", "DIM", "DISTANCE", "SOURCE"], done, &["WRONG", "EXTRA", "FINGERPRINT"]];
    let mut header = header.concat();
    // where nothing was asked, nothing is to be read in that column
    let is_searched = report.collections.iter().any(|collection| recall(collection).is_some());
    header.extend(is_searched.then_some("RECALL"));
    table.set_header(header);
    let several = report.has_databases();
    for collection in &report.collections {
        let mut row = row(collection, several, report.comparison);
        let recall = || recall(collection).map_or_else(|| "-".to_owned(), |recall| format!("{recall:.2}"));
        row.extend(is_searched.then(recall));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The share of the exact nearest records that searches find.
fn recall(collection: &CollectionReport) -> Option<f64> {
    collection.search.as_ref()?.recall_mean
}

fn row(collection: &CollectionReport, several: bool, is_comparison: bool) -> Vec<String> {
    let Counts {
        source,
        target_before: _,
        copied,
        present,
        conflicts_skipped,
        overwritten,
        duplicates,
        gone_from_source: _,
        came_later: _,
        extra,
        target_after: _,
        verified,
        different,
        missing,
        changed,
        unreadable,
    } = collection.counts;
    let done = if is_comparison {
        vec![verified + different + changed, verified]
    } else {
        vec![copied + overwritten, present, conflicts_skipped + duplicates, verified]
    };
    let mut row = vec![
        plain_words(several.then_some(&*collection.database), &collection.name),
        shown(&collection.target_name),
        collection.dimension.map_or_else(|| "-".to_owned(), |d| d.to_string()),
        collection.distance.clone(),
        source.to_string(),
    ];
    let numbers = done.into_iter().chain([different + missing + changed + unreadable, extra]);
    row.extend(numbers.map(|number| number.to_string()));
    row.push(collection.fingerprint.chars().take(12).collect());
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::report::{Difference, Direction, Reason, SCHEMA, Verification};

    #[test]
    fn what_moves_a_cursor_is_escaped_in_each_line() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\rd\u{9b}e\u{7f}"), "a\\u{1b}[2Jb\nc\\rd\\u{9b}e\\u{7f}");
    }

    /// Every number of its own, so that a column with another one's number shows.
    #[test]
    fn each_column_has_its_own_number() {
        let mut counts = Counts { source: 1, target_before: 2, copied: 3, present: 4, ..Counts::default() };
        (counts.conflicts_skipped, counts.overwritten, counts.duplicates) = (10, 20, 40);
        (counts.gone_from_source, counts.came_later, counts.extra) = (80, 160, 320);
        (counts.target_after, counts.verified) = (640, 1280);
        (counts.different, counts.missing, counts.changed, counts.unreadable) = (2000, 4000, 8000, 16_000);
        let collection = CollectionReport { counts, ..CollectionReport::default() };
        let cells = |is_comparison| row(&collection, false, is_comparison)[4..].to_vec();
        assert_eq!(cells(false), ["1", "23", "4", "50", "1280", "30000", "320", ""]);
        assert_eq!(cells(true), ["1", "11280", "1280", "30000", "320", ""]);
    }

    #[test]
    fn a_person_sees_the_first_differences_and_a_pods_log_holds_all() {
        let differences =
            (0..25).map(|n| Difference { id: format!("id-{n:02}"), field: "conflict".into(), detail: String::new() });
        let collection = CollectionReport {
            differences: differences.collect(),
            differences_left_out: 3,
            ..CollectionReport::default()
        };
        let report = Report {
            schema: SCHEMA,
            verdict: Verdict::Succeeded,
            reason: Reason::VerifiedWithSkips,
            message: String::new(),
            direction: Direction::LocalToRemote,
            started_at: String::new(),
            finished_at: String::new(),
            preflight: Vec::new(),
            counts: Counts::default(),
            verification: Verification::default(),
            target_bytes: None,
            comparison: false,
            rate: None,
            collections: vec![collection],
            collections_left_out: 0,
        };
        let mut all = Outcome { report, exit: Exit::Success };
        let person = outcome(&all, Some("r.json"), PRINTED);
        assert!(person.contains("id-19") && !person.contains("id-20"), "{person}");
        assert!(person.contains("and 5 more (the report r.json lists all)"), "{person}");
        all.report.message = "the server says \u{1b}[2J".into();
        assert!(outcome(&all, None, 0).ends_with("says \\u{1b}[2J"));
        let log = outcome(&all, None, usize::MAX);
        assert!(log.contains("id-24") && !log.contains("--report"), "{log}");
        assert!(log.contains("and 3 more, beyond the thousand"), "{log}");
    }
}
