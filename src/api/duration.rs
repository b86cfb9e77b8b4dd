//! Durations as manifests write them: `500ms`, `1s`, `1m30s`. Pure.

use std::time::Duration;

/// The longest pause that makes sense between two requests.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// Reads a duration: one or more whole numbers, each with `ms`, `s`, `m` or `h`.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no duration: write a number with ms, s, m or h, as in 500ms, 1s or 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
        rest = rest.get(digits..).unwrap_or_default();
        let (millis, unit) = unit(rest).ok_or_else(wrong)?;
        rest = rest.get(unit..).unwrap_or_default();
        let part = number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    if total > LONGEST {
        return Err(format!("\"{text}\" is too long: write at most 1h"));
    }
    Ok(total)
}

/// The unit that the text begins with, in milliseconds, and its length in bytes.
fn unit(text: &str) -> Option<(u64, usize)> {
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find(|(word, _)| text.starts_with(word))
        .map(|(word, millis)| (millis, word.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        let read = |text| parse(text).unwrap().as_millis();
        assert_eq!(
            [read("500ms"), read("1s"), read("1m30s"), read("0s"), read("1h")],
            [500, 1000, 90_000, 0, 3_600_000]
        );
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["fast", "", "1", "s", "-1s", "1.5s", "1 s", "99999999999999999999s", "18446744073709551615h", "1é"]
        {
            let message = parse(text).unwrap_err();
            assert!(message.contains("500ms, 1s or 1m30s"), "{text}: {message}");
        }
        assert_eq!(parse("2h").unwrap_err(), "\"2h\" is too long: write at most 1h");
    }
}
