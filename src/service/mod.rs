//! The seam: what a lock service reports and accepts.
//!
//! A service turns the supervisor's actions (`Enqueue`, `Renew`, `Announce`, `Release`) into events. It
//! reports facts and never decides: every bound in time comes with the action, as an instant.
//! A service is started inside the manager's tokio runtime and reports through one channel.

// What happens, told from changes.
mod accounts;
// One function for each thing that is asked, of whichever service.
mod ask;
// What taking a lock away is, whatever the service.
mod breaking;
// What an examination of it finds.
pub mod checkup;
// The only ways to wait.
mod deadline;
// The service on an etcd cluster.
pub mod etcd;
// The service in a folder of this machine.
pub mod local;
// What a service does beside reporting.
mod task;

pub use ask::{check, forget, history, inspect, list, names, remembered, take, watch};

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Instant;
use crate::config;
use crate::config::connection::Place;
use crate::lock::chronicle::{Chronicle, Run, What};
use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::lock::last_run::LastRun;
use crate::lock::limit::Limit;
use crate::lock::name::LockName;
use crate::lock::once::{OnceId, OnceRecord};
use crate::lock::token::{ClusterId, LeaseId};
use crate::outcome::Outcome;
use crate::supervisor::{Event, Trouble};

/// How to reach a service.
#[derive(Clone, Debug)]
pub enum Connection {
    /// A cluster of etcd.
    Etcd(Box<etcd::Connection>),
    /// A folder of this machine.
    Local(local::Folder),
}

impl From<&config::Connection> for Connection {
    fn from(settings: &config::Connection) -> Self {
        match &settings.place {
            Place::Cluster(cluster) => Self::Etcd(Box::new(etcd::Connection::from(&**cluster))),
            Place::Folder(path) => Self::Local(local::Folder { path: path.clone() }),
        }
    }
}

impl Connection {
    /// The cluster, for what only etcd can do: `what`.
    ///
    /// # Errors
    /// [`Outcome::Usage`]
    pub fn cluster(&self, what: &str) -> Result<&etcd::Connection, Outcome> {
        match self {
            Self::Etcd(connection) => Ok(connection),
            Self::Local(folder) => Err(Outcome::Usage(format!(
                "{what} needs etcd, and the locks are in the folder {} (local); give --endpoints for a cluster",
                folder.shown()
            ))),
        }
    }

    /// What a run has to begin before its processes are made.
    ///
    /// # Errors
    /// Why the service cannot be used.
    pub fn begin(&self) -> Result<Begun, Trouble> {
        Ok(match self {
            Self::Etcd(_) => Begun::Nothing,
            Self::Local(folder) => Begun::Life(local::Life::begin(folder)?),
        })
    }
}

/// What a run has begun before its processes were made.
#[derive(Debug)]
pub enum Begun {
    /// There was nothing to begin.
    Nothing,
    /// Its life.
    Life(local::Life),
}

impl Begun {
    /// The lease, if it is known already; and what has to stay open in every process that watches the tree.
    pub fn split(self) -> (Option<LeaseId>, Option<OwnedFd>) {
        match self {
            Self::Nothing => (None, None),
            Self::Life(life) => (Some(life.lease()), Some(life.into_fd())),
        }
    }
}

/// The locks of one run.
///
/// No method waits. What they start reports through the channel of events, until the next one of them makes
/// it pointless. What each of them does and how it is answered says [`crate::supervisor::Action`].
pub enum Service {
    /// In etcd.
    Etcd(Box<etcd::Etcd>),
    /// In a folder of this machine.
    Local(Box<local::Local>),
}

impl Service {
    /// The service for one run; with the lease of its life, where it has one.
    pub fn new(
        connection: &Connection,
        lease: Option<LeaseId>,
        wanted: Wanted,
        events: UnboundedSender<Event>,
    ) -> Self {
        match (connection, lease) {
            (Connection::Local(folder), Some(lease)) => {
                Self::Local(Box::new(local::Local::new(folder, lease, wanted, events)))
            }
            (Connection::Local(_), None) => unreachable!("a run in a folder begins with its life"),
            (Connection::Etcd(connection), _) => {
                Self::Etcd(Box::new(etcd::Etcd::new(connection, wanted, events)))
            }
        }
    }

