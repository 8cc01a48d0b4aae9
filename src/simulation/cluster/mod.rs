//! The members of the cluster: who leads, who only thinks so, and what each of them answers.
//!
//! From references/etcd.md, sections 1 and 2:
//! - Leases are counted by the leader alone, on its own clock, and renewed without a log entry. A new leader
//!   gives every lease its whole TTL again, and an election timeout more.
//! - A leader that was paused answers keepalives with success after it was deposed, until it learns of it.
//! - Expiry is looked for every half second, and then takes a commit.
//! - Whatever is read or written goes through the leader of the present term, or waits, or fails; a request
//!   that failed may have been done, or be done later.

// Paused, cut off, elected.
mod members;
// Who keeps which lease, and thinks so.
mod leases;
// What is told of changes.
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use crate::simulation::kernel::{self, Time};
use crate::simulation::protocol::{
    Answer, Header, KeyValue, Keys, Notice, Refusal, Reply, Request, Transaction, WatchFor,
};
use crate::simulation::random::Random;
use crate::simulation::sights::Sight;
use crate::simulation::store::Store;
use crate::simulation::world::Occurrence;

/// etcd's default (embed/config.go).
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);
const EXPIRY_TICK: Duration = Duration::from_millis(500);
/// ReqTimeout with that (server/config/config.go).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);
/// The shortest lease with that (server/lease/lessor.go, minTTL).
const TTL_MIN: i64 = 2;

/// A request at a member.
#[derive(Clone, Debug)]
pub struct Asked {
    pub host: usize,
    pub member: usize,
    pub exchange: u64,
    pub request: Rc<Request>,
}

#[derive(Debug)]
struct Watching {
    host: usize,
    watch: WatchFor,
    seen: i64,
    /// It began at the revision that was compacted last, of which the deletions are forgotten.
    compacted: Option<i64>,
}

/// A lease as one has it who counts it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// On its clock.
    expiry: Duration,
    ttl: i64,
}

#[derive(Debug, Default)]
pub struct Member {
    /// So many faults stop it.
    paused: u32,
    /// So many cut it off from the other members.
    cut: u32,
    term: u64,
    /// Whom it takes for the leader.
    leader: Option<usize>,
    /// It was the leader before it was paused, another one was elected, and it does not know.
    deposed: bool,
    /// Each lease, if it leads.
    lessor: BTreeMap<i64, Kept>,
    rate_ppm: i64,
    /// What arrived while it was paused.
    backlog: Vec<Asked>,
    watches: Vec<Watching>,
}

impl Member {
    const fn is_paused(&self) -> bool {
        self.paused > 0
    }

    const fn is_cut(&self) -> bool {
        self.cut > 0
    }

    fn clock(&self, time: Time) -> Duration {
        let nanos = time.as_nanos() as i128;
        Duration::from_nanos((nanos + nanos * i128::from(self.rate_ppm) / 1_000_000) as u64)
    }
}

/// What the world has to know of what the cluster did.
#[derive(Debug)]
pub enum Effect {
    Reply {
        asked: Asked,
        reply: Reply,
    },
    Notice {
        host: usize,
        member: usize,
        stream: u64,
        notice: Notice,
    },
    /// A lease ended on the server: because its time was over, or by somebody who was wrong.
    LeaseEnded {
        lease: i64,
        early: bool,
    },
    /// A request was carried out, and changed something.
    Changed,
    /// A lease was renewed by who could, or by who could not.
    Renewed {
        asked: Asked,
        lease: i64,
        truly: bool,
    },
}

#[derive(Debug)]
pub struct Knobs {
    /// The longest time a commit takes.
    pub commit_max: Duration,
    /// How far members' watches lag behind.
    pub lag_max: Duration,
    /// A deposed leader has the leases revoked that it takes for expired.
    pub revokes_early: bool,
    /// The server grants so much less than asked for.
    pub grants_percent: i64,
}

pub struct Cluster {
    pub members: Vec<Member>,
    pub store: Store,
    pub effects: Vec<Effect>,
    leader: Option<usize>,
    term: u64,
    stuck: Vec<Asked>,
    /// Those of them that somebody was told of that they failed.
    given_up: BTreeSet<u64>,
    /// What was carried out, or never will be: what comes of it after that was sent a second time by somebody in between.
    settled: BTreeSet<u64>,
    /// Keepalives that cannot reach him who was taken for the leader.
    held: Vec<(Asked, Header, usize)>,
    next_tick: Option<Time>,
    /// Until when everything is compacted at once.
    compacts_until: Time,
    knobs: Knobs,
    random: Random,
}

