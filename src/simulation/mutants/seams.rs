//! Where the rules are broken: at the events and actions of the supervisor, and at what is sent to etcd and what comes
//! back.

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::lock::limit::Limit;
use crate::outcome::{Ended, Loss, Outcome};
use crate::simulation::checker::CONNECT_TIMEOUT;
use crate::simulation::host::{Host, name};
use crate::simulation::kernel;
use crate::simulation::machine::{Step, Tree};
use crate::simulation::mutants::{Mutant, transactions};
use crate::simulation::policies;
use crate::simulation::protocol::{Answer, KeyValue, Op, OpAnswer, Reply, Request};
use crate::simulation::world::Occurrence;
use crate::supervisor::{Action, Event, Place, Queue};

/// What mutants remember of a host.
#[derive(Debug, Default)]
pub struct Memory {
    first_place: Option<Place>,
    published: bool,
    lost: bool,
    failing: bool,
    /// Whom it stood behind at its first reading, and in which place.
    predecessor: Option<(Vec<u8>, Vec<u8>)>,
}

/// The event that the supervisor is told, and at what time; none where it is kept from it.
pub fn event(
    mutant: Option<Mutant>,
    host: &mut Host,
    now: Instant,
    mut event: Event,
) -> Option<(Instant, Event)> {
    let lease = host
        .manager
        .as_ref()
        .and_then(|it| it.supervisor.lease().copied());
    let asked = host.plan.ttl;
    let (Some(mutant), told) = (mutant, &mut event) else {
        return Some((now, event));
    };
    match (mutant, told) {
        (
            Mutant::DeadlineFromReceipt,
            Event::Enqueued { sent_at, .. } | Event::Renewed { sent_at, .. },
        ) => *sent_at = now,
        (mutant, Event::Enqueued { ttl, .. } | Event::Renewed { ttl, .. })
            if believed(mutant, *ttl, asked).is_some() =>
        {
            *ttl = believed(mutant, *ttl, asked).unwrap_or(*ttl);
        }
        (Mutant::OldToken, Event::Enqueued { place, .. }) => {
            let first = host.memory.first_place.get_or_insert_with(|| place.clone());
            place.token = first.token;
        }
        (Mutant::LossIgnored, Event::Gone(_)) => return None,
        (Mutant::GuardGoneIgnored, Event::FrontGone | Event::WitnessGone) => return None,
        (Mutant::StaleStart, Event::FrontReady) => {
            return Some((lease.map_or(now, |lease| lease.sent_at), event));
        }
        (Mutant::LateEndIsSuccess, Event::Ended(_) | Event::Empty) => {
            let early = lease.map_or(now, |lease| lease.stop_at() - Duration::from_nanos(1));
            return Some((now.min(early), event));
        }
        (Mutant::GraceAfterLoss, Event::Gone(_)) => host.memory.lost = true,
        (Mutant::OutageIsLoss, Event::Failed { .. }) => host.memory.failing = true,
        (Mutant::OutageIsLoss, Event::Renewed { .. }) => host.memory.failing = false,
        (Mutant::BusyThoughFree, Event::Enqueued { place, .. }) if host.plan.nonblock => {
            return Some((now, busy(place)));
        }
        (Mutant::NobodyRuns, Event::Enqueued { place, .. }) => return Some((now, busy(place))),
        (Mutant::ReleaseAtEnd, Event::Ended(_)) => host.inbox.push_front(Event::Empty),
        _ => {}
    }
    Some((now, event))
}

/// Somebody has the lock.
fn busy(place: &Place) -> Event {
    Event::Busy {
        queue: Queue::default(),
        cluster: place.cluster,
    }
}

