//! What everything else is for: a second holder, the moment it is admitted, finds no process of the first alive.
//!
//! 200 rounds, each with a random tree and a random fault. `LEASEHOLD_TEST_SEED` chooses others than the usual.

use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::harness::anatomy::{Own, command_of, freeze, nobodys_uid};
use crate::harness::eventually::SOON;
use crate::harness::leasehold::{Running, probe};
use crate::harness::processes::{Moment, Process, describe};
use crate::harness::service::Service;
use crate::harness::store::Store;
use crate::harness::together::in_threads;

const LOCKS: u64 = 8;
const ROUNDS_PER_LOCK: u64 = 25;
const SEED: u64 = 20_261_122;

const TTL_S: u64 = 3;
const LOCK_DELAY_S: u64 = 1;
/// How often etcd looks for leases that have run out (server/lease/lessor.go, runLoop).
const EXPIRY_LOOK: Duration = Duration::from_millis(500);
/// For two commits, the start of a command and its look at every process, while seven others do the same on two cores.
const BUSY: Duration = Duration::from_millis(1500);
/// From the fault to the next holder's answer: a holder that can say nothing any more has renewed its lease just before,
/// etcd finds it run out, and the next one, told so by its watch (its poll comes too late), waits for the lock delay.
const ADMITTED_WITHIN: Duration = Duration::from_secs(TTL_S + LOCK_DELAY_S)
    .saturating_add(EXPIRY_LOOK)
    .saturating_add(BUSY);

const SHAPES: [&str; 8] = [
    "plain",
    "term-proof",
    "setsid",
    "double-fork",
    "daemon",
    "stopped",
    "wide:30",
    "deep:20",
];

/// What happens to a holder. Some go by themselves, some at their deadline, some never: then the next holder is
/// admitted, or not, all the same.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL for one of leasehold's processes or the command.
    Killed(Who),
    /// For two of leasehold's processes, one after the other.
    BothKilled(Who, Who),
    GroupKilled,
    /// SIGSTOP, and nobody continues it.
    Frozen(Who),
    FrozenThenKilled(Who, Who),
    BothFrozen(Who, Who),
    LeaseRevoked,
    KeyDeleted,
    /// The front is frozen, and then the lease revoked.
    FrontFrozenThenLeaseRevoked,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Front,
    Witness,
    Manager,
    Command,
}

use Who::{Command, Front, Manager, Witness};

/// Those that end at once are more frequent than those that take a TTL.
const FAULTS: [Fault; 28] = [
    Fault::Killed(Front),
    Fault::Killed(Front),
    Fault::Killed(Front),
    Fault::Killed(Witness),
    Fault::Killed(Witness),
    Fault::Killed(Witness),
    Fault::Killed(Manager),
    Fault::Killed(Command),
    Fault::Killed(Command),
    Fault::BothKilled(Front, Witness),
    Fault::BothKilled(Witness, Front),
    Fault::BothKilled(Front, Manager),
    Fault::BothKilled(Manager, Front),
    Fault::BothKilled(Witness, Manager),
    Fault::BothKilled(Manager, Witness),
    Fault::GroupKilled,
    Fault::GroupKilled,
    Fault::Frozen(Manager),
    Fault::FrozenThenKilled(Front, Manager),
    Fault::FrozenThenKilled(Witness, Manager),
    Fault::FrozenThenKilled(Manager, Front),
    Fault::FrozenThenKilled(Front, Witness),
    Fault::BothFrozen(Front, Manager),
    Fault::BothFrozen(Witness, Manager),
    Fault::LeaseRevoked,
    Fault::KeyDeleted,
    Fault::FrontFrozenThenLeaseRevoked,
    Fault::Terminated,
];

impl Fault {
    fn strike(self, store: &Store, lock: &str, holder: &Running, command: &Process) {
        let own = Own::of(holder);
        let who = |who| match who {
            Front => &own.front,
            Witness => &own.witness,
            Manager => &own.manager,
            Command => command,
        };
        let kill = |process| who(process).signal(Signal::SIGKILL);
        match self {
            Self::Killed(one) => kill(one),
            Self::BothKilled(one, other) => {
                kill(one);
                kill(other);
            }
            Self::GroupKilled => {
                let _ = killpg(Pid::from_raw(holder.pid()), Signal::SIGKILL);
            }
            Self::Frozen(one) => freeze(who(one)),
            Self::FrozenThenKilled(one, other) => {
                freeze(who(one));
                kill(other);
            }
            Self::BothFrozen(one, other) => {
                freeze(who(one));
                freeze(who(other));
            }
            Self::LeaseRevoked => store.revoke(store.entries(lock)[0].lease),
            Self::KeyDeleted => store.delete(&store.entries(lock)[0].key),
            Self::FrontFrozenThenLeaseRevoked => {
                freeze(&own.front);
                store.revoke(store.entries(lock)[0].lease);
            }
            Self::Terminated => own.front.signal(Signal::SIGTERM),
        }
    }
}

