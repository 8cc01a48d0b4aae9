//! Whether a run has a reason for what it says: seen from outside, from what it was told and what stood in the store.

use std::time::Duration;

use crate::outcome::Outcome;
use crate::simulation::checker::{Checker, Seen};
use crate::simulation::kernel;

/// `--connect-timeout` of every run.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A vanished one keeps nobody from an idle lock for longer after a run has met it that must not wait: the longest lock
/// delay, and the time that it takes to have it end by itself.
const RETIRED_AFTER: Duration = Duration::from_secs(8);

/// What is waited for on one clock, on another one.
fn shortest(duration: Duration) -> Duration {
    duration * 99 / 100
}

impl Checker {
    /// The lock service told it where it stands, or that its lease was renewed.
    pub fn heard(&mut self, host: usize) {
        let seen = &mut self.hosts[host];
        // What comes when it has given up, since it was frozen meanwhile, changes nothing any more.
        if !seen.gives_up {
            seen.heard_at = Some(kernel::time());
        }
    }

    /// It gives its place back, or asks for one.
    pub fn gives_up(&mut self, host: usize, gives_up: bool) {
        self.hosts[host].gives_up = gives_up;
    }

    /// Nobody is left of its tree: before its time to stop?
    pub fn tree_was_seen_to_end(&mut self, host: usize, in_time: bool) {
        let seen = &mut self.hosts[host];
        let undisturbed = seen.grace_until.is_none() && !seen.may_kill_at_once && !seen.late_end;
        seen.good_end = seen.ran && in_time && undisturbed && seen.guard_gone_at.is_none();
    }

    /// One that must not wait asks for a place, and nobody stands before it but these who have vanished.
    pub fn asks_for_idle(&mut self, host: usize, idle: bool, orphans: &[String]) {
        let now = kernel::time();
        let is_over = |orphan: &String| {
            let met_at = self.orphans_met.get(orphan);
            !self.is_stormy() && met_at.is_some_and(|at| *at + RETIRED_AFTER < now)
        };
        let free = idle && orphans.iter().all(is_over);
        let seen = &mut self.hosts[host];
        seen.found_free = Some(seen.found_free.unwrap_or(true) && free);
    }

    /// One that must not wait goes away again because of these.
    pub fn met_orphans(&mut self, orphans: Vec<String>) {
        for orphan in orphans {
            self.orphans_met.entry(orphan).or_insert_with(kernel::time);
        }
    }

    /// Why this cannot be the reason of its end, if it cannot.
    pub(super) fn no_reason(&self, host: usize, outcome: &Outcome) -> Option<&'static str> {
        let seen = &self.hosts[host];
        match outcome {
            Outcome::Lost(_) if seen.good_end => Some("its command had ended in time"),
            Outcome::Busy { .. } => self.no_reason_to_be_busy(seen),
            // A lease that is shorter than asked may not do.
            Outcome::Unavailable(_) if seen.is_patient && !self.grants_less => {
                let since = seen.heard_at.unwrap_or(seen.arrived_at);
                let waited = kernel::time().saturating_sub(since);
                (waited < shortest(CONNECT_TIMEOUT)).then_some("etcd was there just now")
            }
            _ => None,
        }
    }

    fn no_reason_to_be_busy(&self, seen: &Seen) -> Option<&'static str> {
        let waited = kernel::time().saturating_sub(seen.arrived_at);
        match (seen.nonblock, seen.wait) {
            (_, Some(wait)) if waited >= shortest(wait) => None,
            (true, _) => (seen.found_free == Some(true)).then_some("nobody had the lock"),
            (false, Some(_)) => Some("it was to wait for longer"),
            (false, None) => Some("it was to wait for ever"),
        }
    }
}
