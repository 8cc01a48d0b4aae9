//! Signals as people type them: `TERM`, `SIGTERM`, `term`, `15`.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// Reads a signal.
///
/// # Errors
/// A sentence for the user.
pub fn parse(text: &str) -> Result<i32, String> {
    let wrong = || format!("{text:?} is no signal; write TERM, INT, USR1 or a number");
    if let Ok(number) = text.parse::<i32>() {
        return Signal::try_from(number)
            .map(|_| number)
            .map_err(|_| wrong());
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    Signal::from_str(&format!("SIG{name}"))
        .map(|signal| signal as i32)
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(parse(text), Ok(15), "{text}");
        }
        for text in ["", "SIG", "0", "-9", "999", "NOPE"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
