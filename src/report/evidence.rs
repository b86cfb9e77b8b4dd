//! The report as it outlives its pod: a text with a bound, the lines of the log that carry it, and the digest in the
//! termination message that proves them. Pure: serde and SHA-256 only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Check, CollectionReport, Difference, Line, Report};

/// The most bytes of a text: with names, labels and owner its `ConfigMap` stays below 128 KiB.
pub const MOST: usize = 126 * 1024;
/// Bytes of a text in one line: twice as many, where each is a quote or backslash, still fit.
const PART: usize = 3900;
/// The most lines that are believed.
const LINES: u32 = 64;
/// Bytes of a sentence.
const SENTENCE: usize = 2000;
/// Bytes of all checks together.
const CHECKS: usize = 24 * 1024;
/// Bytes for what is counted once all is in.
const SLACK: usize = 256;

/// What the termination message says of the text in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Digest {
    /// SHA-256 of the text, in hex.
    pub sha256: String,
    /// Its bytes.
    pub bytes: u64,
    /// Lines of the log that carry it.
    pub lines: u32,
}

impl Digest {
    /// Of this text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let lines = u32::try_from(parts(text).len()).unwrap_or(u32::MAX);
        Self { sha256: sha256(text), bytes: text.len() as u64, lines }
    }

    /// The text, if these parts by their numbers are all of it and nothing else.
    ///
    /// # Errors
    /// What is wrong with them, as the end of a sentence.
    pub fn proved(&self, parts: &BTreeMap<u32, String>) -> Result<String, String> {
        if self.lines > LINES || self.bytes > MOST as u64 {
            let (bytes, lines) = (self.bytes, self.lines);
            return Err(format!(
                "the runner says that it has {bytes} bytes in {lines} lines, more than {MOST} or {LINES}"
            ));
        }
        let missing = (1..=self.lines).filter(|number| !parts.contains_key(number)).count();
        if missing > 0 {
            return Err(format!("{missing} of its {} lines are not in the log", self.lines));
        }
        let text: String = parts.range(1..=self.lines).map(|(_, part)| part.as_str()).collect();
        if text.len() as u64 != self.bytes || sha256(&text) != self.sha256 {
            return Err("the lines in the log are not those of which the termination message has the digest".into());
        }
        Ok(text)
    }
}

/// The report in at most [`MOST`] bytes of JSON: what does not fit is left out, and counted. Without values but where they
/// are asked for: a difference has its id and its field.
#[must_use]
pub fn text(report: &Report, values: bool) -> String {
    let mut kept = without_collections(report);
    let mut used = size(&kept) + SLACK;
    for collection in &report.collections {
        let bare = without_differences(collection);
        let needed = size(&bare) + 1;
        if used + needed > MOST {
            break;
        }
        used += needed;
        kept.collections.push(bare);
    }
    kept.collections_left_out =
        report.collections_left_out + (report.collections.len() - kept.collections.len()) as u64;
    add_differences(report, values, used, &mut kept);
    serde_json::to_string(&kept).unwrap_or_default()
}

/// The lines of the log that carry a text.
#[must_use]
pub fn lines(text: &str) -> Vec<Line> {
    let parts = parts(text);
    let of = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    (1..).zip(parts).map(|(number, part)| Line::Report { number, of, part: part.to_owned() }).collect()
}

/// In turns, so that one collection with many differences hides no other one's.
fn add_differences(report: &Report, values: bool, mut used: usize, kept: &mut Report) {
    let most = report.collections.iter().map(|c| c.differences.len()).max().unwrap_or_default();
    for at in 0..most {
        for (collection, kept) in report.collections.iter().zip(&mut kept.collections) {
            let Some(Difference { id, field, detail }) = collection.differences.get(at) else { continue };
            let detail = if values { detail.clone() } else { String::new() };
            let difference = Difference { id: id.clone(), field: field.clone(), detail };
            let needed = size(&difference) + 1;
            // a smaller one may still fit
            if used + needed <= MOST {
                used += needed;
                kept.differences.push(difference);
                kept.differences_left_out -= 1;
            }
        }
    }
}

