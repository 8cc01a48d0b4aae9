//! What the answer to a transaction says about a queue.

use std::collections::BTreeSet;

use etcd_client::{KeyValue, TxnOpResponse, TxnResponse};

use super::transaction::Ranges;
use crate::lock::admission::{Marker, QueuedEntry, Snapshot};
use crate::lock::entry::Terms;
use crate::lock::key::Prefix;
use crate::lock::token::{LeaseId, Token};

/// A queue at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What admission decides on.
    pub snapshot: Snapshot,
    /// What stands under our own entry's key.
    pub own: Option<OwnKey>,
    /// The oldest entry, and the revision at which it was last changed.
    pub head: Option<(QueuedEntry, i64)>,
    /// The last segments of the markers without a lease: as they were put.
    pub lasting: BTreeSet<String>,
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
    /// The reading in the answer to a transaction about one lock.
    pub fn of(response: &TxnResponse, ranges: &Ranges, own: &str) -> Self {
        let mut readings = Self::of_each(response, [(ranges, own)].into_iter());
        readings.pop().unwrap_or_default()
    }

    /// The readings of these locks in the answer to a transaction, each two ranges of it. Beside each lock stands our
    /// entry's key.
    pub fn of_each<'keys>(
        response: &TxnResponse,
        locks: impl Iterator<Item = (&'keys Ranges, &'keys str)>,
    ) -> Vec<Self> {
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
        let readings = locks.enumerate().map(|(index, (ranges, own))| {
            let (entries, markers) = (listed(2 * index), listed(2 * index + 1));
            Self::from_lists(revision, ranges, own, entries, markers)
        });
        readings.collect()
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
        for listed in markers {
            let Some(id) = Prefix::last_segment(&ranges.markers, listed.key) else {
                continue;
            };
            if listed.lease == 0 {
                reading.lasting.insert(id.to_owned());
            }
            let terms = Terms::parse(listed.value);
            reading.snapshot.markers.push(Marker {
                create_revision: listed.create_revision,
                id: id.to_owned(),
                limit: terms.limit,
                lock_delay: terms.lock_delay,
                replaceable: terms.replaceable,
            });
        }
        reading
    }

    /// The markers without their entries that stay until somebody removes them.
    pub fn lasting_orphans(&self) -> impl Iterator<Item = &Marker> {
        let Snapshot {
            entries, markers, ..
        } = &self.snapshot;
        let has_entry = move |marker: &Marker| {
            entries.iter().any(|entry| {
                entry.id == marker.id && entry.create_revision == marker.create_revision
            })
        };
        markers
            .iter()
            .filter(move |marker| !has_entry(marker))
            .filter(|marker| self.lasting.contains(&marker.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::admission::{Obstacle, Standing, Vanished};

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
        assert_eq!(standing, Standing::Behind(vec![Obstacle::Entry(head)]));
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
