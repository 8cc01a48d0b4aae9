//! What is done once: the ID that stands for it, and what is remembered of who did it.
//!
//! A record is `<prefix>~once/NAME/ID`, where the characters of the ID that a key's segment cannot have are
//! written as `%` and two hex digits, byte by byte. It hangs on a lease of its own, as long as it is remembered.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lock::entry::{Entry, harmless};
use crate::lock::name::is_name_character;
use crate::lock::token::Token;

/// The version of a record that this program writes, and the newest it understands.
const VERSION: u32 = 1;

/// The longest ID, in bytes.
const ID_BYTES_MAX: usize = 200;

/// A larger record is not parsed: ours have a few hundred bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// What stands for the thing to be done once, such as a date. Any text of at most 200 bytes without control
/// characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnceId(String);

/// Why a text is no [`OnceId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnceIdError {
    /// There is nothing: often a variable that is not set, and then it would stand for everything.
    Empty,
    /// It has so many bytes.
    TooLong(usize),
    /// It has a control character, or an invisible one; the text, made harmless.
    Control(String),
}

impl fmt::Display for OnceIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "an ID cannot be empty"),
            Self::TooLong(bytes) => {
                write!(
                    f,
                    "an ID has at most {ID_BYTES_MAX} bytes; this one has {bytes}"
                )
            }
            Self::Control(text) => write!(f, "an ID has no control characters: {text}"),
        }
    }
}

impl std::error::Error for OnceIdError {}

impl FromStr for OnceId {
    type Err = OnceIdError;

    fn from_str(text: &str) -> Result<Self, OnceIdError> {
        match text {
            "" => Err(OnceIdError::Empty),
            _ if text.len() > ID_BYTES_MAX => Err(OnceIdError::TooLong(text.len())),
            _ if harmless(text) != text => Err(OnceIdError::Control(harmless(text))),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for OnceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl OnceId {
    /// Its segment of the key.
    pub fn segment(&self) -> String {
        let mut segment = String::new();
        for byte in self.0.bytes() {
            match char::from(byte) {
                c if byte.is_ascii() && is_name_character(c) => segment.push(c),
                _ => segment.push_str(&format!("%{byte:02X}")),
            }
        }
        segment
    }

    /// The ID of a key's segment; nothing where it is none that we would write.
    pub fn of_segment(segment: &[u8]) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut rest = segment;
        while let Some((first, tail)) = rest.split_first() {
            let (byte, after) = match (first, tail) {
                (b'%', [high, low, after @ ..]) => {
                    let digits = [*high, *low];
                    let hex = std::str::from_utf8(&digits).ok()?;
                    (u8::from_str_radix(hex, 16).ok()?, after)
                }
                _ => (*first, tail),
            };
            bytes.push(byte);
            rest = after;
        }
        let id: Self = String::from_utf8(bytes).ok()?.parse().ok()?;
        (id.segment().as_bytes() == segment).then_some(id)
    }
}

/// What is remembered of who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceRecord {
    /// The version of this format.
    pub v: u32,
    /// The token under which it was done.
    pub token: i64,
    /// The machine's host name.
    pub host: String,
    /// The login name.
    pub user: String,
    /// The command's file name, without its arguments.
    pub program: String,
    /// When the command had ended, RFC 3339, by that host's wall clock.
    pub done: String,
}

impl OnceRecord {
    /// What to remember of the contender who says this of itself.
    pub fn new(entry: &Entry, token: Token, done: String) -> Self {
        Self {
            v: VERSION,
            token: token.get(),
            host: entry.host.clone(),
            user: entry.user.clone(),
            program: entry.program.clone(),
            done,
        }
    }

    /// The value to store.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }

    /// What a stored value says; nothing where it is not ours, or not of a version we understand. It is a record all
    /// the same: whatever stands under the key says that it was done.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let mut record: Self = serde_json::from_slice(value).ok()?;
        let texts = [
            &mut record.host,
            &mut record.user,
            &mut record.program,
            &mut record.done,
        ];
        for text in texts {
            *text = harmless(text);
        }
        (record.v <= VERSION).then_some(record)
    }

    /// Who did it, and when: `by deploy@build7 at 2026-11-22T03:00:07Z (token 7)`.
    pub fn by(value: &[u8]) -> String {
        match Self::parse(value) {
            Some(Self {
                token,
                host,
                user,
                done,
                ..
            }) => format!("by {user}@{host} at {done} (token {token})"),
            None => {
                "by somebody whose record cannot be read, perhaps of a newer version".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_short_visible_text() {
        let long = "x".repeat(10_240);
        for (text, why) in [
            ("", OnceIdError::Empty),
            (&long, OnceIdError::TooLong(10_240)),
            ("a\nb", OnceIdError::Control("a\\u{a}b".to_owned())),
            ("\u{202e}x", OnceIdError::Control("\\u{202e}x".to_owned())),
        ] {
            assert_eq!(text.parse::<OnceId>(), Err(why));
        }
    }

    #[test]
    fn a_date_is_its_own_segment_and_a_slash_makes_no_other_segment() {
        let segment = |text: &str| text.parse::<OnceId>().expect("an ID").segment();
        assert_eq!(segment("2026-11-22T03:00+01:00"), "2026-11-22T03:00+01:00");
        assert_eq!(segment("a/b 100%"), "a%2Fb%20100%25");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_one_all_the_same() {
        for value in [&b""[..], b"\xff", br#"{"v":2}"#, b"[]"] {
            assert_eq!(OnceRecord::parse(value), None);
            assert!(OnceRecord::by(value).contains("newer version"));
        }
        let hostile =
            br#"{"v":1,"token":7,"host":"h\u001b[2J","user":"u","program":"p","done":"d"}"#;
        assert_eq!(OnceRecord::by(hostile), "by u@h\\u{1b}[2J at d (token 7)");
    }

    proptest! {
        #[test]
        fn every_id_is_found_again_by_its_segment(text in "\\PC{1,60}") {
            if let Ok(id) = text.parse::<OnceId>() {
                let segment = id.segment();
                prop_assert!(segment.chars().all(|c| is_name_character(c) || c == '%'));
                prop_assert_eq!(OnceId::of_segment(segment.as_bytes()), Some(id));
            }
        }

        #[test]
        fn any_segment_is_an_id_in_one_way_or_none(segment in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(id) = OnceId::of_segment(&segment) {
                prop_assert_eq!(id.segment().into_bytes(), segment);
            }
        }
    }
}
