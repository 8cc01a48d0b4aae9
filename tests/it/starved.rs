//! Managers that are late, and managers that are frozen: both let the deadline pass.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, freeze};
use crate::harness::etcd::Etcd;
use crate::harness::eventually::SOON;
use crate::harness::leasehold::Running;

/// A tree that is hard to kill, under a lease that is short.
fn tree(etcd: &Etcd, report: &Path) -> Running {
    let running = etcd
        .run("job")
        .report(report)
        .arguments(["--ttl", "3", "--lock-delay", "0"])
        .probe(["tree", "daemon"])
        .spawn();
    running.expect_stdout("ready");
    running
}

fn loss(report: &Path) -> String {
    let text = fs::read_to_string(report).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    report["loss"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_manager_that_was_only_late_finds_its_tree_dead_and_gives_the_lock_back() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report");
    let running = tree(&etcd, &report);
    let tree = running.command_processes();
    let own = Own::of(&running);
    freeze(&own.manager);
    // By the front, after the deadline.
    for process in &tree {
        process.wait_dead(SOON);
    }
    assert!(!own.manager.is_dead(), "it may only be late");
    own.manager.signal(Signal::SIGCONT);
    running.wait().assert_status(79).assert_nobody_left();
    assert_ne!(loss(&report), "manager-frozen");
    etcd.store().assert_clean();
}

#[test]
fn a_manager_that_stays_silent_is_killed_after_its_tree() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report");
    let running = tree(&etcd, &report);
    let tree = running.command_processes();
    let own = Own::of(&running);
    freeze(&own.manager);
    own.manager.wait_dead(SOON);
    assert!(
        tree.iter().all(|process| process.is_dead()),
        "the tree first"
    );
    running.wait().assert_status(79).assert_nobody_left();
    assert_eq!(loss(&report), "manager-frozen");
}
