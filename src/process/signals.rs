//! Signals: blocked everywhere and read from a descriptor, sent by one function, and the one to die of.
//!
//! Numbers rather than nix's `Signal`, which has no real-time signals.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::clock::{Instant, now};
use crate::outcome::Ending;
use crate::process::notes::Note;

/// Ask a manager to end its run: to stop its tree, and to kill it. Others may send these as well, as
/// `systemctl kill -s USR1` does to every process of a service: but not with this value.
pub const REQUEST_STOP: Signal = Signal::SIGUSR1;
pub const REQUEST_KILL: Signal = Signal::SIGUSR2;
const REQUEST: usize = 0x1ea5_e401;

/// Every signal that can be caught.
pub fn all() -> impl Iterator<Item = i32> {
    (1..=libc::SIGRTMAX()).filter(|&signal| {
        // 32 and 33 are the C library's (nptl(7)).
        signal != libc::SIGKILL
            && signal != libc::SIGSTOP
            && !(32..libc::SIGRTMIN()).contains(&signal)
    })
}

/// Whether a process that does nothing about this signal dies of it (signal(7)).
pub const fn terminates(signal: i32) -> bool {
    !matches!(
        signal,
        libc::SIGCHLD
            | libc::SIGCONT
            | libc::SIGSTOP
            | libc::SIGTSTP
            | libc::SIGTTIN
            | libc::SIGTTOU
            | libc::SIGURG
            | libc::SIGWINCH
    )
}

/// Whether this is how a terminal stops a job.
pub const fn stops(signal: i32) -> bool {
    matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}

/// Whether the terminal itself sends it, to every process that it concerns.
const fn is_terminals(signal: i32) -> bool {
    stops(signal)
        || matches!(
            signal,
            libc::SIGINT | libc::SIGQUIT | libc::SIGHUP | libc::SIGWINCH | libc::SIGCONT
        )
}

/// Blocks every signal that can be blocked, and returns the mask as it was.
///
/// Also those that a wrong instruction raises: somebody may send them, as systemd's watchdog sends ABRT. One that
/// an instruction raises ends us all the same (kernel/signal.c, force_sig_info_to_task), and abort(3) unblocks
/// its own.
pub fn block_all() -> io::Result<SigSet> {
    Ok(SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK)?)
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub signal: i32,
    /// Who sent it; 0 when the kernel did, or somebody outside of our pid namespace.
    pub sender: i32,
    /// It asks something of a manager.
    pub is_request: bool,
    /// The kernel sent it for the terminal, to every process that it concerns.
    pub from_terminal: bool,
    /// The kernel sent it, to this process only.
    pub from_kernel: bool,
    /// It had not been sent then.
    pub after: Instant,
    /// When it was read.
    pub at: Instant,
}

impl Arrived {
    /// To compare with what others got.
    pub const fn note(&self) -> Note {
        Note {
            signal: self.signal,
            sender: self.sender,
            after: self.after,
            at: self.at,
        }
    }
}

/// Reads signals that are blocked.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    /// When there was none to read.
    none_at: Cell<Instant>,
    /// The last one that was read, and when that began.
    last: Cell<(i32, Instant)>,
}

impl Signals {
    /// Reads every signal that can be blocked.
    pub fn all() -> io::Result<Self> {
        Self::of(&SigSet::all())
    }

    /// Reads all of them but those that [`Self::requests`] reads.
    pub fn all_but_requests() -> io::Result<Self> {
        let mut set = SigSet::all();
        set.remove(REQUEST_STOP);
        set.remove(REQUEST_KILL);
        Self::of(&set)
    }

