//! What histories have met. A trouble that never strikes is a check that cannot fail, so a trial counts in how many
//! of its histories each kind of it happened, and the trial of the known seeds has to have met all of them.

use std::ops::AddAssign;

macro_rules! sights {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// Something that happens in some histories.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Sight {
            $($(#[doc = $text])+ $name,)+
        }

        impl Sight {
            /// All of them, with what they mean.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, concat!($($text),+)),)+];
        }
    };
}

sights! {
    // On the network.
    /// a message was lost, and nobody heard of it
    MessageLost,
    /// a connection broke under a message
    ConnectionBroken,
    /// the reply to what was carried out was lost
    ReplyLost,
    /// a message was very late
    MessageLate,
    /// a message overtook another one on the same way
    Reordered,
    /// a request was carried out twice, or after it was refused
    RequestTwice,
    /// a reply came twice
    ReplyTwice,
    /// two members carried out the same hedged request
    HedgedTwice,
    /// a request was carried out when its run was over
    RequestAfterItsRun,
    /// a link between a host and a member was cut
    LinkCut,

    // In the cluster.
    /// a leader was elected
    Election,
    /// a deposed leader answered a keepalive with success
    DeposedAnswered,
    /// a live lease was revoked by a leader that was deposed
    LiveLeaseRevoked,
    /// a live lease was revoked by somebody
    LeaseTakenAway,
    /// a lease expired
    LeaseExpired,
    /// a member refused, since nobody led
    NoLeader,
    /// a member gave up on a request
    TimedOut,
    /// a request was carried out after a member had given up on it
    DoneAfterTimeout,
    /// a member told a change more than 50 ms late
    MemberLagged,
    /// a watch began before what was compacted
    WatchCompacted,
    /// the server granted less than was asked for
    GrantedLess,

    // On the hosts.
    /// two clocks differed by 0.9 % or more
    ClocksApart,
    /// a host was suspended while its command ran
    Suspended,
    /// a manager was frozen while its command ran
    ManagerFrozen,
    /// a front was frozen
    FrontFrozen,
    /// a run was stopped while it waited
    FrontStopped,
    /// a manager was killed while its command ran
    ManagerKilled,
    /// a front was killed while its command ran
    FrontKilled,
    /// a witness was killed while its command ran
    WitnessKilled,
    /// a guard killed the tree in the manager's place
    GuardKilledTree,
    /// a guard killed a manager that was frozen
    GuardKilledManager,
    /// a tree took more than 300 ms to die
    SlowDeath,
    /// a tree ended because of TERM
    EndedByTerm,
    /// a command left processes behind
    Leftovers,
    /// left-over processes lived on outside the lock
    LivedOutside,
    /// a command could not be executed
    NotExecuted,

    // In the store.
    /// an entry was deleted or overwritten by somebody else
    EntryTaken,
    /// a contender waited behind another
    Waited,
    /// a contender waited behind somebody who used etcdctl, or wrote over an entry
    WaitedForForeign,
    /// a contender waited out a vanished holder's lock delay
    WaitedLockDelay,
    /// a contender lost its place and queued again
    QueuedAgain,
    /// a write with the token of a holder succeeded
    WriteSucceeded,
    /// a write with the token of one who had lost the lock was refused
    WriteRefused,
    /// what was given back came back when its lease could have ended by itself
    CameBackLate,
    /// what was given back came back by a request that was sent again by somebody in between
    CameBackByOthers,

    // At the end.
    /// the command ended by itself
    EndedByItself,
    /// the lock was lost while the command ran
    Lost,
    /// a run gave up because the lock was busy
    Busy,
    /// a run gave up because etcd was not to be had
    Unavailable,
    /// --max-runtime ended a command
    MaxRuntime,
    /// a signal ended a run that waited
    Interrupted,

    // Where policies are wanted.
    /// a run did not do what was done already
    AlreadyDone,
    /// a newer waiter took a place away
    Superseded,
    /// a success could not be remembered
    NotRecorded,
    /// a lock was kept without its run
    KeptOn,
    /// it was recorded how a run ended that had not lost its lock
    Recorded,
    /// it was recorded that a run lost its lock
    LossRecorded,
}

/// How often each of them happened.
#[derive(Clone, Debug)]
pub struct Sights([u64; Sight::ALL.len()]);

impl Default for Sights {
    fn default() -> Self {
        Self([0; Sight::ALL.len()])
    }
}

impl Sights {
    pub const fn see(&mut self, sight: Sight) {
        self.0[sight as usize] += 1;
    }

    /// The same, but each of them at most once.
    pub fn whether(&self) -> Self {
        Self(self.0.map(|times| times.min(1)))
    }

    pub const fn times(&self, sight: Sight) -> u64 {
        self.0[sight as usize]
    }
}

impl AddAssign<&Self> for Sights {
    fn add_assign(&mut self, other: &Self) {
        for (times, more) in self.0.iter_mut().zip(other.0) {
            *times += more;
        }
    }
}
