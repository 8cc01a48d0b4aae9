//! Leases that are not renewed: what hangs on them is to go by itself after a while.

use std::time::Duration;

use etcd_client::LeaseGrantOptions;

use super::cluster::Cluster;
use super::session::{self, seconds_of};
use super::trouble::{Failure, Sign};
use crate::clock::Instant;
use crate::lock::token::LeaseId;

/// Gets one that lives at least as long as this: etcd counts whole seconds.
pub async fn grant_new(
    cluster: &Cluster,
    ttl: Duration,
    give_up_at: Instant,
) -> Result<LeaseId, Failure> {
    let (lease, granted) = grant_any(cluster, ttl, give_up_at).await?;
    // What the server grants counts, not what was asked for.
    if granted < ttl {
        revoke_unused(cluster, lease, give_up_at).await;
        let detail = format!("etcd grants {granted:?} where {ttl:?} were asked for");
        return Err(Failure::refused(detail));
    }
    Ok(lease)
}

/// The same, where one that lives shorter serves as well; with how long etcd lets it live.
pub async fn grant_any(
    cluster: &Cluster,
    ttl: Duration,
    give_up_at: Instant,
) -> Result<(LeaseId, Duration), Failure> {
    let lease = session::new_lease_id()?;
    let seconds = i64::try_from((ttl + Duration::from_millis(999)).as_secs()).unwrap_or(i64::MAX);
    let granted = cluster
        .call(give_up_at, |client| async move {
            let options = LeaseGrantOptions::new().with_id(lease.get());
            let granted = client.lease_client().grant(seconds, Some(options)).await?;
            Ok(seconds_of(granted.ttl()))
        })
        .await;
    let granted = match granted {
        // The answer to an earlier attempt was lost.
        Err(failure) if failure.sign == Sign::LeaseExists => {
            cluster
                .call(give_up_at, |client| async move {
                    let asked = client
                        .lease_client()
                        .time_to_live(lease.get(), None)
                        .await?;
                    Ok(seconds_of(asked.granted_ttl()))
                })
                .await
        }
        granted => granted,
    };
    granted.map(|granted| (lease, granted))
}

/// Ends one on which nothing hangs, or nothing that is wanted. What fails here ends by itself.
pub async fn revoke_unused(cluster: &Cluster, lease: LeaseId, give_up_at: Instant) {
    let _ = cluster
        .call(give_up_at, |client| async move {
            client.lease_client().revoke(lease.get()).await.map(|_| ())
        })
        .await;
}
