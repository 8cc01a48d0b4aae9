//! Stopping an older COMMAND that runs under the same state file: step by step, while its lock is waited for.

use std::io;
use std::time::Duration;

use crate::clock::Instant;
use crate::fence::state_file::Runner;
use crate::lock::token::Token;
use crate::process::preemption::LockFile;
use crate::ui::system_error;

/// How long a manager, and then its guards, get to kill the tree before it is done for them: they need
/// milliseconds, or are frozen.
const KILLING_TIME: Duration = Duration::from_secs(1);

/// The stopping of whoever is in the way.
#[derive(Debug)]
pub struct Preemption {
    /// Only older ones are stopped.
    token: Token,
    kill_after: Duration,
    under_way: Option<(Runner, Instant, Step)>,
    obstacle: Option<String>,
}

/// What is done to it, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its manager stops its tree.
    Ask,
    /// The grace is over: its manager kills its tree.
    AskAgain,
    /// Its manager does not answer: its guards kill its tree.
    KillManager,
    /// They do not either.
    KillAll,
}

impl Preemption {
    /// Nothing has been done yet.
    pub const fn new(token: Token, kill_after: Duration) -> Self {
        Self {
            token,
            kill_after,
            under_way: None,
            obstacle: None,
        }
    }

    /// Why it could not be stopped, if it could not.
    pub fn obstacle(&self) -> Option<&str> {
        self.obstacle.as_deref()
    }

    /// Goes one step further against whoever runs now.
    pub fn go_on(&mut self, now: Instant, runner: Runner, lock: LockFile) {
        let guards = runner.guards;
        let result = match self.next(now, runner) {
            Some(Step::Ask | Step::AskAgain) => guards.ask(lock),
            Some(Step::KillManager) => guards.kill_manager(lock),
            Some(Step::KillAll) => guards.kill_all(lock),
            None => return,
        };
        self.obstacle = match result {
            Ok(()) => None,
            // It is gone, so the lock will come free.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
            Err(error) => Some(cannot_be_stopped(&error)),
        };
    }

    fn next(&mut self, now: Instant, runner: Runner) -> Option<Step> {
        if runner.token >= self.token {
            return None;
        }
        let step = match self.under_way {
            Some((same, since, step)) if same == runner => {
                let (patience, next) = match step {
                    Step::Ask => (self.kill_after, Step::AskAgain),
                    Step::AskAgain => (KILLING_TIME, Step::KillManager),
                    // What is forked meanwhile can be missed, so this is done again and again.
                    Step::KillManager | Step::KillAll => (KILLING_TIME, Step::KillAll),
                };
                if now < since + patience {
                    return None;
                }
                next
            }
            _ => Step::Ask,
        };
        self.under_way = Some((runner, now, step));
        Some(step)
    }
}

fn cannot_be_stopped(error: &io::Error) -> String {
    format!("it cannot be stopped from here: {}", system_error(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn runner(token: i64, pid: i32) -> Runner {
        Runner {
            token: Token::new(token).expect("positive"),
            guards: format!("{pid} 1 {pid} 1").parse().expect("guards"),
        }
    }

    fn preemption() -> Preemption {
        Preemption::new(Token::new(34).expect("positive"), GRACE)
    }

    #[test]
    fn an_older_one_is_asked_twice_then_killed_then_swept_away() {
        let mut preemption = preemption();
        let start = Instant::from_nanos(1);
        let older = runner(33, 7);
        let steps = [
            (start, Some(Step::Ask)),
            (start, None),
            (start + GRACE, Some(Step::AskAgain)),
            (start + GRACE, None),
            (start + GRACE + KILLING_TIME, Some(Step::KillManager)),
            (start + GRACE + KILLING_TIME, None),
            (start + GRACE + 2 * KILLING_TIME, Some(Step::KillAll)),
            (start + GRACE + 3 * KILLING_TIME, Some(Step::KillAll)),
        ];
        for (now, step) in steps {
            assert_eq!(preemption.next(now, older), step);
        }
        let another = runner(33, 8);
        assert_eq!(preemption.next(start, another), Some(Step::Ask));
    }

    #[test]
    fn its_own_and_newer_ones_are_let_alone() {
        for token in [34, 35] {
            let now = Instant::from_nanos(1);
            assert_eq!(preemption().next(now, runner(token, 7)), None);
        }
    }
}
