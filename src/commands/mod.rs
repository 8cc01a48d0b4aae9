//! The subcommands other than `run`: one file each, thin.

pub mod break_lock;
pub mod complete_names;
pub mod config;
pub mod doctor;
pub mod history;
pub mod list;
pub mod once;
pub mod shell_help;
pub mod status;
pub mod watch;

use crate::cli::ConnectionArgs;
use crate::clock::{self, Instant};
use crate::config::Inherited;
use crate::inherited::resolved;
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::outcome::{Ending, Outcome};
use crate::service::Connection;
use crate::supervisor::{Trouble, TroubleKind};
use crate::ui;

/// The ending of a subcommand that is about no lock in particular, after it is said.
pub fn refuse(outcome: &Outcome) -> Ending {
    if let Outcome::Usage(why)
    | Outcome::Configuration(why)
    | Outcome::Unavailable(why)
    | Outcome::Denied(why) = outcome
    {
        ui::complain(why);
    }
    outcome.ending()
}

/// Asks the lock service one thing, within `--connect-timeout`.
///
/// # Errors
/// What is wrong with the settings, or why there is no answer.
fn ask<T>(
    args: &ConnectionArgs,
    inherited: &Inherited,
    request: impl AsyncFnOnce(&Connection, &Prefix, Instant) -> Result<T, Trouble>,
) -> Result<T, Outcome> {
    ask_patiently(args, inherited, async |settings| {
        let give_up_at = clock::now() + settings.connect_timeout;
        let connection = Connection::from(settings);
        let asked = request(&connection, &settings.prefix, give_up_at);
        asked.await.map_err(outcome_of)
    })
}

/// The same, where the request bounds itself.
fn ask_patiently<T>(
    args: &ConnectionArgs,
    inherited: &Inherited,
    request: impl AsyncFnOnce(&crate::config::Connection) -> Result<T, Outcome>,
) -> Result<T, Outcome> {
    let settings = resolved(inherited, |inherited| {
        crate::config::connection(args, inherited)
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| Outcome::Unavailable(format!("no event loop: {error}")))?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, request(&settings))
}

/// What a trouble means for a command that does one thing.
pub fn outcome_of(trouble: Trouble) -> Outcome {
    match trouble.kind {
        TroubleKind::Denied => Outcome::Denied(trouble.detail),
        TroubleKind::Misconfigured => Outcome::Configuration(trouble.detail),
        TroubleKind::Unreachable | TroubleKind::Refused => Outcome::Unavailable(trouble.detail),
    }
}

/// The ending of a subcommand about one lock that came to nothing, after it is said.
fn failed(name: &LockName, outcome: &Outcome) -> Ending {
    let why = match outcome {
        // Ctrl-C where a password was asked for.
        Outcome::Interrupted(_) => return outcome.ending(),
        Outcome::Unavailable(why) | Outcome::Denied(why) => format!("{name}: {why}"),
        Outcome::Usage(why) | Outcome::Configuration(why) => why.clone(),
        other => other.sentence(name).unwrap_or_default(),
    };
    ui::complain(&why);
    outcome.ending()
}
