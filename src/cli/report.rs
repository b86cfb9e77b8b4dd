//! `report`: a report file to a terminal, or to a page for a browser. Also writes reports, in the form that a file's name asks
//! for. Opens no store.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::output;
use crate::engine::Outcome;
use crate::exit::Exit;
use crate::page;
use crate::report::{Report, SCHEMA};

/// The key of a report in a migration's `ConfigMap`.
const KEY: &str = "report.json";

/// More than any store holds: a larger number in a report would not add up.
const MOST: u64 = 1 << 53;

/// Show a report, or make a page for a browser of it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A report as --report FILE writes it, or the ConfigMap that holds one, as JSON; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write a page for a browser to this file, and print nothing
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(args: &Args) -> Exit {
    let report = match read(&args.file) {
        Ok(report) => report,
        Err(why) => {
            output::error(&format!("{}: {why}", args.file.display()));
            return Exit::Usage;
        }
    };
    let Some(html) = &args.html else {
        let file = args.file.display().to_string();
        let outcome = Outcome { report, exit: Exit::Success };
        output::line(&output::outcome(&outcome, Some(&file), output::PRINTED));
        return Exit::Success;
    };
    if let (Ok(from), Ok(to)) = (fs::canonicalize(&args.file), fs::canonicalize(html))
        && from == to
    {
        output::error(&format!("--html {} is the report itself: name another file", html.display()));
        return Exit::Usage;
    }
    match written(html, &page::of(&report)) {
        Ok(()) => Exit::Success,
        Err(why) => {
            output::error(&why);
            Exit::Interrupted
        }
    }
}

fn read(file: &Path) -> Result<Report, String> {
    let mut text = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().read_to_end(&mut text)
    } else {
        fs::File::open(file).and_then(|mut opened| opened.read_to_end(&mut text))
    };
    read.map_err(|e| format!("failed to read the report: {e}"))?;
    parse(&text)
}

/// The report in this text.
fn parse(text: &[u8]) -> Result<Report, String> {
    let no_report =
        |e: serde_json::Error| format!("this is no report: {e}; name a file that --report FILE has written");
    let mut value: Value = serde_json::from_slice(text).map_err(no_report)?;
    if value["kind"] == "ConfigMap" {
        let inner = value["data"][KEY].as_str().ok_or_else(|| format!("this ConfigMap has no key {KEY}"))?;
        value = serde_json::from_str(inner).map_err(no_report)?;
    }
    if let Some(schema) = value["schema"].as_u64().filter(|schema| *schema > u64::from(SCHEMA)) {
        return Err(format!(
            "this report has schema {schema}, and this version reads up to {SCHEMA}: use the version that made it, or a newer one"
        ));
    }
    if has_more(&value) {
        return Err(format!("this report has a number above {MOST}: it was not written by {}", env!("CARGO_PKG_NAME")));
    }
    serde_json::from_value(value).map_err(no_report)
}

/// Whether any number in it is above what a store may hold.
fn has_more(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64().is_some_and(|number| number > MOST),
        Value::Array(all) => all.iter().any(has_more),
        Value::Object(all) => all.values().any(has_more),
        _ => false,
    }
}

/// Writes the report: as a page for a browser if the file's name says so, else as JSON.
pub(super) fn write(file: &Path, report: &Report) -> Result<(), String> {
    let is_page =
        file.extension().is_some_and(|end| end.eq_ignore_ascii_case("html") || end.eq_ignore_ascii_case("htm"));
    if is_page {
        return written(file, &page::of(report));
    }
    let json = serde_json::to_string_pretty(report).map_err(|e| format!("failed to encode the report: {e}"))?;
    written(file, &(json + "\n"))
}

fn written(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|e| format!("failed to write the report {}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_report_is_refused_with_what_to_do() {
        for (text, words) in [
            ("", "--report FILE"),
            ("[]", "--report FILE"),
            ("{\"schema\": 2}", "--report FILE"),
            ("{\"schema\": 99}", "a newer one"),
            ("{\"schema\": 2, \"counts\": {\"different\": 9223372036854775808}}", "a number above"),
            ("{\"kind\": \"ConfigMap\", \"data\": {}}", "no key report.json"),
            ("{\"kind\": \"ConfigMap\", \"data\": {\"report.json\": \"{\"}}", "--report FILE"),
        ] {
            let why = parse(text.as_bytes()).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn a_page_is_not_written_over_its_report() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page/report.json"), &file).unwrap();
        let before = fs::read(&file).unwrap();
        assert_eq!(run(&Args { file: file.clone(), html: Some(file.clone()) }), Exit::Usage);
        assert_eq!(fs::read(&file).unwrap(), before);
        let page = folder.path().join("report.html");
        assert_eq!(run(&Args { file, html: Some(page.clone()) }), Exit::Success);
        assert!(fs::read_to_string(page).unwrap().starts_with("<!DOCTYPE html>"));
    }
}
