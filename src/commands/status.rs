//! `leasehold status NAME`: who holds the lock, who waits, how long the lease still lives.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::StatusArgs;
use crate::clock;
use crate::commands::{ask, failed};
use crate::config::Inherited;
use crate::lock::entry::QueuePolicy;
use crate::lock::last_run::LastRun;
use crate::lock::limit::Limit;
use crate::lock::name::LockName;
use crate::outcome::{BUSY_STATUS, Ending};
use crate::service::etcd::{Connection, inspect};
use crate::service::{InspectedEntry, Inspection, PlaceState};
use crate::ui::{self, sentence};

/// The version of the JSON object.
const VERSION: u32 = 1;

/// Runs the subcommand.
pub fn status(args: &StatusArgs, inherited: &Inherited) -> Ending {
    let asking = async |connection: &Connection, prefix: &_, give_up_at| {
        inspect(connection, prefix, &args.name, give_up_at).await
    };
    match ask(&args.connection, inherited, asking) {
        Ok(inspection) => show(args, &inspection),
        Err(outcome) => failed(&args.name, &outcome),
    }
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
    if let Some(run) = &inspection.last_run {
        let _ = writeln!(text, "last run: {}", last_run(run, wall));
    }
    text
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
    let queue = match known.queue {
        QueuePolicy::Latest if entry.state == PlaceState::Waiting => ", latest",
        QueuePolicy::Latest | QueuePolicy::Fifo => "",
    };
    let kept = match &known.held_until {
        Some(until) => format!(", its command has ended, kept until {until} by --hold-min"),
        None => String::new(),
    };
    let together = match &known.locks[..] {
        [] => String::new(),
        locks => format!(", all of {}", locks.join(", ")),
    };
    format!(
        "{}@{}{since}: {} (pid {}{mode}{queue}{together}{reason}{kept}; token {token}, {lease})",
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
        "held_until": known.map(|entry| entry.held_until.as_ref()),
        "queue": known.map(|entry| entry.queue),
    })
}
