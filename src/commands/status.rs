//! `leasehold status NAME`: who holds the lock, who waits, how long the lease still lives.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::StatusArgs;
use crate::clock;
use crate::commands::list::list;
use crate::commands::{ask, failed};
use crate::config::Inherited;
use crate::lock::entry::{Entry, QueuePolicy};
use crate::lock::last_run::LastRun;
use crate::lock::limit::Limit;
use crate::lock::name::LockName;
use crate::outcome::{BUSY_STATUS, Ending};
use crate::service::{Connection, InspectedEntry, Inspection, PlaceState, Remaining, inspect};
use crate::ui::table::{Look, render};
use crate::ui::{self, sentence};

/// The version of the JSON object.
const VERSION: u32 = 1;

/// How many of those who wait are shown to people.
const SHOWN: usize = 20;

/// Runs the subcommand.
pub fn status(args: &StatusArgs, inherited: &Inherited) -> Ending {
    let Some(name) = &args.name else {
        return list(None, args.json, &args.connection, inherited);
    };
    let detailed = match (args.quiet, args.json) {
        (true, _) => 0,
        (false, true) => usize::MAX,
        (false, false) => SHOWN,
    };
    let asking = async |connection: &Connection, prefix: &_, give_up_at| {
        inspect(connection, prefix, name, detailed, give_up_at).await
    };
    match ask(&args.connection, inherited, asking) {
        Ok(inspection) => show(args, name, &inspection),
        Err(outcome) => failed(name, &outcome),
    }
}

/// The status says whether the lock is held only with `-q`: without it, showing is all that was asked for.
fn show(args: &StatusArgs, name: &LockName, inspection: &Inspection) -> Ending {
    if args.quiet {
        return Ending::Status(if is_free(inspection) { 0 } else { BUSY_STATUS });
    }
    let text = match args.json {
        true => format!("{}\n", json(name, inspection)),
        false => people(name, inspection, clock::wall(), ui::look()),
    };
    ui::print(&text)
}

/// As `run -n` sees it: a vanished holder's lock delay is no freedom.
fn is_free(inspection: &Inspection) -> bool {
    inspection.held == 0 && inspection.more == 0 && inspection.vanished == 0
}

/// What it is, in a sentence; then everybody in its queue; then how the last run ended.
pub fn people(name: &LockName, inspection: &Inspection, wall: Timestamp, look: Look) -> String {
    let mut text = format!("{}\n", headline(name, inspection, wall));
    if !inspection.entries.is_empty() {
        let mut waiting = 0;
        let rows: Vec<_> = inspection
            .entries
            .iter()
            .map(|entry| {
                let place = match entry.state {
                    PlaceState::Held => "holds it".to_owned(),
                    PlaceState::Reserved => "next".to_owned(),
                    PlaceState::Waiting => {
                        waiting += 1;
                        format!("{waiting}.")
                    }
                };
                row(place, entry, wall)
            })
            .collect();
        text.push('\n');
        text.push_str(&render(look, HEADS, &rows));
    }
    if inspection.more > 0 {
        let _ = writeln!(text, "and {} more (--json shows all)", inspection.more);
    }
    if let Some(run) = &inspection.last_run {
        let _ = writeln!(text, "last run: {}", last_run(run, wall));
    }
    text
}

/// `deploy/prod is held by deploy@build7 for 3m 12s ("release 4.2"), 2 wait`
pub fn headline(name: &LockName, inspection: &Inspection, wall: Timestamp) -> String {
    let entries = inspection.entries.iter();
    let ahead: Vec<&InspectedEntry> = entries
        .filter(|entry| entry.state != PlaceState::Waiting)
        .collect();
    let is_reserved = |entry: &&&InspectedEntry| entry.state == PlaceState::Reserved;
    let number = inspection.held - ahead.iter().filter(is_reserved).count();
    let waiting = inspection.entries.len() + inspection.more - inspection.held;
    let waits = sentence::waits(waiting);
    match (&ahead[..], inspection.limit) {
        ([], _) if inspection.vanished > 0 => {
            format!("{name} is free after the lock delay of a holder that vanished{waits}")
        }
        ([], _) => format!("{name} is free"),
        ([only], Some(Limit::EXCLUSIVE)) => {
            let how = match only.state {
                PlaceState::Reserved => "reserved for",
                PlaceState::Held | PlaceState::Waiting => "held by",
            };
            let who = who(only);
            let since = match since(only, wall).as_str() {
                "" => String::new(),
                since => format!(" for {since}"),
            };
            format!("{name} is {how} {who}{since}{waits}")
        }
        (_, Some(Limit::Holders(limit))) => {
            format!("{name} is held by {number} of at most {limit}{waits}")
        }
        _ => format!("{name} is held by {number} who share it{waits}"),
    }
}

/// Who it is, and why.
pub fn who(entry: &InspectedEntry) -> String {
    let foreign = || "an entry that is not leasehold's".to_owned();
    entry.entry.as_ref().map_or_else(foreign, Entry::who)
}

