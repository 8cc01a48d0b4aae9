//! The sequencer: everything a resource needs to check a holder, in one string (after Chubby: Burrows 2006,
//! section 2.4). `1:<cluster>:<mode>:<token>:<lease>:<names>`, with a comma between names.
//!
//! It is handed from host to host, so what is parsed here is foreign text. That it was cut inside the last
//! name cannot be seen: it is then the sequencer of a lock that nobody holds, and so stale.

use std::fmt;
use std::str::FromStr;

use crate::lock::entry::harmless;
use crate::lock::key::Prefix;
use crate::lock::name::{LockName, NameError};
use crate::lock::token::{ClusterId, LeaseId, Mode, Token, TokenError, joined};

/// The version that this program writes and reads.
const VERSION: &str = "1";

/// How many locks one sequencer may name: etcd takes at most 128 operations in a transaction
/// (`--max-txn-ops`), and a fenced write needs one for each lock and a few of its own.
pub const NAMES_MAX: usize = 120;

/// One acquisition, as a resource is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequencer {
    /// Whose token it is.
    pub cluster: ClusterId,
    /// How many may hold the lock together with this holder.
    pub mode: Mode,
    /// The fencing token.
    pub token: Token,
    /// The lease that carries the entries.
    pub lease: LeaseId,
    /// The locks; at least one.
    pub names: Vec<LockName>,
}

/// Why a text is no sequencer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequencerError {
    /// There is nothing.
    Empty,
    /// It has only so many fields.
    CutShort(usize),
    /// It is of another version; the text, made harmless.
    Version(String),
    /// Its cluster is no hex number.
    Cluster(String),
    /// Its mode is unknown.
    Mode(String),
    /// Its token is none.
    Token(TokenError),
    /// Its lease is no hex number above zero.
    Lease(String),
    /// One of its names is none.
    Name(NameError),
    /// It names more locks than one transaction can check.
    TooManyNames(usize),
}

impl fmt::Display for SequencerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the sequencer is empty"),
            Self::CutShort(fields) => write!(
                f,
                "the sequencer is cut short: it has {fields} of 6 fields; it looks like 1:cdf818194e3a8c32:exclusive:33:694d8a1b2c3d4e5f:NAME"
            ),
            Self::Version(version) => write!(
                f,
                "the sequencer is of version \"{version}\", and this leasehold reads version {VERSION}"
            ),
            Self::Cluster(text) => {
                write!(f, "the sequencer's cluster \"{text}\" is no hex number")
            }
            Self::Mode(text) => write!(
                f,
                "the sequencer's mode \"{text}\" is none of exclusive, shared, slots"
            ),
            Self::Token(error) => write!(f, "the sequencer's token cannot be used: {error}"),
            Self::Lease(text) => write!(
                f,
                "the sequencer's lease \"{text}\" is no hex number above zero"
            ),
            Self::Name(error) => write!(f, "the sequencer names no lock: {error}"),
            Self::TooManyNames(names) => write!(
                f,
                "the sequencer names {names} locks, and one transaction can check {NAMES_MAX}"
            ),
        }
    }
}

impl std::error::Error for SequencerError {}

impl Sequencer {
    /// The keys of the locks' entries.
    pub fn keys(&self, prefix: &Prefix) -> Vec<String> {
        self.names
            .iter()
            .map(|name| prefix.entry(name, self.lease))
            .collect()
    }

    /// The key of the holder's own mark: beside its first lock, whichever others there are.
    pub fn mark(&self, prefix: &Prefix) -> String {
        prefix.fence_mark(&self.names[0], self.lease)
    }
}

impl fmt::Display for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster,
            mode,
            token,
            lease,
            names,
        } = self;
        let (mode, names) = (mode.word(), joined(names));
        write!(f, "{VERSION}:{cluster}:{mode}:{token}:{lease}:{names}")
    }
}

impl FromStr for Sequencer {
    type Err = SequencerError;

