//! `--queue latest`: a newer waiter takes the places of older ones away that said the same of themselves.
//!
//! - One transaction for each of them. It is done only while all those still stand there that keep it waiting, so it
//!   cannot hit one that has been admitted meanwhile, and only while we stand in the queue ourselves.
//! - It deletes the keys and not the lease: a revocation cannot be made to depend on anything.
//! - A note tells the other why. It outlives us, for the other may be frozen just now.
//! - Nobody is replaced by somebody who does not wait for all of its locks.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};

use super::cluster::Cluster;
use super::lease;
use super::reading::Reading;
use super::session::Session;
use super::transaction::{LockKeys, Ranges};
use super::trouble::Failure;
use crate::clock::Instant;
use crate::lock::admission::Claimant;
use crate::lock::entry::Entry;
use crate::lock::latest;
use crate::lock::name::LockName;
use crate::lock::token::{LeaseId, Token};
use crate::service::Wanted;

/// How long a note can be read. Whoever is frozen for longer queues again when it goes on.
const NOTE_TTL: Duration = Duration::from_secs(3600);

/// etcd takes so many comparisons in a transaction (`--max-txn-ops`). Who waits behind more holders than this leaves
/// room for stays where it is.
const COMPARES_MAX: usize = 128;

/// A waiter that is to go.
#[derive(Clone, Debug)]
pub struct Victim {
    token: Token,
    /// Where its note is looked for: under the first of its locks.
    locks: Vec<LockName>,
    id: String,
    /// That those are still there who keep it waiting.
    still_there: Vec<Compare>,
}

/// The older waiters that a contender with this token replaces.
pub fn victims(
    wanted: &Wanted,
    session: &Session,
    own: Token,
    readings: &[Reading],
) -> Vec<Victim> {
    let ours: Vec<&LockName> = wanted.names().collect();
    let mut victims: Vec<Victim> = Vec::new();
    for (lock, reading) in session.keys.locks.iter().zip(readings) {
        for older in latest::replaced_by(own, &ours, &lock.name, &reading.snapshot) {
            let compares = ours.len() + older.locks.len() + older.in_the_way.len();
            let is_new = victims.iter().all(|victim| victim.id != older.id);
            if is_new && compares <= COMPARES_MAX {
                victims.push(Victim {
                    token: older.token,
                    id: older.id.to_owned(),
                    still_there: still_there(lock, &older.in_the_way),
                    locks: older.locks,
                });
            }
        }
    }
    victims
}

fn still_there(lock: &LockKeys, blocking: &[Claimant<'_>]) -> Vec<Compare> {
    let compares = blocking.iter().map(|claimant| {
        let (key, revision) = match claimant {
            Claimant::Present(entry) => (lock.ranges.entry(&entry.id), entry.create_revision),
            Claimant::Vanished(marker) => (lock.ranges.marker(&marker.id), marker.create_revision),
        };
        Compare::create_revision(key, CompareOp::Equal, revision)
    });
    compares.collect()
}

/// The newer waiter.
pub struct Newer<'contender> {
    /// Whom it asks.
    pub cluster: &'contender Cluster,
    /// What it wants.
    pub wanted: &'contender Wanted,
    /// Its keys.
    pub session: &'contender Session,
    /// Its token.
    pub token: Token,
}

impl Newer<'_> {
    /// Takes one's place away, unless it is not so any more; whether it was done. `notes` is the lease of our notes, once there is one.
    pub async fn supersede(
        &self,
        victim: &Victim,
        notes: &mut Option<LeaseId>,
        give_up_at: Instant,
    ) -> Result<bool, Failure> {
        let mut when = self.session.keys.ours(self.token);
        when.extend(victim.still_there.iter().cloned());
        let mut then = Vec::new();
        for name in &victim.locks {
            let ranges = Ranges::new(&self.wanted.prefix, name);
            let (entry, marker) = (ranges.entry(&victim.id), ranges.marker(&victim.id));
            let revision = victim.token.get();
            when.push(Compare::create_revision(
                entry.as_str(),
                CompareOp::Equal,
                revision,
            ));
            then.extend([TxnOp::delete(entry, None), TxnOp::delete(marker, None)]);
        }
        let lease = match *notes {
            Some(lease) => lease,
            None => *notes.insert(lease::grant_new(self.cluster, NOTE_TTL, give_up_at).await?),
        };
        let prefix = &self.wanted.prefix;
        let note = prefix.superseded(&victim.locks[0], victim.token);
        let leased = PutOptions::new().with_lease(lease.get());
        then.push(TxnOp::put(note, self.wanted.entry.to_json(), Some(leased)));
        let txn = Txn::new().when(when).and_then(then);
        let answer = self.cluster.transact(&txn, give_up_at).await?;
        Ok(answer.succeeded())
    }
}

/// Who took the place with this token away, if somebody did: as far as the note says it.
pub async fn superseded_by(
    cluster: &Cluster,
    wanted: &Wanted,
    token: Token,
    give_up_at: Instant,
) -> Result<Option<Option<String>>, Failure> {
    let key = wanted.prefix.superseded(&wanted.name, token);
    let answer = cluster
        .transact(&Txn::new().and_then([TxnOp::get(key, None)]), give_up_at)
        .await?;
    let note = answer
        .op_responses()
        .into_iter()
        .find_map(|read| match read {
            TxnOpResponse::Get(mut get) => get.take_kvs().pop(),
            _ => None,
        });
    Ok(note.map(|note| Entry::parse(note.value()).map(|entry| entry.who())))
}
