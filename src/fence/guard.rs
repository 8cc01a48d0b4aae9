//! What happens to a command that runs under a state file, and what to do about it. Pure, as the supervisor of
//! `run` is, but without a lease: nothing here ends by itself.

use std::time::Duration;

use crate::clock::Instant;
use crate::outcome::{Loss, Outcome};
use crate::process::preemption::Request;
use crate::supervisor::Event;

/// How soon processes that outlive the command, or a kill, are named, and how often they are named again.
const NAME_AFTER: Duration = Duration::from_secs(1);
const NAME_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// To the processes.
    Process(Event),
    /// A newer token wants to run: `--preempt`.
    Preempted(Request),
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Let the command begin.
    Start,
    /// Ask every process of the tree to end.
    Stop,
    /// Kill every process of the tree, and go on until nobody is left.
    Kill,
    /// Name the processes that are left, for the user.
    Name {
        /// Whether they were killed and are still there, or were left by the command.
        killed: bool,
    },
    /// Nobody is left: it is over.
    Finish(Outcome),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The front has been asked whether a command may be started.
    Preparing,
    /// The command runs, or is about to.
    Running,
    /// It ended by itself; processes that it left may live.
    Draining {
        outcome: Outcome,
        name_at: Instant,
    },
    /// Everything was asked to end.
    Stopping {
        outcome: Outcome,
        kill_at: Instant,
    },
    /// Everything is being killed.
    Killing {
        outcome: Outcome,
        name_at: Instant,
    },
    Done,
}

/// One run's state.
#[derive(Debug)]
pub struct Guard {
    program: String,
    kill_after: Duration,
    phase: Phase,
}

impl Guard {
    /// A run whose front has just been asked.
    pub const fn new(program: String, kill_after: Duration) -> Self {
        Self {
            program,
            kill_after,
            phase: Phase::Preparing,
        }
    }

