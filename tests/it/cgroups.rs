//! Cgroups: one of the command's own, where that is allowed, and one that somebody freezes.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, assert_dead_within, nobodys_uid, set_uid_shell};
use crate::harness::cgroup::Cgroup;
use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::Run;
use crate::harness::processes::{Moment, describe};
use crate::harness::untested;

/// The promise is milliseconds; nobody else runs at the same time, but for the machine's other work.
const AFTER_THE_THAW: Duration = Duration::from_millis(100);

#[test]
fn a_frozen_cgroup_is_dead_within_milliseconds_of_its_thaw_if_its_lease_ran_out() {
    let etcd = Etcd::start();
    for user in ["root", "unprivileged"] {
        let Some(cgroup) = Cgroup::make() else {
            return untested::not_allowed("no cgroup can be made");
        };
        let run = |name: &str| {
            etcd.run(name)
                .arguments(["-q", "--ttl", "3", "--lock-delay", "0"])
                .probe(["tree", "daemon"])
        };
        let running = match user {
            "root" => run(user),
            _ => run(user).unprivileged(),
        };
        let running = cgroup.holding(running).spawn();
        running.expect_stdout("ready");
        let tree = running.command_processes();
        let own = Own::of(&running);
        let next = etcd.run(user).shell("echo ready; cat").spawn();
        etcd.store().wait_for_entries(user, 2);
        cgroup.freeze();
        // Everybody is there, nobody runs, and the lock is somebody else's.
        next.expect_stdout("ready");
        assert!(tree.iter().all(|process| !process.is_dead()), "{user}");
        assert!(!own.manager.is_dead(), "{user}");
        let thawed_at = Moment::now();
        cgroup.thaw();
        let dead_at = tree.iter().map(|process| process.wait_dead(SOON)).max();
        let took = dead_at.expect("a tree").since(thawed_at);
        println!("{user}: dead {took:?} after the thaw");
        assert!(took < AFTER_THE_THAW, "{user}: {took:?}");
        running.wait().assert_status(79).assert_nobody_left();
        next.wait().assert_status(0);
    }
    etcd.store().assert_clean();
}

#[test]
fn a_cgroup_that_a_killed_run_of_the_same_pid_left_is_no_hindrance_and_is_gone_afterwards() {
    let Some(cgroup) = Cgroup::make() else {
        return untested::not_allowed("no cgroup can be made");
    };
    let etcd = Etcd::start();
    let left = format!("mkdir {}/leasehold-$$ && exec \"$@\"", cgroup.path());
    let run = etcd.run("job").shell("grep ^0:: /proc/self/cgroup");
    let run = run.wrapped(["sh", "-c", &left, "sh"]);
    let output = cgroup.holding(run).output();
    output.assert_status(0).assert_nobody_left();
    assert!(
        output.stdout.contains("/leasehold-"),
        "{}",
        output.describe()
    );
    assert!(cgroup.children().is_empty(), "{:?}", cgroup.children());
}

/// They are moved one by one, and whoever forks meanwhile leaves a child where it was.
#[test]
fn who_is_let_live_leaves_the_cgroup_also_while_it_forks() {
    let etcd = Etcd::start();
    let Some(cgroup) = Cgroup::make() else {
        return untested::not_allowed("no cgroup can be made");
    };
    // The one that forks comes last.
    let script = "exec 3<&0; \
        for i in $(seq 300); do sleep 1000 <&- >&- 2>&- 3<&- & done; \
        (for i in $(seq 300); do sleep 1001 3<&- & done; exec sleep 1002 3<&-) <&- >&- 2>&- & \
        exec true";
    let run = etcd.run("job").arguments(["-q", "--on-leftover", "leave"]);
    let running = cgroup.holding(run.shell(script)).spawn();
    assert!(running.process.ended_within(SOON));
    let left = eventually("all have been forked", SOON, || {
        let found: Vec<_> = running.processes();
        let done = found
            .iter()
            .any(|process| describe(process.pid).ends_with(" 1002"));
        if done && found.len() == 601 {
            Ok(found)
        } else {
            Err(found.len())
        }
    });
    let inside: Vec<String> = cgroup
        .children()
        .iter()
        .map(|folder| std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default())
        .collect();
    for process in &left {
        process.signal(Signal::SIGKILL);
    }
    assert!(inside.concat().is_empty(), "still in it: {inside:?}");
    running.wait().assert_status(0).assert_nobody_left();
}

/// A command that leaves a process of root's behind, which an unprivileged leasehold may not signal.
fn with_a_set_uid_child(etcd: &Etcd, uid: u32, folder: &std::path::Path) -> Run {
    let child = set_uid_shell(folder);
    etcd.run("job")
        .arguments(["-q", "--ttl", "3", "--lock-delay", "0", "-k", "0.2"])
        .shell(&format!("{child} 'echo ready; exec sleep 1000' & wait"))
        .by_user(uid)
}

#[test]
fn in_a_delegated_cgroup_another_users_processes_die_in_time_whoever_dies_first() {
    let etcd = Etcd::start();
    let Some(cgroup) = Cgroup::make() else {
        return untested::not_allowed("no cgroup can be made");
    };
    let uid = nobodys_uid();
    cgroup.delegate(uid);
    let folder = tempfile::tempdir().expect("a folder");
    let strikes: [fn(&Own); 4] = [
        |own| own.front.signal(Signal::SIGKILL),
        |own| own.witness.signal(Signal::SIGKILL),
        |own| own.manager.signal(Signal::SIGKILL),
        |own| {
            own.front.signal(Signal::SIGKILL);
            own.manager.signal(Signal::SIGKILL);
        },
    ];
    for strike in strikes {
        let run = with_a_set_uid_child(&etcd, uid, folder.path());
        let running = cgroup.holding(run).spawn();
        running.expect_stdout("ready");
        let tree = running.command_processes();
        assert_eq!(tree.len(), 2, "a shell and root's sleep");
        assert_eq!(cgroup.children().len(), 1, "a cgroup of the command's own");
        strike(&Own::of(&running));
        assert_dead_within(&tree, Duration::from_secs(1));
        running.wait().assert_nobody_left();
        eventually(
            "its cgroup is gone",
            SOON,
            || match &cgroup.children()[..] {
                [] => Ok(()),
                left => Err(format!("{left:?}")),
            },
        );
    }
    // At the end of its time.
    let run = with_a_set_uid_child(&etcd, uid, folder.path()).arguments(["--max-runtime", "0.5"]);
    cgroup
        .holding(run)
        .output()
        .assert_status(124)
        .assert_nobody_left();
    assert!(cgroup.children().is_empty());
}
