//! What a run says of its end, and what it leaves: compared with what happened.

use std::time::Duration;

use crate::lock::token::LeaseId;
use crate::outcome::{Ended, Outcome};
use crate::simulation::checker::{Checker, Kind};
use crate::simulation::kernel;
use crate::simulation::scenario::Weather;
use crate::simulation::sights::Sight;

/// The clock of a host and that of a member are each so much faster or slower than true time.
const CLOCK_RATE_PPM: u32 = 5_000;

impl Checker {
    pub fn releases(&mut self, host: usize, alive: bool) {
        if alive {
            let text = format!("host {host} gives the lock back and its command lives");
            self.violated(Kind::ReleasedTooEarly, text);
        }
    }

    /// It wants its lock kept for so long, on its own clock, without it.
    pub fn keeps(&mut self, host: usize, rest: Duration) {
        let rest = rest * 1_000_000 / (1_000_000 + 2 * CLOCK_RATE_PPM);
        self.hosts[host].kept = Some((kernel::time() + rest, false));
    }

    /// It is told that it could be given away: whether it was to be kept.
    pub fn has_kept(&mut self, host: usize) -> bool {
        match &mut self.hosts[host].kept {
            Some((_, done)) => {
                kernel::saw(Sight::KeptOn);
                *done = true;
                true
            }
            None => false,
        }
    }

    pub fn given_back(&self) -> &[(i64, String)] {
        &self.given_back
    }

    /// A lease that was given back is ended before its time, and with it the sign that keeps out what comes late.
    pub fn ended_early(&mut self, lease: i64) {
        if self.given_back.iter().any(|(given, _)| *given == lease) {
            let mut owners = self.hosts.iter_mut();
            let until = owners.find_map(|seen| seen.until.get_mut(&lease));
            if let Some(until) = until {
                *until = kernel::time().min(*until);
            }
        }
    }

    /// What comes later than the lease could have lived is beyond what a sign on that lease can keep out, and nobody
    /// can know what others send again.
    pub fn came_back(&mut self, lease: i64, key: &str) {
        let owner = self
            .hosts
            .iter()
            .find(|seen| seen.until.contains_key(&lease));
        let in_time = owner.is_some_and(|seen| seen.until[&lease] >= kernel::time());
        if !in_time {
            return kernel::saw(Sight::CameBackLate);
        }
        if self.granted_again.contains(&lease) || self.put_again.contains(&lease) {
            return kernel::saw(Sight::CameBackByOthers);
        }
        self.violated(
            Kind::CameBack,
            format!("{key} was given back, and is there again"),
        );
    }

    pub fn released(&mut self, host: usize, lease: i64, keys: [String; 2], left: &[String]) {
        self.given_back.extend(keys.map(|key| (lease, key)));
        if !left.is_empty() {
            let text = format!("host {host} says that it gave the lock back, and left {left:?}");
            self.violated(Kind::LeftBehind, text);
        }
    }

    pub fn finished(&mut self, host: usize, outcome: &Outcome, alive: bool, ended: Option<Ended>) {
        self.hosts[host].endings += 1;
        self.lost += usize::from(matches!(outcome, Outcome::Lost(_)));
        // The last contender ends well in every history.
        if host + 1 < self.hosts.len() {
            note(outcome);
        }
        let seen = &self.hosts[host];
        let lost = matches!(outcome, Outcome::Lost(_));
        let wrong = if seen.endings > 1 {
            "it ends twice"
        } else if alive {
            "it ends and its command lives"
        } else if matches!(outcome, Outcome::Command(how) if Some(*how) != ended) {
            "its command did not end like that by itself"
        } else if seen.late_end && !lost {
            "the command's end was seen too late to be trusted"
        } else if seen.told_of_loss && !lost {
            "it was told that the lock is lost"
        } else if says_that_it_ran(outcome).is_some_and(|ran| ran != seen.ran) {
            "whether the command ran is not what it says"
        } else {
            ""
        };
        if !wrong.is_empty() {
            self.violated(
                Kind::WrongOutcome,
                format!("host {host} says {outcome:?}: {wrong}"),
            );
        }
        self.says(host, outcome);
        if let Some(why) = self.no_reason(host, outcome) {
            let text = format!("host {host} says {outcome:?}: {why}");
            self.violated(Kind::NoReason, text);
        }
        let harmless = self.weather == Weather::OneBadMember;
        let untold = self.weather == Weather::Betrayed && !self.hosts[host].entry_gone;
        let unavailable = matches!(outcome, Outcome::Unavailable(_)) && self.hosts[host].is_patient;
        if (lost && (harmless || untold)) || (unavailable && self.weather != Weather::Stormy) {
            let text = format!("host {host} says {outcome:?}");
            self.violated(Kind::LostForNothing, text);
        }
    }

