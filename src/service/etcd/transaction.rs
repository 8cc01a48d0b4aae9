//! The transactions on a queue, and what their answers say. Pure, but for the types of etcd-client.
//!
//! Every answer that matters is one consistent reading of the whole queue: of all entries (their keys only,
//! since values are other people's and can be a megabyte each) and all run markers.

use std::fmt;

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnResponse};

use crate::lock::admission::Marker;
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::token::{ClusterId, LeaseId, Token};

/// Entries and markers end in hex, so their keys lie between what they begin with and `0`, and the same and
/// `g`: this leaves out most of what else stands below a lock, such as the entries of lock `a/prod` in `a`.
const FIRST: &str = "0";
const END: &str = "g";

/// Where one lock stands in the store.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// What all entries begin with.
    pub entries: String,
    /// What all run markers begin with.
    pub markers: String,
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, markers } = self;
        write!(f, "the keys below {entries} and below {markers}")
    }
}

/// The two keys of one contender.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The lock.
    pub ranges: Ranges,
    /// Its entry.
    pub entry: String,
    /// Its run marker.
    pub marker: String,
}

/// When an entry may be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Always: it waits where it must.
    Queue,
    /// Only where the lock has neither entries nor markers.
    Idle,
    /// Only where no entry and no marker were put since this revision, at which nobody stood in the way.
    UnchangedSince(i64),
}

impl Ranges {
    /// Where this lock stands.
    pub fn new(prefix: &Prefix, name: &LockName) -> Self {
        Self {
            entries: prefix.entries(name),
            markers: prefix.markers(name),
        }
    }

    /// One reading of the queue.
    pub fn read(&self) -> Txn {
        Txn::new().and_then(self.readings())
    }

    /// Removes the marker of a contender that vanished, unless either of the two is no longer so.
    pub fn remove_marker(&self, marker: &Marker) -> Txn {
        Txn::new()
            .when(self.vanished(marker))
            .and_then([TxnOp::delete(self.marker(&marker.id), None)])
    }

    /// Lets the marker of a contender that vanished go with a lease, if it does not hang on one yet.
    pub fn retire_marker(&self, marker: &Marker, lease: LeaseId) -> Txn {
        let key = self.marker(&marker.id);
        let mut when = self.vanished(marker).to_vec();
        when.push(Compare::lease(key.as_str(), CompareOp::Equal, 0));
        let leased = PutOptions::new()
            .with_lease(lease.get())
            .with_ignore_value();
        Txn::new()
            .when(when)
            .and_then([TxnOp::put(key, "", Some(leased))])
    }

    fn vanished(&self, marker: &Marker) -> [Compare; 2] {
        let revision = marker.create_revision;
        [
            Compare::create_revision(self.marker(&marker.id), CompareOp::Equal, revision),
            Compare::create_revision(self.entry(&marker.id), CompareOp::Equal, 0),
        ]
    }

    /// The key of an entry, from the last segment of its key.
    pub fn entry(&self, id: &str) -> String {
        format!("{}{id}", self.entries)
    }

    /// The key of a marker, from the last segment of its key.
    pub fn marker(&self, id: &str) -> String {
        format!("{}{id}", self.markers)
    }

    /// The keys of all entries and of all markers, each from the first key to the end.
    pub fn watched(&self) -> [(String, String); 2] {
        [&self.entries, &self.markers]
            .map(|range| (format!("{range}{FIRST}"), format!("{range}{END}")))
    }

    fn readings(&self) -> [TxnOp; 2] {
        let below = |range: &str, options: GetOptions| {
            let end = format!("{range}{END}");
            TxnOp::get(format!("{range}{FIRST}"), Some(options.with_range(end)))
        };
        [
            below(&self.entries, GetOptions::new().with_keys_only()),
            below(&self.markers, GetOptions::new()),
        ]
    }

