//! How fast each member answers: a linearizable read, and a commit.

use std::time::Duration;

use etcd_client::{GetOptions, LeaseGrantOptions};

use super::super::member::Member;
use super::super::race::Race;
use super::super::session::{new_lease_id, seconds_of};
use super::super::trouble::Failure;
use crate::clock::{self, Instant};
use crate::service::checkup::{MemberCheck, Pace};

/// How often each is measured. The median of five is no outlier.
const ROUNDS: usize = 5;

/// Asks for less than the shortest lease that etcd grants.
const TTL_S: i64 = 1;

/// Measures every member that has a vote, all at the same time: ten requests each.
pub async fn measure_all(
    members: &[Member],
    checks: &mut [MemberCheck],
    key: &str,
    give_up_at: Instant,
) {
    let mut paces = Race::new();
    for (index, member) in members.iter().enumerate() {
        let state = checks.get(index).map(|check| &check.state);
        if state.is_some_and(|state| state.as_ref().is_ok_and(|state| !state.is_learner)) {
            paces.enter(async move { (index, measure(member, key, give_up_at).await) });
        }
    }
    while !paces.is_empty() {
        let (index, pace) = paces.next().await;
        if let Some(check) = checks.get_mut(index) {
            check.pace = Some(pace.map_err(Into::into));
        }
    }
}

async fn measure(member: &Member, key: &str, give_up_at: Instant) -> Result<Pace, Failure> {
    let (mut reads, mut commits) = (Vec::new(), Vec::new());
    let mut ttl_min = Duration::MAX;
    for _ in 0..ROUNDS {
        let began = clock::now();
        read(member, key, give_up_at).await?;
        reads.push(clock::now().since(began));
        let began = clock::now();
        let (lease, ttl) = grant(member, give_up_at).await?;
        commits.push(clock::now().since(began));
        ttl_min = ttl_min.min(ttl);
        revoke(member, lease, give_up_at).await;
    }
    Ok(Pace {
        read: median(reads),
        commit: median(commits),
        ttl_min,
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A read is linearizable unless it asks for something else.
async fn read(member: &Member, key: &str, give_up_at: Instant) -> Result<(), Failure> {
    let reading = member.call(give_up_at, |client| async move {
        let options = GetOptions::new().with_count_only();
        client.kv_client().get(key, Some(options)).await
    });
    reading.await.map(|_| ())
}

async fn grant(member: &Member, give_up_at: Instant) -> Result<(i64, Duration), Failure> {
    let lease = new_lease_id()?.get();
    let granting = member.call(give_up_at, |client| async move {
        let options = LeaseGrantOptions::new().with_id(lease);
        client.lease_client().grant(TTL_S, Some(options)).await
    });
    Ok((lease, seconds_of(granting.await?.ttl())))
}

/// What fails here ends by itself, in the time that was measured.
async fn revoke(member: &Member, lease: i64, give_up_at: Instant) {
    let revoking = member.call(give_up_at, |client| async move {
        client.lease_client().revoke(lease).await
    });
    let _ = revoking.await;
}
