//! What this process was started with, and the command has to get back: signal mask, dispositions, closed
//! descriptors. And the opposite: letting go of the descriptors that are the command's.
//!
//! Two things happen before `main`, in Rust's runtime (std/src/sys/pal/unix/mod.rs): SIGPIPE becomes ignored,
//! and closed standard descriptors are opened on /dev/null. A function that the loader calls before it
//! remembers how they were, as uutils does for SIGPIPE.

use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nix::sys::signal::SigSet;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::process::signals;

static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);
/// Bit n: descriptor n was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

extern "C" fn remember() {
    PIPE_WAS_IGNORED.store(signals::is_ignored(libc::SIGPIPE), Ordering::Relaxed);
    let mut closed = 0;
    for fd in 0..3 {
        // SAFETY: F_GETFD reads a flag of a descriptor, open or not (fcntl(2)).
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            closed |= 1 << fd;
        }
    }
    CLOSED.store(closed, Ordering::Relaxed);
}

// SAFETY: `remember` takes nothing, returns nothing, and calls only fcntl(2) and sigaction(2), which need no
// initialised runtime; the section holds pointers to such functions (ELF gABI, DT_INIT_ARRAY).
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER: extern "C" fn() = remember;

/// What the command gets back before it is executed.
pub struct Inherited {
    mask: SigSet,
    /// Signals that were ignored.
    ignored: Vec<i32>,
    closed: u8,
    /// Our process group, which is the command's.
    pub group: i32,
}

impl Inherited {
    /// Notes it all, and from then on blocks every signal that can be blocked: signals are read, not handled.
    pub fn take() -> io::Result<Self> {
        let mut ignored: Vec<i32> = signals::all()
            .filter(|&signal| signal != libc::SIGPIPE && signals::is_ignored(signal))
            .collect();
        if PIPE_WAS_IGNORED.load(Ordering::Relaxed) {
            ignored.push(libc::SIGPIPE);
        }
        let mask = signals::block_all()?;
        // Ignored, children would vanish without leaving a status (sigaction(2), SA_NOCLDWAIT).
        signals::set_default(libc::SIGCHLD);
        Ok(Self {
            mask,
            ignored,
            closed: CLOSED.load(Ordering::Relaxed),
            group: nix::unistd::getpgrp().as_raw(),
        })
    }

    /// Whether this signal was ignored when we were started, as under nohup(1).
    pub fn ignores(&self, signal: i32) -> bool {
        self.ignored.contains(&signal)
    }

    /// Puts everything back. From here on a signal that came meanwhile takes effect.
    pub fn restore(&self) {
        for fd in 0..3 {
            if self.closed & (1 << fd) != 0 {
                // SAFETY: nobody owns the standard descriptors, and nothing is read or written after this.
                unsafe { libc::close(fd) };
            }
        }
        signals::set_default(libc::SIGPIPE);
        for &signal in &self.ignored {
            signals::set_ignored(signal);
        }
        // Fails only for an invalid `how` (sigprocmask(2)).
        let _ = self.mask.thread_set_mask();
    }
}

/// Lets go of what is the command's: pipes would not end, and terminals and file systems would stay busy,
/// while we have them open. Keeps standard error, and everything of our own.
pub fn release_descriptors() -> io::Result<()> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| match error.raw_os_error() {
            // Not the file's fault.
            Some(libc::EMFILE | libc::ENFILE) => error,
            _ => io::Error::new(error.kind(), format!("/dev/null: {error}")),
        })?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    for fd in open_descriptors() {
        // What we opened ourselves closes on exec, as std and this folder open everything; what came
        // through exec does not, or it would not have come.
        // SAFETY: F_GETFD reads a flag of a descriptor, open or not (fcntl(2)).
        if fd > 2 && unsafe { libc::fcntl(fd, libc::F_GETFD) } == 0 {
            // SAFETY: an inherited descriptor, which nothing in this process owns.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Lets go of standard error as well.
pub fn release_stderr() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stderr(&null);
    }
}

fn open_descriptors() -> Vec<RawFd> {
    match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect(),
        // Without /proc: those that a process has by default. More were asked for by somebody who has /proc.
        Err(_) => (0..1024).collect(),
    }
}
