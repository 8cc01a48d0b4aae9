//! Getting the lock: from the first request to the moment at which the command is executed.

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::lease::{self, Lease};
use crate::lock::token::ClusterId;
use crate::outcome::Outcome;
use crate::supervisor::{
    ANSWER_SLACK, Action, After, Event, Front, Message, Phase, Place, Queue, Supervisor, Trouble,
    TroubleKind,
};

/// How often a waiting run says where it stands although nothing changed: CI runners end silent jobs.
const WAITING_REMINDER: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Asks for a place in the queue.
    pub(super) fn enqueue(&mut self, now: Instant) {
        self.renewal.cease();
        self.lease = None;
        self.unreachable = None;
        let give_up_at = now + self.plan.connect_timeout;
        let give_up_at = self
            .wait_until()
            .map_or(give_up_at, |wait| wait.min(give_up_at));
        self.act(Action::Enqueue { give_up_at });
        self.phase = Phase::Enqueueing {
            answer_by: give_up_at + ANSWER_SLACK,
        };
    }

    /// Takes a new place because the old one is gone.
    pub(super) fn enqueue_again(&mut self, now: Instant, why: String) {
        self.act(Action::Say(Message::QueueingAgain(why)));
        self.enqueue(now);
    }

    fn wait_until(&self) -> Option<Instant> {
        self.plan.wait.map(|wait| self.began_at + wait)
    }

    /// Until when an unreachable service is put up with.
    pub(super) fn unreachable_until(&self) -> Option<Instant> {
        let (since, _) = self.unreachable.as_ref()?;
        Some(*since + self.plan.connect_timeout)
    }

    /// Until when a stopped run may keep its place.
    pub(super) fn stopped_until(&self) -> Option<Instant> {
        match self.front {
            Front::Stopped(since) => Some(since + self.lease?.ttl),
            Front::Alive | Front::Gone => None,
        }
    }

    pub(super) fn check_queueing(&mut self, now: Instant) {
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let preparing = matches!(self.phase, Phase::Preparing { .. });
        if over(self.wait_until()) && !preparing {
            let outcome = self.waited_long_enough();
            self.release_or_finish(now, outcome);
        } else if let Phase::Enqueueing { answer_by } = self.phase {
            if answer_by <= now {
                let detail = "the lock service does not answer".to_owned();
                self.release_or_finish(now, Outcome::Unavailable(detail));
            }
        } else if over(self.stopped_until()) {
            self.act(Action::Say(Message::PlaceGivenUp));
            self.release(now, After::Park);
        } else if preparing && over(self.lease.as_ref().map(Lease::stop_at)) {
            self.enqueue_again(now, "the lease could not be renewed in time".to_owned());
        } else if self.phase == Phase::Waiting && over(self.unreachable_until()) {
            let detail = self.unreachable.take().map(|(_, trouble)| trouble.detail);
            self.release(
                now,
                After::Finish(Outcome::Unavailable(detail.unwrap_or_default())),
            );
        }
    }

    /// `--wait` ran out: busy, unless nobody has ever answered, for then nothing is known about the lock.
    fn waited_long_enough(&self) -> Outcome {
        if self.reached_at.is_some() {
            return self.busy(self.told.as_ref().map(|(queue, _)| queue));
        }
        let detail = match &self.unreachable {
            Some((_, trouble)) => trouble.detail.clone(),
            None => "the lock service did not answer before --wait ran out".to_owned(),
        };
        Outcome::Unavailable(detail)
    }

    fn busy(&self, queue: Option<&Queue>) -> Outcome {
        Outcome::Busy {
            holder: queue.map(Queue::held_by),
            status: self.plan.conflict_status,
        }
    }

    /// Gives back what there may be. Where nobody has ever answered there is nothing, and nobody to give it to.
    fn release_or_finish(&mut self, now: Instant, outcome: Outcome) {
        if self.reached_at.is_some() {
            self.release(now, After::Finish(outcome));
        } else {
            self.renewal.cease();
            self.finish(outcome);
        }
    }

    pub(super) fn on_queue(&mut self, now: Instant, event: Event) {
        match (event, &self.phase) {
            (
                Event::Enqueued {
                    place,
                    sent_at,
                    ttl,
                },
                Phase::Enqueueing { .. },
            ) => {
                self.on_enqueued(now, place, sent_at, ttl);
            }
            (Event::Busy { queue, cluster }, Phase::Enqueueing { .. }) => {
                let enclosing = self.held_by_enclosing(cluster);
                let outcome = enclosing.unwrap_or_else(|| self.busy(Some(&queue)));
                self.renewal.cease();
                self.finish(outcome);
            }
            (Event::NotEnqueued(trouble), Phase::Enqueueing { .. }) => {
                self.on_not_enqueued(now, trouble);
            }
            (Event::Waiting(queue), Phase::Waiting) => {
                self.reachable(now);
                self.tell(now, queue);
            }
            (Event::Admitted { read_revision }, Phase::Waiting) => {
                self.reachable(now);
                self.history.admitted_at = Some(now);
                self.phase = Phase::Preparing {
                    read_revision,
                    ready: false,
                };
                self.act(Action::Prepare);
            }
            (Event::AlreadyDone(by), Phase::Waiting) => {
                self.release(now, After::Finish(Outcome::AlreadyDone(by)));
            }
            (Event::Superseded(by), Phase::Waiting | Phase::Enqueueing { .. }) => {
                self.reachable(now);
                self.release(now, After::Finish(Outcome::Superseded(by)));
            }
            (Event::FrontReady, Phase::Preparing { read_revision, .. }) => {
                self.phase = Phase::Preparing {
                    read_revision: *read_revision,
                    ready: true,
                };
                self.start_if_ready(now);
            }
            // Answers to what has been given up since.
            _ => {}
        }
    }

    fn on_enqueued(&mut self, now: Instant, place: Place, sent_at: Instant, ttl: Duration) {
        self.reachable(now);
        let enclosing = self.held_by_enclosing(place.cluster);
        self.history.place = Some(place);
        self.phase = Phase::Waiting;
        self.believe(sent_at, ttl);
        if let Some(outcome) = enclosing {
            self.release(now, After::Finish(outcome));
        } else if lease::check(ttl.min(lease::TTL_MAX), self.plan.kill_after).is_err() {
            let detail = format!(
                "the lock service granted a lease of only {ttl:?}, which --kill-after {:?} does not fit",
                self.plan.kill_after
            );
            self.release(now, After::Finish(Outcome::Unavailable(detail)));
        }
    }

    /// What there is to say where an enclosing run holds one of these locks of this cluster: it would be waited for
    /// until the end of time.
    fn held_by_enclosing(&self, cluster: ClusterId) -> Option<Outcome> {
        let is_held = |path: &&String| self.plan.enclosing.contains(&format!("{cluster}:{path}"));
        let path = self.plan.lock_paths.iter().find(is_held)?;
        Some(Outcome::Usage(format!(
            "{path} is held by an enclosing leasehold run: waiting for it here would never end; take it once, outside"
        )))
    }

    fn on_not_enqueued(&mut self, now: Instant, trouble: Trouble) {
        let outcome = match trouble.kind {
            TroubleKind::Denied => Outcome::Denied(trouble.detail),
            TroubleKind::Misconfigured => Outcome::Configuration(trouble.detail),
            TroubleKind::Unreachable | TroubleKind::Refused => Outcome::Unavailable(trouble.detail),
        };
        match trouble.kind {
            TroubleKind::Unreachable | TroubleKind::Misconfigured => {
                self.release_or_finish(now, outcome);
            }
            // It answered, so there may be a lease to give back.
            TroubleKind::Refused | TroubleKind::Denied => self.release(now, After::Finish(outcome)),
        }
    }

    fn tell(&mut self, now: Instant, queue: Queue) {
        self.waited = true;
        if matches!(self.front, Front::Stopped(_)) {
            return;
        }
        let news = self.told.as_ref().is_none_or(|(told, at)| {
            told.place != queue.place
                || told.lock != queue.lock
                || !told.holder.is_same(&queue.holder)
                || *at + WAITING_REMINDER <= now
        });
        if news {
            self.act(Action::Say(Message::Waiting(queue.clone())));
            self.told = Some((queue, now));
        }
    }

    /// Executes the command if it may run: admitted, the front stands by, and the lease is fresh enough not
    /// to be the first thing the command dies of.
    pub(super) fn start_if_ready(&mut self, now: Instant) {
        let Phase::Preparing {
            read_revision,
            ready: true,
        } = self.phase
        else {
            return;
        };
        let Some(lease) = self.lease else { return };
        let fresh = now < lease.sent_at + lease.ttl / 2;
        if !fresh || now >= lease.stop_at() {
            return;
        }
        self.act(Action::HideWaiting);
        self.publish();
        self.act(Action::Start { read_revision });
        self.phase = Phase::Starting;
    }
}
