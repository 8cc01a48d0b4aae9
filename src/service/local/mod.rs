//! The lock service of one machine: a folder with files and kernel locks, `--local`.
//!
//! ```text
//! Local           performs the supervisor's actions, each as a task that reports events
//!  ├ contender    a run on its way through the queue, and over its time as a holder
//!  │  ├ bell      wakes a manager when something changed that it waits for
//!  │  └ removal   notices that the folder is taken away
//!  ├ place        the run's place in the queues: taken, looked at, kept, given back
//!  │  └ queue     what the store says about a queue
//!  └ life         the run's lease: a kernel lock that all share who watch the tree
//! operating       what a person asks
//!  ├ breaking     taking a lock from whoever has it
//!  └ telling      what happened under a lock, and what happens
//! desk            the thread that waits for the disk and the kernel
//!  └ store        the keys, with revisions, as etcd has them; layout: in SQLite; leases: when they go
//! folder          where all of it is, and who may use it
//! ```
//! Decisions:
//! - The keys, their values and their revisions are those that etcd would have, so the rules (lock/admission.rs), the
//!   outcomes and everything that people read are the same ones.
//! - A lease lives as long as its kernel lock is held, so whoever dies, however it dies, is gone at once. A waiter sleeps
//!   in the kernel: in the lock of the one before it, and at its own bell. Now and then everybody looks without being
//!   woken: who rings can be killed before it does.
//! - The TTL remains: a renewal finds that our keys are still there. A manager that is stopped does not renew, and the
//!   front kills the tree at its deadline, as with etcd: nobody holds a lock for ever by being frozen.
//! - Whatever is read was true in the moment of the transaction, and nobody else can write meanwhile: what takes several
//!   guarded steps in etcd is one here.

mod bell;
mod breaking;
mod contender;
mod desk;
mod folder;
mod layout;
mod leases;
mod life;
mod operating;
mod place;
mod queue;
mod removal;
mod store;
mod telling;

pub use self::folder::Folder;
pub use self::life::Life;
pub use self::operating::{
    Checked, check, forget, history, inspect, list, names, remembered, take, watch,
};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use self::contender::Contender;
use self::desk::Desk;
use self::place::{Asked, Place};
use crate::clock::{self, Instant};
use crate::lock::entry::Entry;
use crate::lock::token::LeaseId;
use crate::outcome::Loss;
use crate::service::task::Task;
use crate::service::{Memory, Wanted};
use crate::supervisor::{Event, Trouble, TroubleKind};

/// How long one look may take before it is reported as failed.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// How long it may take to find out that there is no store any more: not long where the desk is still busy with what
/// failed, since the supervisor does not wait for much longer than for an answer.
const GONE_PATIENCE: Duration = Duration::from_millis(300);

/// How long what nobody waits for is tried.
const BACKGROUND_PATIENCE: Duration = Duration::from_secs(10);

/// The locks of one run in a folder.
///
/// No method waits. What they start reports through the channel of events, until the next one of them makes
/// it pointless.
pub struct Local {
    folder: Folder,
    lease: LeaseId,
    desk: Desk,
    /// For what a holder reads: the other one may wait for somebody who is stopped.
    renewals: Desk,
    ttl: Duration,
    place: Arc<Mutex<Place>>,
    asked: Arc<Mutex<Option<Asked>>>,
    /// Whether it is said already that the place is lost.
    lost: Arc<AtomicBool>,
    /// Whether the place lives on without us.
    kept: Arc<AtomicBool>,
    events: UnboundedSender<Event>,
    queueing: Option<Task>,
    working: Option<Task>,
}

impl Local {
    /// The service for one run whose life is `lease`. Does nothing yet; its methods are called inside a tokio runtime.
    pub fn new(
        folder: &Folder,
        lease: LeaseId,
        wanted: Wanted,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self {
            folder: folder.clone(),
            lease,
            desk: Desk::open(folder),
            renewals: Desk::open(folder),
            ttl: wanted.ttl,
            place: Arc::new(Mutex::new(Place::new(Arc::new(wanted), lease))),
            asked: Arc::default(),
            lost: Arc::default(),
            kept: Arc::default(),
            events,
            queueing: None,
            working: None,
        }
    }

