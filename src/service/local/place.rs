//! One run's place in the queues of its locks: how it is taken, what keeps it waiting, how it is given back. Each
//! function is a part of one transaction, so whatever it reads is so until it is done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::queue::Reading;
use super::store::{KeyValue, Result, Transaction};
use crate::clock::{self, Instant};
use crate::lock::admission::{Line, Marker, Obstacle, Standing, Vanished};
use crate::lock::break_request::BreakRequest;
use crate::lock::entry::Entry;
use crate::lock::latest;
use crate::lock::name::LockName;
use crate::lock::once::OnceRecord;
use crate::lock::token::{ClusterId, LeaseId, Token};
use crate::outcome::Loss;
use crate::service::{Memory, Wanted};
use crate::supervisor::Queue;

/// How long a note for one whose place was taken can be read.
const NOTE_TIME: Duration = Duration::from_secs(3600);

/// A run and its place.
#[derive(Clone, Debug)]
pub struct Place {
    /// What the run wants.
    pub wanted: Arc<Wanted>,
    /// The run's lease.
    pub lease: LeaseId,
    /// The token; nothing before it has a place.
    pub token: Option<Token>,
    /// Whose token it is.
    cluster: Option<ClusterId>,
    /// When the markers of those who vanished were seen first, for each lock.
    sightings: Vec<Vanished>,
    /// Which request to give the lock up it was told: its key and its revision.
    pub heard: Option<(String, i64)>,
}

/// What came of asking for a place.
#[derive(Debug)]
pub enum Enqueued {
    /// It has one.
    Placed(Token, ClusterId),
    /// It must not wait and would have to.
    Occupied(Queue, ClusterId),
    /// A newer waiter took an earlier place of it away: who.
    Superseded(Option<String>),
}

/// How it stands with a place.
#[derive(Debug)]
pub struct Look {
    /// What it is.
    pub state: State,
    /// Somebody wants it to be given up, and was not heard yet.
    pub asked: Option<Asked>,
}

impl Look {
    /// That it is gone, and nothing else can be seen.
    pub const fn lost(loss: Loss) -> Self {
        Self {
            state: State::Lost(loss),
            asked: None,
        }
    }
}

/// What a holder has to know.
#[derive(Debug)]
pub struct Glance {
    /// How its place was lost, if it was.
    pub loss: Option<Loss>,
    /// Somebody wants it to be given up, and was not heard yet.
    pub asked: Option<Asked>,
}

impl Glance {
    /// That it is gone, and nothing else can be seen.
    pub const fn lost(loss: Loss) -> Self {
        Self {
            loss: Some(loss),
            asked: None,
        }
    }
}

/// What a place is.
#[derive(Debug)]
pub enum State {
    /// It is gone.
    Lost(Loss),
    /// It was taken away by a newer waiter: who.
    Superseded(Option<String>),
    /// Somebody is in the way.
    Waiting(Queue, Waits),
    /// Since now nobody is in the way.
    Admitted {
        /// The revision of the reading.
        read_revision: i64,
        /// Who did already what is to be done once.
        done_by: Option<String>,
    },
}

/// What is waited for.
#[derive(Debug, Default)]
pub struct Waits {
    /// The ends of these leases.
    pub leases: Vec<LeaseId>,
    /// This moment.
    pub until: Option<Instant>,
}

/// That somebody wants the lock.
#[derive(Clone, Debug)]
pub struct Asked {
    key: String,
    revision: i64,
    request: BreakRequest,
}

impl Asked {
    /// Who it is, in a few words.
    pub fn who(&self) -> String {
        self.request.who()
    }

    /// Which one it is, among all that are ever made.
    pub fn which(&self) -> (String, i64) {
        (self.key.clone(), self.revision)
    }
}

impl Place {
    /// None yet.
    pub fn new(wanted: Arc<Wanted>, lease: LeaseId) -> Self {
        let sightings = wanted.names().map(|_| Vanished::default()).collect();
        Self {
            wanted,
            lease,
            token: None,
            cluster: None,
            sightings,
            heard: None,
        }
    }

    /// The key of the lock that the run is named after.
    pub fn key(&self) -> String {
        self.wanted.prefix.entry(&self.wanted.name, self.lease)
    }

    fn entry(&self, name: &LockName) -> String {
        self.wanted.prefix.entry(name, self.lease)
    }

    fn marker(&self, name: &LockName) -> String {
        self.wanted.prefix.marker(name, self.lease)
    }

    /// Which lock it is, where there are several.
    fn lock_of(&self, name: &LockName) -> Option<LockName> {
        (!self.wanted.also.is_empty()).then(|| name.clone())
    }

