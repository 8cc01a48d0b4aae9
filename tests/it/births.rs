//! Before there is a command: whoever is killed at whatever moment of a run's beginning, nobody is left, and a waiter
//! that can start nothing any more says so at once.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::name;
use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};

/// What the stub calls itself.
const STUB: &str = "lock-command";

#[test]
fn whoever_is_killed_at_whatever_moment_nobody_is_left() {
    let etcd = Etcd::start();
    for victim in ["leasehold", "lock-witness", "lock-manager", STUB] {
        for step in 0..20 {
            let lock = format!("{victim}/{step}");
            let running = etcd
                .run(&lock)
                .arguments(["-q", "--ttl", "3", "--lock-delay", "0"])
                .shell("echo ready; exec sleep 1000")
                .own_group()
                .spawn();
            let_time_pass_until(running.started_at + Duration::from_millis(step));
            let mut all = running.processes();
            all.retain(|process| name(process.pid) == victim);
            for process in &all {
                process.signal(Signal::SIGKILL);
            }
            if all.is_empty() {
                // It was not there yet, or is the command by now.
                running.expect_stdout("ready");
                running.signal(Signal::SIGTERM);
            }
            running.wait().assert_nobody_left();
        }
    }
}

#[test]
fn a_waiter_whose_stub_is_killed_says_so_at_once_and_gives_its_place_back() {
    let etcd = Etcd::start();
    let holder = etcd.hold("job");
    let waiter = etcd.run("job").command(["true"]).spawn();
    etcd.store().wait_for_entries("job", 2);
    let stub = eventually("the stub is there", SOON, || {
        let mut all = waiter.processes();
        all.retain(|process| name(process.pid) == STUB);
        all.pop().ok_or("not yet")
    });
    stub.signal(Signal::SIGKILL);
    waiter
        .wait()
        .assert_status(70)
        .assert_stderr_has(["stub", "was killed before the command ran"])
        .assert_nobody_left();
    etcd.store().wait_for_entries("job", 1);
    holder.wait().assert_status(0);
    etcd.store().assert_clean();
}
