//! What a release costs etcd when many wait: who is woken, and who looks at the queue. Counted by etcd itself.

use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::Running;

/// So many wait; the bounds below do not grow with it.
const WAITERS: usize = 12;

/// Meanwhile each of them may look at the queue because it is time to (every five seconds).
const LOOKS_BY_THEMSELVES: u64 = 4;

struct Crowd {
    etcd: Etcd,
    holders: Vec<Running>,
    waiters: Vec<Running>,
}

/// What etcd has counted: transactions answered, events told to watchers.
#[derive(Clone, Copy, Debug)]
struct Counted {
    transactions: u64,
    events: u64,
}

fn contender(etcd: &Etcd, options: &[&str]) -> Running {
    // No renewal is due meanwhile.
    let run = etcd.run("job").ttl(300).all_arguments(options);
    run.shell("echo ready; cat").spawn()
}

impl Crowd {
    fn gather(holders: &[&[&str]], waiters: &[&str]) -> Self {
        let etcd = Etcd::start();
        let hold = |options: &&[&str]| {
            let holder = contender(&etcd, options);
            holder.expect_stdout("ready");
            holder
        };
        let holders: Vec<Running> = holders.iter().map(hold).collect();
        let wait = |number: usize| {
            let waiter = contender(&etcd, waiters);
            waiter.expect_stderr("waiting for job");
            etcd.store()
                .wait_for_entries("job", holders.len() + number + 1);
            waiter
        };
        let waiters: Vec<Running> = (0..WAITERS).map(wait).collect();
        Self {
            etcd,
            holders,
            waiters,
        }
    }

    fn counted(&self) -> Counted {
        Counted {
            transactions: self
                .etcd
                .metric("grpc_server_handled_total", "grpc_method=\"Txn\""),
            events: self.etcd.metric("etcd_debugging_mvcc_events_total", ""),
        }
    }

    /// One holder goes, until so many of the waiters run.
    fn cost_of_a_release(&mut self, admitted: usize) -> Counted {
        let before = self.counted();
        let holder = self.holders.remove(0);
        holder.wait().assert_status(0);
        for waiter in &self.waiters[..admitted] {
            waiter.expect_stdout("ready");
        }
        let after = self.counted();
        Counted {
            transactions: after.transactions - before.transactions,
            events: after.events - before.events,
        }
    }

    /// Nobody else was admitted, and everybody gets the lock in the end.
    fn dissolve(self, admitted: usize) {
        let Self {
            etcd,
            holders,
            waiters,
        } = self;
        eventually("so many are left", SOON, || {
            let expected = holders.len() + waiters.len();
            match etcd.store().entries("job").len() {
                left if left == expected => Ok(()),
                left => Err(format!("{left}, {admitted} admitted")),
            }
        });
        for run in holders.into_iter().chain(waiters) {
            run.wait().assert_status(0);
        }
        etcd.store().assert_clean();
    }
}

#[test]
fn one_waiter_is_woken_when_an_exclusive_holder_goes() {
    let mut crowd = Crowd::gather(&[&["-x"]], &["-x"]);
    let cost = crowd.cost_of_a_release(1);
    println!("exclusive, {WAITERS} waiters: {cost:?}");
    // The release, a look at the queue, and that its command runs.
    assert!(cost.transactions <= 5 + LOOKS_BY_THEMSELVES, "{cost:?}");
    crowd.dissolve(1);
}

#[test]
fn one_reader_that_goes_wakes_the_writer_only_when_it_was_the_last() {
    let mut crowd = Crowd::gather(&[&["-s"], &["-s"]], &["-x"]);
    let cost = crowd.cost_of_a_release(0);
    println!("the first of two readers, {WAITERS} writers wait: {cost:?}");
    assert!(cost.transactions <= 3 + LOOKS_BY_THEMSELVES, "{cost:?}");
    let cost = crowd.cost_of_a_release(1);
    println!("the last reader, {WAITERS} writers wait: {cost:?}");
    assert!(cost.transactions <= 5 + LOOKS_BY_THEMSELVES, "{cost:?}");
    crowd.dissolve(1);
}

#[test]
fn a_slot_that_comes_free_is_told_to_all_and_looked_for_by_few() {
    const SLOTS: &[&str] = &["--slots", "3"];
    let mut crowd = Crowd::gather(&[SLOTS; 3], SLOTS);
    let cost = crowd.cost_of_a_release(1);
    println!("3 slots, {WAITERS} waiters: {cost:?}");
    // Those who wait for one of three to go: at most as many as there are slots are behind the one that went.
    assert!(cost.transactions <= 5 + 3 + LOOKS_BY_THEMSELVES, "{cost:?}");
    crowd.dissolve(1);
}
