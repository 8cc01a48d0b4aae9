//! `leasehold watch [NAME]`: what happens, as it happens: a live view on a terminal, one JSON object per line otherwise.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::operating::WatchArgs;
use crate::commands::{ask, failed, refuse};
use crate::config::Inherited;
use crate::lock::chronicle::{Run, Way, What};
use crate::lock::name::LockName;
use crate::outcome::{Ending, Outcome};
use crate::service::Witnessed;
use crate::service::{self, Connection};
use crate::ui::live::{Live, View};
use crate::{clock, ui};

/// The version of the JSON objects.
const VERSION: u32 = 1;

/// Runs the subcommand.
pub fn watch(args: &WatchArgs, inherited: &Inherited) -> Ending {
    let mut ending = Ending::Status(0);
    let ended = match Live::on_this_terminal().filter(|_| !args.json) {
        Some(mut live) => {
            let mut view = View::new(args.name.clone());
            let tell = |witnessed: Witnessed<'_>| {
                view.take_in(&witnessed, clock::wall());
                ending = match view.is_due(clock::wall()) || live.has_other_size() {
                    true => live.draw(&view.lines(clock::wall(), live.look(), live.room())),
                    false => Ending::Status(0),
                };
                ending == Ending::Status(0)
            };
            all(args, inherited, tell)
        }
        None => {
            let mut here = true;
            let tell = |witnessed: Witnessed<'_>| {
                let line = line(&witnessed, clock::wall(), &mut here);
                ending = line.map_or(Ending::Status(0), |line| ui::print(&format!("{line}\n")));
                ending == Ending::Status(0)
            };
            all(args, inherited, tell)
        }
    };
    match (ended, &args.name) {
        (Ok(()), _) => ending,
        (Err(outcome), Some(name)) => failed(name, &outcome),
        (Err(outcome), None) => refuse(&outcome),
    }
}

fn all(
    args: &WatchArgs,
    inherited: &Inherited,
    tell: impl FnMut(Witnessed<'_>) -> bool,
) -> Result<(), Outcome> {
    let asking = async move |connection: &Connection, prefix: &_, give_up_at| {
        service::watch(connection, prefix, args.name.as_ref(), give_up_at, tell).await
    };
    ask(&args.connection, inherited, asking)
}

/// One object; nothing where nothing happened. `here` says whether what is told was there before we looked.
fn line(witnessed: &Witnessed<'_>, wall: Timestamp, here: &mut bool) -> Option<Value> {
    let time = wall.to_string();
    Some(match witnessed {
        Witnessed::From(revision, cluster) => {
            *here = true;
            json!({
                "version": VERSION,
                "time": time,
                "event": "watching",
                "revision": revision,
                "cluster": cluster.to_string(),
            })
        }
        Witnessed::Happened {
            name,
            revision,
            run,
            what,
        } => happened(name, *revision, run, what, time, *here),
        Witnessed::Unreachable(why) => json!({
            "version": VERSION,
            "time": time,
            "event": "unreachable",
            "message": why,
        }),
        Witnessed::Reached => json!({ "version": VERSION, "time": time, "event": "reached" }),
        Witnessed::Quiet => {
            *here = false;
            return None;
        }
    })
}

fn happened(
    name: &LockName,
    revision: i64,
    run: &Run,
    what: &What,
    time: String,
    here: bool,
) -> Value {
    let known = run.entry.as_ref();
    let mut object = json!({
        "version": VERSION,
        "time": time,
        "event": what.name(),
        "lock": name.as_str(),
        "revision": revision,
        "before": here,
        "token": run.token,
        "host": known.map(|entry| &entry.host),
        "user": known.map(|entry| &entry.user),
        "pid": known.map(|entry| entry.pid),
        "program": known.map(|entry| &entry.program),
        "reason": known.map(|entry| &entry.reason),
        "queued": known.map(|entry| &entry.queued),
        // He stands in the queue first, whatever follows in the same revision.
        "had_the_lock": run.admitted.is_some() && *what != What::Queued,
    });
    let more = match what {
        What::Kept(until) => json!({ "until": until }),
        What::BreakAsked(by) | What::Gone(Way::Superseded(by)) => json!({ "by": by }),
        What::BreakAnswered(within) => json!({ "stops_within_ms": within }),
        What::Recorded(outcome, status) => json!({ "outcome": outcome, "status": status }),
        What::Queued | What::Reserved | What::Held | What::Started | What::Gone(_) => json!({}),
    };
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}
