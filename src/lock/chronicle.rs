//! What happened under a lock, told by the changes of its keys: for `history`, which looks back, and for `watch`.
//!
//! - The store keeps the changes since its last compaction, in the order of their revisions; it keeps no times. So the
//!   order is certain, and a time is known only where somebody wrote it down, by his own clock: when he queued, when
//!   his command began if he had to wait, and with `--record` how it ended.
//! - Who was admitted when follows from the same rule that admits (see `admission`).
//! - An entry that goes together with its marker was given back; one whose marker stays belongs to somebody who
//!   vanished: killed, cut off, or revoked. What is not leasehold's has no marker, and says nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::lock::admission::{Line, Marker, QueuedEntry, Snapshot};
use crate::lock::break_request::BreakRequest;
use crate::lock::entry::{Entry, Terms};
use crate::lock::last_run::LastRun;

/// How many of a queue are looked at first: hardly ever hold more a lock together.
const LOOKED_AT: usize = 16;

/// So many of those who are gone are not worth forgetting.
const KEPT_MAX: usize = 256;

/// Which key of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An entry: the last segment of its key.
    Entry(String),
    /// A run marker: the last segment of its key.
    Marker(String),
    /// The request that the one with this token give it up.
    BreakRequest(i64),
    /// The note for the one with this token that his place was taken away.
    Note(i64),
    /// How the last run ended.
    LastRun,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision that it made.
    pub revision: i64,
    /// Which key.
    pub place: Place,
    /// What was put; nothing where it was deleted, or went with its lease.
    pub put: Option<Put>,
}

/// What was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The key's create_revision.
    pub create_revision: i64,
    /// Whether it hangs on a lease.
    pub leased: bool,
    /// The value; foreign text.
    pub value: Vec<u8>,
}

/// One way through the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its token.
    pub token: i64,
    /// The last segment of its key.
    pub id: String,
    /// What it says of itself, where it is leasehold's.
    pub entry: Option<Entry>,
    /// The revision that admitted it; of one that held the lock when the account begins, that revision.
    pub admitted: Option<i64>,
    /// The revision that announced that its command runs, where it had to wait for that.
    pub announced: Option<i64>,
    /// The revision at which it was gone.
    pub gone: Option<i64>,
    /// How it went.
    pub way: Option<Way>,
    /// Who wanted it to give the lock up.
    pub asked: Option<BreakRequest>,
    /// How it ended, where that was recorded.
    pub record: Option<LastRun>,
    superseded_by: Option<String>,
    has_marker: bool,
}

impl Run {
    /// Whether whoever is admitted here holds the lock. Of several locks it is known only of those who said that their
    /// command runs.
    pub fn has_it_for_certain(&self) -> bool {
        let entry = self.entry.as_ref();
        let alone = entry.is_none_or(|entry| entry.locks.len() <= 1);
        let kept = entry.is_some_and(|entry| entry.held_until.is_some() || entry.held.is_some());
        alone || kept || self.announced.is_some() || self.record.is_some()
    }
}

/// How somebody goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// He gave it back.
    Released,
    /// His lease ended or was revoked, or somebody deleted his key.
    Vanished,
    /// A newer waiter took his place: who.
    Superseded(String),
    /// The time of `--hold-min` was over; the command had ended before.
    KeptLongEnough,
    /// It was not leasehold's: nobody knows.
    Removed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Somebody stands in the queue.
    Queued,
    /// Nobody is in his way here; but his run wants other locks too, and may wait for one of them.
    Reserved,
    /// He holds the lock: nobody is in his way.
    Held,
    /// His command runs, after he had to wait.
    Started,
    /// His command has ended, and the lock is kept until then.
    Kept(String),
    /// Somebody wants it from him.
    BreakAsked(String),
    /// He will have stopped within so many milliseconds.
    BreakAnswered(u64),
    /// How his run ended was recorded: the outcome and the status.
    Recorded(String, u8),
    /// He is gone.
    Gone(Way),
}

impl What {
    /// The stable name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Reserved => "reserved",
            Self::Held => "held",
            Self::Started => "started",
            Self::Kept(_) => "kept",
            Self::BreakAsked(_) => "break-asked",
            Self::BreakAnswered(_) => "break-answered",
            Self::Recorded(..) => "recorded",
            Self::Gone(way) => way.name(),
        }
    }
}

impl Way {
    /// The stable name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Vanished => "vanished",
            Self::Superseded(_) => "superseded",
            Self::KeptLongEnough => "kept-long-enough",
            Self::Removed => "removed",
        }
    }
}

