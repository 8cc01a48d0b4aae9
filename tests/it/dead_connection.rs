//! A connection that dies without a word, as behind a router that lost its table: what is open stays open and
//! carries nothing, while new connections work.

use std::time::Duration;

use crate::harness::etcd::{Etcd, free_port};
use crate::harness::eventually::SOON;
use crate::harness::fault::Fault;
use crate::harness::leasehold::Run;
use crate::harness::proxy::{Proxy, Way};

/// Long enough for the next renewal not to come into it.
const TTL_S: u32 = 60;

#[test]
fn a_lease_that_ends_early_kills_the_command_before_its_successor_starts() {
    let mut fault = Fault::of("connections die without a word while the lease ends early");
    let etcd = Etcd::start();
    let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
    let holder = Run::new(&proxy.endpoint())
        .lock("job")
        .ttl(TTL_S)
        .probe(["tree", "setsid"])
        .spawn();
    holder.expect_stdout("ready");
    let cookie = holder.cookie().to_owned();
    let entry = etcd.store().entries("job")[0].clone();
    proxy.forget();
    // A paused old leader can end a lease before its time; the lock delay has to cover it.
    etcd.store().revoke(entry.lease);
    etcd.run("job")
        .probe(["census", &cookie])
        .output()
        .assert_status(0)
        .assert_stdout("0 alive\n");
    holder.wait_within(SOON).assert_status(79);
    etcd.store().assert_clean();
    fault.injected("open connections carry nothing any more, and the lease is revoked, long before a renewal is due");
    fault.seen("79; the next holder found nobody alive");
}

#[test]
fn a_loss_is_acted_upon_although_nobody_can_be_asked_for_its_name() {
    let etcd = Etcd::start();
    let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
    let holder = Run::new(&proxy.endpoint())
        .lock("job")
        .ttl(TTL_S)
        .probe(["tree", "plain"])
        .spawn();
    holder.expect_stdout("ready");
    let command = holder.command_processes();
    // The answer that proves the loss is the last one that comes through.
    proxy.delay(Duration::from_millis(200));
    etcd.store().delete(&etcd.store().entries("job")[0].key);
    for process in command {
        process.wait_dead(Duration::from_secs(2));
    }
    proxy.hold(Way::ToClient);
    holder.wait_within(SOON).assert_status(79);
}

#[test]
fn a_wait_that_is_over_before_the_first_answer_leaves_nothing_behind() {
    let etcd = Etcd::start();
    let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
    proxy.delay(Duration::from_millis(100));
    for wait in ["0.05", "0.25", "0.35", "0.45", "0.55"] {
        let output = Run::new(&proxy.endpoint())
            .lock("job")
            .arguments(["-w", wait])
            // As long lives what keeps out that which was sent and may be carried out late.
            .ttl(3)
            .shell("echo ran")
            .output();
        // Over a slow network it may just be in time.
        assert!(
            [Some(69), Some(75), Some(0)].contains(&output.status.code()),
            "{}",
            output.describe()
        );
        etcd.store().assert_clean();
    }
}
