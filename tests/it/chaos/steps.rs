//! leasehold dies, or is not answered, at any step of the way to the lock and back.
//!
//! A step is what a client says to etcd at once. The proxy stops the line at the n-th one, before it arrives or before
//! its reply does; what etcd knew at that moment is read from the store, so every line says which steps were tried.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{ended_decently, seconds};
use crate::harness::anatomy::Own;
use crate::harness::etcd::{Etcd, free_port};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Run, Running};
use crate::harness::processes::Moment;
use crate::harness::proxy::{Lost, Proxy};
use crate::harness::store::Store;
use crate::harness::together::in_threads;

const TTL_S: u32 = 3;
const LOCK_DELAY_S: u32 = 1;

/// TTL, lock delay, how long etcd takes to notice (half a second), and a busy machine.
const HANDED_OVER: Duration = Duration::from_secs((TTL_S + LOCK_DELAY_S) as u64 + 3);

/// A run takes about a dozen steps; how TCP cuts them differs from run to run.
const STEPS_MAX: usize = 24;

/// How TCP cuts the steps is chance, on a busy machine more so: as many rounds as it takes to have tried them all.
const ROUNDS_MAX: usize = 5;

/// What the store knows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// Nothing yet.
    Before,
    /// A lease and no entry.
    Granted,
    /// It stands in the queue.
    Entered,
    /// The entry is gone, and the lease not yet.
    Released,
    /// Nothing any more.
    Over,
}

impl Known {
    fn name(self) -> &'static str {
        match self {
            Self::Before => "before the grant",
            Self::Granted => "granted",
            Self::Entered => "entered",
            Self::Released => "released",
            Self::Over => "revoked",
        }
    }

    fn of(store: &Store, name: &str) -> Self {
        let entries = store.entries(name);
        let was_there = !store.history(&format!("/leasehold/{name}/")).is_empty();
        let has_lease = !store.leases().is_empty();
        match (entries.is_empty(), was_there, has_lease) {
            (false, _, _) => Self::Entered,
            (true, false, false) => Self::Before,
            (true, false, true) => Self::Granted,
            (true, true, true) => Self::Released,
            (true, true, false) => Self::Over,
        }
    }
}

/// How often the line was stopped when the store knew what.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<Known, usize>>);

impl Tally {
    fn count(&self, known: Known) {
        *self.0.lock().expect("no panic").entry(known).or_default() += 1;
    }

    fn of(&self, known: Known) -> usize {
        let tally = self.0.lock().expect("no panic");
        tally.get(&known).copied().unwrap_or(0)
    }

    fn total(&self) -> usize {
        self.0.lock().expect("no panic").values().sum()
    }

    fn has(&self, all: &[Known]) -> bool {
        all.iter().all(|known| self.of(*known) > 0)
    }