/// The TTL that a mutant takes for granted.
fn believed(mutant: Mutant, ttl: Duration, asked: Duration) -> Option<Duration> {
    let seconds = ttl.as_secs_f64();
    // The TTL for which the shipped margin gives the instant to kill that this margin would.
    let with_margin = |margin: f64| {
        let kill_at = seconds - margin;
        let long = kill_at / 0.94;
        let short = (kill_at + 0.5) / 0.99;
        Some(Duration::from_secs_f64(if long >= 10.0 {
            long
        } else {
            short
        }))
    };
    match mutant {
        Mutant::AskedTtl => Some(asked),
        Mutant::NoMargin => with_margin(0.0),
        Mutant::NoClockMargin => with_margin((seconds / 20.0).max(0.5)),
        _ => None,
    }
}

/// What is done where the supervisor wants this.
pub fn action(mutant: Option<Mutant>, host: &mut Host, action: Action) -> Vec<Action> {
    let Some(mutant) = mutant else {
        return vec![action];
    };
    match (mutant, &action) {
        (Mutant::NoRenewal, Action::Renew { .. }) => return Vec::new(),
        (Mutant::WaitersDoNotRenew, Action::Renew { .. }) if !host.machine.is_alive() => {
            return Vec::new();
        }
        (Mutant::GraceAfterLoss, Action::Kill)
            if host.machine.is_alive() && std::mem::take(&mut host.memory.lost) =>
        {
            // And only then what was wanted.
            let until = host.now() + host.plan.kill_after;
            let until = host.kill_at().map_or(until, |at| at.min(until));
            let dead_at = kernel::clock(host.number).when(until) + host.plan.command.dying;
            let (host, step) = (host.number, Step::Killed);
            kernel::schedule(dead_at, Occurrence::Process { host, step });
            return vec![Action::Stop];
        }
        (Mutant::PatientGivesUp, Action::Renew { .. })
            if host.plan.wait.is_none() && host.machine.tree == Tree::None =>
        {
            let (holder, status) = (None, 75);
            return vec![Action::Finish(Outcome::Busy { holder, status })];
        }
        (Mutant::OutageIsLoss, Action::Finish(Outcome::Command(_))) if host.memory.failing => {
            return vec![Action::Finish(Outcome::Lost(Loss::EndedTooLate))];
        }
        (Mutant::ReleaseAtKill, Action::Kill) => host.inbox.push_front(Event::Empty),
        (Mutant::NoGrace, Action::Stop) => return vec![Action::Kill],
        (Mutant::NoKill, Action::Kill) => return Vec::new(),
        (Mutant::NoPublish, Action::Publish { .. }) => return Vec::new(),
        (Mutant::PublishedOnce, Action::Publish { .. })
            if std::mem::replace(&mut host.memory.published, true) =>
        {
            return Vec::new();
        }
        (Mutant::StartUnguarded, Action::Prepare) => {
            host.machine.asked = false;
            host.inbox.push_front(Event::FrontReady);
            return Vec::new();
        }
        // Where nothing is done once: what is remembered of that has checks of its own.
        (Mutant::RecordFlatters, Action::Record { give_up_at, .. }) if !host.plan.policy.once => {
            return vec![Action::Record {
                give_up_at: *give_up_at,
                outcome: Outcome::Command(Ended::Exited(0)),
            }];
        }
        (Mutant::RecordForgotten, Action::Record { .. }) if !host.plan.policy.once => {
            host.inbox.push_back(Event::Recorded);
            return Vec::new();
        }
        (Mutant::NoRelease, Action::Release { .. }) => {
            host.inbox.push_back(Event::Released);
            return Vec::new();
        }
        _ => {}
    }
    vec![action]
}

/// What is asked of etcd instead.
pub fn request(mutant: Option<Mutant>, host: &Host, request: &mut Request) {
    match (mutant, request) {
        (Some(Mutant::OwnKeyUnwatched), Request::Watch(watch))
            if Some(&watch.keys.key) == own_entry(host).as_ref() =>
        {
            watch.keys.key = b"/nothing".to_vec();
        }
        (Some(Mutant::LeaseNotRevoked), Request::Revoke { lease }) => *lease = 1,
        (Some(mutant), Request::Transact(transaction)) => {
            transactions::place(mutant, transaction);
            transactions::of_policies(mutant, host, transaction);
        }
        _ => {}
    }
}