impl Cluster {
    pub fn new(rates_ppm: &[i64], knobs: Knobs, random: Random) -> Self {
        let member = |rate_ppm: &i64| Member {
            rate_ppm: *rate_ppm,
            term: 2,
            leader: Some(0),
            ..Member::default()
        };
        Self {
            members: rates_ppm.iter().map(member).collect(),
            store: Store::default(),
            effects: Vec::new(),
            leader: Some(0),
            term: 2,
            stuck: Vec::new(),
            given_up: BTreeSet::new(),
            settled: BTreeSet::new(),
            held: Vec::new(),
            next_tick: None,
            compacts_until: Time::ZERO,
            knobs,
            random,
        }
    }

    fn connected(&self, member: usize) -> bool {
        !self.members[member].is_paused() && !self.members[member].is_cut()
    }

    fn has_quorum(&self) -> bool {
        let connected = (0..self.members.len()).filter(|member| self.connected(*member));
        connected.count() * 2 > self.members.len()
    }

    /// Whether there is nothing more to come of this request, unless somebody in between sends it again.
    pub fn has_settled(&self, exchange: u64) -> bool {
        self.settled.contains(&exchange)
    }

    /// Whether a request at this member can be carried out now.
    pub fn can_serve(&self, member: usize) -> bool {
        let leads = |leader| self.connected(leader) && self.has_quorum();
        !self.members[member].is_cut() && self.leader.is_some_and(leads)
    }

    fn commit_time(&mut self) -> Time {
        kernel::time()
            + self
                .random
                .duration(Duration::from_micros(200), self.knobs.commit_max)
    }

    /// A request has arrived.
    pub fn ask(&mut self, asked: Asked) {
        if self.members[asked.member].is_paused() {
            self.members[asked.member].backlog.push(asked);
            return;
        }
        match &*asked.request {
            Request::Connect => {
                let header = self.header(asked.member);
                self.reply(asked, Reply::Answered(header, Answer::Connected));
            }
            Request::KeepAlive { .. } => self.forward_keepalive(asked),
            Request::TimeToLive { .. } if self.members[asked.member].leader.is_none() => {
                self.reply(asked, Reply::Refused(Refusal::NoLeader));
            }
            Request::TimeToLive { lease } => {
                let (header, lease) = (self.header(asked.member), *lease);
                let ttl = self.remaining(asked.member, lease);
                let is_there = ttl >= 0;
                let granted = self.store.ttl(lease).filter(|_| is_there);
                let answer = Answer::TimeToLive {
                    lease,
                    ttl,
                    granted: granted.unwrap_or_default(),
                    keys: self.store.keys_of(lease),
                };
                self.reply(asked, Reply::Answered(header, answer));
            }
            Request::Watch(watch) => {
                let watch = watch.clone();
                self.watch(asked.host, asked.member, watch);
            }
            _ if self.can_serve(asked.member) => {
                let at = self.commit_time();
                kernel::schedule(at, Occurrence::Commit(asked));
            }
            _ => self.cannot_serve(asked),
        }
    }

    /// Nobody leads, or we do not reach him: refuse, or wait and see.
    fn cannot_serve(&mut self, asked: Asked) {
        if self.random.percent(50) {
            kernel::saw(Sight::NoLeader);
            self.settled.insert(asked.exchange);
            return self.reply(asked, Reply::Refused(Refusal::NoLeader));
        }
        let at = kernel::time() + REQUEST_TIMEOUT;
        kernel::schedule(at, Occurrence::GiveUp(asked.clone()));
        self.stuck.push(asked);
    }

    /// A request that waits for a leader has waited long enough; half of them are carried out all the same when
    /// there is one.
    pub fn give_up(&mut self, asked: &Asked) {
        let is_it = |stuck: &Asked| stuck.exchange == asked.exchange;
        if !self.stuck.iter().any(is_it) {
            return;
        }
        kernel::saw(Sight::TimedOut);
        if self.random.percent(50) {
            self.stuck.retain(|stuck| !is_it(stuck));
            self.settled.insert(asked.exchange);
        } else {
            self.given_up.insert(asked.exchange);
        }
        self.reply(asked.clone(), Reply::Refused(Refusal::TimedOut));
    }