#[test]
fn two_hundred_second_holders_find_nobody_of_the_first_whatever_happened_to_it() {
    let etcd = Service::start();
    let seed =
        std::env::var("LEASEHOLD_TEST_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    eprintln!("LEASEHOLD_TEST_SEED={seed}");
    in_threads(LOCKS as usize, 0..LOCKS, |index| {
        let mut random = Random(seed.wrapping_mul(LOCKS).wrapping_add(index) | 1);
        // The first numbers of similar seeds are similar.
        for _ in 0..20 {
            random.next();
        }
        let lock = format!("invariant/{index}");
        // Half of them without a cgroup to kill by. One user for each lock: others may not look at its processes.
        let uid = match index % 2 {
            0 => nix::unistd::geteuid().as_raw(),
            _ => nobodys_uid(),
        };
        let mut holder = contender(&etcd, &lock, SHAPES[0], None, uid);
        holder.expect_stdout("ready");
        for round in 0..ROUNDS_PER_LOCK {
            let shape = *random.choose(&SHAPES);
            let fault = *random.choose(&FAULTS);
            holder = one_round(&etcd, (&lock, uid), holder, shape, fault, round);
        }
        holder.signal(Signal::SIGTERM);
        let _ = holder.wait_within(SOON).assert_nobody_left();
    });
}

/// Strikes the holder, and returns the next one.
fn one_round(
    etcd: &Service,
    (lock, uid): (&str, u32),
    holder: Running,
    shape: &str,
    fault: Fault,
    round: u64,
) -> Running {
    let store = etcd.store();
    let next = contender(etcd, lock, shape, Some(&holder), uid);
    store.wait_for_entries(lock, 2);
    let tree = holder.command_processes();
    assert!(
        !tree.is_empty(),
        "{lock}, round {round}: a tree should stand"
    );
    let command = command_of(&holder);
    // Shown when the round fails, in the order of the rounds.
    eprintln!(
        "{lock}, round {round}: {fault:?} strikes {}",
        holder.cookie()
    );
    let struck_at = Moment::now();
    fault.strike(&store, lock, &holder, &command);
    let census = next.expect_stdout(" alive\n");
    let took = Moment::now().since(struck_at);
    eprintln!("{lock}, round {round}: {fault:?}: admitted after {took:?}");
    let alive: Vec<String> = tree
        .iter()
        .filter(|process| !process.is_dead())
        .map(|process| describe(process.pid))
        .collect();
    assert!(
        census.starts_with("0 alive\n") && alive.is_empty(),
        "{lock}, round {round}, {fault:?}: the next holder found {census}, we found {alive:?}"
    );
    assert!(
        took < ADMITTED_WITHIN,
        "{lock}, round {round}, {fault:?}: {took:?} for {ADMITTED_WITHIN:?}"
    );
    next.expect_stdout("ready");
    let output = holder.wait_within(SOON);
    assert_ne!(
        output.status.code(),
        Some(70),
        "{fault:?}: {}",
        output.describe()
    );
    next
}

/// A run that, admitted, first looks whether anybody of the last holder lives, and then is a tree.
fn contender(etcd: &Service, lock: &str, shape: &str, last: Option<&Running>, uid: u32) -> Running {
    let probe = probe();
    let census = last.map_or_else(String::new, |last| {
        format!("{probe} census {};", last.cookie())
    });
    etcd.run(lock)
        .arguments(["-q", "--ttl", &TTL_S.to_string(), "-k", "0.2"])
        .arguments(["--lock-delay", &LOCK_DELAY_S.to_string()])
        .arguments(["--on-leftover", "kill"])
        .shell(&format!("{census} exec {probe} tree {shape}"))
        .by_user(uid)
        .own_group()
        .spawn()
}

/// xorshift64*: enough to choose faults by, and a seed that can be printed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33
    }

    fn choose<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.next() as usize % among.len()]
    }
}