/// What etcd answers instead.
pub fn reply(mutant: Option<Mutant>, host: &mut Host, request: &Request, reply: &mut Reply) {
    let (Some(mutant), Reply::Answered(header, answer)) = (mutant, reply) else {
        return;
    };
    if mutant == Mutant::NoValidation {
        header.raft_term = 1;
        header.member = 1;
    }
    match answer {
        Answer::Got(kvs) => {
            if let (Mutant::OwnKeyUnread, Request::Get { keys, .. }) = (mutant, request)
                && Some(&keys.key) == own_entry(host).as_ref()
            {
                *kvs = own_entry_faked(host).into_iter().collect();
            }
        }
        Answer::Transacted { answers, .. } if mutant == Mutant::RecordUnread => {
            let reads_record = |op: &Op| matches!(op, Op::Get { keys, .. } if keys.key == policies::once_key().as_bytes());
            if let Request::Transact(transaction) = request
                && transaction.then.iter().any(reads_record)
                && let Some(OpAnswer::Get(kvs)) = answers.first_mut()
            {
                kvs.clear();
            }
        }
        Answer::Transacted { answers, .. } => {
            let mut lists = answers.iter_mut().filter_map(|answer| match answer {
                OpAnswer::Get(kvs) => Some(kvs),
                _ => None,
            });
            if let (Some(entries), Some(markers)) = (lists.next(), lists.next()) {
                change_reading(mutant, host, request, entries, markers);
            }
        }
        _ => {}
    }
}

fn change_reading(
    mutant: Mutant,
    host: &mut Host,
    request: &Request,
    entries: &mut Vec<KeyValue>,
    markers: &mut Vec<KeyValue>,
) {
    // At the answer that tells us our place we do not know it yet.
    let own = put_by(request).or_else(|| own_entry(host));
    let own_revision = entries
        .iter()
        .find(|kv| Some(&kv.key) == own.as_ref())
        .map(|kv| kv.create_revision);
    match mutant {
        Mutant::LockDelayIgnored => {
            for marker in markers {
                let value = String::from_utf8_lossy(&marker.value).into_owned();
                let (before, after) = value
                    .split_once("\"lock_delay_ms\":")
                    .unwrap_or((&value, ""));
                let after = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
                marker.value = format!("{before}\"lock_delay_ms\":0{after}").into_bytes();
            }
        }
        Mutant::SharedIgnoresExclusive if host.plan.limit == Limit::Unlimited => {
            set_limits(markers, |_| Limit::Unlimited);
        }
        Mutant::SlotsOffByOne => set_limits(markers, |limit| match limit {
            Limit::Holders(slots) if slots.get() > 1 => Limit::Holders(slots.saturating_add(1)),
            other => other,
        }),
        Mutant::OwnLimitOnly => {
            let own = host.plan.limit;
            set_limits(markers, |_| own);
        }
        Mutant::ReplacedTrusted => markers.retain(|marker| {
            let is_its = |entry: &&KeyValue| id_of(entry) == id_of(marker);
            let entry = entries.iter().find(is_its);
            entry.is_none_or(|entry| entry.create_revision == marker.create_revision)
        }),
        Mutant::VanishedIgnored => share_with_vanished(entries, markers),
        Mutant::OwnKeyUnread if own_revision.is_none() && put_by(request).is_none() => {
            entries.extend(own_entry_faked(host));
        }
        Mutant::LimitOfTwo => {
            let oldest = entries.iter().map(|kv| kv.create_revision).min();
            if oldest != own_revision {
                entries.retain(|kv| Some(kv.create_revision) != oldest);
            }
        }
        Mutant::PredecessorOnly => {
            let (Some(own), Some(revision)) = (own, own_revision) else {
                return;
            };
            let ahead = entries.iter().filter(|kv| kv.create_revision < revision);
            let nearest = ahead.max_by_key(|kv| kv.create_revision);
            let known = host
                .memory
                .predecessor
                .as_ref()
                .filter(|(place, _)| *place == own);
            if known.is_none() {
                let nearest = nearest.map(|kv| kv.key.clone()).unwrap_or_default();
                host.memory.predecessor = Some((own.clone(), nearest));
            }
            let predecessor = host
                .memory
                .predecessor
                .as_ref()
                .map(|(_, other)| other.clone());
            entries.retain(|kv| kv.key == own || Some(&kv.key) == predecessor.as_ref());
        }
        _ => {}
    }
}

