//! When the lease is renewed: first at a quarter of the TTL, then again and again until it succeeds.
//!
//! The supervisor sends one attempt at a time, each with its own deadline, so that a member that does not
//! answer costs a quarter of the TTL at most and never the lease.

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::lease::Lease;
use crate::outcome::Outcome;
use crate::supervisor::{
    ANSWER_SLACK, Action, After, Event, Message, Phase, Supervisor, Trouble, TroubleKind,
};

/// How the renewing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Renewal {
    /// There is nothing to renew.
    #[default]
    Ceased,
    /// The next attempt is due then.
    Due(Instant),
    /// An attempt is under way; an answer is due by the instant.
    UnderWay { answer_by: Instant },
}

impl Renewal {
    pub(super) fn cease(&mut self) {
        *self = Self::Ceased;
    }
}

/// How long one attempt may take: a first one needs three round trips, and the service tries several members
/// within it.
fn attempt_timeout(ttl: Duration) -> Duration {
    (ttl / 4).clamp(Duration::from_millis(250), Duration::from_secs(5))
}

/// How long to wait after a failed attempt: long enough not to hammer a cluster in trouble.
fn retry_pause(ttl: Duration) -> Duration {
    (ttl / 20).clamp(Duration::from_millis(100), Duration::from_secs(1))
}

impl Supervisor {
    /// When time alone makes the next step of renewing due.
    pub(super) const fn renewal_due(&self) -> Option<Instant> {
        match self.renewal {
            Renewal::Ceased => None,
            Renewal::Due(at) => Some(at),
            Renewal::UnderWay { answer_by } => Some(answer_by),
        }
    }

    /// An attempt whose answer is overdue counts as failed.
    pub(super) fn check_renewal(&mut self, now: Instant) {
        if let Renewal::UnderWay { answer_by } = self.renewal
            && answer_by <= now
        {
            let detail = "a renewal was not answered in time".to_owned();
            let trouble = Trouble {
                kind: TroubleKind::Unreachable,
                detail,
            };
            self.on_failed(now, now, trouble);
        }
    }

    /// Sends the next attempt when it is due.
    pub(super) fn schedule_renewal(&mut self, now: Instant) {
        let Some(lease) = self.lease else { return };
        if let Renewal::Due(at) = self.renewal
            && at <= now
        {
            let give_up_at = now + attempt_timeout(lease.ttl);
            self.act(Action::Renew { give_up_at });
            self.renewal = Renewal::UnderWay {
                answer_by: give_up_at + ANSWER_SLACK,
            };
        }
    }

    /// A lease was granted or renewed by a request sent at `sent_at`.
    pub(super) fn believe(&mut self, sent_at: Instant, ttl: Duration) {
        let kill_after = self.plan.kill_after;
        let lease = Lease {
            sent_at,
            ttl,
            kill_after,
        };
        self.lease = Some(lease);
        self.renewal = Renewal::Due(lease.renew_at());
        if self.has_tree() {
            self.publish();
        }
    }

    /// Tells the guards by when the tree has to be dead, if anybody wants it dead.
    pub(super) fn publish(&mut self) {
        if let Some(kill_at) = self.dead_by() {
            self.act(Action::Publish { kill_at });
        }
    }

    pub(super) fn on_lease(&mut self, now: Instant, event: Event) {
        match event {
            Event::Renewed { sent_at, ttl } => {
                // An answer to something that has been given up since.
                if self.renewal == Renewal::Ceased {
                    return;
                }
                if self.unreachable.is_some() && self.has_tree() {
                    self.act(Action::Say(Message::RenewalRecovered));
                }
                self.reachable(now);
                // A validated renewal shows our key as we put it: nobody else can have held the lock.
                self.lost = None;
                // Never believe less than what was believed: answers may overtake one another.
                if self.lease.is_none_or(|lease| lease.sent_at <= sent_at) {
                    self.believe(sent_at, ttl);
                }
                self.start_if_ready(now);
            }
            Event::Failed { asked_at, trouble } => self.on_failed(now, asked_at, trouble),
            _ => {}
        }
    }

    fn on_failed(&mut self, now: Instant, asked_at: Instant, trouble: Trouble) {
        if let (Renewal::UnderWay { .. }, Some(lease)) = (&self.renewal, self.lease) {
            self.renewal = Renewal::Due(now + retry_pause(lease.ttl));
        }
        let queueing = matches!(
            self.phase,
            Phase::Enqueueing { .. } | Phase::Waiting | Phase::Preparing { .. }
        );
        if queueing && trouble.kind == TroubleKind::Denied {
            self.release(now, After::Finish(Outcome::Denied(trouble.detail)));
            return;
        }
        if self.unreachable.is_none() && self.has_tree() {
            self.act(Action::Say(Message::RenewalFailing(trouble.clone())));
        }
        // The first instant and the latest reason. An answer to somebody else may have come since this was asked.
        let asked_at = self.reached_at.map_or(asked_at, |at| at.max(asked_at));
        let since = self.unreachable.as_ref().map_or(asked_at, |(at, _)| *at);
        self.unreachable = Some((since, trouble));
    }

    pub(super) fn reachable(&mut self, now: Instant) {
        self.reached_at = Some(now);
        self.unreachable = None;
    }
}
