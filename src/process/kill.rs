//! Killing until nobody is left, and the kernel's word for it.
//!
//! A round kills every child; orphans become our children, one generation a round, since we are a subreaper.
//! Every so often a round kills what /proc shows below us as well, for deep trees whose middle is slow to
//! die, and all of our cgroup where we have one. `waitpid` answering ECHILD ends it: no scan ever does.
//!
//! A tree that is still there after some scans may be one that forks as fast as it is killed: every death
//! makes room for a birth below the limit of processes. Then it is stopped first, and killed once it holds
//! still; a stopped process keeps its place.

use std::collections::HashSet;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::clock::{Instant, now};
use crate::outcome::Ended;
use crate::process::cgroup::Leaf;
use crate::process::signals::{self, Signals};
use crate::process::tree::{self, Process};

/// Rounds without a pause: most trees are gone after a few.
pub const EAGER_ROUNDS: u32 = 20;
/// Between two scans of /proc, which cost about 10 µs for every process of the machine.
const SCAN_EVERY: Duration = Duration::from_millis(20);
/// After so long something holds the tree: then rounds get rare.
const STUCK_AFTER: Duration = Duration::from_secs(2);
/// Scans that kill before the first that stops.
const KILLING_SCANS: u32 = 3;
/// Scans that stop before one that kills whatever still moves.
const STOPPING_SCANS_MAX: u32 = 20;
/// How long W is left to help F: it is out of the way of a tree that takes all the processor time (see
/// witness.rs). Long enough for any tree, short enough for the margin of a lease if W is frozen.
pub const HELP_TIME: Duration = Duration::from_millis(150);
const PAUSE_MAX: Duration = Duration::from_millis(1);
const PAUSE_STUCK: Duration = Duration::from_millis(50);
/// After so long it is somebody who cannot be killed, perhaps for hours.
const HOPELESS_AFTER: Duration = Duration::from_secs(60);
const PAUSE_HOPELESS: Duration = Duration::from_millis(1000);

/// What a child did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Ended(Ended),
    Stopped(i32),
    Continued,
}

/// Whether children are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The kernel says that this process has no child, so nobody of the tree below it is alive.
    Nobody,
    Somebody,
}

/// Takes note of everything that happened to children, and never waits.
pub fn reap(mut note: impl FnMut(i32, Change)) -> Left {
    // Also children that were cloned without an exit signal (waitpid(2), __WALL).
    let options = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED | libc::__WALL;
    loop {
        let mut status = 0;
        // SAFETY: waitpid(2) writes the status and nothing else.
        match unsafe { libc::waitpid(-1, &mut status, options) } {
            0 => return Left::Somebody,
            pid if pid > 0 => note(pid, change(status)),
            _ if nix::errno::Errno::last() == nix::errno::Errno::EINTR => {}
            _ => return Left::Nobody,
        }
    }
}

const fn change(status: i32) -> Change {
    if libc::WIFSTOPPED(status) {
        Change::Stopped(libc::WSTOPSIG(status))
    } else if libc::WIFCONTINUED(status) {
        Change::Continued
    } else if libc::WIFSIGNALED(status) {
        Change::Ended(Ended::Signaled(libc::WTERMSIG(status)))
    } else {
        Change::Ended(Ended::Exited(libc::WEXITSTATUS(status) as u8))
    }
}

/// The children of this process: as the kernel lists them (proc_pid_task_tid_children(5), needs
/// CONFIG_PROC_CHILDREN), or else found by a scan of /proc; none where neither can be read.
pub fn children() -> Vec<i32> {
    listed_children().unwrap_or_else(|_| found_children())
}

fn listed_children() -> std::io::Result<Vec<i32>> {
    let list = children_file()?;
    let pids = list.split_ascii_whitespace();
    Ok(pids.filter_map(|pid| pid.parse().ok()).collect())
}

fn found_children() -> Vec<i32> {
    let own = std::process::id() as i32;
    let all = tree::snapshot().into_iter();
    all.filter(|process| process.parent == own)
        .map(|process| process.pid)
        .collect()
}

/// Whether processes can be looked for: /proc can be read and a descriptor is left to do it.
pub fn can_look() -> bool {
    std::fs::File::open("/proc/self/stat").is_ok()
}

