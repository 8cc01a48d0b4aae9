//! What can happen to a run: the facts that the shells report. Data only; nobody decides here.
//!
//! This is one half of the seam; the other is [`super::Action`]. A lock service or a process layer is
//! whatever turns actions into events.

use std::fmt;
use std::time::Duration;

use crate::clock::Instant;
use crate::lock::entry::Entry;
use crate::lock::name::LockName;
use crate::lock::token::{ClusterId, LeaseId, Token};
use crate::outcome::{Ended, Loss};

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    // From the lock service: the queue.
    /// We have a lease and an entry in the queue.
    Enqueued {
        /// What we got.
        place: Place,
        /// When the request that granted the lease was sent.
        sent_at: Instant,
        /// The TTL the server granted.
        ttl: Duration,
    },
    /// We are in the queue and somebody is ahead; reported at every reading, changed or not.
    Waiting(Queue),
    /// A linearizable reading shows our entry at the head of the queue.
    Admitted {
        /// The store's revision of that reading.
        read_revision: i64,
    },
    /// Asked not to wait, and somebody holds the lock: nothing of ours is in the queue.
    Busy {
        /// The queue.
        queue: Queue,
        /// Whose queue it is.
        cluster: ClusterId,
    },
    /// The attempt to enqueue ended without a place: final, or its time was up.
    NotEnqueued(Trouble),
    /// We would be admitted, but what was to be done once has been done: by whom and when, harmless text.
    AlreadyDone(String),
    /// A newer contender took our place away (`--queue latest`): who, as far as it is known; harmless text.
    Superseded(Option<String>),

    /// Somebody wants us to give the lock, or the place, up: who, harmless text.
    BreakAsked(String),

    // From the lock service: the lease.
    /// A renewal succeeded and was validated.
    Renewed {
        /// When the renewal was sent.
        sent_at: Instant,
        /// The TTL the server granted.
        ttl: Duration,
    },
    /// One attempt to renew, or to read the queue, failed; nothing is proved.
    Failed {
        /// When it was first asked.
        asked_at: Instant,
        /// Why it failed.
        trouble: Trouble,
    },
    /// Proof that what we had is no longer ours.
    Gone(Loss),
    /// Everything of ours is out of the store.
    Released,
    /// It could not be taken out in the time given.
    NotReleased(Trouble),
    /// How the run ended is remembered.
    Recorded,
    /// It is not, or nobody knows.
    NotRecorded(Trouble),

    // From the processes.
    /// The front process stands by: a command may be started now.
    FrontReady,
    /// The command was executed.
    Started,
    /// The command could not be executed, and no process is left of the attempt: the errno.
    NotStarted(i32),
    /// The command ended; processes that it started may be left.
    Ended(Ended),
    /// The kernel says that no process of the command's tree is left.
    Empty,
    /// The front process was stopped (Ctrl-Z) before a command was started.
    FrontStopped,
    /// It goes on.
    FrontContinued,
    /// It is dead.
    FrontGone,
    /// The witness, which guards the tree with us, is dead.
    WitnessGone,
    /// The process that was to become the command was killed before it was told to.
    StubGone,
    /// This signal was sent to us and is not the command's: it came before the start or after the end.
    Signal(i32),

    /// Time has passed: a deadline may have been reached.
    Tick,
}

/// Our place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The fencing token.
    pub token: Token,
    /// The lease that carries the entry.
    pub lease: LeaseId,
    /// Whose token it is.
    pub cluster: ClusterId,
    /// The entry's key.
    pub key: String,
}

/// A queue as somebody in it sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Our place among those who wait: the first is 1.
    pub place: usize,
    /// How many wait, we included if we are in it; who holds the lock is not counted.
    pub waiting: usize,
    /// Who holds the lock; of several the one who came first.
    pub holder: Holder,
    /// How many hold it beside that one.
    pub others: usize,
    /// Which lock it is, where the run wants several.
    pub lock: Option<LockName>,
    /// Where it is, where that is only seen from this machine: a folder; harmless text.
    pub folder: Option<String>,
}

/// Who stands in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// An entry that says who it is.
    Known(Box<Entry>),
    /// An entry that is not ours, or cannot be read; the text is the last segment of its key.
    Foreign {
        /// The last segment of its key.
        id: String,
        /// Without a lease it stays until somebody removes it.
        leased: bool,
    },
    /// Nobody any more: a holder vanished, and its lock delay is not over.
    Vanished,
    /// It went while we looked.
    #[default]
    Unknown,
}

impl Queue {
    /// Who holds the lock, as far as it is known.
    pub fn held_by(&self) -> String {
        let lock = match &self.lock {
            Some(lock) => format!(" (lock {lock})"),
            None => String::new(),
        };
        format!(
            "{}{}{lock}{}",
            self.holder,
            self.and_others(),
            self.in_folder()
        )
    }

    /// Where it is, at the end of a sentence, where that is to be said.
    pub fn in_folder(&self) -> String {
        let said = |folder| format!(" (lock folder {folder})");
        self.folder.as_ref().map(said).unwrap_or_default()
    }

    /// Those who hold it beside the one who came first.
    pub fn and_others(&self) -> String {
        match self.others {
            0 => String::new(),
            1 => " and one other".to_owned(),
            others => format!(" and {others} others"),
        }
    }
}

impl Holder {
    /// Whether two readings show the same holder.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(one), Self::Known(two)) => {
                one.host == two.host
                    && one.pid == two.pid
                    && one.queued == two.queued
                    && one.held_until == two.held_until
            }
            (one, two) => one == two,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(entry) => match &entry.held_until {
                None => entry.who().fmt(f),
                Some(until) => write!(f, "{}, kept until {until} by --hold-min", entry.who()),
            },
            Self::Foreign { id, leased: true } => {
                write!(f, "an entry that is not leasehold's (lease {id})")
            }
            Self::Foreign { id, leased: false } => write!(
                f,
                "an entry without a lease ({id}), which stays until leasehold break removes it"
            ),
            Self::Vanished => write!(f, "a holder that vanished; its lock delay is not over"),
            Self::Unknown => write!(f, "somebody who could not be read"),
        }
    }
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of trouble.
    pub kind: TroubleKind,
    /// For people: what was tried and what came of it.
    pub detail: String,
}

/// What kind of trouble: what it means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// No answer, or none from a cluster with a quorum. It may pass.
    Unreachable,
    /// The service answered and refuses for a reason of its own, such as no space.
    Refused,
    /// The service does not accept who we are or what we may do.
    Denied,
    /// Settings or files cannot be used: somebody has to change them.
    Misconfigured,
}