const HEADS: [&str; 8] = [
    "", "WHO", "FOR", "PROGRAM", "PID", "TOKEN", "LEASE", "NOTES",
];

fn row(place: String, entry: &InspectedEntry, wall: Timestamp) -> [String; 8] {
    let lease = lease(entry);
    let token = entry.token.to_string();
    let Some(known) = &entry.entry else {
        let who = Entry::owner(None);
        return [
            place,
            who,
            String::new(),
            String::new(),
            String::new(),
            token,
            lease,
            String::new(),
        ];
    };
    [
        place,
        known.login(),
        since(entry, wall),
        known.program.clone(),
        known.pid.to_string(),
        token,
        lease,
        notes(entry, known),
    ]
}

/// Since when it holds the lock, or waits.
pub fn since(entry: &InspectedEntry, wall: Timestamp) -> String {
    let known = entry.entry.as_ref();
    let since = known.and_then(|known| sentence::elapsed(known.since(), wall));
    since.unwrap_or_default()
}

/// How long its lease lives.
pub fn lease(entry: &InspectedEntry) -> String {
    match (entry.lease, entry.remaining) {
        (Some(_), Remaining::Time(time)) => format!("{}s left", time.as_secs()),
        (Some(_), Remaining::AsItsRun) => "ends with its run".to_owned(),
        (Some(_), Remaining::Unknown) => "unknown".to_owned(),
        (None, _) => "none: stays until its key is deleted".to_owned(),
    }
}

fn notes(entry: &InspectedEntry, known: &Entry) -> String {
    let mode = match known.limit {
        Limit::EXCLUSIVE => None,
        Limit::Holders(slots) => Some(format!("slots {slots}")),
        Limit::Unlimited => Some("shared".to_owned()),
    };
    let waits = entry.state == PlaceState::Waiting;
    let latest = known.queue == QueuePolicy::Latest && waits;
    let several = !known.locks.is_empty();
    let notes = [
        mode,
        latest.then(|| "latest".to_owned()),
        several.then(|| format!("all of {}", known.locks.join(", "))),
        (!known.reason.is_empty()).then(|| format!("\"{}\"", known.reason)),
        known
            .held_until
            .as_ref()
            .map(|until| format!("its command has ended, kept until {until} by --hold-min")),
    ];
    notes
        .into_iter()
        .flatten()
        .collect::<Vec<String>>()
        .join(", ")
}

fn last_run(run: &LastRun, wall: Timestamp) -> String {
    let LastRun {
        token,
        host,
        user,
        program,
        reason,
        outcome,
        status,
        ended,
        held_ms,
        ..
    } = run;
    let ago = sentence::elapsed(ended, wall)
        .map(|elapsed| format!(", {elapsed} ago"))
        .unwrap_or_default();
    let reason = match reason.as_str() {
        "" => String::new(),
        reason => format!(", \"{reason}\""),
    };
    let held = Duration::from_millis(*held_ms);
    format!(
        "{outcome}, status {status}{ago}: {user}@{host}: {program} (held for {held:.1?}{reason}; token {token})"
    )
}

/// One entry in a few words.
pub fn person(entry: &InspectedEntry) -> String {
    let who = who(entry);
    format!("{who} (token {}, lease {})", entry.token, lease(entry))
}

/// The object for programs: the same from `status --json` and `list --json`.
pub fn json(name: &LockName, inspection: &Inspection) -> Value {
    let in_state = |state: PlaceState| -> Vec<Value> {
        let entries = inspection.entries.iter();
        let entries = entries.filter(|entry| entry.state == state);
        entries.map(entry_json).collect()
    };
    let holders = in_state(PlaceState::Held);
    json!({
        "version": VERSION,
        "lock": name.as_str(),
        "cluster": inspection.cluster.to_string(),
        "free": is_free(inspection),
        "held": !holders.is_empty(),
        "limit": inspection.limit,
        "holder": holders.first(),
        "holders": holders,
        "reserved": in_state(PlaceState::Reserved),
        "waiters": in_state(PlaceState::Waiting),
        "vanished": inspection.vanished,
        "last_run": inspection.last_run,
    })
}

fn entry_json(entry: &InspectedEntry) -> Value {
    let known = entry.entry.as_ref();
    json!({
        "key": entry.key,
        "state": entry.state.name(),
        "token": entry.token,
        "lease": entry.lease.map(|lease| format!("{lease:x}")),
        "remaining_s": entry.remaining.time().map(|time| time.as_secs()),
        "mode": known.map(|entry| entry.limit.mode().word()),
        "limit": known.map(|entry| entry.limit),
        "locks": known.map(|entry| &entry.locks),
        "host": known.map(|entry| &entry.host),
        "user": known.map(|entry| &entry.user),
        "pid": known.map(|entry| entry.pid),
        "program": known.map(|entry| &entry.program),
        "reason": known.map(|entry| &entry.reason),
        "queued": known.map(|entry| &entry.queued),
        "held": known.map(|entry| entry.held.as_ref()),
        "held_until": known.map(|entry| entry.held_until.as_ref()),
        "queue": known.map(|entry| entry.queue),
    })
}
