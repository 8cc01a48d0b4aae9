//! What a person asks of the locks, beside running something.

use std::collections::BTreeSet;
use std::time::Duration;

use super::desk::Desk;
use super::folder::Folder;
use super::queue::Reading;
use super::store::{KeyValue, Result as Done, Transaction};
use super::{breaking, telling};
use crate::clock::{self, Instant};
use crate::lock::admission::Line;
use crate::lock::chronicle::Place;
use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::lock::last_run::LastRun;
use crate::lock::name::LockName;
use crate::lock::once::{OnceId, OnceRecord};
use crate::lock::token::{ClusterId, LeaseId, Token};
use crate::service::{
    BreakProgress, Breaking, Broken, InspectedEntry, Inspection, Past, PlaceState, Remaining,
    Remembered, Witnessed,
};
use crate::supervisor::Trouble;

/// Does one thing in the folder, which is made where it is missing.
async fn ask<T: Send + 'static>(
    folder: &Folder,
    give_up_at: Instant,
    work: impl FnOnce(&mut Transaction<'_>) -> Done<T> + Send + 'static,
) -> Result<T, Trouble> {
    folder.enter()?;
    Desk::open(folder).ask(give_up_at, work).await
}

/// Reads one lock as anybody may see it; what the first `detailed` entries say.
///
/// # Errors
/// When the folder cannot be used, or not by `give_up_at`.
pub async fn inspect(
    folder: &Folder,
    prefix: &Prefix,
    name: &LockName,
    detailed: usize,
    give_up_at: Instant,
) -> Result<Inspection, Trouble> {
    let (prefix, name) = (prefix.clone(), name.clone());
    ask(folder, give_up_at, move |txn| {
        inspected(txn, &prefix, &name, detailed)
    })
    .await
}

fn inspected(
    txn: &Transaction<'_>,
    prefix: &Prefix,
    name: &LockName,
    detailed: usize,
) -> Done<Inspection> {
    let reading = Reading::of(txn, prefix, name)?;
    let line = Line::of(&reading.snapshot);
    let mut entries = Vec::new();
    for (entry, holds) in line.entries().take(detailed) {
        let key = format!("{}{}", prefix.entries(name), entry.id);
        if let Some(kv) = reading.entry(&key) {
            entries.push(inspected_entry(txn, prefix, name, kv, holds)?);
        }
    }
    let last = txn.get(&prefix.last_run(name))?;
    Ok(Inspection {
        cluster: txn.cluster(),
        held: line.holders(),
        more: line.entries().count() - entries.len(),
        entries,
        limit: line.limit(),
        vanished: line.vanished().count(),
        last_run: last.and_then(|kv| LastRun::parse(&kv.value)),
    })
}

fn inspected_entry(
    txn: &Transaction<'_>,
    prefix: &Prefix,
    name: &LockName,
    kv: &KeyValue,
    holds: bool,
) -> Done<InspectedEntry> {
    let entry = Entry::parse(&kv.value);
    let mut state = match holds {
        true => PlaceState::Held,
        false => PlaceState::Waiting,
    };
    let locks = entry.iter().flat_map(|entry| &entry.locks);
    let others = locks.filter_map(|lock| lock.parse::<LockName>().ok());
    for other in others.filter(|other| holds && other != name) {
        let reading = Reading::of(txn, prefix, &other)?;
        let line = Line::of(&reading.snapshot);
        let mut waiting = line.entries().filter(|(_, holds)| !holds);
        if waiting.any(|(other, _)| other.create_revision == kv.create_revision) {
            state = PlaceState::Reserved;
        }
    }
    let ends_at = txn.ends_at(kv.lease)?;
    Ok(InspectedEntry {
        key: kv.key.clone(),
        token: kv.create_revision,
        state,
        lease: (kv.lease != 0).then_some(kv.lease),
        remaining: ends_at.map_or(Remaining::AsItsRun, |at| {
            Remaining::Time(at.since(clock::now()))
        }),
        entry,
    })
}

