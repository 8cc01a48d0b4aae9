//! What is remembered of a run after its end, made of what happened: for `--record`, `--once` and `--hold-min`. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Instant;
use crate::lock::entry::Entry;
use crate::lock::last_run::LastRun;
use crate::lock::once::OnceRecord;
use crate::outcome::{Ended, Outcome};
use crate::service::{Done, Memory, Wanted};
use crate::supervisor::History;

/// The instant that a run's times count from: on both clocks, for one is for arithmetic, the other for people.
#[derive(Clone, Copy)]
pub struct Began {
    /// For arithmetic.
    pub at: Instant,
    /// For people.
    pub wall: Timestamp,
}

impl Began {
    /// The wall clock's time at an instant of this run. A clock that was set meanwhile changes nothing.
    pub fn wall_at(self, instant: Instant) -> Timestamp {
        let elapsed = instant.since(self.at);
        self.wall.checked_add(elapsed).unwrap_or(self.wall)
    }

    /// The same in whole seconds, as people read them.
    pub fn second_at(self, instant: Instant) -> String {
        let wall = self.wall_at(instant);
        Timestamp::from_second(wall.as_second())
            .unwrap_or(wall)
            .to_string()
    }
}

/// What a run is to leave behind, and what is known of it from its beginning on.
#[derive(Clone, Copy)]
pub struct Legacy<'run> {
    /// The locks, and what others are told about us.
    pub wanted: &'run Wanted,
    /// How long `--once` remembers.
    pub once_keep: Duration,
    /// `--record`
    pub record: bool,
    /// What its times count from.
    pub began: Began,
}

impl Legacy<'_> {
    /// What is written down under the lock, of a run that ended like this.
    pub fn memory(&self, history: &History, outcome: &Outcome) -> Memory {
        let Self { wanted, began, .. } = *self;
        let Some(place) = &history.place else {
            return Memory::default();
        };
        let acquired = history.admitted_at.unwrap_or(began.at);
        let ended = history.empty_at.unwrap_or(acquired);
        let succeeded = *outcome == Outcome::Command(Ended::Exited(0));
        let done = wanted.once.as_ref().filter(|_| succeeded).map(|id| Done {
            key: wanted.prefix.once_record(&wanted.name, id),
            value: OnceRecord::new(&wanted.entry, place.token, began.second_at(ended)).to_json(),
            keep: self.once_keep,
        });
        let run = LastRun {
            v: LastRun::VERSION,
            token: place.token.get(),
            host: wanted.entry.host.clone(),
            user: wanted.entry.user.clone(),
            program: wanted.entry.program.clone(),
            reason: wanted.entry.reason.clone(),
            outcome: outcome.name().to_owned(),
            status: outcome.exit_status(),
            acquired: began.second_at(acquired),
            ended: began.second_at(ended),
            waited_ms: acquired.since(began.at).as_millis() as u64,
            held_ms: ended.since(acquired).as_millis() as u64,
        };
        let names = wanted.names().filter(|_| self.record);
        Memory {
            done,
            last_runs: names
                .map(|name| (wanted.prefix.last_run(name), run.to_json()))
                .collect(),
            lost: matches!(outcome, Outcome::Lost(_) | Outcome::RanOn(_)),
        }
    }

    /// What the entry says while the lock is kept until then without us.
    pub fn kept_entry(&self, history: &History, until: Instant) -> Entry {
        let began = self.began;
        Entry {
            held: history.admitted_at.map(|at| began.second_at(at)),
            held_until: Some(began.second_at(until)),
            ..self.wanted.entry.clone()
        }
    }
}
