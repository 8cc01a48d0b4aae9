//! The figures of docs/processes.md: `make bench-processes`, or benches/processes.sh FOLDER-WITH-RELEASE-BINARIES
//!
//! How long a command's tree outlives each fault, on an idle machine and on one whose cores are all busy; and what
//! leasehold's processes cost. Prints tables in Markdown. Every process is watched by a pidfd.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program of its own, not a part of leasehold"
)]
#![expect(unsafe_code, reason = "pidfds have no safe wrapper")]

#[path = "../../tests/it/harness/eventually.rs"]
#[expect(dead_code, reason = "made for the tests, partly used here")]
mod eventually;
#[path = "../../tests/it/harness/processes.rs"]
#[expect(dead_code, reason = "made for the tests, partly used here")]
mod processes;
#[path = "../../tests/it/harness/store.rs"]
#[expect(dead_code, reason = "made for the tests, partly used here")]
mod store;

mod cost;
mod holder;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holder::{Holder, Setup, TTL, Who};
use processes::Moment;
use store::Store;

use Who::{Front, Manager, Witness};

/// Something that happens to a holder.
struct Fault {
    name: &'static str,
    strike: fn(&Holder, &Store),
}

/// After these the tree has to be dead at once.
const AT_ONCE: [Fault; 9] = [
    Fault {
        name: "front killed",
        strike: |holder, _| holder.kill(Front),
    },
    Fault {
        name: "witness killed",
        strike: |holder, _| holder.kill(Witness),
    },
    Fault {
        name: "manager killed",
        strike: |holder, _| holder.kill(Manager),
    },
    Fault {
        name: "front and manager killed",
        strike: |holder, _| {
            holder.kill(Front);
            holder.kill(Manager);
        },
    },
    Fault {
        name: "the process group killed",
        strike: |holder, _| holder.kill_group(),
    },
    Fault {
        name: "every process named leasehold killed",
        strike: |holder, _| holder.kill_named(),
    },
    Fault {
        name: "front frozen, then manager killed",
        strike: |holder, _| {
            holder.freeze(Front);
            holder.kill(Manager);
        },
    },
    Fault {
        name: "lease revoked (its commit in etcd included)",
        strike: |holder, store| store.revoke(holder.key(store).lease),
    },
    Fault {
        name: "key deleted (its commit in etcd included)",
        strike: |holder, store| store.delete(&holder.key(store).key),
    },
];

/// After these it has to be dead before its lease can run out.
const IN_TIME: [Fault; 4] = [
    Fault {
        name: "manager frozen",
        strike: |holder, _| holder.freeze(Manager),
    },
    Fault {
        name: "front and manager frozen",
        strike: |holder, _| {
            holder.freeze(Front);
            holder.freeze(Manager);
        },
    },
    Fault {
        name: "witness and manager frozen",
        strike: |holder, _| {
            holder.freeze(Witness);
            holder.freeze(Manager);
        },
    },
    Fault {
        name: "manager frozen, front killed",
        strike: |holder, _| {
            holder.freeze(Manager);
            holder.kill(Front);
        },
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, leasehold, probe, endpoint, rounds] = &arguments[..] else {
        panic!("usage: measure LEASEHOLD PROBE ENDPOINT ROUNDS");
    };
    let setup = Setup {
        leasehold: leasehold.clone(),
        probe: probe.clone(),
        endpoint: endpoint.clone(),
    };
    let rounds: usize = rounds.parse().expect("a number");
    let store = Store::connect(vec![endpoint.clone()]);
    let idle = measure_all(&setup, &store, rounds);
    let hogs = Hogs::start();
    let busy = measure_all(&setup, &store, rounds);
    drop(hogs);
    print_faults(&idle, &busy, rounds);
    cost::print(&setup, &store);
}

/// What every fault gave: the times of all rounds, sorted.
struct Measured {
    /// From the fault to the death of the last process.
    at_once: Vec<Vec<Duration>>,
    /// From the death of the last process to the earliest end of the lease.
    in_time: Vec<Vec<Duration>>,
}

fn measure_all(setup: &Setup, store: &Store, rounds: usize) -> Measured {
    let after = |fault: &Fault| {
        sorted((0..rounds).map(|_| {
            let holder = Holder::start(setup);
            let struck_at = Moment::now();
            (fault.strike)(&holder, store);
            holder.wait_tree_dead().since(struck_at)
        }))
    };
    let before = |fault: &Fault| {
        // These take a TTL each.
        sorted((0..rounds.div_ceil(4)).map(|_| {
            let holder = Holder::start(setup);
            (fault.strike)(&holder, store);
            let dead_at = holder.wait_tree_dead();
            (holder.began_at() + TTL).since(dead_at)
        }))
    };
    Measured {
        at_once: AT_ONCE.iter().map(after).collect(),
        in_time: IN_TIME.iter().map(before).collect(),
    }
}

pub(crate) fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times
}

pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

pub(crate) fn median(sorted: &[Duration]) -> String {
    ms(sorted[sorted.len() / 2])
}

fn print_faults(idle: &Measured, busy: &Measured, rounds: usize) {
    println!(
        "| from the fault to the death of the tree's last process (n = {rounds}) | idle: median | max | all cores busy: median | max |"
    );
    println!("|---|---|---|---|---|");
    for ((fault, idle), busy) in AT_ONCE.iter().zip(&idle.at_once).zip(&busy.at_once) {
        let max = |times: &[Duration]| ms(times[times.len() - 1]);
        println!(
            "| {} | {} | {} | {} | {} |",
            fault.name,
            median(idle),
            max(idle),
            median(busy),
            max(busy)
        );
    }
    println!();
    println!(
        "| left of a lease of {} s when the last process was dead (n = {}) | idle: median | min | all cores busy: median | min |",
        TTL.as_secs(),
        rounds.div_ceil(4)
    );
    println!("|---|---|---|---|---|");
    for ((fault, idle), busy) in IN_TIME.iter().zip(&idle.in_time).zip(&busy.in_time) {
        println!(
            "| {} | {} | {} | {} | {} |",
            fault.name,
            median(idle),
            ms(idle[0]),
            median(busy),
            ms(busy[0])
        );
    }
}

/// Two for each core, so that nobody finds one free.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let hog = |_| {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .expect("sh")
        };
        Self((0..2 * cores).map(hog).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}
