//! A run on its way through the queue, from its first request to the loss of its place.
//!
//! - A waiter sleeps until its bell rings, until the lease ends of whoever it waits for, or until a time is over.
//! - A holder sleeps until its bell rings or somebody takes the folder away. It only reads, so it goes on whoever has
//!   the gate.
//! - Both look now and then all the same: whoever changes something can be killed before it rings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::bell::Bell;
use super::desk::Desk;
use super::folder::Folder;
use super::life::{self, End};
use super::place::{Asked, Enqueued, Glance, Look, Place, State, Waits};
use super::removal::Removal;
use super::{LOOK_PATIENCE, or_gone, unpoisoned};
use crate::clock::{self, Instant};
use crate::lock::token::LeaseId;
use crate::outcome::Loss;
use crate::service::deadline::{reached, within};
use crate::supervisor::{self, Event};

/// How often a waiter looks without being woken.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often a holder does, which costs it one small read.
const HOLD_LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pause after a look that failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// A run on its way through the queue.
pub struct Contender {
    /// Where the locks are.
    pub folder: Folder,
    /// The run's lease.
    pub lease: LeaseId,
    /// For what changes something.
    pub desk: Desk,
    /// For what a holder reads.
    pub readings: Desk,
    /// What is granted.
    pub ttl: Duration,
    /// Its place.
    pub place: Arc<Mutex<Place>>,
    /// Who wants it to be given up, until that is answered.
    pub asked: Arc<Mutex<Option<Asked>>>,
    /// Whether it is said already that the place is lost.
    pub lost: Arc<AtomicBool>,
    /// Where it reports.
    pub events: UnboundedSender<Event>,
}

/// What wakes a contender.
struct Wakers {
    bell: Bell,
    ends: UnboundedReceiver<End>,
    ended: UnboundedSender<End>,
    /// Whose ends somebody waits for already.
    waited_for: Vec<LeaseId>,
}

impl Wakers {
    /// Waits for a ring or an end.
    async fn woken(&mut self) {
        loop {
            tokio::select! {
                () = self.bell.rung() => return,
                Some(end) = self.ends.recv() => {
                    self.waited_for.retain(|other| *other != end.lease);
                    // Where nobody can say it is tried again after the next look.
                    if end.is_certain {
                        return;
                    }
                }
            }
        }
    }
}

impl Contender {
    /// From the first request to the loss of its place.
    pub async fn queue(self, give_up_at: Instant) {
        let bell = match Bell::hang(&self.folder, self.lease) {
            Ok(bell) => bell,
            Err(error) => {
                let trouble = self.folder.trouble("cannot be written to", &error);
                return self.report(Event::NotEnqueued(trouble));
            }
        };
        let (ended, ends) = unbounded_channel();
        let mut wakers = Wakers {
            bell,
            ends,
            ended,
            waited_for: Vec::new(),
        };
        let asked_at = clock::now();
        let mut draft = self.draft();
        let enqueued = self.desk.ask(give_up_at, move |txn| {
            draft.require_home(txn)?;
            txn.sign(draft.lease)?;
            let enqueued = draft.enqueue(txn)?;
            let look = match enqueued {
                Enqueued::Placed(..) => Some(draft.look(txn)?),
                _ => None,
            };
            Ok((enqueued, look, draft))
        });
        let look = match enqueued.await {
            Ok((Enqueued::Placed(token, cluster), look, draft)) => {
                *unpoisoned(&self.place) = draft;
                let place = supervisor::Place {
                    token,
                    lease: self.lease,
                    cluster,
                    key: unpoisoned(&self.place).key(),
                };
                self.report(Event::Enqueued {
                    place,
                    sent_at: asked_at,
                    ttl: self.ttl,
                });
                look
            }
            Ok((Enqueued::Occupied(queue, cluster), ..)) => {
                return self.report(Event::Busy { queue, cluster });
            }
            Ok((Enqueued::Superseded(by), ..)) => return self.report(Event::Superseded(by)),
            Err(trouble) => return self.report(Event::NotEnqueued(trouble)),
        };
        if let Some(look) = look {
            let end = self.follow(look, &mut wakers).await;
            if !self.lost.swap(true, Ordering::Relaxed) {
                self.report(end);
            }
        }
    }

