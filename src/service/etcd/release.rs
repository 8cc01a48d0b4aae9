//! Giving a session back: neither its entry, nor its marker, nor (in the end) its lease is left.
//!
//! - The entries and the markers go in one transaction, so that successors see a clean release. The revocation
//!   of the lease, to which nothing is attached any more, can go out after that without anybody waiting.
//! - Requests that make the place may be outstanding (see `outstanding`): they were given up, or another member has
//!   answered before, and they are carried out after the release, seconds later on a busy cluster. Nobody would renew
//!   what they make, but successors would wait for it. So the lease is not revoked then but left to its TTL: a
//!   grant that comes late finds it taken. A sign hangs on it that keeps out an entry that comes late. Where the lease is
//!   not there, the sign hangs on another one: on a lease that was made anew, what comes late would find its place
//!   until the sign is put. Nobody waits for either. A request that lands even later, out of the buffers of a
//!   member that was frozen for longer than the TTL, leaves what is gone after another TTL.
//! - Where our token is not known and nothing is outstanding, the revocation removes whatever there is.
//! - That serves too where etcd has no space: etcd 3.4 then refuses every transaction, but neither revocations nor
//!   deletions.

use super::cluster::Cluster;
use super::session::{Session, Stage};
use super::trouble::{Failure, Sign};
use crate::clock::Instant;
use crate::lock::token::Token;

/// Takes everything of a session but its lease out of the store; where the lease had to go first, it too.
pub async fn withdraw(
    cluster: &Cluster,
    session: &Session,
    give_up_at: Instant,
) -> Result<(), Failure> {
    match session.stage() {
        Stage::Untouched | Stage::Emptied => Ok(()),
        Stage::Placed(token) => delete_keys(cluster, session, token, give_up_at).await,
        Stage::Attempted if session.outstanding.is_any() => {
            keep_out(cluster, session, give_up_at).await
        }
        Stage::Attempted => revoke_first(cluster, session, give_up_at).await,
    }
}

async fn delete_keys(
    cluster: &Cluster,
    session: &Session,
    token: Token,
    give_up_at: Instant,
) -> Result<(), Failure> {
    match release_keys(cluster, session, token, give_up_at).await {
        Ok(stage) => {
            session.set_stage(stage);
            Ok(())
        }
        Err(failure) if failure.is_refusal() => revoke_first(cluster, session, give_up_at).await,
        Err(failure) => Err(failure),
    }
}

/// Deletes the keys of a place; what is left of the session then. What is outstanding would come back before there is a
/// sign, so nothing is given back without one.
async fn release_keys(
    cluster: &Cluster,
    session: &Session,
    token: Token,
    give_up_at: Instant,
) -> Result<Stage, Failure> {
    let mut sign_on = session.outstanding.is_any().then_some(session.lease);
    let mut left = Stage::Emptied;
    let mut released = cluster
        .transact(&session.keys.release(token, sign_on), give_up_at)
        .await;
    if is_without_lease(&released) {
        sign_on = Some(session.lease_for_sign(cluster, give_up_at).await?);
        left = Stage::Untouched;
        let txn = session.keys.release(token, sign_on);
        released = cluster.transact(&txn, give_up_at).await;
    }
    if !released?.succeeded() {
        if let Some(sign_on) = sign_on {
            // Somebody deleted the entry, and what was outstanding has put it anew: with another revision, on our lease.
            let txn = session.keys.keep_out(session.lease, sign_on);
            cluster.transact(&txn, give_up_at).await?;
        }
        delete_each(cluster, session, Some(token), give_up_at).await?;
    }
    Ok(left)
}

/// Leaves the lease and the sign, which keep out what is outstanding.
async fn keep_out(
    cluster: &Cluster,
    session: &Session,
    give_up_at: Instant,
) -> Result<(), Failure> {
    let txn = session.keys.keep_out(session.lease, session.lease);
    let mut kept_out = cluster.transact(&txn, give_up_at).await;
    if is_without_lease(&kept_out) {
        // Not there yet, or not any more.
        kept_out = match session.lease_for_sign(cluster, give_up_at).await {
            Ok(lease) => {
                let txn = session.keys.keep_out(session.lease, lease);
                cluster.transact(&txn, give_up_at).await
            }
            Err(failure) => Err(failure),
        };
    }
    match kept_out {
        Ok(response) => {
            if !response.succeeded() {
                delete_each(cluster, session, None, give_up_at).await?;
            }
            session.set_stage(Stage::Untouched);
            Ok(())
        }
        Err(failure) if failure.is_refusal() || failure.sign == Sign::LeaseNotFound => {
            revoke_first(cluster, session, give_up_at).await
        }
        Err(failure) => Err(failure),
    }
}

/// One of several entries was taken from us; the others are still ours to give back.
async fn delete_each(
    cluster: &Cluster,
    session: &Session,
    token: Option<Token>,
    give_up_at: Instant,
) -> Result<(), Failure> {
    for txn in session.keys.delete_each(session.lease, token) {
        cluster.transact(&txn, give_up_at).await?;
    }
    Ok(())
}

fn is_without_lease<T>(result: &Result<T, Failure>) -> bool {
    matches!(result, Err(failure) if failure.sign == Sign::LeaseNotFound)
}

async fn revoke_first(
    cluster: &Cluster,
    session: &Session,
    give_up_at: Instant,
) -> Result<(), Failure> {
    session.revoke(cluster, give_up_at).await?;
    for lock in &session.keys.locks {
        cluster.delete(&lock.marker, give_up_at).await?;
    }
    session.set_stage(Stage::Untouched);
    Ok(())
}

/// Revokes the lease of a session that is withdrawn, so that nothing of it is left; where something may still come,
/// keeps that out.
pub async fn revoke_emptied(
    cluster: &Cluster,
    session: &Session,
    give_up_at: Instant,
) -> Result<(), Failure> {
    match session.stage() {
        Stage::Emptied if session.outstanding.is_any() => {
            keep_out(cluster, session, give_up_at).await
        }
        Stage::Emptied => {
            session.revoke(cluster, give_up_at).await?;
            session.set_stage(Stage::Untouched);
            Ok(())
        }
        _ => Ok(()),
    }
}
