//! Who may run: the one place that decides it, from one consistent reading of the queue.
//!
//! - The queue is ordered by create_revision. An entry is admitted when nobody is ahead of it; an entry that
//!   is not ours counts like one of ours.
//! - With every entry of ours a *marker* without lease is put in the same transaction, and removed with it by
//!   a clean release. A marker without its entry therefore means that somebody vanished. If it may have held
//!   the lock, its successors wait its lock delay, counted from their own first sight of it, before they
//!   remove the marker and go on (Chubby's lock-delay; product.md, section 5). If an entry older than the
//!   marker is still there, its owner was never admitted and there is nothing to wait for.
//! - Only markers ahead of us matter: one behind us can only have held the lock after us.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Instant;
use crate::lock::token::Token;

/// One entry in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedEntry {
    /// Its place: the create_revision of its key.
    pub create_revision: i64,
    /// The last segment of its key: the lease id in hex, where it is ours or etcdctl's.
    pub id: String,
    /// Whether a lease is attached; without one it stays until somebody removes it.
    pub leased: bool,
}

/// One run marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The create_revision of its key: that of the entry it was put with.
    pub create_revision: i64,
    /// The last segment of its key: that of the entry it was put with.
    pub id: String,
    /// How long its owner wants successors to wait if it vanishes.
    pub lock_delay: Duration,
}

/// The queue of one lock at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The store's revision at which this was read.
    pub revision: i64,
    /// Every entry of the lock, in any order.
    pub entries: Vec<QueuedEntry>,
    /// Every run marker of the lock, in any order.
    pub markers: Vec<Marker>,
}

/// Where a contender stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its entry is not in the queue (any more).
    NotQueued,
    /// Somebody is ahead.
    Behind {
        /// How many are ahead.
        ahead: usize,
        /// The one just before it, whose end decides: the only other key worth watching.
        predecessor: QueuedEntry,
    },
    /// Nobody is ahead, but a vanished holder's lock delay is not over.
    Delayed {
        /// What the vanished holder left.
        marker: Marker,
        /// When the marker may be removed.
        until: Instant,
    },
    /// Nobody is ahead and nobody vanished: it may run.
    Admitted,
}

/// When each vanished contender's marker was first seen; it belongs to one contender.
#[derive(Clone, Debug, Default)]
pub struct Vanished {
    first_seen: BTreeMap<(String, i64), Instant>,
}

impl Vanished {
    /// Where the entry with create_revision `own` stands in `snapshot`, seen at `now`.
    pub fn standing(&mut self, own: Token, snapshot: &Snapshot, now: Instant) -> Standing {
        let own = own.get();
        if !snapshot
            .entries
            .iter()
            .any(|entry| entry.create_revision == own)
        {
            return Standing::NotQueued;
        }
        let delay = self.longest_delay(own, snapshot, now);
        let ahead = || {
            snapshot
                .entries
                .iter()
                .filter(|entry| entry.create_revision < own)
        };
        if let Some(predecessor) = ahead().max_by_key(|entry| entry.create_revision) {
            return Standing::Behind {
                ahead: ahead().count(),
                predecessor: predecessor.clone(),
            };
        }
        match delay {
            Some((marker, until)) => Standing::Delayed {
                marker: marker.clone(),
                until,
            },
            None => Standing::Admitted,
        }
    }

    /// The markers ahead of `own` that nobody has to wait for any more: their owners vanished and were
    /// never admitted, or their delay is over. They can be removed.
    pub fn removable<'snapshot>(
        &mut self,
        own: Token,
        snapshot: &'snapshot Snapshot,
        now: Instant,
    ) -> Vec<&'snapshot Marker> {
        self.orphans(own.get(), snapshot, now)
            .into_iter()
            .filter(|(marker, until)| never_held(marker, snapshot) || *until <= now)
            .map(|(marker, _)| marker)
            .collect()
    }

    /// A lock without entries is busy all the same while a vanished holder's delay lasts: the marker that
    /// lasts longest, and until when.
    pub fn delay_of_idle<'snapshot>(
        &mut self,
        snapshot: &'snapshot Snapshot,
        now: Instant,
    ) -> Option<(&'snapshot Marker, Instant)> {
        self.longest_delay(i64::MAX, snapshot, now)
    }

    fn longest_delay<'snapshot>(
        &mut self,
        own: i64,
        snapshot: &'snapshot Snapshot,
        now: Instant,
    ) -> Option<(&'snapshot Marker, Instant)> {
        // A delay that is over still stands in the way until its marker is removed: only then is the
        // removal, which can fail, known to have been ours or somebody else's.
        self.orphans(own, snapshot, now)
            .into_iter()
            .filter(|(marker, _)| !never_held(marker, snapshot))
            .max_by_key(|(_, until)| *until)
    }

    fn orphans<'snapshot>(
        &mut self,
        own: i64,
        snapshot: &'snapshot Snapshot,
        now: Instant,
    ) -> Vec<(&'snapshot Marker, Instant)> {
        let orphans: Vec<&Marker> = snapshot
            .markers
            .iter()
            .filter(|marker| marker.create_revision < own)
            .filter(|marker| !snapshot.entries.iter().any(|entry| entry.id == marker.id))
            .collect();
        self.first_seen.retain(|(id, revision), _| {
            orphans
                .iter()
                .any(|marker| marker.id == *id && marker.create_revision == *revision)
        });
        orphans
            .into_iter()
            .map(|marker| {
                let seen = self
                    .first_seen
                    .entry((marker.id.clone(), marker.create_revision))
                    .or_insert(now);
                (marker, *seen + marker.lock_delay)
            })
            .collect()
    }
}

