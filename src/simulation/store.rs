//! The store that all members agree on: keys with their revisions, and which of them hang on which lease. What
//! etcd applies is one log, so this is one value; `cluster.rs` says who may add to it, and when.
//!
//! Compared with a real etcd (service/etcd/simulated/conformance).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::simulation::protocol::{
    Answer, Change, Compare, KeyValue, Keys, Op, OpAnswer, Refusal, Relation, Target, Transaction,
};

#[derive(Clone, Debug)]
struct Value {
    value: Vec<u8>,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
}

#[derive(Clone, Debug)]
pub struct Store {
    pub revision: i64,
    keys: BTreeMap<Vec<u8>, Value>,
    /// Each lease's TTL and keys.
    leases: BTreeMap<i64, (i64, BTreeSet<Vec<u8>>)>,
    history: Vec<Change>,
    pub compacted: i64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            // As an empty etcd.
            revision: 1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            history: Vec::new(),
            compacted: 0,
        }
    }
}

impl Store {
    pub fn has_lease(&self, lease: i64) -> bool {
        self.leases.contains_key(&lease)
    }

    pub fn ttl(&self, lease: i64) -> Option<i64> {
        self.leases.get(&lease).map(|(ttl, _)| *ttl)
    }

    pub fn leases(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.leases.iter().map(|(lease, (ttl, _))| (*lease, *ttl))
    }

    /// What hangs on a lease.
    pub fn keys_of(&self, lease: i64) -> Vec<Vec<u8>> {
        let keys = self.leases.get(&lease).map(|(_, keys)| keys);
        keys.into_iter().flatten().cloned().collect()
    }

    pub fn get(&self, keys: &Keys) -> Vec<KeyValue> {
        self.within(keys)
            .map(|(key, value)| value.listed(key))
            .collect()
    }

    /// The same without values, if wanted.
    pub fn list(&self, keys: &Keys, keys_only: bool) -> Vec<KeyValue> {
        let mut kvs = self.get(keys);
        if keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        kvs
    }

    /// The same as it was at a revision; 0 is now.
    pub fn list_at(&self, keys: &Keys, keys_only: bool, revision: i64) -> Result<Answer, Refusal> {
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        if revision > 0 && revision < self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision <= 0 {
            return Ok(Answer::Got(self.list(keys, keys_only)));
        }
        let mut then = BTreeMap::new();
        let until = |change: &&Change| change.kv.mod_revision <= revision;
        for change in self.history.iter().take_while(until) {
            match change.deleted {
                true => then.remove(&change.kv.key),
                false => then.insert(change.kv.key.clone(), change.kv.clone()),
            };
        }
        let mut kvs: Vec<KeyValue> = then.into_values().collect();
        kvs.retain(|kv| keys.covers(&kv.key));
        if keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Ok(Answer::Got(kvs))
    }

