//! Words, numbers and times as a page shows them. Pure.

use std::time::Duration;

use crate::report::{Direction, Report, SourceQuiet, Verdict};

/// The text with what cannot be seen, or turns the order of others around, written out as `\u{202e}`.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hides(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Controls, and the characters that Unicode calls format: directions, joiners, invisible spaces, tags.
fn hides(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A share of 0 to 1, with four digits, and `1` only for all.
pub(super) fn share(share: f64) -> String {
    let text = format!("{share:.4}");
    if text == "1.0000" && share < 1.0 { "0.9999".to_owned() } else { text }
}

pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Succeeded => "Succeeded",
        Verdict::Failed => "Failed",
        Verdict::DryRun => "Dry run",
    }
}

pub(super) const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::LocalToRemote => "a store's files → a server",
        Direction::RemoteToLocal => "a server → a store's files",
        Direction::LocalToLocal => "a store's files → a store's files",
        Direction::RemoteToRemote => "a server → a server",
    }
}

pub(super) const fn quiet(quiet: SourceQuiet) -> &'static str {
    match quiet {
        SourceQuiet::Yes => "yes, its files were the same throughout",
        SourceQuiet::No => "no, it changed",
        SourceQuiet::Unknown => "not known: no change was seen",
    }
}

/// How long the run took; None where its times are none.
pub(super) fn took(report: &Report) -> Option<Duration> {
    let at = |text: &str| humantime::parse_rfc3339_weak(text).ok();
    at(&report.finished_at)?.duration_since(at(&report.started_at)?).ok()
}

/// `1h 2m 3s`, without what nobody needs.
pub(super) fn duration(took: Duration) -> String {
    let kept = if took.as_secs() >= 60 {
        took.as_secs() * 1000
    } else {
        u64::from(took.subsec_millis()) + took.as_secs() * 1000
    };
    humantime::format_duration(Duration::from_millis(kept)).to_string()
}
