//! What a person asks of a service: each of these does one thing, in the cluster or in the folder, and is done.

use super::etcd::fence::{self, Claim, Fenced};
use super::local::Checked;
use super::{
    BreakProgress, Breaking, Broken, Connection, InspectedEntry, Inspection, Past, Remembered,
    Witnessed, etcd, local,
};
use crate::clock::Instant;
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::once::OnceId;
use crate::supervisor::Trouble;

/// Reads one lock as anybody may see it, for `status NAME`; what the first `detailed` entries say.
///
/// # Errors
/// When the service cannot be reached by `give_up_at`, or refuses.
pub async fn inspect(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    detailed: usize,
    give_up_at: Instant,
) -> Result<Inspection, Trouble> {
    match connection {
        Connection::Etcd(it) => etcd::inspect(it, prefix, name, detailed, give_up_at).await,
        Connection::Local(it) => local::inspect(it, prefix, name, detailed, give_up_at).await,
    }
}

/// Reads every lock that somebody holds or waits for, or that a holder left its marker in, for `list`; of each the
/// first `detailed` entries. `below`: only this one and those below it. `show` gets them in the order of their names,
/// and says whether to go on.
///
/// # Errors
/// When the service cannot be reached by `give_up_at`, does not answer one question for as long, or refuses.
pub async fn list(
    connection: &Connection,
    prefix: &Prefix,
    below: Option<&LockName>,
    detailed: usize,
    give_up_at: Instant,
    show: impl FnMut(LockName, Inspection) -> bool,
) -> Result<(), Trouble> {
    match connection {
        Connection::Etcd(it) => etcd::list(it, prefix, below, detailed, give_up_at, show).await,
        Connection::Local(it) => local::list(it, prefix, below, detailed, give_up_at, show).await,
    }
}

/// The names of the locks that somebody holds or waits for; of many, some.
///
/// # Errors
/// When the service cannot be reached by `give_up_at`, or refuses.
pub async fn names(
    connection: &Connection,
    prefix: &Prefix,
    give_up_at: Instant,
) -> Result<Vec<LockName>, Trouble> {
    match connection {
        Connection::Etcd(it) => etcd::names(it, prefix, give_up_at).await,
        Connection::Local(it) => local::names(it, prefix, give_up_at).await,
    }
}

/// What `--once` remembers under a lock.
///
/// # Errors
/// When the service cannot be reached by `give_up_at`, or refuses.
pub async fn remembered(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    give_up_at: Instant,
) -> Result<Vec<Remembered>, Trouble> {
    match connection {
        Connection::Etcd(it) => etcd::remembered(it, prefix, name, give_up_at).await,
        Connection::Local(it) => local::remembered(it, prefix, name, give_up_at).await,
    }
}

/// Forgets that something was done once; whether it was remembered.
///
/// # Errors
/// When the service cannot be reached by `give_up_at`, or refuses.
pub async fn forget(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    id: &OnceId,
    give_up_at: Instant,
) -> Result<bool, Trouble> {
    match connection {
        Connection::Etcd(it) => etcd::forget(it, prefix, name, id, give_up_at).await,
        Connection::Local(it) => local::forget(it, prefix, name, id, give_up_at).await,
    }
}

/// Takes the lock from the one with this token, for `break`: who that is, and what came of it. Nothing where nobody in
/// the queue has it. `say` hears what is waited for.
///
/// # Errors
/// When the service cannot be reached by `give_up_at`, or refuses.
pub async fn take(
    connection: &Connection,
    prefix: &Prefix,
    wanted: &Breaking,
    give_up_at: Instant,
    say: impl Fn(BreakProgress),
) -> Result<Option<(InspectedEntry, Broken)>, Trouble> {
    match connection {
        Connection::Etcd(it) => etcd::take(it, prefix, wanted, give_up_at, say).await,
        Connection::Local(it) => local::take(it, prefix, wanted, give_up_at, say).await,
    }
}

/// What happened under a lock, for `history`.
///
/// # Errors
/// When the service cannot be reached by `give_up_at`, does not answer one question for as long, or refuses.
pub async fn history(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    give_up_at: Instant,
) -> Result<Past, Trouble> {
    match connection {
        Connection::Etcd(it) => etcd::history(it, prefix, name, give_up_at).await,
        Connection::Local(it) => local::history(it, prefix, name, give_up_at).await,
    }
}

/// Tells what happens under a lock, or under all, until `tell` wants no more, for `watch`.
///
/// # Errors
/// When the service cannot be reached by `give_up_at`, or refuses; what happens to it later does not end this.
pub async fn watch(
    connection: &Connection,
    prefix: &Prefix,
    name: Option<&LockName>,
    give_up_at: Instant,
    tell: impl FnMut(Witnessed<'_>) -> bool,
) -> Result<(), Trouble> {
    match connection {
        Connection::Etcd(it) => etcd::watch(it, prefix, name, give_up_at, tell).await,
        Connection::Local(it) => local::watch(it, prefix, name, give_up_at, tell).await,
    }
}

/// Whether a claim to hold a lock still holds, for `fence check`.
pub async fn check(connection: &Connection, claim: &Claim, give_up_at: Instant) -> Fenced {
    let folder = match connection {
        Connection::Etcd(it) => return fence::check(it, claim, give_up_at).await,
        Connection::Local(folder) => folder,
    };
    let Claim {
        cluster,
        token,
        lease,
        keys,
        ..
    } = claim;
    let checked = local::check(folder, *cluster, *token, *lease, keys, give_up_at);
    match checked.await {
        Ok(Checked::Current) => Fenced::Done,
        Ok(Checked::Stale) => Fenced::Stale,
        Ok(Checked::OtherFolder(cluster)) => Fenced::OtherCluster(cluster),
        Err(trouble) => Fenced::NotDone(trouble),
    }
}