    fn compare_all(&self, compare: impl Fn(String) -> Compare) -> [Compare; 2] {
        [&self.entries, &self.markers]
            .map(|range| compare(format!("{range}{FIRST}")).with_range(format!("{range}{END}")))
    }
}

impl Keys {
    /// The keys that go with a lease.
    pub fn new(prefix: &Prefix, name: &LockName, lease: LeaseId) -> Self {
        Self {
            ranges: Ranges::new(prefix, name),
            entry: prefix.entry(name, lease),
            marker: prefix.marker(name, lease),
        }
    }

    /// Puts entry and marker and reads the queue. Sent twice, it does the same as once: the second one finds
    /// the entry of the first, or the sign that it is over with it.
    pub fn enqueue(&self, lease: LeaseId, value: &[u8], guard: Guard) -> Txn {
        let absent = |key: &str| Compare::create_revision(key, CompareOp::Equal, 0);
        let mut when = vec![absent(&self.entry), absent(&self.over())];
        // A comparison of an empty range compares with zero (etcd: server/etcdserver/txn/txn.go).
        match guard {
            Guard::Queue => {}
            Guard::Idle => when.extend(
                self.ranges
                    .compare_all(|key| Compare::create_revision(key, CompareOp::Equal, 0)),
            ),
            Guard::UnchangedSince(revision) => {
                when.extend(
                    self.ranges.compare_all(|key| {
                        Compare::mod_revision(key, CompareOp::Less, revision + 1)
                    }),
                );
            }
        }
        let leased = PutOptions::new().with_lease(lease.get());
        let [entries, markers] = self.ranges.readings();
        Txn::new()
            .when(when)
            .and_then([
                TxnOp::put(self.entry.as_str(), value, Some(leased)),
                TxnOp::put(self.marker.as_str(), value, None),
                entries.clone(),
                markers.clone(),
            ])
            .or_else([entries, markers])
    }

    /// Puts a new value, if the entry is still ours.
    pub fn announce(&self, token: Token, lease: LeaseId, value: Vec<u8>) -> Txn {
        let leased = PutOptions::new().with_lease(lease.get());
        Txn::new().when([self.ours(token)]).and_then([TxnOp::put(
            self.entry.as_str(),
            value,
            Some(leased),
        )])
    }

    /// Deletes entry and marker in one; an entry that somebody deleted and put anew is theirs and stays. Where the
    /// entry may come again after this, it is kept out by a sign, as long as the lease lives that the sign hangs on.
    pub fn release(&self, token: Token, sign_on: Option<LeaseId>) -> Txn {
        self.delete_if(self.ours(token), sign_on)
    }

    /// The same where the entry may have come late, with whatever revision: if it hangs on our lease, it is ours.
    pub fn keep_out(&self, lease: LeaseId, sign_on: LeaseId) -> Txn {
        let ours = Compare::lease(self.entry.as_str(), CompareOp::Equal, lease.get());
        self.delete_if(ours, Some(sign_on))
    }

    fn delete_if(&self, ours: Compare, sign_on: Option<LeaseId>) -> Txn {
        let entry = TxnOp::delete(self.entry.as_str(), None);
        let mut then = vec![TxnOp::delete(self.marker.as_str(), None)];
        if let Some(lease) = sign_on {
            let leased = PutOptions::new().with_lease(lease.get());
            then.push(TxnOp::put(self.over(), "", Some(leased)));
        }
        let otherwise = then.clone();
        then.push(entry);
        Txn::new().when([ours]).and_then(then).or_else(otherwise)
    }

    /// The key of the sign: beside the marker, and none itself, for it does not end in hex.
    fn over(&self) -> String {
        format!("{}~", self.marker)
    }

    fn ours(&self, token: Token) -> Compare {
        Compare::create_revision(self.entry.as_str(), CompareOp::Equal, token.get())
    }
}

/// Whose store answered.
pub fn cluster(response: &TxnResponse) -> ClusterId {
    ClusterId(response.header().map_or(0, |header| header.cluster_id()))
}
