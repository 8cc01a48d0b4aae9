//! How long a lock may be believed, and when its command has to stop for that.
//!
//! ```text
//!  sent_at ─── renew_at ───────────── stop_at ────────── kill_at ────── expires_at
//!              TTL/4, then            TERM to the        KILL           the first moment the
//!              again and again        whole tree                        server may free the lock
//!                                     └── kill_after ──┘└── margin ──┘
//! ```
//! - `expires_at = sent_at + TTL`: from when the request was *sent*, since the server cannot have begun to
//!   count before; with the TTL the *server* granted, since it may raise what was asked for (etcd:
//!   server/lease/lessor.go, minTTL). etcd's own Go client counts from the receipt (client/v3/lease.go:550).
//! - `margin = max(500 ms, 5 % of the TTL) + 1 % of the TTL`: scheduling and reaping, and the difference of
//!   two clocks' rates.
//! - Everything before `stop_at` is for renewing. A timing that leaves less than half of the TTL for it, so
//!   less than two attempts spaced TTL/4, is refused before anything starts.

use std::fmt;
use std::time::Duration;

use crate::clock::Instant;

/// Above it, etcd may checkpoint leases and then report a longer life than they have
/// (etcd: server/lease/lessor.go:436-455 with checkpoints every 5 minutes).
pub const TTL_MAX: Duration = Duration::from_secs(300);

/// The part of the lease kept for killing, reaping and clock rates: see the module's comment.
pub fn margin(ttl: Duration) -> Duration {
    let reaping = (ttl / 20).max(Duration::from_millis(500));
    let clock_rate = ttl / 100;
    reaping + clock_rate
}

/// The default time between TERM and KILL.
pub fn default_kill_after(ttl: Duration) -> Duration {
    (ttl / 4).min(Duration::from_secs(10))
}

/// How long renewals may come to nothing before the command is told to stop, from when the first one is due: the
/// longest outage that a run is sure to survive.
pub fn survived(ttl: Duration, kill_after: Duration) -> Duration {
    let lease = Lease {
        sent_at: Instant::from_nanos(0),
        ttl,
        kill_after,
    };
    lease.stop_at().since(lease.renew_at())
}

/// The shortest TTL, in whole seconds, that survives such an outage with the default grace.
pub fn shortest_surviving(outage: Duration) -> Option<Duration> {
    (3..=TTL_MAX.as_secs())
        .map(Duration::from_secs)
        .find(|ttl| survived(*ttl, default_kill_after(*ttl)) >= outage)
}

/// A TTL and a grace that do not leave enough of the lease for renewing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImpossibleTiming {
    /// The TTL is above [`TTL_MAX`].
    TtlTooLong,
    /// No grace at all would fit this TTL.
    TtlTooShort {
        /// The shortest TTL that fits, in whole seconds.
        ttl_min: Duration,
    },
    /// The grace is too long for this TTL.
    KillAfterTooLong {
        /// The TTL that was asked for.
        ttl: Duration,
        /// The longest grace that fits it.
        kill_after_max: Duration,
        /// The shortest TTL, in whole seconds, that fits the grace asked for; none up to [`TTL_MAX`].
        ttl_min: Option<Duration>,
    },
}

