//! Stopping an older COMMAND that runs under the same state file: step by step, while its lock is waited for.

use std::io;
use std::time::Duration;

use crate::clock::Instant;
use crate::fence::state_file::Runner;
use crate::lock::token::Token;
use crate::ui::system_error;

/// How long the guards of a killed manager get to kill the tree, before it is done for them: they need
/// milliseconds, or are frozen.
const GUARDS_TIME: Duration = Duration::from_secs(1);

/// The stopping of whoever is in the way.
#[derive(Debug)]
pub struct Preemption {
    /// Only older ones are stopped.
    token: Token,
    kill_after: Duration,
    under_way: Option<(Runner, Instant, Stage)>,
    obstacle: Option<String>,
}

/// What has been done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    ManagerKilled,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ask,
    KillManager,
    KillAll,
    Wait,
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
    pub fn go_on(&mut self, now: Instant, runner: Runner) {
        let guards = runner.guards;
        let result = match self.next(now, runner) {
            Step::Ask => guards.ask(),
            Step::KillManager => guards.kill_manager(),
            Step::KillAll => guards.kill_all(),
            Step::Wait => return,
        };
        self.obstacle = match result {
            Ok(()) => None,
            // It is gone, so the lock will come free.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
            Err(error) => Some(cannot_be_stopped(&error)),
        };
    }

    fn next(&mut self, now: Instant, runner: Runner) -> Step {
        if runner.token >= self.token {
            return Step::Wait;
        }
        match &mut self.under_way {
            Some((same, since, stage)) if *same == runner => match stage {
                Stage::Asked if *since + self.kill_after <= now => {
                    (*since, *stage) = (now, Stage::ManagerKilled);
                    Step::KillManager
                }
                Stage::ManagerKilled if *since + GUARDS_TIME <= now => Step::KillAll,
                Stage::Asked | Stage::ManagerKilled => Step::Wait,
            },
            _ => {
                self.under_way = Some((runner, now, Stage::Asked));
                Step::Ask
            }
        }
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
    fn an_older_one_is_asked_once_then_killed_then_swept_away() {
        let mut preemption = preemption();
        let start = Instant::from_nanos(1);
        let older = runner(33, 7);
        let steps = [
            (start, Step::Ask),
            (start, Step::Wait),
            (start + GRACE, Step::KillManager),
            (start + GRACE, Step::Wait),
            (start + GRACE + GUARDS_TIME, Step::KillAll),
            (start + GRACE + GUARDS_TIME, Step::KillAll),
        ];
        for (now, step) in steps {
            assert_eq!(preemption.next(now, older), step);
        }
        assert_eq!(
            preemption.next(start, runner(33, 8)),
            Step::Ask,
            "another one"
        );
    }

    #[test]
    fn its_own_and_newer_ones_are_let_alone() {
        for token in [34, 35] {
            let now = Instant::from_nanos(1);
            assert_eq!(preemption().next(now, runner(token, 7)), Step::Wait);
        }
    }
}
