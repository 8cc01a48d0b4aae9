//! Holding the lock while a tree of processes lives, and ending the tree in time.

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::lease::Lease;
use crate::outcome::{Ended, Loss, Outcome};
use crate::supervisor::{Action, After, Event, Message, OnLeftover, OnLoss, Phase, Supervisor};

/// How soon processes that outlive the command are named, and those that survive being killed.
const NAME_LEFTOVERS_AFTER: Duration = Duration::from_secs(1);
const NAME_SURVIVORS_AFTER: Duration = Duration::from_secs(2);
/// How often they are named again.
const NAME_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Whether a process of the command may be alive.
    pub(super) const fn has_tree(&self) -> bool {
        matches!(
            self.phase,
            Phase::Starting
                | Phase::Running
                | Phase::Draining { .. }
                | Phase::Stopping { .. }
                | Phase::Killing { .. }
        )
    }

    /// When `--max-runtime` is over.
    pub(super) fn runtime_until(&self) -> Option<Instant> {
        Some(self.history.admitted_at? + self.plan.max_runtime?)
    }

    /// When the lock can no longer be proved ours long enough to end the tree kindly. With `--on-loss warn`
    /// only until that has been said.
    pub(super) fn stop_at(&self) -> Option<Instant> {
        match self.lost {
            Some(_) => None,
            None => self.lease.as_ref().map(Lease::stop_at),
        }
    }

    /// By when the lease wants the tree dead, if anybody does.
    pub(super) fn dead_by(&self) -> Option<Instant> {
        match self.plan.on_loss {
            OnLoss::Kill => self.lease.as_ref().map(Lease::kill_at),
            OnLoss::Warn => None,
        }
    }

    /// By when a command that is told to start has to have begun. Whatever `--on-loss` says: none begins without the lock.
    pub fn start_by(&self) -> Option<Instant> {
        self.lease.as_ref().map(Lease::kill_at)
    }

    /// With `--on-loss warn`: the lock is lost, and the command runs on without it. What is proved (a key or a
    /// lease that is gone) replaces what is only feared.
    pub(super) fn lose(&mut self, loss: Loss) {
        if self.lost.as_ref().is_none_or(Loss::may_pass) {
            self.act(Action::Say(Message::RunningOn(loss.clone())));
            self.lost = Some(loss);
        }
    }

    pub(super) fn check_guarding(&mut self, now: Instant) {
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        if over(self.stop_at()) {
            self.on_lease_running_out(now);
        }
        match &self.phase {
            Phase::Starting | Phase::Running | Phase::Draining { .. }
                if over(self.runtime_until()) =>
            {
                self.stop(now, Outcome::MaxRuntime, "--max-runtime is over".to_owned());
            }
            Phase::Draining { outcome, name_at } if *name_at <= now => {
                let (outcome, name_at) = (outcome.clone(), now + NAME_AGAIN_AFTER);
                self.phase = Phase::Draining { outcome, name_at };
                self.act(Action::NameLeftovers { killed: false });
            }
            Phase::Killing { outcome, name_at } if *name_at <= now => {
                let (outcome, name_at) = (outcome.clone(), now + NAME_AGAIN_AFTER);
                self.phase = Phase::Killing { outcome, name_at };
                self.act(Action::NameLeftovers { killed: true });
            }
            _ => {}
        }
        if let Phase::Stopping { outcome, kill_at } = &self.phase
            && *kill_at <= now
        {
            let outcome = outcome.clone();
            self.kill(now, outcome);
        }
    }

    /// The command ended by itself, but its end is seen only now that the lock cannot be proved ours any more.
    pub(super) fn check_late_end(&mut self, now: Instant) {
        let late = self.lease.is_some_and(|lease| lease.stop_at() <= now);
        // With `--on-loss warn` there is nothing to end, and what was lost is said as soon as deadlines are checked.
        let ends = self.plan.on_loss == OnLoss::Kill;
        if late && ends && matches!(self.phase, Phase::Starting | Phase::Running) {
            self.begin_stopping(now, Outcome::Lost(Loss::EndedTooLate));
        }
    }

    /// `stop_at` has come: from here on the lock cannot be proved ours long enough to end the tree kindly.
    fn on_lease_running_out(&mut self, now: Instant) {
        let obstacle = self.unreachable.as_ref().map_or_else(
            || "no renewal succeeded".to_owned(),
            |(_, trouble)| trouble.detail.clone(),
        );
        let loss = Loss::NotRenewed(obstacle.clone());
        if self.plan.on_loss == OnLoss::Warn {
            return self.lose(loss);
        }
        let loss = Outcome::Lost(loss);
        match &self.phase {
            Phase::Starting | Phase::Running | Phase::Draining { .. } => {
                let why = format!("the lease could not be renewed ({obstacle})");
                self.stop(now, loss, why);
            }
            Phase::Stopping { outcome, kill_at } => {
                let kill_at = *kill_at;
                let kill_at = self
                    .lease
                    .map_or(kill_at, |lease| lease.kill_at().min(kill_at));
                let outcome = worse(outcome.clone(), loss);
                self.phase = Phase::Stopping { outcome, kill_at };
            }
            Phase::Killing { outcome, name_at } => {
                let (outcome, name_at) = (worse(outcome.clone(), loss), *name_at);
                self.phase = Phase::Killing { outcome, name_at };
            }
            _ => {}
        }
    }

    pub(super) fn on_process(&mut self, now: Instant, event: Event) {
        match event {
            Event::Started => {
                if self.phase == Phase::Starting {
                    self.phase = Phase::Running;
                }
                self.history.started_at = Some(now);
                self.act(Action::Say(Message::Acquired));
                if self.waited {
                    self.act(Action::Announce);
                }
            }
            Event::NotStarted(errno) => {
                if self.phase == Phase::Starting {
                    let outcome = Outcome::not_started(&self.plan.program, errno);
                    self.release(now, After::Finish(outcome));
                } else {
                    self.on_empty(now);
                }
            }
            Event::Ended(ended) => self.on_ended(now, ended),
            _ => self.on_empty(now),
        }
    }

    fn on_ended(&mut self, now: Instant, ended: Ended) {
        if !self.has_tree() {
            return;
        }
        self.history.ended_at = Some(now);
        self.history.command = Some(ended);
        if !matches!(self.phase, Phase::Starting | Phase::Running) {
            return;
        }
        let outcome = Outcome::Command(ended);
        match self.plan.on_leftover {
            OnLeftover::Wait => {
                let name_at = now + NAME_LEFTOVERS_AFTER;
                self.phase = Phase::Draining { outcome, name_at };
            }
            OnLeftover::Kill => {
                self.act(Action::NameLeftovers { killed: false });
                self.begin_stopping(now, outcome);
            }
            OnLeftover::Leave => {
                let name_at = now + NAME_LEFTOVERS_AFTER;
                self.phase = Phase::Draining { outcome, name_at };
                self.act(Action::Leave);
            }
        }
    }

    /// Nobody is left: the only way from a phase with a tree to the release.
    fn on_empty(&mut self, now: Instant) {
        match &self.phase {
            Phase::Draining { outcome, .. }
            | Phase::Stopping { outcome, .. }
            | Phase::Killing { outcome, .. } => {
                let outcome = self.ending(outcome.clone());
                self.history.empty_at = Some(now);
                self.part(now, outcome);
            }
            _ => {}
        }
    }

    /// The outcome of a run that may have lost its lock on the way.
    fn ending(&self, outcome: Outcome) -> Outcome {
        match (&self.lost, &outcome) {
            (None, _) => outcome,
            (Some(loss), Outcome::Command(_)) => Outcome::RanOn(loss.clone()),
            (Some(loss), _) => worse(outcome, Outcome::Lost(loss.clone())),
        }
    }

    /// Asks the whole tree to end, with a grace that fits into the lease.
    pub(super) fn stop(&mut self, now: Instant, outcome: Outcome, why: String) {
        self.begin_stopping(now, outcome);
        // After the act: nothing that is said may hold it up.
        self.act(Action::Say(Message::Stopping(why)));
    }

    fn begin_stopping(&mut self, now: Instant, outcome: Outcome) {
        let kill_at = now + self.plan.kill_after;
        let kill_at = self
            .dead_by()
            .map_or(kill_at, |dead_by| dead_by.min(kill_at));
        self.act(Action::Stop);
        self.phase = Phase::Stopping { outcome, kill_at };
    }

    /// Kills the whole tree.
    pub(super) fn kill(&mut self, now: Instant, outcome: Outcome) {
        let (outcome, name_at) = match &self.phase {
            Phase::Killing {
                outcome: first,
                name_at,
            } => (worse(first.clone(), outcome), *name_at),
            Phase::Stopping { outcome: first, .. } => {
                (worse(first.clone(), outcome), now + NAME_SURVIVORS_AFTER)
            }
            _ => (outcome, now + NAME_SURVIVORS_AFTER),
        };
        self.act(Action::Kill);
        self.phase = Phase::Killing { outcome, name_at };
    }
}

/// Of two reasons to end, the first stays; but a loss replaces everything that is none.
fn worse(first: Outcome, second: Outcome) -> Outcome {
    match (&first, &second) {
        (Outcome::Lost(_), _) => first,
        (_, Outcome::Lost(_)) => second,
        _ => first,
    }
}
