//! What contenders left who vanished without releasing: their run markers, which nothing but this removes.

use super::cluster::Cluster;
use super::lease;
use super::reading::Reading;
use super::transaction::Ranges;
use super::trouble::Failure;
use crate::clock::Instant;
use crate::lock::admission::Marker;

/// How many markers are dealt with at once.
const MARKERS_MAX: usize = 32;

/// Removes markers that nobody has to wait for any more.
pub async fn remove(
    cluster: &Cluster,
    ranges: &Ranges,
    markers: &[Marker],
    give_up_at: Instant,
) -> Result<(), Failure> {
    for marker in markers.iter().take(MARKERS_MAX) {
        match cluster
            .transact(&ranges.remove_marker(marker), give_up_at)
            .await
        {
            // Without space etcd 3.4 refuses every transaction, but no deletion. The key is that of one
            // session, which is over: deleting it without the guard hits nobody else.
            Err(failure) if failure.is_refusal() => {
                let key = ranges.marker(&marker.id);
                cluster.delete(&key, give_up_at).await?;
            }
            answer => {
                answer?;
            }
        }
    }
    Ok(())
}

/// Hangs the markers that stand in the way of an idle lock on a lease as long as their lock delay.
///
/// Whoever waits out the delay removes them himself. But a run that must not wait, or not so long, goes away
/// before; if the next ones do the same, nobody would ever have waited from his first sight to the end of the
/// delay, and the lock would be busy for ever.
pub async fn retire(
    cluster: &Cluster,
    ranges: &Ranges,
    reading: &Reading,
    give_up_at: Instant,
) -> Result<(), Failure> {
    let lasting: Vec<&Marker> = reading.lasting_orphans().take(MARKERS_MAX).collect();
    let Some(delay) = lasting.iter().map(|marker| marker.lock_delay).max() else {
        return Ok(());
    };
    let lease = lease::grant_new(cluster, delay, give_up_at).await?;
    for marker in lasting {
        let txn = ranges.retire_marker(marker, lease);
        cluster.transact(&txn, give_up_at).await?;
    }
    Ok(())
}
