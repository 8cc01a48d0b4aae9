//! How one leasehold ends the run of another on the same machine: `fence run --preempt`.
//!
//! It asks the other's manager, which knows its tree and stops it as it would for any other reason. A manager
//! that does not answer is killed, whereupon its front and its witness kill the tree. Where those do not act
//! either (they are frozen), everything below the front is killed from here. That nobody is left is never
//! concluded here: the lock that all of them hold has come free, or it has not.
//!
//! What is written in the file of the lock may be wrong, or written by somebody who wants another's process killed
//! by root. So nobody is signalled who does not hold that very file open.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use crate::lock::runner::RunnerLine;
use crate::lock::token::Token;
use crate::process::readiness::Readiness;
use crate::process::signals::{self, REQUEST_KILL, REQUEST_STOP, Signals};
use crate::process::tree::{self, Process};

/// A process that is not mixed up with a later one of the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    pid: i32,
    /// When it started, in clock ticks since boot.
    started: u64,
}

/// The file of a lock, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockFile {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for LockFile {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl LockFile {
    /// Whether a process holds it open.
    ///
    /// # Errors
    /// When we may not know, or it is gone.
    fn is_open_in(self, pid: i32) -> io::Result<bool> {
        let opened = fs::read_dir(format!("/proc/{pid}/fd"))?;
        // One that is closed meanwhile is none.
        let mut files = opened.flatten().flat_map(|fd| fs::metadata(fd.path()));
        Ok(files.any(|file| Self::from(&file) == self))
    }
}

/// The two processes of a run that others need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    front: Identity,
    manager: Identity,
}

impl Guards {
    /// Those that a line names, with when they started.
    pub fn named(line: &RunnerLine) -> Self {
        let identity = |(pid, started)| Identity { pid, started };
        Self {
            front: identity(line.front),
            manager: identity(line.manager),
        }
    }

    /// The line that names them.
    pub const fn line(&self, token: Token) -> RunnerLine {
        let Self { front, manager } = self;
        RunnerLine {
            token,
            front: (front.pid, front.started),
            manager: (manager.pid, manager.started),
        }
    }

    /// Those of the run whose manager this process is; none without /proc.
    pub fn own(front_pid: i32) -> Option<Self> {
        Some(Self {
            front: Identity::of(front_pid)?,
            manager: Identity::of(std::process::id() as i32)?,
        })
    }

    /// Whether one of them is still there.
    pub fn are_there(&self) -> bool {
        self.front.find().is_some() || self.manager.find().is_some()
    }

    /// The pid that everybody knows, for people.
    pub const fn front_pid(&self) -> i32 {
        self.front.pid
    }

    /// Whether this process is in the tree that they guard.
    pub fn are_around_us(&self) -> bool {
        let mut pid = std::process::id() as i32;
        while let Some(process) = Process::read(pid) {
            if self.front.is(&process) || self.manager.is(&process) {
                return true;
            }
            pid = process.parent;
        }
        false
    }

    /// Asks the manager to end: to stop its tree, or to kill it.
    ///
    /// # Errors
    /// When it is gone, or we may not.
    pub fn ask(&self, request: Request, lock: LockFile) -> io::Result<()> {
        let signal = match request {
            Request::Stop => REQUEST_STOP,
            Request::Kill => REQUEST_KILL,
        };
        match self.manager.holding(lock)? {
            // It held the lock a moment ago.
            Some(process) => signals::send_request(process.pid, signal),
            None => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }

    /// Kills the manager: front and witness kill the tree for it.
    ///
    /// # Errors
    /// When it is gone, or we may not.
    pub fn kill_manager(&self, lock: LockFile) -> io::Result<()> {
        self.manager.signal(libc::SIGKILL, lock)
    }

    /// Kills everybody below the front, and the front once nobody is below it. To be repeated until the lock is
    /// free: what is forked meanwhile can be missed.
    ///
    /// # Errors
    /// When one of them may not be signalled.
    pub fn kill_all(&self, lock: LockFile) -> io::Result<()> {
        let Some(front) = self.front.holding(lock)? else {
            return Ok(());
        };
        let alive: Vec<Process> = tree::descendants(front.pid)
            .into_iter()
            .filter(|process| !process.is_dead())
            .collect();
        if alive.is_empty() {
            return front.signal(libc::SIGKILL);
        }
        let kill = |process: &Process| process.signal(libc::SIGKILL);
        alive
            .iter()
            .map(kill)
            .filter(|result| !is_gone(result))
            .collect()
    }
}

fn is_gone(result: &io::Result<()>) -> bool {
    matches!(result, Err(error) if error.raw_os_error() == Some(libc::ESRCH))
}

impl Identity {
    fn of(pid: i32) -> Option<Self> {
        let started = Process::read(pid)?.started;
        Some(Self { pid, started })
    }

