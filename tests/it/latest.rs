//! `--queue latest`: a newer waiter takes the places of older ones away that said the same.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::tempdir;

use crate::harness::etcd::free_port;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Run, Running};
use crate::harness::proxy::{Lost, Proxy};
use crate::harness::service::{Service, in_a_folder_too};

fn latest(etcd: &Service, reason: &str) -> Run {
    let run = etcd.run("deploy");
    run.arguments(["--queue", "latest", "--reason", reason])
}

/// Starts it, and waits until it stands in the queue, as the last of so many.
#[track_caller]
fn queued(etcd: &Service, run: Run, count: usize) -> Running {
    let before = etcd.store().entries("deploy");
    let last = before.last().map_or(0, |entry| entry.create_revision);
    let run = run.shell("echo ran").spawn();
    eventually("it stands in the queue", SOON, || {
        let entries = etcd.store().entries("deploy");
        let is_last = entries
            .last()
            .is_some_and(|entry| entry.create_revision > last);
        match is_last && entries.len() == count {
            true => Ok(()),
            false => Err(format!("{entries:?}")),
        }
    });
    run
}

#[test]
fn only_the_newest_waiter_runs_and_the_others_are_told_who_took_their_place() {
    let etcd = Service::start();
    let holder = etcd.hold("deploy");
    let first = queued(&etcd, latest(&etcd, "4.1"), 2);
    let folder = tempdir().expect("a folder");
    let report = folder.path().join("report");
    let second = queued(&etcd, latest(&etcd, "4.2").report(&report), 2);
    let output = first.wait();
    output
        .assert_status(76)
        .assert_stdout("")
        .assert_nobody_left();
    output.assert_stderr_has(["superseded by", "(\"4.2\")", "(--queue latest)"]);
    let third = queued(&etcd, latest(&etcd, "4.3").arguments(["-q"]), 2);
    second.wait().assert_status(76);
    let report: Value =
        serde_json::from_slice(&std::fs::read(report).expect("written")).expect("JSON");
    assert_eq!(report["outcome"], "superseded");
    let shown = etcd.leasehold(["status", "deploy"]).output();
    assert!(shown.stdout.contains("latest, \"4.3\""), "{}", shown.stdout);
    holder.wait().assert_status(0);
    third.wait().assert_status(0).assert_stdout("ran\n");
    let store = etcd.store();
    assert!(store.entries("deploy").is_empty() && store.markers("deploy").is_empty());
    let notes = store.keys("/leasehold/~superseded/deploy/");
    assert_eq!(notes.len(), 2);
    assert!(notes.iter().all(|note| note.lease != 0), "{notes:?}");
}

#[test]
fn a_quiet_one_says_nothing_when_its_place_is_taken() {
    let etcd = Service::start();
    let holder = etcd.hold("deploy");
    let first = queued(&etcd, latest(&etcd, "4.1").arguments(["-q"]), 2);
    let second = queued(&etcd, latest(&etcd, "4.2"), 2);
    first.wait().assert_status(76).assert_silent();
    holder.wait().assert_status(0);
    second.wait().assert_status(0);
}

#[test]
fn the_holder_and_those_who_did_not_say_it_keep_their_places() {
    let etcd = Service::start();
    // A holder that said it too.
    let holder = latest(&etcd, "4.0").shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let fifo = queued(&etcd, etcd.run("deploy"), 2);
    let foreign = etcd.etcdctl(["lock", "/leasehold/deploy", "true"]).spawn();
    etcd.store().wait_for_entries("deploy", 3);
    let several = etcd
        .run("deploy")
        .arguments(["--queue", "latest", "--also", "db"]);
    let several = queued(&etcd, several, 4);
    // It does not wait for db, so it takes nobody's place away who does.
    let newest = queued(&etcd, latest(&etcd, "4.1"), 5);
    holder.wait().assert_status(0);
    for waiter in [fifo, several, newest] {
        waiter.wait().assert_status(0).assert_stdout("ran\n");
    }
    foreign.wait().assert_status(0);
    assert!(etcd.store().keys("/leasehold/~superseded/").is_empty());
}

#[test]
fn one_that_waits_for_all_of_its_locks_takes_the_place_of_one_with_several() {
    let etcd = Service::start();
    let holder = etcd.hold("deploy");
    let several = |run: Run| run.arguments(["--queue", "latest", "--also", "db"]);
    let older = queued(&etcd, several(etcd.run("deploy")), 2);
    let newer = queued(&etcd, several(etcd.run("deploy")), 2);
    older.wait().assert_status(76);
    assert_eq!(etcd.store().entries("db").len(), 1);
    assert_eq!(etcd.store().markers("db").len(), 1);
    holder.wait().assert_status(0);
    newer.wait().assert_status(0);
}

#[test]
fn slots_and_readers_that_are_full_replace_their_waiters_too() {
    let etcd = Service::start();
    let slots = |reason: &str| latest(&etcd, reason).arguments(["--slots", "2"]);
    let holders = ["1", "2"].map(|reason| {
        let holder = slots(reason).shell("echo ready; cat").spawn();
        holder.expect_stdout("ready");
        holder
    });
    let older = queued(&etcd, slots("3"), 3);
    let newer = queued(&etcd, slots("4"), 3);
    older.wait().assert_status(76);
    for holder in holders {
        holder.wait().assert_status(0);
    }
    newer.wait().assert_status(0).assert_stdout("ran\n");
}

