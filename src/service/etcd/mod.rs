//! The lock service on etcd: the only folder that names `etcd_client`.
//!
//! ```text
//!  Etcd            performs the supervisor's actions, each as a task that reports events
//!   ├ contender    one way through the queue: enqueue, wait, hold
//!   │  ├ holder    who stands in the way, for people
//!   │  └ watch     hints that it is time to read
//!   ├ session      one lease with the keys of its locks: grant, renew, revoke
//!   │  ├ keepalive renewals that can be believed
//!   │  └ outstanding  what may still make a place when it is given up
//!   ├ vanished     the markers of those who cannot remove them any more
//!   ├ superseding  the places of older waiters, which a newer one takes away
//!   ├ records      what is remembered of a run
//!   ├ keeping      keeping the lock for a while without us
//!   ├ asked        whether somebody wants the lock from us
//!   └ release      giving a session back, whatever has become of it
//!  fence           what only the holder can do, for `fence`
//!  operating       what a person asks
//!   ├ inspection   a lock as anybody sees it
//!   ├ listing      all of them
//!   ├ past         what happened under a lock
//!   ├ present      what happens now
//!   │  └ changes   of keys, from the store's revisions
//!   ├ breaking     taking a lock from whoever has it
//!   ├ remembered   what was done once
//!   ├ examination  the whole cluster
//!   └ names        the names of locks in use, for completion
//!  pages           many keys, a page at a time
//!  transaction     what is sent
//!  reading         what its answer says about the queue
//!  cluster         which member to ask, and for how long
//!   ├ hedge        the attempts at one request
//!   ├ login        users: one token for all members
//!   └ member       one endpoint; every call is bounded here
//!      ├ dial      a connection: name, address, TLS
//!      └ tls       whom we trust, who we are; certificate: until when
//!  race            the first of several
//!  pace            what is overdue
//!  trouble         what errors mean
//! ```
//!
//! Nothing here decides about the command. Whatever is reported is a fact with the instant from which it
//! counts, and every wait ends at an instant on CLOCK_BOOTTIME.

mod asked;
mod breaking;
mod certificate;
mod changes;
mod cluster;
mod contender;
mod dial;
mod examination;
pub mod fence;
mod hedge;
mod holder;
mod inspection;
mod keepalive;
mod keeping;
mod lease;
mod listing;
mod login;
mod member;
mod names;
mod operating;
mod outstanding;
mod pace;
mod pages;
mod past;
mod present;
mod race;
mod reading;
mod records;
mod release;
mod remembered;
#[cfg(test)]
pub mod sentences;
mod session;
#[cfg(test)]
mod simulated;
mod superseding;
mod tls;
mod transaction;
mod trouble;
mod vanished;
mod watch;

pub use self::operating::{
    examine, forget, history, inspect, list, names, remembered, take, watch,
};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use self::asked::{Asked, Listener};
use self::cluster::Cluster;
use self::contender::{Contender, Enqueued};
use self::holder::QueueView;
use self::session::{NotRenewed, Session, Stage};
use self::transaction::Ranges;
use super::deadline::{self, within};
use super::task::Task;
use crate::clock::{self, Instant};
use crate::config::connection::Cluster as Settings;
use crate::config::endpoint::Endpoint;
use crate::config::login::Login;
use crate::config::tls::Tls;
use crate::lock::entry::Entry;
use crate::lock::token::Token;
use crate::outcome::Loss;
use crate::service::{Memory, Wanted};
use crate::supervisor::{Event, Trouble, TroubleKind};

/// How long the lock of an earlier place may be in the way of the next one, before that one queues behind it.
const EARLIER_PLACE_PATIENCE: Duration = Duration::from_secs(2);

/// How long an attempt at a place that is under way may still take when the run gives up: a place that is known is given
/// back without a trace, and for one that is not a sign is left (see `release`).
const ATTEMPT_PATIENCE: Duration = Duration::from_millis(500);

/// How long what nobody waits for is tried: clearing away and announcing.
const BACKGROUND_PATIENCE: Duration = Duration::from_secs(10);