fn without_collections(report: &Report) -> Report {
    let mut kept = Report {
        schema: report.schema,
        verdict: report.verdict,
        reason: report.reason,
        message: cut(&report.message),
        direction: report.direction,
        started_at: report.started_at.clone(),
        finished_at: report.finished_at.clone(),
        preflight: Vec::new(),
        counts: report.counts,
        verification: report.verification,
        target_bytes: report.target_bytes,
        comparison: report.comparison,
        rate: report.rate.clone(),
        collections: Vec::new(),
        collections_left_out: 0,
    };
    let mut used = 0;
    for Check { check, ok, message, remedy } in &report.preflight {
        let check = Check { check: cut(check), ok: *ok, message: cut(message), remedy: cut(remedy) };
        used += size(&check);
        if used > CHECKS {
            break;
        }
        kept.preflight.push(check);
    }
    let left_out = report.preflight.len() - kept.preflight.len();
    if left_out > 0 {
        let message = format!("{left_out} more checks are not listed here");
        kept.preflight.push(Check { check: "others".into(), ok: false, message, remedy: String::new() });
    }
    kept
}

fn without_differences(collection: &CollectionReport) -> CollectionReport {
    let mut kept = CollectionReport {
        database: collection.database.clone(),
        name: collection.name.clone(),
        target_name: collection.target_name.clone(),
        dimension: collection.dimension,
        distance: collection.distance.clone(),
        counts: collection.counts,
        fingerprint: collection.fingerprint.clone(),
        max_ulps: collection.max_ulps,
        ulps: collection.ulps.clone(),
        search: collection.search.clone(),
        vectors_from_wal: collection.vectors_from_wal,
        vectors_from_hnsw: collection.vectors_from_hnsw,
        differences: Vec::new(),
        differences_left_out: collection.differences_left_out + collection.differences.len() as u64,
    };
    if let Some(search) = &mut kept.search {
        search.notes = search.notes.iter().take(5).map(|note| cut(note)).collect();
    }
    kept
}

/// A sentence, cut where it is too long.
fn cut(text: &str) -> String {
    if text.len() <= SENTENCE {
        return text.to_owned();
    }
    let kept = text.char_indices().take_while(|(at, c)| at + c.len_utf8() < SENTENCE).map(|(_, c)| c);
    kept.chain(['…']).collect()
}

fn size(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX / 4, |json| json.len())
}

fn sha256(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}

fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut at = rest.len().min(PART);
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        let (part, after) = rest.split_at(at);
        parts.push(part);
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::{Counts, Direction, Rate, RatePoint, Reason, SCHEMA, Search, Verdict, Verification};

    fn report(collections: Vec<CollectionReport>, preflight: Vec<Check>, message: String) -> Report {
        // as large as it gets
        let many = u64::MAX;
        let busy = RatePoint { preflight: many, copying: many, verifying: many, repairing: many };
        Report {
            schema: SCHEMA,
            verdict: Verdict::Failed,
            reason: Reason::VerificationFailed,
            message,
            direction: Direction::LocalToRemote,
            started_at: "2026-11-26T02:00:00Z".into(),
            finished_at: "2026-11-26T02:01:00Z".into(),
            preflight,
            counts: Counts { source: 7, ..Counts::default() },
            verification: Verification::default(),
            target_bytes: None,
            comparison: false,
            rate: Some(Rate { seconds: 0.25, points: vec![busy; Rate::MOST] }),
            collections,
            collections_left_out: 0,
        }
    }

    fn collection(name: &str, ids: impl IntoIterator<Item = String>) -> CollectionReport {
        let difference = |id| Difference { id, field: "document".into(), detail: "\"mine\" != \"yours\"".into() };
        CollectionReport {
            name: name.into(),
            differences: ids.into_iter().map(difference).collect(),
            ..Default::default()
        }
    }

    fn back(text: &str) -> Report {
        assert!(text.len() <= MOST, "{}", text.len());
        serde_json::from_str(text).unwrap()
    }

    fn through_the_log(text: &str) -> BTreeMap<u32, String> {
        let read = |line: &Line| {
            let written = serde_json::to_string(line).unwrap();
            assert!(written.len() <= Line::MAX_BYTES, "{}", written.len());
            let Some(Line::Report { number, part, .. }) = Line::parse(&written) else { panic!("{written}") };
            (number, part)
        };
        lines(text).iter().map(read).collect()
    }

    #[test]
    fn a_small_report_is_whole_and_has_no_values_unasked() {
        let whole = report(vec![collection("a", ["x".into()]), collection("b", [])], Vec::new(), "m".into());
        assert_eq!(back(&text(&whole, true)), whole);
        let bare = back(&text(&whole, false));
        assert_eq!(bare.collections[0].differences[0].id, "x");
        assert!(!text(&whole, false).contains("yours"));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_every_collection_has_its_turn() {
        let many = (0..1000).map(|n| format!("{n:0>200}"));
        let other = CollectionReport { differences_left_out: 5, ..collection("b", ["only".into()]) };
        let kept = back(&text(&report(vec![collection("a", many), other], Vec::new(), String::new()), false));
        let [a, b] = kept.collections.as_slice() else { panic!("{kept:?}") };
        assert!(a.differences.len() > 400, "{}", a.differences.len());
        assert_eq!(a.differences.len() as u64 + a.differences_left_out, 1000);
        assert_eq!((b.differences.len(), b.differences_left_out), (1, 5));
    }

    #[test]
    fn collections_that_do_not_fit_are_counted() {
        let named = |n| CollectionReport { search: Some(Search::default()), ..collection(&format!("{n:0>400}"), []) };
        let kept = back(&text(&report((0..500).map(named).collect(), Vec::new(), String::new()), false));
        assert!(kept.collections.len() > 50 && kept.collections_left_out > 0);
        assert_eq!(kept.collections.len() as u64 + kept.collections_left_out, 500);
    }

    #[test]
    fn a_log_that_was_cut_or_forged_is_found() {
        let whole = text(&report(vec![collection("a", (0..900).map(|n| n.to_string()))], Vec::new(), "m".into()), true);
        let digest = Digest::of(&whole);
        let parts = through_the_log(&whole);
        assert!(digest.lines > 3);
        assert_eq!(digest.proved(&parts), Ok(whole.clone()));
        let why = |edit: &dyn Fn(&mut BTreeMap<u32, String>)| {
            let mut parts = parts.clone();
            edit(&mut parts);
            digest.proved(&parts).unwrap_err()
        };
        assert_eq!(why(&|parts| drop(parts.remove(&2))), format!("1 of its {} lines are not in the log", digest.lines));
        assert!(why(&|parts| parts.clear()).contains("lines are not in the log"));
        assert!(why(&|parts| drop(parts.insert(1, "{}".into()))).contains("digest"));
        assert!(why(&|parts| parts.get_mut(&1).unwrap().push(' ')).contains("digest"));
        let forge = |part: &String| part.replacen("VerificationFailed", "Verification_ailed", 1);
        assert!(why(&|parts| drop(parts.insert(1, forge(&parts[&1])))).contains("digest"), "of the same length");
        let mut more = parts.clone();
        more.insert(99, "more".into());
        assert_eq!(digest.proved(&more), Ok(whole), "a line beyond the last one says nothing");
        let huge = Digest { lines: 1_000_000, ..digest.clone() };
        assert!(huge.proved(&parts).unwrap_err().contains("in 1000000 lines"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn whatever_a_report_holds_it_fits_and_comes_back(
            word in any::<String>(), times in 0..3000_usize, names in 0..60_usize, checks in 0..300_usize, values in any::<bool>(),
        ) {
            let long = word.repeat(times / word.len().max(1));
            let ids = || (0..times / 10).map(|n| format!("{word}{n}"));
            let note = Search { notes: vec![long.clone(); 9], ..Search::default() };
            let collections = (0..names).map(|_| CollectionReport { search: Some(note.clone()), ..collection(&word, ids()) });
            let check = Check { check: word.clone(), ok: true, message: long.clone(), remedy: long.clone() };
            let whole = report(collections.collect(), vec![check; checks], long);
            let kept = text(&whole, values);
            let read = back(&kept);
            prop_assert_eq!(read.collections.len() as u64 + read.collections_left_out, names as u64);
            let listed: u64 = read.collections.iter().map(|c| c.differences.len() as u64 + c.differences_left_out).sum();
            prop_assert_eq!(listed, (read.collections.len() * (times / 10)) as u64);
            let digest = Digest::of(&kept);
            prop_assert!(digest.lines <= LINES);
            prop_assert_eq!(digest.proved(&through_the_log(&kept)), Ok(kept));
        }
    }
}
