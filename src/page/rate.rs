//! How fast a run was over its time, as columns and as numbers. Pure.

use std::time::Duration;

use maud::{Markup, html};

use super::chart::{self, Part};
use super::words::{self, grouped};
use crate::report::{Rate, RatePoint, Report};

/// A stage: class of its colour, words, records of a point.
type Stage = (&'static str, &'static str, fn(&RatePoint) -> u64);

const STAGES: [Stage; 4] = [
    ("rest", "preflight: read", |point| point.preflight),
    ("present", "copied", |point| point.copying),
    ("verified", "verification: compared", |point| point.verifying),
    ("overwritten", "repair: sent once more", |point| point.repairing),
];

/// Nothing where the report has no series.
pub(super) fn section(report: &Report) -> Markup {
    let drawn = report.rate.as_ref().and_then(drawn);
    html! {
        @if let Some(drawn) = drawn {
            section aria-labelledby="rate" { h2 #rate { "Rate over time" } (drawn) }
        }
    }
}

fn drawn(rate: &Rate) -> Option<Markup> {
    // a file may hold what no run has written
    let points = rate.points.get(..rate.points.len().min(Rate::MOST))?;
    let each = Duration::try_from_secs_f64(rate.seconds).ok()?;
    let all = |point: &RatePoint| STAGES.iter().fold(0_u64, |sum, stage| sum.saturating_add(stage.2(point)));
    let most = points.iter().map(all).max().filter(|most| *most > 0)?;
    let per_second = |records: u64| grouped(whole(records, rate.seconds));
    let length = words::duration(each.saturating_mul(u32::try_from(points.len()).ok()?));
    let first = points.iter().position(|point| all(point) == most)?;
    let place = match first {
        0 => format!("in the first {}", words::duration(each)),
        at => format!("after {}", words::duration(each.saturating_mul(u32::try_from(at).ok()?))),
    };
    let label = format!("Records per second over {length}: at most {}, {place}", per_second(most));
    let columns: Vec<Vec<Part>> =
        points.iter().map(|point| STAGES.map(|(class, _, of)| Part { class, number: of(point) }).into()).collect();
    let rows = STAGES.map(|(class, words, of)| {
        let sum = points.iter().fold(0_u64, |sum, point| sum.saturating_add(of(point)));
        (class, words, sum, points.iter().map(of).max().unwrap_or_default())
    });
    Some(html! {
        p { "Each column is " (words::duration(each)) " of the run, from its first record on. The highest is " (per_second(most)) " records/s." }
        (chart::columns(&columns, most, &label))
        p.axis aria-hidden="true" { span { "0s" } span { (length) } }
        div.scroll tabindex="0" role="region" aria-label="Rate of each stage" {
            table {
                thead { tr { th scope="col" { "Stage" } th.n scope="col" { "records" } th.n scope="col" { "at most" } } }
                tbody {
                    @for (class, words, sum, highest) in rows.iter().filter(|row| row.2 > 0) {
                        tr {
                            th scope="row" { (chart::key(class)) (words) }
                            td.n { (grouped(*sum)) }
                            td.n { (per_second(*highest)) " records/s" }
                        }
                    }
                }
            }
        }
    })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is shown in whole records; a number that is too large becomes the largest"
)]
fn whole(records: u64, seconds: f64) -> u64 {
    (records as f64 / seconds).round() as u64
}