/// How to reach the cluster.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The members.
    pub endpoints: Vec<Endpoint>,
    /// What TLS is spoken with.
    pub tls: Tls,
    /// Who logs in, if anybody does.
    pub login: Option<Login>,
}

impl From<&Settings> for Connection {
    fn from(settings: &Settings) -> Self {
        Self {
            endpoints: settings.endpoints.clone(),
            tls: settings.tls.clone(),
            login: settings.login.clone(),
        }
    }
}

/// The locks of one run in etcd.
///
/// No method waits. What they start reports through the channel of events, until the next one of them makes
/// it pointless.
pub struct Etcd {
    cluster: Arc<Cluster>,
    wanted: Arc<Wanted>,
    events: UnboundedSender<Event>,
    session: Option<Arc<Session>>,
    /// Earlier places that may still be in the store: a run that ends while it gives them up leaves nothing.
    earlier: Vec<Arc<Session>>,
    /// The tokens of all places that we have had: one of them may have been taken away.
    tokens: Arc<Mutex<Vec<Token>>>,
    /// Who wants the lock from us.
    asked: Arc<Mutex<Option<Asked>>>,
    queueing: Option<Task>,
    renewing: Option<Task>,
    announcing: Option<Task>,
    releasing: Option<Task>,
    background: Background,
}

/// What nobody waits for until the farewell.
#[derive(Clone, Default)]
struct Background(Arc<Mutex<JoinSet<()>>>);

impl Background {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Takes a session out of the store, as far as it is in it.
    fn clear_away(&self, cluster: Arc<Cluster>, session: Arc<Session>) {
        self.spawn(async move {
            let give_up_at = clock::now() + BACKGROUND_PATIENCE;
            // What fails here frees itself within the TTL, and nobody is left to tell.
            if release::withdraw(&cluster, &session, give_up_at)
                .await
                .is_ok()
            {
                let _ = release::revoke_emptied(&cluster, &session, give_up_at).await;
            }
        });
    }

    async fn finished(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}

impl Etcd {
    /// The service for one run. Sends nothing yet; its methods are called inside a tokio runtime.
    pub fn new(connection: &Connection, wanted: Wanted, events: UnboundedSender<Event>) -> Self {
        let ranges = wanted
            .names()
            .map(|name| Ranges::new(&wanted.prefix, name).to_string());
        let mut purpose: Vec<String> = ranges.collect();
        let (prefix, name) = (&wanted.prefix, &wanted.name);
        if wanted.once.is_some() {
            purpose.push(format!("those below {}", prefix.once_records(name)));
        }
        if !wanted.entry.queue.is_fifo() {
            purpose.push(format!("those below {}", prefix.notes(name)));
        }
        let purpose = format!("read and write {}", purpose.join(", "));
        Self {
            cluster: Arc::new(Cluster::new(connection, purpose)),
            wanted: Arc::new(wanted),
            events,
            session: None,
            earlier: Vec::new(),
            tokens: Arc::default(),
            asked: Arc::default(),
            queueing: None,
            renewing: None,
            announcing: None,
            releasing: None,
            background: Background::default(),
        }
    }

    /// Gets a lease and a place in the queue, giving up any earlier one. Answered by `Enqueued` (then
    /// `Waiting` and `Admitted` as they come, and `Gone` at last), `Busy` or `NotEnqueued`.
    pub fn enqueue(&mut self, give_up_at: Instant) {
        self.stop_tasks();
        self.earlier.extend(self.session.take());
        self.earlier.retain(|session| session.may_hold_a_place());
        let earlier = self.earlier.clone();
        let session = match Session::new(&self.wanted) {
            Ok(session) => Arc::new(session),
            Err(failure) => return self.report(Event::NotEnqueued(failure.into())),
        };
        self.session = Some(Arc::clone(&session));
        let contender = Contender {
            cluster: Arc::clone(&self.cluster),
            wanted: Arc::clone(&self.wanted),
            session,
            events: self.events.clone(),
        };
        let background = self.background.clone();
        let tokens = Arc::clone(&self.tokens);
        let asked = Arc::clone(&self.asked);
        *unpoisoned(&asked) = None;
        self.queueing = Some(Task::spawn(async move {
            let before = std::mem::take(&mut *unpoisoned(&tokens));
            if is_superseded(&contender, &before, give_up_at).await {
                return;
            }
            for session in earlier {
                give_up_earlier(&contender, session, give_up_at, &background).await;
            }
            queue(contender, give_up_at, background, &tokens, asked).await;
        }));
    }