    /// Reads only the signals by which another leasehold asks a manager to end its run.
    pub fn requests() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(REQUEST_STOP);
        set.add(REQUEST_KILL);
        Self::of(&set)
    }

    fn of(set: &SigSet) -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        // Before this program ran: what came until now is as old as it may be.
        let never = Instant::from_nanos(0);
        Ok(Self {
            fd: SignalFd::with_flags(set, flags)?,
            none_at: Cell::new(never),
            last: Cell::new((0, never)),
        })
    }

    /// The next one; never waits.
    pub fn next(&self) -> Option<Arrived> {
        let before = now();
        let Some(info) = self.fd.read_signal().ok().flatten() else {
            self.none_at.set(before);
            return None;
        };
        let signal = info.ssi_signo as i32;
        // A second one was sent after the first was read, or it would be part of it.
        let after = match self.last.replace((signal, before)) {
            (last, at) if last == signal => at.max(self.none_at.get()),
            _ => self.none_at.get(),
        };
        // Codes above zero are the kernel's (sigaction(2), si_code).
        let by_kernel = info.ssi_code > 0;
        Some(Arrived {
            signal,
            sender: info.ssi_pid as i32,
            is_request: info.ssi_code == libc::SI_QUEUE && info.ssi_ptr == REQUEST as u64,
            from_terminal: by_kernel && is_terminals(signal),
            from_kernel: by_kernel && !is_terminals(signal),
            after,
            at: now(),
        })
    }

    /// A second descriptor, to wait on.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.fd.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether this process ignores a signal.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null new action sigaction(2) only writes the old one, if it returns 0.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: it returned 0, so the action was written.
    result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Gives a signal its default effect.
pub fn set_default(signal: i32) {
    // SAFETY: no handler of ours is installed or removed that something relies on.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores a signal.
pub fn set_ignored(signal: i32) {
    // SAFETY: as above.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Sends a signal: to a process, or to a process group with a negative number. The caller makes sure that
/// the number still means who it means.
pub fn send(pid: i32, signal: i32) -> io::Result<()> {
    // kill(2) gives 0, 1 and -1 meanings that nothing here has: our own group, init, everybody.
    debug_assert!(!(-1..=1).contains(&pid));
    // SAFETY: kill(2) touches no memory of ours.
    #[expect(clippy::disallowed_methods, reason = "only this folder sends signals")]
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a signal that is a request. As with [`send`], the caller makes sure that the number means who it means.
pub fn send_request(pid: i32, signal: Signal) -> io::Result<()> {
    unsafe extern "C" {
        fn sigqueue(pid: libc::pid_t, signal: libc::c_int, value: libc::sigval) -> libc::c_int;
    }
    debug_assert!(pid > 1);
    let value = libc::sigval {
        sival_ptr: std::ptr::without_provenance_mut(REQUEST),
    };
    // SAFETY: sigqueue(3) touches no memory of ours; the value is a number that nobody takes for a pointer.
    match unsafe { sigqueue(pid, signal as libc::c_int, value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets a blocked signal have its default effect on this process: stops it, or ends it.
pub fn raise_default(signal: i32) {
    set_default(signal);
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset(3) initialises the set that the other calls read; a null pointer means that the
    // old mask is not wanted. raise(3) touches no memory of ours.
    unsafe {
        libc::raise(signal);
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Stops this process as `signal` does, until somebody continues it. A stop by the terminal has no effect on
/// a process group that nobody could continue (setpgid(2), orphaned).
pub fn stop_self(signal: i32) {
    raise_default(signal);
    let _ = block_all();
}

/// Ends as the run did. For a signal this does not return where we can die of it, so that a shell sees the
/// same as without us; PID 1 cannot (pid_namespaces(7)). Then, and for a status, the caller exits with the
/// number.
pub fn end(ending: Ending) -> u8 {
    match ending {
        Ending::Status(status) => status,
        Ending::Signal(signal) => {
            // The command's core dump is the one of interest, not ours, also where core_pattern is a pipe.
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
            let _ = nix::sys::prctl::set_dumpable(false);
            if std::process::id() != 1 {
                raise_default(signal);
            }
            128_u8.wrapping_add(signal as u8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_that_end_a_waiting_run_are_those_that_end_a_process() {
        for signal in [
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGHUP,
            libc::SIGUSR1,
            libc::SIGRTMAX(),
        ] {
            assert!(terminates(signal), "{signal}");
        }
        for signal in [libc::SIGCHLD, libc::SIGWINCH, libc::SIGCONT, libc::SIGTSTP] {
            assert!(!terminates(signal), "{signal}");
        }
    }

    #[test]
    fn the_signals_that_cannot_be_caught_are_not_among_all() {
        let all: Vec<i32> = all().collect();
        assert!(all.contains(&libc::SIGTERM) && all.contains(&libc::SIGRTMIN()));
        for signal in [libc::SIGKILL, libc::SIGSTOP, 32, 33] {
            assert!(!all.contains(&signal), "{signal}");
        }
    }
}
