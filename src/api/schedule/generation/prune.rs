//! Which generations are removed. Pure: the time is passed in. Used twice about each removal: by the controller, on what its
//! status holds, and by the prune Job, on what lies on the claim.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::Keep;

/// What is known of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its due time.
    pub due: Timestamp,
    /// Its run ended with Ready=True.
    pub good: bool,
}

/// The due times of the generations that may be removed, the oldest first. `in_use`: what something still reads or writes.
/// `zone`: whose days, weeks and months count.
///
/// # Guarantees
/// Nothing goes without a good generation that is newer than it. What is in use stays. What is due after `now` was made while
/// a clock was wrong: it stays, and counts as nothing.
#[must_use]
pub fn prune(
    keep: &Keep,
    zone: &TimeZone,
    generations: &[Generation],
    in_use: &BTreeSet<Timestamp>,
    now: Timestamp,
) -> Vec<Timestamp> {
    let past = generations.iter().filter(|generation| generation.due <= now);
    let good: BTreeSet<Timestamp> = past.clone().filter(|generation| generation.good).map(|g| g.due).collect();
    let Some(newest) = good.last().copied() else { return Vec::new() };
    let kept = kept(keep, zone, &good);
    let goes = |generation: &&Generation| {
        let due = generation.due;
        due < newest && !kept.contains(&due) && !in_use.contains(&due)
    };
    let gone: BTreeSet<Timestamp> = past.filter(goes).map(|generation| generation.due).collect();
    gone.into_iter().collect()
}

/// The good ones that `keep` asks for.
fn kept(keep: &Keep, zone: &TimeZone, good: &BTreeSet<Timestamp>) -> BTreeSet<Timestamp> {
    let count = |number: i32| usize::try_from(number).unwrap_or_default();
    let mut kept: BTreeSet<Timestamp> = good.iter().rev().take(count(keep.last).max(1)).copied().collect();
    kept.extend(newest_of_each(good, count(keep.daily), |due| day(&due.to_zoned(zone.clone()))));
    kept.extend(newest_of_each(good, count(keep.weekly), |due| {
        let week = due.to_zoned(zone.clone()).date().iso_week_date();
        (week.year(), week.week(), 0)
    }));
    kept.extend(newest_of_each(good, count(keep.monthly), |due| {
        let (year, month, _) = day(&due.to_zoned(zone.clone()));
        (year, month, 0)
    }));
    kept
}

type Period = (i16, i8, i8);

fn day(time: &Zoned) -> Period {
    (time.year(), time.month(), time.day())
}

