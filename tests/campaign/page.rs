//! The table of docs/reliability.md: what a whole campaign tried, and what it found. Runs nothing.

use std::fmt::Write as _;
use std::fs;

use super::rows::{ROWS, Row};
use super::series::Tallies;
use super::trial::Outcome;
use crate::support::chroma::crate_path;

const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- faults: begin, written by make faults -->";
const END: &str = "<!-- faults: end -->";

/// Puts the table between its markers.
pub(crate) fn write(tallies: &Tallies, seed: u64) {
    let path = crate_path(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{PAGE} has no {BEGIN}"));
    let (_, tail) = rest.split_once(END).unwrap_or_else(|| panic!("{PAGE} has no {END}"));
    fs::write(&path, format!("{head}{BEGIN}\n\n{}\n{END}{tail}", table(tallies, seed))).unwrap();
}

/// How the fault is produced, and what rate its clients reached.
fn how<'o>(row: &Row, outcomes: impl Iterator<Item = &'o Outcome>) -> String {
    let mut rates: Vec<u64> = outcomes.filter_map(|outcome| outcome.rate).collect();
    rates.sort_unstable();
    match rates.as_slice() {
        [] => row.how.to_owned(),
        [least, .., most] => {
            format!("{}; reached: {least} to {most}, median {}", row.how, rates[rates.len() / 2])
        }
        [one] => format!("{}; reached: {one}", row.how),
    }
}

fn table(tallies: &Tallies, seed: u64) -> String {
    let all: Vec<&Outcome> = tallies.values().flat_map(|row| row.values()).collect();
    let bad = all.iter().filter(|outcome| !outcome.is_good()).count();
    let mut text = format!(
        "`make faults SEED={seed}`: {} tried, {bad} not good. Recovery is from the end of the fault to a success: median / \
         longest, in seconds. `make faults SEED={seed} ROW=NAME` repeats a row, `TRIAL=N` one of its trials.\n\n\
         | row | fault | how | tried | lost | twice | another client's changed | false success | hung | recovery |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        all.len()
    );
    for row in ROWS {
        let Some(trials) = tallies.get(row.name) else {
            let _ = writeln!(text, "| {} | {} | {} | 0, it needs root | | | | | | |", row.name, row.fault, row.how);
            continue;
        };
        let sum = |of: fn(&Outcome) -> usize| trials.values().map(of).sum::<usize>();
        let mut took: Vec<f64> = trials.values().map(|outcome| outcome.recovered_in.as_secs_f64()).collect();
        took.sort_by(f64::total_cmp);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} / {:.1} |",
            row.name,
            row.fault,
            how(row, trials.values()),
            trials.len(),
            sum(|outcome| outcome.lost),
            sum(|outcome| outcome.twice),
            sum(|outcome| outcome.foreign),
            sum(|outcome| usize::from(outcome.is_false)),
            sum(|outcome| usize::from(outcome.is_hung)),
            took[took.len() / 2],
            took[took.len() - 1],
        );
    }
    text
}