    /// That this is the folder and the store that it was in before.
    pub fn require_home(&self, txn: &Transaction<'_>) -> Result<()> {
        txn.require_home(self.lease, self.cluster)
    }

    /// Takes a place in every queue, giving up an earlier one.
    pub fn enqueue(&mut self, txn: &mut Transaction<'_>) -> Result<Enqueued> {
        if let Some(by) = self.superseded_by(txn)? {
            return Ok(Enqueued::Superseded(by));
        }
        self.withdraw(txn)?;
        if self.wanted.nonblock {
            for name in self.wanted.clone().names() {
                let mut sightings = Vanished::default();
                let reading = self.without_removable(txn, name, &mut sightings, None)?;
                let now = clock::now();
                let limit = self.wanted.entry.limit;
                let standing = sightings.standing_of_newcomer(limit, &reading.snapshot, now);
                if let Standing::Behind(obstacles) = standing {
                    self.retire(txn, name, &obstacles)?;
                    let queue = reading.queue(None, self.lock_of(name));
                    return Ok(Enqueued::Occupied(queue, txn.cluster()));
                }
            }
        }
        let value = self.wanted.entry.to_json();
        txn.set_ttl(self.lease, self.wanted.ttl)?;
        for name in self.wanted.clone().names() {
            txn.put(&self.entry(name), &value, Some(self.lease))?;
            txn.put(&self.marker(name), &value, None)?;
        }
        let token = Token::new(txn.revision()).expect("revisions begin with 1");
        self.token = Some(token);
        self.cluster = Some(txn.cluster());
        self.heard = None;
        Ok(Enqueued::Placed(token, txn.cluster()))
    }

    /// How it stands with it; and from now on this run is woken when that may have changed.
    pub fn look(&mut self, txn: &mut Transaction<'_>) -> Result<Look> {
        let mut keys = Vec::new();
        let asked = self.asked(txn)?;
        keys.extend(self.requests());
        let state = self.state(txn, &mut keys)?;
        txn.ring_for(self.lease, keys.into_iter().collect())?;
        Ok(Look { state, asked })
    }

    /// What a holder has to know.
    pub fn glance(&self, txn: &Transaction<'_>) -> Result<Glance> {
        Ok(Glance {
            loss: self.loss(txn)?,
            asked: self.asked(txn)?,
        })
    }

    fn state(&mut self, txn: &mut Transaction<'_>, keys: &mut Vec<String>) -> Result<State> {
        let Some(token) = self.token else {
            return Ok(State::Lost(Loss::KeyDeleted));
        };
        if let Some(loss) = self.loss(txn)? {
            return Ok(match self.superseded_by(txn)? {
                Some(by) => State::Superseded(by),
                None => State::Lost(loss),
            });
        }
        let wanted = Arc::clone(&self.wanted);
        keys.extend(wanted.names().map(|name| self.entry(name)));
        self.supersede(txn, token)?;
        for (index, name) in wanted.names().enumerate() {
            let mut sightings = std::mem::take(&mut self.sightings[index]);
            let reading = self.without_removable(txn, name, &mut sightings, Some(token))?;
            let standing = sightings.standing(token, &reading.snapshot, clock::now());
            self.sightings[index] = sightings;
            match standing {
                Standing::Admitted => {}
                Standing::NotQueued => return Ok(State::Lost(Loss::KeyDeleted)),
                // One that keeps us waiting is enough to watch.
                Standing::Behind(obstacles) => {
                    self.retire(txn, name, &obstacles)?;
                    let waits = self.waits(txn, name, &reading, &obstacles, keys)?;
                    let queue = reading.queue(Some(token), self.lock_of(name));
                    return Ok(State::Waiting(queue, waits));
                }
            }
        }
        txn.set_admitted(self.lease)?;
        Ok(State::Admitted {
            read_revision: txn.revision(),
            done_by: self.done_by(txn)?,
        })
    }

    /// How the place was lost, if it was.
    pub fn loss(&self, txn: &Transaction<'_>) -> Result<Option<Loss>> {
        let Some(token) = self.token else {
            return Ok(Some(Loss::KeyDeleted));
        };
        if self.cluster != Some(txn.cluster()) {
            return Ok(Some(Loss::StoreGone));
        }
        for name in self.wanted.names() {
            let loss = match txn.get(&self.entry(name))? {
                Some(kv) if kv.create_revision == token.get() && kv.lease == self.lease.get() => {
                    continue;
                }
                Some(_) => Loss::KeyOverwritten,
                // What was known of the lease went with it.
                None if txn.ttl(self.lease.get())?.is_none() => Loss::LeaseGone,
                None => Loss::KeyDeleted,
            };
            return Ok(Some(loss));
        }
        Ok(None)
    }

