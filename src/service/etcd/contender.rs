//! One contender's way through the queue: enqueued, waiting, admitted, watching over its key.
//!
//! Grant and entry are two commits; they are sent together and awaited together. The entry's transaction
//! reads the whole queue, so an uncontended lock is known to be ours without a further round trip.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Txn, TxnOp, TxnOpResponse, TxnResponse};
use tokio::sync::mpsc::UnboundedSender;

use super::cluster::Cluster;
use super::deadline::{reached, within};
use super::holder::QueueView;
use super::reading::Reading;
use super::session::{Checked, Granted, Session, Stage};
use super::superseding;
use super::transaction::{self, Guard, LockKeys, Ranges};
use super::trouble::{Failure, Sign};
use super::vanished;
use super::watch::{Hint, Others, Watch};
use crate::clock::{self, Instant};
use crate::lock::admission::{Marker, Obstacle, Standing, Vanished};
use crate::lock::name::LockName;
use crate::lock::once::OnceRecord;
use crate::lock::token::{ClusterId, LeaseId, Token};
use crate::outcome::Loss;
use crate::service::Wanted;
use crate::supervisor::{Event, Place};

/// How long the entry is held back so that the lease is there before it: etcd orders requests that are in
/// flight together as it likes. Without it 40 % had to be sent again (references/etcd.md, section 3).
const HEAD_START: Duration = Duration::from_millis(1);

/// The pause before all of it is done again because there was no lease.
const AGAIN_PAUSE: Duration = Duration::from_millis(20);

/// How often a waiter reads the queue without a hint to do so.
const POLL: Duration = Duration::from_secs(5);

/// How long one reading may take before it is reported as failed.
const READING_PATIENCE: Duration = Duration::from_secs(2);

/// The pause after a reading or a watch that failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// A holder's first watch is opened this long after its command may start: most commands under a lock that is
/// always free have ended by then.
const HOLD_WATCH_DELAY: Duration = Duration::from_millis(100);

/// How often a holder reads its own key without a hint to do so, at the most and at the least.
const HOLD_POLL_MIN: Duration = Duration::from_secs(1);
const HOLD_POLL_MAX: Duration = Duration::from_secs(5);

/// The pause after which a watch is opened anew because a request failed.
const DOUBT_PAUSE: Duration = Duration::from_millis(50);

/// How often an entry that must not wait is tried against other contenders who come and go meanwhile.
const GUARDED_TRIES_MAX: usize = 50;

/// One contender.
pub struct Contender {
    /// Whom it asks.
    pub cluster: Arc<Cluster>,
    /// What the run wants.
    pub wanted: Arc<Wanted>,
    /// Its lease and keys.
    pub session: Arc<Session>,
    /// Whom it reports to.
    pub events: UnboundedSender<Event>,
}

/// What a waiter knows of one of its locks.
struct Watched<'session> {
    lock: &'session LockKeys,
    sightings: Vanished,
    view: QueueView,
}

/// How the attempt to enqueue came out.
pub enum Enqueued {
    /// Our entry is in every queue.
    Placed {
        /// The create_revision of all of them.
        token: Token,
        /// Whose it is.
        cluster: ClusterId,
        /// The queues in the moment it was put, or found.
        readings: Vec<Reading>,
        /// When that was asked for. The grant may have been waited for since then.
        asked_at: Instant,
    },
    /// It must not wait and would have to.
    Occupied {
        /// Whose queue it is.
        cluster: ClusterId,
        /// Which of the locks is in the way.
        blocking: usize,
        /// The queues, in the order of the locks.
        readings: Vec<Reading>,
    },
}

impl Contender {
    /// Gets a lease and a place; a place that would have to wait only where waiting is wanted.
    pub async fn enqueue(&self, give_up_at: Instant) -> Result<(Granted, Enqueued), Failure> {
        self.cluster.connect(give_up_at).await?;
        loop {
            self.session.set_stage(Stage::Attempted);
            let (granted, enqueued) = self.grant_and_place(give_up_at).await;
            let is_any_outstanding = self.session.outstanding.is_any();
            self.session
                .set_stage(stage_after(&granted, &enqueued, is_any_outstanding));
            match (granted, enqueued) {
                // The lease ran out while we tried, or the member that was asked for it leads no more and does not
                // know it: everything again.
                (Err(failure), _) | (Ok(_), Err(failure))
                    if failure.sign == Sign::LeaseNotFound && clock::now() < give_up_at =>
                {
                    reached(clock::now() + AGAIN_PAUSE).await;
                }
                (granted, enqueued) => return Ok((granted?, enqueued?)),
            }
        }
    }

