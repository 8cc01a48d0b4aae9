//! What the modes promise, tried.

use super::mixed;
use crate::simulation::tests::{assert_kept, variable};
use crate::simulation::world::{Options, run};

/// Histories of every run of the tests, the same each time.
const FIXED: u64 = 100;

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
