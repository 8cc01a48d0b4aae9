//! The promises of the product page, looked at from outside after every step. Nothing here asks the supervisor
//! what it believes: who runs, until when the server has promised to keep a lease (counted from when the request was
//! sent), and what stands in the store are the facts.

// What a run says of its end.
mod endings;
// And whether it has a reason to.
mod reasons;
// What it lets others know of its end.
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use reasons::CONNECT_TIMEOUT;

use crate::clock::Instant;
use crate::lock::limit::Limit;
use crate::lock::token::{LeaseId, Token};
use crate::simulation::kernel::{self, Time};
use crate::simulation::protocol::Request;
use crate::simulation::scenario::{Scenario, Weather};
use crate::simulation::sights::Sight;
use crate::simulation::world::Options;

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// P1: two commands under one exclusive lock, or more than the limit of one of them allows.
    TwoCommands,
    /// P1: a command lives when its lease can have expired on the server.
    AliveAfterExpiry,
    /// P1: the lock is given back while a process of the tree lives.
    ReleasedTooEarly,
    /// P2: a token that is not larger than that of an earlier holder.
    TokenDoesNotGrow,
    /// P2: a guarded write of one that lost the lock succeeds, or of one that holds it is refused.
    FencedWrite,
    /// P4: an ending that does not say what happened, or two of them, or none.
    WrongOutcome,
    /// P5: somebody waits for ever.
    NeverEnded,
    /// P5: something of ours is left in the store.
    LeftBehind,
    /// P5: what was given back is there again.
    CameBack,
    /// P5: a run was lost although nothing went wrong that it has to notice.
    LostForNothing,
    /// P4: a run says that it lost the lock, found it busy or etcd away, and it was not so.
    NoReason,
    /// A queue entry that has to wait was put by one that must not.
    EnqueuedToWait,
    /// What somebody else put into the store was removed.
    ForeignRemoved,
    /// A tree was killed that could have been asked to end.
    KilledWithoutGrace,
    /// The guards had to do what a manager that runs has to do.
    GuardHadToAct,
    /// A command was started while nobody looked after it.
    StartedUnguarded,
    /// A command lives long after the front or the witness was killed.
    OutlivesGuard,
    /// A lock that was to be kept without its run is somebody else's before its time.
    FreedTooEarly,
    /// A thing is done again although it is remembered that it was done.
    DoneAgain,
    /// P4: what is recorded of a run is not what happened, not of the last run, or not there.
    RecordUntrue,
    /// P1: a run goes round in circles, and nothing else of its process gets its turn.
    GoesRound,
}

impl Kind {
    pub const ALL: &[Self] = &[
        Self::TwoCommands,
        Self::AliveAfterExpiry,
        Self::ReleasedTooEarly,
        Self::TokenDoesNotGrow,
        Self::FencedWrite,
        Self::WrongOutcome,
        Self::NeverEnded,
        Self::LeftBehind,
        Self::CameBack,
        Self::LostForNothing,
        Self::NoReason,
        Self::EnqueuedToWait,
        Self::ForeignRemoved,
        Self::KilledWithoutGrace,
        Self::GuardHadToAct,
        Self::StartedUnguarded,
        Self::OutlivesGuard,
        Self::FreedTooEarly,
        Self::DoneAgain,
        Self::RecordUntrue,
        Self::GoesRound,
    ];
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub at: Time,
    pub text: String,
}

/// How much longer a command may live after its host was suspended: until the timers have fired, the guards'
/// patience included.
const RESUMING: Duration = Duration::from_millis(200);

/// How much longer a command may live after one of its guards was killed.
const ORPHANED: Duration = Duration::from_millis(500);

/// Servers' clocks may be so much faster than true time.
const SERVER_RATE_PPM: u32 = 5_000;

