//! `fence run`: a command on this machine, unless a newer token has been seen here.
//!
//! The order is what counts: the right to run first (nobody else runs), then the comparison, then the durable
//! note of the token, then the command. The processes around the command are those of `run`, without a lease:
//! the tree is dead when they say so, or the kernel lock is still held.

use std::ffi::OsString;
use std::time::Duration;

use nix::poll::{PollTimeout, poll};

use crate::cli::fence::FencedRunArgs;
use crate::clock::{self, Instant, Timer};
use crate::config::Inherited;
use crate::environment::{SEQUENCER, TOKEN};
use crate::fence::claim;
use crate::fence::guard::{Deed, Guard, Happening};
use crate::fence::preempt::Preemption;
use crate::fence::state_file::{RunLock, Runner, StateFile};
use crate::lock::ratchet::{Seen, Step};
use crate::lock::token::ClusterId;
use crate::outcome::{BUSY_STATUS, Ending, Loss, Outcome};
use crate::process::preemption::Guards;
use crate::process::{self, Invocation, Manager, ManagerDeath};
use crate::ui::{self, sentence};

/// How often it is looked whether the other COMMAND has ended: flock(2) has no time limit, and a signal handler
/// that would cut it short is worse than a glance that costs a few microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Everything that is needed to run.
struct Job {
    file: StateFile,
    seen: Seen,
    argv: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    kill_after: Duration,
    /// Until when the right to run is waited for; none is for ever.
    give_up_at: Option<Instant>,
    preempt: bool,
    quiet: bool,
}

/// Runs the subcommand. Returns in the front process and in the manager.
pub fn run(args: FencedRunArgs, inherited: &Inherited) -> Ending {
    let state = args.state.display().to_string();
    let quiet = args.quiet;
    let admitted = Job::resolve(args, inherited).and_then(|job| Ok((job.admitted()?, job)));
    match admitted {
        Ok((right, job)) => job.guarded(&right),
        Err(outcome) => {
            if !(quiet && outcome.is_skip()) {
                say(&state, &outcome);
            }
            outcome.ending()
        }
    }
}

fn say(state: &str, outcome: &Outcome) {
    if let Some(text) = outcome.sentence(&state) {
        ui::complain(&text);
    }
}

impl Job {
    fn resolve(args: FencedRunArgs, inherited: &Inherited) -> Result<Self, Outcome> {
        let (seen, sequencer) = claim::ratchet(args.token.as_deref(), inherited)?;
        let sequencer = sequencer.map_or_else(String::new, |sequencer| sequencer.to_string());
        let argv = match args.shell {
            Some(string) => vec!["/bin/sh".into(), "-c".into(), string],
            None => args.words,
        };
        if argv.first().is_none_or(|program| program.is_empty()) {
            return Err(Outcome::Usage("COMMAND is empty".to_owned()));
        }
        let nonblock = args.nonblock.then_some(Duration::ZERO);
        Ok(Self {
            file: StateFile::at(&args.state).map_err(Outcome::Configuration)?,
            seen,
            argv,
            environment: vec![
                (TOKEN.into(), seen.token.to_string().into()),
                // Empty is unset: the one of an enclosing run may belong to another token.
                (SEQUENCER.into(), sequencer.into()),
            ],
            kill_after: args.kill_after,
            give_up_at: args.wait.or(nonblock).map(|wait| clock::now() + wait),
            preempt: args.preempt,
            quiet: args.quiet,
        })
    }

    /// Waits for the right to run, and notes the token.
    fn admitted(&self) -> Result<RunLock, Outcome> {
        let lock_path = self.file.lock_path();
        let mut preemption = Preemption::new(self.seen.token, self.kill_after, &lock_path);
        let (mut told, mut told_obstacle) = (None, None);
        loop {
            // A stale one need not wait to be told so.
            self.compare()?;
            if let Some(right) = self.file.try_lock().map_err(Outcome::Configuration)? {
                self.note(&right)?;
                return Ok(right);
            }
            let now = clock::now();
            let named = self.file.runner();
            let named = named.filter(|(runner, _)| runner.guards.are_there());
            let runner = named.map(|(runner, _)| runner);
            if let Some(runner) = runner
                && runner.guards.are_around_us()
            {
                return Err(Outcome::Usage(nested(&self.file.shown(), runner)));
            }
            if self.give_up_at.is_some_and(|at| at <= now) {
                return Err(busy(runner, preemption.obstacle()));
            }
            if self.preempt {
                preemption.go_on(now, named);
            }
            let obstacle = preemption.obstacle().map(str::to_owned);
            if told != Some(runner) && !self.quiet {
                let stops = self.preempt && runner.is_some_and(|one| preemption.is_older(one));
                ui::complain(&waiting(&self.file.shown(), runner, stops));
            }
            if let Some(why) = &obstacle
                && told_obstacle != obstacle
                && !self.quiet
            {
                ui::complain(&format!("{}: {why}; waiting for it", self.file.shown()));
            }
            (told, told_obstacle) = (Some(runner), obstacle);
            pause(LOOK_EVERY);
        }
    }

    /// Notes the token, now that nobody else can.
    fn note(&self, right: &RunLock) -> Result<(), Outcome> {
        self.compare()?;
        self.file
            .raise(right, self.seen)
            .map_err(Outcome::Configuration)
    }

    /// Whether what FILE has seen lets us run.
    fn compare(&self) -> Result<(), Outcome> {
        let state = self.file.read().map_err(Outcome::Configuration)?;
        let (token, file) = (self.seen.token, self.file.shown());
        match Seen::step(state, self.seen) {
            Step::Same | Step::Raise => Ok(()),
            Step::Stale(newer) => Err(Outcome::Stale(format!(
                "{file}: token {token} is stale: token {newer} has been seen; the command was not run"
            ))),
            Step::OtherCluster(other) => Err(Outcome::Usage(self.other_cluster(other))),
        }
    }

