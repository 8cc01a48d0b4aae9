//! `leasehold status NAME`: who holds the lock, who waits, how long the lease still lives.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::StatusArgs;
use crate::clock;
use crate::config::{self, Inherited};
use crate::inherited::resolved;
use crate::lock::limit::Limit;
use crate::lock::name::LockName;
use crate::outcome::{BUSY_STATUS, Ending, Outcome};
use crate::service::etcd::{Connection, inspect};
use crate::service::{InspectedEntry, Inspection, PlaceState};
use crate::supervisor::TroubleKind;
use crate::ui::{self, sentence};

/// The version of the JSON object.
const VERSION: u32 = 1;

/// Runs the subcommand.
pub fn status(args: &StatusArgs, inherited: &Inherited) -> Ending {
    match inspected(args, inherited) {
        Ok(inspection) => show(args, &inspection),
        // Ctrl-C where a password was asked for.
        Err(outcome @ Outcome::Interrupted(_)) => outcome.ending(),
        Err(outcome) => {
            let why = match &outcome {
                Outcome::Unavailable(why) | Outcome::Denied(why) => format!("{}: {why}", args.name),
                Outcome::Usage(why) | Outcome::Configuration(why) => why.clone(),
                other => other.sentence(&args.name).unwrap_or_default(),
            };
            ui::complain(&why);
            outcome.ending()
        }
    }
}

fn inspected(args: &StatusArgs, inherited: &Inherited) -> Result<Inspection, Outcome> {
    let settings = resolved(inherited, |inherited| {
        config::connection(&args.connection, inherited)
    })?;
    let connection = Connection::from(&settings);
    let give_up_at = clock::now() + settings.connect_timeout;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| Outcome::Unavailable(format!("no event loop: {error}")))?;
    let inspecting = inspect(&connection, &settings.prefix, &args.name, give_up_at);
    let tasks = tokio::task::LocalSet::new();
    tasks
        .block_on(&runtime, inspecting)
        .map_err(|trouble| match trouble.kind {
            TroubleKind::Denied => Outcome::Denied(trouble.detail),
            TroubleKind::Misconfigured => Outcome::Configuration(trouble.detail),
            TroubleKind::Unreachable | TroubleKind::Refused => Outcome::Unavailable(trouble.detail),
        })
}

/// The status says whether the lock is held only with `-q`: without it, showing is all that was asked for.
fn show(args: &StatusArgs, inspection: &Inspection) -> Ending {
    if args.quiet {
        // As `run -n` sees it: a vanished holder's lock delay is no freedom.
        let held = !inspection.entries.is_empty() || !inspection.vanished.is_empty();
        return Ending::Status(if held { BUSY_STATUS } else { 0 });
    }
    let text = if args.json {
        format!("{}\n", json(&args.name, inspection))
    } else {
        people(&args.name, inspection, clock::wall())
    };
    ui::print(&text)
}

fn people(name: &LockName, inspection: &Inspection, wall: Timestamp) -> String {
    let (ahead, waiters) = ahead_and_waiters(inspection);
    let held = ahead.iter().filter(|entry| entry.state == PlaceState::Held);
    let (number, reserved) = (held.count(), "reserved for");
    let mut text = match (&ahead[..], inspection.limit) {
        ([], _) if !inspection.vanished.is_empty() => {
            format!("{name} is free after the lock delay of a holder that vanished\n")
        }
        ([], _) => format!("{name} is free\n"),
        ([only], Some(Limit::EXCLUSIVE)) => {
            let how = match only.state {
                PlaceState::Reserved => reserved,
                PlaceState::Held | PlaceState::Waiting => "held by",
            };
            format!("{name} is {how} {}\n", person(only, wall))
        }
        (ahead, limit) => {
            let mut text = match limit {
                Some(Limit::Holders(limit)) => {
                    format!("{name} is held by {number} of at most {limit}\n")
                }
                _ => format!("{name} is held by {number} who share it\n"),
            };
            for entry in ahead {
                let how = match entry.state {
                    PlaceState::Reserved => format!("{reserved} "),
                    PlaceState::Held | PlaceState::Waiting => String::new(),
                };
                let _ = writeln!(text, "     - {how}{}", person(entry, wall));
            }
            text
        }
    };
    for (index, waiter) in waiters.iter().enumerate() {
        let _ = writeln!(text, "  {:>3}. {}", index + 1, person(waiter, wall));
    }
    text
}

/// Those whom nobody is in the way of, and the others.
fn ahead_and_waiters(inspection: &Inspection) -> (Vec<&InspectedEntry>, Vec<&InspectedEntry>) {
    let entries = inspection.entries.iter();
    entries.partition(|entry| entry.state != PlaceState::Waiting)
}

fn person(entry: &InspectedEntry, wall: Timestamp) -> String {
    let lease = match (entry.lease, entry.remaining) {
        (Some(_), Some(remaining)) => format!("lease {}s left", remaining.as_secs()),
        (Some(_), None) => "lease unknown".to_owned(),
        (None, _) => "no lease: stays until its key is deleted".to_owned(),
    };
    let token = entry.token;
    let Some(known) = &entry.entry else {
        return format!("an entry that is not leasehold's (token {token}, {lease})");
    };
    let since = sentence::elapsed(known.since(), wall)
        .map(|elapsed| format!(" for {elapsed}"))
        .unwrap_or_default();
    let reason = match known.reason.as_str() {
        "" => String::new(),
        reason => format!(", \"{reason}\""),
    };
    let mode = match known.limit {
        Limit::EXCLUSIVE => String::new(),
        Limit::Holders(slots) => format!(", slots {slots}"),
        Limit::Unlimited => ", shared".to_owned(),
    };
    let together = match &known.locks[..] {
        [] => String::new(),
        locks => format!(", all of {}", locks.join(", ")),
    };
    format!(
        "{}@{}{since}: {} (pid {}{mode}{together}{reason}; token {token}, {lease})",
        known.user, known.host, known.program, known.pid
    )
}

fn json(name: &LockName, inspection: &Inspection) -> Value {
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
        "held": !holders.is_empty(),
        "limit": inspection.limit,
        "holder": holders.first(),
        "holders": holders,
        "reserved": in_state(PlaceState::Reserved),
        "waiters": in_state(PlaceState::Waiting),
        "vanished": inspection.vanished.len(),
    })
}

fn entry_json(entry: &InspectedEntry) -> Value {
    let known = entry.entry.as_ref();
    json!({
        "key": entry.key,
        "state": entry.state.name(),
        "token": entry.token,
        "lease": entry.lease.map(|lease| format!("{lease:x}")),
        "remaining_s": entry.remaining.map(|remaining| remaining.as_secs()),
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
    })
}
