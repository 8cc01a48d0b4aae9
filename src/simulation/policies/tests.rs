//! What the policies promise, tried.

use super::with_policies;
use crate::simulation::sights::Sight;
use crate::simulation::tests::{assert_kept, variable};
use crate::simulation::world::{Options, run};

/// Histories of every run of the tests, the same each time.
const FIXED: u64 = 300;

/// With `make simulate SEED=… RUNS=…`: those.
#[test]
fn histories_with_policies_keep_every_promise() {
    let first = variable("SEED").unwrap_or(0);
    let wanted = [
        Sight::AlreadyDone,
        Sight::Superseded,
        Sight::NotRecorded,
        Sight::KeptOn,
        Sight::Recorded,
        Sight::LossRecorded,
    ];
    let mut seen = [0; 6];
    for seed in first..first + variable("RUNS").unwrap_or(FIXED) {
        let scenario = with_policies(seed);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
        for (sum, sight) in seen.iter_mut().zip(wanted) {
            *sum += report.sights.times(sight);
        }
    }
    println!("{wanted:?}: {seen:?}");
    assert!(!seen.contains(&0), "{wanted:?}: {seen:?}");
}