/// Whether the owner of this orphaned marker can never have been admitted: an older entry is still there.
fn never_held(marker: &Marker, snapshot: &Snapshot) -> bool {
    snapshot
        .entries
        .iter()
        .any(|entry| entry.create_revision < marker.create_revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(2);

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn entry(revision: i64) -> QueuedEntry {
        QueuedEntry {
            create_revision: revision,
            id: format!("{revision:x}"),
            leased: true,
        }
    }

    fn marker(revision: i64) -> Marker {
        Marker {
            create_revision: revision,
            id: format!("{revision:x}"),
            lock_delay: DELAY,
        }
    }

    fn snapshot(entries: &[i64], markers: &[i64]) -> Snapshot {
        Snapshot {
            revision: 100,
            entries: entries.iter().copied().map(entry).collect(),
            markers: markers.iter().copied().map(marker).collect(),
        }
    }

    fn own(revision: i64) -> Token {
        Token::new(revision).expect("positive")
    }

    #[test]
    fn the_oldest_entry_is_admitted_and_every_other_waits_for_the_one_before_it() {
        let queue = snapshot(&[9, 5, 7], &[5, 7, 9]);
        let standing = |revision| Vanished::default().standing(own(revision), &queue, at(0));
        assert_eq!(standing(5), Standing::Admitted);
        assert_eq!(
            standing(7),
            Standing::Behind {
                ahead: 1,
                predecessor: entry(5)
            }
        );
        assert_eq!(
            standing(9),
            Standing::Behind {
                ahead: 2,
                predecessor: entry(7)
            }
        );
        assert_eq!(standing(8), Standing::NotQueued);
    }

    #[test]
    fn a_clean_release_costs_the_next_one_nothing_and_a_vanished_holder_its_delay() {
        let mut vanished = Vanished::default();
        assert_eq!(
            vanished.standing(own(7), &snapshot(&[7], &[7]), at(0)),
            Standing::Admitted
        );
        let left = snapshot(&[7], &[5, 7]);
        let delayed = Standing::Delayed {
            marker: marker(5),
            until: at(3),
        };
        assert_eq!(vanished.standing(own(7), &left, at(1)), delayed);
        assert!(vanished.removable(own(7), &left, at(2)).is_empty());
        // It counts from the first sight, however often it is looked at.
        assert_eq!(vanished.standing(own(7), &left, at(3)), delayed);
        assert_eq!(vanished.removable(own(7), &left, at(3)), [&marker(5)]);
    }

    #[test]
    fn a_vanished_waiter_never_held_the_lock_and_delays_nobody() {
        let mut vanished = Vanished::default();
        let queue = snapshot(&[5, 9], &[5, 7, 9]);
        assert_eq!(
            vanished.standing(own(9), &queue, at(0)),
            Standing::Behind {
                ahead: 1,
                predecessor: entry(5)
            }
        );
        assert_eq!(vanished.removable(own(9), &queue, at(0)), [&marker(7)]);
    }

    #[test]
    fn the_delay_runs_while_others_are_still_ahead() {
        let mut vanished = Vanished::default();
        let queue = snapshot(&[7, 9], &[5, 7, 9]);
        vanished.standing(own(9), &queue, at(1));
        let later = snapshot(&[9], &[5, 9]);
        assert_eq!(
            vanished.standing(own(9), &later, at(2)),
            Standing::Delayed {
                marker: marker(5),
                until: at(3)
            }
        );
    }

    #[test]
    fn a_marker_behind_us_is_not_our_business() {
        let queue = snapshot(&[5], &[5, 7]);
        let mut vanished = Vanished::default();
        assert_eq!(vanished.standing(own(5), &queue, at(0)), Standing::Admitted);
        assert!(vanished.removable(own(5), &queue, at(60)).is_empty());
    }

    #[test]
    fn an_idle_lock_is_busy_while_a_vanished_holders_delay_lasts() {
        let mut vanished = Vanished::default();
        assert_eq!(vanished.delay_of_idle(&snapshot(&[], &[]), at(0)), None);
        let left = snapshot(&[], &[5]);
        assert_eq!(
            vanished.delay_of_idle(&left, at(4)),
            Some((&marker(5), at(6)))
        );
    }
}
