//! leasehold: run a command while holding a distributed lock.
//!
//! The code map. `argv -> Cli -> Config`, then for `run`:
//!
//! ```text
//! service/ --- Enqueued | Waiting | Admitted | Renewed | Failed | Gone | Released ----+
//! process/ --- FrontReady | Started | NotStarted | Ended | Empty | FrontGone | Signal +-> Event
//! clock    --- Tick ------------------------------------------------------------------+     |
//!                                supervisor.handle_event(now, event)  [pure]  <-------------+
//!     Enqueue | Renew | Release | Prepare | Start | Publish | Stop | Kill | Say | Finish = Action
//!                                outcome -> sentence on stderr -> report -> exit status
//! ```
//!
//! What holds everywhere, by clippy's `disallowed-methods` (clippy.toml) or by a test:
//! 1. `config`, `outcome`, `lock`, `supervisor` never await, read a clock, print, or touch a process, file or socket.
//! 2. No etcd type or error outside `service/etcd`.
//! 3. Only this file exits; stdout is the command's, or a subcommand's result; `ui` writes all messages.
//! 4. Only `process` sends signals or holds a pid, and has unsafe code.
//! 5. Nothing is released while a process of the tree may be alive.
//! 6. The path that kills awaits nothing from the lock service.
//! 7. One definition of each fact that a user reads.

// What may be typed.
mod cli;
// What the program needs.
mod config;
// What it was given.
mod inherited;
// The domain.
mod lock;
// Every ending.
mod outcome;
// Decisions.
mod supervisor;
// The event loop of `run`.
mod run;
// What the command gets.
mod environment;
// What is remembered of a run.
mod memory;
// The lock service.
mod service;
// What an examination of it means.
mod diagnosis;
// The processes around the command.
mod process;
// The only reader of a clock.
mod clock;
// The only writer to stderr and stdout.
mod ui;
// What is said and written down of a run that is over.
mod account;
// The report.
mod report;
// The metrics.
mod metrics;
// The files they stand in.
mod result_file;
// The other subcommands.
mod commands;
// `fence`: the use of tokens.
mod fence;
// The seeded world in which all of this is tried.
#[cfg(test)]
mod simulation;
// What is checked in and made from the definitions.
#[cfg(test)]
mod generated;

use clap::Parser;

use cli::{Cli, Command};
use config::{Inherited, RunConfig};
use outcome::{Ending, Outcome};

fn main() {
    let ending = match Cli::try_parse() {
        Ok(cli) => dispatch(cli.command),
        Err(error) => typed_wrong(&error),
    };
    exit(ending)
}

fn dispatch(command: Command) -> Ending {
    let inherited = inherited::inherited();
    match command {
        Command::Run(args) => {
            let resolve = |inherited: &Inherited| RunConfig::resolve(&args, inherited);
            match inherited::resolved(&inherited, resolve) {
                Ok(config) => run::run(config),
                Err(outcome) => {
                    let metrics = |inherited: &Inherited| config::metrics_file(&args, inherited);
                    let metrics = inherited::resolved(&inherited, metrics).ok().flatten();
                    account::refuse_typed(&args, metrics.as_deref(), &outcome)
                }
            }
        }
        Command::Status(args) => commands::status::status(&args, &inherited),
        Command::List(args) => {
            commands::list::list(args.name.as_ref(), args.json, &args.connection, &inherited)
        }
        Command::Watch(args) => commands::watch::watch(&args, &inherited),
        Command::History(args) => commands::history::history(&args, &inherited),
        Command::Break(args) => commands::break_lock::break_lock(&args, &inherited),
        Command::Once(args) => commands::once::once(&args.command, &inherited),
        Command::Fence(args) => fence::fence(args.command, &inherited),
        Command::Doctor(args) => commands::doctor::doctor(&args, &inherited),
        Command::Config(args) => commands::config::config(&args.command, &inherited),
        Command::Completions(args) => commands::shell_help::completions(args.shell),
        Command::Man => commands::shell_help::man(),
        Command::CompleteNames(args) => commands::complete_names::names(&args, &inherited),
    }
}

/// `--help` and `--version` come as errors too: those go to stdout and are none.
fn typed_wrong(error: &clap::Error) -> Ending {
    // Nobody is left to tell when stderr is closed.
    let _ = error.print();
    if error.use_stderr() {
        Outcome::Usage(String::new()).ending()
    } else {
        Ending::Status(0)
    }
}

#[expect(
    clippy::disallowed_methods,
    clippy::exit,
    reason = "only main.rs exits"
)]
fn exit(ending: Ending) -> ! {
    std::process::exit(i32::from(process::end(ending)))
}
