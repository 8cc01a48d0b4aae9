//! Decisions: `(now, Event) -> Actions`. Pure: it knows no tokio, no etcd, no process, and reads no clock.
//!
//! Decisions that matter:
//! - After any wake-up `now` is compared with the deadlines first, and only then the event is looked at. So a
//!   command whose end is *seen* at or after `stop_at` was lost, whenever it really ended: uncertain is lost.
//! - The tree is stopped first and the lock released after. What gives it up is emitted in one file (`parting`), which
//!   is entered only from phases without a tree, or by `Empty`.
//! - The first cause of an ending stays, except that a loss replaces all others: its status is the one that a
//!   script must see.
//! - A renewal that succeeds while the command is being stopped does not start it again: it has had its TERM.
//!
//! ```text
//! Enqueueing ─▶ Waiting ─▶ Preparing ─▶ Starting ─▶ Running ─▶ Draining ─▶ Releasing ─▶ Done
//!     ▲  ▲         │ │         │            │          │           │     ▲     ▲
//!     │  └─────────┘ └▶ Parked │            └──────────┴─▶ Stopping ┤    └ Recording
//!     └────────────────────────┘  place lost                └▶ Killing ────────┘
//! ```

pub mod action;
pub mod event;
// Getting the lock.
mod queueing;
// Keeping the lease.
mod renewal;
// Holding it while a tree of processes lives.
mod guarding;
// Giving it back, and what goes with that.
mod parting;
// Giving it back because somebody asks for it.
mod breaking;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::lease::Lease;
use crate::outcome::{Ended, Loss, Outcome};
use renewal::Renewal;

pub use action::{Action, Message};
pub use event::{Event, Holder, Place, Queue, Trouble, TroubleKind};

/// What to do with processes that outlive the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLeftover {
    /// Hold the lock until they end by themselves.
    Wait,
    /// Stop them: TERM, grace, KILL.
    Kill,
    /// Let them live outside the lock.
    Leave,
}

/// What a lost lock does to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Stop it in time.
    Kill,
    /// Only say so: something else, such as a fence, guards what it does.
    Warn,
}

/// How long a run may take for what, fixed before it starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The command as it was typed, for messages.
    pub program: String,
    /// Each lock's keys without the last segment: with a cluster, it tells one lock from all others.
    pub lock_paths: Vec<String>,
    /// The locks that enclosing runs hold, each `<cluster>:<lock path>`.
    pub enclosing: Vec<String>,
    /// The time between TERM and KILL.
    pub kill_after: Duration,
    /// Give up waiting after this long.
    pub wait: Option<Duration>,
    /// Give up looking for a working service after this long.
    pub connect_timeout: Duration,
    /// Stop the command this long after acquisition.
    pub max_runtime: Option<Duration>,
    /// What to do with processes that outlive the command.
    pub on_leftover: OnLeftover,
    /// What a lost lock does to the command.
    pub on_loss: OnLoss,
    /// The exit status when the lock is busy.
    pub conflict_status: u8,
    /// Keep the lock until so long after acquisition, also when the command has ended.
    pub hold_min: Duration,
    /// Whether a success has to be remembered: `--once`.
    pub once: bool,
    /// Whether every run is to be remembered: `--record`.
    pub record: bool,
}

/// When things happened, for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Our place, the last one if there were several.
    pub place: Option<Place>,
    /// When the lock was ours.
    pub admitted_at: Option<Instant>,
    /// When the command was executed.
    pub started_at: Option<Instant>,
    /// When the command's end was seen.
    pub ended_at: Option<Instant>,
    /// How it ended.
    pub command: Option<Ended>,
    /// When no process of its tree was left.
    pub empty_at: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// No place in the queue yet; an answer is due by the instant.
    Enqueueing { answer_by: Instant },
    /// In the queue.
    Waiting,
    /// The place was given up because we are stopped.
    Parked,
    /// Admitted; the front process has been asked whether a command may be started.
    Preparing { read_revision: i64, ready: bool },
    /// The command is being executed.
    Starting,
    /// It runs.
    Running,
    /// It ended by itself; processes that it left may live.
    Draining { outcome: Outcome, name_at: Instant },
    /// Everything was asked to end.
    Stopping { outcome: Outcome, kill_at: Instant },
    /// Everything is being killed.
    Killing { outcome: Outcome, name_at: Instant },
    /// No process is left; how the run ended is being written down, under the lock.
    Recording {
        outcome: Outcome,
        since: Instant,
        answer_by: Instant,
    },
    /// No process is left; the lock is being given back, or kept for a while without us.
    Releasing {
        after: After,
        since: Instant,
        answer_by: Instant,
        kept: bool,
    },
    /// Finished.
    Done,
}

/// What follows a release.
#[derive(Clone, Debug, PartialEq, Eq)]
enum After {
    Finish(Outcome),
    Park,
}

/// Whether the front process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    Alive,
    /// Stopped, by Ctrl-Z or so, since then.
    Stopped(Instant),
    Gone,
}

/// A signal sooner after the command's end, or after the begin of a release, is the one that caused it, seen
/// by another of our processes; a later one is a person who waits.
const IMPATIENT_AFTER: Duration = Duration::from_secs(1);