    async fn grant_and_place(
        &self,
        give_up_at: Instant,
    ) -> (Result<Granted, Failure>, Result<Enqueued, Failure>) {
        let granting = self.session.grant(&self.cluster, give_up_at);
        tokio::pin!(granting);
        if let Some(granted) = within(clock::now() + HEAD_START, &mut granting).await {
            return match granted {
                Ok(_) => (granted, self.place(give_up_at).await),
                Err(failure) => (Err(failure.clone()), Err(failure)),
            };
        }
        let (granted, placed) = tokio::join!(granting, self.place(give_up_at));
        match placed {
            // It overtook the grant; nothing was done.
            Err(failure) if failure.sign == Sign::LeaseNotFound && granted.is_ok() => {
                (granted, self.place(give_up_at).await)
            }
            placed => (granted, placed),
        }
    }

    async fn place(&self, give_up_at: Instant) -> Result<Enqueued, Failure> {
        let keys = &self.session.keys;
        let value = self.wanted.entry.to_json();
        let mut guard = match self.wanted.nonblock {
            true => Guard::Idle,
            false => Guard::Queue,
        };
        let mut readings = Vec::new();
        let mut cluster = ClusterId(0);
        for _ in 0..GUARDED_TRIES_MAX {
            let txn = keys.enqueue(self.session.lease, &value, guard);
            let outstanding = &self.session.outstanding;
            let asked_at = clock::now();
            let response = self
                .cluster
                .transact_followed(&txn, outstanding, give_up_at)
                .await?;
            readings = self.readings_of(&response);
            cluster = transaction::cluster(&response);
            if let Some(own) = readings[0].own
                && let Some(token) = Token::new(own.create_revision)
            {
                return Ok(Enqueued::Placed {
                    token,
                    cluster,
                    readings,
                    asked_at,
                });
            }
            // Only a guard can have kept the entry out. What it saw need not be in the way.
            let revision = readings[0].snapshot.revision;
            for (index, (reading, lock)) in readings.iter().zip(&keys.locks).enumerate() {
                let now = clock::now();
                let mut sightings = Vanished::default();
                let removable = sightings.removable(None, &reading.snapshot, now);
                let removable: Vec<Marker> = removable.into_iter().cloned().collect();
                let mut without = reading.snapshot.clone();
                without.markers.retain(|marker| !removable.contains(marker));
                let limit = self.wanted.entry.limit;
                if sightings.standing_of_newcomer(limit, &without, now) != Standing::Admitted {
                    return Ok(Enqueued::Occupied {
                        cluster,
                        blocking: index,
                        readings,
                    });
                }
                vanished::remove(&self.cluster, &lock.ranges, &removable, give_up_at).await?;
            }
            guard = Guard::UnchangedSince(revision);
        }
        Ok(Enqueued::Occupied {
            cluster,
            blocking: 0,
            readings,
        })
    }

    /// Waits for the admission, then watches over the keys; ends when the place is gone, and says how.
    ///
    /// `readings` were asked for at `asked_at`. Nobody has looked at our entries since, so they are read again where that is
    /// longer ago than a holder goes without a look.
    pub async fn follow(
        &self,
        token: Token,
        mut readings: Vec<Reading>,
        asked_at: Instant,
    ) -> Loss {
        if HOLD_POLL_MIN < clock::now().since(asked_at) {
            readings = self.read().await;
        }
        let (read_revision, done_by) = loop {
            let admitted = match self.wait(token, readings).await {
                Ok(read_revision) => read_revision,
                Err(loss) => return loss,
            };
            match self.done_before(token, admitted).await {
                Some(started) => break started,
                None => readings = self.read().await,
            }
        };
        self.session.set_admitted();
        self.report(match done_by {
            Some(by) => Event::AlreadyDone(by),
            None => Event::Admitted { read_revision },
        });
        self.hold(token, read_revision).await
    }

