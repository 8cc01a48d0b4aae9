//! Who may run: the one place that decides it, from one consistent reading of the queue.
//!
//! - The queue is ordered by create_revision. Every entry has a limit: exclusive 1, slots N, shared none. An
//!   entry is **admitted when the number of entries ahead of it is smaller than the smallest limit among
//!   itself and all ahead of it**. So it is fair, and who is admitted once stays admitted: what is ahead only
//!   becomes less. The admitted entries are always the oldest ones.
//! - With every entry of ours a *marker* without lease is put in the same transaction, and removed with it by
//!   a clean release. The limit is read from it, since other people's entries are read without their values.
//!   An entry without the marker that it was put with is not ours, or not understood: it is exclusive.
//! - A marker without its entry means that somebody vanished. Its entry is the one that it was put with: another one
//!   under the same name was put by somebody after it was gone, and changes nothing about that. If it may have held the lock, it still counts
//!   like an entry until its lock delay is over, counted from each successor's own first sight of it, and the
//!   marker has been removed (Chubby's lock-delay; product.md, section 5). Whether it may have held the lock
//!   is the same rule again: what is ahead of it now was ahead of it then.
//! - Only what is ahead of us matters: what is behind us can only have held the lock after us.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::clock::Instant;
use crate::lock::limit::Limit;
use crate::lock::name::LockName;
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
    /// How many may hold the lock together with its owner.
    pub limit: Limit,
    /// How long its owner wants successors to wait if it vanishes.
    pub lock_delay: Duration,
    /// Where a newer contender takes its place away: the other locks that it waits for too.
    pub replaceable: Option<Vec<LockName>>,
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

/// Who counts in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimant<'snapshot> {
    /// Somebody who stands in it.
    Present(&'snapshot QueuedEntry),
    /// Somebody who vanished and may have held the lock.
    Vanished(&'snapshot Marker),
}

/// One that counts in a queue.
#[derive(Clone, Copy, Debug)]
struct Claim<'snapshot> {
    who: Claimant<'snapshot>,
    create_revision: i64,
    /// Its own limit.
    limit: Limit,
    /// The smallest limit among itself and all ahead of it.
    smallest: Limit,
}

/// A queue in its order: who counts in it.
#[derive(Clone, Debug, Default)]
pub struct Line<'snapshot> {
    /// The oldest first.
    claims: Vec<Claim<'snapshot>>,
    /// The markers of those who vanished before they can have held the lock.
    idle: Vec<&'snapshot Marker>,
}

