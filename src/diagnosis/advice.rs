//! The TTL and the grace that fit a cluster.
//!
//! A run has to survive a change of the leader, during which nothing is answered: a follower notices within two election
//! timeouts that the leader is gone (raft randomises them between one and two), and the election takes another one.
//! Afterwards a renewal and the read that validates it need an answer each, and may have to be sent a second time:
//!
//! ```text
//! survived(TTL, kill-after) >= 3 x election timeout + 4 x slowest answer
//! ```
//!
//! where `survived` is the time from the first renewal, at TTL/4, to `stop_at` ([`crate::lock::lease`]). The election
//! timeout is not in etcd's API. But the shortest lease that it grants is half as long again, rounded up to whole
//! seconds, so the timeout is at most two thirds of that.

use std::time::Duration;

use crate::diagnosis::{CLUSTER, Finding, Verdict};
use crate::lock::lease;
use crate::service::checkup::{Checkup, Pace};

/// The default of `--ttl`: the longest that is recommended where a shorter one would do.
const TTL: Duration = Duration::from_secs(60);

/// What is recommended for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// How long a change of the leader may take until the lease is renewed again.
    pub outage: Duration,
    /// The shortest `--ttl` that survives it.
    pub ttl_min: Duration,
    /// The `--ttl` that is recommended.
    pub ttl: Duration,
    /// The `--kill-after` that goes with it.
    pub kill_after: Duration,
}

impl Advice {
    /// For a cluster whose members answered like this. Nothing where none did; an error where no TTL would do, with
    /// the outage.
    pub fn of(checkup: &Checkup) -> Option<Result<Self, Duration>> {
        let paces = checkup
            .members
            .iter()
            .filter_map(|member| member.pace.as_ref());
        let paces: Vec<&Pace> = paces.flatten().collect();
        let slowest = paces.iter().map(|pace| pace.read.max(pace.commit)).max()?;
        let election = paces.iter().map(|pace| pace.ttl_min * 2 / 3).max()?;
        let outage = 3 * election + 4 * slowest;
        let Some(ttl_min) = lease::shortest_surviving(outage) else {
            return Some(Err(outage));
        };
        let ttl = ttl_min.max(TTL);
        Some(Ok(Self {
            outage,
            ttl_min,
            ttl,
            kill_after: lease::default_kill_after(ttl),
        }))
    }
}

pub fn finding(checkup: &Checkup) -> Option<Finding> {
    Some(match Advice::of(checkup)? {
        Err(outage) => Finding::new(
            "ttl",
            Verdict::Warning,
            CLUSTER,
            format!(
                "a change of the leader may take {outage:.1?}, and no --ttl survives that: find out why etcd is so slow, or give it a shorter election timeout"
            ),
        ),
        Ok(advice) => {
            let Advice {
                outage,
                ttl_min,
                ttl,
                kill_after,
            } = advice;
            let survived = lease::survived(ttl, kill_after);
            let verdict = match ttl > TTL {
                true => Verdict::Warning,
                false => Verdict::Ok,
            };
            let message = format!(
                "--ttl {ttl:?} with --kill-after {kill_after:?} is recommended, which survives an outage of {survived:.1?}; the shortest that survives a change of the leader here ({outage:.1?}) is --ttl {ttl_min:?}"
            );
            Finding::new("ttl", verdict, CLUSTER, message)
        }
    })
}
