//! Histories in which runs keep their locks after their end, do a thing once, take older waiters' places away, and record
//! how they ended: the same as without, but for that. It is drawn apart from everything else, so that a seed means the same history with it
//! and without.

use std::time::Duration;

use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::once::OnceId;
use crate::simulation::host::name;
use crate::simulation::random::Random;
use crate::simulation::scenario::{Policy, Scenario};

/// Sets these draws apart from those of the history itself.
const APART: u64 = 0x706f_6c69;

/// The same for `--record`, which came later.
const APART_TOO: u64 = 0x7265_636f;

/// Longer than any history.
pub const KEEP: Duration = Duration::from_secs(100_000);

/// The history of a seed, with policies.
pub fn with_policies(seed: u64) -> Scenario {
    let mut scenario = Scenario::draw(seed);
    let mut random = Random::new(seed ^ APART);
    // All of one kind: others would have to be told apart by the checks.
    let (once, latest) = (random.percent(60), random.percent(60));
    for host in &mut scenario.hosts {
        host.policy = Policy {
            hold_min: match random.percent(40) {
                true => random.duration(Duration::ZERO, host.ttl * 2),
                false => Duration::ZERO,
            },
            once,
            latest,
            also: random.percent(40),
            record: false,
        };
    }
    if latest && random.percent(40) {
        admitted_in_between(&mut scenario, &mut random);
    }
    let mut random = Random::new(seed ^ APART_TOO);
    for host in &mut scenario.hosts {
        host.policy.record = random.percent(50);
    }
    scenario
}

/// The lock becomes free when a newer waiter has just read who waits before it: the older one may be admitted before its
/// place is taken.
fn admitted_in_between(scenario: &mut Scenario, random: &mut Random) {
    if random.percent(70) {
        scenario.faults.clear();
    }
    let first = scenario.hosts[0].clone();
    let hosts = scenario.hosts.len().max(3);
    scenario.hosts.resize(hosts, first);
    let runs_for = random.millis(1_500, 3_000);
    for (number, host) in scenario.hosts.iter_mut().enumerate() {
        (host.wait, host.nonblock, host.max_runtime) = (None, false, None);
        host.arrives_at = match number {
            0 => Duration::ZERO,
            1 => Duration::from_millis(700),
            _ => runs_for - random.millis(0, 300) + random.millis(0, 100),
        };
        host.policy = Policy {
            latest: true,
            ..Policy::default()
        };
        host.command.errno = None;
    }
    let first = &mut scenario.hosts[0].command;
    (first.runs_for, first.leftovers) = (runs_for, None);
}

/// The other lock.
pub fn other() -> LockName {
    "other".parse().expect("a name")
}

/// What stands for the one thing that is done once.
pub fn once_id() -> OnceId {
    "today".parse().expect("an ID")
}

/// Where it is remembered.
pub fn once_key() -> String {
    Prefix::default().once_record(&name(), &once_id())
}

#[cfg(test)]
mod tests;