impl fmt::Display for ImpossibleTiming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TtlTooLong => write!(f, "--ttl can be at most {TTL_MAX:?}"),
            Self::TtlTooShort { ttl_min } => {
                write!(
                    f,
                    "--ttl is too short to renew the lease in time; --ttl {ttl_min:?} is the shortest"
                )
            }
            Self::KillAfterTooLong {
                ttl,
                kill_after_max,
                ttl_min,
            } => {
                write!(
                    f,
                    "--kill-after leaves too little of a --ttl of {ttl:?} for renewing it; --kill-after {kill_after_max:?} would fit"
                )?;
                match ttl_min {
                    Some(ttl_min) => write!(f, ", or --ttl {ttl_min:?}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for ImpossibleTiming {}

/// How much of a lease of `ttl` may go by before the command must be told to stop, at the least.
const fn renewing_min(ttl: Duration) -> Duration {
    Duration::from_nanos(ttl.as_nanos() as u64 / 2)
}

fn kill_after_max(ttl: Duration) -> Option<Duration> {
    ttl.checked_sub(renewing_min(ttl))?.checked_sub(margin(ttl))
}

/// Whether command and lease fit together; a refusal names numbers that would.
pub fn check(ttl: Duration, kill_after: Duration) -> Result<(), ImpossibleTiming> {
    if ttl > TTL_MAX {
        return Err(ImpossibleTiming::TtlTooLong);
    }
    let shortest_for = |kill_after: Duration| {
        (1..=TTL_MAX.as_secs())
            .map(Duration::from_secs)
            .find(|ttl| kill_after_max(*ttl).is_some_and(|max| kill_after <= max))
    };
    match kill_after_max(ttl) {
        None => Err(ImpossibleTiming::TtlTooShort {
            ttl_min: shortest_for(Duration::ZERO).unwrap_or(TTL_MAX),
        }),
        Some(max) if kill_after > max => Err(ImpossibleTiming::KillAfterTooLong {
            ttl,
            // Shown to people: whole milliseconds, rounded down so that it still fits.
            kill_after_max: Duration::from_millis(max.as_millis() as u64),
            ttl_min: shortest_for(kill_after),
        }),
        Some(_) => Ok(()),
    }
}

/// What is known of a lease after a request that granted or renewed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When the request was sent.
    pub sent_at: Instant,
    /// What the server granted.
    pub ttl: Duration,
    /// The time between TERM and KILL.
    pub kill_after: Duration,
}

impl Lease {
    /// The first moment at which the server may let somebody else have the lock.
    pub fn expires_at(&self) -> Instant {
        self.sent_at + self.ttl
    }

    /// When whatever is left of the command is killed.
    pub fn kill_at(&self) -> Instant {
        self.expires_at() - margin(self.ttl)
    }

    /// When the command is asked to end. Not before `sent_at`, whatever the server granted.
    pub fn stop_at(&self) -> Instant {
        (self.kill_at() - self.kill_after).max(self.sent_at)
    }

    /// When the next renewal is due.
    pub fn renew_at(&self) -> Instant {
        self.sent_at + self.ttl / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_defaults_give_the_documented_timeline() {
        let ttl = 60 * SECOND;
        let lease = Lease {
            sent_at: Instant::from_nanos(0),
            ttl,
            kill_after: default_kill_after(ttl),
        };
        assert_eq!(lease.renew_at(), Instant::from_nanos(15_000_000_000));
        assert_eq!(lease.stop_at(), Instant::from_nanos(46_400_000_000));
        assert_eq!(lease.kill_at(), Instant::from_nanos(56_400_000_000));
        assert_eq!(lease.expires_at(), Instant::from_nanos(60_000_000_000));
    }

    #[test]
    fn impossible_timings_are_refused_with_ones_that_fit() {
        assert_eq!(
            check(301 * SECOND, SECOND),
            Err(ImpossibleTiming::TtlTooLong)
        );
        assert_eq!(
            check(SECOND, Duration::ZERO),
            Err(ImpossibleTiming::TtlTooShort {
                ttl_min: 2 * SECOND
            })
        );
        assert_eq!(
            check(10 * SECOND, 8 * SECOND),
            Err(ImpossibleTiming::KillAfterTooLong {
                ttl: 10 * SECOND,
                kill_after_max: Duration::from_millis(4_400),
                ttl_min: Some(19 * SECOND),
            })
        );
        let Err(ImpossibleTiming::KillAfterTooLong { ttl_min, .. }) =
            check(10 * SECOND, 600 * SECOND)
        else {
            panic!("ten minutes of grace fit no lease");
        };
        assert_eq!(ttl_min, None);
    }

    #[test]
    fn an_outage_is_survived_by_the_shortest_ttl_that_is_named_and_by_no_shorter_one() {
        assert_eq!(
            survived(60 * SECOND, 10 * SECOND),
            Duration::from_millis(31_400)
        );
        for outage_ms in [0, 500, 4_000, 31_400, 120_000] {
            let outage = Duration::from_millis(outage_ms);
            let ttl = shortest_surviving(outage).expect("one fits");
            assert!(survived(ttl, default_kill_after(ttl)) >= outage);
            let shorter = ttl - SECOND;
            assert!(ttl == 3 * SECOND || survived(shorter, default_kill_after(shorter)) < outage);
        }
        assert_eq!(shortest_surviving(300 * SECOND), None);
    }

    proptest! {
        #[test]
        fn what_a_refusal_proposes_is_accepted(ttl_ms in 1_u64..400_000, kill_ms in 0_u64..400_000) {
            let (ttl, kill_after) = (Duration::from_millis(ttl_ms), Duration::from_millis(kill_ms));
            match check(ttl, kill_after) {
                Ok(()) => {
                    let lease = Lease { sent_at: Instant::from_nanos(7), ttl, kill_after };
                    prop_assert!(lease.sent_at < lease.renew_at());
                    prop_assert!(lease.renew_at() < lease.stop_at());
                    prop_assert!(lease.stop_at() <= lease.kill_at());
                    prop_assert!(lease.kill_at() + Duration::from_millis(500) <= lease.expires_at());
                }
                Err(ImpossibleTiming::TtlTooLong) => prop_assert!(ttl > TTL_MAX),
                Err(ImpossibleTiming::TtlTooShort { ttl_min }) => {
                    prop_assert_eq!(check(ttl_min, Duration::ZERO), Ok(()));
                }
                Err(ImpossibleTiming::KillAfterTooLong { kill_after_max, ttl_min, .. }) => {
                    prop_assert_eq!(check(ttl, kill_after_max), Ok(()));
                    if let Some(ttl_min) = ttl_min {
                        prop_assert_eq!(check(ttl_min, kill_after), Ok(()));
                    }
                }
            }
        }

        #[test]
        fn the_default_grace_fits_every_ttl_from_three_seconds(ttl in 3_u64..=300) {
            let ttl = Duration::from_secs(ttl);
            prop_assert_eq!(check(ttl, default_kill_after(ttl)), Ok(()));
        }
    }
}
