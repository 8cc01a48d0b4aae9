//! A lock as anybody may see it, for `status`: reads only, and shows what it cannot read as unknown.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{KeyValue, Txn, TxnOp, TxnOpResponse};
use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::reading::Reading;
use super::transaction::{self, Ranges};
use super::trouble::{Failure, Sign};
use crate::clock::{self, Instant};
use crate::lock::admission::{Line, QueuedEntry};
use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::lock::last_run::LastRun;
use crate::lock::name::LockName;
use crate::service::{InspectedEntry, Inspection, PlaceState, Remaining};

/// How many values are read at once, where they are as small as ours.
const BATCH: usize = 32;

/// Reads one lock, the holders first: of so many entries what they say, of the rest only that they are there.
pub async fn inspect(
    cluster: &Arc<Cluster>,
    prefix: &Prefix,
    name: &LockName,
    detailed: usize,
    give_up_at: Instant,
) -> Result<Inspection, Failure> {
    let ranges = Ranges::new(prefix, name);
    let response = cluster.transact(&ranges.read(), give_up_at).await?;
    let reading = Reading::of(&response, &ranges, "");
    let line = Line::of(&reading.snapshot);
    let queue: Vec<(QueuedEntry, bool)> = line
        .entries()
        .map(|(entry, holds)| (entry.clone(), holds))
        .collect();
    // Of many entries it takes a while; one answer does not.
    let patience = give_up_at.since(clock::now());
    let held = queue.iter().filter(|(_, holds)| *holds).count();
    let (detailed, others) = queue.split_at(detailed.min(queue.len()));
    let mut entries = Vec::new();
    for batch in detailed.chunks(BATCH) {
        let give_up_at = clock::now() + patience;
        let found = values(cluster, &ranges, batch, give_up_at).await?;
        entries.extend(batch.iter().zip(found).filter_map(|((entry, holds), kv)| {
            // What is no longer there, or was put anew, has left the queue while we looked.
            kv.filter(|kv| kv.create_revision() == entry.create_revision)
                .map(|kv| inspected(&kv, *holds))
        }));
    }
    let give_up_at = clock::now() + patience;
    find_reserved(cluster, prefix, name, &mut entries, give_up_at).await?;
    let id = transaction::cluster(&response);
    // Nothing depends on it, and it needs a permission of its own.
    let last = get(cluster, [prefix.last_run(name)].into_iter(), give_up_at).await;
    let last = last.ok().and_then(|mut found| found.pop().flatten());
    ask_remaining(cluster, &mut entries, patience).await;
    Ok(Inspection {
        cluster: id,
        limit: line.limit(),
        held,
        more: others.len(),
        entries,
        vanished: line.vanished().count(),
        last_run: last.and_then(|kv| LastRun::parse(kv.value())),
    })
}

/// The entry with this token, if it stands in the queue.
pub async fn find(
    cluster: &Cluster,
    prefix: &Prefix,
    name: &LockName,
    token: i64,
    give_up_at: Instant,
) -> Result<Option<InspectedEntry>, Failure> {
    let ranges = Ranges::new(prefix, name);
    let response = cluster.transact(&ranges.read(), give_up_at).await?;
    let reading = Reading::of(&response, &ranges, "");
    let line = Line::of(&reading.snapshot);
    let mut entries = line.entries();
    let Some((entry, holds)) = entries.find(|(entry, _)| entry.create_revision == token) else {
        return Ok(None);
    };
    let key = ranges.entry(&entry.id);
    let found = get(cluster, [key].into_iter(), give_up_at).await?;
    let found = found.into_iter().flatten();
    let mut same = found.filter(|kv| kv.create_revision() == token);
    Ok(same.next().map(|kv| inspected(&kv, holds)))
}

