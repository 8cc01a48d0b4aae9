//! Stopping an older COMMAND that runs under the same state file: step by step, while its lock is waited for.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::inherited::shell_word;
use crate::fence::state_file::Runner;
use crate::lock::token::Token;
use crate::process::preemption::{LockFile, Request};
use crate::ui::system_error;

/// How long a manager, and then its guards, get to kill the tree before it is done for them: they need
/// milliseconds, or are frozen.
const KILLING_TIME: Duration = Duration::from_secs(1);

/// How long nobody may say that he has the lock before that is told: whoever has just taken it signs at once.
const SIGNING_TIME: Duration = Duration::from_secs(2);

/// The stopping of whoever is in the way.
#[derive(Debug)]
pub struct Preemption {
    /// Only older ones are stopped.
    token: Token,
    kill_after: Duration,
    /// Shows who has the lock open.
    who_command: String,
    under_way: Option<(Runner, Instant, Step)>,
    nobody_since: Option<Instant>,
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
    /// They do not either: so often it was done for them.
    KillAll(u32),
}

impl Preemption {
    /// Nothing has been done yet.
    pub fn new(token: Token, kill_after: Duration, lock: &Path) -> Self {
        Self {
            token,
            kill_after,
            who_command: format!("fuser -v {}", shell_word(&lock.display().to_string())),
            under_way: None,
            nobody_since: None,
            obstacle: None,
        }
    }

    /// Whether this one is stopped at all.
    pub fn is_older(&self, runner: Runner) -> bool {
        runner.token < self.token
    }

    /// Why it could not be stopped, if it could not.
    pub fn obstacle(&self) -> Option<&str> {
        self.obstacle.as_deref()
    }

    /// Goes one step further against whoever runs now, if anybody says that he does.
    pub fn go_on(&mut self, now: Instant, runner: Option<(Runner, LockFile)>) {
        let Some((runner, lock)) = runner else {
            let since = *self.nobody_since.get_or_insert(now);
            if now >= since + SIGNING_TIME {
                let who = &self.who_command;
                self.obstacle = Some(format!(
                    "whoever watched over the command that runs is gone, so it cannot be stopped from here; end it by hand ({who})"
                ));
            }
            return;
        };
        self.nobody_since = None;
        if !self.is_older(runner) {
            let why = "its token is the same, and --preempt stops only older ones";
            self.obstacle = Some(why.to_owned());
            return;
        }
        let guards = runner.guards;
        let Some(step) = self.next(now, runner) else {
            return;
        };
        let result = match step {
            Step::Ask => guards.ask(Request::Stop, lock),
            Step::AskAgain => guards.ask(Request::Kill, lock),
            Step::KillManager => guards.kill_manager(lock),
            Step::KillAll(_) => guards.kill_all(lock),
        };
        self.obstacle = match (result, step) {
            (Ok(()), Step::KillAll(5..)) => {
                let who = &self.who_command;
                Some(format!(
                    "it was killed, and some process still has its lock open; end it by hand ({who})"
                ))
            }
            (Ok(()), _) => None,
            // It is gone, so the lock will come free.
            (Err(error), _) if error.raw_os_error() == Some(libc::ESRCH) => None,
            (Err(error), _) => Some(cannot_be_stopped(&error)),
        };
    }

    fn next(&mut self, now: Instant, runner: Runner) -> Option<Step> {
        let step = match self.under_way {
            Some((same, since, step)) if same == runner => {
                let (patience, next) = match step {
                    Step::Ask => (self.kill_after, Step::AskAgain),
                    Step::AskAgain => (KILLING_TIME, Step::KillManager),
                    // What is forked meanwhile can be missed, so this is done again and again.
                    Step::KillManager => (KILLING_TIME, Step::KillAll(1)),
                    Step::KillAll(times) => (KILLING_TIME, Step::KillAll(times + 1)),
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
    let advice = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; only its user and root may",
        _ => "",
    };
    format!(
        "it cannot be stopped from here: {}{advice}",
        system_error(error)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::runner::RunnerLine;
    use crate::process::preemption::Guards;

    const GRACE: Duration = Duration::from_secs(10);

    fn runner(token: i64, pid: i32) -> Runner {
        Runner {
            token: Token::new(token).expect("positive"),
            guards: Guards::named(&RunnerLine {
                token: Token::new(token).expect("positive"),
                front: (pid, 1),
                manager: (pid, 1),
            }),
        }
    }

    fn preemption() -> Preemption {
        let lock = Path::new("/var/lib/it's.lock");
        Preemption::new(Token::new(34).expect("positive"), GRACE, lock)
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
            (start + GRACE + 2 * KILLING_TIME, Some(Step::KillAll(1))),
            (start + GRACE + 3 * KILLING_TIME, Some(Step::KillAll(2))),
        ];
        for (now, step) in steps {
            assert_eq!(preemption.next(now, older), step);
        }
        let another = runner(33, 8);
        assert_eq!(preemption.next(start, another), Some(Step::Ask));
    }

    #[test]
    fn its_own_and_newer_ones_are_let_alone_and_that_is_said() {
        let now = Instant::from_nanos(1);
        let lock = LockFile::from(&std::fs::metadata("/proc/self/exe").expect("there"));
        for token in [34, 35] {
            let mut preemption = preemption();
            preemption.go_on(now, Some((runner(token, 7), lock)));
            let why = preemption.obstacle().expect("one");
            assert!(why.contains("only older ones"), "{why}");
        }
    }

    #[test]
    fn one_who_does_not_say_who_he_is_is_told_of_after_a_while() {
        let mut preemption = preemption();
        let start = Instant::from_nanos(1);
        preemption.go_on(start, None);
        assert_eq!(preemption.obstacle(), None);
        preemption.go_on(start + SIGNING_TIME, None);
        let why = preemption.obstacle().expect("one");
        assert!(
            why.ends_with(r"(fuser -v '/var/lib/it'\''s.lock')"),
            "{why}"
        );
    }
}
