//! A machine that `fence run` protects: a folder with a state file.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::eventually::{SOON, eventually};
use super::leasehold::{Run, Running, binary};
use super::processes::Process;

/// A folder with a state file.
pub(crate) struct Machine {
    pub(crate) folder: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::with_prefix("leasehold-fence-").expect("a folder"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state(&self) -> String {
        fs::read_to_string(self.path("state")).expect("readable")
    }

    /// `fence run --state state --token TOKEN`
    pub(crate) fn run(&self, token: &str) -> Run {
        fence_run(&self.path("state"), token)
    }

    /// A command that runs until its stdin ends, with a grandchild in a session of its own that ignores TERM.
    pub(crate) fn stubborn(&self, token: &str) -> Running {
        // A shell gives what it puts in the background /dev/null for its stdin: the third descriptor is the real one.
        let script = "exec 3<&0; trap '' TERM; \
                      setsid sh -c 'trap \"\" TERM; echo ready; cat <&3 >/dev/null' & cat; wait";
        let running = self.run(token).shell(script).spawn();
        running.expect_stdout("ready");
        // A process in the middle of its exec shows no environment, and would be missed.
        eventually(
            "the shell, its cat and the grandchild are seen",
            SOON,
            || match running.command_processes() {
                tree if tree.len() >= 3 => Ok(()),
                tree => Err(format!("{tree:?}")),
            },
        );
        running
    }
}

/// `fence run --state STATE --token TOKEN`
pub(crate) fn fence_run(state: &Path, token: &str) -> Run {
    let state = state.to_str().expect("readable");
    Run::program(binary()).arguments(["fence", "run", "--state", state, "--token", token])
}

#[track_caller]
pub(crate) fn assert_all_dead(processes: &[Process]) {
    for process in processes {
        process.wait_dead(SOON);
    }
}

/// One of leasehold's own processes: leasehold (the front), lock-witness or lock-manager.
#[track_caller]
pub(crate) fn process_named(running: &Running, name: &str) -> Process {
    eventually(format!("a process named {name}"), SOON, || {
        let is_it = |process: &Process| {
            let path = format!("/proc/{}/comm", process.pid);
            fs::read_to_string(path).is_ok_and(|comm| comm.trim() == name)
        };
        running
            .processes()
            .into_iter()
            .find(is_it)
            .ok_or("none yet")
    })
}
