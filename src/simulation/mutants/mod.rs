//! What would happen if a rule were broken. Nothing shipped is changed for it: a mutant is put between the
//! supervisor and its surroundings (events and actions), or between the service and etcd (requests and
//! replies), and makes the whole behave as if the rule were not there.

// Where they are broken.
mod seams;
// What is sent instead.
mod transactions;

pub use seams::{
    Memory, action, compares_token, connect_timeout, event, member, misses_suspends, reply,
    request, timers_fire_early,
};

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    // When a lease is believed.
    /// It counts from when the answer came.
    DeadlineFromReceipt,
    /// The TTL that was asked for counts, not what the server granted.
    AskedTtl,
    /// Two clocks are taken to go alike.
    NoClockMargin,
    /// Killing is taken to need no time.
    NoMargin,
    /// Deadlines stand on CLOCK_MONOTONIC, which does not count a suspend.
    SuspendUncounted,
    /// A keepalive that succeeded is believed, whoever answered it.
    NoValidation,
    /// A command is started however old the lease is.
    StaleStart,
    /// Leases are not renewed.
    NoRenewal,
    /// Waiters do not renew theirs.
    WaitersDoNotRenew,
    /// A member that does not answer is asked again, and no other.
    NoFailover,
    /// Timers fire a little too early, and whoever waits for an instant asks again at once.
    TimersFireEarly,

    // What a run says of its end.
    /// It says that it lost the lock where its command ended well in an outage.
    OutageIsLoss,
    /// Runs give up when etcd was away for two seconds, and not for `--connect-timeout`.
    GiveUpAtOnce,
    /// A run that must not wait says that the lock is busy, whoever holds it.
    BusyThoughFree,
    /// A run that would wait for ever says that the lock is busy.
    PatientGivesUp,
    /// Every run says that the lock is busy.
    NobodyRuns,

    // What a loss does.
    /// Proof of a loss changes nothing.
    LossIgnored,
    /// A proven loss gives the command its grace.
    GraceAfterLoss,
    /// Our own key is not watched.
    OwnKeyUnwatched,
    /// Our own key is not read.
    OwnKeyUnread,
    /// A command that is seen to end too late is taken to have ended well.
    LateEndIsSuccess,

    // How a command is ended, and by whom.
    /// The lock is given back when the command has ended, whoever is left of it.
    ReleaseAtEnd,
    /// KILL was sent, so the lock is given back.
    ReleaseAtKill,
    /// KILL without TERM.
    NoGrace,
    /// TERM without KILL.
    NoKill,
    /// Front and witness do not know the deadline.
    NoPublish,
    /// They know only the first one.
    PublishedOnce,
    /// Nobody asks whether front and witness are there.
    StartUnguarded,
    /// Front or witness may be gone.
    GuardGoneIgnored,

    // The queue.
    /// Whom we stood behind is gone: so we are the first.
    PredecessorOnly,
    /// Two may hold an exclusive lock.
    LimitOfTwo,
    /// An entry that must not wait is put like any other.
    NonblockUnguarded,
    /// One who queues again keeps its token.
    OldToken,
    /// Whoever uses the token does not have it compared.
    UnfencedWrite,

    // The modes.
    /// A reader does not wait for anybody.
    SharedIgnoresExclusive,
    /// One more than the slots may hold the lock.
    SlotsOffByOne,
    /// Only one's own limit counts, and not those of others ahead.
    OwnLimitOnly,
    /// Whoever vanished counts as one who would share the lock with anybody.
    VanishedIgnored,

    // The policies.
    /// Whose place was taken is left no note, and queues again.
    NoteForgotten,
    /// The note never goes away.
    NoteWithoutLease,
    /// A place is taken away without asking whether it has become a holder's meanwhile.
    SupersedeUnguarded,
    /// Nobody reads that it was done already.
    RecordUnread,
    /// A lock that is to be kept stays on the lease of its run, which is revoked.
    KeptOnOldLease,
    /// Of several locks only the first is given back.
    FirstGivenBackOnly,
    /// Whatever became of a run, it is recorded that it ended well.
    RecordFlatters,
    /// Nothing is recorded, and said that it was.
    RecordForgotten,
    /// How a run ended is recorded also when it has lost the lock, over what its successors recorded.
    RecordUnguarded,

    // Clean and unclean.
    /// No marker is put with the entry.
    MarkerForgotten,
    /// It is not removed with it.
    MarkerKept,
    /// A release leaves nothing that keeps out what was sent before it and comes after it.
    SignForgotten,
    /// The same, only where the lease is gone that the sign would hang on.
    UnsignedWithoutLease,
    /// A marker without its entry means nothing.
    LockDelayIgnored,
    /// A key that somebody puts under the name of an entry that is gone stands for it.
    ReplacedTrusted,
    /// The lock is not given back.
    NoRelease,
    /// The keys go, and the lease does not.
    LeaseNotRevoked,
    /// One who goes away again leaves the vanished as they were.
    RetireForgotten,
    /// What stands under our key is deleted, whoever put it.
    ReleaseUnguarded,
}