#[test]
fn a_waiter_that_was_frozen_meanwhile_learns_it_when_it_goes_on() {
    let mut fault =
        Fault::of("a waiter is frozen while a newer one takes its place (--queue latest)");
    let etcd = Service::start();
    let holder = etcd.hold("deploy");
    // One within its TTL, and one whose lease has run out by then.
    for (ttl, beyond) in [(30, false), (3, true)] {
        let frozen = queued(&etcd, latest(&etcd, "4.1").ttl(ttl), 2);
        let lease = etcd.store().entries("deploy")[1].lease;
        for process in frozen.processes() {
            process.signal(Signal::SIGSTOP);
        }
        let newest = latest(&etcd, "4.2").shell("echo ran").spawn();
        eventually("its place is taken", SOON, || {
            match etcd.store().keys("/leasehold/~superseded/deploy/").len() {
                0 => Err("no note"),
                _ => Ok(()),
            }
        });
        if beyond {
            eventually("its lease has run out", SOON, || {
                match etcd.store().time_to_live(lease).1 {
                    left if left <= 0 => Ok(()),
                    left => Err(left),
                }
            });
        }
        for process in frozen.processes() {
            process.signal(Signal::SIGCONT);
        }
        let output = frozen.wait();
        output.assert_status(76).assert_stdout("");
        newest.stop_and_wait();
        for note in etcd.store().keys("/leasehold/~superseded/deploy/") {
            etcd.store().delete(&note.key);
        }
    }
    fault.injected("SIGSTOP to all of a waiter's processes until its place was taken, and once until its lease had run out");
    fault.seen("it ended with 76 when it went on, and did not queue again");
    holder.wait().assert_status(0);
}

#[test]
fn whoever_is_just_being_admitted_is_not_replaced() {
    // The holder gives its lock back at the very moment at which a newer waiter comes: either the older one runs, or the
    // newer one has its place. Nobody is lost, and nobody runs whose place was taken.
    let etcd = Service::start();
    let mut ran = [0, 0];
    for round in 0..40 {
        let holder = etcd.hold("deploy");
        let older = queued(&etcd, latest(&etcd, "older"), 2);
        let newer = latest(&etcd, "newer").shell("echo ran").spawn();
        // Sometimes before the newer one has come, sometimes after.
        if round % 2 == 0 {
            etcd.store().wait_for_entries("deploy", 2);
        }
        let ended = holder.wait();
        ended.assert_status(0);
        let older = older.wait();
        match older.status.code() {
            Some(0) => {
                older.assert_stdout("ran\n");
                ran[0] += 1;
            }
            _ => {
                older.assert_status(76).assert_stdout("");
                ran[1] += 1;
            }
        }
        newer.wait().assert_status(0).assert_stdout("ran\n");
        let store = etcd.store();
        eventually("the queue is empty", SOON, || {
            match store.entries("deploy").len() + store.markers("deploy").len() {
                0 => Ok(()),
                left => Err(left),
            }
        });
    }
    println!(
        "the older one ran in {} rounds, and was replaced in {}",
        ran[0], ran[1]
    );
}

/// What a newer waiter sends is stopped on its way, at each of its steps in turn, until the older one has the lock; then
/// it arrives. Its place in the queue is no place to take from any more.
#[test]
fn what_arrives_late_takes_nothing_from_one_who_holds_the_lock_by_then() {
    const STEPS_MAX: usize = 40;
    let etcd = Service::start();
    let mut late = 0;
    for step in 1..=STEPS_MAX {
        let name = format!("deploy{step}");
        let latest = |run: Run| run.arguments(["--queue", "latest", "--ttl", "60"]);
        let holder = etcd.hold(&name);
        let older = latest(etcd.run(&name)).shell("echo ran; cat").spawn();
        let entry = etcd.store().wait_for_entries(&name, 2).remove(1).key;
        let stands = || etcd.store().entries(&name).iter().any(|kv| kv.key == entry);
        let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a port");
        proxy.stop_at(step, Lost::Request);
        let newer = latest(Run::new(&proxy.endpoint()).lock(&name));
        let newer = newer.shell("echo ran").spawn();
        eventually("it is stopped, or waits", SOON, || {
            let stopped = proxy.wait_until_stopped(Duration::ZERO);
            match stopped || !stands() {
                true => Ok(()),
                false => Err("neither"),
            }
        });
        let is_there = stands();
        holder.wait().assert_status(0);
        if !is_there {
            proxy.mend();
            older.wait().assert_status(76);
            newer.wait().assert_status(0).assert_stdout("ran\n");
            break;
        }
        older.expect_stdout("ran");
        let sent_before = etcd.store().entries(&name).len();
        proxy.mend();
        newer.expect_stderr("waiting for");
        late += usize::from(sent_before == 2);
        let output = older.wait();
        output.assert_status(0).assert_stdout("ran\n");
        newer.wait().assert_status(0).assert_stdout("ran\n");
        assert!(step < STEPS_MAX, "it is never replaced");
    }
    // In these it stood in the queue already, and what was on its way was about the older one.
    println!("{late} times the newer one stood in the queue");
    assert!(late > 0, "nothing of what matters was stopped");
}

in_a_folder_too![
    only_the_newest_waiter_runs_and_the_others_are_told_who_took_their_place,
    a_quiet_one_says_nothing_when_its_place_is_taken,
    one_that_waits_for_all_of_its_locks_takes_the_place_of_one_with_several,
    slots_and_readers_that_are_full_replace_their_waiters_too,
    whoever_is_just_being_admitted_is_not_replaced,
];