/// The newest generation of each of the newest `count` periods that have one.
fn newest_of_each(
    good: &BTreeSet<Timestamp>,
    count: usize,
    period: impl Fn(Timestamp) -> Period,
) -> BTreeSet<Timestamp> {
    let mut seen = BTreeSet::new();
    let firsts = good.iter().rev().filter(|due| seen.insert(period(**due)));
    firsts.take(count).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn keep(last: i32, daily: i32, weekly: i32, monthly: i32) -> Keep {
        Keep { last, daily, weekly, monthly }
    }

    /// Days of November 2026 at two, as they are left.
    fn left(keep: &Keep, days: &[(&str, bool)], in_use: &[&str], now: &str) -> Vec<String> {
        let due = |day: &&str| at(&format!("{day}T02:00:00Z"));
        let all: Vec<Generation> = days.iter().map(|(day, good)| Generation { due: due(day), good: *good }).collect();
        let in_use = in_use.iter().map(due).collect();
        let gone = prune(keep, &TimeZone::UTC, &all, &in_use, at(now));
        let left = all.iter().filter(|generation| !gone.contains(&generation.due));
        left.map(|generation| generation.due.to_string()[5..10].to_owned()).collect()
    }

    const NOW: &str = "2026-11-30T03:00:00Z";

    #[test]
    fn the_last_ones_are_kept() {
        let days = [("2026-11-26", true), ("2026-11-27", true), ("2026-11-28", true)];
        assert_eq!(left(&keep(2, 0, 0, 0), &days, &[], NOW), ["11-27", "11-28"]);
        assert_eq!(left(&keep(9, 0, 0, 0), &days, &[], NOW), ["11-26", "11-27", "11-28"]);
        // what a rule of the CRD refuses is taken as one
        assert_eq!(left(&keep(0, 0, 0, 0), &days, &[], NOW), ["11-28"]);
    }

    #[test]
    fn what_failed_goes_once_a_newer_good_one_is_there_and_counts_as_nothing() {
        let days = [("2026-11-25", true), ("2026-11-26", false), ("2026-11-27", true), ("2026-11-28", false)];
        assert_eq!(left(&keep(2, 0, 0, 0), &days, &[], NOW), ["11-25", "11-27", "11-28"]);
        assert_eq!(left(&keep(1, 0, 0, 0), &days, &["2026-11-26"], NOW), ["11-26", "11-27", "11-28"]);
        let bad = [("2026-11-25", false), ("2026-11-26", false)];
        assert_eq!(left(&keep(1, 0, 0, 0), &bad, &[], NOW), ["11-25", "11-26"], "without a good one nothing goes");
    }

    #[test]
    fn days_weeks_and_months_keep_their_newest() {
        let days: Vec<String> = (1..=30).map(|day| format!("2026-11-{day:02}")).collect();
        let mut all: Vec<(&str, bool)> = vec![("2026-09-15", true), ("2026-10-15", true), ("2026-10-31", true)];
        all.extend(days.iter().map(|day| (day.as_str(), true)));
        assert_eq!(left(&keep(1, 3, 0, 0), &all, &[], NOW), ["11-28", "11-29", "11-30"]);
        // Monday the 30th is a week of its own.
        assert_eq!(left(&keep(1, 0, 3, 0), &all, &[], NOW), ["11-22", "11-29", "11-30"]);
        assert_eq!(left(&keep(1, 0, 0, 3), &all, &[], NOW), ["09-15", "10-31", "11-30"]);
        assert_eq!(left(&keep(2, 2, 2, 2), &all, &[], NOW), ["10-31", "11-29", "11-30"]);
    }

    /// Half past eleven in the evening of one zone is another day in another one.
    #[test]
    fn days_begin_at_midnight_of_the_schedule_s_zone() {
        let all = ["2026-11-26T22:30:00Z", "2026-11-26T23:30:00Z"].map(|due| Generation { due: at(due), good: true });
        let gone = |zone: &str| {
            let zone = TimeZone::get(zone).unwrap();
            prune(&keep(1, 2, 0, 0), &zone, &all, &BTreeSet::new(), at(NOW)).len()
        };
        assert_eq!((gone("Europe/Berlin"), gone("Etc/UTC")), (0, 1));
    }

    /// A clock that was wrong for a night must not make the operator remove every copy from then on.
    #[test]
    fn a_generation_of_the_future_counts_as_nothing_and_stays() {
        let days = [("2026-11-28", true), ("2026-11-29", true), ("2036-11-26", true)];
        assert_eq!(left(&keep(1, 0, 0, 0), &days, &[], NOW), ["11-29", "11-26"]);
    }

    fn any_generations() -> impl Strategy<Value = Vec<Generation>> {
        let one = (0_i64..400, any::<bool>());
        proptest::collection::vec(one, 0..60).prop_map(|all| {
            // one of each due time, seven hours apart
            let all: std::collections::BTreeMap<i64, bool> = all.into_iter().collect();
            let due = |hours: i64| Timestamp::from_second(1_790_000_000 + hours * 7 * 3600).unwrap();
            all.into_iter().map(|(hours, good)| Generation { due: due(hours), good }).collect()
        })
    }

    proptest! {
        #[test]
        fn nothing_goes_that_has_to_stay(
            all in any_generations(),
            used in proptest::collection::btree_set(0_usize..60, 0..10),
            numbers in (0_i32..9, 0_i32..9, 0_i32..9, 0_i32..9),
            zone in proptest::sample::select(&["Etc/UTC", "Europe/Berlin", "Pacific/Apia"][..]),
            ahead in 0_i64..410,
        ) {
            let keep = keep(numbers.0, numbers.1, numbers.2, numbers.3);
            let zone = TimeZone::get(zone).unwrap();
            let now = Timestamp::from_second(1_790_000_000 + ahead * 7 * 3600).unwrap();
            let in_use: BTreeSet<Timestamp> = used.iter().filter_map(|n| all.get(*n)).map(|g| g.due).collect();
            let gone = prune(&keep, &zone, &all, &in_use, now);
            let is_gone = |due: &Timestamp| gone.contains(due);
            let good: Vec<Timestamp> = all.iter().filter(|g| g.good && g.due <= now).map(|g| g.due).collect();
            prop_assert!(good.last().is_none_or(|newest| !is_gone(newest)), "the newest good one goes");
            prop_assert!(!good.is_empty() || gone.is_empty(), "without a good one");
            prop_assert!(in_use.iter().all(|due| !is_gone(due)), "in use");
            prop_assert!(gone.iter().all(|due| *due <= now && Some(due) < good.last()), "newer than all good ones");
            let past: Vec<Generation> = all.iter().filter(|generation| generation.due <= now).copied().collect();
            prop_assert_eq!(&gone, &prune(&keep, &zone, &past, &in_use, now), "what is due in the future counts");
            let stay = good.iter().filter(|due| !is_gone(due)).count();
            prop_assert!(stay >= good.len().min(usize::try_from(keep.last).unwrap()), "{stay} good ones stay");
            // Of each kept day the newest good one stays.
            let mut days: Vec<Timestamp> = Vec::new();
            for due in good.iter().rev() {
                let of = |due: &Timestamp| due.to_zoned(zone.clone()).date();
                if days.iter().all(|newer| of(newer) != of(due)) {
                    days.push(*due);
                }
            }
            prop_assert!(days.iter().take(usize::try_from(keep.daily).unwrap()).all(|due| !is_gone(due)), "of a day");
            // What stays is what would stay: a second look removes nothing more.
            let rest: Vec<Generation> = all.iter().filter(|g| !is_gone(&g.due)).copied().collect();
            prop_assert!(prune(&keep, &zone, &rest, &in_use, now).is_empty());
            prop_assert!(gone.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