impl Mutant {
    /// Those that the histories of a seed find.
    pub const ALL: &[Self] = &[
        Self::DeadlineFromReceipt,
        Self::AskedTtl,
        Self::NoClockMargin,
        Self::NoMargin,
        Self::SuspendUncounted,
        Self::NoValidation,
        Self::StaleStart,
        Self::NoRenewal,
        Self::WaitersDoNotRenew,
        Self::NoFailover,
        Self::TimersFireEarly,
        Self::OutageIsLoss,
        Self::GiveUpAtOnce,
        Self::BusyThoughFree,
        Self::PatientGivesUp,
        Self::NobodyRuns,
        Self::LossIgnored,
        Self::GraceAfterLoss,
        Self::OwnKeyUnwatched,
        Self::OwnKeyUnread,
        Self::LateEndIsSuccess,
        Self::ReleaseAtEnd,
        Self::ReleaseAtKill,
        Self::NoGrace,
        Self::NoKill,
        Self::NoPublish,
        Self::PublishedOnce,
        Self::StartUnguarded,
        Self::GuardGoneIgnored,
        Self::PredecessorOnly,
        Self::LimitOfTwo,
        Self::NonblockUnguarded,
        Self::OldToken,
        Self::UnfencedWrite,
        Self::MarkerForgotten,
        Self::MarkerKept,
        Self::SignForgotten,
        Self::LockDelayIgnored,
        Self::ReplacedTrusted,
        Self::NoRelease,
        Self::LeaseNotRevoked,
        Self::ReleaseUnguarded,
    ];

    /// Those that only a history with other modes can find.
    pub const OF_MODES: &[Self] = &[
        Self::SharedIgnoresExclusive,
        Self::SlotsOffByOne,
        Self::OwnLimitOnly,
        Self::VanishedIgnored,
    ];

    /// Those that only a history with policies can find.
    pub const OF_POLICIES: &[Self] = &[
        Self::NoteForgotten,
        Self::NoteWithoutLease,
        Self::SupersedeUnguarded,
        Self::RecordUnread,
        Self::KeptOnOldLease,
        Self::FirstGivenBackOnly,
        Self::RecordFlatters,
        Self::RecordForgotten,
        Self::RecordUnguarded,
    ];

    /// Those that need what hardly ever happens: found by histories drawn for it (regressions.rs).
    pub const OF_REGRESSIONS: &[Self] = &[Self::UnsignedWithoutLease, Self::RetireForgotten];

    /// All of them.
    pub fn every() -> impl Iterator<Item = Self> {
        let lists = [
            Self::ALL,
            Self::OF_MODES,
            Self::OF_POLICIES,
            Self::OF_REGRESSIONS,
        ];
        lists.into_iter().flatten().copied()
    }
}
