//! `leasehold complete-names`: the names of locks in use, for the completion scripts. Silent whatever happens:
//! somebody is typing.

use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::{Cli, CompleteNamesArgs, ConnectionArgs};
use crate::clock;
use crate::config::{self, Inherited};
use crate::inherited::resolved_silently;
use crate::outcome::Ending;
use crate::service::{self, Connection};
use crate::ui;

/// How long somebody who pressed TAB may be kept waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the subcommand.
pub fn names(args: &CompleteNamesArgs, inherited: &Inherited) -> Ending {
    match names_in_use(&typed(&args.words), inherited) {
        Some(names) => ui::print(&names),
        None => Ending::Status(1),
    }
}

/// The connection options of an unfinished command line.
fn typed(words: &[OsString]) -> ConnectionArgs {
    let program = OsString::from("leasehold");
    let line = std::iter::once(&program).chain(words);
    let matches = Cli::command()
        .ignore_errors(true)
        .try_get_matches_from(line);
    let matches = matches.ok();
    let subcommand = matches.as_ref().and_then(|matches| matches.subcommand());
    subcommand
        .filter(|(name, _)| has_connection(name))
        .and_then(|(_, matches)| ConnectionArgs::from_arg_matches(matches).ok())
        .unwrap_or_default()
}

fn has_connection(subcommand: &str) -> bool {
    let key = config::setting::ENDPOINTS.key;
    Cli::command()
        .find_subcommand(subcommand)
        .is_some_and(|command| {
            command
                .get_arguments()
                .any(|argument| argument.get_id() == key)
        })
}

fn names_in_use(args: &ConnectionArgs, inherited: &Inherited) -> Option<String> {
    let give_up_at = clock::now() + PATIENCE;
    let resolve = |inherited: &Inherited| config::connection(args, inherited);
    let settings = resolved_silently(inherited, resolve).ok()?;
    let connection = Connection::from(&settings);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .ok()?;
    let asking = service::names(&connection, &settings.prefix, give_up_at);
    let names = tokio::task::LocalSet::new().block_on(&runtime, asking);
    Some(names.ok()?.iter().map(|name| format!("{name}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_command_line_gives_its_connection_options() {
        for words in [
            ["run", "--endpoints", "a:1"].as_slice(),
            &["run", "--endpoints=a:1", "dep"],
            &["run", "-w", "3", "--endpoints", "a:1", "--ttl"],
            &["status", "--json", "--endpoints", "a:1", ""],
        ] {
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            let typed = typed(&words).typed;
            let endpoints = typed.0.get("endpoints").map(String::as_str);
            assert_eq!(endpoints, Some("a:1"), "{words:?}");
        }
        for words in [[].as_slice(), &["man"], &["nonsense"], &["config"]] {
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            assert!(typed(&words).typed.0.is_empty(), "{words:?}");
        }
    }
}
