//! Before there is a command: whoever is killed at whatever moment of a run's beginning, nobody is left, and a waiter
//! that can start nothing any more says so at once.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, freeze, name};
use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::processes::Moment;

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

/// The manager looks at the deadline and lets the stub go; then everybody is frozen past the lease, and the stub is
/// the first to run again.
#[test]
fn a_stub_that_is_frozen_on_its_way_past_the_lease_becomes_no_command() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let ran = folder.path().join("ran");
    let holder = etcd.hold("job");
    let waiter = etcd
        .run("job")
        .arguments(["-q", "--ttl", "3", "--lock-delay", "0"])
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
    waiter.wait().assert_nobody_left();
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