    fn other_cluster(&self, its: Option<ClusterId>) -> String {
        let of = |cluster: Option<ClusterId>| {
            cluster.map_or_else(
                || "of a cluster that nobody named".to_owned(),
                |cluster| format!("of cluster {cluster}"),
            )
        };
        let (ours, file) = (self.seen.cluster, self.file.shown());
        let hint = match (ours, its) {
            (None, Some(_)) => " Give the whole sequencer: --token \"$LEASEHOLD_SEQUENCER\".",
            _ => "",
        };
        format!(
            "{file} remembers a token {}, and this one is {}: they cannot be compared; the command was not run.{hint} If the locks have moved to another cluster, see to it that no holder of the old one is left, then reset it: {}",
            of(its),
            of(ours),
            self.file.reset()
        )
    }

    /// Runs the command, with everything of `run` around it but a lease.
    fn guarded(&self, right: &RunLock) -> Ending {
        let invocation = Invocation {
            argv: self.argv.clone(),
            kill_signal: libc::SIGTERM,
            pledge: None,
        };
        // This process becomes the front.
        let front = std::process::id() as i32;
        let manage = |manager: Manager| self.manage(right, front, manager);
        let manager_died = |death: ManagerDeath| self.manager_died(right, &death);
        let supervised = right
            .share_with_command()
            .and_then(|()| process::supervise(invocation, manage, manager_died));
        supervised.unwrap_or_else(|error| {
            let why = format!("the processes around the command cannot be made: {error}");
            let outcome = Outcome::Unavailable(why);
            say(&self.file.shown(), &outcome);
            outcome.ending()
        })
    }

    /// The manager process's whole life.
    fn manage(&self, right: &RunLock, front: i32, manager: Manager) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .expect("a manager without an event loop is as good as dead; its front takes over");
        runtime.block_on(async {
            if let Some(guards) = Guards::own(front) {
                let token = self.seen.token;
                right.sign(Runner { token, guards });
            }
            self.until_finished(right, manager).await;
        });
    }

    async fn until_finished(&self, right: &RunLock, mut manager: Manager) {
        let requests = manager
            .requests()
            .expect("a manager that cannot be asked must not run anything");
        let mut timer = Timer::new().expect("a manager without a timer could not kill in time");
        let program = self.argv[0].to_string_lossy().into_owned();
        let mut guard = Guard::new(program, self.kill_after);
        manager.prepare();
        loop {
            let deadline = guard.next_deadline();
            let happening = tokio::select! {
                biased;
                event = manager.next() => Happening::Process(event),
                request = requests.next() => Happening::Preempted(request),
                () = timer.reached(deadline) => Happening::Tick,
            };
            match guard.handle(clock::now(), happening) {
                None => {}
                Some(Deed::Start) => manager.start(&self.environment, None),
                Some(Deed::Stop) => manager.stop(),
                Some(Deed::Kill) => manager.kill(),
                Some(Deed::Name { killed }) => self.name_leftovers(&manager, killed),
                Some(Deed::Finish(outcome)) => {
                    say(&self.file.shown(), &outcome);
                    // Whoever is told of the end finds the lock free.
                    right.release();
                    manager.finish(outcome.ending());
                    return;
                }
            }
        }
    }

    fn name_leftovers(&self, manager: &Manager, killed: bool) {
        let leftovers = manager.leftovers();
        if leftovers.is_empty() || self.quiet {
            return;
        }
        let (file, names) = (self.file.shown(), sentence::leftovers(&leftovers));
        ui::complain(&if killed {
            format!(
                "{file}: these cannot be killed, so nobody else may run: {names}; end them by hand"
            )
        } else {
            format!("{file}: the command has ended, but these it started run on: {names}")
        });
    }

    /// The front's account of a run whose manager died; the tree is dead.
    fn manager_died(&self, right: &RunLock, death: &ManagerDeath) -> Ending {
        let file = self.file.shown();
        let outcome = if death.started {
            Outcome::Lost(Loss::ManagerDied)
        } else {
            Outcome::HelperKilled("manager")
        };
        if death.survivors.is_empty() {
            right.release();
        } else {
            let names = sentence::leftovers(&death.survivors);
            ui::complain(&format!(
                "{file}: these cannot be killed and run on: {names}; end them by hand"
            ));
        }
        say(&file, &outcome);
        outcome.ending()
    }
}

fn nested(file: &str, runner: Runner) -> String {
    format!(
        "{file}: this runs under {file} already, with token {} (pid {}), and would wait for itself for ever; the command was not run. Leave out the inner fence run",
        runner.token,
        runner.guards.front_pid()
    )
}

fn waiting(file: &str, runner: Option<Runner>, stops: bool) -> String {
    let what = if stops { "stopping" } else { "waiting for" };
    match runner {
        Some(runner) => format!(
            "{file}: {what} the command that runs with token {} (pid {})",
            runner.token,
            runner.guards.front_pid()
        ),
        None => format!("{file}: waiting for another command that runs under it"),
    }
}

fn busy(runner: Option<Runner>, obstacle: Option<&str>) -> Outcome {
    let obstacle = obstacle.map_or_else(String::new, |why| format!("; {why}"));
    Outcome::Busy {
        holder: runner.map(|runner| {
            let (token, pid) = (runner.token, runner.guards.front_pid());
            format!("the command that runs with token {token} (pid {pid}){obstacle}")
        }),
        status: BUSY_STATUS,
    }
}

fn pause(time: Duration) {
    let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
    // Cut short by a signal, it is looked at a little earlier.
    let _ = poll(&mut [], time);
}