#[derive(Debug, Default)]
struct Seen {
    arrived: bool,
    arrived_at: Time,
    /// It waits as long as it takes.
    is_patient: bool,
    wait: Option<Duration>,
    nonblock: bool,
    /// When it was told something last.
    heard_at: Option<Time>,
    gives_up: bool,
    /// Nobody stood before it whenever it asked, though it must not wait.
    found_free: Option<bool>,
    /// Its tree had ended by itself, in time.
    good_end: bool,
    /// The place that the live command runs under.
    runs: Option<(Token, LeaseId)>,
    dying: Duration,
    /// How many may run with it; nothing for the last one, which comes when all others are gone.
    limit: Option<Limit>,
    lock_delay: Duration,
    suspended: bool,
    /// Its manager is frozen.
    frozen: bool,
    /// After a suspend its tree may live until then.
    excused_until: Time,
    /// Its place was taken away before its time, in a way that the lock delay does not cover.
    betrayed: bool,
    entry_gone: bool,
    told_of_loss: bool,
    /// The command's end was seen when the lock could not be proved any more.
    late_end: bool,
    may_kill_at_once: bool,
    /// It had its TERM; until then it may end by itself.
    grace_until: Option<Instant>,
    stands_by: bool,
    /// Something was done to its place.
    tampered: bool,
    guard_gone_at: Option<Time>,
    /// Its lock is kept until then, if that can be done: is it?
    kept: Option<(Time, bool)>,
    ran: bool,
    /// What it ran under last.
    lease: Option<LeaseId>,
    token: Option<Token>,
    /// When its command was started, and when nobody was left of it.
    started_at: Time,
    gone_at: Time,
    /// How it ended: as it is recorded, and as it said itself.
    recorded: Option<(String, u8)>,
    said: Option<(String, u8)>,
    endings: usize,
    /// Until when the server keeps each lease, by what this host was told.
    until: BTreeMap<i64, Time>,
}

impl Seen {
    fn limit(&self) -> Limit {
        self.limit.unwrap_or(Limit::EXCLUSIVE)
    }
}

pub struct Checker {
    pub violation: Option<Violation>,
    pub commands: usize,
    pub commands_at_once: usize,
    pub lost: usize,
    only: Option<&'static [Kind]>,
    except: Option<Kind>,
    weather: Weather,
    /// A leader may end leases before their time.
    revokes_early: bool,
    grants_less: bool,
    hosts: Vec<Seen>,
    last_token: i64,
    last_exclusive_token: i64,
    written_token: i64,
    /// Keys of places that were given back.
    given_back: Vec<(i64, String)>,
    /// When each grant and keepalive was sent.
    sent: BTreeMap<u64, Time>,
    /// Keepalives that were carried out by one who could not.
    untrue: BTreeSet<u64>,
    /// The leases of which a grant, and those of which an entry was carried out again, since somebody in between had
    /// sent it a second time.
    granted_again: BTreeSet<i64>,
    put_again: BTreeSet<i64>,
    /// When somebody first went away because of them.
    orphans_met: BTreeMap<String, Time>,
    /// What is recorded under each key: since which revision, and the token of the run.
    records: BTreeMap<String, (i64, i64)>,
}

impl Checker {
    pub fn new(scenario: &Scenario, Options { only, except, .. }: Options) -> Self {
        let hosts = scenario.hosts.iter().map(|host| Seen {
            dying: host.command.dying,
            lock_delay: host.lock_delay,
            limit: Some(host.limit),
            is_patient: host.wait.is_none(),
            wait: host.wait,
            nonblock: host.nonblock,
            ..Seen::default()
        });
        Self {
            violation: None,
            commands: 0,
            commands_at_once: 0,
            lost: 0,
            only,
            except,
            weather: scenario.weather,
            revokes_early: scenario.revokes_early,
            grants_less: scenario.grants_percent < 100,
            // One more: see `World::everybody_left`.
            hosts: hosts.chain([Seen::default()]).collect(),
            last_token: 0,
            last_exclusive_token: 0,
            written_token: 0,
            given_back: Vec::new(),
            sent: BTreeMap::new(),
            untrue: BTreeSet::new(),
            granted_again: BTreeSet::new(),
            put_again: BTreeSet::new(),
            orphans_met: BTreeMap::new(),
            records: BTreeMap::new(),
        }
    }

    fn is_stormy(&self) -> bool {
        self.weather == Weather::Stormy
    }

    fn is_exclusive(&self, host: usize) -> bool {
        self.hosts[host].limit() == Limit::EXCLUSIVE
    }

    /// Only the first counts.
    pub fn violated(&mut self, kind: Kind, text: String) {
        if self.only.is_some_and(|only| !only.contains(&kind)) || self.except == Some(kind) {
            return;
        }
        let at = kernel::time();
        self.violation.get_or_insert(Violation { kind, at, text });
    }