    /// Renews the lease and validates it, once. Answered by `Renewed`, `Failed` or `Gone`.
    pub fn renew(&mut self, give_up_at: Instant) {
        let Some(session) = self.session.clone() else {
            return self.report(nothing_placed());
        };
        let Stage::Placed(token) = session.stage() else {
            return self.report(nothing_placed());
        };
        let cluster = Arc::clone(&self.cluster);
        let wanted = Arc::clone(&self.wanted);
        let events = self.events.clone();
        let asked_at = clock::now();
        self.renewing = Some(Task::spawn(async move {
            let event = match session.renew(&cluster, token, give_up_at).await {
                Ok(granted) => Event::Renewed {
                    sent_at: granted.sent_at,
                    ttl: granted.ttl,
                },
                Err(NotRenewed::Gone(loss)) => {
                    // Only then the news is taken: this task may be dropped while it asks.
                    let event = gone(&cluster, &wanted, &session, token, loss).await;
                    if !session.is_first_loss() {
                        return;
                    }
                    event
                }
                Err(NotRenewed::Failed(failure)) => Event::Failed {
                    asked_at,
                    trouble: failure.into(),
                },
            };
            let _ = events.send(event);
        }));
    }

    /// Tells the store that the command runs since now. Not answered: nothing depends on it.
    pub fn announce(&mut self) {
        let Some(session) = self.session.clone() else {
            return;
        };
        let Stage::Placed(token) = session.stage() else {
            return;
        };
        let mut entry = self.wanted.entry.clone();
        // Whole seconds, as people read them.
        let now = clock::wall();
        let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        entry.held = Some(now.to_string());
        let cluster = Arc::clone(&self.cluster);
        self.announcing = Some(Task::spawn(async move {
            let value = entry.to_json();
            let txn = session.keys.announce(token, session.lease, &value);
            let _ = cluster
                .transact(&txn, clock::now() + BACKGROUND_PATIENCE)
                .await;
        }));
    }

    /// Tells whoever wants the lock from us how soon it will have stopped. Not answered: nothing depends on it.
    pub fn answer_break(&mut self, within: Duration) {
        let Some(asked) = unpoisoned(&self.asked).take() else {
            return;
        };
        let cluster = Arc::clone(&self.cluster);
        self.background.spawn(async move {
            let give_up_at = clock::now() + BACKGROUND_PATIENCE;
            let _ = asked::answer(&cluster, &asked, within, give_up_at).await;
        });
    }

    /// Takes everything of ours out of the store, whatever has become of it. Answered by `Released` or
    /// `NotReleased`; the revocation of the by then empty lease goes on until [`Etcd::farewell`].
    pub fn release(&mut self, give_up_at: Instant) {
        let queueing = self.queueing.take();
        self.stop_tasks();
        let attempting = self.session.clone();
        let sessions = self.session.iter().chain(&self.earlier);
        let sessions: Vec<Arc<Session>> = sessions.cloned().collect();
        let cluster = Arc::clone(&self.cluster);
        let events = self.events.clone();
        let background = self.background.clone();
        let wanted = Arc::clone(&self.wanted);
        self.releasing = Some(Task::spawn(async move {
            if let Some(session) = &attempting
                && session.is_lost()
                && let Stage::Placed(token) = session.stage()
                && let Ok(Some(asked)) = listener(&wanted, token, wanted.ttl)
                    .read(&cluster, give_up_at)
                    .await
            {
                // The news that the lease is gone was faster than the news who took it away.
                let _ = events.send(Event::BreakAsked(asked.request.who()));
            }
            if let Some(session) = attempting {
                let known_by = give_up_at.min(clock::now() + ATTEMPT_PATIENCE);
                let _ = within(known_by, session.attempted()).await;
            }
            drop(queueing);
            let mut event = Event::Released;
            for session in sessions {
                match release::withdraw(&cluster, &session, give_up_at).await {
                    Ok(()) => background.clear_away(Arc::clone(&cluster), session),
                    Err(failure) => event = Event::NotReleased(failure.into()),
                }
            }
            let _ = events.send(event);
        }));
    }

