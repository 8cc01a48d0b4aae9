//! What the messages on the way say. The endings are in [`crate::outcome`]. Pure.

use jiff::{SpanRound, Timestamp, Unit};

use crate::lock::entry::harmless;
use crate::lock::name::LockName;
use crate::process::{Leftover, Obstacle};
use crate::supervisor::{Holder, Message, Queue};

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Only with `-v`.
    Debug,
    /// Good to know.
    Info,
    /// Something is wrong and may become worse.
    Warning,
    /// The run ended for it.
    Error,
}

impl Level {
    /// The stable name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// How much this message matters.
pub const fn level(message: &Message) -> Level {
    match message {
        Message::Acquired | Message::RenewalRecovered | Message::RenewalFailing(_) => Level::Debug,
        Message::Waiting(_) => Level::Info,
        Message::QueueingAgain(_)
        | Message::PlaceGivenUp
        | Message::RunningOn(_)
        | Message::Stopping(_)
        | Message::NotReleased(_)
        | Message::NotKept(_)
        | Message::NotRecorded(_) => Level::Warning,
    }
}

/// The stable name of this message in JSON.
pub const fn event_name(message: &Message) -> &'static str {
    match message {
        Message::Waiting(_) => "waiting",
        Message::QueueingAgain(_) => "queueing-again",
        Message::PlaceGivenUp => "place-given-up",
        Message::Acquired => "acquired",
        Message::RenewalFailing(_) => "renewal-failing",
        Message::RunningOn(_) => "running-on",
        Message::RenewalRecovered => "renewal-recovered",
        Message::Stopping(_) => "stopping",
        Message::NotReleased(_) => "not-released",
        Message::NotKept(_) => "not-kept",
        Message::NotRecorded(_) => "not-recorded",
    }
}

/// What this message says at `wall`.
pub fn sentence(message: &Message, name: &LockName, wall: Timestamp) -> String {
    match message {
        Message::Waiting(queue) => waiting(name, queue, wall),
        Message::QueueingAgain(why) => {
            format!("{name}: the place in the queue is gone ({why}); queueing again")
        }
        Message::PlaceGivenUp => format!(
            "{name}: stopped for longer than the TTL, so the place in the queue was given up; it queues again when it goes on"
        ),
        Message::Acquired => format!("{name}: lock acquired, the command runs"),
        Message::RenewalFailing(trouble) => format!(
            "{name}: the lease could not be renewed ({}); trying again",
            trouble.detail
        ),
        Message::RunningOn(loss) => {
            format!("{name}: lock lost: {loss}; the command runs on without it (--on-loss warn)")
        }
        Message::RenewalRecovered => format!("{name}: the lease is renewed again"),
        Message::Stopping(why) => format!("{name}: stopping the command: {why}"),
        Message::NotReleased(trouble) => format!(
            "{name}: the lock could not be given back ({}); it frees itself within the TTL",
            trouble.detail
        ),
        Message::NotKept(trouble) => format!(
            "{name}: the lock could not be kept for --hold-min ({}); it frees itself within the TTL",
            trouble.detail
        ),
        Message::NotRecorded(trouble) => format!(
            "{name}: the run could not be recorded ({}); it is missing in status and history",
            trouble.detail
        ),
    }
}

/// What is said beside the supervisor's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A setting, its value and where it came from.
    Setting(String),
    /// Something about the settings that may not be as it was meant.
    Remark(String),
    /// What this machine lets us do.
    Ability(String),
    /// The command has ended and these, which it started, have not.
    Leftovers(String),
    /// These cannot be killed, so the lock is kept.
    KeptForSurvivors(String),
    /// These cannot be killed, and the lock is lost.
    LostToSurvivors(String),
    /// Why there is no report.
    ReportNotWritten(String),
    /// Why there are no metrics.
    MetricsNotWritten(String),
}

impl Note {
    /// The stable name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Setting(_) => "setting",
            Self::Remark(_) => "remark",
            Self::Ability(_) => "ability",
            Self::Leftovers(_) => "leftovers",
            Self::KeptForSurvivors(_) | Self::LostToSurvivors(_) => "survivors",
            Self::ReportNotWritten(_) => "report-not-written",
            Self::MetricsNotWritten(_) => "metrics-not-written",
        }
    }

    /// How much it matters.
    pub const fn level(&self) -> Level {
        match self {
            Self::Setting(_) | Self::Remark(_) | Self::Ability(_) => Level::Debug,
            Self::Leftovers(_) | Self::KeptForSurvivors(_) => Level::Warning,
            Self::LostToSurvivors(_) | Self::ReportNotWritten(_) | Self::MetricsNotWritten(_) => {
                Level::Error
            }
        }
    }

    /// What it says of this lock.
    pub fn sentence(&self, name: &str) -> String {
        match self {
            Self::Setting(text) | Self::Remark(text) | Self::Ability(text) => text.clone(),
            Self::Leftovers(names) => format!(
                "{name}: the command has ended, but these it started run on: {names}; the lock is held until they end"
            ),
            Self::KeptForSurvivors(names) => {
                format!(
                    "{name}: these cannot be killed, so the lock is kept: {names}; end them by hand"
                )
            }
            Self::LostToSurvivors(names) => format!(
                "{name}: the lock is lost, but these cannot be killed and run on: {names}; end them by hand"
            ),
            Self::ReportNotWritten(why) => {
                format!("{name}: the report could not be written: {why}")
            }
            Self::MetricsNotWritten(why) => {
                format!("{name}: the metrics file could not be written: {why}")
            }
        }
    }
}

