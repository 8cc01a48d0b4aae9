//! What `--once` remembers, for `once list` and `once forget`.

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, LeaseTimeToLiveOptions, Txn, TxnOp};

use super::cluster::Cluster;
use super::lease;
use super::pages::{Of, Pages};
use super::trouble::Failure;
use crate::clock::Instant;
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::once::{OnceId, OnceRecord};
use crate::lock::token::LeaseId;
use crate::service::Remembered;

/// Everything that is remembered under a lock, in the order of the IDs.
pub async fn list(
    cluster: &Cluster,
    prefix: &Prefix,
    name: &LockName,
    give_up_at: Instant,
) -> Result<Vec<Remembered>, Failure> {
    let below = prefix.once_records(name);
    let mut end = below.clone().into_bytes();
    if let Some(last) = end.last_mut() {
        // `/` and the next character: the end of all keys that begin with it.
        *last += 1;
    }
    let mut pages = Pages::new(cluster, below.as_str(), end, Of::Values);
    let mut remembered = Vec::new();
    while let Some(page) = pages.next(give_up_at).await? {
        remembered.extend(page.kvs().iter().filter_map(|kv| of_key(&below, kv)));
    }
    Ok(remembered)
}

/// Nothing where it belongs to another lock, such as the ones of `a/b` among those of `a`.
fn of_key(below: &str, kv: &KeyValue) -> Option<Remembered> {
    let segment = kv.key().strip_prefix(below.as_bytes())?;
    let id = OnceId::of_segment(segment)?;
    Some(Remembered {
        id,
        record: OnceRecord::parse(kv.value()),
    })
}

/// Forgets one; whether there was one.
pub async fn forget(
    cluster: &Cluster,
    prefix: &Prefix,
    name: &LockName,
    id: &OnceId,
    give_up_at: Instant,
) -> Result<bool, Failure> {
    let key = prefix.once_record(name, id);
    let key = key.as_str();
    // The lease of the one that we saw: where our deletion is done twice, the second answer may be the one that comes.
    let mut seen: Option<i64> = None;
    loop {
        let found = cluster
            .call(give_up_at, |client| async move {
                let options = GetOptions::new().with_keys_only();
                let mut answer = client.kv_client().get(key, Some(options)).await?;
                Ok(answer.take_kvs().pop())
            })
            .await?;
        if let Some(found) = found {
            seen = Some(found.lease());
            // Not one that was written meanwhile.
            let unchanged = Compare::mod_revision(key, CompareOp::Equal, found.mod_revision());
            let txn = Txn::new()
                .when([unchanged])
                .and_then([TxnOp::delete(key, None)]);
            if !cluster.transact(&txn, give_up_at).await?.succeeded() {
                continue;
            }
        }
        if let Some(lease) = seen.and_then(LeaseId::new) {
            end_unused(cluster, lease, give_up_at).await;
        }
        return Ok(seen.is_some());
    }
}

/// The lease of a record is of no more use; but what stands in etcd is anybody's, so only where nothing else hangs on
/// it.
async fn end_unused(cluster: &Cluster, lease: LeaseId, give_up_at: Instant) {
    let attached = cluster
        .call(give_up_at, |client| async move {
            let options = LeaseTimeToLiveOptions::new().with_keys();
            let mut leases = client.lease_client();
            let answer = leases.time_to_live(lease.get(), Some(options)).await?;
            Ok(answer.keys().len())
        })
        .await;
    if attached.is_ok_and(|attached| attached == 0) {
        lease::revoke_unused(cluster, lease, give_up_at).await;
    }
}
