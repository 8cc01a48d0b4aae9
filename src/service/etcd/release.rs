//! Giving a session back: neither its entry, nor its marker, nor (in the end) its lease is left.
//!
//! - The entry and the marker go in one transaction, so that successors see a clean release. The revocation
//!   of the lease, to which nothing is attached any more, can go out after that without anybody waiting.
//! - Where our token is not known, requests may still be in flight and land after ours. Then the lease is
//!   taken (so that a grant in flight finds it taken, or has landed) and revoked: that removes the entry, and
//!   an entry that comes later is refused for want of its lease. A request that lands even later, out of the
//!   buffers of a member that was frozen, leaves what nobody renews: it is gone after one TTL.
//! - Where the entry was sent more than once, one of them may arrive between the deletion and the revocation; the
//!   release leaves a sign that keeps it out. Where there was nothing to release (the lock was busy), it may have
//!   got in; the revocation takes the entry with it, but not the marker: that is deleted after it.
//! - The same way serves where etcd has no space: etcd 3.4 then refuses every transaction, but neither
//!   revocations nor deletions.

use std::time::Duration;

use super::cluster::Cluster;
use super::session::{Session, Stage};
use super::trouble::{Failure, Sign};
use crate::clock::Instant;
use crate::lock::token::Token;

/// The TTL of a lease that is taken to be revoked.
const PASSING_TTL: Duration = Duration::from_secs(2);

/// Takes everything of a session but its lease out of the store; where the lease had to go first, it too.
pub async fn withdraw(
    cluster: &Cluster,
    session: &Session,
    give_up_at: Instant,
) -> Result<(), Failure> {
    match session.stage() {
        Stage::Untouched | Stage::Emptied => Ok(()),
        Stage::Placed(token) => delete_keys(cluster, session, token, give_up_at).await,
        Stage::Attempted => {
            // Refused or not, what counts is the revocation.
            let taken = session.grant(cluster, PASSING_TTL, give_up_at).await;
            if let Err(failure) = taken
                && failure.may_pass()
            {
                return Err(failure);
            }
            revoke_first(cluster, session, give_up_at).await
        }
    }
}

async fn delete_keys(
    cluster: &Cluster,
    session: &Session,
    token: Token,
    give_up_at: Instant,
) -> Result<(), Failure> {
    let over_until = session.is_repeated().then_some(session.lease);
    let txn = session.keys.release(token, over_until);
    let mut released = cluster.transact(&txn, give_up_at).await;
    if matches!(&released, Err(failure) if failure.sign == Sign::LeaseNotFound) {
        let txn = session.keys.release(token, None);
        released = cluster.transact(&txn, give_up_at).await;
    }
    match released {
        Ok(_) => {
            session.set_stage(Stage::Emptied);
            Ok(())
        }
        Err(failure) if failure.is_refusal() => revoke_first(cluster, session, give_up_at).await,
        Err(failure) => Err(failure),
    }
}

async fn revoke_first(
    cluster: &Cluster,
    session: &Session,
    give_up_at: Instant,
) -> Result<(), Failure> {
    session.revoke(cluster, give_up_at).await?;
    cluster.delete(&session.keys.marker, give_up_at).await?;
    session.set_stage(Stage::Untouched);
    Ok(())
}

/// Revokes the lease of a session that is withdrawn, so that nothing of it is left.
pub async fn revoke_emptied(
    cluster: &Cluster,
    session: &Session,
    give_up_at: Instant,
) -> Result<(), Failure> {
    if session.stage() == Stage::Emptied {
        session.revoke(cluster, give_up_at).await?;
        if session.is_repeated() {
            cluster.delete(&session.keys.marker, give_up_at).await?;
        }
        session.set_stage(Stage::Untouched);
    }
    Ok(())
}
