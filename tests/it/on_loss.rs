//! `--on-loss warn`: a lost lock is said and reported, and the command runs to its end.

use serde_json::Value;
use tempfile::tempdir;

use crate::harness::leasehold::Running;
use crate::harness::service::{Service, in_a_folder_too};

#[test]
fn the_command_of_a_lost_lock_runs_on_when_that_was_asked_for() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let running = etcd
        .run("job")
        .ttl(3)
        .arguments(["--on-loss", "warn", "--lock-delay", "0"])
        .report(&report)
        .shell("echo ready; read line; echo went on; exit 4")
        .spawn();
    running.expect_stdout("ready");
    lose(&etcd, &running);
    // Somebody else has the lock by now, and gives it back.
    etcd.run("job").shell("echo mine").output().assert_status(0);
    let output = end(running);
    output.assert_status(79).assert_stdout("ready\nwent on\n");
    output.assert_stderr_has(["the command ran on without it (--on-loss warn)"]);
    let report = std::fs::read_to_string(report).expect("written");
    let report: Value = serde_json::from_str(&report).expect("one object");
    assert_eq!(report["outcome"], "lost");
    assert_eq!(report["loss"], "lease-gone");
    assert_eq!(report["command"]["exited"], 4);
    etcd.store().assert_clean();
}

#[test]
fn nobody_kills_at_a_deadline_either() {
    let mut etcd = Service::start();
    let running = etcd
        .run("job")
        .ttl(3)
        .arguments(["--on-loss", "warn"])
        .shell("echo ready; read line; echo went on")
        .spawn();
    running.expect_stdout("ready");
    etcd.only().stop();
    running.expect_stderr("lock lost: the lease could not be renewed in time");
    let watched = running
        .process
        .ended_within(std::time::Duration::from_secs(3));
    assert!(!watched, "killed although nobody asked for it");
    let output = end(running);
    output.assert_status(79).assert_stdout("ready\nwent on\n");
}

fn lose(etcd: &Service, running: &Running) {
    let entry = etcd.store().entries("job").remove(0);
    etcd.store().revoke(entry.lease);
    running.expect_stderr("lock lost: its lease is gone");
}

fn end(mut running: Running) -> crate::harness::leasehold::Output {
    running.type_line("go on");
    running.wait()
}

in_a_folder_too![the_command_of_a_lost_lock_runs_on_when_that_was_asked_for,];
