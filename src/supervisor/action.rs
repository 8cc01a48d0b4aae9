//! What a run wants done: the other half of the seam. Performing an action is a plain match in `run.rs`.

use std::time::Duration;

use crate::clock::Instant;
use crate::outcome::{Loss, Outcome};
use crate::supervisor::event::{Queue, Trouble};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    // For the lock service.
    /// Get a lease and a place in the queue, giving up any earlier one. Answered by `Enqueued` (then
    /// `Waiting` and `Admitted` as they come), `Busy` or `NotEnqueued`.
    Enqueue {
        /// Stop trying then.
        give_up_at: Instant,
    },
    /// Renew the lease and validate it, once. Answered by `Renewed`, `Failed` or `Gone`.
    Renew {
        /// Stop trying then.
        give_up_at: Instant,
    },
    /// Tell the store that the command runs since now: for people, nothing depends on it.
    Announce,
    /// Take everything of ours out of the store, whatever has become of it; no process of the tree is
    /// alive. Answered by `Released` or `NotReleased`.
    Release {
        /// Stop trying then.
        give_up_at: Instant,
    },

    /// The same, but keep the lock itself until then, without us: `--hold-min`. Answered like `Release`.
    Keep {
        /// Stop trying then.
        give_up_at: Instant,
        /// When the lock is to be free.
        until: Instant,
    },
    /// Write down how the run ended, if the lock is still ours; no process of the tree is alive. Answered by
    /// `Recorded` or `NotRecorded`.
    Record {
        /// Stop trying then.
        give_up_at: Instant,
        /// How it ended.
        outcome: Outcome,
    },

    /// Answer the request to give the lock up: nothing of the command will run so long from now. Not answered:
    /// nothing depends on it.
    AnswerBreak {
        /// How soon it will have stopped.
        within: Duration,
    },

    // For the processes.
    /// Ask the front process whether a command may be started. Answered by `FrontReady`.
    Prepare,
    /// Execute the command. Answered by `Started` or `NotStarted`.
    Start {
        /// The store's revision of the reading that admitted us, for `ETCD_LOCK_REV`.
        read_revision: i64,
    },
    /// Let every process that watches the tree know when it has to be dead.
    Publish {
        /// The time to kill it.
        kill_at: Instant,
    },
    /// Ask every process of the tree to end, with `--kill-signal`.
    Stop,
    /// Kill every process of the tree, and go on until `Empty`.
    Kill,
    /// Let what is left of the tree live outside the lock. Answered by `Empty`.
    Leave,
    /// Name the processes that are left, for the user.
    NameLeftovers {
        /// Whether they were killed and are still there, or were left by the command.
        killed: bool,
    },

    // For the user.
    /// Say something.
    Say(Message),
    /// Take the waiting line off the terminal: the command, or the shell, writes there now.
    HideWaiting,
    /// The run is over.
    Finish(Outcome),
}

/// What a run tells the user on its way. The endings are in [`Outcome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// We wait; repeated when the position changes and once a minute.
    Waiting(Queue),
    /// The place in the queue is gone, we take a new one; the text says why.
    QueueingAgain(String),
    /// We have been stopped for so long that the place in the queue was given up.
    PlaceGivenUp,
    /// The lock is ours (only with `-v`).
    Acquired,
    /// The lease could not be renewed at the first attempt; it is tried again.
    RenewalFailing(Trouble),
    /// The lock is lost, and the command runs on without it: `--on-loss warn`.
    RunningOn(Loss),
    /// It is renewed again.
    RenewalRecovered,
    /// The command is being stopped; the text says why.
    Stopping(String),
    /// The lock could not be given back; it frees itself within the TTL.
    NotReleased(Trouble),
    /// The lock could not be kept as long as `--hold-min` says; it frees itself within the TTL.
    NotKept(Trouble),
    /// `--record`: how the run ended could not be written down.
    NotRecorded(Trouble),
}
