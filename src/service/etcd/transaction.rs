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

/// The keys of one contender: two for each of its locks.
#[derive(Clone, Debug)]
pub struct Keys {
    /// At least one; the first is the lock that the run is named after.
    pub locks: Vec<LockKeys>,
}

/// The two keys of one contender for one lock.
#[derive(Clone, Debug)]
pub struct LockKeys {
    /// The lock's name.
    pub name: LockName,
    /// Where it stands.
    pub ranges: Ranges,
    /// The contender's entry.
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

    /// The entry that it was put with is not there; another one under its name may be.
    fn vanished(&self, marker: &Marker) -> [Compare; 2] {
        let revision = marker.create_revision;
        [
            Compare::create_revision(self.marker(&marker.id), CompareOp::Equal, revision),
            Compare::create_revision(self.entry(&marker.id), CompareOp::NotEqual, revision),
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

    /// What reads the queue.
    pub fn readings(&self) -> [TxnOp; 2] {
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
    /// The keys that go with a lease, for these locks.
    pub fn new<'names>(
        prefix: &Prefix,
        names: impl Iterator<Item = &'names LockName>,
        lease: LeaseId,
    ) -> Self {
        let keys = names.map(|name| LockKeys {
            name: name.clone(),
            ranges: Ranges::new(prefix, name),
            entry: prefix.entry(name, lease),
            marker: prefix.marker(name, lease),
        });
        Self {
            locks: keys.collect(),
        }
    }

    /// The entries, in the order of the locks.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.locks.iter().map(|lock| lock.entry.as_str())
    }

    /// One reading of all queues.
    pub fn read(&self) -> Txn {
        Txn::new().and_then(self.readings())
    }

    fn readings(&self) -> Vec<TxnOp> {
        let readings = self.locks.iter().flat_map(|lock| lock.ranges.readings());
        readings.collect()
    }

    /// Puts every entry with its marker, all or none, and reads the queues: so they have one create_revision, and
    /// two contenders stand in the same order in every queue. Sent twice, it does the same as once: the second one
    /// finds the entries of the first, or the sign that it is over with them.
    pub fn enqueue(&self, lease: LeaseId, value: &[u8], guard: Guard) -> Txn {
        let absent = |key: &str| Compare::create_revision(key, CompareOp::Equal, 0);
        let mut when: Vec<Compare> = self.entries().map(absent).collect();
        when.push(absent(&self.over()));
        // A comparison of an empty range compares with zero (etcd: server/etcdserver/txn/txn.go).
        let ranges = self.locks.iter().map(|lock| &lock.ranges);
        match guard {
            Guard::Queue => {}
            Guard::Idle => when.extend(ranges.flat_map(|ranges| {
                ranges.compare_all(|key| Compare::create_revision(key, CompareOp::Equal, 0))
            })),
            Guard::UnchangedSince(revision) => when.extend(ranges.flat_map(|ranges| {
                ranges.compare_all(|key| Compare::mod_revision(key, CompareOp::Less, revision + 1))
            })),
        }
        let leased = PutOptions::new().with_lease(lease.get());
        let puts = self.locks.iter().flat_map(|lock| {
            let leased = Some(leased.clone());
            [
                TxnOp::put(lock.entry.as_str(), value, leased),
                TxnOp::put(lock.marker.as_str(), value, None),
            ]
        });
        let then: Vec<TxnOp> = puts.chain(self.readings()).collect();
        Txn::new()
            .when(when)
            .and_then(then)
            .or_else(self.readings())
    }

    /// Puts a new value, if every entry is still ours.
    pub fn announce(&self, token: Token, lease: LeaseId, value: &[u8]) -> Txn {
        let leased = PutOptions::new().with_lease(lease.get());
        let put = |key: &str| TxnOp::put(key, value, Some(leased.clone()));
        let puts: Vec<TxnOp> = self.entries().map(put).collect();
        // One that comes late must not take back what hangs on another lease by then.
        let hangs = |key| Compare::lease(key, CompareOp::Equal, lease.get());
        let when = self
            .ours(token)
            .into_iter()
            .chain(self.entries().map(hangs));
        Txn::new().when(when.collect::<Vec<_>>()).and_then(puts)
    }

    /// Lets entries and markers hang on another lease from now on, if all entries are ours; and keeps out by a sign
    /// what comes late.
    pub fn hand_over(
        &self,
        token: Token,
        lease: LeaseId,
        value: &[u8],
        sign_on: Option<LeaseId>,
    ) -> Txn {
        let leased = PutOptions::new().with_lease(lease.get());
        let mut puts: Vec<TxnOp> = Vec::new();
        for lock in &self.locks {
            let as_it_is = leased.clone().with_ignore_value();
            puts.push(TxnOp::put(lock.entry.as_str(), value, Some(leased.clone())));
            puts.push(TxnOp::put(lock.marker.as_str(), "", Some(as_it_is)));
        }
        puts.extend(sign_on.map(|lease| self.sign(lease)));
        Txn::new().when(self.ours(token)).and_then(puts)
    }

    fn sign(&self, lease: LeaseId) -> TxnOp {
        let leased = PutOptions::new().with_lease(lease.get());
        TxnOp::put(self.over(), "", Some(leased))
    }

    /// Deletes entries and markers in one, if all entries are ours. Where the entries may come again after this,
    /// they are kept out by a sign, as long as the lease lives that the sign hangs on.
    pub fn release(&self, token: Token, sign_on: Option<LeaseId>) -> Txn {
        self.delete_if(self.ours(token), sign_on)
    }

    /// The same where the entries may have come late, with whatever revision: those that hang on our lease are ours.
    pub fn keep_out(&self, lease: LeaseId, sign_on: LeaseId) -> Txn {
        let ours = |key: &str| Compare::lease(key, CompareOp::Equal, lease.get());
        self.delete_if(self.entries().map(ours).collect(), Some(sign_on))
    }

    /// What deletes the entries one by one where not all of them are ours any more: an entry that somebody deleted
    /// and put anew is theirs and stays, one that somebody overwrote is ours still.
    pub fn delete_each(&self, lease: LeaseId, token: Option<Token>) -> Vec<Txn> {
        let delete = |key: &str| {
            let revision =
                |token: Token| Compare::create_revision(key, CompareOp::Equal, token.get());
            let hangs_on_it = Compare::lease(key, CompareOp::Equal, lease.get());
            let ours = [Some(hangs_on_it), token.map(revision)]
                .into_iter()
                .flatten();
            let delete = |ours| Txn::new().when([ours]).and_then([TxnOp::delete(key, None)]);
            ours.map(delete).collect::<Vec<Txn>>()
        };
        match &self.locks[..] {
            // It was the only one.
            [_] => Vec::new(),
            _ => self.entries().flat_map(delete).collect(),
        }
    }

    fn delete_if(&self, ours: Vec<Compare>, sign_on: Option<LeaseId>) -> Txn {
        let markers = self.locks.iter().map(|lock| lock.marker.as_str());
        let mut then: Vec<TxnOp> = markers.map(|key| TxnOp::delete(key, None)).collect();
        then.extend(sign_on.map(|lease| self.sign(lease)));
        let otherwise = then.clone();
        then.extend(self.entries().map(|key| TxnOp::delete(key, None)));
        Txn::new().when(ours).and_then(then).or_else(otherwise)
    }

    /// The key of the sign: beside the first marker, and none itself, for it does not end in hex.
    fn over(&self) -> String {
        format!("{}~", self.locks[0].marker)
    }

    /// That every entry is the one that we put.
    pub fn ours(&self, token: Token) -> Vec<Compare> {
        let ours = |key| Compare::create_revision(key, CompareOp::Equal, token.get());
        self.entries().map(ours).collect()
    }
}

/// Whose store answered.
pub fn cluster(response: &TxnResponse) -> ClusterId {
    ClusterId(response.header().map_or(0, |header| header.cluster_id()))
}
