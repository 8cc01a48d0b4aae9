//! A history that fails, made smaller for as long as it fails in the same way: without some of its faults and
//! contenders, on a network without caprices, with commands that do less.

use std::time::Duration;

use crate::simulation::checker::Kind;
use crate::simulation::scenario::{FaultKind, HostPlan, Scenario};
use crate::simulation::world::{Options, run};

/// More are not tried: a smaller history is a help, not a duty.
const TRIES_MAX: usize = 2_000;

/// A smaller history in which the same promise is broken.
pub fn shrink(scenario: &Scenario, options: Options, kind: Kind) -> Scenario {
    let mut smallest = scenario.clone();
    let mut tries = 0;
    loop {
        let smaller = candidates(&smallest).into_iter().find(|candidate| {
            tries += 1;
            tries <= TRIES_MAX && breaks(candidate, options, kind)
        });
        match smaller {
            Some(smaller) => smallest = smaller,
            None => return smallest,
        }
    }
}

fn breaks(scenario: &Scenario, options: Options, kind: Kind) -> bool {
    let options = Options {
        traced: false,
        ..options
    };
    let violation = run(scenario, options).violation;
    violation.is_some_and(|violation| violation.kind == kind)
}

/// Histories that are a little smaller, those that are much smaller first.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut candidates = Vec::new();
    for number in (0..scenario.hosts.len()).filter(|_| scenario.hosts.len() > 1) {
        candidates.push(without_host(scenario, number));
    }
    for number in 0..scenario.faults.len() {
        let mut smaller = scenario.clone();
        smaller.faults.remove(number);
        candidates.push(smaller);
    }
    let mut simplify = |work: &dyn Fn(&mut Scenario)| {
        let mut simpler = scenario.clone();
        work(&mut simpler);
        if format!("{simpler:?}") != format!("{scenario:?}") {
            candidates.push(simpler);
        }
    };
    simplify(&|it| it.network.late_percent = 0);
    simplify(&|it| it.network.lost_percent = 0);
    simplify(&|it| it.network.copied_percent = 0);
    simplify(&|it| it.network.delay_max = Duration::from_millis(1));
    simplify(&|it| it.lag_max = Duration::ZERO);
    simplify(&|it| it.commit_max = Duration::from_millis(1));
    simplify(&|it| it.revokes_early = false);
    simplify(&|it| it.grants_percent = 100);
    simplify(&|it| it.members.iter_mut().for_each(|rate| *rate = 0));
    for number in 0..scenario.hosts.len() {
        for plainer in plainer_plans() {
            simplify(&|it| plainer(&mut it.hosts[number]));
        }
    }
    candidates
}

fn plainer_plans() -> [fn(&mut HostPlan); 9] {
    [
        |host| host.rate_ppm = 0,
        |host| host.wait = None,
        |host| host.nonblock = false,
        |host| host.policy.record = false,
        |host| host.max_runtime = None,
        |host| host.command.leftovers = None,
        |host| host.command.errno = None,
        |host| host.command.on_term = None,
        |host| host.kill_after = Duration::ZERO,
    ]
}

fn without_host(scenario: &Scenario, gone: usize) -> Scenario {
    let mut smaller = scenario.clone();
    smaller.hosts.remove(gone);
    smaller
        .faults
        .retain_mut(|fault| match host_of(&mut fault.kind) {
            Some(host) if *host == gone => false,
            Some(host) => {
                *host -= usize::from(*host > gone);
                true
            }
            None => true,
        });
    smaller
}

const fn host_of(kind: &mut FaultKind) -> Option<&mut usize> {
    match kind {
        FaultKind::CutLink(host, _)
        | FaultKind::Suspend(host)
        | FaultKind::FreezeManager(host)
        | FaultKind::FreezeFront(host)
        | FaultKind::StopFront(host)
        | FaultKind::KillManager(host)
        | FaultKind::KillFront(host)
        | FaultKind::KillWitness(host)
        | FaultKind::Signal(host)
        | FaultKind::RevokeLease(host)
        | FaultKind::DeleteEntry(host)
        | FaultKind::OverwriteEntry(host)
        | FaultKind::ReplaceEntry(host) => Some(host),
        FaultKind::PauseMember(_)
        | FaultKind::CutMember(_)
        | FaultKind::Compact
        | FaultKind::DeleteEntries
        | FaultKind::Foreign => None,
    }
}
