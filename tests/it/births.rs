//! Before there is a command: whoever is killed at whatever moment of a run's beginning, nobody is left, and a waiter
//! that can start nothing any more says so at once.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, freeze, name};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::leasehold::probe;
use crate::harness::processes::Moment;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::together::in_threads;
use crate::harness::untested;

/// What the stub calls itself.
const STUB: &str = "lock-command";

/// leasehold's processes in the order of their forks, and how many system calls each makes at the least until the
/// command is executed: from its birth, the first one from its fork.
const BIRTHS: [(&str, usize); 4] = [
    ("front", 20),
    ("witness", 20),
    ("manager", 100),
    ("stub", 10),
];
/// Far above what any of them makes.
const CALLS_MAX: usize = 2000;
const TTL_S: &str = "3";

/// Killed before each of its system calls, one after the other, until there is a command; then the next one in the
/// queue gets the lock.
#[test]
fn whoever_is_killed_at_whatever_system_call_nobody_is_left() {
    let etcd = Service::start();
    let run = |lock: &str| {
        let options = ["-q", "--ttl", TTL_S, "--lock-delay", "0"];
        etcd.run(lock).arguments(options).own_group()
    };
    let killed_at = |process: usize, call: usize| {
        let lock = format!("{process}/{call}");
        let (process, call) = (process.to_string(), call.to_string());
        run(&lock)
            .shell("exec sleep 1000")
            .wrapped([&probe(), "killed-at", &process, &call])
            .output()
    };
    if killed_at(0, CALLS_MAX).stderr.contains("ptrace") {
        return untested::not_allowed("nobody may trace here");
    }
    for (process, (name, calls_min)) in BIRTHS.into_iter().enumerate() {
        let calls = AtomicUsize::new(0);
        let over = AtomicBool::new(false);
        in_threads(4, 1..CALLS_MAX, |call| {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let output = killed_at(process, call);
            output.assert_nobody_left();
            // It was executed before the process had come so far, and got a TERM.
            if output.status.signal() == Some(libc::SIGTERM) {
                return over.store(true, Ordering::Relaxed);
            }
            let expected = match (output.status.code(), output.status.signal()) {
                (None, Some(libc::SIGKILL)) => name == "front" || name == "stub",
                // 79 where it is not known that the command was never executed. A stub that was told to become it
                // is taken for it, above.
                (Some(69 | 70 | 79), None) => name != "front",
                _ => false,
            };
            assert!(expected, "{name}, call {call}: {}", output.describe());
            calls.fetch_max(call, Ordering::Relaxed);
        });
        let calls = calls.into_inner();
        println!("{name}: killed at {calls} system calls");
        assert!(calls >= calls_min, "{name}: {calls} are not all");
        in_threads(4, 1..=calls, |call| {
            let next = run(&format!("{process}/{call}")).command(["true"]);
            next.output().assert_status(0);
        });
    }
    etcd.store().assert_clean();
}

#[test]
fn a_waiter_whose_stub_is_killed_says_so_at_once_and_gives_its_place_back() {
    let etcd = Service::start();
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

/// The manager looks at the deadline and lets the stub go; then everybody is frozen past the lease, and the stub is
/// the first to run again.
#[test]
fn a_stub_that_is_frozen_on_its_way_past_the_lease_becomes_no_command() {
    for on_loss in ["kill", "warn"] {
        freeze_the_stub_on_its_way(on_loss);
    }
}

fn freeze_the_stub_on_its_way(on_loss: &str) {
    let etcd = Service::start();
    let folder = tempfile::tempdir().expect("a folder");
    let ran = folder.path().join("ran");
    let holder = etcd.hold("job");
    let waiter = etcd
        .run("job")
        .arguments(["-q", "--ttl", "3", "--lock-delay", "0"])
        .arguments(["--on-loss", on_loss])
        .shell(&format!(": >{}", ran.display()))
        .spawn();
    etcd.store().wait_for_entries("job", 2);
    let stub = eventually("the stub is there", SOON, || {
        let mut all = waiter.processes();
        all.retain(|process| name(process.pid) == STUB);
        all.pop().ok_or("not yet")
    });
    freeze(&stub);
    holder.wait().assert_status(0);
    eventually("the stub is told to go", SOON, || {
        unread_in_pipes(stub.pid).then_some(()).ok_or("not yet")
    });
    let own = Own::of(&waiter);
    let frozen_at = Moment::now();
    // The guards first: they would kill it in time.
    for guard in [&own.front, &own.witness, &own.manager] {
        freeze(guard);
    }
    let_time_pass_until(frozen_at + Duration::from_secs(4));
    stub.signal(Signal::SIGCONT);
    stub.wait_dead(SOON);
    assert!(!ran.exists(), "it ran without the lock");
    own.manager.signal(Signal::SIGCONT);
    own.witness.signal(Signal::SIGCONT);
    own.front.signal(Signal::SIGCONT);
    let output = waiter.wait();
    output.assert_status(79).assert_nobody_left();
    assert!(!ran.exists());
}

/// Whether something stands in a pipe that this process has open for reading, besides the standard ones.
fn unread_in_pipes(pid: i32) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("ours");
    let is_pipe = |path: &Path| {
        std::fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("pipe:"))
    };
    descriptors
        .flatten()
        .filter(|entry| entry.file_name().len() > 1 || entry.file_name() > *"2")
        .map(|entry| entry.path())
        .filter(|path| is_pipe(path))
        .filter_map(|path| {
            File::options()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(path)
                .ok()
        })
        .any(|pipe| {
            let mut unread: libc::c_int = 0;
            // SAFETY: FIONREAD writes one int.
            let asked = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut unread) };
            asked == 0 && unread > 0
        })
}

in_a_folder_too![
    whoever_is_killed_at_whatever_system_call_nobody_is_left,
    a_waiter_whose_stub_is_killed_says_so_at_once_and_gives_its_place_back,
];
