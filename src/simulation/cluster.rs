//! The members of the cluster: who leads, who only thinks so, and what each of them answers.
//!
//! From references/etcd.md, sections 1 and 2:
//! - Leases are counted by the leader alone, on its own clock, and renewed without a log entry. A new leader
//!   gives every lease its whole TTL again, and an election timeout more.
//! - A leader that was paused answers keepalives with success after it was deposed, until it learns of it.
//! - Expiry is looked for every half second, and then takes a commit.
//! - Whatever is read or written goes through the leader of the present term, or waits, or fails; a request
//!   that failed may have been done, or be done later.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::simulation::kernel::{self, Time};
use crate::simulation::protocol::{
    Answer, Change, Header, KeyValue, Keys, Notice, Refusal, Reply, Request, Transaction, WatchFor,
};
use crate::simulation::random::Random;
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
    pub request: Request,
}

#[derive(Debug)]
struct Watching {
    host: usize,
    watch: WatchFor,
    seen: i64,
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
    /// When each lease expires on its clock, if it leads.
    lessor: BTreeMap<i64, Duration>,
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
    /// A request was carried out.
    Done,
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
    /// Keepalives that cannot reach him who was taken for the leader.
    held: Vec<(Asked, Header, usize)>,
    next_tick: Option<Time>,
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
            held: Vec::new(),
            next_tick: None,
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

