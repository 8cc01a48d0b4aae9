//! A holder that vanishes makes the next one wait its lock delay; one that ends cleanly does not.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::freeze;
use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::fault::Fault;
use crate::harness::processes::Moment;
use crate::harness::service::{Service, in_a_folder_too};

const TTL_S: u32 = 3;
const DELAY: Duration = Duration::from_secs(2);

#[test]
fn a_vanished_holder_makes_the_next_one_wait_its_lock_delay() {
    let mut fault = Fault::of("the holder's host vanishes");
    let etcd = Service::start();
    let holder = etcd
        .run("job")
        .ttl(TTL_S)
        .arguments(["--lock-delay", "2"])
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").probe(["now"]).spawn();
    etcd.store().wait_for_entries("job", 2);
    holder.vanish();
    let gone_at = wait_for_expiry(&etcd, 1);
    let output = waiter.wait();
    output.assert_status(0);
    let waited = Moment::parse(&output.stdout).since(gone_at);
    assert!(waited >= DELAY - Duration::from_millis(50), "{waited:?}");
    assert!(waited < DELAY + Duration::from_secs(2), "{waited:?}");
    etcd.store().assert_clean();
    fault.injected("all processes of the run killed at once; its entry went with its lease");
    fault.seen(format!(
        "the next one ran {waited:?} after that, with a lock delay of {DELAY:?}"
    ));
}

#[test]
fn one_who_comes_when_the_holder_has_vanished_already_waits_too_and_only_once() {
    let etcd = Service::start();
    let holder = etcd
        .run("job")
        .ttl(TTL_S)
        .arguments(["--lock-delay", "2"])
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    holder.vanish();
    wait_for_expiry(&etcd, 0);
    assert_eq!(etcd.store().markers("job").len(), 1);
    etcd.run("job")
        .arguments(["-n"])
        .shell("true")
        .output()
        .assert_status(75);
    let first = etcd.run("job").probe(["now"]).output();
    first.assert_status(0);
    assert!(first.duration() >= DELAY, "{first:?}");
    let second = etcd.run("job").arguments(["-n"]).probe(["now"]).output();
    second.assert_status(0);
    assert!(second.duration() < DELAY, "{second:?}");
    etcd.store().assert_clean();
}

#[test]
fn a_vanished_holder_without_a_lock_delay_costs_nothing_more() {
    let etcd = Service::start();
    let holder = etcd
        .run("job")
        .ttl(TTL_S)
        .arguments(["--lock-delay", "0"])
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").probe(["now"]).spawn();
    etcd.store().wait_for_entries("job", 2);
    holder.vanish();
    let gone_at = wait_for_expiry(&etcd, 1);
    let output = waiter.wait();
    output.assert_status(0);
    let waited = Moment::parse(&output.stdout).since(gone_at);
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    etcd.store().assert_clean();
}

/// A key of somebody else under the name of the entry hides nothing. The waiter sees both at once: it is frozen meanwhile.
#[test]
fn a_holder_that_vanished_is_not_hidden_by_a_key_under_its_name() {
    let etcd = Etcd::start();
    let store = etcd.store();
    let holder = etcd
        .run("job")
        .arguments(["--lock-delay", "2"])
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let entry = store.entries("job")[0].clone();
    let waiter = etcd.run("job").probe(["now"]).spawn();
    store.wait_for_entries("job", 2);
    holder.vanish();
    let frozen = waiter.processes();
    for process in &frozen {
        freeze(process);
    }
    store.delete(&entry.key);
    store.put(&entry.key, "mine");
    let went_on_at = Moment::now();
    for process in &frozen {
        process.signal(Signal::SIGCONT);
    }
    let output = waiter.wait();
    output.assert_status(0);
    let waited = Moment::parse(&output.stdout).since(went_on_at);
    assert!(waited >= DELAY - Duration::from_millis(50), "{waited:?}");
    // What somebody else has put is theirs, and all there is.
    let left = store.entries("job");
    assert!(
        matches!(&left[..], [own] if own.key == entry.key),
        "{left:?}"
    );
    assert!(store.markers("job").is_empty());
}

#[test]
fn a_clean_holder_does_not_make_the_next_one_wait() {
    let etcd = Service::start();
    let holder = etcd
        .run("job")
        .arguments(["--lock-delay", "60"])
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").probe(["now"]).spawn();
    etcd.store().wait_for_entries("job", 2);
    let ended_at = holder.wait();
    ended_at.assert_status(0);
    let output = waiter.wait_within(SOON);
    output.assert_status(0);
    let waited = Moment::parse(&output.stdout).since(ended_at.ended_at);
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    etcd.store().assert_clean();
}

#[test]
fn a_vanished_waiter_holds_nobody_up() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    let vanishing = etcd
        .run("job")
        .ttl(TTL_S)
        .arguments(["--lock-delay", "0"])
        .shell("true")
        .spawn();
    etcd.store().wait_for_entries("job", 2);
    let last = etcd.run("job").shell("echo ran").spawn();
    etcd.store().wait_for_entries("job", 3);
    vanishing.vanish();
    wait_for_expiry(&etcd, 2);
    holder.wait().assert_status(0);
    last.wait_within(SOON)
        .assert_status(0)
        .assert_stdout("ran\n");
    etcd.store().assert_clean();
}

/// Waits until so many entries are left; returns the moment just before that was seen.
fn wait_for_expiry(etcd: &Service, left: usize) -> Moment {
    let store = etcd.store();
    let mut before = Moment::now();
    eventually("the lease of who vanished expires", SOON, || {
        let looked_at = Moment::now();
        let entries = store.entries("job");
        // Whoever waits for no lock delay may have come and gone already.
        if entries.len() <= left {
            return Ok(before);
        }
        before = looked_at;
        Err(format!("{entries:?}"))
    })
}

in_a_folder_too![
    a_vanished_holder_makes_the_next_one_wait_its_lock_delay,
    one_who_comes_when_the_holder_has_vanished_already_waits_too_and_only_once,
    a_vanished_holder_without_a_lock_delay_costs_nothing_more,
    a_clean_holder_does_not_make_the_next_one_wait,
    a_vanished_waiter_holds_nobody_up,
];
