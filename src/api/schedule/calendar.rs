//! Due times: a cron expression of five fields in a time zone. Pure: the time is passed in, and the time zones are in the
//! program, for its image has none.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The words that stand for five fields.
const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
/// How a due time stands in an object's name, which has only small letters.
const SUFFIX: &str = "%Y%m%dt%H%M";

/// A schedule that can be asked.
#[derive(Clone, Debug)]
pub struct Calendar {
    cron: Cron,
    zone: TimeZone,
}

impl Calendar {
    /// Reads an expression and the name of a time zone.
    ///
    /// # Errors
    /// A sentence with the field, what is wrong and what to write instead.
    pub fn parse(schedule: &str, zone: &str) -> Result<Self, String> {
        let no_cron = |why: &str| {
            format!(
                "spec.schedule: \"{schedule}\" is no schedule ({why}): write five fields, as in \"0 2 * * *\" for every night \
                 at two, or @hourly, @daily, @weekly, @monthly or @yearly"
            )
        };
        let text = schedule.trim();
        if text.starts_with('@') {
            if !NICKNAMES.contains(&text.to_ascii_lowercase().as_str()) {
                return Err(no_cron("no such word"));
            }
        } else {
            let fields = text.split_ascii_whitespace().count();
            if fields != 5 {
                return Err(no_cron(&format!("it has {fields} fields")));
            }
            if let Some(odd) = text.split(|c: char| c.is_ascii_whitespace() || ",-/".contains(c)).find(|p| !is_plain(p))
            {
                return Err(no_cron(&format!("\"{odd}\" is no number, name or *")));
            }
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| no_cron(&error.to_string()))?;
        let zone = TimeZone::get(zone).map_err(|_| {
            format!(
                "spec.timeZone: there is no time zone \"{zone}\": write a name of the IANA database, as in Europe/Berlin, or \
                 leave it out for Etc/UTC"
            )
        })?;
        let calendar = Self { cron, zone };
        // a day that no month has: searching for it takes long, so it is asked for once, here
        if calendar.after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(no_cron("no day is ever like that"));
        }
        Ok(calendar)
    }

    /// The first due time after this one.
    #[must_use]
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let from = time.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&from, false).ok().map(|next| next.timestamp()).filter(|next| *next > time)
    }

    /// The time zone that the fields mean.
    #[must_use]
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

/// A number, a day's or month's name, or a star: what every cron takes.
fn is_plain(part: &str) -> bool {
    let is_number = !part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
    let is_name = part.len() == 3 && part.bytes().all(|b| b.is_ascii_alphabetic());
    part == "*" || is_number || is_name
}

/// The name of the object that is made for this due time: making it twice is impossible.
#[must_use]
pub fn child_name(schedule: &str, due: Timestamp) -> String {
    format!("{schedule}-{}", due.strftime(SUFFIX))
}