    /// Waits until one reading admits us to every lock: the revision of that reading.
    async fn wait(&self, token: Token, mut readings: Vec<Reading>) -> Result<i64, Loss> {
        let mut queues: Vec<Watched<'_>> = self
            .session
            .keys
            .locks
            .iter()
            .map(|lock| Watched {
                lock,
                sightings: Vanished::default(),
                view: QueueView::new(Arc::clone(&self.cluster), lock.ranges.clone()),
            })
            .collect();
        let mut watch: Option<Watch> = None;
        let mut notes = None;
        loop {
            let now = clock::now();
            let mut removed = self.supersede(token, &readings, &mut notes).await;
            let mut blocked = None;
            for (queue, reading) in queues.iter_mut().zip(&readings) {
                self.check_own(token, reading).await?;
                let snapshot = &reading.snapshot;
                let removable = queue.sightings.removable(Some(token), snapshot, now);
                if !removable.is_empty() {
                    let removable: Vec<Marker> = removable.into_iter().cloned().collect();
                    self.remove_vanished(&queue.lock.ranges, &removable).await;
                    removed = true;
                }
                match queue.sightings.standing(token, snapshot, now) {
                    Standing::Admitted => {}
                    Standing::NotQueued => return Err(Loss::KeyDeleted),
                    // One that keeps us waiting is enough to watch.
                    Standing::Behind(obstacles) => {
                        blocked = blocked.or(Some((queue, reading, obstacles)));
                    }
                }
            }
            if removed {
                readings = self.read().await;
                continue;
            }
            let Some((queue, reading, obstacles)) = blocked else {
                return Ok(readings[0].snapshot.revision);
            };
            let ranges = &queue.lock.ranges;
            let mut seen = queue.view.queue(reading, Some(token)).await;
            seen.lock = self.lock_of(queue.lock);
            self.report(Event::Waiting(seen));
            let ends = obstacles.iter().filter_map(Obstacle::until).min();
            let wake_at = ends.unwrap_or(now + POLL).min(now + POLL);
            if ends.is_some() {
                // For those after us, if we go away before the delay is over; we wait by our own clock.
                let _ = vanished::retire(&self.cluster, ranges, reading, wake_at).await;
            }
            let revision = reading.snapshot.revision;
            let others = Others::of(&obstacles, ranges);
            self.watch(&mut watch, &others, revision, wake_at).await;
            readings = self.read().await;
        }
    }

    /// The reading that admits us, and who did already what is to be done once, if somebody did; nothing where our entries
    /// are not ours any more. Read once we are admitted: whoever was before us has written it down under the lock. And
    /// nobody watches our entries until it is answered, which may take long.
    async fn done_before(&self, token: Token, admitted: i64) -> Option<(i64, Option<String>)> {
        let Wanted { prefix, name, .. } = &*self.wanted;
        let Some(once) = self.wanted.once.as_ref() else {
            return Some((admitted, None));
        };
        let read = TxnOp::get(prefix.once_record(name, once), None);
        let txn = Txn::new()
            .when(self.session.keys.ours(token))
            .and_then([read]);
        let answer = self.insist(&txn).await;
        let revision = answer.header().map_or(admitted, |it| it.revision());
        let done_by = answer
            .op_responses()
            .into_iter()
            .find_map(|read| match read {
                TxnOpResponse::Get(get) => get.kvs().first().map(|kv| OnceRecord::by(kv.value())),
                _ => None,
            });
        answer.succeeded().then_some((revision, done_by))
    }

    /// Which lock it is, where there are several.
    pub fn lock_of(&self, lock: &LockKeys) -> Option<LockName> {
        let several = self.session.keys.locks.len() > 1;
        several.then(|| lock.name.clone())
    }

    /// Watches over our keys; how they were lost.
    async fn hold(&self, token: Token, read_revision: i64) -> Loss {
        let hold_poll = hold_poll(Duration::from_millis(self.wanted.entry.lock_delay_ms));
        let mut watch = None;
        let mut revision = read_revision;
        reached(clock::now() + HOLD_WATCH_DELAY).await;
        loop {
            let wake_at = clock::now() + hold_poll;
            self.watch(&mut watch, &Others::default(), revision, wake_at)
                .await;
            let give_up_at = clock::now() + READING_PATIENCE;
            match self.session.check(&self.cluster, token, give_up_at).await {
                Ok(Checked::Lost(loss)) => return loss,
                Ok(Checked::Ours { revision: read }) => revision = read,
                // Only the renewals judge what an outage means.
                Err(_) => reached(clock::now() + TROUBLE_PAUSE).await,
            }
        }
    }

    /// Waits for a hint that something changed since `revision`, until `wake_at` at most; opens the watch
    /// where there is none on these keys.
    async fn watch(
        &self,
        watch: &mut Option<Watch>,
        others: &Others,
        revision: i64,
        wake_at: Instant,
    ) {
        let is_good = |open: &Watch| open.covers(others) && open.is_trusted(&self.cluster);
        if !watch.as_ref().is_some_and(is_good) {
            let own = self.session.keys.entries().collect();
            let opened = Watch::open(&self.cluster, own, others, revision, wake_at).await;
            *watch = opened.ok();
        }
        let hint = match watch {
            Some(open) => open.hint(&self.cluster, wake_at).await,
            None => Hint::Broken,
        };
        match hint {
            Hint::Changed => {}
            Hint::Silent => self.cluster.prefer_next(),
            Hint::Doubtful => {
                *watch = None;
                // Where every request fails, one after the other, this sets the pace.
                reached(wake_at.min(clock::now() + DOUBT_PAUSE)).await;
            }
            Hint::Broken => {
                *watch = None;
                self.cluster.prefer_next();
                reached(wake_at.min(clock::now() + TROUBLE_PAUSE)).await;
            }
        }
    }

    /// Reads the queues, however long it takes; says each time when it failed.
    async fn read(&self) -> Vec<Reading> {
        let response = self.insist(&self.session.keys.read()).await;
        self.readings_of(&response)
    }

