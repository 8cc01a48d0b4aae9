//! What an examination of a cluster finds, for `doctor`: facts only, which [`crate::diagnosis`] judges.

use std::time::Duration;

use jiff::Timestamp;

use crate::lock::token::ClusterId;
use crate::supervisor::Trouble;

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Checkup {
    /// Each endpoint, in the order in which they were given.
    pub members: Vec<MemberCheck>,
    /// What came of the cluster as a run uses it.
    pub service: ServiceCheck,
    /// Until when our own certificate is valid, if there is one that can be read.
    pub own_certificate_ends: Option<Timestamp>,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct MemberCheck {
    /// `host:port`.
    pub address: String,
    /// What it says of itself.
    pub state: Result<MemberState, Trouble>,
    /// Until when its certificate is valid, if it has shown one that can be read.
    pub certificate_ends: Option<Timestamp>,
    /// Its clock beside ours, if it tells the time.
    pub clock: Option<ClockDifference>,
    /// How long a linearizable read and a commit take through it: the median of a few. Nothing where they were not
    /// tried.
    pub pace: Option<Result<Pace, Trouble>>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// Which etcd it is.
    pub version: String,
    /// Which cluster it is of.
    pub cluster: ClusterId,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it has no vote.
    pub is_learner: bool,
    /// What is wrong with it, in etcd's words: alarms among them.
    pub errors: Vec<String>,
}

/// How far a clock is ahead of ours, in milliseconds: as far as can be told, between these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDifference {
    /// At least so far; negative where it is behind.
    pub least_ms: i64,
    /// At most so far.
    pub most_ms: i64,
}

/// How fast a member answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A linearizable read.
    pub read: Duration,
    /// A commit: a lease granted.
    pub commit: Duration,
    /// The shortest lease that etcd grants: half as long again as its election timeout, in whole seconds (etcd:
    /// server/etcdserver/server.go, minTTL).
    pub ttl_min: Duration,
}

/// The cluster as a run uses it.
#[derive(Clone, Debug)]
pub enum ServiceCheck {
    /// It was not tried, since no member answered or they are of several clusters.
    NotTried,
    /// It could not be used at all.
    Unusable(Trouble),
    /// What is permitted on each range.
    Tried {
        /// Who was to log in.
        user: Option<String>,
        /// Whether that was necessary: a cluster without users lets everybody in.
        is_logged_in: bool,
        /// Each range.
        ranges: Vec<RangeCheck>,
    },
}

/// Whether the keys of one kind may be read and written.
#[derive(Clone, Debug)]
pub struct RangeCheck {
    /// What is kept there.
    pub kind: RangeKind,
    /// What came of trying.
    pub allowed: Result<(), Trouble>,
}

/// What is kept in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeKind {
    /// The queue.
    Entries,
    /// The signs that a holder has not given back.
    Markers,
    /// What fenced writes compare.
    Fence,
    /// `--once`.
    Once,
    /// `--queue latest`.
    Superseded,
    /// `--record`.
    LastRun,
    /// `break`.
    Break,
}

impl RangeKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Entries,
        Self::Markers,
        Self::Fence,
        Self::Once,
        Self::Superseded,
        Self::LastRun,
        Self::Break,
    ];

    /// What cannot be used without it; nothing where nothing can.
    pub const fn needed_for(self) -> Option<&'static str> {
        match self {
            Self::Entries | Self::Markers => None,
            Self::Fence => Some("fence put and fence delete"),
            Self::Once => Some("--once"),
            Self::Superseded => Some("--queue latest"),
            Self::LastRun => Some("--record"),
            Self::Break => Some("break"),
        }
    }
}
