//! `leasehold list`: all locks, one line each.

use crate::cli::ConnectionArgs;
use crate::commands::status::{json, lease, since};
use crate::commands::{ask, refuse};
use crate::config::Inherited;
use crate::lock::entry::Entry;
use crate::lock::limit::Limit;
use crate::lock::name::LockName;
use crate::outcome::{Ending, Outcome};
use crate::service::{self, Connection};
use crate::service::{Inspection, PlaceState};
use crate::ui::table::render;
use crate::{clock, ui};

const HEADS: [&str; 7] = [
    "LOCK", "STATE", "HOLDER", "FOR", "WAITING", "LEASE", "REASON",
];

/// Runs the subcommand; `below`: only this lock and those below it.
pub fn list(
    below: Option<&LockName>,
    as_json: bool,
    connection: &ConnectionArgs,
    inherited: &Inherited,
) -> Ending {
    let mut ending = Ending::Status(0);
    let mut rows = Vec::new();
    // One object per line, written as soon as it is known.
    let show_json = |name: LockName, inspection: Inspection| {
        ending = ui::print(&format!("{}\n", json(&name, &inspection)));
        ending == Ending::Status(0)
    };
    let show_row = |name: LockName, inspection: Inspection| {
        rows.push(row(&name, &inspection));
        true
    };
    let listed = match as_json {
        true => all(below, connection, inherited, usize::MAX, show_json),
        // Who came first is named; those beside him are counted.
        false => all(below, connection, inherited, 1, show_row),
    };
    match listed {
        Err(outcome) => refuse(&outcome),
        Ok(()) if as_json => ending,
        Ok(()) => ui::print(&render(ui::look(), HEADS, &rows)),
    }
}

fn all(
    below: Option<&LockName>,
    connection: &ConnectionArgs,
    inherited: &Inherited,
    detailed: usize,
    show: impl FnMut(LockName, Inspection) -> bool,
) -> Result<(), Outcome> {
    let asking = async move |connection: &Connection, prefix: &_, give_up_at| {
        service::list(connection, prefix, below, detailed, give_up_at, show).await
    };
    ask(connection, inherited, asking)
}

fn row(name: &LockName, inspection: &Inspection) -> [String; 7] {
    let wall = clock::wall();
    let all = inspection.entries.len() + inspection.more;
    let waiting = match all - inspection.held {
        0 => String::new(),
        waiting => waiting.to_string(),
    };
    let name = name.to_string();
    let Some(first) = inspection.entries.first().filter(|_| inspection.held > 0) else {
        let empty = String::new;
        return [
            name,
            "vanished".to_owned(),
            empty(),
            empty(),
            waiting,
            empty(),
            empty(),
        ];
    };
    let state = match (first.state, inspection.limit) {
        (PlaceState::Reserved, _) => "reserved".to_owned(),
        (_, Some(Limit::EXCLUSIVE) | None) => "held".to_owned(),
        (_, Some(Limit::Holders(limit))) => format!("{} of {limit}", inspection.held),
        (_, Some(Limit::Unlimited)) => format!("{} share it", inspection.held),
    };
    let known = first.entry.as_ref();
    let who = Entry::owner(known);
    let who = match inspection.held {
        0 | 1 => who,
        held => format!("{who} and {} more", held - 1),
    };
    let reason = known.map(|entry| entry.reason.clone()).unwrap_or_default();
    [
        name,
        state,
        who,
        since(first, wall),
        waiting,
        lease(first),
        reason,
    ]
}