    async fn insist(&self, txn: &Txn) -> TxnResponse {
        loop {
            let asked_at = clock::now();
            let give_up_at = asked_at + READING_PATIENCE;
            match self.cluster.transact(txn, give_up_at).await {
                Ok(response) => return response,
                Err(failure) => self.fail(asked_at, failure).await,
            }
        }
    }

    fn readings_of(&self, response: &TxnResponse) -> Vec<Reading> {
        let locks = self.session.keys.locks.iter();
        Reading::of_each(
            response,
            locks.map(|lock| (&lock.ranges, lock.entry.as_str())),
        )
    }

    async fn check_own(&self, token: Token, reading: &Reading) -> Result<(), Loss> {
        match reading.own {
            Some(own) if own.is(token, self.session.lease) => Ok(()),
            Some(_) => Err(Loss::KeyOverwritten),
            None => Err(self.session.loss_of_missing_key(&self.cluster).await),
        }
    }

    /// Takes the places of older waiters away, where that is wanted by both; whether one was taken.
    async fn supersede(
        &self,
        token: Token,
        readings: &[Reading],
        notes: &mut Option<LeaseId>,
    ) -> bool {
        if self.wanted.entry.queue.is_fifo() {
            return false;
        }
        let victims = superseding::victims(&self.wanted, &self.session, token, readings);
        let mut any = false;
        for victim in &victims {
            let asked_at = clock::now();
            let by = superseding::Newer {
                cluster: &self.cluster,
                wanted: &self.wanted,
                session: &self.session,
                token,
            };
            let superseded = by
                .supersede(victim, notes, asked_at + READING_PATIENCE)
                .await;
            match superseded {
                Ok(done) => any |= done,
                Err(failure) => self.fail(asked_at, failure).await,
            }
        }
        any
    }

    async fn fail(&self, asked_at: Instant, failure: Failure) {
        let trouble = failure.into();
        self.report(Event::Failed { asked_at, trouble });
        reached(clock::now() + TROUBLE_PAUSE).await;
    }

    async fn remove_vanished(&self, ranges: &Ranges, markers: &[Marker]) {
        let asked_at = clock::now();
        let give_up_at = asked_at + READING_PATIENCE;
        let removed = vanished::remove(&self.cluster, ranges, markers, give_up_at).await;
        if let Err(failure) = removed {
            self.fail(asked_at, failure).await;
        }
    }

    /// What the run is told about our place.
    pub fn place_of(&self, token: Token, cluster: ClusterId) -> Place {
        Place {
            token,
            lease: self.session.lease,
            cluster,
            key: self.session.keys.locks[0].entry.clone(),
        }
    }

    /// Tells the run. Nobody listens any more when it is over.
    pub fn report(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// What of a session may be in the store once its grant and its entry came to this.
fn stage_after(
    granted: &Result<Granted, Failure>,
    enqueued: &Result<Enqueued, Failure>,
    is_any_outstanding: bool,
) -> Stage {
    match (granted, enqueued) {
        // Without a lease nothing else can have been done either. But the refusal is the last attempt's: an earlier
        // one, or one through another member, may still be carried out and make both.
        (Err(failure), _) if failure.is_without_effect() && !is_any_outstanding => Stage::Untouched,
        // What is outstanding is kept out by whoever revokes the lease.
        (Ok(_), Err(failure)) if failure.is_without_effect() => Stage::Emptied,
        _ => Stage::Attempted,
    }
}

/// How often a holder reads its own key. A watch can die without a word; whoever finds the key gone waits our
/// lock delay, and by then we have to know it too. Without a delay there is nothing to be in time for.
fn hold_poll(lock_delay: Duration) -> Duration {
    match lock_delay.is_zero() {
        true => HOLD_POLL_MAX,
        false => (lock_delay / 2).clamp(HOLD_POLL_MIN, HOLD_POLL_MAX),
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::*;

    #[test]
    fn a_refusal_says_nothing_about_what_is_still_outstanding() {
        let denied = Status::new(Code::PermissionDenied, "etcdserver: permission denied");
        let denied = Failure::of("etcd1:2379", &denied.into());
        assert!(denied.is_without_effect());
        let stage = |granted, is_any_outstanding| {
            stage_after(&granted, &Err(denied.clone()), is_any_outstanding)
        };
        assert_eq!(stage(Err(denied.clone()), false), Stage::Untouched);
        assert_eq!(stage(Err(denied.clone()), true), Stage::Attempted);
        let granted = Granted {
            sent_at: clock::now(),
            ttl: Duration::from_secs(60),
        };
        assert_eq!(stage(Ok(granted), true), Stage::Emptied);
        let earlier = denied.clone().with_effect();
        assert_eq!(stage(Err(earlier), false), Stage::Attempted);
    }
}
