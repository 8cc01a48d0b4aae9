//! What this machine lets us do, and what still holds where it does not.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::prctl;

use crate::process::{cgroup, kill, tree};

/// Something that the processes use, if this machine lets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ability {
    /// Whether it does.
    pub has: bool,
    /// Whether nothing runs without it.
    pub is_required: bool,
    /// What that means.
    pub text: String,
}

/// Each ability, for `-v` and `doctor`.
pub fn abilities() -> Vec<Ability> {
    let ability = |has: bool, is_required: bool, with: &str, without: &str| Ability {
        has,
        is_required,
        text: if has { with } else { without }.to_owned(),
    };
    vec![
        ability(
            prctl::get_child_subreaper().is_ok(),
            true,
            "subreaper: the kernel says when nobody of the command's tree is left",
            "no subreaper: refused, since nobody could say when the command's tree is gone",
        ),
        ability(
            proc_is_ours(),
            true,
            "/proc: processes are found at any depth",
            "no /proc of our own pid namespace: refused, since grandchildren could not be found",
        ),
        ability(
            kill::lists_children(),
            false,
            "/proc/PID/task/TID/children: a flat tree is killed without a scan",
            "no /proc/PID/task/TID/children: every round of killing scans /proc, which takes milliseconds",
        ),
        ability(
            tree::pidfd_open(std::process::id() as i32).is_ok(),
            false,
            "pidfd: a signal cannot hit a process that took over a pid",
            "no pidfd (before Linux 5.3, or a seccomp filter): pids are compared with start times before each signal",
        ),
        ability(
            cgroup::delegated().is_some(),
            false,
            "cgroup.kill: fork bombs and processes of other users are killed at once",
            "no delegated cgroup: a fork bomb takes longer to kill, and processes of other users are waited for",
        ),
    ]
}

/// How many descriptors the processes need beside those that they were given, before any of them is made: the pipes and
/// pidfds between them, the event loop, timers, and connections to a few members.
const DESCRIPTORS: usize = 24;

/// Makes this process a subreaper, and refuses where the promise could not be kept.
pub fn require() -> io::Result<()> {
    require_descriptors(DESCRIPTORS)?;
    if !proc_is_ours() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "/proc is not mounted, or is that of another pid namespace: the command's processes could not be found and stopped",
        ));
    }
    if !children_share_our_pids() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "children would be born into another pid namespace than ours, whose /proc they would not have (unshare --pid without --fork)",
        ));
    }
    prctl::set_child_subreaper(true).map_err(|errno| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the kernel makes nobody a subreaper ({errno}): nobody could say when the command's processes are gone"),
        )
    })
}

/// Opens so many, and closes them: who runs out of them on the way has a lock already.
pub fn require_descriptors(count: usize) -> io::Result<()> {
    let (first, _other) = io::pipe()?;
    let copies: io::Result<Vec<OwnedFd>> = (2..count)
        .map(|_| first.as_fd().try_clone_to_owned())
        .collect();
    copies.map(drop)
}

/// Says what to do about a limit that was reached while the processes were made.
pub fn explain(error: io::Error) -> io::Error {
    let (errno, limit) = match error.raw_os_error().map(Errno::from_raw) {
        Some(errno @ Errno::EMFILE) => (errno, "ulimit -n"),
        // Of fork(2): nothing else here gives it.
        Some(errno @ Errno::EAGAIN) => (errno, "ulimit -u, or pids.max of the cgroup"),
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{}; raise {limit}", errno.desc()))
}

/// Whether this is another pid namespace than the machine's first: PID 1 may be anybody there, and its death ends
/// everybody's life.
pub fn in_a_container() -> bool {
    /// PROC_PID_INIT_INO, the number of the first one since Linux 3.8 (include/linux/proc_ns.h).
    const FIRST: u64 = 0xEFFF_FFFC;
    std::fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() != FIRST)
}

/// Whether /proc is mounted, and shows the pid namespace that we are in.
fn proc_is_ours() -> bool {
    std::fs::read_link("/proc/self")
        .is_ok_and(|own| own.as_os_str() == std::process::id().to_string().as_str())
}

/// Whether a fork stays in our pid namespace (pid_namespaces(7), pid_for_children, since Linux 4.12).
fn children_share_our_pids() -> bool {
    const CHILDREN: &str = "/proc/self/ns/pid_for_children";
    let number = |path: &str| std::fs::metadata(path).map(|namespace| namespace.ino());
    match (number("/proc/self/ns/pid"), number(CHILDREN)) {
        (Ok(own), Ok(children)) => own == children,
        // Nobody is in it yet, or this kernel does not tell.
        (Ok(_), Err(_)) => std::fs::symlink_metadata(CHILDREN).is_err(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_good_enough() {
        assert!(require().is_ok());
        assert_eq!(abilities().len(), 5);
    }
}
