//! What is looked at in the store, and in what contenders ask of it, for the checks: nothing happens here.

use crate::lock::entry::Terms;
use crate::lock::key::Prefix;
use crate::lock::limit::Limit;
use crate::simulation::checker::Kind;
use crate::simulation::cluster::Asked;
use crate::simulation::host::name;
use crate::simulation::policies;
use crate::simulation::protocol::{KeyValue, Keys, Request};
use crate::simulation::world::World;

impl World {
    /// How runs have ended, as they say it to others.
    pub(super) fn look_at_records(&mut self) {
        if !self.is_recorded {
            return;
        }
        for name in [name(), policies::other()] {
            let key = Prefix::default().last_run(&name);
            if let Some(kv) = self.cluster.entry(&key) {
                self.checker.recorded(&key, kv.mod_revision, &kv.value);
            }
        }
    }

    /// What somebody else put stays until somebody else removes it.
    pub(super) fn look_at_replaced(&mut self) {
        for key in &self.replaced {
            if self.cluster.entry(key).is_none() {
                let text = format!("{key} was removed, and it was not its contender's any more");
                return self.checker.violated(Kind::ForeignRemoved, text);
            }
        }
    }

    /// Whose entries are gone that ran under them? And whose are there again?
    pub fn look_at_entries(&mut self) {
        let again = self.checker.given_back().iter();
        let mut again = again.filter(|(lease, key)| {
            // What somebody else put there is theirs.
            let kv = self.cluster.entry(key);
            kv.is_some_and(|kv| kv.lease == *lease || key.contains('~'))
        });
        if let Some((lease, key)) = again.next().cloned() {
            self.checker.came_back(lease, &key);
        }
        for host in &self.hosts {
            if let Some((token, lease)) = self.checker.runs_under(host.number) {
                let key = Prefix::default().entry(&name(), lease);
                let kept = self.cluster.entry(&key);
                let is_ours =
                    |kv: KeyValue| kv.create_revision == token.get() && kv.lease == lease.get();
                let kept = kept.is_some_and(is_ours);
                if !kept {
                    self.checker.entry_is_gone(host.number);
                }
            }
        }
    }

    /// Whether one with this limit would hold the lock at once, as the rule is worded.
    fn would_be_admitted(&self, limit: Limit) -> bool {
        let store = &self.cluster.store;
        let below = Keys {
            key: b"/leasehold/job/".to_vec(),
            end: b"/leasehold/job0".to_vec(),
        };
        let entries = store.get(&below);
        let limit_of = |entry: &KeyValue| {
            let id = entry.key.rsplit(|byte| *byte == b'/').next()?;
            let marker = store.one(&[b"/leasehold/~run/job/", id].concat())?;
            let is_its_own = marker.create_revision == entry.create_revision;
            is_its_own.then(|| Terms::parse(&marker.value).limit)
        };
        let limits = entries
            .iter()
            .map(|entry| limit_of(entry).unwrap_or(Limit::EXCLUSIVE));
        let strictest = limits.chain([limit]).min();
        strictest.is_some_and(|strictest| strictest.admits(entries.len()))
    }

    /// What a request of a contender must not do, looked at before it is done.
    pub fn check_request(&mut self, asked: &Asked) {
        let host = asked.host;
        if let Some((_, lease)) = self.checker.runs_under(host) {
            let entry = || Prefix::default().entry(&name(), lease).into_bytes();
            let ends_it = match &*asked.request {
                Request::Revoke { lease: revoked } => *revoked == lease.get(),
                Request::Delete { keys } => keys.covers(&entry()),
                Request::Transact(transaction) if transaction.deletes_any() => {
                    transaction.deletes(&entry())
                }
                _ => false,
            };
            self.checker.releases(host, ends_it);
        }
        // What is in the queue may be put again, on another lease.
        if self.hosts[host].plan.nonblock
            && let Request::Transact(transaction) = &*asked.request
            && let Some(key) = transaction.put_below(b"/leasehold/job/")
            && self.cluster.store.one(key).is_none()
        {
            let idle = self.would_be_admitted(self.hosts[host].plan.limit);
            if !idle && self.cluster.store.would_hold(transaction) {
                let others = self.cluster.left("/leasehold/job/");
                let text =
                    format!("host {host} must not wait, and puts an entry behind {others:?}");
                self.checker.violated(Kind::EnqueuedToWait, text);
            }
            // Of several locks another one may be busy.
            let idle = idle && !self.hosts[host].plan.policy.also;
            let orphans = self.cluster.orphans();
            self.checker.asks_for_idle(host, idle, &orphans);
        }
        self.check_against_holders(asked);
    }

    /// Nobody takes away the entry of another one whose command runs.
    fn check_against_holders(&mut self, asked: &Asked) {
        let Request::Transact(transaction) = &*asked.request else {
            return;
        };
        if !transaction.deletes_any() {
            return;
        }
        for other in (0..self.hosts.len()).filter(|other| *other != asked.host) {
            let Some((_, lease)) = self.checker.runs_under(other) else {
                continue;
            };
            let entry = Prefix::default().entry(&name(), lease);
            if transaction.deletes(entry.as_bytes()) && self.cluster.store.would_hold(transaction) {
                let text = format!("host {} takes the lock from host {other}", asked.host);
                self.checker.violated(Kind::ForeignRemoved, text);
            }
        }
    }
}