    /// [`crate::supervisor::Action::Enqueue`]
    pub fn enqueue(&mut self, give_up_at: Instant) {
        match self {
            Self::Etcd(service) => service.enqueue(give_up_at),
            Self::Local(service) => service.enqueue(give_up_at),
        }
    }

    /// [`crate::supervisor::Action::Renew`]
    pub fn renew(&mut self, give_up_at: Instant) {
        match self {
            Self::Etcd(service) => service.renew(give_up_at),
            Self::Local(service) => service.renew(give_up_at),
        }
    }

    /// [`crate::supervisor::Action::Announce`]
    pub fn announce(&mut self) {
        match self {
            Self::Etcd(service) => service.announce(),
            Self::Local(service) => service.announce(),
        }
    }

    /// [`crate::supervisor::Action::AnswerBreak`]
    pub fn answer_break(&mut self, within: Duration) {
        match self {
            Self::Etcd(service) => service.answer_break(within),
            Self::Local(service) => service.answer_break(within),
        }
    }

    /// [`crate::supervisor::Action::Release`]
    pub fn release(&mut self, give_up_at: Instant) {
        match self {
            Self::Etcd(service) => service.release(give_up_at),
            Self::Local(service) => service.release(give_up_at),
        }
    }

    /// [`crate::supervisor::Action::Keep`]
    pub fn keep(&mut self, entry: Entry, until: Instant, give_up_at: Instant) {
        match self {
            Self::Etcd(service) => service.keep(entry, until, give_up_at),
            Self::Local(service) => service.keep(entry, until, give_up_at),
        }
    }

    /// [`crate::supervisor::Action::Record`]
    pub fn record(&mut self, memory: Memory, give_up_at: Instant) {
        match self {
            Self::Etcd(service) => service.record(memory, give_up_at),
            Self::Local(service) => service.record(memory, give_up_at),
        }
    }

    /// Takes out of the store, at most until `give_up_at`, what is still in it. No process of the tree is alive.
    pub async fn farewell(self, give_up_at: Instant) {
        match self {
            Self::Etcd(service) => service.farewell(give_up_at).await,
            Self::Local(service) => service.farewell(give_up_at).await,
        }
    }
}

/// What a service needs to know about the lock that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The lock that the run is named after.
    pub name: LockName,
    /// The other locks that it wants with it, all or none; each one once.
    pub also: Vec<LockName>,
    /// What its keys begin with.
    pub prefix: Prefix,
    /// The TTL to ask for; whole seconds.
    pub ttl: Duration,
    /// Never put an entry that would have to wait.
    pub nonblock: bool,
    /// What others are told about us.
    pub entry: Entry,
    /// What is not to be done again.
    pub once: Option<OnceId>,
}

/// What is to be remembered of a run that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// That it is done.
    pub done: Option<Done>,
    /// How the run ended: the key of each lock, and the value.
    pub last_runs: Vec<(String, Vec<u8>)>,
    /// Whether the lock was lost, so that somebody else may have held it since.
    pub lost: bool,
}

/// That something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Where that is remembered.
    pub key: String,
    /// The record, with our token.
    pub value: Vec<u8>,
    /// For how long.
    pub keep: Duration,
}

impl Wanted {
    /// All locks that are wanted; the first is the one that the run is named after.
    pub fn names(&self) -> impl Iterator<Item = &LockName> {
        std::iter::once(&self.name).chain(&self.also)
    }
}