/// The due time in the name of a schedule's child; None: it is none.
#[must_use]
pub fn due_of(schedule: &str, child: &str) -> Option<Timestamp> {
    let suffix = child.strip_prefix(schedule)?.strip_prefix('-')?;
    let due = jiff::civil::DateTime::strptime(SUFFIX, suffix).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    // only the one form that is written here
    (child_name(schedule, due) == child).then_some(due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn from(schedule: &str, zone: &str, start: &str, count: usize) -> Vec<String> {
        let calendar = Calendar::parse(schedule, zone).unwrap();
        let first = calendar.after(at(start));
        std::iter::successors(first, |due| calendar.after(*due)).take(count).map(|due| due.to_string()).collect()
    }

    #[test]
    fn due_times_are_those_of_cron() {
        assert_eq!(
            from("0 2 * * *", "Etc/UTC", "2026-11-26T02:00:00Z", 2),
            ["2026-11-27T02:00:00Z", "2026-11-28T02:00:00Z"]
        );
        assert_eq!(from("@daily", "Etc/UTC", "2026-11-26T02:00:00Z", 1), ["2026-11-27T00:00:00Z"]);
        assert_eq!(
            from("*/15 * * * *", "Etc/UTC", "2026-11-26T02:00:01Z", 2),
            ["2026-11-26T02:15:00Z", "2026-11-26T02:30:00Z"]
        );
        // either day: the rule of every cron, where neither field is a star
        assert_eq!(
            from("0 0 1 * MON", "Etc/UTC", "2026-11-26T00:00:00Z", 3),
            ["2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z", "2026-12-07T00:00:00Z"]
        );
        assert_eq!(from("0 0 29 2 *", "Etc/UTC", "2026-11-26T00:00:00Z", 1), ["2028-02-29T00:00:00Z"]);
        assert_eq!(from("0 12 * jan-mar 7", "Etc/UTC", "2026-11-26T00:00:00Z", 1), ["2027-01-03T12:00:00Z"]);
    }

    #[test]
    fn clocks_that_change_lose_and_repeat_no_night() {
        // forward at two: half past two does not exist
        assert_eq!(
            from("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        // back at three: half past two comes twice
        assert_eq!(
            from("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3),
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        // every hour means every hour that passes
        let hours = from("0 * * * *", "America/New_York", "2026-11-01T04:00:00Z", 4);
        assert_eq!(
            hours,
            ["2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z", "2026-11-01T08:00:00Z"]
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_an_example() {
        for text in [
            "",
            "* * * *",
            "0 0 2 * * *",
            "@reboot",
            "@secondly",
            "61 * * * *",
            "0 2 * * 8",
            "0 0 L * *",
            "0 0 * * 5#2",
            "TZ=UTC 0 2 * * *",
            "CRON_TZ=X 2 * * *",
            "0 0 ? * *",
            "0 0 15W * *",
            "every night",
        ] {
            let message = Calendar::parse(text, "Etc/UTC").unwrap_err();
            assert!(message.starts_with("spec.schedule: ") && message.contains("\"0 2 * * *\""), "{text}: {message}");
        }
        let message = Calendar::parse("0 0 30 2 *", "Etc/UTC").unwrap_err();
        assert!(message.contains("no day is ever like that"), "{message}");
        for zone in ["", "Local", "Mars/Olympus", "../../etc/passwd", "UTC+1"] {
            let message = Calendar::parse("@daily", zone).unwrap_err();
            assert!(message.starts_with("spec.timeZone: ") && message.contains("Europe/Berlin"), "{zone}: {message}");
        }
    }

    #[test]
    fn names_hold_their_due_time_and_nothing_else_does() {
        let due = at("2026-11-26T02:00:00Z");
        assert_eq!(child_name("nightly", due), "nightly-20261126t0200");
        assert_eq!(due_of("nightly", "nightly-20261126t0200"), Some(due));
        for other in [
            "nightly",
            "nightly-",
            "nightly-20261126t02000",
            "nightly-2026112t0200",
            "nightly-20261126T0200",
            "other-20261126t0200",
            "nightly-20261326t0200",
        ] {
            assert_eq!(due_of("nightly", other), None, "{other}");
        }
    }

    const SCHEDULES: [&str; 9] = [
        "* * * * *",
        "*/7 * * * *",
        "0 * * * *",
        "30 2 * * *",
        "0 0 * * *",
        "15 1-3 * * *",
        "0 2 * * SUN",
        "59 23 31 12 *",
        "*/20 2 25 3,10 *",
    ];
    const ZONES: [&str; 7] = [
        "Etc/UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Africa/Casablanca",
        "Pacific/Apia",
    ];

    proptest! {
        /// Whoever asks from any moment between two due times gets the same next one: so none is skipped or repeated by
        /// when it is asked.
        #[test]
        fn the_next_due_time_does_not_depend_on_when_it_is_asked(
            schedule in proptest::sample::select(&SCHEDULES[..]),
            zone in proptest::sample::select(&ZONES[..]),
            start in 1_600_000_000_i64..2_200_000_000,
            share in 0.0..1.0_f64,
        ) {
            let calendar = Calendar::parse(schedule, zone).unwrap();
            let start = Timestamp::from_second(start).unwrap();
            let due = calendar.after(start).unwrap();
            let following = calendar.after(due).unwrap();
            prop_assert!(start < due && due < following);
            prop_assert_eq!(due.as_second() % 60, 0);
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "any moment between the two will do")]
            let later = due.as_second() + ((following.as_second() - due.as_second() - 1) as f64 * share) as i64;
            prop_assert_eq!(calendar.after(Timestamp::from_second(later).unwrap()), Some(following));
        }

        #[test]
        fn a_due_time_is_found_in_its_names(minute in 0_i64..200_000_000) {
            let due = Timestamp::from_second(minute * 60).unwrap();
            prop_assert_eq!(due_of("a-b.c", &child_name("a-b.c", due)), Some(due));
        }

        #[test]
        fn any_text_is_a_schedule_or_a_sentence(text in "\\PC{0,40}", zone in "\\PC{0,20}") {
            let _ = Calendar::parse(&text, "Etc/UTC");
            let _ = Calendar::parse("@daily", &zone);
        }
    }
}
