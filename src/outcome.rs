//! Every ending of a run: its sentence, its exit status, its name in the report. Pure.
//!
//! One enum; the message on stderr, the exit status and the report all come from it. The table of exit
//! statuses in `--help` and in the README is [`exit_status_table`].

use std::fmt;

use nix::errno::Errno;
use serde::Serialize;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It called exit with this status.
    Exited(u8),
    /// It died of this signal.
    Signaled(i32),
}

/// Why a held lock can no longer be proved ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The lease could not be renewed in time; the text says what stood in the way.
    NotRenewed(String),
    /// The store says that the lease is gone.
    LeaseGone,
    /// Somebody deleted our key.
    KeyDeleted,
    /// Somebody overwrote our key, so that it no longer hangs on our lease.
    KeyOverwritten,
    /// Somebody removed or replaced the folder that the lock was in (`--local`).
    StoreGone,
    /// The command ended by itself, but only when the lock could no longer be proved ours.
    EndedTooLate,
    /// leasehold's own manager process was killed or crashed while the command ran.
    ManagerDied,
    /// The witness process, which guards the tree, was killed or crashed while the command ran.
    WitnessDied,
    /// The manager was stopped or starved, and had not renewed the lease in time.
    ManagerFrozen,
    /// Somebody asked for the lock with `leasehold break`, and it was given up: who, harmless text.
    Broken(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRenewed(obstacle) => {
                write!(f, "the lease could not be renewed in time ({obstacle})")
            }
            Self::LeaseGone => write!(f, "its lease is gone (revoked or expired)"),
            Self::KeyDeleted => write!(f, "its key was deleted"),
            Self::KeyOverwritten => write!(f, "its key was overwritten by somebody else"),
            Self::StoreGone => write!(f, "the folder that it was in was removed or replaced"),
            Self::EndedTooLate => {
                write!(
                    f,
                    "the command ended when the lease could already have run out"
                )
            }
            Self::ManagerDied => write!(f, "leasehold's manager process was killed"),
            Self::WitnessDied => write!(f, "leasehold's witness process was killed"),
            Self::ManagerFrozen => {
                write!(f, "leasehold's manager process was stopped for too long")
            }
            Self::Broken(by) => write!(f, "it was broken by {by} with leasehold break"),
        }
    }
}

impl Loss {
    /// Whether a renewal that succeeds all the same shows that nothing was lost.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::NotRenewed(_))
    }

    /// The stable name used in the report.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotRenewed(_) => "not-renewed",
            Self::LeaseGone => "lease-gone",
            Self::KeyDeleted => "key-deleted",
            Self::KeyOverwritten => "key-overwritten",
            Self::StoreGone => "store-gone",
            Self::EndedTooLate => "ended-too-late",
            Self::ManagerDied => "manager-died",
            Self::WitnessDied => "witness-died",
            Self::ManagerFrozen => "manager-frozen",
            Self::Broken(_) => "broken",
        }
    }
}

/// Every way a run can end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ended by itself.
    Command(Ended),
    /// A signal reached us before the command ran.
    Interrupted(i32),
    /// Our front process was killed: the command was stopped for it, if it ran.
    FrontKilled,
    /// The lock was lost while the command ran.
    Lost(Loss),
    /// The lock was lost while the command ran, and it was let run to its end: `--on-loss warn`.
    RanOn(Loss),
    /// A successor's token has been seen: this holder is a holder no more. What it wanted was not done.
    Stale(String),
    /// A successor stopped the command: `fence run --preempt`.
    Preempted,
    /// The answer was lost: whether it was done cannot be known.
    Unknown(String),
    /// `--max-runtime` was reached and the command was stopped.
    MaxRuntime,
    /// Somebody else holds the lock; the status is that of `--conflict-exit-code`.
    Busy {
        /// Who, as far as it is known; harmless text.
        holder: Option<String>,
        /// `--conflict-exit-code`.
        status: u8,
    },
    /// A newer waiter took our place away: `--queue latest`. Who, as far as it is known; harmless text.
    Superseded(Option<String>),
    /// Our place in the queue was given up for `leasehold break`: who asked, harmless text.
    Broken(String),
    /// What was to be done once has been done: by whom and when; harmless text.
    AlreadyDone(String),
    /// The command succeeded, but that could not be remembered for `--once`: why.
    NotRecorded(String),
    /// The lock service cannot be reached or refuses.
    Unavailable(String),
    /// The lock service refuses us.
    Denied(String),
    /// The command cannot be executed.
    NotExecutable(String),
    /// The command does not exist.
    NotFound(String),
    /// What was asked for makes no sense.
    Usage(String),
    /// Settings or files are wrong.
    Configuration(String),
    /// One of our own processes was killed before the command ran: which.
    HelperKilled(&'static str),
}

