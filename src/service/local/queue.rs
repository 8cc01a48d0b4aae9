//! What the store says about a queue.

use super::store::{KeyValue, Result, Transaction};
use crate::lock::admission::{Line, Marker, QueuedEntry, Snapshot};
use crate::lock::entry::{Entry, Terms};
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::token::Token;
use crate::supervisor::{Holder, Queue};

/// A queue at one revision.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// What admission decides on.
    pub snapshot: Snapshot,
    /// The entries, with what they say.
    pub entries: Vec<KeyValue>,
    /// The markers.
    pub markers: Vec<KeyValue>,
    /// The folder that it is in, for people.
    folder: String,
}

impl Reading {
    /// The queue of this lock.
    pub fn of(txn: &Transaction<'_>, prefix: &Prefix, name: &LockName) -> Result<Self> {
        let (entries, markers) = (prefix.entries(name), prefix.markers(name));
        let in_queue = |first: &str| -> Result<Vec<KeyValue>> {
            let mut found = txn.below(first)?;
            found.retain(|kv| Prefix::last_segment(first, kv.key.as_bytes()).is_some());
            Ok(found)
        };
        let mut reading = Self {
            entries: in_queue(&entries)?,
            markers: in_queue(&markers)?,
            folder: txn.folder(),
            ..Self::default()
        };
        reading.snapshot = Snapshot {
            revision: txn.revision(),
            entries: reading
                .entries
                .iter()
                .map(|kv| queued(&entries, kv))
                .collect(),
            markers: reading
                .markers
                .iter()
                .map(|kv| marker(&markers, kv))
                .collect(),
        };
        Ok(reading)
    }

    /// The entry with this key.
    pub fn entry(&self, key: &str) -> Option<&KeyValue> {
        self.entries.iter().find(|kv| kv.key == key)
    }

    /// The queue as the contender with the entry `own` sees it, or as one that is not in it.
    pub fn queue(&self, own: Option<Token>, lock: Option<LockName>) -> Queue {
        let own = own.map_or(i64::MAX, Token::get);
        let is_ahead = |kv: &&KeyValue| kv.create_revision < own;
        let ahead = self.entries.iter().filter(is_ahead).count();
        let line = Line::of(&self.snapshot);
        // Not ourselves, should we be one of them by now.
        let holders = line.holders().min(ahead);
        let head = self.entries.iter().min_by_key(|kv| kv.create_revision);
        let holder = match head {
            Some(head) if holders > 0 => holder(head),
            _ if line.vanished().next().is_some() => Holder::Vanished,
            _ => Holder::Unknown,
        };
        Queue {
            place: ahead - holders + 1,
            waiting: self.entries.len() - holders,
            holder,
            others: holders.saturating_sub(1),
            lock,
            folder: Some(self.folder.clone()),
        }
    }
}

fn holder(head: &KeyValue) -> Holder {
    match Entry::parse(&head.value) {
        Some(entry) => Holder::Known(Box::new(entry)),
        None => Holder::Foreign {
            id: head.key.rsplit('/').next().unwrap_or_default().to_owned(),
            leased: head.lease != 0,
        },
    }
}

fn queued(below: &str, kv: &KeyValue) -> QueuedEntry {
    QueuedEntry {
        create_revision: kv.create_revision,
        id: kv.key.strip_prefix(below).unwrap_or_default().to_owned(),
        leased: kv.lease != 0,
    }
}

fn marker(below: &str, kv: &KeyValue) -> Marker {
    let terms = Terms::parse(&kv.value);
    Marker {
        create_revision: kv.create_revision,
        id: kv.key.strip_prefix(below).unwrap_or_default().to_owned(),
        limit: terms.limit,
        lock_delay: terms.lock_delay,
        replaceable: terms.replaceable,
    }
}
