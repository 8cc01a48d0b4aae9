//! The processes around the command: who they are, and who dies of what.
//!
//! ```text
//!  shell, cron, systemd, a CI runner
//!    └─ front     (F)  the pid that everybody knows: terminal, signals, exit status       front.rs
//!        └─ witness (W)  sleeps; compares notes on signals; kills when nobody else does    witness.rs
//!            └─ manager (M)  a session of its own; tokio, the lock service, the decisions  manager/
//!                └─ command (C)  a stub until the lock is held, then what was typed        stub.rs
//! ```
//! F, W and C share the process group that the shell made, so the terminal treats them as one job.
//!
//! Each of F, W and M is a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): whichever of them is left has the
//! whole tree below it, and `waitpid` answering ECHILD is the kernel's word that nobody of it is alive.
//! The time by which the tree has to be dead stands in a page of memory that they share (page.rs).
//!
//! | what happens                  | who notices              | what becomes of the tree                    |
//! |-------------------------------|--------------------------|---------------------------------------------|
//! | F is killed                   | M: its socket ends       | M kills it and gives the lock back          |
//! | W is killed                   | M: a pipe ends           | the same; F ends with 79                    |
//! | M is killed                   | C: PR_SET_PDEATHSIG;     | C dies with M, F and W kill the rest        |
//! |                               | F, W: socket, SIGCHLD    |                                             |
//! | M is frozen                   | F: the deadline          | F kills the tree; then W and a silent M     |
//! | M is frozen, nothing runs     | F: asked to end, no sign | F kills M and ends                          |
//! | F is frozen                   | nobody needs to          | M goes on; without F's word nothing starts  |
//! | F and M are frozen or killed  | W: the deadline, SIGCHLD | W kills it                                  |
//! | someone in it cannot be killed| M: its kill loop goes on | F and W leave M alone: it renews the lease  |
//! | the same, and M is killed     | F, W: as above           | F names it and ends; W kills on, see below  |
//! | the machine sleeps too long   | the timers of all three  | dead within milliseconds of waking          |
//!
//! A *pledge* is a locked file that F, W and M hold open through one description, so that its lock ends with the last of
//! them (`--local` has one: it is the lease):
//!
//! | what happens                  | what becomes of the pledge                                             |
//! |-------------------------------|------------------------------------------------------------------------|
//! | one or two of F, W, M die     | the others have it                                                     |
//! | the tree is dead, M is too    | whoever has the kernel's word for it lets it go, also for who is frozen |
//! | someone in it cannot be       | M has it as long as it lives; then W, which goes on killing and reaping |
//! | killed                        | without an end. F leaves W alone for that, and ends                    |
//! | the same, M and W are killed  | it ends with F, when F has given up: who lives on is not covered       |
//! | all three are killed          | it ends; what is left of the tree is not covered                       |
//!
//! What holds everywhere here:
//! - Every fork happens before any thread exists, so ordinary code may run after it (fork(2)), and
//!   PR_SET_PDEATHSIG, which follows the *thread* that forked, follows a thread that never ends.
//! - An end of a socket or pipe is held by one process only, so that its end is that process's death.
//! - Nobody signals a process that may have been reaped: a child of ours by its number, since it stays
//!   ours until we reap it; any other by a pidfd, after its start time was compared.
//! - Nothing on the way to a kill waits for the lock service, the terminal or another process.
//!
//! Reading order: this page, front.rs, manager/, stub.rs, witness.rs; then kill.rs and tree.rs (find, kill
//! and reap), page.rs and link.rs (what they tell each other), backstop.rs, signals.rs, notes.rs (whom one reached), terminal.rs, inherited.rs,
//! cgroup.rs, title.rs, abilities.rs; preemption.rs (one run ends another).
#![expect(unsafe_code, reason = "the only folder with unsafe code")]

pub mod abilities;
mod backstop;
mod cgroup;
mod front;
mod inherited;
mod kill;
mod link;
mod manager;
mod notes;
mod page;
pub mod preemption;
pub mod readiness;
mod signals;
mod stub;
mod terminal;
mod title;
mod tree;
mod witness;

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use crate::clock::Instant;
use crate::outcome::{Ended, Ending};
use crate::process::cgroup::Leaf;
use crate::process::front::{Front, Verdict};
use crate::process::inherited::Inherited;
use crate::process::kill::Spared;
use crate::process::link::Link;
use crate::process::page::Page;

pub use manager::Manager;
pub use signals::end;
pub use tree::{Leftover, Obstacle};

/// What to execute.
#[derive(Debug)]
pub struct Invocation {
    /// The program and its arguments; for `-c` it is `/bin/sh`, `-c` and the string.
    pub argv: Vec<OsString>,
    /// What [`Manager::stop`] sends: the number of `--kill-signal`.
    pub kill_signal: i32,
    /// A locked file (flock(2)) that all who watch the tree hold open: its lock ends with the last of them, or when
    /// one of them knows that nobody of the tree is left. See the page of this module.
    pub pledge: Option<OwnedFd>,
}

