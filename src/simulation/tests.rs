//! Trials: many histories, each of which has to keep every promise.

use std::time::{Duration, Instant};

use super::kernel::{self, Clock, Kernel};
use super::matrix;
use super::scenario::Scenario;
use super::shrink::shrink;
use super::sights::{Sight, Sights};
use super::world::{Options, Report, run};

/// Histories of every run of the tests, the same each time.
const FIXED: u64 = 300;

/// Histories of every run of the tests that nobody has seen before.
const FRESH: u64 = 100;

/// Seen, and not asked for: what is beyond a promise.
const EXCUSED: [Sight; 8] = [
    Sight::CameBackLate,
    Sight::CameBackByOthers,
    // See `policies`.
    Sight::AlreadyDone,
    Sight::Superseded,
    Sight::NotRecorded,
    Sight::KeptOn,
    Sight::Recorded,
    Sight::LossRecorded,
];

/// What a trial came to.
#[derive(Default)]
struct Trial {
    histories: u64,
    steps: u64,
    lasted: Duration,
    commands: usize,
    lost: usize,
    /// In how many histories each of them happened.
    sights: Sights,
}

impl Trial {
    /// Histories of these seeds.
    fn of(seeds: impl Iterator<Item = u64>) -> Self {
        let mut trial = Self::default();
        for seed in seeds {
            let scenario = Scenario::draw(seed);
            let report = run(&scenario, Options::default());
            assert_kept(&scenario, Options::default(), &report);
            trial.histories += 1;
            trial.steps += report.steps;
            trial.lasted += report.lasted;
            trial.commands += report.commands;
            trial.lost += report.lost;
            trial.sights += &report.sights.whether();
        }
        trial
    }

    fn and(mut self, other: Self) -> Self {
        self.sights += &other.sights;
        Self {
            histories: self.histories + other.histories,
            steps: self.steps + other.steps,
            lasted: self.lasted + other.lasted,
            commands: self.commands + other.commands,
            lost: self.lost + other.lost,
            sights: self.sights,
        }
    }
}

/// Fails with a history that a person can read, and with how to see it again.
pub(super) fn assert_kept(scenario: &Scenario, options: Options, report: &Report) {
    let Some(violation) = &report.violation else {
        return;
    };
    let small = shrink(scenario, options, violation.kind);
    let told = Options {
        traced: true,
        ..options
    };
    let small_report = run(&small, told);
    for line in &small_report.trace {
        println!("{line}");
    }
    println!("{small:#?}");
    panic!(
        "{:?}: the promise of {:?} is broken: {}\n\
         above: a smaller history with the same violation; the same again: make simulate SEED={} RUNS=1",
        violation.at, violation.kind, violation.text, scenario.seed
    );
}

pub(super) fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().expect("a number"))
}

#[test]
fn known_histories_keep_every_promise() {
    let trial = Trial::of(0..FIXED);
    assert!(trial.commands > 0 && trial.lost > 0, "nothing was tried");
    let missing: Vec<Sight> = Sight::ALL
        .iter()
        .map(|(sight, _)| *sight)
        .filter(|sight| !EXCUSED.contains(sight) && trial.sights.times(*sight) == 0)
        .collect();
    assert!(
        missing.is_empty(),
        "the known histories never met {missing:?}"
    );
}

/// With `make simulate SEED=… RUNS=… THREADS=…`: those.
#[test]
fn fresh_histories_keep_every_promise() {
    let bits = getrandom::u64().expect("the system has random numbers");
    // Short enough to be typed.
    let seed = variable("SEED").unwrap_or(bits >> 24);
    let runs = variable("RUNS").unwrap_or(FRESH);
    let threads = variable("THREADS").unwrap_or(1).max(1);
    println!("make simulate SEED={seed} RUNS={runs}");
    #[expect(clippy::disallowed_methods, reason = "a figure for people")]
    let began = Instant::now();
    let trials: Vec<_> = (0..threads)
        .map(|thread| {
            let seeds = (seed..seed + runs).skip(thread as usize);
            let seeds = seeds.step_by(threads as usize);
            std::thread::spawn(move || Trial::of(seeds))
        })
        .collect();
    let trial = trials.into_iter().fold(Trial::default(), |sum, trial| {
        let trial = trial.join();
        sum.and(trial.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} histories in {took:.1} s ({:.0} a second): {} steps, {} commands, {} of them lost, {:.0} hours of simulated time",
        trial.histories,
        trial.histories as f64 / took,
        trial.steps,
        trial.commands,
        trial.lost,
        trial.lasted.as_secs_f64() / 3600.0
    );
    println!("so many of them in which");
    for (sight, text) in Sight::ALL {
        println!("{:>9}  {}", trial.sights.times(*sight), text.trim());
    }
}

#[test]
fn a_failing_seed_replays_to_the_same_trace_and_shrinks() {
    let (mutant, seed) = matrix::known();
    let options = Options {
        mutant: Some(mutant),
        traced: true,
        ..Options::default()
    };
    let scenario = Scenario::draw(seed);
    let [once, twice] = [(); 2].map(|()| run(&scenario, options));
    assert_same(&once, &twice, seed);
    assert!(once.trace.len() > 10, "{:?}", once.trace);
    assert_eq!(once.violation, twice.violation);
    let kind = once.violation.as_ref().expect("found").kind;
    let shrunk_from = once;
    let small = shrink(&scenario, options, kind);
    let size = |scenario: &Scenario| scenario.hosts.len() + scenario.faults.len();
    assert!(size(&small) < size(&scenario), "{small:?}");
    let report = run(&small, options);
    let told = |report: &Report| report.trace.len();
    assert!(told(&report) < told(&shrunk_from), "a shorter history");
    assert_eq!(report.violation.map(|violation| violation.kind), Some(kind));
}

/// Names only the first line that differs.
fn assert_same(once: &Report, twice: &Report, seed: u64) {
    let lines = once.trace.iter().zip(&twice.trace);
    for (number, (one, other)) in lines.enumerate() {
        assert_eq!(one, other, "seed {seed}, line {number}");
    }
    assert_eq!(once.trace.len(), twice.trace.len(), "seed {seed}");
}

#[test]
fn a_history_without_a_violation_is_the_same_twice() {
    let options = Options {
        traced: true,
        ..Options::default()
    };
    for seed in 0..variable("SAME").unwrap_or(40) {
        let [once, twice] = [(); 2].map(|()| run(&Scenario::draw(seed), options));
        assert_same(&once, &twice, seed);
    }
}

#[test]
#[should_panic = "host 0 goes round in circles: make simulate SEED=7 RUNS=1"]
fn who_looks_at_the_clock_for_ever_is_named() {
    Kernel::install(7, vec![Clock::default()]);
    while kernel::now().is_some() {}
}
