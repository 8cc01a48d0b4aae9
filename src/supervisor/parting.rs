//! Giving the lock back, once no process of the tree can be alive.
//!
//! - What is to be remembered of the run is written under the lock, so before. It is not renewed meanwhile: what
//!   cannot be written down by `kill_at` is not written down.
//! - `--hold-min` keeps the lock for those who ran their command to its end, however it ended. Who lost the lock has
//!   nothing to keep, and what could not be executed at all is worth another try elsewhere.

use std::time::Duration;

use crate::clock::Instant;
use crate::outcome::{Ended, Outcome};
use crate::supervisor::{
    ANSWER_SLACK, Action, After, Event, Front, Message, Phase, Supervisor, Trouble, TroubleKind,
};

/// How long somebody waits at most, whose command never ran, until his place is given up.
const PLACE_PATIENCE: Duration = Duration::from_secs(2);

impl Supervisor {
    /// The way out of a run whose command was executed.
    pub(super) fn part(&mut self, now: Instant, outcome: Outcome) {
        if self.has_to_remember(&outcome) {
            let kill_at = self.lease.as_ref().map(|lease| lease.kill_at());
            let give_up_at = kill_at.map_or(now, |kill_at| kill_at.max(now));
            return self.record(now, outcome, give_up_at);
        }
        match self.plan.record {
            true => self.record(
                now,
                outcome,
                self.release_until(now, self.plan.connect_timeout),
            ),
            false => self.keep_or_release(now, outcome),
        }
    }

    fn has_to_remember(&self, outcome: &Outcome) -> bool {
        self.plan.once && *outcome == Outcome::Command(Ended::Exited(0))
    }

    fn record(&mut self, now: Instant, outcome: Outcome, give_up_at: Instant) {
        self.renewal.cease();
        self.act(Action::Record {
            give_up_at,
            outcome: outcome.clone(),
        });
        self.phase = Phase::Recording {
            outcome,
            since: now,
            answer_by: give_up_at + ANSWER_SLACK,
        };
    }

    pub(super) fn on_recorded(&mut self, now: Instant, event: Event) {
        let Phase::Recording { outcome, .. } = &self.phase else {
            return;
        };
        let mut outcome = outcome.clone();
        if let Event::NotRecorded(trouble) = event {
            match self.has_to_remember(&outcome) {
                true => outcome = Outcome::NotRecorded(trouble.detail),
                false => self.act(Action::Say(Message::NotRecorded(trouble))),
            }
        }
        self.keep_or_release(now, outcome);
    }

    fn keep_or_release(&mut self, now: Instant, outcome: Outcome) {
        let until = self.history.admitted_at.map(|at| at + self.plan.hold_min);
        let is_kept = matches!(
            outcome,
            Outcome::Command(_) | Outcome::MaxRuntime | Outcome::NotRecorded(_)
        );
        match until.filter(|until| is_kept && now < *until) {
            None => self.release(now, After::Finish(outcome)),
            Some(until) => {
                let give_up_at = self.release_until(now, self.plan.connect_timeout);
                self.act(Action::Keep { give_up_at, until });
                self.give_up(now, After::Finish(outcome), give_up_at, true);
            }
        }
    }

    /// Gives the lock back. Only entered when no process of a tree can be alive.
    pub(super) fn release(&mut self, now: Instant, after: After) {
        let patience = match &after {
            After::Finish(_) if self.history.command.is_some() => self.plan.connect_timeout,
            // Nothing ran: nobody who interrupts a waiting run wants to wait much longer.
            After::Finish(_) | After::Park => self.plan.connect_timeout.min(PLACE_PATIENCE),
        };
        let give_up_at = self.release_until(now, patience);
        self.act(Action::HideWaiting);
        self.act(Action::Release { give_up_at });
        self.give_up(now, after, give_up_at, false);
    }

    fn give_up(&mut self, now: Instant, after: After, give_up_at: Instant, kept: bool) {
        self.renewal.cease();
        self.phase = Phase::Releasing {
            after,
            since: now,
            answer_by: give_up_at + ANSWER_SLACK,
            kept,
        };
    }

    fn release_until(&self, now: Instant, patience: Duration) -> Instant {
        // Once the lease has run out by itself there is nothing left to give back.
        let enough = self.lease.map_or(now + patience, |lease| {
            lease.expires_at().max(now + ANSWER_SLACK)
        });
        (now + patience).min(enough)
    }

    pub(super) fn on_released(&mut self, now: Instant, event: Event) {
        let Phase::Releasing { after, kept, .. } = &self.phase else {
            return;
        };
        let (after, kept) = (after.clone(), *kept);
        if let Event::NotReleased(trouble) = event {
            self.act(Action::Say(match kept {
                true => Message::NotKept(trouble),
                false => Message::NotReleased(trouble),
            }));
        }
        self.lease = None;
        match after {
            After::Finish(outcome) => self.finish(outcome),
            After::Park => {
                self.phase = Phase::Parked;
                if self.front == Front::Alive {
                    self.enqueue(now);
                }
            }
        }
    }

    /// Waits no longer for what is being written or given back.
    pub(super) fn cut_short(&mut self, now: Instant, detail: String) {
        let kind = TroubleKind::Unreachable;
        let trouble = Trouble { kind, detail };
        match self.phase {
            Phase::Recording { .. } => self.on_recorded(now, Event::NotRecorded(trouble)),
            _ => self.on_released(now, Event::NotReleased(trouble)),
        }
    }

    pub(super) fn finish(&mut self, outcome: Outcome) {
        self.act(Action::HideWaiting);
        self.act(Action::Finish(outcome));
        self.phase = Phase::Done;
    }
}