/// What entry and marker of one contender end in.
fn id_of(kv: &KeyValue) -> Option<&[u8]> {
    kv.key.rsplit(|byte| *byte == b'/').next()
}

/// Whoever vanished would share the lock with anybody.
fn share_with_vanished(entries: &[KeyValue], markers: &mut [KeyValue]) {
    let present: Vec<_> = entries.iter().map(id_of).collect();
    for marker in markers {
        if !present.contains(&id_of(marker)) {
            set_limits(std::slice::from_mut(marker), |_| Limit::Unlimited);
        }
    }
}

/// Changes the limits that markers speak of.
fn set_limits(markers: &mut [KeyValue], changed: impl Fn(Limit) -> Limit) {
    for marker in markers {
        if let Some(mut entry) = Entry::parse(&marker.value) {
            entry.limit = changed(entry.limit);
            marker.value = entry.to_json();
        }
    }
}

/// The entry that a transaction puts.
fn put_by(request: &Request) -> Option<Vec<u8>> {
    let Request::Transact(transaction) = request else {
        return None;
    };
    transaction.then.iter().find_map(|op| match op {
        Op::Put { key, .. } if key.starts_with(entries().as_bytes()) => Some(key.clone()),
        _ => None,
    })
}

pub(super) fn own_entry(host: &Host) -> Option<Vec<u8>> {
    let (_, lease) = host.place()?;
    Some(Prefix::default().entry(&name(), lease).into_bytes())
}

fn own_entry_faked(host: &Host) -> Option<KeyValue> {
    let (token, lease) = host.place()?;
    Some(KeyValue {
        key: own_entry(host)?,
        value: Vec::new(),
        create_revision: token.get(),
        mod_revision: token.get(),
        version: 1,
        lease: lease.get(),
    })
}

pub(super) fn entries() -> String {
    Prefix::default().entries(&name())
}

pub(super) fn markers() -> String {
    Prefix::default().markers(&name())
}

/// The member that is asked instead.
pub fn member(mutant: Option<Mutant>, host: usize, member: usize, members: usize) -> usize {
    match mutant {
        Some(Mutant::NoFailover) => host % members,
        _ => member,
    }
}

/// How long runs look for an etcd that works.
pub fn connect_timeout(mutant: Option<Mutant>) -> Duration {
    match mutant {
        Some(Mutant::GiveUpAtOnce) => Duration::from_secs(2),
        _ => CONNECT_TIMEOUT,
    }
}

/// Whether a command's write compares its token.
pub fn compares_token(mutant: Option<Mutant>) -> bool {
    mutant != Some(Mutant::UnfencedWrite)
}

/// Whether hosts' clocks miss the time in which they were suspended.
pub fn misses_suspends(mutant: Option<Mutant>) -> bool {
    mutant == Some(Mutant::SuspendUncounted)
}

/// How much too early timers fire.
pub fn timers_fire_early(mutant: Option<Mutant>) -> Duration {
    match mutant {
        Some(Mutant::TimersFireEarly) => Duration::from_millis(1),
        _ => Duration::ZERO,
    }
}
