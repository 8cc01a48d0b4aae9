//! `leasehold config show` and `leasehold config check`.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::cli::{ConfigCheckArgs, ConfigCommand, ConfigShowArgs};
use crate::commands;
use crate::config::connection;
use crate::config::file::ConfigFile;
use crate::config::inherited::{FileState, Inherited, Need, Unresolved};
use crate::config::layers::{self, Layers, Place};
use crate::config::nearest::nearest;
use crate::config::run_settings::RunSettings;
use crate::config::setting;
use crate::config::shown::{self, Shown, Value};
use crate::environment::EXPORTED;
use crate::inherited::resolved;
use crate::outcome::{Ending, Outcome};
use crate::ui::{self, table};

/// The version of the JSON object.
const VERSION: u32 = 1;

/// Runs the subcommand.
pub fn config(command: &ConfigCommand, inherited: &Inherited) -> Ending {
    match command {
        ConfigCommand::Show(args) => show(args, inherited),
        ConfigCommand::Check(args) => check(args, inherited),
    }
}

fn show(args: &ConfigShowArgs, inherited: &Inherited) -> Ending {
    let resolve = |inherited: &Inherited| {
        let typed = [&args.connection.typed];
        let layers = Layers::gather(&typed, args.name.as_ref(), inherited)?;
        let files = layers.files().iter().map(|file| file.path.clone());
        Ok((shown::shown(&layers)?, files.collect::<Vec<PathBuf>>()))
    };
    match resolved(inherited, resolve) {
        Ok((shown, files)) if args.json => ui::print(&format!("{}\n", json(&shown, &files))),
        Ok((shown, _)) => ui::print(&people(&shown)),
        Err(outcome) => commands::refuse(&outcome),
    }
}

fn people(shown: &[Shown]) -> String {
    let rows: Vec<[String; 3]> = shown
        .iter()
        .map(|shown| {
            [
                shown.setting.key.to_owned(),
                shown.text().to_owned(),
                shown.source.to_string(),
            ]
        })
        .collect();
    table::render(ui::look(), ["SETTING", "VALUE", "FROM"], &rows)
}

fn json(shown: &[Shown], files: &[PathBuf]) -> Json {
    let files: Vec<String> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let settings: Vec<Json> = shown
        .iter()
        .map(|shown| {
            let value = match &shown.value {
                Value::Text(text) => Some(text),
                Value::Hidden | Value::Absent(_) => None,
            };
            json!({
                "name": shown.setting.key,
                "value": value,
                "set": !matches!(shown.value, Value::Absent(_)),
                "source": shown.source.to_string(),
            })
        })
        .collect();
    json!({ "version": VERSION, "files": files, "settings": settings })
}

/// What is right and what is wrong.
#[derive(Default)]
struct Findings {
    right: Vec<String>,
    wrong: Vec<String>,
}

fn check(args: &ConfigCheckArgs, inherited: &Inherited) -> Ending {
    let mut findings = Findings::default();
    for place in layers::config_places(&args.connection.typed, inherited) {
        findings.file(&place, inherited);
    }
    for (name, hint) in unknown_variables(inherited) {
        ui::complain(&format!("{name} is no variable of leasehold{hint}"));
    }
    // A mistake in a file would only be found again.
    if findings.wrong.is_empty() {
        findings.together(args, inherited);
    }
    for mistake in &findings.wrong {
        ui::complain(mistake);
    }
    let right: String = findings
        .right
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    match ui::print(&right) {
        Ending::Status(0) if !findings.wrong.is_empty() => {
            Outcome::Configuration(String::new()).ending()
        }
        ending => ending,
    }
}

/// The variables that look like ours but are not, with the nearest of ours.
fn unknown_variables(inherited: &Inherited) -> Vec<(&str, String)> {
    let settings = || setting::ALL.iter().filter_map(|setting| setting.variable);
    let exported = || EXPORTED.iter().map(|exported| exported.name);
    let is_known = |name: &str| settings().chain(exported()).any(|known| known == name);
    let names = inherited.variables.keys().map(String::as_str);
    names
        .filter(|name| name.starts_with("LEASEHOLD_") && !is_known(name))
        .map(|name| {
            let nearest = nearest(name, settings());
            let hint = nearest.map(|nearest| format!("; did you mean {nearest}?"));
            (name, hint.unwrap_or_default())
        })
        .collect()
}

impl Findings {
    /// One configuration file, with all its mistakes.
    fn file(&mut self, place: &Place, inherited: &Inherited) {
        let path = place.path.display();
        let state = resolved(inherited, |inherited| inherited.file(&place.path).cloned());
        let content = match &state {
            Ok(FileState::Absent) if place.named_by.is_none() => {
                return self.right.push(format!("{path}: not there"));
            }
            Ok(state) => state.content(),
            Err(_) => Err("it cannot be read".to_owned()),
        };
        match content.map(|content| ConfigFile::parse(&place.path, content)) {
            Ok(Ok(_)) => self.right.push(format!("{path}: good")),
            Ok(Err(mistakes)) => self.wrong.extend(mistakes),
            Err(why) => self.wrong.push(format!("{path}: {why}")),
        }
    }

    /// What all sources say together, and for every lock that has a table.
    fn together(&mut self, args: &ConfigCheckArgs, inherited: &Inherited) {
        let typed = [&args.connection.typed];
        let run_settings = |inherited: &Inherited| {
            let everywhere = Layers::gather(&typed, None, inherited)?;
            RunSettings::resolve(&everywhere)?;
            for pattern in everywhere.files().iter().flat_map(ConfigFile::patterns) {
                let lock = pattern.example();
                RunSettings::resolve(&Layers::gather(&typed, Some(&lock), inherited)?)?;
            }
            Ok(())
        };
        if let Err(outcome) = resolved(inherited, run_settings) {
            self.wrong(&outcome);
        }
        // What is asked for only when it is needed is no mistake.
        let connection = |inherited: &Inherited| match connection(&args.connection, inherited) {
            Err(Unresolved::Needs(Need::Password(user))) => Ok(Err(user)),
            other => other.map(Ok),
        };
        match resolved(inherited, connection) {
            Ok(Ok(connection)) => {
                for remark in connection.remarks() {
                    ui::complain(&remark);
                }
            }
            Ok(Err(user)) => ui::complain(&format!(
                "{user} has no password: it is asked for on a terminal, and elsewhere, as under cron, the run is refused"
            )),
            Err(outcome) => self.wrong(&outcome),
        }
    }

    fn wrong(&mut self, outcome: &Outcome) {
        if let Outcome::Usage(why) | Outcome::Configuration(why) = outcome {
            self.wrong.push(why.clone());
        }
    }
}