impl<'snapshot> Line<'snapshot> {
    /// Puts a reading in order.
    pub fn of(snapshot: &'snapshot Snapshot) -> Self {
        let with_id = |marker: &'snapshot Marker| (marker.id.as_str(), marker);
        let markers: HashMap<&str, &Marker> = snapshot.markers.iter().map(with_id).collect();
        let places = snapshot.entries.iter();
        let places = places.map(|entry| (entry.id.as_str(), entry.create_revision));
        let present: HashSet<(&str, i64)> = places.collect();
        let entries = snapshot.entries.iter().map(|entry| {
            let marker = markers.get(entry.id.as_str());
            let own = marker.filter(|marker| marker.create_revision == entry.create_revision);
            let limit = own.map_or(Limit::EXCLUSIVE, |marker| marker.limit);
            (entry.create_revision, limit, Claimant::Present(entry))
        });
        let is_orphan = |marker: &&Marker| {
            let place = (marker.id.as_str(), marker.create_revision);
            !present.contains(&place)
        };
        let orphans = snapshot.markers.iter().filter(is_orphan);
        let orphans = orphans.map(|marker| {
            let who = Claimant::Vanished(marker);
            (marker.create_revision, marker.limit, who)
        });
        let mut all: Vec<(i64, Limit, Claimant<'_>)> = entries.chain(orphans).collect();
        all.sort_by_key(|(create_revision, ..)| *create_revision);
        let mut line = Self::default();
        for (create_revision, limit, who) in all {
            let smallest = limit.min(line.smallest());
            match who {
                Claimant::Vanished(marker) if !smallest.admits(line.claims.len()) => {
                    line.idle.push(marker);
                }
                who => line.claims.push(Claim {
                    who,
                    create_revision,
                    limit,
                    smallest,
                }),
            }
        }
        line
    }

    fn smallest(&self) -> Limit {
        self.claims
            .last()
            .map_or(Limit::Unlimited, |claim| claim.smallest)
    }

    fn admitted(&self) -> impl Iterator<Item = &Claim<'snapshot>> {
        let is_admitted = |(ahead, claim): &(usize, &Claim<'_>)| claim.smallest.admits(*ahead);
        let claims = self.claims.iter().enumerate();
        claims.take_while(is_admitted).map(|(_, claim)| claim)
    }

    /// Who is present, the oldest first, and whether it holds the lock.
    pub fn entries(&self) -> impl Iterator<Item = (&'snapshot QueuedEntry, bool)> {
        let claims = self.claims.iter().enumerate();
        claims.filter_map(|(ahead, claim)| match claim.who {
            Claimant::Present(entry) => Some((entry, claim.smallest.admits(ahead))),
            Claimant::Vanished(_) => None,
        })
    }

    /// How many of those who are present hold the lock: so many of the oldest.
    pub fn holders(&self) -> usize {
        self.entries().filter(|(_, holds)| *holds).count()
    }

    /// How many may hold the lock at once while these hold it: the smallest limit among them.
    pub fn limit(&self) -> Option<Limit> {
        self.admitted().last().map(|claim| claim.smallest)
    }

    /// Those who vanished and count all the same.
    pub fn vanished(&self) -> impl Iterator<Item = &'snapshot Marker> {
        self.claims.iter().filter_map(|claim| match claim.who {
            Claimant::Vanished(marker) => Some(marker),
            Claimant::Present(_) => None,
        })
    }

    /// Those who wait ahead of `own`, each with those who keep it waiting.
    pub fn waiting_ahead_of(
        &self,
        own: Token,
    ) -> impl Iterator<Item = (&'snapshot QueuedEntry, Vec<Claimant<'snapshot>>)> {
        let ahead = self.claims.iter().enumerate();
        let ahead = ahead.take_while(move |(_, claim)| claim.create_revision < own.get());
        ahead.filter_map(|(index, claim)| match claim.who {
            Claimant::Present(entry) if !claim.smallest.admits(index) => {
                Some((entry, in_the_way(&self.claims[..index], claim.limit)))
            }
            Claimant::Present(_) | Claimant::Vanished(_) => None,
        })
    }

    /// Who keeps the entry with create_revision `own` waiting: as long as all of these are there it is not
    /// admitted, whoever else goes. Nobody if it is admitted; nothing if it is not there.
    fn in_the_way_of(&self, own: i64) -> Option<Vec<Claimant<'snapshot>>> {
        let index = self
            .claims
            .iter()
            .position(|claim| claim.create_revision == own)?;
        let Claim { who, limit, .. } = self.claims[index];
        let found = matches!(who, Claimant::Present(_));
        found.then(|| in_the_way(&self.claims[..index], limit))
    }
}

/// Who keeps somebody with this limit waiting behind these: as few as decide it, and the last ones that do, so
/// that whoever goes wakes as few as possible.
fn in_the_way<'snapshot>(ahead: &[Claim<'snapshot>], own: Limit) -> Vec<Claimant<'snapshot>> {
    let strictest_ahead = ahead
        .last()
        .map_or(Limit::Unlimited, |claim| claim.smallest);
    let smallest = own.min(strictest_ahead);
    let Limit::Holders(holders) = smallest else {
        return Vec::new();
    };
    if smallest.admits(ahead.len()) {
        return Vec::new();
    }
    // So many ahead, and the limit that they are too many for: our own, or that of the last who is as strict.
    let mut kept: Vec<usize> = (0..ahead.len())
        .rev()
        .take(holders.get() as usize)
        .collect();
    if own > smallest
        && let Some(strictest) = ahead.iter().rposition(|claim| claim.limit == smallest)
        && !kept.contains(&strictest)
    {
        kept.pop();
        kept.push(strictest);
    }
    kept.into_iter().map(|index| ahead[index].who).collect()
}

