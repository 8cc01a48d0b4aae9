//! Trials: many histories, each of which has to keep every promise; and the trial of the simulator itself, which
//! has to find every mutant.

use std::time::{Duration, Instant};

use super::checker::{Kind, Violation};
use super::mutants::Mutant;
use super::scenario::{Fault, FaultKind, HostPlan, Network, Scenario, Weather};
use super::shrink::shrink;
use super::sights::{Sight, Sights};
use super::world::{Options, Report, run};

/// Histories of every run of the tests, the same each time.
const FIXED: u64 = 150;

/// Histories of every run of the tests that nobody has seen before.
const FRESH: u64 = 60;

/// Seen, and not asked for: what is beyond a promise.
const EXCUSED: [Sight; 2] = [Sight::CameBackLate, Sight::CameBackByOthers];

/// How far a mutant is looked for.
const MUTANT_HISTORIES_MAX: u64 = 3_000;

/// For every check a mutant, and a history in which this check alone finds it.
const FOUND_BY: &[(Kind, Mutant, u64)] = &[
    (Kind::TwoCommands, Mutant::PredecessorOnly, 147),
    (Kind::AliveAfterExpiry, Mutant::NoClockMargin, 4),
    (Kind::ReleasedTooEarly, Mutant::ReleaseAtEnd, 4),
    (Kind::TokenDoesNotGrow, Mutant::OldToken, 55),
    (Kind::FencedWrite, Mutant::UnfencedWrite, 1),
    (Kind::WrongOutcome, Mutant::LateEndIsSuccess, 2),
    (Kind::NeverEnded, Mutant::GuardGoneIgnored, 52),
    (Kind::LeftBehind, Mutant::MarkerKept, 0),
    (Kind::CameBack, Mutant::SignForgotten, 144),
    (Kind::LostForNothing, Mutant::NoRenewal, 3),
    (Kind::EnqueuedToWait, Mutant::NonblockUnguarded, 1),
    (Kind::ForeignRemoved, Mutant::ReleaseUnguarded, 131),
    (Kind::KilledWithoutGrace, Mutant::NoGrace, 1),
    (Kind::GuardHadToAct, Mutant::PublishedOnce, 3),
    (Kind::StartedUnguarded, Mutant::StartUnguarded, 0),
    (Kind::OutlivesGuard, Mutant::GuardGoneIgnored, 0),
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

/// The first history from `seeds` in which it is found, by this check alone or by any.
fn found(
    mutant: Mutant,
    only: Option<Kind>,
    seeds: impl Iterator<Item = u64>,
) -> Option<(u64, Violation)> {
    let options = Options {
        mutant: Some(mutant),
        only,
        ..Options::default()
    };
    seeds
        .map(|seed| (seed, run(&Scenario::draw(seed), options).violation))
        .find_map(|(seed, violation)| Some((seed, violation?)))
}

/// With `make mutants`: from the first seed on, to say after how many histories.
#[test]
fn every_mutant_is_found() {
    let count = variable("COUNT").is_some();
    for (mutant, seed) in Mutant::ALL {
        let known = found(*mutant, None, *seed..=*seed).filter(|_| !count);
        let (seed_found, violation) = known
            .or_else(|| found(*mutant, None, 0..MUTANT_HISTORIES_MAX))
            .unwrap_or_else(|| panic!("{mutant:?} survives {MUTANT_HISTORIES_MAX} histories"));
        let kind = violation.kind;
        if count {
            println!("| `{mutant:?}` | {} | `{kind:?}` |", seed_found + 1);
        } else {
            assert!(
                seed_found == *seed,
                "{mutant:?} is found by seed {seed_found} now, and not by {seed}: say so in Mutant::ALL"
            );
        }
    }
}

/// A check that finds no mutant when all others are switched off may be one that cannot fail.
///
/// With `make mutants`: which of the mutants each of them finds, in how many histories.
#[test]
fn every_check_finds_a_mutant_by_itself() {
    if variable("COUNT").is_some() {
        return print_finders();
    }
    let kinds: Vec<Kind> = FOUND_BY.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, Kind::ALL, "one line for each check");
    for (kind, mutant, seed) in FOUND_BY {
        let violation = found(*mutant, Some(*kind), *seed..=*seed);
        assert!(
            violation.is_some(),
            "{kind:?} does not find {mutant:?} by seed {seed} any more: `make mutants` finds others"
        );
    }
}

fn print_finders() {
    for kind in Kind::ALL {
        let first = |histories: u64| {
            Mutant::ALL.iter().find_map(|(mutant, _)| {
                let (seed, _) = found(*mutant, Some(*kind), 0..histories)?;
                Some((*mutant, seed))
            })
        };
        match first(20).or_else(|| first(200)).or_else(|| first(1_000)) {
            Some((mutant, seed)) => println!("    (Kind::{kind:?}, Mutant::{mutant:?}, {seed}),"),
            None => println!("    {kind:?} finds nothing"),
        }
    }
}

