//! What `--record` lets others know of a run: compared with what happened, and with what the run says itself.

use std::time::Duration;

use crate::lock::last_run::LastRun;
use crate::outcome::Outcome;
use crate::simulation::checker::{Checker, Kind, Seen};
use crate::simulation::kernel;
use crate::simulation::sights::Sight;

/// What is recorded is in whole milliseconds.
const ROUNDED: Duration = Duration::from_millis(1);

impl Checker {
    /// This stands under the key of a lock's last run.
    pub fn recorded(&mut self, key: &str, revision: i64, value: &[u8]) {
        let before = self.records.get(key).copied().unwrap_or_default();
        if before.0 == revision {
            return;
        }
        let Some(run) = LastRun::parse(value) else {
            let text = format!("nobody can read what stands under {key}");
            return self.violated(Kind::RecordUntrue, text);
        };
        self.records.insert(key.to_owned(), (revision, run.token));
        if run.token < before.1 {
            let text = format!("{key} tells of token {}, after {}", run.token, before.1);
            return self.violated(Kind::RecordUntrue, text);
        }
        kernel::saw(match run.outcome == "lost" {
            true => Sight::LossRecorded,
            false => Sight::Recorded,
        });
        let number = run.host.strip_prefix("host").and_then(|it| it.parse().ok());
        let Some((host, seen)) = number.and_then(|it: usize| Some((it, self.hosts.get_mut(it)?)))
        else {
            let text = format!("{key} tells of a run that nobody knows: {run:?}");
            return self.violated(Kind::RecordUntrue, text);
        };
        let wrong = untrue(seen, &run);
        seen.recorded = Some((run.outcome, run.status));
        if let Some(wrong) = wrong {
            let text = format!("{key} tells of host {host}: {wrong}");
            return self.violated(Kind::RecordUntrue, text);
        }
        self.compare_with_record(host);
    }

    /// It is told that it was written down how it ended: then that, or what a later run wrote, is what is there.
    pub fn told_of_record(&mut self, host: usize, token: Option<i64>) {
        let newest = self.records.values().map(|(_, token)| *token).max();
        if newest < token {
            let text = format!("host {host} is told that its end was recorded, and it was not");
            self.violated(Kind::RecordUntrue, text);
        }
    }

    /// It says so itself how it ended.
    pub(super) fn says(&mut self, host: usize, outcome: &Outcome) {
        // That it could not be remembered is not known yet when it is written down how its command ended.
        if !matches!(outcome, Outcome::NotRecorded(_)) {
            self.hosts[host].said = Some((outcome.name().to_owned(), outcome.exit_status()));
        }
        self.compare_with_record(host);
    }

    fn compare_with_record(&mut self, host: usize) {
        let Seen { recorded, said, .. } = &self.hosts[host];
        if let (Some(recorded), Some(said)) = (recorded, said)
            && recorded != said
        {
            let text = format!("host {host} says {said:?}, and it is recorded {recorded:?}");
            self.violated(Kind::RecordUntrue, text);
        }
    }
}

/// What of a record is not as it was, seen from outside: on the run's clock, whose rate may be another one.
fn untrue(seen: &Seen, run: &LastRun) -> Option<&'static str> {
    let longest = |duration: Duration| duration * 101 / 100 + ROUNDED;
    let shortest = |duration: Duration| (duration * 99 / 100).saturating_sub(ROUNDED);
    let held = Duration::from_millis(run.held_ms);
    let waited = Duration::from_millis(run.waited_ms);
    let since_arrival = kernel::time().saturating_sub(seen.arrived_at);
    if seen.token.is_none_or(|token| token.get() != run.token) {
        Some("it did not run with that token")
    } else if seen.runs.is_some() {
        Some("its command lives")
    } else if held < shortest(seen.gone_at.saturating_sub(seen.started_at)) {
        Some("it had the lock for longer")
    } else if waited > longest(seen.started_at.saturating_sub(seen.arrived_at)) {
        Some("it did not wait so long")
    } else if waited + held > longest(since_arrival) {
        Some("it is not there for so long")
    } else if run.acquired > run.ended {
        Some("it ended before it began")
    } else {
        None
    }
}