    /// One reading without the markers that nobody has to wait for any more, which are removed.
    fn without_removable(
        &self,
        txn: &mut Transaction<'_>,
        name: &LockName,
        sightings: &mut Vanished,
        own: Option<Token>,
    ) -> Result<Reading> {
        let prefix = &self.wanted.prefix;
        loop {
            let reading = Reading::of(txn, prefix, name)?;
            let removable = sightings.removable(own, &reading.snapshot, clock::now());
            if removable.is_empty() {
                return Ok(reading);
            }
            for Marker { id, .. } in removable {
                txn.delete(&format!("{}{id}", prefix.markers(name)))?;
            }
        }
    }

    /// Lets the markers that are in the way go when their time is over, also if nobody waits so long.
    fn retire(
        &self,
        txn: &mut Transaction<'_>,
        name: &LockName,
        obstacles: &[Obstacle],
    ) -> Result<()> {
        for obstacle in obstacles {
            let Obstacle::Vanished { marker, .. } = obstacle else {
                continue;
            };
            let key = format!("{}{}", self.wanted.prefix.markers(name), marker.id);
            if let Some(kv) = txn.get(&key)?
                && kv.lease == 0
            {
                let lease = txn.lease_for(marker.lock_delay)?;
                txn.put(&key, &kv.value, Some(lease))?;
            }
        }
        Ok(())
    }

    fn waits(
        &self,
        txn: &Transaction<'_>,
        name: &LockName,
        reading: &Reading,
        obstacles: &[Obstacle],
        keys: &mut Vec<String>,
    ) -> Result<Waits> {
        let prefix = &self.wanted.prefix;
        let mut waits = Waits::default();
        for obstacle in obstacles {
            let ends_at = match obstacle {
                Obstacle::Vanished { marker, until } => {
                    keys.push(format!("{}{}", prefix.markers(name), marker.id));
                    Some(*until)
                }
                Obstacle::Entry(entry) => {
                    let key = format!("{}{}", prefix.entries(name), entry.id);
                    let lease = reading.entry(&key).map_or(0, |kv| kv.lease);
                    keys.push(key);
                    let ends_at = txn.ends_at(lease)?;
                    if ends_at.is_none() {
                        waits.leases.extend(LeaseId::new(lease));
                    }
                    ends_at
                }
            };
            waits.until = waits.until.into_iter().chain(ends_at).min();
        }
        if waits.leases.len() > 1
            && let Some(before) = self.waiting_before(name, reading)
            && txn.ends_at(before.lease)?.is_none()
        {
            keys.push(before.key.clone());
            waits.leases = LeaseId::new(before.lease).into_iter().collect();
        }
        Ok(waits)
    }