/// `waiting for deploy/prod: 2nd of 5, held by deploy@build7 for 3m 12s ("release 4.2")`
pub(super) fn waiting(name: &LockName, queue: &Queue, wall: Timestamp) -> String {
    let place = ordinal(queue.place);
    let (waiting, others) = (queue.waiting, queue.and_others());
    let holder = match &queue.holder {
        Holder::Known(entry) => {
            let held_for = elapsed(entry.since(), wall)
                .map(|elapsed| format!(" for {elapsed}"))
                .unwrap_or_default();
            let reason = match entry.reason.as_str() {
                "" => String::new(),
                reason => format!(" (\"{reason}\")"),
            };
            let kept = entry
                .held_until
                .as_ref()
                .map(|until| format!(", kept until {until} by --hold-min"))
                .unwrap_or_default();
            format!("{}@{}{held_for}{reason}{kept}", entry.user, entry.host)
        }
        other => other.to_string(),
    };
    let name = queue.lock.as_ref().unwrap_or(name);
    format!(
        "waiting for {name}: {place} of {waiting}, held by {holder}{others}{}",
        queue.in_folder()
    )
}

/// How many wait, at the end of a sentence.
pub fn waits(waiting: usize) -> String {
    match waiting {
        0 => String::new(),
        1 => ", 1 waits".to_owned(),
        many => format!(", {many} wait"),
    }
}

/// A time in whole seconds, as people read it.
pub fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}

/// From `since` until `wall`, as people say it. Nothing where another host's text is no time; zero where its
/// clock is ahead of ours.
pub fn elapsed(since: &str, wall: Timestamp) -> Option<String> {
    let since: Timestamp = since.parse().ok()?;
    let span = wall.since(since.min(wall)).ok()?;
    let round = SpanRound::new()
        .smallest(Unit::Second)
        .largest(Unit::Day)
        .days_are_24_hours();
    Some(format!("{:#}", span.round(round).ok()?))
}

/// How many processes are named before the rest is only counted.
const NAMED_MAX: usize = 5;

/// `sleep (4711), cp (4712, uninterruptible) and 3 more`
pub fn leftovers(left: &[Leftover]) -> String {
    if left.is_empty() {
        return "processes that cannot be seen from here".to_owned();
    }
    let names: Vec<String> = left.iter().take(NAMED_MAX).map(leftover).collect();
    let more = match left.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names.join(", "))
}

fn leftover(left: &Leftover) -> String {
    let why = match left.obstacle {
        None => "",
        Some(Obstacle::OtherUser) => ", of another user",
        Some(Obstacle::Uninterruptible) => ", uninterruptible",
        Some(Obstacle::Traced) => ", held by a debugger",
    };
    // A process names itself as it likes.
    format!("{} ({}{why})", harmless(&left.comm), left.pid)
}

fn ordinal(number: usize) -> String {
    let suffix = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::entry::Entry;

    #[test]
    fn ordinals_are_english() {
        let cases = [
            (1, "1st"),
            (2, "2nd"),
            (3, "3rd"),
            (4, "4th"),
            (11, "11th"),
            (12, "12th"),
            (21, "21st"),
            (113, "113th"),
        ];
        for (number, text) in cases {
            assert_eq!(ordinal(number), text);
        }
    }

    #[test]
    fn a_waiting_line_says_where_we_stand_and_who_holds_the_lock() {
        let queue = Queue {
            place: 2,
            waiting: 5,
            holder: Holder::Known(Box::new(Entry::sample())),
            ..Queue::default()
        };
        let name: LockName = "deploy/prod".parse().expect("a name");
        let wall: Timestamp = "2026-11-22T03:03:12Z".parse().expect("a time");
        assert_eq!(
            waiting(&name, &queue, wall),
            "waiting for deploy/prod: 2nd of 5, held by deploy@build7 for 3m 12s (\"release 4.2\")"
        );
        let queue = Queue {
            folder: Some("/var/lib/leasehold".to_owned()),
            ..queue
        };
        assert_eq!(
            waiting(&name, &queue, wall),
            "waiting for deploy/prod: 2nd of 5, held by deploy@build7 for 3m 12s (\"release 4.2\") (lock folder /var/lib/leasehold)"
        );
    }

    #[test]
    fn a_clock_that_is_ahead_or_no_time_at_all_does_no_harm() {
        let wall: Timestamp = "2026-11-22T03:03:12Z".parse().expect("a time");
        assert_eq!(elapsed("2026-11-22T04:00:00Z", wall).as_deref(), Some("0s"));
        assert_eq!(elapsed("yesterday", wall), None);
    }
}
