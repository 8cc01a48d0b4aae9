//! Somebody wants the lock from us: `leasehold break`.
//!
//! - It is answered first: with the time within which nothing of the command will run any more. Then the command is
//!   stopped like for any other reason, with its grace, and the lock given back. Nothing is lost to anybody.
//! - `--on-loss warn` changes nothing about that: it is about locks that are lost, and this one is ours to the end.
//! - What ends already needs no second reason; what the command left behind is stopped as by a signal.

use std::time::Duration;

use crate::clock::Instant;
use crate::outcome::{Loss, Outcome};
use crate::supervisor::{Action, After, Phase, Supervisor};

/// What comes between the kill and the release: reaping, and one commit.
const AFTER_KILL: Duration = Duration::from_secs(1);

impl Supervisor {
    /// `by`: who asks, harmless text.
    pub(super) fn on_break_asked(&mut self, now: Instant, by: String) {
        match &self.phase {
            Phase::Waiting | Phase::Preparing { .. } => {
                self.answer(AFTER_KILL);
                self.release(now, After::Finish(Outcome::Broken(by)));
            }
            Phase::Starting | Phase::Running => {
                let loss = Outcome::Lost(Loss::Broken(by.clone()));
                self.stop_for(now, loss, &by);
            }
            Phase::Draining { outcome, .. } => {
                let outcome = outcome.clone();
                self.stop_for(now, outcome, &by);
            }
            Phase::Stopping { .. } => self.answer_with_grace(now),
            Phase::Killing { .. } | Phase::Recording { .. } | Phase::Releasing { .. } => {
                self.name_the_loss(by);
                self.answer(AFTER_KILL);
            }
            // What was asked for is gone already.
            Phase::Enqueueing { .. } | Phase::Parked | Phase::Done => {}
        }
    }

    fn stop_for(&mut self, now: Instant, outcome: Outcome, by: &str) {
        let why = format!("the lock was broken by {by} with leasehold break");
        self.stop(now, outcome, why);
        self.answer_with_grace(now);
    }

    /// The news that the lease or the key is gone was faster than the news who took it away.
    fn name_the_loss(&mut self, by: String) {
        let outcome = match &mut self.phase {
            Phase::Killing { outcome, .. }
            | Phase::Recording { outcome, .. }
            | Phase::Releasing {
                after: After::Finish(outcome),
                ..
            } => outcome,
            _ => return,
        };
        if let Outcome::Lost(Loss::LeaseGone | Loss::KeyDeleted) = outcome {
            *outcome = Outcome::Lost(Loss::Broken(by));
        }
    }

    fn answer_with_grace(&mut self, now: Instant) {
        if let Phase::Stopping { kill_at, .. } = &self.phase {
            let within = kill_at.since(now) + AFTER_KILL;
            self.answer(within);
        }
    }

    fn answer(&mut self, within: Duration) {
        self.act(Action::AnswerBreak { within });
    }
}