/// Something that happened, and to whom: the index of his run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// [`Chronicle::runs`].
    pub run: usize,
    /// What.
    pub what: What,
}

/// The account of one lock.
#[derive(Clone, Debug, Default)]
pub struct Chronicle {
    runs: Vec<Run>,
    /// The runs that are in the queue, by place and id.
    entries: BTreeMap<(i64, String), usize>,
    leased: HashMap<String, bool>,
    places: HashMap<String, i64>,
    markers: HashMap<String, Marker>,
    orphans: BTreeSet<(i64, String)>,
}

impl Chronicle {
    /// Everybody that it tells of, in the order of their places.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Takes in what one revision changed, or everything that was there at the first one.
    pub fn take_in(&mut self, revision: i64, changes: &[Change]) -> Vec<Happening> {
        let mut happened = Vec::new();
        let mut gone = Vec::new();
        for change in changes {
            match (&change.place, &change.put) {
                (Place::Entry(id), Some(put)) => self.put_entry(id, put, change, &mut happened),
                (Place::Entry(id), None) => gone.extend(self.delete_entry(id)),
                (Place::Marker(id), put) => self.set_marker(id, put.as_ref()),
                (Place::BreakRequest(token), Some(put)) => {
                    self.put_request(*token, &put.value, &mut happened);
                }
                (Place::Note(token), Some(put)) => {
                    let by = Entry::parse(&put.value).map(|entry| entry.who());
                    if let Some(run) = self.with_token(*token) {
                        self.runs[run].superseded_by = Some(by.unwrap_or_default());
                    }
                }
                (Place::LastRun, Some(put)) => self.put_record(&put.value, &mut happened),
                _ => {}
            }
        }
        for run in gone {
            let way = self.way(run);
            self.runs[run].gone = Some(revision);
            self.runs[run].way = Some(way.clone());
            let what = What::Gone(way);
            happened.push(Happening { run, what });
        }
        for run in self.admitted() {
            if self.runs[run].admitted.is_none() {
                self.runs[run].admitted = Some(revision);
                let what = match self.runs[run].has_it_for_certain() {
                    true => What::Held,
                    false => What::Reserved,
                };
                happened.push(Happening { run, what });
            }
        }
        happened
    }

    /// Whether nobody is in the queue, and nobody who vanished counts.
    pub fn is_over(&self) -> bool {
        self.entries.is_empty() && self.markers.is_empty()
    }

    /// Forgets those who are gone, once they are many: for whoever has told of them.
    pub fn forget_most(&mut self) {
        if self.runs.len() < KEPT_MAX || self.runs.len() < self.entries.len() * 2 {
            return;
        }
        let mut kept = Vec::with_capacity(self.entries.len());
        for run in self.entries.values_mut() {
            kept.push(self.runs[*run].clone());
            *run = kept.len() - 1;
        }
        self.runs = kept;
    }

    fn put_entry(&mut self, id: &str, put: &Put, change: &Change, happened: &mut Vec<Happening>) {
        let key = (put.create_revision, id.to_owned());
        let entry = Entry::parse(&put.value);
        self.leased.insert(id.to_owned(), put.leased);
        let Some(run) = self.entries.get(&key).copied() else {
            let run = self.runs.len();
            self.runs.push(Run {
                token: put.create_revision,
                id: id.to_owned(),
                entry,
                admitted: None,
                announced: None,
                gone: None,
                way: None,
                asked: None,
                record: None,
                superseded_by: None,
                has_marker: self.markers.contains_key(id),
            });
            self.entries.insert(key, run);
            self.places.insert(id.to_owned(), put.create_revision);
            self.orphans.remove(&(put.create_revision, id.to_owned()));
            let what = What::Queued;
            return happened.push(Happening { run, what });
        };
        let before = self.runs[run].entry.take();
        let until = |entry: &Option<Entry>| entry.as_ref().and_then(|it| it.held_until.clone());
        let is_held = |entry: &Option<Entry>| entry.as_ref().is_some_and(|it| it.held.is_some());
        if let Some(kept) = until(&entry).filter(|_| until(&before).is_none()) {
            let what = What::Kept(kept);
            happened.push(Happening { run, what });
        } else if is_held(&entry) && !is_held(&before) {
            self.runs[run].announced = Some(change.revision);
            let is_late = entry.as_ref().is_some_and(|it| it.locks.len() > 1);
            for what in is_late
                .then_some(What::Held)
                .into_iter()
                .chain([What::Started])
            {
                happened.push(Happening { run, what });
            }
        }
        // One that is overwritten with something else is still his place.
        self.runs[run].entry = entry.or(before);
    }