    /// What has to hold at every instant.
    pub fn check(&mut self) {
        // Most of the time nobody runs.
        if self.hosts.iter().all(|seen| seen.runs.is_none()) {
            return;
        }
        let now = kernel::time();
        let runs = |seen: &&Seen| {
            seen.runs.is_some() && !seen.suspended && !seen.betrayed && now >= seen.excused_until
        };
        let running = self.hosts.iter().filter(runs);
        let strictest = running.clone().map(Seen::limit).min();
        let count = running.count();
        self.commands_at_once = self.commands_at_once.max(count);
        let others = count.saturating_sub(1);
        if strictest.is_some_and(|strictest| !strictest.admits(others)) {
            let who: Vec<usize> = (0..self.hosts.len())
                .filter(|host| runs(&&self.hosts[*host]))
                .collect();
            self.violated(
                Kind::TwoCommands,
                format!("the commands of hosts {who:?} run"),
            );
        }
        for (number, seen) in self.hosts.iter().enumerate().filter(|(_, seen)| runs(seen)) {
            if let Some((_, lease)) = seen.runs
                && seen
                    .until
                    .get(&lease.get())
                    .is_some_and(|until| *until < now)
            {
                let text = format!("host {number}: its command lives and its lease need not");
                return self.violated(Kind::AliveAfterExpiry, text);
            }
            let patience = ORPHANED + seen.dying;
            if seen.guard_gone_at.is_some_and(|at| at + patience < now) && !seen.frozen {
                let text = format!("host {number}: its command lives on without its guards");
                return self.violated(Kind::OutlivesGuard, text);
            }
        }
    }

    // What is known of leases.

    pub fn sent(&mut self, _host: usize, exchange: u64, request: &Request) {
        if matches!(request, Request::Grant { .. } | Request::KeepAlive { .. }) {
            self.sent.insert(exchange, kernel::time());
        }
    }

    pub fn renewed_by_leader(&mut self, exchange: u64, truly: bool) {
        if !truly {
            self.untrue.insert(exchange);
        }
    }

    /// The host was told that its lease was granted or renewed, which may even be true.
    pub fn kept_alive(&mut self, host: usize, exchange: u64, lease: i64, ttl: i64) {
        let Some(sent_at) = self.sent.remove(&exchange) else {
            return;
        };
        if self.untrue.remove(&exchange) || ttl <= 0 {
            return;
        }
        let ttl = Duration::from_secs(ttl as u64) * 1_000_000 / (1_000_000 + SERVER_RATE_PPM);
        let until = self.hosts[host].until.entry(lease).or_default();
        *until = (*until).max(sent_at + ttl);
        let check_at = *until + Duration::from_nanos(1);
        kernel::schedule(check_at, crate::simulation::world::Occurrence::Check);
    }

    // What happens to places and trees.

    pub fn sent_again_by_others(&mut self, request: &Request) {
        match request {
            Request::Grant { lease, .. } => {
                self.granted_again.insert(*lease);
            }
            Request::Transact(transaction) => self.put_again.extend(transaction.leases_of_puts()),
            _ => {}
        }
    }

    pub fn arrived(&mut self, host: usize) {
        self.hosts[host].arrived = true;
        self.hosts[host].arrived_at = kernel::time();
    }

    pub fn has_arrived(&self, host: usize) -> bool {
        self.hosts[host].arrived
    }

    pub fn front_stands_by(&mut self, host: usize) {
        self.hosts[host].stands_by = true;
    }

    pub fn started(&mut self, host: usize, token: Token, lease: LeaseId) {
        self.commands += 1;
        let seen = &mut self.hosts[host];
        seen.runs = Some((token, lease));
        seen.lease = Some(lease);
        seen.token = Some(token);
        seen.started_at = kernel::time();
        let ran_before = std::mem::replace(&mut seen.ran, true);
        if ran_before {
            self.violated(
                Kind::WrongOutcome,
                format!("host {host} starts its command again"),
            );
        }
        if !self.hosts[host].stands_by {
            let text = format!("host {host}: the front did not say that it stands by");
            self.violated(Kind::StartedUnguarded, text);
        }
        // Those who hold it together start in any order; whoever holds it alone comes after all before it.
        let token_of = |alone: bool| match alone {
            true => self.last_token,
            false => self.last_exclusive_token,
        };
        let last = token_of(self.is_exclusive(host));
        self.last_token = self.last_token.max(token.get());
        if self.is_exclusive(host) {
            self.last_exclusive_token = self.last_token;
        }
        let now = kernel::time();
        let is_kept = |(_, seen): &(usize, &Seen)| {
            seen.kept.is_some_and(|(until, done)| done && now < until) && !seen.tampered
        };
        let kept = self.hosts.iter().enumerate().find(is_kept);
        if let Some((other, _)) = kept.filter(|_| !self.revokes_early) {
            let text = format!("host {host} starts, and the lock of host {other} is to be kept");
            self.violated(Kind::FreedTooEarly, text);
        }
        if token.get() <= last {
            let text = format!("host {host} has token {token}, after {last}");
            self.violated(Kind::TokenDoesNotGrow, text);
        }
    }