/// How this process has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an exit status.
    Status(u8),
    /// By the signal that the command died of, so that a shell sees the same.
    Signal(i32),
}

/// The default of `--conflict-exit-code`: EX_TEMPFAIL of sysexits(3).
pub const BUSY_STATUS: u8 = 75;

impl Outcome {
    /// How leasehold ends.
    pub const fn ending(&self) -> Ending {
        match self {
            Self::Command(Ended::Exited(status)) => Ending::Status(*status),
            Self::Command(Ended::Signaled(signal)) | Self::Interrupted(signal) => {
                Ending::Signal(*signal)
            }
            // The front is dead already; this is what the shell has seen.
            Self::FrontKilled => Ending::Status(137),
            Self::Lost(_)
            | Self::RanOn(_)
            | Self::Stale(_)
            | Self::Preempted
            | Self::Broken(_)
            | Self::NotRecorded(_) => Ending::Status(79),
            Self::Superseded(_) => Ending::Status(76),
            Self::AlreadyDone(_) => Ending::Status(0),
            Self::MaxRuntime => Ending::Status(124),
            Self::Busy { status, .. } => Ending::Status(*status),
            // Whether it was done is not known: the same reaction is right as when it was not (say it again), so
            // the same status, and another sentence.
            Self::Unavailable(_) | Self::Unknown(_) => Ending::Status(69),
            Self::Denied(_) => Ending::Status(77),
            Self::NotExecutable(_) => Ending::Status(126),
            Self::NotFound(_) => Ending::Status(127),
            Self::Usage(_) => Ending::Status(64),
            Self::Configuration(_) => Ending::Status(78),
            Self::HelperKilled(_) => Ending::Status(70),
        }
    }

    /// The exit status that a shell shows: 128 + n for a death by signal n.
    pub const fn exit_status(&self) -> u8 {
        match self.ending() {
            Ending::Status(status) => status,
            // Signals are below 128, so this cannot wrap.
            Ending::Signal(signal) => 128_u8.wrapping_add(signal as u8),
        }
    }

    /// What it means that a program could not be executed.
    pub fn not_started(program: &str, errno: i32) -> Self {
        let errno = Errno::from_raw(errno);
        if errno == Errno::ETIME {
            // What no exec says: it was told to begin, and its lease was over before it could.
            Self::Lost(Loss::NotRenewed(format!("{program} was not begun")))
        } else if errno == Errno::ENOENT {
            Self::NotFound(format!(
                "{program}: no such command, or its interpreter is missing"
            ))
        } else {
            let why = errno.desc();
            Self::NotExecutable(format!("{program} cannot be executed: {why}"))
        }
    }