    fn delete_entry(&mut self, id: &str) -> Option<usize> {
        let place = self.places.remove(id)?;
        self.leased.remove(id);
        if self.markers.contains_key(id) {
            self.orphans.insert((place, id.to_owned()));
        }
        self.entries.remove(&(place, id.to_owned()))
    }

    fn set_marker(&mut self, id: &str, put: Option<&Put>) {
        let present = self.places.get(id).copied();
        match put {
            Some(put) => {
                let terms = Terms::parse(&put.value);
                let marker = Marker {
                    create_revision: put.create_revision,
                    id: id.to_owned(),
                    limit: terms.limit,
                    lock_delay: terms.lock_delay,
                    replaceable: terms.replaceable,
                };
                self.markers.insert(id.to_owned(), marker);
                match present.and_then(|place| self.entries.get(&(place, id.to_owned()))) {
                    Some(run) => self.runs[*run].has_marker = true,
                    None => {
                        self.orphans.insert((put.create_revision, id.to_owned()));
                    }
                }
            }
            None => {
                if let Some(marker) = self.markers.remove(id) {
                    self.orphans.remove(&(marker.create_revision, marker.id));
                }
            }
        }
    }

    fn put_request(&mut self, token: i64, value: &[u8], happened: &mut Vec<Happening>) {
        let Some(run) = self.with_token(token) else {
            return;
        };
        let request = BreakRequest::parse(value);
        let what = match request.stops_within_ms {
            Some(within) => What::BreakAnswered(within),
            None => What::BreakAsked(request.who()),
        };
        self.runs[run].asked = Some(request);
        happened.push(Happening { run, what });
    }

    fn put_record(&mut self, value: &[u8], happened: &mut Vec<Happening>) {
        let Some(record) = LastRun::parse(value) else {
            return;
        };
        if let Some(run) = self.with_token(record.token) {
            let what = What::Recorded(record.outcome.clone(), record.status);
            self.runs[run].record = Some(record);
            happened.push(Happening { run, what });
        }
    }

    /// The last one with this token: in one transaction only foreign programs put several.
    fn with_token(&self, token: i64) -> Option<usize> {
        self.runs.iter().rposition(|run| run.token == token)
    }

    fn way(&self, run: usize) -> Way {
        let run = &self.runs[run];
        let is_kept = run.entry.as_ref().is_some_and(|it| it.held_until.is_some());
        let marker = self.markers.get(&run.id);
        let stays = marker.is_some_and(|marker| marker.create_revision == run.token);
        match (&run.superseded_by, run.has_marker, stays) {
            (Some(by), ..) => Way::Superseded(by.clone()),
            (None, false, _) => Way::Removed,
            (None, true, true) => Way::Vanished,
            (None, true, false) if is_kept => Way::KeptLongEnough,
            (None, true, false) => Way::Released,
        }
    }

    /// Those whom nobody is in the way of. Only those ahead matter to anybody, so it is enough to look at the first.
    fn admitted(&self) -> Vec<usize> {
        let mut count = LOOKED_AT;
        loop {
            let first: Vec<(&(i64, String), &usize)> = self.entries.iter().take(count).collect();
            let snapshot = self.snapshot(&first);
            let line = Line::of(&snapshot);
            let admitted: Vec<usize> = line
                .entries()
                .filter(|(_, holds)| *holds)
                .filter_map(|(entry, _)| {
                    self.entries
                        .get(&(entry.create_revision, entry.id.clone()))
                        .copied()
                })
                .collect();
            if admitted.len() < first.len() || first.len() == self.entries.len() {
                return admitted;
            }
            count *= 4;
        }
    }

    fn snapshot(&self, first: &[(&(i64, String), &usize)]) -> Snapshot {
        let entries = first.iter().map(|((place, id), _)| QueuedEntry {
            create_revision: *place,
            id: id.clone(),
            leased: self.leased.get(id).copied().unwrap_or(false),
        });
        let last = first.last().map_or(i64::MAX, |((place, _), _)| *place);
        let ahead = self.orphans.iter().take_while(|(place, _)| *place <= last);
        let ids = first.iter().map(|((_, id), _)| id);
        // One whose name somebody else uses now is among both.
        let markers: BTreeSet<&String> = ids.chain(ahead.map(|(_, id)| id)).collect();
        Snapshot {
            revision: 0,
            entries: entries.collect(),
            markers: markers
                .into_iter()
                .filter_map(|id| self.markers.get(id).cloned())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
