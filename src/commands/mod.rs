//! The subcommands other than `run`: one file each, thin.

pub mod complete_names;
pub mod config;
pub mod once;
pub mod shell_help;
pub mod status;

use crate::cli::ConnectionArgs;
use crate::clock::{self, Instant};
use crate::config::Inherited;
use crate::inherited::resolved;
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::outcome::{Ending, Outcome};
use crate::service::etcd::Connection;
use crate::supervisor::{Trouble, TroubleKind};
use crate::ui;

/// An ending before anything began: what was typed, or a setting, is wrong.
pub fn refuse(outcome: &Outcome) -> Ending {
    if let Outcome::Usage(why) | Outcome::Configuration(why) = outcome {
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
    let settings = resolved(inherited, |inherited| {
        crate::config::connection(args, inherited)
    })?;
    let connection = Connection::from(&settings);
    let give_up_at = clock::now() + settings.connect_timeout;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| Outcome::Unavailable(format!("no event loop: {error}")))?;
    let asking = request(&connection, &settings.prefix, give_up_at);
    let tasks = tokio::task::LocalSet::new();
    tasks
        .block_on(&runtime, asking)
        .map_err(|trouble| match trouble.kind {
            TroubleKind::Denied => Outcome::Denied(trouble.detail),
            TroubleKind::Misconfigured => Outcome::Configuration(trouble.detail),
            TroubleKind::Unreachable | TroubleKind::Refused => Outcome::Unavailable(trouble.detail),
        })
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