    fn from_str(text: &str) -> Result<Self, SequencerError> {
        use SequencerError::{
            Cluster, CutShort, Empty, Lease, Mode as OfMode, Name, TooManyNames, Version,
        };
        if text.is_empty() {
            return Err(Empty);
        }
        // Names may contain colons, so the sixth field is all the rest.
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        // A newer version may have any number of fields.
        if fields[0] != VERSION {
            return Err(Version(harmless(fields[0])));
        }
        let [_, cluster, mode, token, lease, names] = fields[..] else {
            return Err(CutShort(fields.len()));
        };
        if names.is_empty() {
            return Err(CutShort(5));
        }
        let count = names.split(',').count();
        if count > NAMES_MAX {
            return Err(TooManyNames(count));
        }
        Ok(Self {
            cluster: ClusterId::of_hex(cluster).ok_or_else(|| Cluster(harmless(cluster)))?,
            mode: Mode::of_word(mode).ok_or_else(|| OfMode(harmless(mode)))?,
            token: token.parse().map_err(SequencerError::Token)?,
            lease: LeaseId::of_hex(lease).ok_or_else(|| Lease(harmless(lease)))?,
            names: names
                .split(',')
                .map(str::parse)
                .collect::<Result<_, NameError>>()
                .map_err(Name)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = "1:cafe:exclusive:33:beef:deploy/prod,a:b";

    #[test]
    fn a_sequencer_is_read_as_it_is_written() {
        let sequencer: Sequencer = WHOLE.parse().expect("whole");
        assert_eq!(sequencer.cluster, ClusterId(0xcafe));
        assert_eq!(sequencer.mode, Mode::Exclusive);
        assert_eq!(sequencer.token.get(), 33);
        assert_eq!(sequencer.lease.get(), 0xbeef);
        assert_eq!(joined(&sequencer.names), "deploy/prod,a:b");
        assert_eq!(sequencer.to_string(), WHOLE);
        assert_eq!(
            sequencer.keys(&Prefix::default()),
            ["/leasehold/deploy/prod/beef", "/leasehold/a:b/beef"]
        );
    }

    #[test]
    fn every_mistake_has_its_own_sentence() {
        let cases = [
            ("", SequencerError::Empty),
            ("1", SequencerError::CutShort(1)),
            ("1:cafe:exclusive:33", SequencerError::CutShort(4)),
            ("1:cafe:exclusive:33:beef:", SequencerError::CutShort(5)),
            (
                "2:cafe:exclusive:33:beef:a",
                SequencerError::Version("2".to_owned()),
            ),
            ("33", SequencerError::Version("33".to_owned())),
            (
                "1:zzz:exclusive:33:beef:a",
                SequencerError::Cluster("zzz".to_owned()),
            ),
            (
                "1:cafe:open:33:beef:a",
                SequencerError::Mode("open".to_owned()),
            ),
            (
                "1:cafe:exclusive:0:beef:a",
                SequencerError::Token(TokenError::Zero),
            ),
            (
                "1:cafe:exclusive:33:-1:a",
                SequencerError::Lease("-1".to_owned()),
            ),
            (
                "1:cafe:exclusive:33:beef:a,,b",
                SequencerError::Name(NameError::Empty),
            ),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Sequencer>(), Err(error), "{text:?}");
        }
        let many = format!("1:cafe:exclusive:33:beef:{}", vec!["a"; 121].join(","));
        assert_eq!(
            many.parse::<Sequencer>(),
            Err(SequencerError::TooManyNames(121))
        );
    }

    #[test]
    fn every_cut_is_refused_or_names_another_lock() {
        for length in 0..WHOLE.len() {
            match WHOLE[..length].parse::<Sequencer>() {
                Err(_) => {}
                Ok(cut) => assert!(
                    length > "1:cafe:exclusive:33:beef:".len() && cut.to_string() != WHOLE,
                    "{length}"
                ),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_and_what_is_read_is_written_alike(
            text in "(1:[0-9a-f]{0,17}:(exclusive|shared|slots|x):-?[0-9]{0,20}:[0-9a-f]{0,17}:[a-z/,:.]{0,20}|.{0,60})"
        ) {
            if let Ok(sequencer) = text.parse::<Sequencer>() {
                let again: Sequencer = sequencer.to_string().parse().expect("it was one");
                prop_assert_eq!(again, sequencer);
            }
        }
    }
}