    /// The same, but leaves the lock itself until then, with this entry. Answered like [`Etcd::release`].
    pub fn keep(&mut self, entry: Entry, until: Instant, give_up_at: Instant) {
        self.stop_tasks();
        for earlier in self.earlier.drain(..) {
            self.background
                .clear_away(Arc::clone(&self.cluster), earlier);
        }
        let Some(session) = self.session.clone() else {
            return self.report(Event::Released);
        };
        let Stage::Placed(token) = session.stage() else {
            return self.release(give_up_at);
        };
        // At once, and not when it has been done: it may be cut short, and then nothing of it is given back.
        session.set_stage(Stage::Untouched);
        let cluster = Arc::clone(&self.cluster);
        let events = self.events.clone();
        let background = self.background.clone();
        self.releasing = Some(Task::spawn(async move {
            let kept = keeping::keep(&cluster, &session, token, &entry, until, give_up_at).await;
            background.clear_away(cluster, session);
            let _ = events.send(match kept {
                Ok(()) => Event::Released,
                Err(failure) => Event::NotReleased(failure.into()),
            });
        }));
    }

    /// Writes down what is to be remembered of the run. Answered by `Recorded` or `NotRecorded`.
    pub fn record(&mut self, memory: Memory, give_up_at: Instant) {
        self.stop_tasks();
        let Some(session) = self.session.clone() else {
            return self.report(Event::Recorded);
        };
        let cluster = Arc::clone(&self.cluster);
        let events = self.events.clone();
        self.releasing = Some(Task::spawn(async move {
            let written = records::remember(&cluster, &session, &memory, give_up_at).await;
            let _ = events.send(match written {
                Ok(()) => Event::Recorded,
                Err(failure) => Event::NotRecorded(failure.into()),
            });
        }));
    }

    /// Takes out of the store, at most until `give_up_at`, what is still in it: the lease that is empty by then,
    /// and whatever a request left that nobody waited for. No process of the tree is alive.
    pub async fn farewell(mut self, give_up_at: Instant) {
        self.stop_tasks();
        for session in self.earlier.drain(..).chain(self.session.take()) {
            if session.may_hold_a_place() {
                self.background
                    .clear_away(Arc::clone(&self.cluster), session);
            }
        }
        // Cut short, it leaves a lease without keys to its TTL: nobody waits for that.
        let _ = within(give_up_at, self.background.finished()).await;
    }

    /// Nothing that was started before reports any more.
    fn stop_tasks(&mut self) {
        self.queueing = None;
        self.renewing = None;
        self.announcing = None;
        self.releasing = None;
    }