/// What is known when the manager died without saying how the run ended. The tree is dead, except for
/// `survivors`.
#[derive(Clone, Debug)]
pub struct ManagerDeath {
    /// The command had been started.
    pub started: bool,
    /// What was noted when it was.
    pub memo: Memo,
    /// It had ended by itself, like this, before the manager died.
    pub ended: Option<Ended>,
    /// The manager was alive but let the deadline pass (frozen, starved), or did not hear that a run without a command
    /// was to end, so the front killed it.
    pub overdue: bool,
    /// Processes of the tree that could not be killed.
    pub survivors: Vec<Leftover>,
    /// The witness keeps the pledge as long as they live.
    pub keeps_pledge: bool,
}

/// What the front has to know of a run to report it when the manager is dead. To this folder they are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memo {
    /// The fencing token.
    pub token: i64,
    /// The lease.
    pub lease: i64,
    /// The cluster.
    pub cluster: u64,
    /// When the command was told to start.
    pub started_at: Instant,
}

/// What all the processes know from the start.
struct Common {
    inherited: Inherited,
    page: &'static Page,
    leaf: Option<Leaf>,
    front: i32,
    argv: Vec<CString>,
    kill_signal: i32,
    pledge: Option<OwnedFd>,
}

impl Common {
    /// Nobody of the tree is left, and the manager is dead: lets the pledge go for all who hold it, for some of them may
    /// be stopped.
    fn redeem(&self) {
        if let Some(pledge) = &self.pledge {
            // SAFETY: flock(2) takes an open descriptor and a number. An error means that it is not locked any more.
            unsafe { libc::flock(pledge.as_raw_fd(), libc::LOCK_UN) };
        }
    }
}

/// Splits into the processes and guards the command until its end.
///
/// Must be called while there is one thread. In the manager process it calls `manage`, which makes its own
/// tokio runtime; in the front process it watches, and calls `manager_died` only if the manager died
/// without saying how to end. It returns in both of these processes, with what [`end`] takes; the others
/// end in here. Descriptors without FD_CLOEXEC are taken for inherited ones: the command gets them, the
/// other processes close them, and 0 and 1 become /dev/null there.
///
/// # Errors
/// When the processes cannot be made: nothing was started, and `manage` was not called.
pub fn supervise(
    invocation: Invocation,
    manage: impl FnOnce(Manager),
    manager_died: impl FnOnce(ManagerDeath) -> Ending,
) -> io::Result<Ending> {
    split(invocation, manage, manager_died).map_err(abilities::explain)
}

fn split(
    invocation: Invocation,
    manage: impl FnOnce(Manager),
    manager_died: impl FnOnce(ManagerDeath) -> Ending,
) -> io::Result<Ending> {
    let argv = c_strings(invocation.argv)?;
    abilities::require()?;
    let inherited = Inherited::take()?;
    let page = Page::share()?;
    let strangers = kill::children();
    let (front_to_manager, manager_to_front) = Link::pair()?;
    let (front_to_witness, witness_to_front) = Link::pair()?;
    let common = Common {
        inherited,
        page,
        // Last: it has to be removed by whoever is left.
        leaf: Leaf::make(),
        front: std::process::id() as i32,
        argv,
        kill_signal: invocation.kill_signal,
        pledge: invocation.pledge,
    };
    let forked = fork().inspect_err(|_| {
        if let Some(leaf) = &common.leaf {
            leaf.remove();
        }
    });
    match forked? {
        Fork::Parent(witness) => {
            let spared = Spared {
                strangers,
                helper: Some(witness),
                ..Spared::default()
            };
            drop((manager_to_front, witness_to_front));
            let front = Front::new(common, front_to_manager, front_to_witness, spared)?;
            match front.guard() {
                Verdict::Finished(ending) => Ok(ending),
                Verdict::NotSplit(error) => Err(error),
                Verdict::ManagerDied(death) => Ok(manager_died(death)),
            }
        }
        Fork::Child => {
            drop((front_to_manager, front_to_witness));
            let manager = witness::split(common, witness_to_front, manager_to_front);
            let page = manager.page();
            manage(manager);
            // The front knows already; this process only has to go.
            Ok(page.ending().unwrap_or(Ending::Status(70)))
        }
    }
}

/// The two sides of a fork.
enum Fork {
    /// The process that forked, with the pid of its child.
    Parent(i32),
    Child,
}

/// Makes a copy of this process.
fn fork() -> io::Result<Fork> {
    debug_assert!(has_one_thread(), "a thread before the fork");
    // SAFETY: there is one thread (see `supervise`), so no lock is held by a thread that the child lacks,
    // and the child may go on as any process.
    #[expect(clippy::disallowed_methods, reason = "only this folder forks")]
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(child.as_raw())),
        nix::unistd::ForkResult::Child => Ok(Fork::Child),
    }
}

/// As far as /proc tells.
fn has_one_thread() -> bool {
    tree::Process::read(std::process::id() as i32).is_none_or(|own| own.threads == 1)
}

/// Ends a process that is neither the front nor the manager: nothing to flush, nobody to tell.
fn leave(status: i32) -> ! {
    // SAFETY: _exit(2) takes any number and runs no code of ours.
    unsafe { libc::_exit(status) }
}

fn c_strings(argv: Vec<OsString>) -> io::Result<Vec<CString>> {
    if argv.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command"));
    }
    argv.into_iter()
        .map(|argument| CString::new(argument.into_vec()).map_err(io::Error::from))
        .collect()
}
