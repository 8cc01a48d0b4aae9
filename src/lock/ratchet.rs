//! What a resource that is a machine or a folder remembers of tokens: one line in a file, and what may follow
//! it. Pure: the file itself is in src/fence/state_file.rs.
//!
//! `leasehold-fence 1 <cluster> <token> <checksum>`: the cluster in hex, or `-` where nobody said whose token
//! it is. A person can read it. The checksum (CRC-32, as in gzip) is there because a digit that was changed by
//! hand or by a bad disk would let a stale holder in without anybody noticing.

use std::fmt;

use crate::lock::token::{ClusterId, Token};

/// What every line begins with.
const MAGIC: &str = "leasehold-fence";

/// The same with what separates it from the rest: what is cut shorter may be ours, what differs is not.
pub const LINE_BEGINNING: &str = "leasehold-fence ";

/// The version that this program writes and reads.
const VERSION: &str = "1";

/// What stands for the cluster where nobody said whose token it is.
const NO_CLUSTER: &str = "-";

/// No line is longer: more is not read.
pub const LINE_BYTES_MAX: usize = 128;

/// A token, and whose it is as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Tokens of two clusters cannot be compared. Unknown where a bare number was given.
    pub cluster: Option<ClusterId>,
    /// The token.
    pub token: Token,
}

/// What may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is the newest token already.
    Same,
    /// It is newer: it has to be remembered before anything is done with it.
    Raise,
    /// It is older than this one.
    Stale(Token),
    /// It is of another cluster than this one (or one of the two is of an unknown one).
    OtherCluster(Option<ClusterId>),
}

/// Why a line is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// There is nothing.
    Empty,
    /// It is something else.
    Foreign,
    /// A newer leasehold wrote it.
    Version,
    /// The line is ours, but changed or cut short.
    Changed,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::Foreign => "it is no state file of leasehold fence",
            Self::Version => "it was written by another version of leasehold",
            Self::Changed => "it was changed or cut short: its checksum is wrong",
        })
    }
}

impl Seen {
    /// What the file may become when `token` comes.
    pub fn step(state: Option<Self>, comes: Self) -> Step {
        match state {
            None => Step::Raise,
            Some(seen) if seen.cluster != comes.cluster => Step::OtherCluster(seen.cluster),
            Some(seen) if comes.token < seen.token => Step::Stale(seen.token),
            Some(seen) if comes.token == seen.token => Step::Same,
            Some(_) => Step::Raise,
        }
    }

    /// The line to store.
    pub fn to_line(self) -> String {
        let cluster = self
            .cluster
            .map_or_else(|| NO_CLUSTER.to_owned(), |cluster| cluster.to_string());
        let text = format!("{MAGIC} {VERSION} {cluster} {}", self.token);
        let sum = crc32(text.as_bytes());
        format!("{text} {sum:08x}\n")
    }

    /// What a stored line says.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn parse(line: &[u8]) -> Result<Self, Corrupt> {
        if line.is_empty() {
            return Err(Corrupt::Empty);
        }
        if line.len() > LINE_BYTES_MAX || !line.starts_with(MAGIC.as_bytes()) {
            return Err(Corrupt::Foreign);
        }
        let line = std::str::from_utf8(line).map_err(|_| Corrupt::Changed)?;
        let fields: Vec<&str> = line.trim_end_matches('\n').split(' ').collect();
        if fields.get(1).is_some_and(|version| *version != VERSION) {
            return Err(Corrupt::Version);
        }
        let [_, _, cluster, token, _] = fields[..] else {
            return Err(Corrupt::Changed);
        };
        let cluster = match cluster {
            NO_CLUSTER => None,
            hex => Some(ClusterId::of_hex(hex).ok_or(Corrupt::Changed)?),
        };
        let token = token.parse().map_err(|_| Corrupt::Changed)?;
        let seen = Self { cluster, token };
        // Also what reads the same but is written otherwise was not written by us.
        if seen.to_line() == line {
            Ok(seen)
        } else {
            Err(Corrupt::Changed)
        }
    }
}

/// CRC-32 as in gzip and PNG (ISO 3309), bit by bit: a line is short.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = sum & 1;
            sum = (sum >> 1) ^ (0xedb8_8320 * carry);
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(cluster: Option<u64>, token: i64) -> Seen {
        Seen {
            cluster: cluster.map(ClusterId),
            token: Token::new(token).expect("positive"),
        }
    }

    #[test]
    fn a_line_is_read_as_it_is_written() {
        assert_eq!(
            crc32(b"123456789"),
            0xcbf4_3926,
            "the standard's own example"
        );
        for state in [seen(Some(0xcafe), 34), seen(None, i64::MAX)] {
            assert_eq!(Seen::parse(state.to_line().as_bytes()), Ok(state));
        }
        assert_eq!(
            seen(Some(0xcafe), 34).to_line(),
            "leasehold-fence 1 cafe 34 395226d6\n"
        );
    }

    #[test]
    fn only_what_is_not_older_may_follow() {
        let state = Some(seen(Some(1), 34));
        let cases = [
            (None, seen(Some(1), 1), Step::Raise),
            (state, seen(Some(1), 33), Step::Stale(seen(None, 34).token)),
            (state, seen(Some(1), 34), Step::Same),
            (state, seen(Some(1), 35), Step::Raise),
            (
                state,
                seen(Some(2), 35),
                Step::OtherCluster(Some(ClusterId(1))),
            ),
            (
                state,
                seen(None, 35),
                Step::OtherCluster(Some(ClusterId(1))),
            ),
            (
                Some(seen(None, 34)),
                seen(Some(1), 35),
                Step::OtherCluster(None),
            ),
            (Some(seen(None, 34)), seen(None, 35), Step::Raise),
        ];
        for (state, comes, step) in cases {
            assert_eq!(Seen::step(state, comes), step, "{state:?} {comes:?}");
        }
    }

    #[test]
    fn no_cut_and_no_changed_byte_goes_unnoticed() {
        let line = seen(Some(0xcafe), 34).to_line();
        let bytes = line.as_bytes();
        for length in 0..bytes.len() {
            assert!(Seen::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                assert!(Seen::parse(&changed).is_err(), "byte {at}, bit {bit}");
            }
        }
        assert_eq!(Seen::parse(b""), Err(Corrupt::Empty));
        assert_eq!(Seen::parse(b"{}"), Err(Corrupt::Foreign));
        assert_eq!(
            Seen::parse(b"leasehold-fence 2 whatever"),
            Err(Corrupt::Version)
        );
        let twice = format!("{line}{line}");
        assert_eq!(Seen::parse(twice.as_bytes()), Err(Corrupt::Changed));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(seen) = Seen::parse(&bytes) {
                prop_assert_eq!(seen.to_line().into_bytes(), bytes);
            }
        }

        #[test]
        fn every_state_survives_being_stored(cluster in any::<Option<u64>>(), token in 1..=i64::MAX) {
            let state = seen(cluster, token);
            prop_assert_eq!(Seen::parse(state.to_line().as_bytes()), Ok(state));
        }
    }
}
