//! What is remembered of a run after its end: that it succeeded (`--once`), and how it ended (`--record`).
//!
//! - Both are written in one transaction that only the holder can make, before the lock is given back. So whoever is
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
use crate::lock::token::{LeaseId, Token};
use crate::service::Memory;

/// The pause before it is tried again where etcd refuses to write anything: somebody may make space.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes down what is to be remembered.
pub async fn remember(
    cluster: &Cluster,
    session: &Session,
    memory: &Memory,
    give_up_at: Instant,
) -> Result<(), Failure> {
    let Stage::Placed(token) = session.stage() else {
        return Err(lost());
    };
    loop {
        match write(cluster, session, token, memory, give_up_at).await {
            Err(failure) if failure.is_refusal() && clock::now() + PAUSE < give_up_at => {
                reached(clock::now() + PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn write(
    cluster: &Cluster,
    session: &Session,
    token: Token,
    memory: &Memory,
    give_up_at: Instant,
) -> Result<(), Failure> {
    let lease = match &memory.done {
        Some(done) => Some(lease::grant_new(cluster, done.keep, give_up_at).await?),
        None => None,
    };
    let txn = transaction(session, token, memory, lease);
    let answer = cluster.transact(&txn, give_up_at).await;
    let written = answer.and_then(|answer| match is_written(&answer, memory) {
        true => Ok(()),
        false => Err(lost()),
    });
    if let (Err(_), Some(lease)) = (&written, lease) {
        // And nothing that hangs on it can come late.
        lease::revoke_unused(cluster, lease, give_up_at.max(clock::now() + PAUSE)).await;
    }
    written
}

fn transaction(session: &Session, token: Token, memory: &Memory, lease: Option<LeaseId>) -> Txn {
    let mut puts = Vec::new();
    for (key, value) in &memory.last_runs {
        puts.push(TxnOp::put(key.as_str(), value.as_slice(), None));
    }
    let mut reads = Vec::new();
    if let (Some(done), Some(lease)) = (&memory.done, lease) {
        let leased = PutOptions::new().with_lease(lease.get());
        puts.push(TxnOp::put(
            done.key.as_str(),
            done.value.as_slice(),
            Some(leased),
        ));
        reads.push(TxnOp::get(done.key.as_str(), None));
    }
    let when = match memory.lost {
        false => session.keys.ours(token),
        true => {
            let keys = memory.last_runs.iter().map(|(key, _)| key.as_str());
            keys.map(|key| Compare::mod_revision(key, CompareOp::Less, token.get()))
                .collect()
        }
    };
    Txn::new().when(when).and_then(puts).or_else(reads)
}

fn is_written(answer: &TxnResponse, memory: &Memory) -> bool {
    if answer.succeeded() {
        return true;
    }
    let reads = answer.op_responses().into_iter();
    let mut values = reads.filter_map(|read| match read {
        TxnOpResponse::Get(mut get) => get.take_kvs().pop(),
        _ => None,
    });
    let found = values.next();
    found
        .zip(memory.done.as_ref())
        .is_some_and(|(kv, done)| kv.value() == done.value)
}

fn lost() -> Failure {
    Failure::refused("the lock was lost before".to_owned())
}
