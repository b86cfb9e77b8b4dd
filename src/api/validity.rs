//! How long a verification holds: `spec.verification.validFor`. Pure.

/// What a field may hold: whole days up to 3650d, whole hours up to 87600h, or nothing.
pub const RULE: &str = "self.matches('^(([1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|36[0-4][0-9]|3650)d\
    |([1-9][0-9]{0,3}|[1-7][0-9]{4}|8[0-6][0-9]{3}|87[0-5][0-9]{2}|87600)h)?$')";

/// Hours of the longest one: ten years.
const LONGEST: i64 = 3650 * 24;
const HOUR: i64 = 3600;

/// Seconds that a verification holds; None: for ever, as with an empty text and one that the rule refuses.
#[must_use]
pub fn seconds(text: &str) -> Option<i64> {
    let (number, hours) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => (days, 24),
        (_, Some(number)) => (number, 1),
        _ => return None,
    };
    let is_whole = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
    let hours = number.parse::<i64>().ok().filter(|_| is_whole)?.checked_mul(hours)?;
    (1..=LONGEST).contains(&hours).then_some(hours * HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_and_hours_up_to_ten_years() {
        let day = 24 * 3600;
        for (text, wanted) in [
            ("1h", Some(3600)),
            ("12h", Some(12 * 3600)),
            ("7d", Some(7 * day)),
            ("3650d", Some(3650 * day)),
            ("87600h", Some(3650 * day)),
            ("3651d", None),
            ("87601h", None),
            ("0d", None),
            ("07d", None),
            ("-1d", None),
            ("+1d", None),
            ("1.5d", None),
            ("1d12h", None),
            ("7", None),
            ("d", None),
            ("", None),
            ("1w", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
    }
}