    /// Tells how it stands, and looks again whenever that may have changed; how the place was lost.
    async fn follow(&self, mut look: Look, wakers: &mut Wakers) -> Event {
        loop {
            self.hear(look.asked);
            match look.state {
                State::Lost(loss) => return Event::Gone(loss),
                State::Superseded(by) => return Event::Superseded(by),
                State::Admitted {
                    read_revision,
                    done_by,
                } => {
                    self.report(match done_by {
                        Some(by) => Event::AlreadyDone(by),
                        None => Event::Admitted { read_revision },
                    });
                    return Event::Gone(self.hold(wakers).await);
                }
                State::Waiting(queue, waits) => {
                    self.report(Event::Waiting(queue));
                    self.wait(waits, wakers).await;
                }
            }
            look = self.look().await;
        }
    }

    /// Waits for one of these, or for the bell; not longer than until the next look is due anyway.
    async fn wait(&self, waits: Waits, wakers: &mut Wakers) {
        let look_at = clock::now() + LOOK_EVERY;
        for lease in waits.leases {
            if !wakers.waited_for.contains(&lease)
                && life::wait_for_end(&self.folder, lease, wakers.ended.clone()).is_ok()
            {
                wakers.waited_for.push(lease);
            }
        }
        let until = waits.until.map_or(look_at, |until| until.min(look_at));
        within(until, wakers.woken()).await;
    }

    /// However long it takes; says each time when it failed.
    async fn look(&self) -> Look {
        loop {
            let asked_at = clock::now();
            let mut draft = self.draft();
            let looked = self.desk.ask(asked_at + LOOK_PATIENCE, move |txn| {
                let look = draft.look(txn)?;
                Ok((look, Some(draft)))
            });
            let gone = |loss| (Look::lost(loss), None);
            match or_gone(&self.desk, looked.await, gone).await {
                Ok((look, draft)) => {
                    if let Some(draft) = draft {
                        *unpoisoned(&self.place) = draft;
                    }
                    return look;
                }
                Err(trouble) => {
                    self.report(Event::Failed { asked_at, trouble });
                    reached(clock::now() + TROUBLE_PAUSE).await;
                }
            }
        }
    }

    /// Watches over the place of a holder; how it was lost.
    async fn hold(&self, wakers: &mut Wakers) -> Loss {
        // Before the first glance, so nothing falls between them.
        let removal = Removal::of(&self.folder);
        loop {
            let place = self.draft();
            let give_up_at = clock::now() + LOOK_PATIENCE;
            let seen = self.readings.read(give_up_at, move |txn| place.glance(txn));
            match or_gone(&self.readings, seen.await, Glance::lost).await {
                Ok(Glance {
                    loss: Some(loss),
                    asked,
                }) => {
                    self.hear(asked);
                    return loss;
                }
                Ok(Glance { asked, .. }) => self.hear(asked),
                // Only the renewals judge what it means that nothing can be read.
                Err(_) => reached(clock::now() + TROUBLE_PAUSE).await,
            }
            let woken = async {
                tokio::select! {
                    () = wakers.woken() => {}
                    () = removal.noticed() => {}
                }
            };
            within(clock::now() + HOLD_LOOK_EVERY, woken).await;
        }
    }

    /// Tells that somebody wants the place to be given up, once.
    fn hear(&self, asked: Option<Asked>) {
        let Some(asked) = asked else { return };
        let who = asked.who();
        unpoisoned(&self.place).heard = Some(asked.which());
        *unpoisoned(&self.asked) = Some(asked);
        self.report(Event::BreakAsked(who));
    }

    /// What a transaction changes of the place counts once it is on the disk.
    fn draft(&self) -> Place {
        unpoisoned(&self.place).clone()
    }

    fn report(&self, event: Event) {
        // Nobody listens any more when the run is over.
        let _ = self.events.send(event);
    }
}
