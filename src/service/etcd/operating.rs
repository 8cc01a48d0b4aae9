//! What a person asks of the locks, beside running something: each of these connects, does one thing, and is done.

use std::sync::Arc;
use std::time::Duration;

use super::changes::Source;
use super::cluster::Cluster;
use super::listing::Listing;
use super::transaction::Ranges;
use super::trouble::Failure;
use super::{
    Connection, breaking, examination, inspection, names as in_use, past, present,
    remembered as done_once,
};
use crate::clock::{self, Instant};
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::once::OnceId;
use crate::service::checkup::Checkup;
use crate::service::{
    BreakProgress, Breaking, Broken, InspectedEntry, Inspection, Past, Remembered, Witnessed,
};
use crate::supervisor::Trouble;

/// A cluster that has been met; `purpose` is what it is asked for.
async fn connected(
    connection: &Connection,
    purpose: String,
    give_up_at: Instant,
) -> Result<Cluster, Failure> {
    let cluster = Cluster::new(connection, purpose);
    cluster.connect(give_up_at).await?;
    Ok(cluster)
}

/// Reads one lock as anybody may see it, for `status NAME`; what the first `detailed` entries say.
///
/// # Errors
/// When the cluster cannot be reached by `give_up_at`, or refuses.
pub async fn inspect(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    detailed: usize,
    give_up_at: Instant,
) -> Result<Inspection, Trouble> {
    let ranges = Ranges::new(prefix, name);
    let cluster = Arc::new(connected(connection, format!("read {ranges}"), give_up_at).await?);
    Ok(inspection::inspect(&cluster, prefix, name, detailed, give_up_at).await?)
}

/// Reads every lock that somebody holds or waits for, or that a holder left its marker in, for `list`; of each the
/// first `detailed` entries. `below`: only this one and those below it. `show` gets them in the order of their names,
/// and says whether to go on.
///
/// # Errors
/// When the cluster cannot be reached by `give_up_at`, does not answer one question for as long, or refuses.
pub async fn list(
    connection: &Connection,
    prefix: &Prefix,
    below: Option<&LockName>,
    detailed: usize,
    give_up_at: Instant,
    show: impl FnMut(LockName, Inspection) -> bool,
) -> Result<(), Trouble> {
    let patience = give_up_at.since(clock::now());
    let purpose = format!("read the keys below {prefix}");
    let cluster = Arc::new(connected(connection, purpose, give_up_at).await?);
    let listing = Listing {
        cluster: &cluster,
        prefix,
        patience,
    };
    Ok(listing.each(below, detailed, show).await?)
}

/// Examines the cluster, and what may be done under this lock; each of three steps within `patience`.
///
/// # Errors
/// When the settings cannot be used at all.
pub async fn examine(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    patience: Duration,
) -> Result<Checkup, Trouble> {
    Ok(examination::examine(connection, prefix, name, patience).await?)
}

/// The names of the locks that somebody holds or waits for; of many, some.
///
/// # Errors
/// When the cluster cannot be reached by `give_up_at`, or refuses.
pub async fn names(
    connection: &Connection,
    prefix: &Prefix,
    give_up_at: Instant,
) -> Result<Vec<LockName>, Trouble> {
    let purpose = format!("read the keys below {prefix}");
    let cluster = connected(connection, purpose, give_up_at).await?;
    Ok(in_use::names(&cluster, prefix, give_up_at).await?)
}

/// What `--once` remembers under a lock.
///
/// # Errors
/// When the cluster cannot be reached by `give_up_at`, or refuses.
pub async fn remembered(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    give_up_at: Instant,
) -> Result<Vec<Remembered>, Trouble> {
    let below = format!("read the keys below {}", prefix.once_records(name));
    let cluster = connected(connection, below, give_up_at).await?;
    Ok(done_once::list(&cluster, prefix, name, give_up_at).await?)
}

/// Forgets that something was done once; whether it was remembered.
///
/// # Errors
/// When the cluster cannot be reached by `give_up_at`, or refuses.
pub async fn forget(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    id: &OnceId,
    give_up_at: Instant,
) -> Result<bool, Trouble> {
    let below = format!(
        "read and write the keys below {}",
        prefix.once_records(name)
    );
    let cluster = connected(connection, below, give_up_at).await?;
    Ok(done_once::forget(&cluster, prefix, name, id, give_up_at).await?)
}

/// Takes the lock from the one with this token, for `break`: who that is, and what came of it. Nothing where nobody in
/// the queue has it. `say` hears what is waited for.
///
/// # Errors
/// When the cluster cannot be reached by `give_up_at`, or refuses.
pub async fn take(
    connection: &Connection,
    prefix: &Prefix,
    wanted: &Breaking,
    give_up_at: Instant,
    say: impl Fn(BreakProgress),
) -> Result<Option<(InspectedEntry, Broken)>, Trouble> {
    let name = &wanted.name;
    let purpose = format!(
        "read and write the keys below {}, {}",
        prefix.break_requests(name),
        Ranges::new(prefix, name)
    );
    let cluster = connected(connection, purpose, give_up_at).await?;
    let found = inspection::find(&cluster, prefix, name, wanted.token, give_up_at).await?;
    let Some(target) = found else {
        return Ok(None);
    };
    let broken = breaking::take(&cluster, prefix, wanted, &target, say).await?;
    Ok(Some((target, broken)))
}

/// What happened under a lock, for `history`.
///
/// # Errors
/// When the cluster cannot be reached by `give_up_at`, does not answer one question for as long, or refuses.
pub async fn history(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    give_up_at: Instant,
) -> Result<Past, Trouble> {
    let ranges = prefix.told_by(name);
    let patience = give_up_at.since(clock::now());
    let cluster = connected(connection, below(&ranges), give_up_at).await?;
    let source = Source {
        cluster: &cluster,
        prefix,
        only: Some(name),
        ranges,
        patience,
    };
    Ok(past::past(&source).await?)
}

/// Tells what happens under a lock, or under all, until `tell` wants no more, for `watch`.
///
/// # Errors
/// When the cluster cannot be reached by `give_up_at`, or refuses; what happens to it later does not end this.
pub async fn watch(
    connection: &Connection,
    prefix: &Prefix,
    name: Option<&LockName>,
    give_up_at: Instant,
    tell: impl FnMut(Witnessed<'_>) -> bool,
) -> Result<(), Trouble> {
    let ranges = match name {
        Some(name) => prefix.told_by(name),
        None => vec![(prefix.to_string(), prefix.end())],
    };
    let patience = give_up_at.since(clock::now());
    let cluster = connected(connection, below(&ranges), give_up_at).await?;
    let source = Source {
        cluster: &cluster,
        prefix,
        only: name,
        ranges,
        patience,
    };
    Ok(present::tell(&source, tell).await?)
}

fn below(ranges: &[(String, String)]) -> String {
    let first = ranges.iter().map(|(first, _)| first.trim_end_matches('\0'));
    format!(
        "read the keys below {}",
        first.collect::<Vec<_>>().join(", ")
    )
}
