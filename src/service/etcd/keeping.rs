//! `--hold-min`: the lock is kept until its time is over, without any process of ours.
//!
//! - A second lease, as long as what is left of the time, takes the entry and the marker over in one transaction; then
//!   the first lease, empty by now, goes. Both keys keep their create_revision, so the place in the queue, and go in one
//!   with the second lease: nobody sees a holder that vanished.
//! - Where it cannot be done nothing is given back: the first lease runs out, and a lock that is free a little late is
//!   better than a job that is done twice. A second lease that was asked for in vain may be granted later: it is empty,
//!   and nobody waits for it.
//! - etcd counts a lease anew when its leader changes, so the lock can be kept for longer (etcd: server/lease/lessor.go,
//!   Promote).

use super::cluster::Cluster;
use super::lease;
use super::session::{Session, Stage};
use super::trouble::Failure;
use crate::clock::{self, Instant};
use crate::lock::entry::Entry;
use crate::lock::token::Token;

/// Keeps the lock of the session with this token until then, and says so in its entry.
///
/// The session's stage was [`Stage::Untouched`] before this was called: whoever cuts it short must not give back what
/// may have been handed over.
pub async fn keep(
    cluster: &Cluster,
    session: &Session,
    token: Token,
    entry: &Entry,
    until: Instant,
    give_up_at: Instant,
) -> Result<(), Failure> {
    match hand_over(cluster, session, token, entry, until, give_up_at).await {
        Ok(true) => {
            // The sign that keeps out what comes late hangs on the first lease.
            if !session.outstanding.is_any() {
                session.set_stage(Stage::Emptied);
            }
            Ok(())
        }
        Ok(false) => {
            // Nothing is kept, so what is left of it can go.
            session.set_stage(Stage::Placed(token));
            Err(Failure::refused("the lock was lost before".to_owned()))
        }
        Err(failure) => Err(failure),
    }
}

/// Whether the lock was still ours.
async fn hand_over(
    cluster: &Cluster,
    session: &Session,
    token: Token,
    entry: &Entry,
    until: Instant,
    give_up_at: Instant,
) -> Result<bool, Failure> {
    let rest = until.since(clock::now());
    let lease = lease::grant_new(cluster, rest, give_up_at).await?;
    let sign_on = session.outstanding.is_any().then_some(session.lease);
    let txn = session
        .keys
        .hand_over(token, lease, &entry.to_json(), sign_on);
    match cluster.transact(&txn, give_up_at).await {
        Ok(answer) if answer.succeeded() => Ok(true),
        Ok(_) => {
            lease::revoke_unused(cluster, lease, give_up_at).await;
            Ok(false)
        }
        Err(failure) => Err(failure),
    }
}
