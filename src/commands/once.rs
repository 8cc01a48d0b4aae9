//! `leasehold once list` and `leasehold once forget`: what `--once` remembers.

use serde_json::json;

use crate::cli::{OnceCommand, OnceForgetArgs, OnceListArgs};
use crate::commands::{ask, failed};
use crate::config::Inherited;
use crate::outcome::Ending;
use crate::service::{self, Connection, Remembered};
use crate::ui::{self, table};

/// The version of the JSON object.
const VERSION: u32 = 1;

/// Runs the subcommand.
pub fn once(command: &OnceCommand, inherited: &Inherited) -> Ending {
    match command {
        OnceCommand::List(args) => list(args, inherited),
        OnceCommand::Forget(args) => forget(args, inherited),
    }
}

fn list(args: &OnceListArgs, inherited: &Inherited) -> Ending {
    let asking = async |connection: &Connection, prefix: &_, give_up_at| {
        service::remembered(connection, prefix, &args.name, give_up_at).await
    };
    match ask(&args.connection, inherited, asking) {
        Err(outcome) => failed(&args.name, &outcome),
        Ok(remembered) if args.json => ui::print(&format!("{}\n", to_json(args, &remembered))),
        Ok(remembered) if remembered.is_empty() => {
            ui::print(&format!("{}: nothing is remembered\n", args.name))
        }
        Ok(remembered) => ui::print(&people(&remembered)),
    }
}

fn people(remembered: &[Remembered]) -> String {
    let unknown = || "unknown".to_owned();
    let rows: Vec<[String; 4]> = remembered
        .iter()
        .map(|Remembered { id, record }| match record {
            Some(record) => [
                id.to_string(),
                record.done.clone(),
                format!("{}@{}", record.user, record.host),
                record.token.to_string(),
            ],
            None => [id.to_string(), unknown(), unknown(), unknown()],
        })
        .collect();
    table::render(ui::look(), ["ID", "DONE", "BY", "TOKEN"], &rows)
}

fn to_json(args: &OnceListArgs, remembered: &[Remembered]) -> serde_json::Value {
    let records = remembered.iter().map(|Remembered { id, record }| {
        let record = record.as_ref();
        json!({
            "id": id.to_string(),
            "done": record.map(|record| &record.done),
            "host": record.map(|record| &record.host),
            "user": record.map(|record| &record.user),
            "program": record.map(|record| &record.program),
            "token": record.map(|record| record.token),
        })
    });
    json!({
        "version": VERSION,
        "lock": args.name.as_str(),
        "once": records.collect::<Vec<_>>(),
    })
}

fn forget(args: &OnceForgetArgs, inherited: &Inherited) -> Ending {
    let asking = async |connection: &Connection, prefix: &_, give_up_at| {
        service::forget(connection, prefix, &args.name, &args.id, give_up_at).await
    };
    match ask(&args.connection, inherited, asking) {
        Err(outcome) => failed(&args.name, &outcome),
        Ok(true) => Ending::Status(0),
        // What was asked for is so. But an ID is easily mistyped.
        Ok(false) => {
            let (name, id) = (&args.name, &args.id);
            ui::complain(&format!("{name}: nothing is remembered under {id}"));
            Ending::Status(0)
        }
    }
}
