//! Killing until nobody is left, and the kernel's word for it.
//!
//! A round kills every child; orphans become our children, one generation a round, since we are a subreaper.
//! Every so often a round kills what /proc shows below us as well, for deep trees whose middle is slow to
//! die, and all of our cgroup where we have one. `waitpid` answering ECHILD ends it: no scan ever does.

use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::clock::{Instant, now};
use crate::outcome::Ended;
use crate::process::cgroup::Leaf;
use crate::process::signals::{self, Signals};
use crate::process::tree;

/// Rounds without a pause: most trees are gone after a few.
pub const EAGER_ROUNDS: u32 = 20;
/// Between two scans of /proc, which cost about 10 µs for every process of the machine.
const SCAN_EVERY: Duration = Duration::from_millis(20);
/// After so long something holds the tree: then rounds get rare.
pub const STUCK_AFTER: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_millis(1);
const PAUSE_STUCK: Duration = Duration::from_millis(50);

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

/// The children of this process, as far as the kernel lists them (proc_pid_task_tid_children(5), needs
/// CONFIG_PROC_CHILDREN); else none.
pub fn children() -> Vec<i32> {
    children_file()
        .map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect()
        })
        .unwrap_or_default()
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

/// A killing under way.
#[derive(Debug)]
pub struct Killing {
    since: Instant,
    rounds: u32,
    scan_at: Instant,
    round_at: Instant,
}

impl Killing {
    pub fn begin() -> Self {
        let now = now();
        Self {
            since: now,
            rounds: 0,
            scan_at: now,
            round_at: now,
        }
    }

    /// Kills everybody we know of, except children in `spared` and what descends from them.
    pub fn round(&mut self, leaf: Option<&Leaf>, spared: &[i32]) {
        self.rounds = self.rounds.saturating_add(1);
        let children = children();
        for &child in children.iter().filter(|child| !spared.contains(child)) {
            // Ours until we reap it, and nothing is reaped in between.
            let _ = signals::send(child, libc::SIGKILL);
        }
        let now = now();
        if now >= self.scan_at || children.is_empty() {
            if let Some(leaf) = leaf {
                leaf.kill();
            }
            // The first rounds are worth a try without: most trees are flat.
            if self.rounds > 3 || children.is_empty() {
                kill_scanned(spared);
                self.scan_at = crate::clock::now() + SCAN_EVERY;
            }
        }
        self.round_at = crate::clock::now() + self.pause();
    }

    /// When the next round is due.
    pub fn round_at(&self) -> Instant {
        self.round_at
    }

    /// How long to wait for a child to die before the next round.
    pub fn pause(&self) -> Duration {
        if self.is_stuck() {
            PAUSE_STUCK
        } else if self.rounds < EAGER_ROUNDS {
            Duration::ZERO
        } else {
            (Duration::from_micros(20) * (self.rounds - EAGER_ROUNDS + 1)).min(PAUSE_MAX)
        }
    }

    /// Whether something holds the tree.
    pub fn is_stuck(&self) -> bool {
        now().since(self.since) >= STUCK_AFTER
    }
}

fn kill_scanned(spared: &[i32]) {
    let snapshot = tree::snapshot()
        .into_iter()
        .filter(|process| !spared.contains(&process.pid))
        .collect();
    for process in tree::below(std::process::id() as i32, snapshot) {
        if !process.is_dead() {
            let _ = process.signal(libc::SIGKILL);
        }
    }
}

/// Kills everybody below this process and waits until the kernel says that nobody is left, except children in
/// `spared`; or until `patience` is over. Returns whether nobody is left.
pub fn kill_all(
    leaf: Option<&Leaf>,
    spared: &[i32],
    signals: &Signals,
    patience: Duration,
    mut note: impl FnMut(i32, Change),
) -> bool {
    let mut killing = Killing::begin();
    let give_up_at = now() + patience;
    loop {
        let left = reap(&mut note);
        if left == Left::Nobody || only_spared(spared) {
            return true;
        }
        if now() >= give_up_at {
            return false;
        }
        killing.round(leaf, spared);
        wait_for_child(signals, killing.pause());
    }
}

/// Whether the children that are left were there before the tree.
fn only_spared(spared: &[i32]) -> bool {
    !spared.is_empty() && children().iter().all(|child| spared.contains(child))
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
