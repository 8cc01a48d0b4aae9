//! What a lock may be called.
//!
//! Names are segments of a small alphabet joined by `/`, so that a name can stand in a key, a comma-separated
//! list, a sequencer, a shell word and a terminal without any escaping.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes: it leaves room for prefix and lease id, and fits a file name.
pub const NAME_BYTES_MAX: usize = 255;

/// How many locks one run can take together. Putting them takes four operations for each (its entry, its marker and
/// two readings), in one transaction, and etcd takes at most 128 (`--max-txn-ops`).
pub const LOCKS_MAX: usize = 32;

/// A lock's name, checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockName(String);

/// Why a text is no lock name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is nothing.
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    TooLong(usize),
    /// Begins or ends with `/`, or has two in a row.
    EmptySegment,
    /// A segment is `.` or `..`.
    DotSegment,
    /// A character outside the alphabet.
    Character(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a lock name cannot be empty"),
            Self::TooLong(bytes) => {
                write!(
                    f,
                    "a lock name has at most {NAME_BYTES_MAX} bytes, this one has {bytes}"
                )
            }
            Self::EmptySegment => {
                write!(
                    f,
                    "a lock name cannot begin or end with '/' or have two in a row"
                )
            }
            Self::DotSegment => write!(f, "a segment of a lock name cannot be '.' or '..'"),
            Self::Character(character) => write!(
                f,
                "a lock name cannot contain {character:?}; allowed are A-Z a-z 0-9 . _ : @ + = - and '/' between segments"
            ),
        }
    }
}

impl std::error::Error for NameError {}

impl LockName {
    /// The name as typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether names and prefixes may contain this character inside a segment.
pub const fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || matches!(character, '.' | '_' | ':' | '@' | '+' | '=' | '-')
}

impl FromStr for LockName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(NameError::EmptySegment),
                "." | ".." => return Err(NameError::DotSegment),
                _ => {}
            }
            if let Some(character) = segment.chars().find(|c| !is_name_character(*c)) {
                return Err(NameError::Character(character));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_alphabet_are_taken_as_they_are() {
        for name in [
            "a",
            "deploy/prod",
            "A.b_c:d@e+f=g-h/0",
            "...",
            "a/..b",
            &"n".repeat(255),
        ] {
            assert_eq!(name.parse::<LockName>().expect(name).as_str(), name);
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let cases = [
            ("", NameError::Empty),
            ("/", NameError::EmptySegment),
            ("/a", NameError::EmptySegment),
            ("a/", NameError::EmptySegment),
            ("a//b", NameError::EmptySegment),
            (".", NameError::DotSegment),
            ("a/../b", NameError::DotSegment),
            ("a b", NameError::Character(' ')),
            ("~run", NameError::Character('~')),
            ("a,b", NameError::Character(',')),
            ("a\u{1b}[2J", NameError::Character('\u{1b}')),
            ("größe", NameError::Character('ö')),
        ];
        for (text, reason) in cases {
            assert_eq!(text.parse::<LockName>(), Err(reason), "{text:?}");
        }
        let long = "n".repeat(256);
        assert_eq!(long.parse::<LockName>(), Err(NameError::TooLong(256)));
    }
}