    /// The stable name used in the report and in JSON logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Command(Ended::Exited(_)) => "exited",
            Self::Command(Ended::Signaled(_)) => "signaled",
            Self::Interrupted(_) => "interrupted",
            Self::FrontKilled => "front-killed",
            Self::Lost(_) | Self::RanOn(_) => "lost",
            Self::Stale(_) => "stale",
            Self::Preempted => "preempted",
            Self::Unknown(_) => "unknown",
            Self::MaxRuntime => "max-runtime",
            Self::Busy { .. } => "busy",
            Self::Superseded(_) => "superseded",
            Self::Broken(_) => "broken",
            Self::AlreadyDone(_) => "already-done",
            Self::NotRecorded(_) => "not-recorded",
            Self::Unavailable(_) => "unavailable",
            Self::Denied(_) => "denied",
            Self::NotExecutable(_) => "not-executable",
            Self::NotFound(_) => "not-found",
            Self::Usage(_) => "usage",
            Self::Configuration(_) => "configuration",
            Self::HelperKilled(_) => "helper-killed",
        }
    }

    /// The names of all endings that a run can have.
    pub const NAMES_OF_RUN: &[&str] = &[
        "exited",
        "signaled",
        "interrupted",
        "front-killed",
        "lost",
        "max-runtime",
        "busy",
        "superseded",
        "broken",
        "already-done",
        "not-recorded",
        "unavailable",
        "denied",
        "not-executable",
        "not-found",
        "usage",
        "configuration",
        "helper-killed",
    ];

    /// Whether nothing was done because nothing had to be, or somebody else does it. `--quiet` drops the sentence: a
    /// cron job may take such a skip every day.
    pub const fn is_skip(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. } | Self::Superseded(_) | Self::AlreadyDone(_)
        )
    }

    /// Whether the sentence is dropped even without `--quiet`: a skip that was chosen, with `-E 0` or `--once`.
    pub const fn is_chosen_skip(&self) -> bool {
        matches!(self, Self::Busy { status: 0, .. } | Self::AlreadyDone(_))
    }

    /// What happened, to which lock, and what to do; nothing where the command's own ending says it all.
    pub fn sentence(&self, name: &dyn fmt::Display) -> Option<String> {
        Some(match self {
            Self::Command(_) => return None,
            Self::Interrupted(signal) => {
                format!("{name}: stopped by signal {signal} before the command ran")
            }
            Self::FrontKilled => {
                format!(
                    "{name}: leasehold's front process was killed, and the run was ended for it"
                )
            }
            Self::Lost(loss) => format!(
                "{name}: lock lost: {loss}; the command was stopped, do not trust its result"
            ),
            Self::RanOn(loss) => format!(
                "{name}: lock lost: {loss}; the command ran on without it (--on-loss warn), do not trust its result unless a fence guards it"
            ),
            Self::Stale(why) | Self::Unknown(why) => why.clone(),
            Self::Preempted => {
                format!("{name}: a newer token has come (--preempt); the command was stopped")
            }
            Self::MaxRuntime => {
                format!("{name}: --max-runtime was reached and the command was stopped")
            }
            Self::Busy {
                holder: Some(holder),
                ..
            } => {
                format!("{name}: the lock is busy, held by {holder}; the command was not run")
            }
            Self::Busy { holder: None, .. } => {
                format!("{name}: the lock is busy; the command was not run")
            }
            Self::Superseded(by) => {
                let by = by.as_deref().unwrap_or("a newer waiter");
                format!("{name}: superseded by {by} (--queue latest); the command was not run")
            }
            Self::Broken(by) => format!(
                "{name}: taken out of the queue by {by} with leasehold break; the command was not run"
            ),
            Self::AlreadyDone(by) => {
                format!("{name}: already done {by}; the command was not run")
            }
            Self::NotRecorded(why) => format!(
                "{name}: the command succeeded, but --once could not remember it ({why}), so the next run does it again"
            ),
            Self::Unavailable(why) => format!("{name}: {why}; the command was not run"),
            Self::Denied(why) => format!("{name}: {why}; the command was not run"),
            Self::NotExecutable(why) | Self::NotFound(why) => format!("{name}: {why}"),
            Self::HelperKilled(who) => format!(
                "{name}: leasehold's {who} process was killed before the command ran; run it again, a place in the queue frees itself within the TTL"
            ),
            Self::Usage(why) | Self::Configuration(why) => why.clone(),
        })
    }
}

/// One row of the table of exit statuses.
pub struct ExitStatusRow {
    /// The number, or a word for the command's own.
    pub status: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Whether the command ran.
    pub ran: &'static str,
}