/// Whether a process is a child of ours that we have not reaped.
pub fn is_child(pid: i32) -> bool {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::uninit();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: waitid(2) writes the info, which nobody reads.
    pid > 0 && unsafe { libc::waitid(libc::P_PID, pid as u32, info.as_mut_ptr(), options) } == 0
}

/// Whether the kernel lists children.
pub fn lists_children() -> bool {
    children_file().is_ok()
}

fn children_file() -> std::io::Result<String> {
    // The first thread's children: it forks, and it adopts.
    let pid = std::process::id();
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
}

/// Children that are not to be killed.
#[derive(Debug, Default)]
pub struct Spared {
    /// Were there before us; nor what descends from them.
    pub strangers: Vec<i32>,
    /// Kills the same tree; killed itself when it takes too long.
    pub helper: Option<i32>,
    /// It is not, however long it takes.
    pub helper_stays: bool,
    /// Guard the tree as well: only what descends from them is killed.
    pub guards: Vec<i32>,
}

impl Spared {
    /// A child that has ended and was reaped: its pid is free, and may come to mean a process of the tree.
    pub fn forget(&mut self, pid: i32) {
        self.strangers.retain(|&stranger| stranger != pid);
        self.helper.take_if(|helper| *helper == pid);
    }
}

/// A killing under way.
#[derive(Debug)]
pub struct Killing {
    since: Instant,
    rounds: u32,
    scans: u32,
    /// Scans in a row that stopped somebody.
    stopping: u32,
    /// Whom scans have killed, as far as they are not gone yet.
    killed: HashSet<(i32, u64)>,
    scan_at: Instant,
    round_at: Instant,
}

impl Killing {
    pub fn begin() -> Self {
        let now = now();
        Self {
            since: now,
            rounds: 0,
            scans: 0,
            stopping: 0,
            killed: HashSet::new(),
            scan_at: now,
            round_at: now,
        }
    }

    /// Kills everybody we know of, except those in `spared`.
    pub fn round(&mut self, leaf: Option<&Leaf>, spared: &Spared) {
        self.rounds = self.rounds.saturating_add(1);
        let scan_due = now() >= self.scan_at;
        if scan_due && let Some(leaf) = leaf {
            leaf.kill();
        }
        let children = children();
        if self.stopping == 0 {
            for &child in children
                .iter()
                .filter(|child| !self.spares(spared, **child))
            {
                // Ours until we reap it, and nothing is reaped in between.
                let _ = signals::send(child, libc::SIGKILL);
            }
        }
        // The first rounds are worth a try without a scan: most trees are flat.
        if children.is_empty() || scan_due && self.rounds > 3 {
            self.scan(spared);
        }
        self.round_at = now() + self.pause();
    }

    /// Kills everybody below the guards in `spared`, whose children they are: they are left to reap them. Scans
    /// no more often than rounds do.
    pub fn round_for_guards(&mut self, leaf: Option<&Leaf>, spared: &Spared) {
        if now() >= self.scan_at {
            if let Some(leaf) = leaf {
                leaf.kill();
            }
            self.scan(spared);
        }
        self.round_at = self.scan_at;
    }

    fn scan(&mut self, spared: &Spared) {
        self.scans = self.scans.saturating_add(1);
        let mut snapshot = tree::snapshot();
        snapshot.retain(|process| !spared.strangers.contains(&process.pid));
        let mut tree = tree::below(std::process::id() as i32, snapshot);
        tree.retain(|process| !process.is_dead() && !self.spares(spared, process.pid));
        // Who was killed before only takes its time to die; who is new was born meanwhile.
        let is_new = |process: &Process| !self.killed.contains(&process.identity());
        if self.scans > KILLING_SCANS && self.stopping < STOPPING_SCANS_MAX {
            let moving = tree
                .iter()
                .filter(|process| is_new(process) && !process.is_stopped());
            // Those that we may not signal hold nobody up.
            if moving
                .filter(|process| process.signal(libc::SIGSTOP).is_ok())
                .count()
                > 0
            {
                self.stopping += 1;
                self.scan_at = now();
                return;
            }
        }
        let (killed, new): (Vec<_>, Vec<_>) =
            tree.into_iter().partition(|process| !is_new(process));
        self.killed = killed
            .into_iter()
            .chain(
                new.into_iter()
                    .filter(|process| process.signal(libc::SIGKILL).is_ok()),
            )
            .map(|process| process.identity())
            .collect();
        self.stopping = 0;
        self.scan_at = now() + SCAN_EVERY;
    }