    /// Whether a request at this member can be carried out now.
    fn can_serve(&self, member: usize) -> bool {
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
        match &asked.request {
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
                self.reply(
                    asked,
                    Reply::Answered(header, Answer::TimeToLive { lease, ttl }),
                );
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
        if self.random.percent(50) {
            self.stuck.retain(|stuck| !is_it(stuck));
        }
        self.reply(asked.clone(), Reply::Refused(Refusal::TimedOut));
    }

    fn retry_stuck(&mut self) {
        for (asked, header, leader) in std::mem::take(&mut self.held) {
            let what = Occurrence::KeepAlive {
                asked,
                header,
                leader,
            };
            kernel::schedule(kernel::time(), what);
        }
        for asked in std::mem::take(&mut self.stuck) {
            if self.can_serve(asked.member) {
                let at = self.commit_time();
                kernel::schedule(at, Occurrence::Commit(asked));
            } else {
                self.stuck.push(asked);
            }
        }
    }

    /// A request takes its place in the log, and is applied.
    pub fn commit(&mut self, asked: Asked) {
        if !self.can_serve(asked.member) {
            return self.cannot_serve(asked);
        }
        let leader = self.leader.expect("one that serves");
        let revision = self.store.revision;
        self.learn(asked.member);
        let result = match &asked.request {
            Request::Get { keys, keys_only } => {
                let mut kvs = self.store.get(keys);
                if *keys_only {
                    kvs.iter_mut().for_each(|kv| kv.value.clear());
                }
                Ok(Answer::Got(kvs))
            }
            Request::Delete { keys } => Ok(self.store.delete(keys)),
            Request::Transact(transaction) => self.store.transact(transaction),
            Request::Grant { lease, ttl } => {
                let ttl = (ttl * self.knobs.grants_percent / 100).max(TTL_MIN);
                self.grant(leader, *lease, ttl)
            }
            Request::Revoke { lease } => {
                self.members[leader].lessor.remove(lease);
                self.store.revoke(*lease)
            }
            other => unreachable!("{other:?} takes no place in the log"),
        };
        self.effects.push(Effect::Done);
        if self.store.revision != revision {
            self.tell_watches();
        }
        let header = self.header(asked.member);
        let reply = match result {
            Ok(answer) => Reply::Answered(header, answer),
            Err(refusal) => Reply::Refused(refusal),
        };
        self.reply(asked, reply);
    }

    fn grant(&mut self, leader: usize, lease: i64, ttl: i64) -> Result<Answer, Refusal> {
        let granted = self.store.grant(lease, ttl)?;
        let member = &mut self.members[leader];
        let expiry = member.clock(kernel::time()) + Duration::from_secs(ttl as u64);
        member.lessor.insert(lease, expiry);
        self.tick_on();
        Ok(granted)
    }

    fn forward_keepalive(&mut self, asked: Asked) {
        let header = self.header(asked.member);
        let leader = self.members[asked.member].leader;
        let is_cut = leader != Some(asked.member) && self.members[asked.member].is_cut();
        match leader {
            // Until somebody leads, or for ever: the client gives up before.
            None => self.reply(asked, Reply::Refused(Refusal::NoLeader)),
            Some(_) if is_cut => {}
            Some(leader) => {
                let at =
                    kernel::time() + self.random.duration(Duration::ZERO, self.knobs.commit_max);
                kernel::schedule(
                    at,
                    Occurrence::KeepAlive {
                        asked,
                        header,
                        leader,
                    },
                );
            }
        }
    }

    /// A keepalive at him who was taken for the leader.
    pub fn keep_alive(&mut self, asked: Asked, header: Header, leader: usize) {
        let again = |at, asked| {
            kernel::schedule(
                at,
                Occurrence::KeepAlive {
                    asked,
                    header,
                    leader,
                },
            )
        };
        let now = kernel::time();
        let Request::KeepAlive { lease } = asked.request else {
            unreachable!("only keepalives come here");
        };
        let member = &mut self.members[leader];
        // Waits in his buffers, or for him to be reached again.
        if member.is_paused() || (member.is_cut() && asked.member != leader) {
            return self.held.push((asked, header, leader));
        }
        if member.leader != Some(leader) {
            return self.reply(asked, Reply::Refused(Refusal::NotPrimary));
        }
        let clock = member.clock(now);
        let ttl = self.store.ttl(lease);
        let known = member.lessor.get(&lease).copied();
        let (Some(expiry), Some(ttl)) = (known, ttl.or(known.map(|_| 0))) else {
            let answer = Answer::KeptAlive { lease, ttl: 0 };
            return self.reply(asked, Reply::Answered(header, answer));
        };
        if expiry <= clock {
            // Waits for the revocation, or for its own demotion (server/lease/lessor.go, Renew).
            return again(now + Duration::from_millis(50), asked);
        }
        let truly = !member.deposed;
        member
            .lessor
            .insert(lease, clock + Duration::from_secs(ttl as u64));
        self.effects.push(Effect::Renewed {
            asked: asked.clone(),
            lease,
            truly,
        });
        let answer = Answer::KeptAlive { lease, ttl };
        self.reply(asked, Reply::Answered(header, answer));
    }

    /// From the leader's lessor, whoever he is, in whole seconds; -1 where there is no such lease.
    fn remaining(&self, member: usize, lease: i64) -> i64 {
        let Some(leader) = self.members[member].leader else {
            return -1;
        };
        let leader = &self.members[leader];
        leader.lessor.get(&lease).map_or(-1, |expiry| {
            expiry
                .saturating_sub(leader.clock(kernel::time()))
                .as_secs() as i64
        })
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

// Time and trouble.
impl Cluster {
    fn tick_on(&mut self) {
        let leading = |(number, member): &(usize, &Member)| member.leader == Some(*number);
        let members = self.members.iter().enumerate().filter(leading);
        let due = members.filter_map(|(_, member)| {
            let left = member.lessor.values().min()?;
            Some(left.saturating_sub(member.clock(kernel::time())))
        });
        let Some(due) = due.min() else { return };
        // The ticks at which nothing has expired need not happen.
        let ticks = due.as_millis() / EXPIRY_TICK.as_millis() + 1;
        let at = kernel::time() + EXPIRY_TICK * ticks as u32;
        if self.next_tick.is_none_or(|next| at < next) {
            self.next_tick = Some(at);
            kernel::schedule(at, Occurrence::ExpiryTick);
        }
    }

    /// Everybody who takes himself for the leader looks for leases that have expired.
    pub fn expiry_tick(&mut self) {
        self.next_tick = None;
        for number in 0..self.members.len() {
            let member = &self.members[number];
            if member.is_paused() || member.is_cut() || member.leader != Some(number) {
                continue;
            }
            let (clock, deposed) = (member.clock(kernel::time()), member.deposed);
            let expired: Vec<i64> = member
                .lessor
                .iter()
                .filter(|(_, expiry)| **expiry <= clock)
                .map(|(lease, _)| *lease)
                .collect();
            for lease in expired {
                if !deposed || self.knobs.revokes_early {
                    let at = self.commit_time();
                    kernel::schedule(
                        at,
                        Occurrence::Expire {
                            lease,
                            early: deposed,
                        },
                    );
                }
            }
        }
        self.tick_on();
    }

    /// A revocation that nobody of ours asked for is committed.
    pub fn expire(&mut self, lease: i64, early: bool) {
        let Some(leader) = self.leader.filter(|leader| self.can_serve(*leader)) else {
            // Found again by the next tick that can do something about it.
            return;
        };
        let clock = self.members[leader].clock(kernel::time());
        let lives = |expiry: &Duration| *expiry > clock;
        if !early && self.members[leader].lessor.get(&lease).is_some_and(lives) {
            // Found by one leader, and renewed by the next.
            return;
        }
        let early = self.members[leader].lessor.get(&lease).is_some_and(lives);
        if self.store.revoke(lease).is_ok() {
            self.members[leader].lessor.remove(&lease);
            self.effects.push(Effect::LeaseEnded { lease, early });
            self.tell_watches();
        }
    }

    pub fn pause(&mut self, member: usize) {
        self.members[member].paused += 1;
        self.leader_in_trouble(member);
    }

    pub fn resume(&mut self, member: usize) {
        self.members[member].paused -= 1;
        if self.members[member].is_paused() {
            return;
        }
        let is_deposed = self.members[member].leader == Some(member) && self.leader != Some(member);
        let state = &mut self.members[member];
        state.deposed = is_deposed;
        let mut backlog = std::mem::take(&mut state.backlog);
        if is_deposed {
            // It takes a moment to learn of it, in which it is as it was.
            let window = self.random.millis(1, 300);
            kernel::schedule(kernel::time() + window, Occurrence::Learn(member));
            self.expiry_tick_at_once(member);
        } else {
            self.learn(member);
        }
        for asked in backlog.drain(..) {
            self.ask(asked);
        }
        self.retry_stuck();
        self.tell_watches();
    }

    /// Its ticker fires at once when it resumes.
    fn expiry_tick_at_once(&mut self, member: usize) {
        if self.knobs.revokes_early && self.random.percent(70) {
            let clock = self.members[member].clock(kernel::time());
            let lessor = &self.members[member].lessor;
            let expired: Vec<i64> = lessor
                .iter()
                .filter(|(_, expiry)| **expiry <= clock)
                .map(|(lease, _)| *lease)
                .collect();
            for lease in expired {
                let at = self.commit_time();
                kernel::schedule(at, Occurrence::Expire { lease, early: true });
            }
        }
    }

    pub fn cut(&mut self, member: usize) {
        if self.members.len() == 1 {
            return;
        }
        self.members[member].cut += 1;
        if self.members[member].leader == Some(member) {
            // CheckQuorum: within two election timeouts.
            let window = self.random.duration(ELECTION_TIMEOUT, 2 * ELECTION_TIMEOUT);
            kernel::schedule(kernel::time() + window, Occurrence::Learn(member));
        }
        self.leader_in_trouble(member);
    }

    pub fn heal(&mut self, member: usize) {
        if self.members.len() == 1 {
            return;
        }
        self.members[member].cut -= 1;
        self.learn(member);
        self.retry_stuck();
        self.tell_watches();
    }

    fn leader_in_trouble(&mut self, member: usize) {
        if self.leader == Some(member) {
            let soon = self.random.duration(ELECTION_TIMEOUT, 2 * ELECTION_TIMEOUT);
            kernel::schedule(kernel::time() + soon, Occurrence::Election);
        }
    }

    /// A follower has heard nothing from the leader for too long.
    pub fn election(&mut self) {
        if self.leader.is_some_and(|leader| self.connected(leader)) {
            return;
        }
        let candidates: Vec<usize> = (0..self.members.len())
            .filter(|member| self.connected(*member))
            .collect();
        if candidates.len() * 2 <= self.members.len() {
            let again = self.random.duration(ELECTION_TIMEOUT, 2 * ELECTION_TIMEOUT);
            kernel::schedule(kernel::time() + again, Occurrence::Election);
            return;
        }
        let elected = self.random.pick(&candidates);
        self.term += 1;
        self.leader = Some(elected);
        let leases: Vec<(i64, i64)> = self.store.leases().collect();
        let member = &mut self.members[elected];
        let clock = member.clock(kernel::time());
        let promoted = |ttl: i64| clock + ELECTION_TIMEOUT + Duration::from_secs(ttl as u64);
        member.lessor = leases
            .into_iter()
            .map(|(lease, ttl)| (lease, promoted(ttl)))
            .collect();
        self.learn(elected);
        for other in candidates {
            let late = self.random.millis(0, 200);
            kernel::schedule(kernel::time() + late, Occurrence::Learn(other));
        }
        self.tick_on();
        self.retry_stuck();
    }

    /// A member learns who leads; he who led before and does not any more forgets his leases.
    pub fn learn(&mut self, member: usize) {
        if self.members[member].is_paused() {
            return;
        }
        let reaches = !self.members[member].is_cut();
        if !reaches && self.leader == Some(member) {
            // It has stepped down, and nobody else leads yet.
            self.leader = None;
        }
        let (term, leader) = (self.term, self.leader);
        let state = &mut self.members[member];
        if reaches {
            state.term = term;
            state.leader = leader;
        } else if state.leader == Some(member) {
            state.leader = None;
        }
        if state.leader != Some(member) {
            state.lessor.clear();
        }
        state.deposed = false;
    }

    fn watch(&mut self, host: usize, member: usize, watch: WatchFor) {
        let header = self.header(member);
        let (stream, number) = (watch.stream, watch.watch);
        let mut notice = |notice| {
            self.effects.push(Effect::Notice {
                host,
                member,
                stream,
                notice,
            });
        };
        notice(Notice::Created {
            watch: number,
            header,
        });
        if watch.start_revision > 0 && watch.start_revision <= self.store.compacted {
            let revision = self.store.compacted;
            return notice(Notice::Compacted {
                watch: number,
                header,
                revision,
            });
        }
        let seen = match watch.start_revision {
            0 => self.store.revision,
            start => start - 1,
        };
        self.members[member]
            .watches
            .push(Watching { host, watch, seen });
        self.tell_watches();
    }

    pub fn close_stream(&mut self, member: usize, stream: u64) {
        let watches = &mut self.members[member].watches;
        watches.retain(|watching| watching.watch.stream != stream);
    }

    fn tell_watches(&mut self) {
        for member in 0..self.members.len() {
            if self.members[member].watches.is_empty() {
                continue;
            }
            let lag = self.random.duration(Duration::ZERO, self.knobs.lag_max);
            kernel::schedule(kernel::time() + lag, Occurrence::Applied(member));
        }
    }

    /// A member has applied what was committed, and tells those who watch.
    pub fn applied(&mut self, member: usize) {
        if !self.connected(member) {
            return;
        }
        let header = self.header(member);
        for watching in &mut self.members[member].watches {
            let watch = &watching.watch;
            let wanted = |change: &&Change| {
                let filtered = if change.deleted {
                    watch.no_delete
                } else {
                    watch.no_put
                };
                !filtered && watch.keys.covers(&change.kv.key)
            };
            let news = self.store.changes_since(watching.seen);
            let changes: Vec<Change> = news.iter().filter(wanted).cloned().collect();
            watching.seen = self.store.revision.max(watching.seen);
            if !changes.is_empty() {
                let notice = Notice::Happened {
                    watch: watch.watch,
                    header,
                    changes,
                };
                let (host, stream) = (watching.host, watch.stream);
                self.effects.push(Effect::Notice {
                    host,
                    member,
                    stream,
                    notice,
                });
            }
        }
    }

    pub fn compact(&mut self) {
        self.store.compacted = self.store.revision;
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

    /// The keys that begin with `prefix`.
    pub fn left(&self, prefix: &str) -> Vec<String> {
        let everything = Keys {
            key: prefix.into(),
            end: vec![0],
        };
        let keys = self.store.get(&everything).into_iter();
        keys.map(|kv| String::from_utf8_lossy(&kv.key).into_owned())
            .filter(|key| key.starts_with(prefix))
            .collect()
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
