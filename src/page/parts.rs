//! The sections of a page. Pure.

use maud::{Markup, html};

use super::chart::{self, Part};
use super::words::{self, grouped, share, visible};
use crate::report::{CollectionReport, Counts, Reason, Report, Search, Verdict};

/// What stands at the top beside the verdict.
pub(super) fn facts(report: &Report) -> Markup {
    let took = words::took(report);
    let seconds = took.map(|took| took.as_secs_f64()).filter(|seconds| *seconds > 0.0);
    html! {
        dl {
            div { dt { "Direction" } dd { (words::direction(report.direction)) } }
            div { dt { "Records of the source" } dd { (grouped(report.counts.source)) } }
            div { dt { "Identical" } dd { (if report.verification.identical { "yes" } else { "no" }) } }
            div { dt { "Source stood still" } dd { (words::quiet(report.verification.source_quiet)) } }
            @if let Some(recall) = report.verification.recall {
                div { dt { "Recall of searches" } dd { (share(recall)) } }
            }
            div { dt { "Started" } dd { (visible(&report.started_at)) } }
            div { dt { "Ended" } dd { (visible(&report.finished_at)) } }
            @if let Some(took) = took { div { dt { "Took" } dd { (words::duration(took)) } } }
            @if let Some(seconds) = seconds.filter(|_| report.counts.verified > 0) {
                div { dt { "Records/s, over the whole run" } dd { (format!("{:.0}", per_second(report.counts.verified, seconds))) } }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown in whole records")]
fn per_second(records: u64, seconds: f64) -> f64 {
    records as f64 / seconds
}

/// What the verdict rests on.
pub(super) fn compared(report: &Report) -> Markup {
    let sum = |of: fn(&CollectionReport) -> u64| report.collections.iter().map(of).sum::<u64>();
    let (log, index) = (sum(|c| c.vectors_from_wal), sum(|c| c.vectors_from_hnsw));
    html! {
        @match report.reason {
            Reason::CountsVerified => p {
                "Only numbers of records were compared, as asked. No content was compared: this is weaker than Verified."
            },
            Reason::DryRunCompleted => p {
                "Nothing was written. Records that both sides hold were compared by content; the others are the plan."
            },
            Reason::Verified | Reason::VerifiedWithSkips | Reason::VerificationFailed | Reason::SearchDegraded => p {
                "Every record of the source was read back from the target and compared: id, document, uri, metadata with its "
                "types, vector. Texts, integers and booleans must be equal. Vectors of l2 and ip must be equal bit for bit. "
                "Cosine vectors and metadata doubles may differ by 4 units in the last place (ULP), by which Chroma itself "
                "changes them."
            },
            _ => p { "The run ended before every record was compared. The numbers are what it had found until then." },
        }
        @if log + index > 0 {
            p {
                (grouped(log + index)) " vectors of the target were also compared as read from its files: "
                (grouped(log)) " from the write-ahead log, " (grouped(index)) " from the index."
            }
        }
        @if report.reason != Reason::DryRunCompleted && report.counts.verified > 0 {
            p {
                "A collection's fingerprint is a SHA-256 over its verified records in the order of their ids. A correct copy "
                "has the source's fingerprint."
            }
        }
    }
}

/// A row of the counts: class, words, number.
type Row = (&'static str, &'static str, u64);

/// What a source's records are divided into. What is left was not compared.
fn parts_of(counts: &Counts, verdict: Verdict) -> Vec<Row> {
    let c = counts;
    let mut rows: Vec<Row> = match verdict {
        Verdict::DryRun => vec![
            ("copied", "would be copied", c.copied),
            ("present", "already in the target, equal", c.present),
            ("skipped", "conflict: would be skipped", c.conflicts_skipped),
            ("overwritten", "conflict: would be overwritten", c.overwritten),
            ("duplicates", "duplicate by content", c.duplicates),
        ],
        Verdict::Succeeded | Verdict::Failed => vec![
            ("verified", "verified: compared and equal", c.verified),
            ("skipped", "conflict, skipped", c.conflicts_skipped),
            ("duplicates", "duplicate by content, skipped", c.duplicates),
            ("changed", "changed in the source again and again", c.changed),
            ("different", "different", c.different),
            ("missing", "missing in the target", c.missing),
        ],
    };
    rows.push(("unreadable", "unreadable in the source", c.unreadable));
    let sum = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.2));
    rows.push(("rest", "not compared", c.source.saturating_sub(sum)));
    rows
}

pub(super) fn counts(report: &Report) -> Markup {
    let counts = &report.counts;
    let rows: Vec<Row> = parts_of(counts, report.verdict).into_iter().filter(|row| row.2 > 0).collect();
    let parts: Vec<Part> = rows.iter().map(|(class, _, number)| Part { class, number: *number }).collect();
    let said: Vec<String> = rows.iter().map(|(_, words, number)| format!("{} {words}", grouped(*number))).collect();
    let others = [
        ("written by this run", counts.copied),
        ("already there with equal content", counts.present),
        ("overwritten (onConflict: Overwrite)", counts.overwritten),
        ("in the target before the first write", counts.target_before),
        ("in the target at the end", counts.target_after),
        ("only in the target (extra)", counts.extra),
        ("deleted from the source during the run", counts.gone_from_source),
        ("new in the source after the last copy", counts.came_later),
    ];
    html! {
        @if counts.source == 0 { p { "The source held no record." } }
        @else { (chart::stacked(&parts, &format!("Of {} records: {}", grouped(counts.source), said.join(", ")))) }
        div.scroll tabindex="0" role="region" aria-label="Numbers of records" {
            table {
                thead { tr { th scope="col" { "Records of the source" } th.n scope="col" { "number" } } }
                tbody {
                    @for (class, words, number) in &rows {
                        tr {
                            th scope="row" {
                                (chart::key(class))
                                (words)
                            }
                            td.n { (grouped(*number)) }
                        }
                    }
                    tr { th scope="row" { "all" } td.n { (grouped(counts.source)) } }
                }
                tbody {
                    @for (words, number) in others {
                        tr { th scope="row" { (words) } td.n { (grouped(number)) } }
                    }
                }
            }
        }
    }
}

/// How far numbers are apart that may differ.
pub(super) fn distances(report: &Report) -> Markup {
    if report.counts.verified == 0 {
        return html! {};
    }
    let records = report.collections.iter().any(|c| !c.ulps.is_empty());
    let mut numbers: Vec<u64> = vec![0; 5];
    for collection in &report.collections {
        if records {
            for (at, number) in collection.ulps.iter().enumerate().take(numbers.len()) {
                numbers[at] += number;
            }
        } else {
            numbers[(collection.max_ulps as usize).min(4)] += 1;
        }
    }
    let most = numbers.iter().copied().max().unwrap_or_default();
    let what = if records { "records" } else { "collections" };
    html! {
        section aria-labelledby="distances" {
            h2 #distances { "How far numbers are apart" }
            p { "By the largest distance of a vector's component or a metadata double, in units in the last place (ULP)." }
            div.scroll tabindex="0" role="region" aria-label="Distances" {
                table {
                    thead { tr { th.n scope="col" { "ULP" } th scope="col" { "share" } th.n scope="col" { (what) } } }
                    tbody {
                        @for (ulps, number) in numbers.iter().enumerate() {
                            tr {
                                th.n scope="row" { (ulps) }
                                td.bar { (chart::row(if ulps == 0 { "verified" } else { "present" }, *number, most)) }
                                td.n { (grouped(*number)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What searches in the target find.
pub(super) fn search(report: &Report) -> Markup {
    let checked: Vec<(&CollectionReport, &Search)> =
        report.collections.iter().filter_map(|c| Some((c, c.search.as_ref()?))).collect();
    html! {
        section aria-labelledby="search" {
            h2 #search { "Searches" }
            @if checked.is_empty() { p { "No search was checked." } }
            @else {
                p {
                    "Recall is the share of the exact nearest ten records that a search in the target finds. A wrong answer has a "
                    "record twice, too many records, or fewer than were asked for and are there. None of it changes what is said "
                    "of the records."
                }
                div.scroll tabindex="0" role="region" aria-label="Searches of each collection" { (searches(report, &checked)) }
                @for (collection, search) in &checked {
                    @for note in &search.notes { p.note { (named(report, collection)) ": " (visible(note)) } }
                }
            }
        }
    }
}

fn searches(report: &Report, checked: &[(&CollectionReport, &Search)]) -> Markup {
    let shares = ["recall: mean", "5th percentile", "lowest", "source's own", "find themselves", "on the source"];
    let queries = ["queries", "not judged", "wrong answers", "wrong distances", "unknown ids"];
    let filters = ["filters: right", "filters: known quirk", "filters: wrong", "filters: not judged"];
    let or_dash = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), share);
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Collection" }
                    th scope="col" { "recall" }
                    @for column in shares.iter().chain(&queries).chain(&filters) { th.n scope="col" { (column) } }
                }
            }
            tbody {
                @for (collection, search) in checked {
                    tr {
                        th scope="row" { (named(report, collection)) }
                        td.bar { (chart::row("verified", per_mille(search.recall_mean.unwrap_or_default()), 1000)) }
                        @for value in [search.recall_mean, search.recall_p5, search.recall_min, search.source_recall_mean, search.self_found, search.source_self_found] {
                            td.n { (or_dash(value)) }
                        }
                        @let filters = search.filters;
                        @let right = filters.asked.saturating_sub(filters.wrong + filters.known);
                        @for number in [search.queries, search.not_judged] { td.n { (grouped(number)) } }
                        @for number in [search.wrong_answers, search.wrong_distances, search.unknown_ids] {
                            td.n.bad[number > 0] { (grouped(number)) }
                        }
                        @for number in [right, filters.known] { td.n { (grouped(number)) } }
                        td.n.bad[filters.wrong > 0] { (grouped(filters.wrong)) }
                        td.n { (grouped(filters.not_judged)) }
                    }
                }
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held between 0 and 1000 before")]
fn per_mille(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 1000.0) as u64
}

/// One row a collection.
pub(super) fn collections(report: &Report) -> Markup {
    let columns = ["dimension", "distance", "source", "verified", "skipped", "wrong", "extra", "max. ULP"];
    html! {
        @if report.collections.is_empty() { p { "None was reached." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Collections" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Collection" }
                            th scope="col" { "in the target" }
                            @for column in columns { th.n scope="col" { (column) } }
                            th scope="col" { "fingerprint" }
                        }
                    }
                    tbody { @for collection in &report.collections { (collection_row(report, collection)) } }
                }
            }
        }
        @if report.collections_left_out > 0 { p { (grouped(report.collections_left_out)) " more are not listed." } }
    }
}

fn collection_row(report: &Report, collection: &CollectionReport) -> Markup {
    let c = &collection.counts;
    let wrong = c.different + c.missing + c.changed + c.unreadable;
    html! {
        tr {
            th.name scope="row" { (named(report, collection)) }
            td.name { bdi { (visible(&collection.target_name)) } }
            td.n { (collection.dimension.map_or_else(|| "–".to_owned(), |d| d.to_string())) }
            td.n { (visible(&collection.distance)) }
            @for number in [c.source, c.verified, c.conflicts_skipped + c.duplicates] { td.n { (grouped(number)) } }
            td.n.bad[wrong > 0] { (grouped(wrong)) }
            td.n { (grouped(c.extra)) }
            td.n { (collection.max_ulps) }
            td.hash { code { (if collection.fingerprint.is_empty() { "–".to_owned() } else { visible(&collection.fingerprint) }) } }
        }
    }
}

/// A collection by its name, with its database where there are several.
fn named(report: &Report, collection: &CollectionReport) -> Markup {
    html! {
        @if report.has_databases() { bdi { (visible(&collection.database)) } "/" }
        bdi { (visible(&collection.name)) }
    }
}

/// Each record that is listed by id.
pub(super) fn differences(report: &Report) -> Markup {
    let listed: usize = report.collections.iter().map(|c| c.differences.len()).sum();
    let left_out: u64 = report.collections.iter().map(|c| c.differences_left_out).sum();
    html! {
        @if listed == 0 && left_out == 0 { p { "None." } }
        @if listed > 0 {
            p.filter hidden {
                label for="filter" { "Show rows with" }
                input #filter type="search" autocomplete="off";
                " " span #shown role="status" {}
            }
            div.scroll tabindex="0" role="region" aria-label="Differences by id" {
                table #differences {
                    thead {
                        tr { th scope="col" { "Collection" } th scope="col" { "id" } th scope="col" { "field" } th scope="col" { "detail" } }
                    }
                    tbody {
                        @for collection in &report.collections {
                            @for difference in &collection.differences {
                                tr {
                                    td.name { (named(report, collection)) }
                                    th.text scope="row" { bdi.value { (visible(&difference.id)) } }
                                    td { bdi { (visible(&difference.field)) } }
                                    td.text { bdi.value { (visible(&difference.detail)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if left_out > 0 { p { (grouped(left_out)) " more are not listed." } }
    }
}

/// What preflight checked.
pub(super) fn checks(report: &Report) -> Markup {
    html! {
        @if report.preflight.is_empty() { p { "None was made." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Checks" {
                table {
                    thead { tr { th scope="col" { "Check" } th scope="col" { "result" } th scope="col" { "found" } } }
                    tbody {
                        @for check in &report.preflight {
                            tr {
                                th scope="row" { (visible(&check.check)) }
                                td class=(if check.ok { "good" } else { "bad" }) { (if check.ok { "passed" } else { "failed" }) }
                                td.text {
                                    (visible(&check.message))
                                    @if !check.remedy.is_empty() { br; strong { "What to do: " } (visible(&check.remedy)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