/// The exit statuses of `leasehold run`, in the order in which they are documented.
pub const fn exit_status_table() -> &'static [ExitStatusRow] {
    const fn row(status: &'static str, meaning: &'static str, ran: &'static str) -> ExitStatusRow {
        ExitStatusRow {
            status,
            meaning,
            ran,
        }
    }
    const ROWS: &[ExitStatusRow] = &[
        row("its own", "the command ended by itself", "yes"),
        row(
            "128+n",
            "it died of signal n, or signal n reached leasehold while it waited",
            "yes / no",
        ),
        row(
            "79",
            "lock lost or broken: the command was stopped or ended too late; or --once was not recorded",
            "yes, but for a waiter that was broken",
        ),
        row("124", "--max-runtime reached", "yes, stopped"),
        row(
            "75",
            "lock busy with -n, or --wait ran out (-E changes the number)",
            "no",
        ),
        row("76", "superseded by a newer waiter (--queue latest)", "no"),
        row("0", "--once: already done", "no"),
        row(
            "69",
            "etcd cannot be reached, has no quorum or refuses",
            "no",
        ),
        row("77", "authentication or permission refused", "no"),
        row("64", "usage", "no"),
        row("78", "configuration", "no"),
        row("126", "the command cannot be executed", "no"),
        row("127", "the command was not found", "no"),
        row(
            "70",
            "a defect in leasehold, or its own processes were killed before the command ran",
            "unknown",
        ),
    ];
    ROWS
}

/// The table as `leasehold run --help` shows it.
pub fn exit_status_help() -> String {
    let mut help = "Exit status (and whether the command ran):\n".to_owned();
    for row in exit_status_table() {
        help.push_str(&format!(
            "  {:<8} {} ({})\n",
            row.status, row.meaning, row.ran
        ));
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_the_documented_status() {
        let cases = [
            (Outcome::Command(Ended::Exited(0)), 0),
            (Outcome::Command(Ended::Exited(255)), 255),
            (Outcome::Command(Ended::Signaled(15)), 143),
            (Outcome::Interrupted(2), 130),
            (Outcome::FrontKilled, 137),
            (Outcome::Lost(Loss::LeaseGone), 79),
            (Outcome::RanOn(Loss::LeaseGone), 79),
            (Outcome::Stale(String::new()), 79),
            (Outcome::Preempted, 79),
            (Outcome::Unknown(String::new()), 69),
            (Outcome::MaxRuntime, 124),
            (
                Outcome::Busy {
                    holder: None,
                    status: 75,
                },
                75,
            ),
            (
                Outcome::Busy {
                    holder: None,
                    status: 0,
                },
                0,
            ),
            (Outcome::Superseded(None), 76),
            (Outcome::Broken(String::new()), 79),
            (Outcome::Lost(Loss::Broken(String::new())), 79),
            (Outcome::AlreadyDone(String::new()), 0),
            (Outcome::NotRecorded(String::new()), 79),
            (Outcome::Unavailable(String::new()), 69),
            (Outcome::Denied(String::new()), 77),
            (Outcome::NotExecutable(String::new()), 126),
            (Outcome::NotFound(String::new()), 127),
            (Outcome::Usage(String::new()), 64),
            (Outcome::Configuration(String::new()), 78),
            (Outcome::HelperKilled("manager"), 70),
        ];
        for (outcome, status) in cases {
            assert_eq!(outcome.exit_status(), status, "{outcome:?}");
        }
    }

    #[test]
    fn every_status_of_the_table_is_some_outcomes_status() {
        let own_numbers: Vec<&str> = exit_status_table()
            .iter()
            .map(|row| row.status)
            .filter(|status| status.chars().all(|c| c.is_ascii_digit()))
            .collect();
        assert_eq!(
            own_numbers,
            [
                "79", "124", "75", "76", "0", "69", "77", "64", "78", "126", "127", "70"
            ]
        );
    }
}
