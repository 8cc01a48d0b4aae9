//! The page of memory that F, W and M share: the deadline, and how far the run is.
//!
//! A page rather than messages: it is always fresh, also for a process that was stopped while renewals went
//! on, and a renewal costs one store and wakes nobody.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use crate::clock::Instant;
use crate::outcome::{Ended, Ending};
use crate::process::Memo;

/// How long a sign of life from a manager that is busy killing counts. Far above a round of its kill loop
/// (50 ms at most), and short enough that F, which adds it to its own patience, still acts well within the
/// margin of 500 ms that a lease keeps for killing.
const SIGN_OF_LIFE: Duration = Duration::from_millis(150);
/// How long after its turn to kill a guard waits for any sign of life from M before it kills M as well. The tree
/// is being killed meanwhile, so this only has to be short enough for the margin of 500 ms, and long enough for
/// a M that other processes keep from the processor: a dead M cannot give the lock back.
const SILENCE: Duration = Duration::from_millis(300);

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Phase {
    /// No command was started.
    Waiting = 0,
    /// The command was told to start, and has not been reaped.
    Running = 1,
    /// The command was reaped; processes of its tree are left.
    Leftovers = 2,
    /// Nobody of the tree is left, or what is left lives outside the lock.
    Empty = 3,
}

/// The shared page. All zeroes is a run that has just begun.
#[repr(C)]
pub struct Page {
    /// When the tree has to be killed, in nanoseconds since boot; 0 is not yet.
    kill_at: AtomicU64,
    /// By when a command that was told to start has to have begun, in nanoseconds since boot; 0 is whenever.
    start_by: AtomicU64,
    /// When M last worked on killing the tree; 0 is never.
    killing_at: AtomicU64,
    /// When M last did anything; 0 is never.
    alive_at: AtomicU64,
    phase: AtomicU32,
    /// How the command ended: 0 not, else see [`encode`].
    ended: AtomicU32,
    /// How the run ended, set before M goes: 0 not yet. Then nobody needs to be guarded.
    ending: AtomicU32,
    /// M's pid; 0 before it exists.
    manager: AtomicI32,
    /// What F reports of the run if M dies.
    memo: [AtomicU64; 4],
}

impl Page {
    /// A page that processes forked from this one share.
    pub fn share() -> io::Result<&'static Self> {
        let size = NonZeroUsize::new(size_of::<Self>()).expect("the page has fields");
        let flags = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let page = unsafe { mmap_anonymous(None, size, flags, MapFlags::MAP_SHARED) }?;
        // SAFETY: the mapping is page-aligned, zeroed, large enough, and never unmapped; the fields are atomics
        // and zero is valid for each, so sharing them with other processes is no data race.
        Ok(unsafe { page.cast::<Self>().as_ref() })
    }

    /// Sets the time by which the tree has to be killed.
    pub fn publish(&self, kill_at: Instant) {
        // Zero means none: an instant before everything is as good as the first nanosecond.
        self.kill_at
            .store(kill_at.as_nanos().max(1), Ordering::Release);
    }

    /// Sets the time by which a command has to have begun, also where nobody wants it dead later.
    pub fn start_by(&self, start_by: Instant) {
        self.start_by
            .store(start_by.as_nanos().max(1), Ordering::Release);
    }

    /// Whether it is too late to begin: the lease that was there when it was said is over, and the one that is there now.
    pub fn is_over(&self, now: Instant) -> bool {
        let start_by = self.start_by.load(Ordering::Acquire);
        match start_by.max(self.kill_at.load(Ordering::Acquire)) {
            0 => false,
            over_at => now >= Instant::from_nanos(over_at),
        }
    }

    /// Notes what F reports of the run if M dies; before the command is started.
    pub fn note(&self, memo: Memo) {
        let numbers = [
            memo.token as u64,
            memo.lease as u64,
            memo.cluster,
            memo.started_at.as_nanos(),
        ];
        for (place, number) in self.memo.iter().zip(numbers) {
            place.store(number, Ordering::Release);
        }
    }

    /// What was noted; all zero before.
    pub fn memo(&self) -> Memo {
        let [token, lease, cluster, started_at] =
            [0, 1, 2, 3].map(|index| self.memo[index].load(Ordering::Acquire));
        Memo {
            token: token as i64,
            lease: lease as i64,
            cluster,
            started_at: Instant::from_nanos(started_at),
        }
    }

    /// M is at work, killing.
    pub fn killing(&self, now: Instant) {
        self.killing_at.store(now.as_nanos(), Ordering::Release);
    }

    /// M is at work, whatever it does.
    pub fn alive(&self, now: Instant) {
        self.alive_at.store(now.as_nanos(), Ordering::Release);
    }

    /// Whether M has done anything at this instant or later.
    pub fn has_lived_since(&self, at: Instant) -> bool {
        self.alive_at.load(Ordering::Acquire) >= at.as_nanos()
    }

    /// When a guard has to kill M as well, if nothing changes until then: M has let the deadline pass, and
    /// nothing is heard of it. None while no command runs.
    pub fn overdue_at(&self, patience: Duration) -> Option<Instant> {
        let alive = Instant::from_nanos(self.alive_at.load(Ordering::Acquire));
        Some(self.guard_at(patience)?.max(alive) + SILENCE)
    }

    /// When a guard has to kill the tree, if nothing changes until then: `patience` after the deadline, or
    /// later while M gives signs of killing it itself. None while no command runs.
    pub fn guard_at(&self, patience: Duration) -> Option<Instant> {
        if !matches!(self.phase(), Phase::Running | Phase::Leftovers) {
            return None;
        }
        match self.kill_at.load(Ordering::Acquire) {
            0 => None,
            kill_at => {
                let due = Instant::from_nanos(kill_at) + patience;
                let busy =
                    Instant::from_nanos(self.killing_at.load(Ordering::Acquire)) + SIGN_OF_LIFE;
                Some(due.max(busy))
            }
        }
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Waiting,
            1 => Phase::Running,
            2 => Phase::Leftovers,
            _ => Phase::Empty,
        }
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u32, Ordering::Release);
    }

    /// Whether a command was told to start.
    pub fn started(&self) -> bool {
        self.phase() > Phase::Waiting
    }

    pub fn set_ended(&self, ended: Ended) {
        let code = match ended {
            Ended::Exited(status) => encode(Ending::Status(status)),
            Ended::Signaled(signal) => encode(Ending::Signal(signal)),
        };
        self.ended.store(code, Ordering::Release);
    }

    /// How the command ended, if it did.
    pub fn ended(&self) -> Option<Ended> {
        decode(self.ended.load(Ordering::Acquire)).map(|ending| match ending {
            Ending::Status(status) => Ended::Exited(status),
            Ending::Signal(signal) => Ended::Signaled(signal),
        })
    }

    pub fn set_ending(&self, ending: Ending) {
        self.ending.store(encode(ending), Ordering::Release);
    }

    /// How the run ended, if M has said so.
    pub fn ending(&self) -> Option<Ending> {
        decode(self.ending.load(Ordering::Acquire))
    }

    pub fn set_manager(&self, pid: i32) {
        self.manager.store(pid, Ordering::Release);
    }

    /// M's pid; 0 before it exists.
    pub fn manager(&self) -> i32 {
        self.manager.load(Ordering::Acquire)
    }
}

