//! What is remembered of a run after its end: that it succeeded (`--once`), and how it ended (`--record`).
//!
//! - Each is written in a transaction that only the holder can make, before the lock is given back. So whoever is
//!   admitted next reads a record of everything that was done before, and none of a run that had lost the lock.
//! - Sent twice it does the same as once. Where the answer is that the lock is lost, an earlier sending may have
//!   been done: then the record, which carries our token, stands there.
//! - A run that lost its lock is still worth a note for people. It is written only where nobody has recorded a run
//!   since ours began: a holder after us is the last one.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};

use super::cluster::Cluster;
use super::deadline::reached;
use super::lease;
use super::session::{Session, Stage};
use super::trouble::Failure;
use crate::clock::{self, Instant};
use crate::lock::token::Token;
use crate::service::{Done, Memory};

/// The pause before it is tried again where etcd refuses to write anything: somebody may make space.
const PAUSE: Duration = Duration::from_secs(1);

/// How much longer a lease is revoked that turned out to be of no use.
const REVOKING: Duration = Duration::from_millis(300);

/// Writes down what is to be remembered: first that it is done, which decides what the run says of itself, then how it
/// ended, for people.
pub async fn remember(
    cluster: &Cluster,
    session: &Session,
    memory: &Memory,
    give_up_at: Instant,
) -> Result<(), Failure> {
    let Stage::Placed(token) = session.stage() else {
        return Err(lost());
    };
    if let Some(done) = &memory.done {
        loop {
            match write_done(cluster, session, token, done, give_up_at).await {
                Err(failure) if failure.is_refusal() && clock::now() + PAUSE < give_up_at => {
                    reached(clock::now() + PAUSE).await;
                }
                Err(failure) => return Err(failure),
                Ok(()) => break,
            }
        }
    }
    if memory.last_runs.is_empty() {
        return Ok(());
    }
    let written = write_last_runs(cluster, session, token, memory, give_up_at).await;
    match memory.done {
        // It is remembered, and that is what counts.
        Some(_) => Ok(()),
        None => written,
    }
}

async fn write_done(
    cluster: &Cluster,
    session: &Session,
    token: Token,
    done: &Done,
    give_up_at: Instant,
) -> Result<(), Failure> {
    let lease = lease::grant_new(cluster, done.keep, give_up_at).await?;
    let leased = PutOptions::new().with_lease(lease.get());
    let key = done.key.as_str();
    let txn = Txn::new()
        .when(session.keys.ours(token))
        .and_then([TxnOp::put(key, done.value.as_slice(), Some(leased))])
        .or_else([TxnOp::get(key, None)]);
    let answer = cluster.transact(&txn, give_up_at).await;
    let written = answer.and_then(|answer| match is_written(&answer, &done.value) {
        true => Ok(()),
        false => Err(lost()),
    });
    if written.is_err() {
        // And nothing that hangs on it can come late.
        lease::revoke_unused(cluster, lease, give_up_at.max(clock::now() + REVOKING)).await;
    }
    written
}

async fn write_last_runs(
    cluster: &Cluster,
    session: &Session,
    token: Token,
    memory: &Memory,
    give_up_at: Instant,
) -> Result<(), Failure> {
    let runs = &memory.last_runs;
    let puts = runs
        .iter()
        .map(|(key, value)| TxnOp::put(key.as_str(), value.as_slice(), None));
    let first = runs.iter().take(1);
    let first = first.map(|(key, _)| TxnOp::get(key.as_str(), None));
    let when = match memory.lost {
        false => session.keys.ours(token),
        true => runs
            .iter()
            .map(|(key, _)| Compare::mod_revision(key.as_str(), CompareOp::Less, token.get()))
            .collect(),
    };
    let txn = Txn::new()
        .when(when)
        .and_then(puts.collect::<Vec<_>>())
        .or_else(first.collect::<Vec<_>>());
    let answer = cluster.transact(&txn, give_up_at).await?;
    let value = runs.first().map(|(_, value)| value.as_slice());
    match is_written(&answer, value.unwrap_or_default()) {
        true => Ok(()),
        false => Err(lost()),
    }
}

/// Whether it was done now, or stands there because an earlier sending was.
fn is_written(answer: &TxnResponse, value: &[u8]) -> bool {
    if answer.succeeded() {
        return true;
    }
    let reads = answer.op_responses().into_iter();
    let mut values = reads.filter_map(|read| match read {
        TxnOpResponse::Get(mut get) => get.take_kvs().pop(),
        _ => None,
    });
    values.next().is_some_and(|found| found.value() == value)
}

fn lost() -> Failure {
    Failure::refused("the lock was lost before".to_owned())
}