    /// The last of those who wait ahead of us: it takes away what has ended, and that wakes us, so of several ends its own is
    /// the only one that we have to wait for. Not where it waits for other locks too, and may not look at this one.
    fn waiting_before<'reading>(
        &self,
        name: &LockName,
        reading: &'reading Reading,
    ) -> Option<&'reading KeyValue> {
        let line = Line::of(&reading.snapshot);
        let (entry, _) = line.waiting_ahead_of(self.token?).last()?;
        let key = format!("{}{}", self.wanted.prefix.entries(name), entry.id);
        let found = reading.entry(&key)?;
        let waits_here = Entry::parse(&found.value)?.locks.is_empty();
        waits_here.then_some(found)
    }

    /// Takes the places of older waiters away that said the same of themselves: `--queue latest`.
    fn supersede(&self, txn: &mut Transaction<'_>, own: Token) -> Result<()> {
        if self.wanted.entry.queue.is_fifo() {
            return Ok(());
        }
        let wanted = Arc::clone(&self.wanted);
        let ours: Vec<&LockName> = wanted.names().collect();
        let mut notes = None;
        for name in wanted.names() {
            let reading = Reading::of(txn, &wanted.prefix, name)?;
            for older in latest::replaced_by(own, &ours, name, &reading.snapshot) {
                for name in &older.locks {
                    txn.delete(&wanted.prefix.entry(name, older.lease))?;
                    txn.delete(&wanted.prefix.marker(name, older.lease))?;
                }
                let on = match notes {
                    Some(lease) => lease,
                    None => *notes.insert(txn.lease_for(NOTE_TIME)?),
                };
                let note = wanted.prefix.superseded(&older.locks[0], older.token);
                txn.put(&note, &wanted.entry.to_json(), Some(on))?;
            }
        }
        Ok(())
    }

    /// Who took the place away, if a newer waiter did.
    fn superseded_by(&self, txn: &Transaction<'_>) -> Result<Option<Option<String>>> {
        let Wanted {
            prefix,
            name,
            entry,
            ..
        } = &*self.wanted;
        let Some(token) = self.token.filter(|_| !entry.queue.is_fifo()) else {
            return Ok(None);
        };
        let note = txn.get(&prefix.superseded(name, token))?;
        Ok(note.map(|note| Entry::parse(&note.value).map(|entry| entry.who())))
    }

    fn done_by(&self, txn: &Transaction<'_>) -> Result<Option<String>> {
        let Wanted {
            prefix, name, once, ..
        } = &*self.wanted;
        let Some(once) = once else {
            return Ok(None);
        };
        let record = txn.get(&prefix.once_record(name, once))?;
        Ok(record.map(|record| OnceRecord::by(&record.value)))
    }

    /// The request to give it up that stands there and was not heard yet.
    pub fn asked(&self, txn: &Transaction<'_>) -> Result<Option<Asked>> {
        let mut asked = None;
        for key in self.requests() {
            if let Some(kv) = txn.get(&key)? {
                let found = Asked {
                    key,
                    revision: kv.mod_revision,
                    request: BreakRequest::parse(&kv.value),
                };
                let is_new = self.heard.as_ref() != Some(&found.which());
                if found.request.stops_within_ms.is_none() && is_new {
                    asked = Some(found);
                }
            }
        }
        Ok(asked)
    }

    /// Where somebody asks for it.
    fn requests(&self) -> impl Iterator<Item = String> {
        let of = |token: Token| {
            let prefix = &self.wanted.prefix;
            let names = self.wanted.names();
            names.map(move |name| prefix.break_request(name, token.get()))
        };
        self.token.into_iter().flat_map(of)
    }

    /// Says in every entry that the command runs.
    pub fn announce(&self, txn: &mut Transaction<'_>, held: String) -> Result<()> {
        if self.loss(txn)?.is_some() {
            return Ok(());
        }
        let entry = Entry {
            held: Some(held),
            ..self.wanted.entry.clone()
        };
        for name in self.wanted.names() {
            txn.put(&self.entry(name), &entry.to_json(), Some(self.lease))?;
        }
        Ok(())
    }

    /// Takes everything of it out of the store. What was deleted and put anew by somebody is theirs.
    pub fn withdraw(&self, txn: &mut Transaction<'_>) -> Result<()> {
        for name in self.wanted.names() {
            let entry = self.entry(name);
            let is_ours = txn
                .get(&entry)?
                .is_some_and(|kv| kv.lease == self.lease.get());
            if is_ours {
                txn.delete(&entry)?;
            }
            txn.delete(&self.marker(name))?;
        }
        txn.ring_for(self.lease, BTreeSet::new())
    }

    /// Lets the place live for so long without us; whether it was still ours.
    pub fn keep(&self, txn: &mut Transaction<'_>, entry: &Entry, rest: Duration) -> Result<bool> {
        if self.loss(txn)?.is_some() {
            return Ok(false);
        }
        let lease = txn.lease_for(rest)?;
        let value = entry.to_json();
        for name in self.wanted.names() {
            txn.put(&self.entry(name), &value, Some(lease))?;
            let marker = self.marker(name);
            if let Some(kv) = txn.get(&marker)? {
                txn.put(&marker, &kv.value, Some(lease))?;
            }
        }
        txn.ring_for(self.lease, BTreeSet::new())?;
        Ok(true)
    }

    /// Writes down what is to be remembered of the run; whether it may.
    pub fn remember(&self, txn: &mut Transaction<'_>, memory: &Memory) -> Result<bool> {
        let loss = self.loss(txn)?;
        let is_ours = loss.is_none();
        if loss == Some(Loss::StoreGone) {
            // Another store's tokens are not ours.
            return Ok(false);
        }
        if let Some(done) = &memory.done {
            if !is_ours {
                return Ok(false);
            }
            let lease = txn.lease_for(done.keep)?;
            txn.put(&done.key, &done.value, Some(lease))?;
        }
        // A run that lost its lock is still worth a note, unless somebody after us is the last one.
        let token = self.token.map_or(0, Token::get);
        for (key, _) in &memory.last_runs {
            let is_newer = txn.get(key)?.is_some_and(|kv| kv.mod_revision >= token);
            if !is_ours && (!memory.lost || is_newer) {
                return Ok(false);
            }
        }
        for (key, value) in &memory.last_runs {
            txn.put(key, value, None)?;
        }
        Ok(true)
    }
}

/// Answers a request: nothing of the command will run so long from now. Unless nobody waits for it any more.
pub fn answer(txn: &mut Transaction<'_>, asked: &Asked, within: Duration) -> Result<()> {
    let Some(kv) = txn.get(&asked.key)? else {
        return Ok(());
    };
    let value = asked.request.answered(within).to_json();
    txn.put(&asked.key, &value, LeaseId::new(kv.lease))
}
