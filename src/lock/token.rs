//! The numbers that name an acquisition: the fencing token, the lease, the cluster, and all of it in one
//! string, the sequencer (after Chubby, Burrows 2006, section 2.4).

use std::fmt;

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

/// A lease's id. Shown in hex without leading zeros, as etcdctl shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(i64);

impl LeaseId {
    /// A lease with this id. Ids are positive: a negative one "can possibly cause db out of sync"
    /// (etcd CHANGELOG-3.4.20, etcd#14239).
    #[cfg(test)]
    pub const fn new(id: i64) -> Option<Self> {
        if id > 0 { Some(Self(id)) } else { None }
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
}

impl Mode {
    /// The word used in sequencers and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
        }
    }
}

/// Everything a resource needs to check a holder, in one string:
/// `1:<cluster>:<mode>:<token>:<lease>:<names>`.
pub fn sequencer(
    cluster: ClusterId,
    mode: Mode,
    token: Token,
    lease: LeaseId,
    names: &[LockName],
) -> String {
    let mode = mode.word();
    format!("1:{cluster}:{mode}:{token}:{lease}:{}", joined(names))
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
    fn the_sequencer_has_six_fields_in_the_documented_order() {
        let names = ["deploy/prod".parse().expect("a name")];
        let lease = LeaseId::new(0xbeef).expect("positive");
        let token = Token::new(33).expect("positive");
        assert_eq!(
            sequencer(ClusterId(0xcafe), Mode::Exclusive, token, lease, &names),
            "1:cafe:exclusive:33:beef:deploy/prod"
        );
    }
}