    /// The process, if it is still that one. A dead one holds nothing, although somebody has not reaped it yet.
    fn find(self) -> Option<Process> {
        Process::read(self.pid).filter(|process| self.is(process) && !process.is_dead())
    }

    const fn is(self, process: &Process) -> bool {
        self.pid == process.pid && self.started == process.started
    }

    /// The same, if it holds the lock's file open.
    fn holding(self, lock: LockFile) -> io::Result<Option<Process>> {
        let Some(process) = self.find() else {
            return Ok(None);
        };
        match lock.is_open_in(self.pid) {
            Ok(true) => Ok(Some(process)),
            Ok(false) => Err(io::Error::other(format!(
                "process {} does not hold the lock that names it",
                self.pid
            ))),
            Err(_) if self.find().is_none() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn signal(self, signal: i32, lock: LockFile) -> io::Result<()> {
        match self.holding(lock)? {
            Some(process) => process.signal(signal),
            None => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

/// What a manager is asked by another leasehold. Two kinds, since several may ask at a time, and the second one that
/// says "stop" is not the first one's "kill".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// TERM, and KILL after a while.
    Stop,
    /// KILL: the one who asks has given it its time.
    Kill,
}

/// What a manager is asked by other leaseholds.
pub struct Requests {
    signals: Signals,
    readiness: Readiness<OwnedFd>,
}

impl Requests {
    /// Must be called in the manager process, inside a tokio runtime.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(in crate::process) fn new() -> io::Result<Self> {
        let signals = Signals::requests()?;
        let readiness = Readiness::new(signals.try_clone()?)?;
        Ok(Self { signals, readiness })
    }

    /// Waits for a request. Cancel safe.
    pub async fn next(&self) -> Request {
        loop {
            match self.readiness.read(|_| self.signals.next()).await {
                Ok(arrived) if !arrived.is_request => {}
                Ok(arrived) if arrived.signal == REQUEST_KILL as i32 => return Request::Kill,
                // An error means that the reactor is gone: then nothing waits any more either.
                _ => return Request::Stop,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_those_that_their_line_names() {
        let own = Guards::own(std::process::id() as i32).expect("/proc is there");
        let line = own.line(Token::new(33).expect("positive"));
        assert_eq!(Guards::named(&line), own);
    }

    #[test]
    fn a_pid_that_means_another_process_by_now_is_not_signalled() {
        let own = std::process::id() as i32;
        let identity = Identity {
            pid: own,
            started: 1,
        };
        let lock = LockFile::from(&fs::metadata("/proc/self/exe").expect("there"));
        let error = identity.signal(libc::SIGKILL, lock);
        let error = error.expect_err("another one");
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_process_that_does_not_hold_the_lock_is_not_signalled() {
        let (held, other) = (tempfile::tempfile(), tempfile::tempdir());
        let (held, other) = (held.expect("a file"), other.expect("a folder"));
        let own = Identity::of(std::process::id() as i32).expect("/proc is there");
        let is_found = |metadata: &Metadata| own.holding(LockFile::from(metadata));
        let held = is_found(&held.metadata().expect("there"));
        assert!(held.expect("ours").is_some());
        let other = is_found(&fs::metadata(other.path()).expect("there"));
        let error = other.expect_err("not open here");
        assert!(error.to_string().contains("does not hold the lock"));
    }
}