    fn spares(&self, spared: &Spared, pid: i32) -> bool {
        spared.strangers.contains(&pid)
            || spared.guards.contains(&pid)
            || spared.helper == Some(pid)
                && (spared.helper_stays || now().since(self.since) < HELP_TIME)
    }

    /// When the next round is due.
    pub const fn round_at(&self) -> Instant {
        self.round_at
    }

    /// How long to wait for a child to die before the next round.
    pub fn pause(&self) -> Duration {
        let since = now().since(self.since);
        if since >= HOPELESS_AFTER {
            PAUSE_HOPELESS
        } else if since >= STUCK_AFTER {
            PAUSE_STUCK
        } else if self.rounds < EAGER_ROUNDS {
            Duration::ZERO
        } else {
            (Duration::from_micros(20) * (self.rounds - EAGER_ROUNDS + 1)).min(PAUSE_MAX)
        }
    }
}

/// Kills everybody below this process and waits until the kernel says that nobody is left, except children in
/// `spared`; or until `patience` is over. Returns whether nobody is left; if
/// somebody is, the same killing can go on.
pub fn kill_all(
    killing: &mut Killing,
    leaf: Option<&Leaf>,
    spared: &mut Spared,
    signals: &Signals,
    patience: Duration,
) -> bool {
    let give_up_at = now() + patience;
    loop {
        let left = reap(|pid, change| {
            if let Change::Ended(_) = change {
                spared.forget(pid);
            }
        });
        if left == Left::Nobody || is_left_with(&spared.strangers) {
            return true;
        }
        if now() >= give_up_at {
            return false;
        }
        killing.round(leaf, spared);
        wait_for_child(signals, killing.pause());
    }
}

/// Whether only these children are left. The kernel has no word for that, and its list can leave somebody out while
/// others die (proc_pid_task_tid_children(5)): a scan must not find anybody else. It may not be shown them (hidepid).
fn is_left_with(strangers: &[i32]) -> bool {
    let is_stranger = |child: &i32| strangers.contains(child);
    are_only(strangers, &children()) && found_children().iter().all(is_stranger)
}

/// Whether the children that are left were there before the tree. None in the list means that it could not be read.
fn are_only(strangers: &[i32], children: &[i32]) -> bool {
    !children.is_empty() && children.iter().all(|child| strangers.contains(child))
}

/// Waits until a child changes, or for `pause`.
fn wait_for_child(signals: &Signals, pause: Duration) {
    let mut fds = [PollFd::new(
        std::os::fd::AsFd::as_fd(signals),
        PollFlags::POLLIN,
    )];
    let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(pause)), None);
    // Whatever arrived: the tree is being killed already.
    while signals.next().is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "somebody has to be a child")]
    fn children_are_found_where_the_kernel_does_not_list_them() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep");
        let pid = child.id() as i32;
        let found = found_children();
        let listed = children();
        child.kill().and_then(|()| child.wait()).expect("ours");
        assert!(found.contains(&pid), "{found:?}");
        // A thread of the tests made it, and the list is that of the first thread.
        assert!(listed.iter().all(|pid| found.contains(pid)), "{listed:?}");
    }

    #[test]
    fn rounds_get_rare_with_those_who_cannot_be_killed() {
        let pause_after = |seconds| {
            let mut killing = Killing::begin();
            killing.since = now() - Duration::from_secs(seconds);
            killing.pause()
        };
        assert_eq!(pause_after(0), Duration::ZERO);
        assert_eq!(pause_after(3), PAUSE_STUCK);
        assert_eq!(pause_after(61), PAUSE_HOPELESS);
    }

    #[test]
    fn a_pid_that_was_reaped_is_spared_no_longer() {
        let mut spared = Spared {
            strangers: vec![7, 8, 9],
            helper: Some(6),
            ..Spared::default()
        };
        spared.forget(8);
        spared.forget(10);
        assert_eq!(
            (&spared.strangers[..], spared.helper),
            (&[7, 9][..], Some(6))
        );
        spared.forget(6);
        assert_eq!(spared.helper, None);
    }

    #[test]
    fn a_list_of_children_that_could_not_be_read_is_not_that_of_nobody() {
        assert!(are_only(&[7, 8], &[8]));
        assert!(!are_only(&[7, 8], &[8, 9]));
        assert!(!are_only(&[7, 8], &[]));
        assert!(!are_only(&[], &[]));
    }
}