    /// Gets a place in the queue, giving up any earlier one. Answered by `Enqueued` (then `Waiting` and `Admitted` as they
    /// come, and `Gone` at last), `Busy` or `NotEnqueued`.
    pub fn enqueue(&mut self, give_up_at: Instant) {
        self.stop_tasks();
        self.lost = Arc::default();
        *unpoisoned(&self.asked) = None;
        let contender = self.contender();
        self.queueing = Some(Task::spawn(async move {
            contender.queue(give_up_at).await;
        }));
    }

    /// Looks whether the place is still ours, once. Answered by `Renewed`, `Failed` or `Gone`.
    pub fn renew(&mut self, give_up_at: Instant) {
        let asked_at = clock::now();
        let (desk, place) = (self.renewals.clone(), unpoisoned(&self.place).clone());
        let (events, lost, ttl) = (self.events.clone(), Arc::clone(&self.lost), self.ttl);
        self.working = Some(Task::spawn(async move {
            let found = desk.read(give_up_at, move |txn| {
                let loss = place.loss(txn)?;
                if loss.is_none() && txn.patience_with(place.lease.get())?.is_some() {
                    txn.sign(place.lease)?;
                }
                Ok(loss)
            });
            let found = found.await;
            let event = match or_gone(&desk, found, Some).await {
                Ok(None) => Event::Renewed {
                    sent_at: asked_at,
                    ttl,
                },
                Ok(Some(_)) if lost.swap(true, Ordering::Relaxed) => return,
                Ok(Some(loss)) => Event::Gone(loss),
                Err(trouble) => Event::Failed { asked_at, trouble },
            };
            let _ = events.send(event);
        }));
    }

    /// Tells the store that the command runs since now. Not answered: nothing depends on it.
    pub fn announce(&mut self) {
        // Whole seconds, as people read them.
        let now = clock::wall();
        let now = jiff::Timestamp::from_second(now.as_second())
            .unwrap_or(now)
            .to_string();
        self.in_background(move |place, txn| place.announce(txn, now));
    }

    /// Tells whoever wants the lock from us how soon it will have stopped. Not answered: nothing depends on it.
    pub fn answer_break(&mut self, within: Duration) {
        if let Some(asked) = unpoisoned(&self.asked).take() {
            self.in_background(move |_, txn| place::answer(txn, &asked, within));
        }
    }

    /// Takes everything of ours out of the store. Answered by `Released` or `NotReleased`.
    pub fn release(&mut self, give_up_at: Instant) {
        self.stop_tasks();
        let kept = self.kept.load(Ordering::Relaxed);
        let lost = self.lost.load(Ordering::Relaxed);
        let (asked, events) = (Arc::clone(&self.asked), self.events.clone());
        self.work(
            give_up_at,
            move |place, txn| {
                // The news that the place is gone was faster than the news who took it away.
                if lost && let Some(news) = place.asked(txn)? {
                    let _ = events.send(Event::BreakAsked(news.who()));
                    *unpoisoned(&asked) = Some(news);
                }
                match kept {
                    true => Ok(Event::Released),
                    false => place.withdraw(txn).map(|()| Event::Released),
                }
            },
            Event::NotReleased,
            // And so is everything of ours.
            Event::Released,
        );
    }

    /// The same, but leaves the lock itself until then, with this entry. Answered like [`Local::release`].
    pub fn keep(&mut self, entry: Entry, until: Instant, give_up_at: Instant) {
        self.stop_tasks();
        // At once: whatever cuts it short must not give back what may have been handed over.
        self.kept.store(true, Ordering::Relaxed);
        let (kept, lost) = (
            Arc::clone(&self.kept),
            Event::NotReleased(lost_before(&self.folder)),
        );
        let gone = lost.clone();
        self.work(
            give_up_at,
            move |place, txn| {
                if place.token.is_none() || place.keep(txn, &entry, until.since(clock::now()))? {
                    return Ok(Event::Released);
                }
                kept.store(false, Ordering::Relaxed);
                Ok(lost)
            },
            Event::NotReleased,
            gone,
        );
    }

