//! The seam: what a lock service reports and accepts.
//!
//! A service turns the supervisor's actions (`Enqueue`, `Renew`, `Announce`, `Release`) into events. It
//! reports facts and never decides: every bound in time comes with the action, as an instant.
//! A service is started inside the manager's tokio runtime and reports through one channel.

// The service on an etcd cluster.
pub mod etcd;

use std::time::Duration;

use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::lock::last_run::LastRun;
use crate::lock::limit::Limit;
use crate::lock::name::LockName;
use crate::lock::once::{OnceId, OnceRecord};
use crate::lock::token::ClusterId;

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
    /// Everybody in the queue, the oldest first.
    pub entries: Vec<InspectedEntry>,
    /// How many may hold it at once while these do: the smallest limit among them. Nothing while nobody does.
    pub limit: Option<Limit>,
    /// Holders that vanished without releasing: what is known of each.
    pub vanished: Vec<Option<Entry>>,
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
    /// How long that lease still lives, as the server says; for display only.
    pub remaining: Option<Duration>,
    /// What it says about itself, where it is ours.
    pub entry: Option<Entry>,
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