    fn report(&self, event: Event) {
        // Nobody listens any more when the run is over.
        let _ = self.events.send(event);
    }
}

fn nothing_placed() -> Event {
    Event::Failed {
        asked_at: clock::now(),
        trouble: Trouble {
            kind: TroubleKind::Refused,
            detail: "there is no lease to renew".to_owned(),
        },
    }
}

async fn give_up_earlier(
    contender: &Contender,
    earlier: Arc<Session>,
    give_up_at: Instant,
    background: &Background,
) {
    let give_up_at = give_up_at.min(clock::now() + EARLIER_PLACE_PATIENCE);
    // Whether it worked or not: the rest (at least the lease) goes in the background.
    let _ = release::withdraw(&contender.cluster, &earlier, give_up_at).await;
    background.clear_away(Arc::clone(&contender.cluster), earlier);
}

/// How the loss of a place is reported: it may have been taken away by a newer waiter. What has been admitted cannot,
/// and then every millisecond counts.
async fn gone(
    cluster: &Cluster,
    wanted: &Wanted,
    session: &Session,
    token: Token,
    loss: Loss,
) -> Event {
    if wanted.entry.queue.is_fifo() || session.is_admitted() {
        return Event::Gone(loss);
    }
    let give_up_at = clock::now() + EARLIER_PLACE_PATIENCE;
    let asked = superseding::superseded_by(cluster, wanted, token, give_up_at).await;
    match asked {
        Ok(Some(by)) => Event::Superseded(by),
        // Where that is not known, it is asked again before it queues again.
        Ok(None) | Err(_) => Event::Gone(loss),
    }
}

/// Whether one of the earlier places was taken away, and says so; or that it cannot be known.
async fn is_superseded(contender: &Contender, before: &[Token], give_up_at: Instant) -> bool {
    let (cluster, wanted) = (&contender.cluster, &contender.wanted);
    if wanted.entry.queue.is_fifo() {
        return false;
    }
    for token in before {
        match superseding::superseded_by(cluster, wanted, *token, give_up_at).await {
            Ok(None) => {}
            Ok(Some(by)) => {
                contender.report(Event::Superseded(by));
                return true;
            }
            Err(failure) => {
                contender.report(Event::NotEnqueued(failure.into()));
                return true;
            }
        }
    }
    false
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listener(wanted: &Wanted, token: Token, ttl: Duration) -> Listener {
    let keys = wanted
        .names()
        .map(|name| wanted.prefix.break_request(name, token.get()));
    Listener::new(keys.collect(), token, ttl)
}

/// Listens for who wants the place from us, as long as what this returns lives.
fn listen(
    contender: &Contender,
    token: Token,
    ttl: Duration,
    heard: Arc<Mutex<Option<Asked>>>,
) -> Task {
    let cluster = Arc::clone(&contender.cluster);
    let events = contender.events.clone();
    let mut listener = listener(&contender.wanted, token, ttl);
    Task::spawn(async move {
        while let Some(asked) = listener.next(&cluster).await {
            let who = asked.request.who();
            *unpoisoned(&heard) = Some(asked);
            let _ = events.send(Event::BreakAsked(who));
        }
    })
}

/// One contender from its first request to the loss of its place.
async fn queue(
    contender: Contender,
    give_up_at: Instant,
    background: Background,
    tokens: &Mutex<Vec<Token>>,
    asked: Arc<Mutex<Option<Asked>>>,
) {
    let session = Arc::clone(&contender.session);
    let cluster = Arc::clone(&contender.cluster);
    match contender.enqueue(give_up_at).await {
        Ok((
            granted,
            Enqueued::Placed {
                token,
                cluster,
                readings,
                asked_at,
            },
        )) => {
            session.set_stage(Stage::Placed(token));
            unpoisoned(tokens).push(token);
            contender.report(Event::Enqueued {
                place: contender.place_of(token, cluster),
                sent_at: granted.sent_at,
                ttl: granted.ttl,
            });
            let _listening = listen(&contender, token, granted.ttl, asked);
            let loss = contender.follow(token, readings, asked_at).await;
            let wanted = &contender.wanted;
            let event = gone(&contender.cluster, wanted, &session, token, loss).await;
            if session.is_first_loss() {
                contender.report(event);
            }
        }
        Ok((
            _,
            Enqueued::Occupied {
                cluster: id,
                blocking,
                readings,
            },
        )) => {
            // Our entries were kept out, so only the lease is there.
            session.set_stage(Stage::Emptied);
            background.clear_away(Arc::clone(&cluster), Arc::clone(&session));
            let lock = session.keys.locks[blocking].clone();
            let reading = readings[blocking].clone();
            let mut view = QueueView::new(Arc::clone(&cluster), lock.ranges.clone());
            let mut queue = view.queue(&reading, None).await;
            queue.lock = contender.lock_of(&lock);
            if reading.lasting_orphans().next().is_some() {
                background.spawn(async move {
                    let give_up_at = clock::now() + BACKGROUND_PATIENCE;
                    let _ = vanished::retire(&cluster, &lock.ranges, &reading, give_up_at).await;
                });
            }
            contender.report(Event::Busy { queue, cluster: id });
        }
        Err(failure) => {
            background.clear_away(cluster, session);
            contender.report(Event::NotEnqueued(failure.into()));
        }
    }
}
