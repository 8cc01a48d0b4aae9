//! The transactions on a queue, and what their answers say. Pure, but for the types of etcd-client.
//!
//! Every answer that matters is one consistent reading of the whole queue: of all entries (their keys only,
//! since values are other people's and can be a megabyte each) and all run markers.

use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use crate::lock::admission::{Marker, QueuedEntry, Snapshot};
use crate::lock::entry;
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

/// A queue at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What admission decides on.
    pub snapshot: Snapshot,
    /// What stands under our own entry's key.
    pub own: Option<OwnKey>,
    /// The oldest entry, and the revision at which it was last changed.
    pub head: Option<(QueuedEntry, i64)>,
}

/// What stands under our own entry's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnKey {
    /// Its create_revision: the token, if it is still the key that we put.
    pub create_revision: i64,
    /// The lease it hangs on; zero for none.
    pub lease: i64,
}

impl OwnKey {
    /// Whether it is the key that we put.
    pub const fn is(self, token: Token, lease: LeaseId) -> bool {
        self.create_revision == token.get() && self.lease == lease.get()
    }
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
        let key = self.marker(&marker.id);
        Txn::new()
            .when([
                Compare::create_revision(key.as_str(), CompareOp::Equal, marker.create_revision),
                Compare::create_revision(self.entry(&marker.id), CompareOp::Equal, 0),
            ])
            .and_then([TxnOp::delete(key, None)])
    }

    /// The key of an entry, from the last segment of its key.
    pub fn entry(&self, id: &str) -> String {
        format!("{}{id}", self.entries)
    }

    /// The key of a marker, from the last segment of its key.
    pub fn marker(&self, id: &str) -> String {
        format!("{}{id}", self.markers)
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
    /// the entry of the first.
    pub fn enqueue(&self, lease: LeaseId, value: &[u8], guard: Guard) -> Txn {
        let mut when = vec![Compare::create_revision(
            self.entry.as_str(),
            CompareOp::Equal,
            0,
        )];
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

    /// Deletes entry and marker in one; an entry that somebody deleted and put anew is theirs and stays.
    pub fn release(&self, token: Token) -> Txn {
        let marker = TxnOp::delete(self.marker.as_str(), None);
        Txn::new()
            .when([self.ours(token)])
            .and_then([TxnOp::delete(self.entry.as_str(), None), marker.clone()])
            .or_else([marker])
    }

    fn ours(&self, token: Token) -> Compare {
        Compare::create_revision(self.entry.as_str(), CompareOp::Equal, token.get())
    }
}

/// One key of an answer.
struct Listed<'response> {
    key: &'response [u8],
    value: &'response [u8],
    create_revision: i64,
    mod_revision: i64,
    lease: i64,
}

impl<'response> From<&'response KeyValue> for Listed<'response> {
    fn from(kv: &'response KeyValue) -> Self {
        Self {
            key: kv.key(),
            value: kv.value(),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
            lease: kv.lease(),
        }
    }
}

impl Reading {
    /// The reading in the answer to a transaction: its first two ranges. `own` is our entry's key.
    pub fn of(response: &TxnResponse, ranges: &Ranges, own: &str) -> Self {
        let gets: Vec<_> = response
            .op_responses()
            .into_iter()
            .filter_map(|response| match response {
                TxnOpResponse::Get(get) => Some(get),
                _ => None,
            })
            .collect();
        let listed = |index: usize| {
            gets.get(index)
                .into_iter()
                .flat_map(|get| get.kvs())
                .map(Listed::from)
        };
        let revision = response.header().map_or(0, |header| header.revision());
        Self::from_lists(revision, ranges, own, listed(0), listed(1))
    }

    fn from_lists<'response>(
        revision: i64,
        ranges: &Ranges,
        own: &str,
        entries: impl Iterator<Item = Listed<'response>>,
        markers: impl Iterator<Item = Listed<'response>>,
    ) -> Self {
        let mut reading = Self::default();
        reading.snapshot.revision = revision;
        for listed in entries {
            let Some(id) = Prefix::last_segment(&ranges.entries, listed.key) else {
                continue;
            };
            if listed.key == own.as_bytes() {
                reading.own = Some(OwnKey {
                    create_revision: listed.create_revision,
                    lease: listed.lease,
                });
            }
            let entry = QueuedEntry {
                create_revision: listed.create_revision,
                id: id.to_owned(),
                leased: listed.lease != 0,
            };
            let is_older =
                |(head, _): &(QueuedEntry, i64)| entry.create_revision < head.create_revision;
            if reading.head.as_ref().is_none_or(is_older) {
                reading.head = Some((entry.clone(), listed.mod_revision));
            }
            reading.snapshot.entries.push(entry);
        }
        reading.snapshot.markers = markers
            .filter_map(|listed| {
                let id = Prefix::last_segment(&ranges.markers, listed.key)?;
                Some(Marker {
                    create_revision: listed.create_revision,
                    id: id.to_owned(),
                    lock_delay: entry::lock_delay(listed.value),
                })
            })
            .collect();
        reading
    }
}

/// Whose store answered.
pub fn cluster(response: &TxnResponse) -> ClusterId {
    ClusterId(response.header().map_or(0, |header| header.cluster_id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::admission::{Standing, Vanished};

    fn ranges() -> Ranges {
        Ranges::new(&Prefix::default(), &"a".parse().expect("a name"))
    }

    fn listed(key: &'static str, revision: i64, lease: i64) -> Listed<'static> {
        Listed {
            key: key.as_bytes(),
            value: b"",
            create_revision: revision,
            mod_revision: revision + 1,
            lease,
        }
    }

    #[test]
    fn only_keys_with_one_more_segment_in_hex_are_in_the_queue() {
        let entries = [
            listed("/leasehold/a/1f", 9, 0x1f),
            listed("/leasehold/a/b/1f", 2, 0x1f),
            listed("/leasehold/a/config", 3, 0),
            listed("/leasehold/a/FF", 5, 0),
        ];
        let markers = [
            listed("/leasehold/~run/a/1f", 9, 0),
            listed("/leasehold/~run/a/b/2f", 1, 0),
        ];
        let reading = Reading::from_lists(
            20,
            &ranges(),
            "/leasehold/a/1f",
            entries.into_iter(),
            markers.into_iter(),
        );
        let ids: Vec<_> = reading.snapshot.entries.iter().map(|e| &e.id).collect();
        assert_eq!(ids, ["1f", "FF"]);
        assert_eq!(reading.snapshot.markers.len(), 1);
        assert_eq!(
            reading.own,
            Some(OwnKey {
                create_revision: 9,
                lease: 0x1f
            })
        );
        let (head, changed) = reading.head.clone().expect("two entries");
        assert_eq!((head.id.as_str(), head.leased, changed), ("FF", false, 6));
        let own = Token::new(9).expect("positive");
        let standing = Vanished::default().standing(
            own,
            &reading.snapshot,
            crate::clock::Instant::from_nanos(0),
        );
        assert_eq!(
            standing,
            Standing::Behind {
                ahead: 1,
                predecessor: head
            }
        );
    }

    #[test]
    fn our_key_is_ours_only_with_our_lease_and_our_create_revision() {
        let token = Token::new(9).expect("positive");
        let lease = LeaseId::new(0x1f).expect("positive");
        let own = |create_revision, lease| OwnKey {
            create_revision,
            lease,
        };
        assert!(own(9, 0x1f).is(token, lease));
        assert!(!own(9, 0).is(token, lease), "detached");
        assert!(!own(10, 0x1f).is(token, lease), "deleted and put anew");
    }
}
