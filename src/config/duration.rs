//! Durations as people type them: `1.5`, `90s`, `5m`, `2h`, `1d`, `250ms`; a bare number is seconds, as in
//! flock(1) and timeout(1).

use std::time::Duration;

/// The longest duration that makes sense here: a hundred years.
const SECONDS_MAX: f64 = 100.0 * 365.0 * 86_400.0;

/// Reads a duration.
///
/// # Errors
/// A sentence for the user.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write 1.5, 90s, 5m, 2h or 1d");
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds_per_unit = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    // "inf", "1e9" and signs are numbers to Rust, but none that anybody means here.
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(wrong());
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = number * seconds_per_unit;
    if seconds > SECONDS_MAX {
        return Err(format!("{text:?} is longer than a hundred years"));
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_documented() {
        let cases = [
            ("0", 0),
            ("1.5", 1_500),
            (".5", 500),
            ("90s", 90_000),
            ("250ms", 250),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("0.5d", 43_200_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "s",
            "-1",
            "+1",
            "1e9",
            "inf",
            "nan",
            "1 s",
            "1w",
            "1.2.3",
            "1m30s",
            "٣",
            "9999999999d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}") {
            let _ = parse(&text);
        }
    }
}
