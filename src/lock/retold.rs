//! A run as people tell of it: with times, as far as somebody wrote them down. Pure.
//!
//! The store keeps none (see `chronicle`). When a run without a record ended is not known; but it was before anything
//! that a later revision says, so there is a time by which it had ended. All of these are hosts' own clocks.

use std::time::Duration;

use jiff::Timestamp;

use crate::lock::chronicle::{Run, Way};

/// One run, told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retold<'account> {
    /// What is known of it.
    pub run: &'account Run,
    /// When it queued.
    pub queued: Option<Timestamp>,
    /// When it got the lock.
    pub held: Option<Timestamp>,
    /// When it ended, or gave its place up.
    pub ended: Option<Timestamp>,
    /// By when it had, where that is all that is known.
    pub ended_by: Option<Timestamp>,
}

/// What has become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds the lock.
    Held,
    /// Nobody is in its way here, but it may wait for another lock.
    Reserved,
    /// It waits.
    Waiting,
    /// It is over.
    Gone,
}

impl State {
    /// The stable name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Reserved => "reserved",
            Self::Waiting => "waiting",
            Self::Gone => "gone",
        }
    }
}

/// Tells of all of them, in the order of their places.
pub fn retell(runs: &[Run]) -> Vec<Retold<'_>> {
    let mut sayings: Vec<(i64, Timestamp)> = runs.iter().flat_map(sayings).collect();
    sayings.sort_unstable();
    // For each revision the earliest time that it or a later one says.
    for index in (1..sayings.len()).rev() {
        sayings[index - 1].1 = sayings[index - 1].1.min(sayings[index].1);
    }
    runs.iter().map(|run| told(run, &sayings)).collect()
}

/// The times that a run's keys say, and in which revisions.
fn sayings(run: &Run) -> Vec<(i64, Timestamp)> {
    let entry = run.entry.as_ref();
    let queued = entry.and_then(|entry| time(&entry.queued));
    let held = entry.and_then(|entry| time(entry.held.as_deref()?));
    let queued = queued.map(|at| (run.token, at));
    let announced = run.announced.zip(held);
    queued.into_iter().chain(announced).collect()
}

fn told<'account>(run: &'account Run, sayings: &[(i64, Timestamp)]) -> Retold<'account> {
    let entry = run.entry.as_ref();
    let queued = entry.and_then(|entry| time(&entry.queued));
    let announced = entry.and_then(|entry| time(entry.held.as_deref()?));
    let record = run.record.as_ref();
    // In milliseconds from when it queued, where that is known; the recorded times are whole seconds.
    let after =
        |from: Option<Timestamp>, ms: u64| from?.checked_add(Duration::from_millis(ms)).ok();
    let recorded = record
        .and_then(|record| after(queued, record.waited_ms).or_else(|| time(&record.acquired)));
    // Who never had to wait does not announce anything.
    let is_held = run.admitted == Some(run.token) && run.has_it_for_certain();
    let at_once = queued.filter(|_| is_held);
    let ended = record.and_then(|record| after(recorded, record.held_ms));
    let ended_by = run.gone.filter(|_| ended.is_none()).and_then(|gone| {
        let later = sayings.partition_point(|(revision, _)| *revision <= gone);
        sayings.get(later).map(|(_, at)| *at)
    });
    let held = recorded.or(announced).or(at_once);
    Retold {
        run,
        queued,
        held: held.filter(|_| run.admitted.is_some()),
        ended,
        // Clocks differ; nobody ends before he begins.
        ended_by: ended_by.map(|by| held.or(queued).map_or(by, |begin| by.max(begin))),
    }
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

impl Retold<'_> {
    /// What has become of it.
    pub fn state(&self) -> State {
        match (self.run.gone, self.run.admitted) {
            (Some(_), _) => State::Gone,
            (None, Some(_)) if self.run.has_it_for_certain() => State::Held,
            (None, Some(_)) => State::Reserved,
            (None, None) => State::Waiting,
        }
    }

    /// How long it queued, where both ends are known; `now` for whoever still does.
    pub fn waited(&self, now: Timestamp) -> Option<Duration> {
        if let Some(record) = &self.run.record {
            return Some(Duration::from_millis(record.waited_ms));
        }
        let until = match self.state() {
            State::Waiting | State::Reserved => now,
            State::Held | State::Gone => self.held?,
        };
        between(self.queued?, until)
    }

    /// How long it held the lock, where both ends are known; `now` for whoever still does.
    pub fn held_for(&self, now: Timestamp) -> Option<Duration> {
        if let Some(record) = &self.run.record {
            return Some(Duration::from_millis(record.held_ms));
        }
        let until = match self.state() {
            State::Held => now,
            _ => self.ended?,
        };
        between(self.held?, until)
    }

    /// At most how long it held the lock, where only that is known.
    pub fn held_at_most(&self) -> Option<Duration> {
        between(self.held?, self.ended_by?)
    }

    /// How it ended, in a few words.
    pub fn how(&self) -> String {
        let run = self.run;
        let broken = match &run.asked {
            Some(request) => format!(", asked to stop by {}", request.who()),
            None => String::new(),
        };
        let way = match (&run.record, &run.way) {
            (Some(record), _) => format!("{}, status {}", record.outcome, record.status),
            (None, Some(Way::Released)) if run.admitted.is_none() => "left the queue".to_owned(),
            (None, Some(Way::Released)) => "gave it back".to_owned(),
            (None, Some(Way::Vanished)) => "vanished".to_owned(),
            (None, Some(Way::Superseded(by))) if by.is_empty() => "superseded".to_owned(),
            (None, Some(Way::Superseded(by))) => format!("superseded by {by}"),
            (None, Some(Way::KeptLongEnough)) => "ended, and was kept by --hold-min".to_owned(),
            (None, Some(Way::Removed)) => "gone".to_owned(),
            (None, None) => match self.state() {
                State::Waiting => "waits".to_owned(),
                State::Reserved => "is next, and wants other locks too".to_owned(),
                State::Held | State::Gone => "holds it".to_owned(),
            },
        };
        format!("{way}{broken}")
    }
}

fn between(from: Timestamp, until: Timestamp) -> Option<Duration> {
    // A clock that is behind another makes no negative time.
    Duration::try_from(until.max(from).duration_since(from)).ok()
}