/// Finds those whom nobody is in the way of here, but whose run waits for another lock.
async fn find_reserved(
    cluster: &Cluster,
    prefix: &Prefix,
    name: &LockName,
    entries: &mut [InspectedEntry],
    give_up_at: Instant,
) -> Result<(), Failure> {
    for entry in entries {
        let known = match (entry.state, &entry.entry) {
            (PlaceState::Held, Some(known)) => known,
            _ => continue,
        };
        let others = known.locks.iter().filter_map(|lock| lock.parse().ok());
        let others = others.filter(|other: &LockName| other != name);
        let others: Vec<Ranges> = others.map(|other| Ranges::new(prefix, &other)).collect();
        if others.is_empty() {
            continue;
        }
        let reads: Vec<TxnOp> = others.iter().flat_map(Ranges::readings).collect();
        let txn = Txn::new().and_then(reads);
        let response = match cluster.transact(&txn, give_up_at).await {
            Ok(response) => response,
            // The other lock is none of the reader's business.
            Err(failure) if failure.sign == Sign::NotPermitted => continue,
            Err(failure) => return Err(failure),
        };
        let readings = Reading::of_each(&response, others.iter().map(|ranges| (ranges, "")));
        // All entries of a run have one create_revision.
        let waits = readings.iter().any(|reading| {
            let line = Line::of(&reading.snapshot);
            let mut waiting = line.entries().filter(|(_, holds)| !holds);
            waiting.any(|(other, _)| other.create_revision == entry.token)
        });
        if waits {
            entry.state = PlaceState::Reserved;
        }
    }
    Ok(())
}

async fn values(
    cluster: &Cluster,
    ranges: &Ranges,
    entries: &[(QueuedEntry, bool)],
    give_up_at: Instant,
) -> Result<Vec<Option<KeyValue>>, Failure> {
    get(
        cluster,
        entries.iter().map(|(entry, _)| ranges.entry(&entry.id)),
        give_up_at,
    )
    .await
}

async fn get(
    cluster: &Cluster,
    keys: impl Iterator<Item = String>,
    give_up_at: Instant,
) -> Result<Vec<Option<KeyValue>>, Failure> {
    let gets: Vec<TxnOp> = keys.map(|key| TxnOp::get(key, None)).collect();
    let first = |answer| match answer {
        TxnOpResponse::Get(mut get) => get.take_kvs().into_iter().next(),
        _ => None,
    };
    let mut found = Vec::new();
    let mut at_once = gets.len();
    let mut rest = &gets[..];
    while !rest.is_empty() {
        let (batch, others) = rest.split_at(at_once.min(rest.len()));
        let txn = Txn::new().and_then(batch);
        match cluster.transact(&txn, give_up_at).await {
            // Somebody's values are large.
            Err(failure) if failure.sign == Sign::TooLarge && batch.len() > 1 => {
                at_once = batch.len() / 2;
            }
            answer => {
                found.extend(answer?.op_responses().into_iter().map(first));
                rest = others;
            }
        }
    }
    Ok(found)
}

fn inspected(kv: &KeyValue, holds: bool) -> InspectedEntry {
    InspectedEntry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        token: kv.create_revision(),
        state: match holds {
            true => PlaceState::Held,
            false => PlaceState::Waiting,
        },
        lease: (kv.lease() != 0).then_some(kv.lease()),
        remaining: Remaining::Unknown,
        entry: Entry::parse(kv.value()),
    }
}

/// Asks how long each lease still lives. Not safe to decide anything on, and not worth failing for.
async fn ask_remaining(cluster: &Arc<Cluster>, entries: &mut [InspectedEntry], patience: Duration) {
    for batch in entries.chunks_mut(BATCH) {
        let give_up_at = clock::now() + patience;
        let mut answers = JoinSet::new();
        for (index, entry) in batch.iter().enumerate() {
            let Some(lease) = entry.lease else { continue };
            let cluster = Arc::clone(cluster);
            answers.spawn(async move {
                let asked = cluster.call(give_up_at, |client| async move {
                    client.lease_client().time_to_live(lease, None).await
                });
                (index, asked.await.map(|answer| answer.ttl()))
            });
        }
        while let Some(answer) = answers.join_next().await {
            if let Ok((index, Ok(seconds))) = answer
                && let Some(entry) = batch.get_mut(index)
            {
                let seconds = u64::try_from(seconds).unwrap_or(0);
                entry.remaining = Remaining::Time(Duration::from_secs(seconds));
            }
        }
    }
}
