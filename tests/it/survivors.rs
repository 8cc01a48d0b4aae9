//! Who lives on after SIGKILL: another user's processes, and those that wait in the kernel. They are named, and the lock
//! is kept for them.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, assert_dead_within, is_root, name, set_uid_shell};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::leasehold::{Running, probe};
use crate::harness::processes::describe;
use crate::harness::service::{Service, in_a_folder, in_a_folder_too};
use crate::harness::untested;

/// The promise is 100 ms on a machine with time; tests share two cores with one another.
const SOON_DEAD: Duration = Duration::from_secs(2);

/// The lease lives on beyond its TTL of 3 s, so it is renewed.
#[track_caller]
fn assert_renewed(service: &Service, running: &Running) {
    let lease = service.store().entries("job")[0].lease;
    let_time_pass_until(running.started_at + Duration::from_secs(6));
    assert_eq!(service.store().entries("job")[0].lease, lease);
}

#[test]
fn a_process_of_another_user_is_named_and_the_lock_kept_until_it_is_gone() {
    let etcd = Service::start();
    if !is_root() {
        return untested::not_allowed("only root can make a set-uid program");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let child = set_uid_shell(folder.path());
    let script = format!("{child} 'echo ready; exec sleep 1000' & wait");
    let running = etcd
        .run("job")
        .arguments(["--ttl", "3", "--max-runtime", "0.5", "-k", "0.2"])
        .shell(&script)
        .unprivileged()
        .spawn();
    running.expect_stdout("ready");
    let stderr = running.expect_stderr("end them by hand");
    assert!(stderr.contains("sleep"), "{stderr}");
    let left = running.command_processes();
    assert_eq!(left.len(), 1, "the others were killed");
    assert_renewed(&etcd, &running);
    left[0].signal(Signal::SIGKILL);
    running.wait().assert_status(124).assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn a_process_in_uninterruptible_sleep_is_named_and_the_lock_kept_until_it_is_gone() {
    let etcd = Service::start();
    let Some(running) = run_that_hangs_in_a_system_call(&etcd) else {
        return;
    };
    let left = running.command_processes();
    let stderr = running.expect_stderr("end them by hand");
    assert!(stderr.contains("uninterruptible"), "{stderr}");
    assert_renewed(&etcd, &running);
    end_of_the_file_system(&running);
    assert_dead_within(&left, SOON_DEAD);
    running.wait().assert_status(124).assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn a_front_that_is_left_with_somebody_whom_it_cannot_kill_says_so_and_ends() {
    let etcd = Service::start();
    let Some(running) = run_that_hangs_in_a_system_call(&etcd) else {
        return;
    };
    Own::of(&running).manager.signal(Signal::SIGKILL);
    let stderr = running.expect_stderr("cannot be killed and run on");
    assert!(stderr.contains("uninterruptible"), "{stderr}");
    end_of_the_file_system(&running);
    running.wait().assert_status(79);
}

/// A lock in etcd would be free at the end of its lease: nobody is left to renew it.
#[test]
fn a_lock_in_a_folder_is_kept_as_long_as_somebody_lives_whom_nobody_can_kill() {
    in_a_folder(|| {
        let folder = Service::start();
        let Some(running) = run_that_hangs_in_a_system_call(&folder) else {
            return;
        };
        let Own {
            front,
            witness,
            manager,
        } = Own::of(&running);
        manager.signal(Signal::SIGKILL);
        let stderr = running.expect_stderr("cannot be killed, so the lock is kept");
        assert!(stderr.contains("uninterruptible"), "{stderr}");
        front.wait_dead(SOON);
        assert!(!witness.is_dead(), "it keeps the lock");
        let next = || {
            folder
                .run("job")
                .arguments(["-n", "--lock-delay", "0"])
                .shell("echo ran")
                .output()
        };
        next().assert_status(75).assert_stdout("");
        end_of_the_file_system(&running);
        witness.wait_dead(SOON);
        running.wait().assert_status(79).assert_nobody_left();
        let waits = folder.run("job").arguments(["-w", "30"]).shell("echo ran");
        waits.output().assert_status(0).assert_stdout("ran\n");
    });
}

/// The front is shown nobody whom it could not kill. That does not mean that nobody is left.
#[test]
fn a_lock_in_a_folder_is_kept_for_somebody_whom_nobody_can_see() {
    if !is_root() {
        return untested::not_allowed("only root can make a set-uid program");
    }
    in_a_folder(|| {
        let folder = Service::start();
        let programs = tempfile::tempdir().expect("a folder");
        let child = set_uid_shell(programs.path());
        let running = folder
            .run("job")
            .shell(&format!("{child} 'echo ready; exec sleep 1000' & wait"))
            .unprivileged()
            .after_mounts("mount -t proc -o hidepid=2 proc /proc")
            .spawn();
        running.expect_stdout("ready");
        let Own {
            front,
            witness,
            manager,
        } = Own::of(&running);
        manager.signal(Signal::SIGKILL);
        running.expect_stderr("the lock is kept: processes that cannot be seen from here");
        front.wait_dead(SOON);
        assert!(!witness.is_dead(), "it keeps the lock");
        let left = running.command_processes();
        assert_eq!(left.len(), 1, "the others were killed");
        let next = folder.run("job").arguments(["-n"]).shell("echo ran");
        let next = next.unprivileged().output();
        next.assert_status(75).assert_stdout("");
        left[0].signal(Signal::SIGKILL);
        witness.wait_dead(SOON);
        running.wait().assert_status(79).assert_nobody_left();
    });
}

/// A run past its maximum runtime whose command waits for a file system that does not answer.
fn run_that_hangs_in_a_system_call(etcd: &Service) -> Option<Running> {
    if !is_root() || !Path::new("/dev/fuse").exists() {
        untested::not_allowed("no file system can be made that does not answer");
        return None;
    }
    let running = etcd
        .run("job")
        .arguments(["--ttl", "3", "--max-runtime", "0.5", "-k", "0.2"])
        .command(["stat", "/mnt/file"])
        .after_mounts(&format!("{} hang /mnt", probe()))
        .spawn();
    eventually("the command hangs", SOON, || {
        let states: Vec<String> = running
            .command_processes()
            .iter()
            .map(|process| describe(process.pid))
            .collect();
        // Before it does it can be killed.
        let hangs = |state: &String| state.contains("[D") && state.contains("stat /mnt");
        match states.iter().any(hangs) {
            true => Ok(()),
            false => Err(states.join("; ")),
        }
    });
    Some(running)
}

/// Whoever waits for it gets an error.
fn end_of_the_file_system(running: &Running) {
    for process in running.processes() {
        if name(process.pid) == "probe" {
            process.signal(Signal::SIGKILL);
        }
    }
}

in_a_folder_too![
    a_process_of_another_user_is_named_and_the_lock_kept_until_it_is_gone,
    a_process_in_uninterruptible_sleep_is_named_and_the_lock_kept_until_it_is_gone,
];