    /// A request takes its place in the log, and is applied.
    pub fn commit(&mut self, asked: Asked) {
        if !self.can_serve(asked.member) {
            return self.cannot_serve(asked);
        }
        if self.given_up.remove(&asked.exchange) {
            kernel::saw(Sight::DoneAfterTimeout);
        }
        self.settled.insert(asked.exchange);
        let leader = self.leader.expect("one that serves");
        let revision = self.store.revision;
        self.learn(asked.member);
        let result = match &*asked.request {
            Request::Get {
                keys,
                keys_only,
                revision,
            } => self.store.list_at(keys, *keys_only, *revision),
            Request::Compact { revision } => self.store.compact(*revision),
            Request::Delete { keys } => Ok(self.store.delete(keys)),
            Request::Transact(transaction) => self.store.transact(transaction),
            Request::Grant { lease, ttl } => {
                if self.knobs.grants_percent < 100 {
                    kernel::saw(Sight::GrantedLess);
                }
                let ttl = (ttl * self.knobs.grants_percent / 100).max(TTL_MIN);
                self.grant(leader, *lease, ttl)
            }
            Request::Revoke { lease } => {
                self.members[leader].lessor.remove(lease);
                self.store.revoke(*lease)
            }
            other => unreachable!("{other:?} takes no place in the log"),
        };
        if self.store.revision != revision {
            self.effects.push(Effect::Changed);
            self.tell_watches();
            if kernel::time() < self.compacts_until {
                self.compact();
            }
        }
        let header = self.header(asked.member);
        let reply = match result {
            Ok(answer) => Reply::Answered(header, answer),
            Err(refusal) => Reply::Refused(refusal),
        };
        self.reply(asked, reply);
    }

    fn header(&self, member: usize) -> Header {
        Header {
            member: member as u64 + 1,
            revision: self.store.revision,
            raft_term: self.members[member].term,
        }
    }

    fn reply(&mut self, asked: Asked, reply: Reply) {
        self.effects.push(Effect::Reply { asked, reply });
    }
}

// What others do to it, and see of it.
impl Cluster {
    pub fn compact_until(&mut self, until: Time) {
        self.compacts_until = until.max(self.compacts_until);
        self.compact();
    }

    fn compact(&mut self) {
        // There may be nothing new to forget.
        let _ = self.store.compact(self.store.revision);
    }

    /// What somebody other than the contenders does to the store, at once.
    pub fn interfere(&mut self, work: impl FnOnce(&mut Store)) {
        work(&mut self.store);
        self.tell_watches();
    }

    /// A transaction of a command's own; whether its comparisons held.
    pub fn write(&mut self, transaction: &Transaction) -> bool {
        let answer = self.store.transact(transaction);
        matches!(
            answer,
            Ok(Answer::Transacted {
                succeeded: true,
                ..
            })
        )
    }

    /// The keys that begin with `prefix`, each with its lease.
    pub fn left(&self, prefix: &str) -> Vec<(String, i64)> {
        let everything = Keys {
            key: prefix.into(),
            end: vec![0],
        };
        let keys = self.store.get(&everything).into_iter();
        keys.map(|kv| (String::from_utf8_lossy(&kv.key).into_owned(), kv.lease))
            .filter(|(key, _)| key.starts_with(prefix))
            .collect()
    }

    /// The markers without their entries: somebody vanished.
    pub fn orphans(&self) -> Vec<String> {
        let markers = self.left("/leasehold/~run/job/").into_iter();
        let is_orphan = |key: &String| {
            let id = key.rsplit('/').next().unwrap_or_default();
            self.entry(&format!("/leasehold/job/{id}")).is_none()
        };
        markers.map(|(key, _)| key).filter(is_orphan).collect()
    }

    /// The entries that hang on no lease.
    pub fn unleased_entries(&self) -> Vec<Keys> {
        let all = Keys {
            key: b"/leasehold/job/".to_vec(),
            end: b"/leasehold/job0".to_vec(),
        };
        let entries = self.store.get(&all).into_iter().filter(|kv| kv.lease == 0);
        entries
            .map(|kv| Keys {
                key: kv.key,
                end: Vec::new(),
            })
            .collect()
    }

    /// The key as it is now.
    pub fn entry(&self, key: &str) -> Option<KeyValue> {
        self.store.one(key.as_bytes())
    }
}