    /// The place of the live command, as long as it is not known to be gone.
    pub fn runs_under(&self, host: usize) -> Option<(Token, LeaseId)> {
        self.hosts[host]
            .runs
            .filter(|_| !self.hosts[host].entry_gone)
    }

    /// The entry that a live command runs under is gone: is that covered by the lock delay?
    pub fn entry_is_gone(&mut self, host: usize) {
        let weather = self.weather;
        let seen = &mut self.hosts[host];
        seen.entry_gone = true;
        let until = seen
            .runs
            .and_then(|(_, lease)| seen.until.get(&lease.get()));
        let covered = kernel::time() + seen.lock_delay * 98 / 100;
        let is_early = until.is_some_and(|until| *until > covered);
        // Where everything else works, it is told in time.
        seen.betrayed |= is_early && weather != Weather::Betrayed;
    }

    pub fn told_of_loss(&mut self, host: usize) {
        if self.weather != Weather::Stormy && !self.hosts[host].tampered {
            let text = format!("host {host} lost its place, and nobody took it");
            self.violated(Kind::LostForNothing, text);
        }
        let seen = &mut self.hosts[host];
        seen.may_kill_at_once = true;
        seen.told_of_loss |= seen.runs.is_some();
    }

    pub fn tree_is_gone(&mut self, host: usize) {
        self.hosts[host].runs = None;
        self.hosts[host].gone_at = kernel::time();
    }

    pub fn suspended(&mut self, host: usize) {
        self.hosts[host].suspended = true;
    }

    pub fn resumed(&mut self, host: usize) {
        let seen = &mut self.hosts[host];
        seen.suspended = false;
        seen.excused_until = kernel::time() + RESUMING + seen.dying;
        let check_at = seen.excused_until;
        kernel::schedule(check_at, crate::simulation::world::Occurrence::Check);
    }

    pub fn guard_is_gone(&mut self, host: usize) {
        self.hosts[host].guard_gone_at = Some(kernel::time());
        let check_at = kernel::time() + ORPHANED + self.hosts[host].dying;
        let check_at = check_at + Duration::from_nanos(1);
        kernel::schedule(check_at, crate::simulation::world::Occurrence::Check);
    }

    pub fn frozen(&mut self, host: usize, frozen: bool) {
        let seen = &mut self.hosts[host];
        seen.frozen = frozen;
        // It has the whole time again.
        seen.guard_gone_at = seen.guard_gone_at.map(|_| kernel::time());
    }

    pub fn tampered(&mut self, host: usize) {
        self.hosts[host].tampered = true;
    }

    pub fn is_tampered(&self, host: usize) -> bool {
        self.hosts[host].tampered
    }

    pub fn may_kill_at_once(&mut self, host: usize) {
        self.hosts[host].may_kill_at_once = true;
    }

    pub fn termed(&mut self, host: usize, grace_until: Instant) {
        self.hosts[host].grace_until.get_or_insert(grace_until);
    }

    pub fn kills(&mut self, host: usize, now: Instant, overdue: bool) {
        let seen = &self.hosts[host];
        let grace_is_over = seen.grace_until.is_some_and(|until| until <= now);
        if !(seen.may_kill_at_once || overdue || grace_is_over) {
            let text = format!("host {host} kills what it could have asked to end");
            self.violated(Kind::KilledWithoutGrace, text);
        }
    }

    pub fn end_seen(&mut self, host: usize, late: bool) {
        let seen = &mut self.hosts[host];
        // One that has had its TERM ends because of it.
        seen.late_end |= late && seen.grace_until.is_none();
    }

    pub fn wrote(&mut self, host: usize, token: i64, succeeded: bool) {
        let now = kernel::time();
        let seen = &self.hosts[host];
        let entry_gone = seen.entry_gone;
        let holds = seen.runs.is_some_and(|(own, lease)| {
            let until = seen.until.get(&lease.get());
            own.get() == token && until.is_some_and(|until| *until > now)
        });
        let newer = match self.is_exclusive(host) {
            true => self.last_token.max(self.written_token),
            false => self.last_exclusive_token,
        };
        if succeeded && token < newer {
            let text = format!("host {host}: a write with token {token} after {newer}");
            self.violated(Kind::FencedWrite, text);
        } else if !succeeded && holds && !entry_gone {
            let text = format!("host {host}: a holder's write with token {token} is refused");
            self.violated(Kind::FencedWrite, text);
        }
        if succeeded {
            kernel::saw(Sight::WriteSucceeded);
            self.written_token = token;
        } else if entry_gone {
            kernel::saw(Sight::WriteRefused);
        }
    }
}