/// How much later than asked for an answer may come before it is taken for lost.
const ANSWER_SLACK: Duration = Duration::from_secs(1);

/// One run's state.
#[derive(Debug)]
pub struct Supervisor {
    plan: Plan,
    phase: Phase,
    /// When the run began: `--wait` counts from here.
    began_at: Instant,
    lease: Option<Lease>,
    /// With `--on-loss warn`: how the lock was lost while the command runs on.
    lost: Option<Loss>,
    renewal: Renewal,
    front: Front,
    /// Since when the service has not answered, and how that showed.
    unreachable: Option<(Instant, Trouble)>,
    /// When the service answered last, if it ever did.
    reached_at: Option<Instant>,
    /// What the user was last told about the queue, and when.
    told: Option<(Queue, Instant)>,
    /// Whether somebody was ahead of us.
    waited: bool,
    history: History,
    actions: Vec<Action>,
}

impl Supervisor {
    /// A run that begins now, and the first things to do.
    #[must_use]
    pub fn begin(plan: Plan, now: Instant) -> (Self, Vec<Action>) {
        let mut supervisor = Self {
            plan,
            phase: Phase::Done,
            began_at: now,
            lease: None,
            lost: None,
            renewal: Renewal::default(),
            front: Front::Alive,
            unreachable: None,
            reached_at: None,
            told: None,
            waited: false,
            history: History::default(),
            actions: Vec::new(),
        };
        supervisor.enqueue(now);
        let actions = std::mem::take(&mut supervisor.actions);
        (supervisor, actions)
    }

    /// Takes in one fact and says what to do, in this order.
    #[must_use]
    pub fn handle_event(&mut self, now: Instant, event: Event) -> Vec<Action> {
        if matches!(event, Event::Ended(_)) {
            self.check_late_end(now);
        }
        self.check_deadlines(now);
        if self.phase != Phase::Done {
            self.take_in(now, event);
            // The event may have led to a phase whose deadline has passed already.
            self.check_deadlines(now);
            self.schedule_renewal(now);
        }
        std::mem::take(&mut self.actions)
    }

    fn take_in(&mut self, now: Instant, event: Event) {
        match event {
            Event::Tick => {}
            Event::FrontStopped | Event::FrontContinued => self.on_front(now, &event),
            Event::FrontGone | Event::WitnessGone | Event::StubGone => {
                self.on_guard_gone(now, &event)
            }
            Event::Renewed { .. } | Event::Failed { .. } => {
                self.on_lease(now, event);
            }
            Event::Gone(loss) => self.on_gone(now, loss),
            Event::BreakAsked(by) => self.on_break_asked(now, by),
            Event::Signal(signal) => self.on_signal(now, signal),
            Event::Released | Event::NotReleased(_) => self.on_released(now, event),
            Event::Recorded | Event::NotRecorded(_) => self.on_recorded(now, event),
            Event::Enqueued { .. }
            | Event::AlreadyDone(_)
            | Event::Superseded(_)
            | Event::Waiting(_)
            | Event::Admitted { .. }
            | Event::Busy { .. }
            | Event::NotEnqueued(_)
            | Event::FrontReady => self.on_queue(now, event),
            Event::Started | Event::NotStarted(_) | Event::Ended(_) | Event::Empty => {
                self.on_process(now, event);
            }
        }
    }

    /// The next instant at which time alone changes something; never in a finished run.
    pub fn next_deadline(&self) -> Option<Instant> {
        let stop_at = self.stop_at();
        let wait_until = self.plan.wait.map(|wait| self.began_at + wait);
        let phase = match &self.phase {
            Phase::Enqueueing { answer_by } => earliest([Some(*answer_by), wait_until]),
            Phase::Waiting => {
                earliest([wait_until, self.unreachable_until(), self.stopped_until()])
            }
            Phase::Parked => wait_until,
            Phase::Preparing { .. } => earliest([stop_at, self.stopped_until()]),
            Phase::Starting | Phase::Running => earliest([stop_at, self.runtime_until()]),
            Phase::Draining { name_at, .. } => {
                earliest([stop_at, self.runtime_until(), Some(*name_at)])
            }
            Phase::Stopping { kill_at, outcome } => {
                let lost = matches!(outcome, Outcome::Lost(_));
                earliest([Some(*kill_at), stop_at.filter(|_| !lost)])
            }
            Phase::Killing { name_at, .. } => Some(*name_at),
            Phase::Recording { answer_by, .. } | Phase::Releasing { answer_by, .. } => {
                Some(*answer_by)
            }
            Phase::Done => return None,
        };
        earliest([phase, self.renewal_due()])
    }

    /// What happened when.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// The lease as it is believed now.
    #[cfg(test)]
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    fn check_deadlines(&mut self, now: Instant) {
        self.check_renewal(now);
        match &self.phase {
            Phase::Enqueueing { .. } | Phase::Waiting | Phase::Parked | Phase::Preparing { .. } => {
                self.check_queueing(now);
            }
            Phase::Starting
            | Phase::Running
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Killing { .. } => self.check_guarding(now),
            Phase::Recording { answer_by, .. } | Phase::Releasing { answer_by, .. }
                if *answer_by <= now =>
            {
                self.cut_short(now, "no answer in time".to_owned());
            }
            Phase::Recording { .. } | Phase::Releasing { .. } | Phase::Done => {}
        }
    }

