//! A lock as anybody may see it, for `status`: reads only, and shows what it cannot read as unknown.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{KeyValue, Txn, TxnOp, TxnOpResponse};
use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::reading::Reading;
use super::transaction::{self, Ranges};
use super::trouble::Failure;
use crate::clock::Instant;
use crate::lock::admission::{Line, Marker, QueuedEntry};
use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::lock::last_run::LastRun;
use crate::lock::name::LockName;
use crate::service::{InspectedEntry, Inspection, PlaceState};

/// How many values are read at once: so many of the largest that etcd takes still fit into one answer.
const BATCH: usize = 32;

/// Reads one lock, the holders first.
pub async fn inspect(
    cluster: Cluster,
    prefix: &Prefix,
    name: &LockName,
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
    let mut entries = Vec::new();
    for batch in queue.chunks(BATCH) {
        let found = values(&cluster, &ranges, batch, give_up_at).await?;
        entries.extend(batch.iter().zip(found).filter_map(|((entry, holds), kv)| {
            // What is no longer there, or was put anew, has left the queue while we looked.
            kv.filter(|kv| kv.create_revision() == entry.create_revision)
                .map(|kv| inspected(&kv, *holds))
        }));
    }
    find_reserved(&cluster, prefix, name, &mut entries, give_up_at).await?;
    let left: Vec<&Marker> = line.vanished().collect();
    let vanished = vanished(&cluster, &ranges, &left, give_up_at).await?;
    let id = transaction::cluster(&response);
    // Nothing depends on it, and it needs a permission of its own.
    let last = get(&cluster, [prefix.last_run(name)].into_iter(), give_up_at).await;
    let last = last.ok().and_then(|mut found| found.pop().flatten());
    ask_remaining(Arc::new(cluster), &mut entries, give_up_at).await;
    Ok(Inspection {
        cluster: id,
        limit: line.limit(),
        entries,
        vanished,
        last_run: last.and_then(|kv| LastRun::parse(kv.value())),
    })
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
        let response = cluster
            .transact(&Txn::new().and_then(reads), give_up_at)
            .await?;
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
    let txn = Txn::new().and_then(gets);
    let response = cluster.transact(&txn, give_up_at).await?;
    let first = |answer| match answer {
        TxnOpResponse::Get(mut get) => get.take_kvs().into_iter().next(),
        _ => None,
    };
    Ok(response.op_responses().into_iter().map(first).collect())
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
        remaining: None,
        entry: Entry::parse(kv.value()),
    }
}

/// What is known of the holders that vanished.
async fn vanished(
    cluster: &Cluster,
    ranges: &Ranges,
    left: &[&Marker],
    give_up_at: Instant,
) -> Result<Vec<Option<Entry>>, Failure> {
    let mut vanished = Vec::new();
    for batch in left.chunks(BATCH) {
        let keys = batch.iter().map(|marker| ranges.marker(&marker.id));
        let found = get(cluster, keys, give_up_at).await?;
        vanished.extend(
            found
                .into_iter()
                .flatten()
                .map(|kv| Entry::parse(kv.value())),
        );
    }
    Ok(vanished)
}

/// Asks how long each lease still lives. Not safe to decide anything on, and not worth failing for.
async fn ask_remaining(cluster: Arc<Cluster>, entries: &mut [InspectedEntry], give_up_at: Instant) {
    for batch in entries.chunks_mut(BATCH) {
        let mut answers = JoinSet::new();
        for (index, entry) in batch.iter().enumerate() {
            let Some(lease) = entry.lease else { continue };
            let cluster = Arc::clone(&cluster);
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
                entry.remaining = Some(Duration::from_secs(seconds));
            }
        }
    }
}
