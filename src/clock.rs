//! The only reader of a clock.
//!
//! Decisions:
//! - Deadlines are instants on CLOCK_BOOTTIME, which counts the time a machine is suspended; the lease's
//!   clock on the server goes on while we sleep. `std::time::Instant` and tokio's timers stand on
//!   CLOCK_MONOTONIC, which does not (clock_gettime(2), rust-lang/rust#87906), so no deadline uses them.
//! - [`Timer`] is a timerfd with an absolute time: it fires at once when a machine wakes after the deadline.
//! - The wall clock is read only for people (entries, reports), never to decide.

use std::fmt;
use std::ops::{Add, Sub};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::process::readiness::Readiness;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as ReadClock, clock_gettime};

/// A point on CLOCK_BOOTTIME, in nanoseconds since the machine booted.
///
/// The value is only comparable on the same machine and within the same boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The instant this many nanoseconds after boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates: an instant too far away to count is the last one, never an early one.
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at boot.
    fn sub(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot+{:?}", Duration::from_nanos(self.0))
    }
}

/// The instant now, on CLOCK_BOOTTIME.
#[expect(
    clippy::disallowed_methods,
    reason = "clock.rs is the only reader of a clock"
)]
pub fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = crate::simulation::kernel::now() {
        return now;
    }
    let time = clock_gettime(ReadClock::CLOCK_BOOTTIME)
        .expect("CLOCK_BOOTTIME exists since Linux 2.6.39 (clock_gettime(2))");
    Instant((Duration::from(time)).as_nanos() as u64)
}

/// The wall clock, for people only: it can be wrong and it can jump.
#[expect(
    clippy::disallowed_methods,
    reason = "clock.rs is the only reader of a clock"
)]
pub fn wall() -> jiff::Timestamp {
    #[cfg(test)]
    if let Some(wall) = crate::simulation::kernel::wall() {
        return wall;
    }
    jiff::Timestamp::now()
}

/// A one-shot timer on CLOCK_BOOTTIME inside a tokio runtime.
pub struct Timer {
    fd: Readiness<TimerFd>,
}

impl Timer {
    /// A disarmed timer. Must be made inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no timerfd or no descriptor left.
    pub fn new() -> std::io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let fd = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?;
        Ok(Self {
            fd: Readiness::new(fd)?,
        })
    }

    /// Completes at or after `deadline`; never where there is none. Dropping the future is harmless.
    pub async fn reached(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return std::future::pending().await;
        };
        self.arm(deadline);
        // An error means that the reactor is gone: then nothing waits any more either.
        let _ = self.fd.read(|_| (now() >= deadline).then_some(())).await;
    }

    fn arm(&self, deadline: Instant) {
        arm(self.fd.get(), deadline);
    }
}

/// A one-shot timer on CLOCK_BOOTTIME for a loop around poll(2), without tokio.
pub struct Alarm(TimerFd);

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// When the kernel has no timerfd or no descriptor left.
    pub fn new() -> std::io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self(TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?))
    }

    /// Readable from `deadline` on, or never; until it is set again.
    pub fn set(&self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => arm(&self.0, deadline),
            None => self.0.unset().expect("an open timer"),
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn arm(timer: &TimerFd, deadline: Instant) {
    // Zero would disarm (timerfd_settime(2)); an instant in the past fires at once.
    let at = TimeSpec::from_duration(Duration::from_nanos(deadline.as_nanos().max(1)));
    timer
        .set(
            Expiration::OneShot(at),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME,
        )
        .expect("a valid time and an open timer");
}
