//! A reply to `fence put` or `fence delete` that was lost: what became of it is read, or said to be unknown. It is
//! never guessed, and nothing is done twice.

use std::time::Duration;

use crate::fence_etcd::{Held, hold, value};
use crate::harness::etcd::free_port;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Run, Running};
use crate::harness::proxy::Proxy;

/// Enough to break a connection between etcd's answer and its arrival.
const DELAY: Duration = Duration::from_millis(400);

/// A write whose reply is on its way when the connection breaks.
fn write_and_lose_the_reply(held: &Held, proxy: &Proxy, patience: &str) -> Running {
    proxy.delay(DELAY);
    let sequencer = &held.sequencer;
    let writing = Run::new(&proxy.endpoint())
        .arguments(["fence", "put", "--sequencer", sequencer, "app/a", "mine"])
        .arguments(["--connect-timeout", patience])
        .spawn();
    let store = held.etcd.store();
    eventually("the value is in etcd", SOON, || {
        value(&store, "app/a").ok_or("not yet")
    });
    proxy.cut();
    proxy.delay(Duration::ZERO);
    writing
}

fn proxied(held: &mut Held) -> Proxy {
    Proxy::start(free_port(), held.etcd.only().address()).expect("listens")
}

#[test]
fn a_lost_reply_is_looked_up_and_the_value_is_written_once() {
    let mut fault = Fault::of("reply to a fenced write lost");
    let mut held = Held::start();
    let proxy = proxied(&mut held);
    let writing = write_and_lose_the_reply(&held, &proxy, "20");
    proxy.mend();
    writing.wait().assert_status(0).assert_silent();
    assert_eq!(held.value("app/a").expect("there").version, 1, "once");
    fault.injected("the connection broke when the value was in etcd and the reply on its way");
    fault.seen("fence put looked it up and ended with 0; the key is in its first version");
}

#[test]
fn a_lost_reply_is_looked_up_also_when_a_successor_has_written_since() {
    let mut held = Held::start();
    let proxy = proxied(&mut held);
    let writing = write_and_lose_the_reply(&held, &proxy, "30");
    let Held { etcd, holder, .. } = held;
    holder.wait().assert_status(0);
    let (_next, sequencer) = hold(&etcd);
    let put = ["fence", "put", "--sequencer", &sequencer, "app/a", "next"];
    etcd.leasehold(put).output().assert_status(0);
    proxy.mend();
    writing.wait().assert_status(0);
    let kept = value(&etcd.store(), "app/a").expect("there");
    assert_eq!((&kept.value[..], kept.version), (&b"next"[..], 2));
}

/// A holder's put of "same" whose request is lost on its way, at its `nth` conversation with etcd; meanwhile the
/// lock changes hands and the successor puts "same" as well.
fn write_what_the_successor_writes(nth: usize) {
    let mut held = Held::start();
    held.put("app/a", "before").output().assert_status(0);
    let proxy = proxied(&mut held);
    proxy.delay(DELAY);
    let sequencer = &held.sequencer;
    let writing = Run::new(&proxy.endpoint())
        .arguments(["fence", "put", "--sequencer", sequencer, "app/a", "same"])
        .arguments(["--connect-timeout", "20"])
        .spawn();
    for _ in 0..nth {
        proxy.wait_for_quiet_after_next_burst(SOON);
    }
    proxy.cut();
    proxy.delay(Duration::ZERO);
    let Held { etcd, holder, .. } = held;
    holder.wait().assert_status(0);
    let (_next, sequencer) = hold(&etcd);
    let put = ["fence", "put", "--sequencer", &sequencer, "app/a", "same"];
    etcd.leasehold(put).output().assert_status(0);
    proxy.mend();
    writing
        .wait()
        .assert_status(79)
        .assert_stderr_has(["app/a was not written"]);
    assert_eq!(value(&etcd.store(), "app/a").expect("there").version, 2);
}

#[test]
fn a_write_that_was_lost_is_not_taken_for_the_same_one_of_a_successor() {
    // The first one greets, the second one reads, the third one writes.
    for nth in 1..=3 {
        write_what_the_successor_writes(nth);
    }
}

#[test]
fn a_lost_reply_that_cannot_be_looked_up_is_unknown_and_says_what_to_do() {
    let mut held = Held::start();
    let proxy = proxied(&mut held);
    write_and_lose_the_reply(&held, &proxy, "8")
        .wait()
        .assert_status(69)
        .assert_stderr_has([
            "whether app/a was written is not known",
            "give the same command again",
        ]);
}

#[test]
fn a_lost_reply_to_a_deletion_is_looked_up_as_well() {
    for comes_back in [false, true] {
        let mut held = Held::start();
        held.put("app/a", "mine").output().assert_status(0);
        let proxy = proxied(&mut held);
        let deleting = delete_and_lose_the_reply(&held, &proxy, "20");
        if comes_back {
            held.put("app/a", "again").output().assert_status(0);
        }
        proxy.mend();
        deleting.wait().assert_status(0).assert_silent();
        // Not deleted a second time.
        assert_eq!(held.value("app/a").is_some(), comes_back);
    }
}

#[test]
fn a_lost_reply_to_a_deletion_that_cannot_be_looked_up_is_unknown() {
    let mut held = Held::start();
    held.put("app/a", "mine").output().assert_status(0);
    let proxy = proxied(&mut held);
    delete_and_lose_the_reply(&held, &proxy, "4")
        .wait()
        .assert_status(69)
        .assert_stderr_has(["whether app/a was deleted is not known"]);
}

fn delete_and_lose_the_reply(held: &Held, proxy: &Proxy, patience: &str) -> Running {
    proxy.delay(DELAY);
    let sequencer = &held.sequencer;
    let deleting = Run::new(&proxy.endpoint())
        .arguments(["fence", "delete", "--sequencer", sequencer, "app/a"])
        .arguments(["--connect-timeout", patience])
        .spawn();
    let store = held.etcd.store();
    eventually("the key is gone", SOON, || match value(&store, "app/a") {
        None => Ok(()),
        Some(there) => Err(format!("{there:?}")),
    });
    proxy.cut();
    proxy.delay(Duration::ZERO);
    deleting
}
