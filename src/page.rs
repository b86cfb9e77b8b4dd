//! A report as one page for a browser: no script is needed to read it, and it asks nobody for anything, which its own
//! Content-Security-Policy enforces. Pure: a report in, text out. Each text of the report is data: it is escaped, and
//! what could hide or turn around its neighbours is written out.

mod chart;
mod parts;
mod rate;
mod words;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use self::words::visible;
use crate::report::{Report, Verdict};

const STYLE: &str = include_str!("page/page.css");
const FILTER: &str = include_str!("page/filter.js");

/// The page, as one file that needs no other.
#[must_use]
pub fn of(report: &Report) -> String {
    let (mark, class) = match report.verdict {
        Verdict::Succeeded => ("✓ ", "good"),
        Verdict::DryRun => ("○ ", "warn"),
        Verdict::Failed => ("✕ ", "bad"),
    };
    let title = format!("{}: {}", words::verdict(report.verdict), report.reason.as_str());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="referrer" content="no-referrer";
                title { (title) " – memory migration report" }
                // else a browser asks for one
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#counts" { "Skip to the counts" }
                header {
                    p.kind { "Memory migration report" }
                    h1 { span class=(class) { span aria-hidden="true" { (mark) } (title) } }
                    p.lead { (visible(&report.message)) }
                    (parts::facts(report))
                }
                main { (sections(report)) }
                footer {
                    p {
                        "Made by memory-migration " (env!("CARGO_PKG_VERSION")) " from a report of schema " (report.schema)
                        ". This page loads nothing. Ids and values in it can be parts of memories: keep it as you keep them."
                    }
                }
                script { (PreEscaped(FILTER)) }
            }
        }
    };
    page.into_string()
}

fn sections(report: &Report) -> Markup {
    html! {
        section aria-labelledby="compared" { h2 #compared { "What was compared" } (parts::compared(report)) }
        section aria-labelledby="counts" { h2 #counts { "Records" } (parts::counts(report)) }
        (rate::section(report))
        (parts::distances(report))
        (parts::search(report))
        section aria-labelledby="collections" { h2 #collections { "Collections" } (parts::collections(report)) }
        section aria-labelledby="differences-title" {
            h2 #differences-title { "Differences" }
            (parts::differences(report))
        }
        section aria-labelledby="checks" { h2 #checks { "Checks before the first write" } (parts::checks(report)) }
    }
}

/// Only this style and this script, by their hashes: a text of the report that got through as markup could do nothing.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(FILTER)
    )
}

#[cfg(test)]
mod tests;
