//! Who is who around a command, and places where leasehold has to do without something.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::eventually::{SOON, eventually};
use super::leasehold::{Run, Running, probe};
use super::processes::{Moment, Process, describe};

/// leasehold's processes around a command: see src/process/mod.rs.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) front: Process,
    pub(crate) witness: Process,
    pub(crate) manager: Process,
}

impl Own {
    #[track_caller]
    pub(crate) fn of(running: &Running) -> Self {
        Self::among(running.processes())
    }

    /// The only ones among these processes.
    #[track_caller]
    pub(crate) fn among(processes: Vec<Process>) -> Self {
        let mut found = [None, None, None];
        for process in processes {
            let name = name(process.pid);
            let who = ["leasehold", "lock-witness", "lock-manager"];
            if let Some(index) = who.iter().position(|who| name == *who) {
                assert!(found[index].is_none(), "two processes named {name}");
                found[index] = Some(process);
            }
        }
        let [Some(front), Some(witness), Some(manager)] = found else {
            panic!("front, witness and manager should be there: {found:?}");
        };
        Self {
            front,
            witness,
            manager,
        }
    }
}

/// The name that a process has given itself.
pub(crate) fn name(pid: i32) -> String {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.trim_end().to_owned()
}

/// Its children that are not reaped.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_ascii_whitespace()
        .map(|pid| pid.parse().expect("proc(5)"))
        .collect()
}

/// The command itself. Not the lowest number of its tree: numbers begin anew after `kernel.pid_max`. The kernel appends
/// to a process's children, so those that were orphaned to the manager come after the one that it started.
#[track_caller]
pub(crate) fn command_of(running: &Running) -> Process {
    let manager = Own::of(running).manager;
    let command = children(manager.pid).first().copied();
    command
        .and_then(Process::open)
        .expect("the command should be there")
}

/// Waits until a process is stopped by a signal.
#[track_caller]
pub(crate) fn wait_stopped(process: &Process) {
    eventually("the process is stopped", SOON, || {
        let state = describe(process.pid);
        if state.contains("[T") {
            Ok(())
        } else {
            Err(state)
        }
    });
}

/// Freezes a process, and waits until it is.
#[track_caller]
pub(crate) fn freeze(process: &Process) {
    process.signal(Signal::SIGSTOP);
    wait_stopped(process);
}

/// All of these die within this time, together.
#[track_caller]
pub(crate) fn assert_dead_within(processes: &[Process], time: Duration) {
    assert!(!processes.is_empty(), "there should be a tree");
    let deadline = Moment::now() + time;
    for process in processes {
        process.wait_dead(deadline.since(Moment::now()));
    }
}

/// Whether the tests have root's rights: some places can only be made with them.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A user whom nobody else is, another one each time: its processes can be counted and limited.
pub(crate) fn nobodys_uid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    100_000 + 64 * std::process::id() + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The beginning of a shell command line: `sh -c`, as root in every respect, so that an unprivileged caller may not
/// signal it any more (kill(2)), as under sudo(8). The program is made in `folder`.
pub(crate) fn set_uid_shell(folder: &Path) -> String {
    fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).expect("ours");
    let sudo = folder.join("sudo");
    if !sudo.exists() {
        fs::copy("/usr/bin/setpriv", &sudo).expect("copied");
        fs::set_permissions(&sudo, PermissionsExt::from_mode(0o4755)).expect("ours");
    }
    format!(
        "{} --reuid 0 --regid 0 --clear-groups sh -c",
        sudo.display()
    )
}

impl Run {
    /// As a user without any rights: one whom nobody else is, where the tests have root's rights.
    pub(crate) fn unprivileged(self) -> Self {
        self.by_user(nobodys_uid())
    }

    /// As this user, where the tests have root's rights.
    pub(crate) fn by_user(self, uid: u32) -> Self {
        if !is_root() {
            return self;
        }
        let run = self.variable("HOME", "/nonexistent").in_folder_of(uid);
        let uid = uid.to_string();
        run.wrapped([
            "setpriv",
            "--reuid",
            &uid,
            "--regid",
            &uid,
            "--clear-groups",
        ])
    }

    /// As PID 1 of a container, as far as processes go.
    pub(crate) fn pid_1(self) -> Self {
        if is_root() {
            self.wrapped(["unshare", "--pid", "--fork", "--mount-proc"])
        } else {
            self.wrapped(["unshare", "-r", "--pid", "--fork", "--mount-proc"])
        }
    }

    /// In a mount namespace of its own, after a shell script that changes it.
    pub(crate) fn after_mounts(self, script: &str) -> Self {
        let script = format!("set -e; {script}; exec \"$@\"");
        let run = self.wrapped(["sh", "-c", &script, "sh"]);
        if is_root() {
            run.wrapped(["unshare", "--mount"])
        } else {
            run.wrapped(["unshare", "-r", "--mount"])
        }
    }

    /// Where a system call does not exist: see tests/probe/lacking.rs.
    pub(crate) fn without(self, call: &str) -> Self {
        self.wrapped([&probe(), "without", call])
    }
}
