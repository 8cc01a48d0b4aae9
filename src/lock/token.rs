//! The numbers that name an acquisition: the fencing token, the lease, the cluster.

use std::fmt;
use std::str::FromStr;

use crate::lock::entry::harmless;
use crate::lock::name::LockName;

/// The fencing token: the create_revision of our key. It grows from holder to holder of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(i64);

impl Token {
    /// The token with this number; none for zero and below, which etcd uses for "no such key".
    pub const fn new(number: i64) -> Option<Self> {
        if number > 0 { Some(Self(number)) } else { None }
    }

    /// The number a resource compares.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// There is nothing.
    Empty,
    /// Not digits; the text, made harmless.
    NoNumber(String),
    /// Zero.
    Zero,
    /// Below zero; the text.
    Negative(String),
    /// More than etcd's revisions can be; the text, made harmless.
    TooLarge(String),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the token is empty"),
            Self::NoNumber(text) => {
                write!(
                    f,
                    "the token \"{text}\" is not a number; tokens look like 33"
                )
            }
            Self::Zero => write!(
                f,
                "0 is no token: it is what etcd says of a key that is not there"
            ),
            Self::Negative(text) => write!(f, "{text} is no token: tokens are above zero"),
            Self::TooLarge(text) => write!(
                f,
                "{text} is no token: the largest there can be is {} (63 bits)",
                i64::MAX
            ),
        }
    }
}

impl std::error::Error for TokenError {}

impl FromStr for Token {
    type Err = TokenError;

    /// Decimal digits only, as they are printed.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TokenError::NoNumber(harmless(text)));
        }
        if digits.bytes().all(|byte| byte == b'0') {
            return Err(TokenError::Zero);
        }
        if digits != text {
            return Err(TokenError::Negative(harmless(text)));
        }
        let number = digits
            .parse()
            .map_err(|_| TokenError::TooLarge(harmless(text)))?;
        Ok(Self(number))
    }
}

/// A lease's id. Shown in hex without leading zeros, as etcdctl shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(i64);

impl LeaseId {
    /// A lease with this id. Ids are positive: a negative one "can possibly cause db out of sync"
    /// (etcd CHANGELOG-3.4.20, etcd#14239).
    pub const fn new(id: i64) -> Option<Self> {
        if id > 0 { Some(Self(id)) } else { None }
    }

    /// The id that is printed like this: hex digits, above zero, at most 63 bits.
    pub fn of_hex(text: &str) -> Option<Self> {
        let id = i64::try_from(hex(text)?).ok()?;
        (id > 0).then_some(Self(id))
    }

    /// A positive id out of random bits.
    pub const fn from_random(bits: u64) -> Self {
        // The top bit off keeps it positive, the lowest on keeps it from zero.
        Self(((bits >> 1) | 1) as i64)
    }

    /// The id as etcd's protocol carries it.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Which cluster (or local folder) gave the lock: tokens of two clusters cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u64);

impl ClusterId {
    /// The id that is printed like this: hex digits, at most 64 bits.
    pub fn of_hex(text: &str) -> Option<Self> {
        hex(text).map(Self)
    }
}

/// No sign, no prefix, no space: only what is printed is read.
fn hex(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// How many may hold the lock together with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Any number of readers.
    Shared,
    /// A fixed number of holders.
    Slots,
}

impl Mode {
    /// The word used in sequencers and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Slots => "slots",
        }
    }

    /// The mode with this word.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Exclusive, Self::Shared, Self::Slots]
            .into_iter()
            .find(|mode| mode.word() == word)
    }
}

/// Names with a comma between; no name contains one.
pub fn joined(names: &[LockName]) -> String {
    let names: Vec<&str> = names.iter().map(LockName::as_str).collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_lease_id_is_positive_whatever_the_bits() {
        for bits in [0, 1, u64::MAX, 1 << 63, 0x1234_5678_9abc_def0] {
            assert!(LeaseId::from_random(bits).get() > 0, "{bits:x}");
        }
    }

    #[test]
    fn a_token_is_a_number_above_zero_and_every_mistake_has_its_own_sentence() {
        assert_eq!("33".parse(), Ok(Token(33)));
        assert_eq!("9223372036854775807".parse(), Ok(Token(i64::MAX)));
        let cases = [
            ("", TokenError::Empty),
            ("x", TokenError::NoNumber("x".to_owned())),
            ("-", TokenError::NoNumber("-".to_owned())),
            ("+3", TokenError::NoNumber("+3".to_owned())),
            (" 3", TokenError::NoNumber(" 3".to_owned())),
            ("3.0", TokenError::NoNumber("3.0".to_owned())),
            ("0", TokenError::Zero),
            ("-0", TokenError::Zero),
            ("-1", TokenError::Negative("-1".to_owned())),
            (
                "9223372036854775808",
                TokenError::TooLarge("9223372036854775808".to_owned()),
            ),
        ];
        let mut sentences = std::collections::BTreeSet::new();
        for (text, error) in cases {
            sentences.insert(error.to_string());
            assert_eq!(text.parse::<Token>(), Err(error), "{text:?}");
        }
        assert_eq!(sentences.len(), 9, "only 0 and -0 share one: {sentences:?}");
    }

    #[test]
    fn ids_are_read_as_they_are_printed() {
        let lease = LeaseId(0x694d_8a1b_2c3d_4e5f);
        assert_eq!(LeaseId::of_hex(&lease.to_string()), Some(lease));
        let cluster = ClusterId(u64::MAX);
        assert_eq!(ClusterId::of_hex(&cluster.to_string()), Some(cluster));
        for text in ["", "0x1f", "+1", "g", "1ffffffffffffffff"] {
            assert_eq!(ClusterId::of_hex(text), None, "{text:?}");
            assert_eq!(LeaseId::of_hex(text), None, "{text:?}");
        }
        for text in ["0", "8000000000000000"] {
            assert_eq!(LeaseId::of_hex(text), None, "{text:?}");
        }
    }
}