/// One lock as anybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Whose tokens these are.
    pub cluster: ClusterId,
    /// How many entries nobody is in the way of.
    pub held: usize,
    /// How many there are behind those that were read.
    pub more: usize,
    /// Those in the queue of whom more is known than that they are there, the oldest first.
    pub entries: Vec<InspectedEntry>,
    /// How many may hold it at once while these do: the smallest limit among them. Nothing while nobody does.
    pub limit: Option<Limit>,
    /// How many holders vanished without releasing.
    pub vanished: usize,
    /// How the last run ended, where that is recorded and can be read.
    pub last_run: Option<LastRun>,
}

/// One thing that was done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What stands for it.
    pub id: OnceId,
    /// Who did it, where that can be read.
    pub record: Option<OnceRecord>,
}

/// One entry of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedEntry {
    /// The whole key; foreign text.
    pub key: String,
    /// Its create_revision.
    pub token: i64,
    /// What its place means.
    pub state: PlaceState,
    /// The lease it hangs on, if any.
    pub lease: Option<i64>,
    /// How long that lease still lives, as the service says; for display only.
    pub remaining: Remaining,
    /// What it says about itself, where it is ours.
    pub entry: Option<Entry>,
}

/// How long a lease still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// So long, if nobody renews it.
    Time(Duration),
    /// As long as the processes of its run: in a folder.
    AsItsRun,
    /// Nobody has said.
    Unknown,
}

impl Remaining {
    /// The time, where there is one.
    pub const fn time(self) -> Option<Duration> {
        match self {
            Self::Time(time) => Some(time),
            Self::AsItsRun | Self::Unknown => None,
        }
    }
}

/// What a place in a queue means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceState {
    /// It holds the lock.
    Held,
    /// Nobody is in its way here, but its run waits for another lock.
    Reserved,
    /// It waits.
    Waiting,
}

impl PlaceState {
    /// The stable name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Reserved => "reserved",
            Self::Waiting => "waiting",
        }
    }
}

/// That somebody is to lose the lock, or the place: `break`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaking {
    /// The lock.
    pub name: LockName,
    /// Whose it is now.
    pub token: i64,
    /// Who wants it: `user@host`.
    pub by: String,
    /// `--reason`.
    pub reason: String,
    /// Revoke without asking.
    pub force: bool,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakProgress {
    /// It was asked, and has so long to answer.
    Asked(String, Duration),
    /// It answered: it will have stopped within so long.
    Answered(Duration),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It answered, stopped, and gave the lock back.
    GaveBack,
    /// It had gone before anything was done.
    Gone,
    /// It was revoked: why, and the other keys that went with it; foreign text.
    Revoked(Revocation, Vec<String>),
    /// Its lease ended by itself before it had answered or stopped.
    Vanished,
    /// It answered, but is still there.
    Stays,
    /// It is nobody who can be asked, and revoking was not asked for. Nothing was done.
    CannotBeAsked,
}

/// Why a lease was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// It did not answer within its TTL.
    Unanswered,
    /// `--force`.
    Forced,
    /// The same, and it is not leasehold's.
    Foreign,
    /// `--hold-min` kept it; its command had ended.
    Kept,
}

/// What happened under a lock, as far as the store knows it.
#[derive(Clone, Debug)]
pub struct Past {
    /// The revision that the account begins with: what was before is compacted. 0 where nothing is.
    pub begins: i64,
    /// The revision that it ends with.
    pub until: i64,
    /// The account.
    pub chronicle: Chronicle,
}

/// What happens while somebody watches.
#[derive(Debug)]
pub enum Witnessed<'account> {
    /// From this revision on; whose it is. What is told until the next revision was there already.
    From(i64, ClusterId),
    /// Something happened to a run.
    Happened {
        /// The lock.
        name: &'account LockName,
        /// The revision that it was.
        revision: i64,
        /// To whom.
        run: &'account Run,
        /// What.
        what: &'account What,
    },
    /// The store does not answer: why. It goes on when it does again.
    Unreachable(String),
    /// It answers again, and nothing was missed.
    Reached,
    /// Nothing happens just now: somebody may want to look at it again.
    Quiet,
}
