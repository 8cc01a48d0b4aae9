//! A reply to `fence put` or `fence delete` that was lost: what became of it is read, or said to be unknown. It is
//! never guessed, and nothing is done twice.

use std::time::Duration;

use crate::fence_etcd::{Held, hold, value};
use crate::harness::etcd::{Etcd, free_port};
use crate::harness::eventually::{SOON, eventually};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Run, Running};
use crate::harness::proxy::{Proxy, Way};

/// Enough to break a connection between etcd's answer and its arrival.
const DELAY: Duration = Duration::from_millis(400);
/// Enough to act between an answer and what is said next; and a first attempt, which is given a second, still gets one.
const SHORT_DELAY: Duration = Duration::from_millis(200);

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

/// A holder who says nothing to etcd: whatever etcd is asked, it is asked by who writes.
struct Silent {
    etcd: Etcd,
    lease: i64,
    sequencer: String,
}

impl Silent {
    fn hold() -> Self {
        let etcd = Etcd::start();
        let store = etcd.store();
        let lease = store.grant(Duration::from_secs(60));
        let token = store.put_together([&*format!("/leasehold/job/{lease:x}")], lease);
        let cluster = store.cluster();
        Self {
            sequencer: format!("1:{cluster:x}:exclusive:{token}:{lease:x}:job"),
            etcd,
            lease,
        }
    }

    fn proxied(&mut self) -> Proxy {
        let proxy = Proxy::start(free_port(), self.etcd.only().address()).expect("listens");
        proxy.delay(SHORT_DELAY);
        proxy
    }

    fn fence<const N: usize>(&self, endpoints: &str, words: [&str; N]) -> Run {
        Run::new(endpoints)
            .arguments(["fence"])
            .arguments(words)
            .arguments(["--sequencer", &self.sequencer])
    }

    /// Waits until etcd has answered so many transactions in all. It counts them after it has answered: what was
    /// done before has to be waited for as well.
    fn wait_for_answers(&self, total: u64) {
        let label = "grpc_method=\"Txn\"";
        eventually("the transaction is answered", SOON, || {
            let now = self.etcd.metric("grpc_server_handled_total", label);
            if now >= total { Ok(()) } else { Err(now) }
        });
    }
}

/// A holder's put of "same" whose request is lost on its way, at its `nth` conversation with etcd or, at none, when
/// it has read and writes; meanwhile the lock changes hands and the successor puts "same" as well.
fn write_what_the_successor_writes(nth: Option<usize>) {
    let mut held = Silent::hold();
    let direct = held.etcd.endpoints();
    let before = held.fence(&direct, ["put", "app/a", "before"]).output();
    before.assert_status(0);
    let proxy = held.proxied();
    let writing = held
        .fence(&proxy.endpoint(), ["put", "app/a", "same"])
        .arguments(["--connect-timeout", "20"])
        .spawn();
    match nth {
        Some(nth) => {
            for _ in 0..nth {
                proxy.wait_for_quiet_after_next_burst(SOON);
            }
        }
        None => {
            // The entry, the first put (it reads, it writes), and the reading of the second.
            held.wait_for_answers(4);
            proxy.wait_for_quiet_after_next_burst(SOON);
        }
    }
    proxy.cut();
    proxy.delay(Duration::ZERO);
    let Silent { etcd, lease, .. } = held;
    etcd.store().revoke(lease);
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
    for nth in [Some(1), Some(2), None] {
        write_what_the_successor_writes(nth);
    }
}

/// As through a member that was frozen, and carries out what it was sent when it goes on.
#[test]
fn a_put_that_arrives_late_is_not_done_after_any_later_write_of_its_holder() {
    let later: [&[&str]; 2] = [&["put", "app/b", "later"], &["delete", "app/a"]];
    for later in later {
        let mut held = Silent::hold();
        let (proxy, direct) = (held.proxied(), held.etcd.endpoints());
        let writing = held
            .fence(&proxy.endpoint(), ["put", "app/a", "late"])
            .arguments(["--connect-timeout", "6"])
            .spawn();
        // The entry is there and it has read; what it sends now is the write.
        held.wait_for_answers(2);
        proxy.hold(Way::ToServer);
        proxy.wait_for_quiet_after_next_burst(SOON);
        proxy.deafen();
        writing
            .wait()
            .assert_status(69)
            .assert_stderr_has(["whether app/a was written is not known"]);
        // There is nothing to be deleted, and that is how it stays.
        let now = Run::new(&direct)
            .arguments(["fence"])
            .all_arguments(later)
            .arguments(["--sequencer", &held.sequencer]);
        now.output().assert_status(0);
        held.wait_for_answers(4);
        proxy.mend();
        held.wait_for_answers(5);
        let late = value(&held.etcd.store(), "app/a");
        assert!(late.is_none(), "{late:?} after {later:?}");
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