    /// Forgets what was before this revision (etcd: server/storage/mvcc/kvstore.go, updateCompactRev).
    pub fn compact(&mut self, revision: i64) -> Result<Answer, Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = revision;
        Ok(Answer::Compacted)
    }

    pub fn one(&self, key: &[u8]) -> Option<KeyValue> {
        self.keys.get(key).map(|value| value.listed(key))
    }

    /// Every change after `revision`.
    pub fn changes_since(&self, revision: i64) -> &[Change] {
        let first = self
            .history
            .partition_point(|change| change.kv.mod_revision <= revision);
        &self.history[first..]
    }

    pub fn grant(&mut self, lease: i64, ttl: i64) -> Result<Answer, Refusal> {
        if self.has_lease(lease) {
            return Err(Refusal::LeaseExists);
        }
        self.leases.insert(lease, (ttl, BTreeSet::new()));
        Ok(Answer::Granted { lease, ttl })
    }

    pub fn revoke(&mut self, lease: i64) -> Result<Answer, Refusal> {
        let Some((_, keys)) = self.leases.remove(&lease) else {
            return Err(Refusal::LeaseNotFound);
        };
        let revision = self.revision + 1;
        for key in keys {
            self.remove(&key, revision);
            self.revision = revision;
        }
        Ok(Answer::Revoked)
    }

    pub fn delete(&mut self, keys: &Keys) -> Answer {
        let revision = self.revision + 1;
        let deleted = self.delete_at(keys, revision);
        Answer::Deleted(deleted)
    }

    pub fn transact(&mut self, transaction: &Transaction) -> Result<Answer, Refusal> {
        let succeeded = self.would_hold(transaction);
        let ops = match succeeded {
            true => &transaction.then,
            false => &transaction.otherwise,
        };
        // All or nothing: etcd checks before it applies (server/etcdserver/txn/txn.go).
        let wants_lease = ops.iter().find_map(|op| match op {
            Op::Put { lease, .. } if *lease != 0 && !self.has_lease(*lease) => Some(*lease),
            _ => None,
        });
        if wants_lease.is_some() {
            return Err(Refusal::LeaseNotFound);
        }
        let revision = self.revision + 1;
        let answers = ops.iter().map(|op| self.apply(op, revision)).collect();
        Ok(Answer::Transacted { succeeded, answers })
    }

    /// Whether its comparisons hold.
    pub fn would_hold(&self, transaction: &Transaction) -> bool {
        transaction.when.iter().all(|when| self.holds(when))
    }

    fn apply(&mut self, op: &Op, revision: i64) -> OpAnswer {
        match op {
            Op::Get { keys, keys_only } => OpAnswer::Get(self.list(keys, *keys_only)),
            Op::Delete { keys } => OpAnswer::Deleted(self.delete_at(keys, revision)),
            Op::Put {
                key,
                value,
                lease,
                ignore_value,
            } => {
                self.put_at(key, value, *lease, *ignore_value, revision);
                OpAnswer::Put
            }
        }
    }

    fn put_at(&mut self, key: &[u8], value: &[u8], lease: i64, ignore_value: bool, revision: i64) {
        let old = self.keys.get(key).cloned();
        if let Some(old) = &old
            && let Some((_, keys)) = self.leases.get_mut(&old.lease)
        {
            keys.remove(key);
        }
        if let Some((_, keys)) = self.leases.get_mut(&lease) {
            keys.insert(key.to_vec());
        }
        let kept = old.as_ref().filter(|_| ignore_value);
        let new = Value {
            value: kept.map_or_else(|| value.to_vec(), |old| old.value.clone()),
            create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            lease,
        };
        self.history.push(Change {
            deleted: false,
            kv: new.listed(key),
        });
        self.keys.insert(key.to_vec(), new);
        self.revision = revision;
    }

    fn delete_at(&mut self, keys: &Keys, revision: i64) -> i64 {
        let doomed: Vec<Vec<u8>> = self.within(keys).map(|(key, _)| key.to_vec()).collect();
        for key in &doomed {
            if let Some(value) = self.keys.get(key)
                && let Some((_, keys)) = self.leases.get_mut(&value.lease)
            {
                keys.remove(key);
            }
            self.remove(key, revision);
            self.revision = revision;
        }
        doomed.len() as i64
    }

    fn remove(&mut self, key: &[u8], revision: i64) {
        if self.keys.remove(key).is_some() {
            let kv = KeyValue {
                key: key.to_vec(),
                value: Vec::new(),
                create_revision: 0,
                mod_revision: revision,
                version: 0,
                lease: 0,
            };
            self.history.push(Change { deleted: true, kv });
        }
    }

    fn within(&self, keys: &Keys) -> impl Iterator<Item = (&[u8], &Value)> {
        let start = keys.key.as_slice();
        let end = match keys.end.as_slice() {
            [] => Bound::Included(start),
            [0] => Bound::Unbounded,
            // An empty range, and not one that panics.
            end => Bound::Excluded(end.max(start)),
        };
        self.keys
            .range::<[u8], _>((Bound::Included(start), end))
            .map(|(key, value)| (key.as_slice(), value))
    }

    /// A comparison of an empty range compares with a key that is all zeroes, except for its value
    /// (etcd: server/etcdserver/txn/txn.go, applyCompare).
    fn holds(&self, compare: &Compare) -> bool {
        let mut found = self.within(&compare.keys).peekable();
        if found.peek().is_none() {
            return match compare.target {
                Target::Value(_) => false,
                _ => Value::none().compares(compare),
            };
        }
        found.all(|(_, value)| value.compares(compare))
    }
}

impl Value {
    const fn none() -> Self {
        Self {
            value: Vec::new(),
            create_revision: 0,
            mod_revision: 0,
            version: 0,
            lease: 0,
        }
    }

    fn listed(&self, key: &[u8]) -> KeyValue {
        KeyValue {
            key: key.to_vec(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    fn compares(&self, compare: &Compare) -> bool {
        let order = match &compare.target {
            Target::Version(number) => self.version.cmp(number),
            Target::Create(number) => self.create_revision.cmp(number),
            Target::Mod(number) => self.mod_revision.cmp(number),
            Target::Lease(number) => self.lease.cmp(number),
            Target::Value(value) => self.value.cmp(value),
        };
        match compare.relation {
            Relation::Equal => order.is_eq(),
            Relation::Greater => order.is_gt(),
            Relation::Less => order.is_lt(),
            Relation::NotEqual => order.is_ne(),
        }
    }
}