    /// The front says how a run ended whose manager is dead.
    pub fn reported_by_front(&mut self, host: usize, outcome: &Outcome) {
        self.hosts[host].endings += 1;
        self.lost += usize::from(matches!(outcome, Outcome::Lost(_)));
    }

    pub fn has_ended(&self, host: usize) -> bool {
        self.hosts[host].endings > 0
    }

    pub fn never_ended(&mut self) {
        let open: Vec<usize> = (0..self.hosts.len())
            .filter(|host| self.hosts[*host].endings == 0)
            .collect();
        let text = format!("hosts {open:?} have not ended, long after the last fault");
        self.violated(Kind::NeverEnded, text);
    }

    /// The lease that the last contender ran under. Nothing goes wrong any more by then, so there is one only for a sign.
    pub fn last_lease(&self) -> Option<LeaseId> {
        self.hosts.last()?.lease
    }

    pub fn leases_left_behind(&mut self, lease: LeaseId) {
        let text = format!("lease {lease} when the last contender has gone, and nothing on it");
        self.violated(Kind::LeftBehind, text);
    }

    pub fn left_behind(&mut self, left: &[(String, i64)]) {
        let last = self.hosts.len() - 1;
        if !self.hosts[last].ran {
            let text =
                format!("host {last} came when all others were gone, and did not get the lock");
            return self.violated(Kind::NeverEnded, text);
        }
        for (number, seen) in self.hosts.iter().enumerate() {
            if seen.arrived && seen.endings != 1 && self.violation.is_none() {
                let text = format!("host {number} ended {} times", seen.endings);
                return self.violated(Kind::WrongOutcome, text);
            }
        }
        // A place that was made by a second copy of its request, when nobody of ours came by any more.
        let is_of_copy = |key: &str| {
            let mut copied = self.put_again.iter();
            copied.any(|lease| key.ends_with(&format!("/{lease:x}")))
        };
        // What is remembered on purpose: each on a lease of its own, but for what `--record` keeps.
        let is_remembered = |key: &str, lease: i64| {
            let is_leased = key.contains("/~once/") || key.contains("/~superseded/");
            (is_leased && lease != 0) || (key.contains("/~last/") && lease == 0)
        };
        let left: Vec<&String> = left
            .iter()
            .filter(|(key, lease)| !is_of_copy(key) && !is_remembered(key, *lease))
            .map(|(key, _)| key)
            .collect();
        if !left.is_empty() {
            self.violated(
                Kind::LeftBehind,
                format!("{left:?} when everybody has ended"),
            );
        }
    }
}

fn note(outcome: &Outcome) {
    kernel::saw(match outcome {
        Outcome::Command(_) => Sight::EndedByItself,
        Outcome::Lost(_) => Sight::Lost,
        Outcome::Busy { .. } => Sight::Busy,
        Outcome::Unavailable(_) => Sight::Unavailable,
        Outcome::MaxRuntime => Sight::MaxRuntime,
        Outcome::AlreadyDone(_) => Sight::AlreadyDone,
        Outcome::Superseded(_) => Sight::Superseded,
        Outcome::NotRecorded(_) => Sight::NotRecorded,
        Outcome::Interrupted(_) => Sight::Interrupted,
        _ => return,
    });
}

/// Whether a command was started, where the ending says that.
const fn says_that_it_ran(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::Command(_)
        | Outcome::Lost(_)
        | Outcome::MaxRuntime
        | Outcome::NotFound(_)
        | Outcome::NotRecorded(_) => Some(true),
        Outcome::Busy { .. }
        | Outcome::AlreadyDone(_)
        | Outcome::Superseded(_)
        | Outcome::Unavailable(_)
        | Outcome::Denied(_)
        | Outcome::Usage(_)
        | Outcome::Interrupted(_) => Some(false),
        _ => None,
    }
}