    fn text(&self) -> String {
        let tally = self.0.lock().expect("no panic");
        let parts = tally
            .iter()
            .map(|(known, count)| format!("{count} {}", known.name()));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// An etcd of its own for each step, so that the leases in it are this run's.
struct Trial {
    etcd: Etcd,
    proxy: Proxy,
}

impl Trial {
    fn start() -> Self {
        let etcd = Etcd::start();
        let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
        Self { etcd, proxy }
    }

    fn run(&self) -> Run {
        Run::new(&self.proxy.endpoint())
            .lock("job")
            .ttl(TTL_S)
            .arguments(["--lock-delay", &LOCK_DELAY_S.to_string(), "-k", "0.3"])
            .arguments(["--connect-timeout", "5"])
    }

    /// Waits until the line is stopped; not where the run is over before.
    fn wait_until_stopped(&self, running: &Running) -> bool {
        loop {
            if self.proxy.wait_until_stopped(Duration::from_millis(50)) {
                return true;
            }
            if running.process.is_dead() {
                // Its farewell goes on after its end.
                return self.proxy.wait_until_stopped(Duration::from_millis(300));
            }
        }
    }
}

/// Who of a run gets SIGKILL.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// Everybody at once: as if the power failed.
    Everybody,
    Manager,
    Front,
}

/// What becomes of what was not delivered when the run died.
#[derive(Clone, Copy, Debug)]
enum Undelivered {
    Gone,
    /// It arrives after its sender's death.
    Late,
}

/// Who dies, in which trouble.
type Variant = (Victim, Lost, Undelivered);

const VARIANTS: [Variant; 5] = [
    (Victim::Everybody, Lost::Request, Undelivered::Gone),
    (Victim::Everybody, Lost::Request, Undelivered::Late),
    (Victim::Everybody, Lost::Reply, Undelivered::Gone),
    (Victim::Manager, Lost::Reply, Undelivered::Late),
    (Victim::Front, Lost::Request, Undelivered::Late),
];

/// What the store knew when the run was killed at this step, and how long it took the next one to have the lock;
/// nothing where a run takes fewer steps.
fn kill_at(step: usize, (victim, lost, undelivered): Variant) -> Option<(Known, Duration)> {
    let trial = Trial::start();
    let store = trial.etcd.store();
    trial.proxy.stop_at(step, lost);
    let running = trial.run().probe(["now"]).spawn();
    if !trial.wait_until_stopped(&running) {
        running.wait().assert_status(0);
        return None;
    }
    // Where it is over, only its farewell was left.
    let victims = victims(victim, &running)?;
    let known = Known::of(&store, "job");
    let cookie = running.cookie().to_owned();
    let killed_at = Moment::now();
    let ending = match victim {
        Victim::Everybody => {
            running.vanish();
            None
        }
        Victim::Manager | Victim::Front => {
            for victim in victims {
                victim.signal(Signal::SIGKILL);
            }
            Some(running)
        }
    };
    match undelivered {
        Undelivered::Gone => trial.proxy.cut(),
        Undelivered::Late => trial.proxy.mend(),
    }
    if let Some(running) = ending {
        let output = running.wait_within(HANDED_OVER);
        output.assert_nobody_left();
        assert!(!output.stderr.contains("panicked"), "{}", output.describe());
    }
    let next = trial.etcd.run("job").probe(["census", &cookie]).output();
    next.assert_status(0).assert_stdout("0 alive\n");
    ended_decently([&next]);
    let took = next.ended_at.since(killed_at);
    assert!(
        took < HANDED_OVER,
        "{victim:?}, {lost:?}, {undelivered:?}, step {step}: {took:?}\n{}",
        next.describe()
    );
    store.assert_clean();
    Some((known, took))
}

#[test]
fn killed_at_every_step() {
    let mut fault =
        Fault::of("leasehold killed at every step of the acquisition and of the release");
    let tally = Tally::default();
    let longest = Mutex::new(Duration::ZERO);
    let wanted = [Known::Before, Known::Entered, Known::Released];
    let trial = |(variant, step)| {
        if let Some((known, took)) = kill_at(step, variant) {
            tally.count(known);
            let mut longest = longest.lock().expect("no panic");
            *longest = took.max(*longest);
        }
    };
    for _ in 0..ROUNDS_MAX {
        let trials = VARIANTS
            .into_iter()
            .flat_map(|variant| (1..=STEPS_MAX).map(move |step| (variant, step)));
        in_threads(4, trials, trial);
        if tally.has(&wanted) {
            break;
        }
    }
    assert!(tally.has(&wanted), "{}", tally.text());
    fault.injected(format!(
        "SIGKILL to everybody, the manager or the front at {} steps ({})",
        tally.total(),
        tally.text()
    ));
    fault.seen(format!(
        "each time the next contender had the lock, found nobody, and nothing was left: after {} at most with TTL \
         {TTL_S} s and lock delay {LOCK_DELAY_S} s",
        seconds(*longest.lock().expect("no panic"))
    ));
}

fn victims(victim: Victim, running: &Running) -> Option<Vec<crate::harness::processes::Process>> {
    let processes = running.processes();
    match victim {
        Victim::Everybody => Some(processes).filter(|all| !all.is_empty()),
        Victim::Manager | Victim::Front => {
            let names: Vec<String> = processes
                .iter()
                .map(|process| crate::harness::anatomy::name(process.pid))
                .collect();
            let complete = ["leasehold", "lock-witness", "lock-manager"]
                .iter()
                .all(|name| names.iter().any(|found| found == name));
            complete.then(|| {
                let own = Own::among(processes);
                match victim {
                    Victim::Front => vec![own.front],
                    _ => vec![own.manager],
                }
            })
        }
    }
}

#[test]
fn a_reply_is_lost_at_every_step() {
    let mut to_grant = Fault::of("reply to the grant lost");
    let mut to_entry = Fault::of("reply to the transaction of the entry lost");
    let mut to_release = Fault::of("reply to the release and to the revocation lost");
    let tally = Tally::default();
    let longest = Mutex::new(Duration::ZERO);
    let wanted = [Known::Granted, Known::Entered, Known::Released, Known::Over];
    let trial = |step: usize| {
        let trial = Trial::start();
        let store = trial.etcd.store();
        trial.proxy.stop_at(step, Lost::Reply);
        let running = trial.run().shell("echo ran").spawn();
        if trial.wait_until_stopped(&running) {
            // Long enough for etcd to do what it was asked for; then the connection breaks, and a new one works.
            crate::harness::eventually::let_time_pass_until(
                Moment::now() + Duration::from_millis(100),
            );
            tally.count(Known::of(&store, "job"));
            trial.proxy.cut();
            trial.proxy.mend();
        }
        let output = running.wait_within(HANDED_OVER);
        output.assert_status(0).assert_stdout("ran\n");
        ended_decently([&output]);
        // One place in the queue, whatever was sent again.
        let entries = store.history("/leasehold/job/");
        assert_eq!(entries.len(), 1, "step {step}: {entries:?}");
        store.assert_clean();
        let mut longest = longest.lock().expect("no panic");
        *longest = output.duration().max(*longest);
    };
    for _ in 0..ROUNDS_MAX {
        in_threads(4, 1..=STEPS_MAX, trial);
        if tally.has(&wanted) {
            break;
        }
    }
    assert!(tally.has(&wanted), "{}", tally.text());
    let longest = seconds(*longest.lock().expect("no panic"));
    for (fault, states) in [
        (&mut to_grant, vec![Known::Granted]),
        (&mut to_entry, vec![Known::Entered]),
        (&mut to_release, vec![Known::Released, Known::Over]),
    ] {
        let count: usize = states.iter().map(|known| tally.of(*known)).sum();
        fault.injected(format!(
            "the line died with the reply on its way when the store said so, {count} times ({})",
            tally.text()
        ));
        fault.seen(format!(
            "each run ran once, with one entry, and left nothing; {longest} at most"
        ));
    }
}
