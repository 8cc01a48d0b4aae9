//! Histories in which not everybody wants the lock alone: the same as without, but for the limits. The limits are drawn
//! apart from everything else, so that a seed means the same history with them and without.

use std::num::NonZeroU32;

use crate::lock::limit::Limit;
use crate::simulation::random::Random;
use crate::simulation::scenario::Scenario;

/// Sets these draws apart from those of the history itself.
const APART: u64 = 0x6d6f_6465;

/// The history of a seed, with readers and slots among the contenders.
pub fn mixed(seed: u64) -> Scenario {
    let mut scenario = Scenario::draw(seed);
    let mut random = Random::new(seed ^ APART);
    let slots = |number| NonZeroU32::new(number).map_or(Limit::EXCLUSIVE, Limit::Holders);
    for host in &mut scenario.hosts {
        host.limit = random.pick(&[
            Limit::EXCLUSIVE,
            Limit::Unlimited,
            Limit::Unlimited,
            slots(2),
            slots(2),
            slots(3),
        ]);
    }
    scenario
}

#[cfg(test)]
mod tests;