/// Reads every lock that somebody holds or waits for, or that a holder left its marker in; of each the first `detailed`
/// entries. `below`: only this one and those below it. `show` gets them in the order of their names, and says whether
/// to go on.
///
/// # Errors
/// When the folder cannot be used, or not by `give_up_at`.
pub async fn list(
    folder: &Folder,
    prefix: &Prefix,
    below: Option<&LockName>,
    detailed: usize,
    give_up_at: Instant,
    mut show: impl FnMut(LockName, Inspection) -> bool,
) -> Result<(), Trouble> {
    let (prefix, below) = (prefix.clone(), below.cloned());
    let all = ask(folder, give_up_at, move |txn| {
        let mut all = Vec::new();
        for name in used(txn, &prefix, |place| {
            matches!(place, Place::Entry(_) | Place::Marker(_))
        })? {
            let is_wanted = below.as_ref().is_none_or(|below| {
                let rest = name.as_str().strip_prefix(below.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            if is_wanted {
                let inspection = inspected(txn, &prefix, &name, detailed)?;
                all.push((name, inspection));
            }
        }
        Ok(all)
    });
    for (name, inspection) in all.await? {
        let is_empty = inspection.entries.is_empty() && inspection.vanished == 0;
        if !is_empty && !show(name, inspection) {
            break;
        }
    }
    Ok(())
}

/// The names of the locks that somebody holds or waits for.
///
/// # Errors
/// When the folder cannot be used, or not by `give_up_at`.
pub async fn names(
    folder: &Folder,
    prefix: &Prefix,
    give_up_at: Instant,
) -> Result<Vec<LockName>, Trouble> {
    let prefix = prefix.clone();
    ask(folder, give_up_at, move |txn| {
        let names = used(txn, &prefix, |place| matches!(place, Place::Entry(_)))?;
        Ok(names.into_iter().collect())
    })
    .await
}

/// The locks that have such keys.
fn used(
    txn: &Transaction<'_>,
    prefix: &Prefix,
    is_meant: impl Fn(&Place) -> bool,
) -> Done<BTreeSet<LockName>> {
    let keys = txn.range(&prefix.to_string(), &prefix.end())?;
    let places = keys.iter().filter_map(|kv| prefix.place(kv.key.as_bytes()));
    let meant = places.filter(|(_, place)| is_meant(place));
    Ok(meant.map(|(name, _)| name).collect())
}

/// What `--once` remembers under a lock, in the order of the IDs.
///
/// # Errors
/// When the folder cannot be used, or not by `give_up_at`.
pub async fn remembered(
    folder: &Folder,
    prefix: &Prefix,
    name: &LockName,
    give_up_at: Instant,
) -> Result<Vec<Remembered>, Trouble> {
    let below = prefix.once_records(name);
    ask(folder, give_up_at, move |txn| {
        let found = txn.below(&below)?;
        let remembered = found.iter().filter_map(|kv| {
            let segment = kv.key.strip_prefix(&below)?;
            let id = OnceId::of_segment(segment.as_bytes())?;
            let record = OnceRecord::parse(&kv.value);
            Some(Remembered { id, record })
        });
        Ok(remembered.collect())
    })
    .await
}

/// Forgets that something was done once; whether it was remembered.
///
/// # Errors
/// When the folder cannot be used, or not by `give_up_at`.
pub async fn forget(
    folder: &Folder,
    prefix: &Prefix,
    name: &LockName,
    id: &OnceId,
    give_up_at: Instant,
) -> Result<bool, Trouble> {
    let key = prefix.once_record(name, id);
    ask(folder, give_up_at, move |txn| {
        let Some(kv) = txn.get(&key)? else {
            return Ok(false);
        };
        txn.delete(&key)?;
        if kv.lease != 0 {
            txn.end(kv.lease)?;
        }
        Ok(true)
    })
    .await
}

/// Takes the lock from the one with this token, for `break`: who that is, and what came of it. Nothing where nobody in
/// the queue has it. `say` hears what is waited for.
///
/// # Errors
/// When the folder cannot be used, or not by `give_up_at`.
pub async fn take(
    folder: &Folder,
    prefix: &Prefix,
    wanted: &Breaking,
    give_up_at: Instant,
    say: impl Fn(BreakProgress),
) -> Result<Option<(InspectedEntry, Broken)>, Trouble> {
    folder.enter()?;
    let desk = Desk::open(folder);
    let (name, token, own) = (wanted.name.clone(), wanted.token, prefix.clone());
    let find = move |txn: &mut Transaction<'_>| {
        let found = inspected(txn, &own, &name, usize::MAX)?;
        Ok(found.entries.into_iter().find(|entry| entry.token == token))
    };
    let Some(target) = desk.ask(give_up_at, find).await? else {
        return Ok(None);
    };
    let broken = breaking::take(&desk, prefix, wanted, &target, say).await?;
    Ok(Some((target, broken)))
}

/// What happened under a lock, for `history`.
///
/// # Errors
/// When the folder cannot be used, or not by `give_up_at`.
pub async fn history(
    folder: &Folder,
    prefix: &Prefix,
    name: &LockName,
    give_up_at: Instant,
) -> Result<Past, Trouble> {
    let (prefix, name) = (prefix.clone(), name.clone());
    ask(folder, give_up_at, move |txn| {
        telling::past(txn, &prefix, &name)
    })
    .await
}

/// Tells what happens under a lock, or under all, until `tell` wants no more, for `watch`.
///
/// # Errors
/// When the folder cannot be used, or not by `give_up_at`; what happens to it later does not end this.
pub async fn watch(
    folder: &Folder,
    prefix: &Prefix,
    name: Option<&LockName>,
    give_up_at: Instant,
    tell: impl FnMut(Witnessed<'_>) -> bool,
) -> Result<(), Trouble> {
    folder.enter()?;
    let desk = Desk::open(folder);
    let patience: Duration = give_up_at.since(clock::now());
    telling::present(&desk, prefix, name, patience, tell).await
}

/// What a claim to hold a lock comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It holds.
    Current,
    /// It does not, or not any more.
    Stale,
    /// This folder is another one than that which gave the token.
    OtherFolder(ClusterId),
}

/// Whether the locks with these keys are held with this token, which this cluster gave.
///
/// # Errors
/// When the folder cannot be used, or not by `give_up_at`.
pub async fn check(
    folder: &Folder,
    cluster: ClusterId,
    token: Token,
    lease: LeaseId,
    keys: &[String],
    give_up_at: Instant,
) -> Result<Checked, Trouble> {
    let keys = keys.to_vec();
    ask(folder, give_up_at, move |txn| {
        if txn.cluster() != cluster {
            return Ok(Checked::OtherFolder(txn.cluster()));
        }
        for key in &keys {
            let found = txn.get(key)?;
            let is_its = found
                .is_some_and(|kv| kv.create_revision == token.get() && kv.lease == lease.get());
            if !is_its {
                return Ok(Checked::Stale);
            }
        }
        Ok(Checked::Current)
    })
    .await
}