    /// The next instant at which time alone changes something.
    pub const fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Preparing | Phase::Running | Phase::Done => None,
            Phase::Draining { name_at: at, .. }
            | Phase::Stopping { kill_at: at, .. }
            | Phase::Killing { name_at: at, .. } => Some(at),
        }
    }

    /// Takes in what happened.
    #[must_use]
    pub fn handle(&mut self, now: Instant, happening: Happening) -> Option<Deed> {
        match happening {
            Happening::Process(event) => self.on_process(now, event),
            Happening::Preempted(request) => self.on_preempted(now, request),
            Happening::Tick => self.on_tick(now),
        }
    }

    fn on_process(&mut self, now: Instant, event: Event) -> Option<Deed> {
        match (event, &self.phase) {
            (Event::FrontReady, Phase::Preparing) => {
                self.phase = Phase::Running;
                Some(Deed::Start)
            }
            (Event::NotStarted(errno), Phase::Running) => {
                self.finish(Outcome::not_started(&self.program, errno))
            }
            (Event::Ended(ended), Phase::Running) => {
                let name_at = now + NAME_AFTER;
                let outcome = Outcome::Command(ended);
                self.phase = Phase::Draining { outcome, name_at };
                None
            }
            (
                Event::Empty | Event::NotStarted(_),
                Phase::Draining { outcome, .. }
                | Phase::Stopping { outcome, .. }
                | Phase::Killing { outcome, .. },
            ) => {
                let outcome = outcome.clone();
                self.finish(outcome)
            }
            (Event::Signal(signal), Phase::Preparing) => self.finish(Outcome::Interrupted(signal)),
            (Event::Signal(_), Phase::Draining { outcome, .. }) => {
                let outcome = outcome.clone();
                self.stop(now, outcome)
            }
            // Asked a second time: no more grace.
            (Event::Signal(_), Phase::Stopping { outcome, .. }) => {
                let outcome = outcome.clone();
                self.kill(now, outcome)
            }
            (Event::FrontGone, Phase::Preparing) => self.finish(Outcome::FrontKilled),
            (Event::StubGone, Phase::Preparing) => self.finish(Outcome::HelperKilled("stub")),
            (Event::FrontGone, Phase::Done) => None,
            (Event::FrontGone, _) => self.kill(now, Outcome::FrontKilled),
            // Another fault would find the tree badly guarded, so it ends now.
            (Event::WitnessGone, Phase::Preparing) => self.finish(Outcome::HelperKilled("witness")),
            (Event::WitnessGone, Phase::Done | Phase::Killing { .. }) => None,
            (Event::WitnessGone, _) => self.kill(now, Outcome::Lost(Loss::WitnessDied)),
            // The process layer passes signals on, and no service is involved.
            _ => None,
        }
    }

    fn on_preempted(&mut self, now: Instant, request: Request) -> Option<Deed> {
        let outcome = match &self.phase {
            Phase::Preparing => return self.finish(Outcome::Preempted),
            Phase::Running => Outcome::Preempted,
            // The command itself came to its end before.
            Phase::Draining { outcome, .. } => outcome.clone(),
            // It has its time, whoever else asks for the same.
            Phase::Stopping { .. } if request == Request::Stop => return None,
            Phase::Stopping { outcome, .. } => outcome.clone(),
            Phase::Killing { .. } | Phase::Done => return None,
        };
        match request {
            Request::Stop => self.stop(now, outcome),
            Request::Kill => self.kill(now, outcome),
        }
    }

    fn on_tick(&mut self, now: Instant) -> Option<Deed> {
        match &mut self.phase {
            Phase::Draining { name_at, .. } if *name_at <= now => {
                *name_at = now + NAME_AGAIN_AFTER;
                Some(Deed::Name { killed: false })
            }
            Phase::Killing { name_at, .. } if *name_at <= now => {
                *name_at = now + NAME_AGAIN_AFTER;
                Some(Deed::Name { killed: true })
            }
            Phase::Stopping { kill_at, outcome } if *kill_at <= now => {
                let outcome = outcome.clone();
                self.kill(now, outcome)
            }
            _ => None,
        }
    }

    fn stop(&mut self, now: Instant, outcome: Outcome) -> Option<Deed> {
        let kill_at = now + self.kill_after;
        self.phase = Phase::Stopping { outcome, kill_at };
        Some(Deed::Stop)
    }

    fn kill(&mut self, now: Instant, outcome: Outcome) -> Option<Deed> {
        let name_at = now + NAME_AFTER;
        self.phase = Phase::Killing { outcome, name_at };
        Some(Deed::Kill)
    }

    fn finish(&mut self, outcome: Outcome) -> Option<Deed> {
        self.phase = Phase::Done;
        Some(Deed::Finish(outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Ended;

    const GRACE: Duration = Duration::from_secs(10);
    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn guard() -> Guard {
        Guard::new("deploy".to_owned(), GRACE)
    }

    fn process(guard: &mut Guard, event: Event) -> Option<Deed> {
        guard.handle(NOW, Happening::Process(event))
    }

    fn running() -> Guard {
        let mut guard = guard();
        assert_eq!(process(&mut guard, Event::FrontReady), Some(Deed::Start));
        assert_eq!(process(&mut guard, Event::Started), None);
        guard
    }

    fn over(guard: &mut Guard) -> Option<Outcome> {
        match process(guard, Event::Empty) {
            Some(Deed::Finish(outcome)) => Some(outcome),
            _ => None,
        }
    }

    #[test]
    fn a_command_runs_to_its_end_and_what_it_leaves_is_waited_for_and_named() {
        let mut guard = running();
        let ended = Ended::Exited(3);
        assert_eq!(process(&mut guard, Event::Ended(ended)), None);
        let named = guard.handle(NOW + NAME_AFTER, Happening::Tick);
        assert_eq!(named, Some(Deed::Name { killed: false }));
        assert_eq!(over(&mut guard), Some(Outcome::Command(ended)));
        assert_eq!(guard.next_deadline(), None);
    }

    #[test]
    fn a_newer_token_stops_it_with_term_then_kill() {
        let mut guard = running();
        let stopped = guard.handle(NOW, Happening::Preempted(Request::Stop));
        assert_eq!(stopped, Some(Deed::Stop));
        assert_eq!(guard.next_deadline(), Some(NOW + GRACE));
        assert_eq!(guard.handle(NOW, Happening::Tick), None);
        assert_eq!(guard.handle(NOW + GRACE, Happening::Tick), Some(Deed::Kill));
        process(&mut guard, Event::Ended(Ended::Signaled(9)));
        assert_eq!(over(&mut guard), Some(Outcome::Preempted));
    }

    #[test]
    fn a_second_one_who_asks_takes_no_grace_away_and_one_who_asks_for_the_kill_does() {
        let mut guard = running();
        let requests = [Request::Stop, Request::Stop, Request::Kill, Request::Kill];
        let later = NOW + Duration::from_secs(1);
        let deeds = requests.map(|request| guard.handle(later, Happening::Preempted(request)));
        assert_eq!(deeds, [Some(Deed::Stop), None, Some(Deed::Kill), None]);
        assert_eq!(over(&mut guard), Some(Outcome::Preempted));
        let killed = running().handle(NOW, Happening::Preempted(Request::Kill));
        assert_eq!(killed, Some(Deed::Kill), "the first request was lost");
    }

    #[test]
    fn one_that_had_ended_before_keeps_its_own_status() {
        let mut guard = running();
        process(&mut guard, Event::Ended(Ended::Exited(0)));
        let stopped = guard.handle(NOW, Happening::Preempted(Request::Stop));
        assert_eq!(stopped, Some(Deed::Stop));
        let ended = Outcome::Command(Ended::Exited(0));
        assert_eq!(over(&mut guard), Some(ended));
    }

    #[test]
    fn before_the_command_begins_everything_ends_the_run() {
        let cases = [
            (Happening::Preempted(Request::Stop), Outcome::Preempted),
            (
                Happening::Process(Event::Signal(15)),
                Outcome::Interrupted(15),
            ),
            (Happening::Process(Event::FrontGone), Outcome::FrontKilled),
            (
                Happening::Process(Event::WitnessGone),
                Outcome::HelperKilled("witness"),
            ),
        ];
        for (happening, outcome) in cases {
            assert_eq!(guard().handle(NOW, happening), Some(Deed::Finish(outcome)));
        }
    }

    #[test]
    fn what_cannot_be_executed_says_so() {
        for (errno, status) in [(libc::ENOENT, 127), (libc::EACCES, 126)] {
            let mut guard = guard();
            process(&mut guard, Event::FrontReady);
            match process(&mut guard, Event::NotStarted(errno)) {
                Some(Deed::Finish(outcome)) => assert_eq!(outcome.exit_status(), status),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_death_of_the_front_kills_and_survivors_are_named() {
        let mut guard = running();
        assert_eq!(process(&mut guard, Event::FrontGone), Some(Deed::Kill));
        let named = guard.handle(NOW + NAME_AFTER, Happening::Tick);
        assert_eq!(named, Some(Deed::Name { killed: true }));
        assert_eq!(over(&mut guard), Some(Outcome::FrontKilled));
    }

    #[test]
    fn the_death_of_the_witness_kills_as_well() {
        let died = Some(Outcome::Lost(Loss::WitnessDied));
        let mut guard = running();
        assert_eq!(process(&mut guard, Event::WitnessGone), Some(Deed::Kill));
        assert_eq!(process(&mut guard, Event::WitnessGone), None);
        assert_eq!(over(&mut guard), died);
        assert_eq!(process(&mut guard, Event::WitnessGone), None);
        let mut guard = running();
        process(&mut guard, Event::Ended(Ended::Exited(0)));
        assert_eq!(process(&mut guard, Event::WitnessGone), Some(Deed::Kill));
        assert_eq!(over(&mut guard), died);
    }

    #[test]
    fn signals_while_leftovers_live_stop_them_and_a_second_one_kills_them() {
        let mut guard = running();
        process(&mut guard, Event::Ended(Ended::Exited(0)));
        assert_eq!(process(&mut guard, Event::Signal(2)), Some(Deed::Stop));
        assert_eq!(process(&mut guard, Event::Signal(2)), Some(Deed::Kill));
        let ended = Outcome::Command(Ended::Exited(0));
        assert_eq!(over(&mut guard), Some(ended));
    }
}