    fn on_front(&mut self, now: Instant, event: &Event) {
        if *event == Event::FrontStopped {
            self.front = Front::Stopped(now);
            self.act(Action::HideWaiting);
            return;
        }
        self.front = Front::Alive;
        // Say where we stand again: the terminal was somebody else's in between.
        self.told = None;
        if self.phase == Phase::Parked {
            self.enqueue(now);
        }
    }

    /// One of the processes that guard the tree, or that was to become its first, is dead. Another fault would find
    /// it badly guarded, so it ends now.
    fn on_guard_gone(&mut self, now: Instant, event: &Event) {
        let front = *event == Event::FrontGone;
        if front {
            self.front = Front::Gone;
        }
        let before_the_command = match event {
            Event::FrontGone => Outcome::FrontKilled,
            Event::StubGone => Outcome::HelperKilled("stub"),
            _ => Outcome::HelperKilled("witness"),
        };
        match self.phase {
            Phase::Enqueueing { .. } | Phase::Waiting | Phase::Parked | Phase::Preparing { .. } => {
                self.release(now, After::Finish(before_the_command));
            }
            // It is heard of when it cannot be started.
            Phase::Starting if *event == Event::StubGone => {}
            Phase::Starting | Phase::Running | Phase::Draining { .. } | Phase::Stopping { .. } => {
                let outcome = match front {
                    true => Outcome::FrontKilled,
                    false => Outcome::Lost(Loss::WitnessDied),
                };
                self.kill(now, outcome);
            }
            Phase::Releasing { .. } => self.end_instead_of_parking(before_the_command),
            Phase::Killing { .. } | Phase::Recording { .. } | Phase::Done => {}
        }
    }

    /// The place is being given up because we are stopped; but now the run is over.
    fn end_instead_of_parking(&mut self, outcome: Outcome) {
        if let Phase::Releasing {
            after: after @ After::Park,
            ..
        } = &mut self.phase
        {
            *after = After::Finish(outcome);
        }
    }

    fn on_gone(&mut self, now: Instant, loss: Loss) {
        match self.phase {
            Phase::Waiting | Phase::Preparing { .. } => self.enqueue_again(now, loss.to_string()),
            Phase::Starting
            | Phase::Running
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Killing { .. } => {
                // Nothing is left to renew.
                self.renewal.cease();
                match self.plan.on_loss {
                    // Somebody else may hold the lock already: no grace.
                    OnLoss::Kill => self.kill(now, Outcome::Lost(loss)),
                    OnLoss::Warn => self.lose(loss),
                }
            }
            // Nothing of ours is there, or nothing that still matters.
            Phase::Enqueueing { .. }
            | Phase::Parked
            | Phase::Recording { .. }
            | Phase::Releasing { .. }
            | Phase::Done => {}
        }
    }

    fn on_signal(&mut self, now: Instant, signal: i32) {
        match &self.phase {
            Phase::Enqueueing { .. } | Phase::Waiting | Phase::Parked | Phase::Preparing { .. } => {
                self.release(now, After::Finish(Outcome::Interrupted(signal)));
            }
            Phase::Draining { outcome, .. } if self.is_about_leftovers(now) => {
                let outcome = outcome.clone();
                self.stop(now, outcome, format!("signal {signal}"));
            }
            // Asked a second time: no more grace.
            Phase::Stopping { outcome, .. } if self.history.command.is_some() => {
                let outcome = outcome.clone();
                self.kill(now, outcome);
            }
            // Whoever sees it take so long and asks again does not want to wait for the lock service.
            Phase::Recording { since, .. } | Phase::Releasing { since, .. }
                if *since + IMPATIENT_AFTER <= now =>
            {
                self.end_instead_of_parking(Outcome::Interrupted(signal));
                self.cut_short(now, format!("stopped by signal {signal}"));
            }
            // It is the one that the command has just died of; or the process layer passes it on to the command.
            Phase::Recording { .. }
            | Phase::Starting
            | Phase::Running
            | Phase::Stopping { .. }
            | Phase::Killing { .. }
            | Phase::Done => {}
            Phase::Releasing { .. } => {
                self.end_instead_of_parking(Outcome::Interrupted(signal));
            }
            // It is the one that the command has just died of.
            Phase::Draining { .. } => {}
        }
    }

    /// Whether a signal can be meant for what outlives the command: a Ctrl-C reaches the command and us, and
    /// the command may be dead before we look.
    fn is_about_leftovers(&self, now: Instant) -> bool {
        let ended_at = self.history.ended_at;
        ended_at.is_some_and(|ended_at| ended_at + IMPATIENT_AFTER <= now)
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}

fn earliest<const N: usize>(instants: [Option<Instant>; N]) -> Option<Instant> {
    instants.into_iter().flatten().min()
}