    /// Writes down what is to be remembered of the run. Answered by `Recorded` or `NotRecorded`.
    pub fn record(&mut self, memory: Memory, give_up_at: Instant) {
        self.stop_tasks();
        let lost = Event::NotRecorded(lost_before(&self.folder));
        let gone = lost.clone();
        self.work(
            give_up_at,
            move |place, txn| {
                Ok(match place.remember(txn, &memory)? {
                    true => Event::Recorded,
                    false => lost,
                })
            },
            Event::NotRecorded,
            gone,
        );
    }

    /// Takes out of the folder, at most until `give_up_at`, what is still in it. No process of the tree is alive.
    pub async fn farewell(mut self, give_up_at: Instant) {
        self.stop_tasks();
        let (place, kept) = (
            unpoisoned(&self.place).clone(),
            self.kept.load(Ordering::Relaxed),
        );
        let withdrawn = self.desk.ask(give_up_at, move |txn| match kept {
            true => Ok(()),
            false => place.withdraw(txn),
        });
        // What stays goes with this process, and everybody else's transaction finds it gone.
        if withdrawn.await.is_ok() {
            life::bury(&self.folder, self.lease);
        }
    }

    fn contender(&self) -> Contender {
        Contender {
            folder: self.folder.clone(),
            lease: self.lease,
            desk: self.desk.clone(),
            readings: self.renewals.clone(),
            ttl: self.ttl,
            place: Arc::clone(&self.place),
            asked: Arc::clone(&self.asked),
            lost: Arc::clone(&self.lost),
            events: self.events.clone(),
        }
    }

    /// Does something with the place, and reports what came of it; `gone` where there is no store any more.
    fn work(
        &mut self,
        give_up_at: Instant,
        work: impl FnOnce(&mut Place, &mut store::Transaction<'_>) -> store::Result<Event>
        + Send
        + 'static,
        not: impl FnOnce(Trouble) -> Event + Send + 'static,
        gone: Event,
    ) {
        let (desk, mut place) = (self.desk.clone(), unpoisoned(&self.place).clone());
        let events = self.events.clone();
        self.working = Some(Task::spawn(async move {
            let done = desk.ask(give_up_at, move |txn| work(&mut place, txn));
            let done = or_gone(&desk, done.await, |_| gone).await;
            let _ = events.send(done.unwrap_or_else(not));
        }));
    }

    fn in_background(
        &self,
        work: impl FnOnce(&mut Place, &mut store::Transaction<'_>) -> store::Result<()> + Send + 'static,
    ) {
        let (desk, mut place) = (self.desk.clone(), unpoisoned(&self.place).clone());
        tokio::spawn(async move {
            let give_up_at = clock::now() + BACKGROUND_PATIENCE;
            let _ = desk.ask(give_up_at, move |txn| work(&mut place, txn)).await;
        });
    }

    /// Nothing that was started before reports any more.
    fn stop_tasks(&mut self) {
        self.queueing = None;
        self.working = None;
    }
}

fn lost_before(folder: &Folder) -> Trouble {
    Trouble {
        kind: TroubleKind::Refused,
        detail: format!("the lock was lost before (lock folder {})", folder.shown()),
    }
}

/// What was found out; that the folder is gone, where that is why nothing was.
async fn or_gone<T>(
    desk: &Desk,
    found: Result<T, Trouble>,
    gone: impl FnOnce(Loss) -> T,
) -> Result<T, Trouble> {
    match found {
        Err(_) if desk.has_no_store(clock::now() + GONE_PATIENCE).await => {
            Ok(gone(Loss::StoreGone))
        }
        found => found,
    }
}

#[cfg(test)]
mod tests;

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
