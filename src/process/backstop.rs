//! The deadline as the guards, F and W, see it: what they do when M lets it pass.
//!
//! In two steps. First the guard kills the tree, all that P1 needs, and leaves M to reap it: on a machine
//! without time M may only be late, and a living M gives the lock back and says what happened. Only a M
//! of which nothing is heard for a while longer is killed as well.

use std::time::Duration;

use crate::clock::{Instant, now};
use crate::process::Common;
use crate::process::kill::{Killing, Spared};

/// One guard's share of it.
pub struct Backstop {
    /// How long after the deadline it is this guard's turn.
    patience: Duration,
    /// The tree is being killed in M's place.
    killing: Option<Killing>,
    has_killed: bool,
}

impl Backstop {
    pub const fn new(patience: Duration) -> Self {
        Self {
            patience,
            killing: None,
            has_killed: false,
        }
    }

    /// Whether it is this guard's turn.
    pub fn is_due(&self, common: &Common) -> bool {
        is_due(common.page.guard_at(self.patience))
    }

    /// Looks at the deadline, and kills the tree once if it has passed, except `guards` and what was there before.
    /// Returns whether M has to be killed as well.
    pub fn check(&mut self, common: &Common, strangers: &[i32], guards: &[i32]) -> bool {
        if !self.is_due(common) {
            self.killing = None;
            return false;
        }
        if is_due(common.page.overdue_at(self.patience)) {
            return true;
        }
        let spared = Spared {
            strangers: strangers.to_vec(),
            guards: guards.to_vec(),
            ..Spared::default()
        };
        self.has_killed = true;
        self.killing
            .get_or_insert_with(Killing::begin)
            .round_for_guards(common.leaf.as_ref(), &spared);
        false
    }

    /// When to look again, if nothing happens until then.
    pub fn next_look(&self, common: &Common) -> Option<Instant> {
        let guard_at = common.page.guard_at(self.patience)?;
        match &self.killing {
            None => Some(guard_at),
            Some(killing) => {
                let overdue_at = common.page.overdue_at(self.patience)?;
                Some(killing.round_at().min(overdue_at))
            }
        }
    }

    /// Whether the tree, or some of it, died of this.
    pub const fn has_killed(&self) -> bool {
        self.has_killed
    }
}

fn is_due(at: Option<Instant>) -> bool {
    at.is_some_and(|at| now() >= at)
}