#[test]
fn a_failing_seed_replays_to_the_same_trace_and_shrinks() {
    let (mutant, seed) = Mutant::ALL[0];
    let options = Options {
        mutant: Some(mutant),
        traced: true,
        ..Options::default()
    };
    let (seed, _) = found(
        mutant,
        None,
        std::iter::once(seed).chain(0..MUTANT_HISTORIES_MAX),
    )
    .expect("every mutant is found");
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
    for seed in 0..variable("SAME").unwrap_or(10) {
        let [once, twice] = [(); 2].map(|()| run(&Scenario::draw(seed), options));
        assert_same(&once, &twice, seed);
    }
}

/// Two contenders and a healthy cluster.
fn quiet(faults: Vec<Fault>) -> Scenario {
    let mut holder = HostPlan::last();
    holder.command.runs_for = Duration::from_secs(30);
    let waiter = HostPlan {
        arrives_at: Duration::from_secs(1),
        ..HostPlan::last()
    };
    Scenario {
        seed: 1,
        weather: Weather::Betrayed,
        members: vec![0],
        commit_max: Duration::from_millis(5),
        lag_max: Duration::from_millis(1),
        revokes_early: false,
        grants_percent: 100,
        network: Network {
            delay_max: Duration::from_millis(5),
            late_percent: 0,
            lost_percent: 0,
            copied_percent: 0,
        },
        hosts: vec![holder, waiter],
        faults,
    }
}

/// Found by the simulator: a member that did not know yet that it leads no more also did not know the lease, and
/// its word ended the run.
#[test]
fn a_run_that_queues_during_an_election_gets_its_place() {
    for seed in 0..150 {
        let mut scenario = quiet(vec![Fault {
            at: Duration::from_secs(5),
            lasts: Duration::from_millis(1_000 + seed * 37 % 1_100),
            kind: FaultKind::PauseMember(0),
        }]);
        scenario.seed = seed;
        scenario.members = vec![0; 3];
        scenario.network.delay_max = Duration::from_millis(1);
        scenario.commit_max = Duration::from_millis(1);
        scenario.hosts.truncate(1);
        scenario.hosts[0].arrives_at = Duration::from_millis(5_050);
        scenario.hosts[0].command.runs_for = Duration::from_millis(1);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}

/// Found by the simulator: a grant that was sent again after the lease had run out made a new lease of the same
/// name, and the place of the old one was taken for a place on the new one.
#[test]
fn a_place_on_a_lease_that_ran_out_is_not_believed_on_the_next() {
    for seed in 0..100 {
        let mut scenario = quiet(vec![Fault {
            at: Duration::from_millis(1_500),
            lasts: Duration::from_secs(8),
            kind: FaultKind::FreezeManager(0),
        }]);
        scenario.seed = seed;
        scenario.weather = Weather::Stormy;
        scenario.network.late_percent = 25;
        scenario.network.lost_percent = 10;
        for host in &mut scenario.hosts {
            host.ttl = Duration::from_secs(5);
            host.command.runs_for = Duration::from_millis(10);
        }
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}

/// Found by the simulator: the place that was being given up was forgotten when the run was stopped meanwhile,
/// and its marker made the next contender wait out a lock delay.
#[test]
fn a_run_that_is_stopped_while_it_queues_again_leaves_nothing() {
    for after_ms in 0..60 {
        let fault = |at, kind| Fault {
            at,
            lasts: Duration::ZERO,
            kind,
        };
        let at = Duration::from_secs(5);
        let scenario = quiet(vec![
            fault(at, FaultKind::RevokeLease(1)),
            fault(at + Duration::from_millis(after_ms), FaultKind::Signal(1)),
        ]);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}

/// Found by the simulator: the lease was revoked by somebody while a request for the place was still under way. To hang a
/// sign on it that keeps that request out, the lease was made anew; the request came before the sign, and found it.
#[test]
fn what_was_given_back_does_not_come_back_on_a_lease_made_anew() {
    for seed in 0..200 {
        let mut scenario = quiet(vec![
            Fault {
                at: Duration::from_secs(1),
                lasts: Duration::from_secs(8),
                kind: FaultKind::PauseMember(0),
            },
            Fault {
                at: Duration::from_millis(9_100),
                lasts: Duration::from_secs(12),
                kind: FaultKind::RevokeLease(0),
            },
        ]);
        scenario.seed = seed;
        scenario.weather = Weather::Stormy;
        scenario.members = vec![0; 3];
        scenario.network.late_percent = 10;
        scenario.network.lost_percent = 10;
        scenario.hosts.truncate(1);
        scenario.hosts[0].arrives_at = Duration::from_millis(8_600);
        scenario.hosts[0].ttl = Duration::from_secs(10);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}
