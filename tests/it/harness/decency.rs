//! What holds for every run while a fault is tried, whatever happens to it: no panic, bounded memory, and nothing on
//! stderr that moves somebody's cursor.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Of each process of a run, the command's included. A manager that waits or holds takes half a megabyte of it (VmData in
/// proc_pid_status(5)): whoever wants so much more is refused it, and dies.
const MEMORY_MAX: u64 = 16 << 20;

static IS_ASKED_FOR: AtomicBool = AtomicBool::new(false);

/// From here on, for every run of leasehold's.
pub(crate) fn ask_for() {
    IS_ASKED_FOR.store(true, Ordering::Relaxed);
}

pub(crate) fn is_asked_for() -> bool {
    IS_ASKED_FOR.load(Ordering::Relaxed)
}

/// Pages of its own that it may write to (setrlimit(2), RLIMIT_DATA). A command that needs more can have it:
/// `ulimit -d unlimited`.
pub(crate) fn bound_memory(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe system calls are made.
    unsafe {
        command.pre_exec(|| {
            let (_, hard) = getrlimit(Resource::RLIMIT_DATA)?;
            Ok(setrlimit(Resource::RLIMIT_DATA, MEMORY_MAX, hard)?)
        });
    }
}

#[track_caller]
pub(crate) fn assert_decent(stderr: &str, describe: impl Fn() -> String) {
    let is_control = |character: char| character.is_control() && character != '\n';
    for word in ["panicked", "memory allocation of"] {
        assert!(!stderr.contains(word), "{}", describe());
    }
    assert!(!stderr.contains(is_control), "{stderr:?}: {}", describe());
}
