//! Watching other processes from outside: when they die, and which of them belong together.
//!
//! A process is held by a pidfd, so that its pid cannot come to mean another one.

use std::collections::HashMap;
use std::fs;
use std::ops::{Add, Sub};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

/// A point on CLOCK_BOOTTIME: the clock of the product's deadlines, and the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(
            clock_gettime(ClockId::CLOCK_BOOTTIME)
                .expect("CLOCK_BOOTTIME")
                .into(),
        )
    }

    /// The moment that a helper program printed: nanoseconds since boot.
    pub(crate) fn parse(text: &str) -> Self {
        let nanos = text.trim().parse().unwrap_or_else(|_| {
            panic!("{text:?} should be a number of nanoseconds since boot");
        });
        Self(Duration::from_nanos(nanos))
    }

    /// The time from `earlier` to here; zero where that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

/// One process, by its pidfd.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// Nothing where it is dead and reaped already.
    pub(crate) fn open(pid: i32) -> Option<Self> {
        // SAFETY: pidfd_open(2) takes two integers and touches no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the kernel has just given us this descriptor; nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Some(Self { pid, fd })
    }

    /// Whether it has ended; a zombie has.
    pub(crate) fn is_dead(&self) -> bool {
        self.ended_within(Duration::ZERO)
    }

    /// Waits for its end, and tells when that was seen.
    #[track_caller]
    pub(crate) fn wait_dead(&self, time: Duration) -> Moment {
        assert!(
            self.ended_within(time),
            "process {} should have died within {time:?}; it is {}",
            self.pid,
            describe(self.pid)
        );
        Moment::now()
    }

    /// Sends a signal; a dead process is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        // SAFETY: pidfd_send_signal(2) with a null siginfo reads nothing of ours.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal as i32,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if result != 0 {
            let errno = Errno::last();
            assert_eq!(errno, Errno::ESRCH, "{signal} to process {}", self.pid);
        }
    }

    /// Waits for its end, but not for long.
    pub(crate) fn wait_briefly(&self) {
        self.ended_within(Duration::from_millis(100));
    }

    pub(crate) fn ended_within(&self, time: Duration) -> bool {
        let deadline = Moment::now() + time;
        loop {
            let left = deadline.since(Moment::now()).as_millis() + 1;
            let timeout = if time.is_zero() {
                PollTimeout::ZERO
            } else {
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            };
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) if Moment::now() >= deadline => return false,
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return true,
                Err(errno) => panic!("poll on a pidfd: {errno}"),
            }
        }
    }
}

/// The living processes (zombies excluded) whose environment has this entry, as `NAME=value`.
///
/// The environment is that of the last exec; a process cannot lose it by double forking or setsid.
pub(crate) fn with_environment(entry: &str) -> Vec<Process> {
    all_pids()
        .filter(|pid| has_environment(*pid, entry))
        .filter_map(Process::open)
        // Looked at again, now that the pid cannot change its meaning any more.
        .filter(|process| has_environment(process.pid, entry) && !process.is_dead())
        .collect()
}

/// Those of a set of processes that belong to the command, not to leasehold: the token is in no
/// environment of leasehold's own.
pub(crate) fn of_the_command(processes: Vec<Process>) -> Vec<Process> {
    processes
        .into_iter()
        .filter(|process| environment(process.pid).contains_key("LEASEHOLD_TOKEN"))
        .collect()
}

/// The environment at the last exec of a process; empty where it is gone.
pub(crate) fn environment(pid: i32) -> HashMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let entry = String::from_utf8_lossy(entry);
            let (name, value) = entry.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// What a process is and does, for messages of failed tests.
pub(crate) fn describe(pid: i32) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let command = read("cmdline").replace('\0', " ");
    let state = read("status")
        .lines()
        .find_map(|line| {
            line.strip_prefix("State:")
                .map(str::trim)
                .map(str::to_owned)
        })
        .unwrap_or_else(|| "gone".to_owned());
    format!("{pid} [{state}] {}", command.trim())
}

fn has_environment(pid: i32, entry: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .any(|found| found == entry.as_bytes())
}

fn all_pids() -> impl Iterator<Item = i32> {
    fs::read_dir(Path::new("/proc"))
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