/// An ending as one number that is not zero.
pub fn encode(ending: Ending) -> u32 {
    match ending {
        Ending::Status(status) => 0x100 | u32::from(status),
        Ending::Signal(signal) => 0x200 | (signal as u32 & 0xff),
    }
}

/// The ending that [`encode`] made a number of.
pub fn decode(code: u32) -> Option<Ending> {
    match code & 0x300 {
        0x100 => Some(Ending::Status(code as u8)),
        0x200 => Some(Ending::Signal((code & 0xff) as i32)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_survives_being_a_number() {
        for n in 0..=255 {
            let status = Ending::Status(n);
            assert_eq!(decode(encode(status)), Some(status));
        }
        for n in 1..=64 {
            let signal = Ending::Signal(n);
            assert_eq!(decode(encode(signal)), Some(signal));
        }
        assert_eq!(decode(0), None);
    }

    #[test]
    fn a_guard_acts_only_while_a_command_runs_and_spares_a_manager_that_kills() {
        let page = Page::share().unwrap();
        let patience = Duration::from_millis(75);
        let kill_at = Instant::from_nanos(1_000_000_000);
        assert!(!page.is_over(kill_at), "there is no deadline");
        page.publish(kill_at);
        assert!(page.is_over(kill_at));
        assert!(!page.is_over(kill_at - Duration::from_nanos(1)));
        page.start_by(kill_at + patience);
        assert!(!page.is_over(kill_at) && page.is_over(kill_at + patience));
        assert_eq!(page.guard_at(patience), None, "nothing was started");
        page.set_phase(Phase::Running);
        assert_eq!(page.guard_at(patience), Some(kill_at + patience));
        let busy = kill_at + Duration::from_secs(1);
        page.killing(busy);
        assert_eq!(page.guard_at(patience), Some(busy + SIGN_OF_LIFE));
        let silent = busy + SIGN_OF_LIFE + SILENCE;
        assert_eq!(page.overdue_at(patience), Some(silent));
        page.alive(silent);
        assert_eq!(page.overdue_at(patience), Some(silent + SILENCE));
        page.set_phase(Phase::Empty);
        assert_eq!(page.guard_at(patience), None, "nobody is left");
    }
}
