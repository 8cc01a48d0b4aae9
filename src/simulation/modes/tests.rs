//! What the modes promise, tried; and the mutants that break it.

use super::mixed;
use crate::simulation::mutants::Mutant;
use crate::simulation::tests::{assert_kept, variable};
use crate::simulation::world::{Options, run};

/// Histories of every run of the tests, the same each time.
const FIXED: u64 = 100;

/// How far a mutant is looked for.
const MUTANT_HISTORIES_MAX: u64 = 3_000;

/// With `make simulate SEED=… RUNS=…`: those.
#[test]
fn histories_with_readers_and_slots_keep_every_promise() {
    let first = variable("SEED").unwrap_or(0);
    let mut beside_others = 0;
    for seed in first..first + variable("RUNS").unwrap_or(FIXED) {
        let scenario = mixed(seed);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
        beside_others += usize::from(report.commands_at_once > 1);
    }
    assert!(beside_others > 0, "nobody ever shared the lock");
}

/// With `make mutants`: from the first seed on, to say after how many histories.
#[test]
fn every_mutant_of_the_modes_is_found() {
    let count = variable("COUNT").is_some();
    let found = |mutant: Mutant, seed: u64| {
        let options = Options {
            mutant: Some(mutant),
            ..Options::default()
        };
        run(&mixed(seed), options).violation
    };
    for (mutant, seed) in Mutant::OF_MODES {
        if !count {
            let violation = found(*mutant, *seed);
            assert!(
                violation.is_some(),
                "{mutant:?} is not found by seed {seed} any more"
            );
            continue;
        }
        let first = (0..MUTANT_HISTORIES_MAX).find_map(|seed| Some((seed, found(*mutant, seed)?)));
        let (seed, violation) =
            first.unwrap_or_else(|| panic!("{mutant:?} survives {MUTANT_HISTORIES_MAX} histories"));
        println!("| `{mutant:?}` | {} | `{:?}` |", seed + 1, violation.kind);
    }
}
