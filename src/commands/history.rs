//! `leasehold history NAME`: who held the lock, when, for how long, how it ended; as far as the store knows it.

use std::time::Duration;

use jiff::{SpanRound, Timestamp, Unit};
use serde_json::{Value, json};

use crate::cli::operating::HistoryArgs;
use crate::clock;
use crate::commands::{ask, failed};
use crate::config::Inherited;
use crate::lock::entry::Entry;
use crate::lock::retold::{Retold, State, retell};
use crate::outcome::Ending;
use crate::result_file::ResultFile;
use crate::service::{self, Connection, Past};
use crate::ui::sentence::second;
use crate::ui::table::{Look, render};
use crate::ui::{self, system_error, timeline};

/// The version of the JSON object.
const VERSION: u32 = 1;

/// How many runs are shown to people where they do not say.
const SHOWN: usize = 20;

/// Runs the subcommand.
pub fn history(args: &HistoryArgs, inherited: &Inherited) -> Ending {
    let asking = async |connection: &Connection, prefix: &_, give_up_at| {
        service::history(connection, prefix, &args.name, give_up_at).await
    };
    match ask(&args.connection, inherited, asking) {
        Ok(past) => show(args, &past),
        Err(outcome) => failed(&args.name, &outcome),
    }
}

fn show(args: &HistoryArgs, past: &Past) -> Ending {
    let all = retell(past.chronicle.runs());
    let shown = match (args.last, args.json) {
        (Some(last), _) => last,
        (None, true) => all.len(),
        (None, false) => SHOWN,
    };
    let runs = &all[all.len().saturating_sub(shown)..];
    let (now, look) = (clock::wall(), ui::look());
    if let Some(path) = &args.svg {
        let svg = timeline::svg(args.name.as_str(), runs, now);
        let written = ResultFile::check(path).and_then(|file| file.write(svg.as_bytes()));
        if let Err(error) = written {
            let (path, why) = (path.display(), system_error(&error));
            ui::complain(&format!(
                "{}: {path} could not be written: {why}",
                args.name
            ));
            return Ending::Status(ui::WRITING_FAILED);
        }
    }
    if args.json {
        return ui::print(&format!("{}\n", to_json(args, past, runs, now)));
    }
    let mut text = begins(args, past, all.len(), runs.len());
    if !runs.is_empty() {
        text.push('\n');
        text.push_str(&table(look, runs, now));
        if args.timeline {
            text.push('\n');
            text.push_str(&timeline::text(look, runs, now));
        }
    }
    ui::print(&text)
}

/// Where the account begins, and why.
fn begins(args: &HistoryArgs, past: &Past, all: usize, shown: usize) -> String {
    let name = &args.name;
    let since = match past.begins {
        0 => "since the store was made: nothing of it was compacted yet".to_owned(),
        begins => format!("since revision {begins}: etcd has compacted what was before"),
    };
    let runs = match all {
        1 => "1 run".to_owned(),
        all => format!("{all} runs"),
    };
    let last = match all == shown {
        true => String::new(),
        false => format!("; the last {shown} (--last shows more)"),
    };
    format!("{name}: {runs} {since}{last}\n")
}

const HEADS: [&str; 7] = [
    "TOKEN",
    "WHO",
    "PROGRAM",
    "QUEUED",
    "WAITED",
    "HELD",
    "HOW IT ENDED",
];

fn table(look: Look, runs: &[Retold<'_>], now: Timestamp) -> String {
    let rows: Vec<[String; 7]> = runs.iter().map(|run| row(run, now)).collect();
    render(look, HEADS, &rows)
}

fn row(run: &Retold<'_>, now: Timestamp) -> [String; 7] {
    let known = run.run.entry.as_ref();
    let reason = known.map(|entry| entry.reason.as_str()).unwrap_or_default();
    let reason = match reason {
        "" => String::new(),
        reason => format!(" (\"{reason}\")"),
    };
    let held = match (run.held_for(now), run.held_at_most()) {
        (Some(held), _) => people(held),
        (None, Some(most)) => format!("at most {}", people(most)),
        (None, None) => String::new(),
    };
    [
        run.run.token.to_string(),
        Entry::owner(known),
        known.map(|entry| entry.program.clone()).unwrap_or_default(),
        run.queued.map(second).unwrap_or_default(),
        run.waited(now).map(people).unwrap_or_default(),
        held,
        format!("{}{reason}", run.how()),
    ]
}

/// `1h 3m 12s`, and below a minute with a decimal.
fn people(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        return format!("{:.1}s", duration.as_secs_f64());
    }
    let round = SpanRound::new()
        .smallest(Unit::Second)
        .largest(Unit::Day)
        .days_are_24_hours();
    let span = jiff::Span::try_from(duration).and_then(|span| span.round(round));
    span.map_or_else(
        |_| format!("{}s", duration.as_secs()),
        |span| format!("{span:#}"),
    )
}

fn to_json(args: &HistoryArgs, past: &Past, runs: &[Retold<'_>], now: Timestamp) -> Value {
    json!({
        "version": VERSION,
        "lock": args.name.as_str(),
        "begins_revision": past.begins,
        "until_revision": past.until,
        "compacted": past.begins > 0,
        "runs": runs.iter().map(|run| run_json(run, now)).collect::<Vec<Value>>(),
    })
}

fn run_json(run: &Retold<'_>, now: Timestamp) -> Value {
    let known = run.run.entry.as_ref();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let record = run.run.record.as_ref();
    json!({
        "token": run.run.token,
        "state": run.state().name(),
        "host": known.map(|entry| &entry.host),
        "user": known.map(|entry| &entry.user),
        "pid": known.map(|entry| entry.pid),
        "program": known.map(|entry| &entry.program),
        "reason": known.map(|entry| &entry.reason),
        "mode": known.map(|entry| entry.limit.mode().word()),
        "queued": text(run.queued),
        "held": text(run.held),
        "ended": text(run.ended),
        "ended_by": text(run.ended_by),
        "waited_ms": run.waited(now).map(millis),
        "held_ms": run.held_for(now).map(millis),
        "got_the_lock": run.run.admitted.is_some(),
        "way": run.run.way.as_ref().map(|way| way.name()),
        "outcome": record.map(|record| &record.outcome),
        "status": record.map(|record| record.status),
        "asked_to_stop_by": run.run.asked.as_ref().map(|request| request.who()),
        "gone_revision": run.run.gone,
        "is_over": run.state() == State::Gone,
    })
}