/// Where a contender stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its entry is not in the queue (any more).
    NotQueued,
    /// It has to wait for some of these; before one of them goes nothing changes.
    Behind(Vec<Obstacle>),
    /// It may run.
    Admitted,
}

/// One that keeps a contender waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody in the queue.
    Entry(QueuedEntry),
    /// A holder that vanished.
    Vanished {
        /// What it left.
        marker: Marker,
        /// When the marker may be removed.
        until: Instant,
    },
}

impl Obstacle {
    /// When it need not be waited for any more, if that is known.
    pub const fn until(&self) -> Option<Instant> {
        match self {
            Self::Entry(_) => None,
            Self::Vanished { until, .. } => Some(*until),
        }
    }
}

/// When each vanished contender's marker was first seen; it belongs to one contender.
#[derive(Clone, Debug, Default)]
pub struct Vanished {
    first_seen: BTreeMap<(String, i64), Instant>,
}

impl Vanished {
    /// Where the entry with create_revision `own` stands in `snapshot`, seen at `now`.
    pub fn standing(&mut self, own: Token, snapshot: &Snapshot, now: Instant) -> Standing {
        let line = Line::of(snapshot);
        self.look(&line, now);
        match line.in_the_way_of(own.get()) {
            None => Standing::NotQueued,
            Some(claimants) => self.standing_behind(&claimants, now),
        }
    }

    /// Where one with this limit would stand who is not in the queue yet.
    pub fn standing_of_newcomer(
        &mut self,
        limit: Limit,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Standing {
        let line = Line::of(snapshot);
        self.look(&line, now);
        self.standing_behind(&in_the_way(&line.claims, limit), now)
    }

    /// The markers ahead of `own` (of everybody, for one who is not in the queue) that nobody has to wait for any
    /// more: their owners vanished and were never admitted, or their delay is over. They can be removed.
    pub fn removable<'snapshot>(
        &mut self,
        own: Option<Token>,
        snapshot: &'snapshot Snapshot,
        now: Instant,
    ) -> Vec<&'snapshot Marker> {
        let line = Line::of(snapshot);
        self.look(&line, now);
        // A delay that is over still stands in the way until its marker is removed: only then is the removal,
        // which can fail, known to have been ours or somebody else's.
        let over = line
            .vanished()
            .filter(|marker| self.until(marker, now) <= now);
        let own = own.map_or(i64::MAX, Token::get);
        let is_ahead = |marker: &&Marker| marker.create_revision < own;
        line.idle
            .iter()
            .copied()
            .chain(over)
            .filter(is_ahead)
            .collect()
    }

    /// Notes who was seen now, and forgets who is gone.
    fn look(&mut self, line: &Line<'_>, now: Instant) {
        let seen = line.vanished().map(|marker| {
            let key = (marker.id.clone(), marker.create_revision);
            let first_seen = self.first_seen.get(&key).copied();
            (key, first_seen.unwrap_or(now))
        });
        self.first_seen = seen.collect();
    }

    fn until(&self, marker: &Marker, now: Instant) -> Instant {
        let key = (marker.id.clone(), marker.create_revision);
        self.first_seen.get(&key).copied().unwrap_or(now) + marker.lock_delay
    }

    fn standing_behind(&self, claimants: &[Claimant<'_>], now: Instant) -> Standing {
        if claimants.is_empty() {
            return Standing::Admitted;
        }
        let obstacles = claimants.iter().map(|claimant| match claimant {
            Claimant::Present(entry) => Obstacle::Entry((*entry).clone()),
            Claimant::Vanished(marker) => Obstacle::Vanished {
                marker: (*marker).clone(),
                until: self.until(marker, now),
            },
        });
        Standing::Behind(obstacles.collect())
    }
}

#[cfg(test)]
mod tests;
