//! What the program needs: command line > environment > file > default, checked once. Pure: what the process
//! inherited comes in as [`Inherited`], and what else is needed from outside is asked for.
//!
//! ```text
//!  setting        the one table: names, kinds (kind), defaults
//!  inherited      what comes from outside, and what is still needed
//!   └ file        one config.toml
//!      └ layers   who says what, in the order in which they are believed
//!         ├ connection   endpoints, prefix; with tls and login, or a folder
//!         ├ run_settings what files may say about a run, also per lock
//!         └ shown        everything, for people
//! ```

pub mod connection;
pub mod duration;
pub mod endpoint;
pub mod file;
pub mod folder;
pub mod inherited;
pub mod kind;
pub mod layers;
pub mod login;
pub mod nearest;
pub mod run_settings;
pub mod secret;
pub mod setting;
pub mod shown;
pub mod signal;
pub mod tls;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{LogFormat, RunArgs};
use crate::lock::entry::{Entry, TEXT_CHARACTERS_MAX};
use crate::lock::limit::Limit;
use crate::lock::name::{LOCKS_MAX, LockName};
use crate::outcome::Outcome;
use crate::service::Wanted;
use crate::supervisor::Plan;
pub use connection::{Connection, connection};
pub use inherited::{Inherited, Unresolved};
use layers::{Layers, Resolved};
use run_settings::{RunSettings, check_hold_min};

/// How to talk to the user.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// How messages are written.
    pub format: LogFormat,
    /// `-q`.
    pub quiet: bool,
    /// `-v`.
    pub verbose: bool,
    /// That the command does not run is no failure here: `-E 0`, `--once`.
    pub skip_is_chosen: bool,
}

impl Talk {
    const fn of(args: &RunArgs, settings: &RunSettings) -> Self {
        Self {
            format: args.log_format,
            quiet: args.quiet,
            verbose: args.verbose,
            skip_is_chosen: settings.conflict_status == 0 || args.once.is_some(),
        }
    }
}

/// Everything that `leasehold run` runs on.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The lock, and what others are told about us.
    pub wanted: Wanted,
    /// What to execute: the program and its arguments.
    pub argv: Vec<OsString>,
    /// Asks the command to end.
    pub kill_signal: i32,
    /// How to reach the lock service.
    pub connection: Connection,
    /// How long `--once` remembers.
    pub once_keep: Duration,
    /// How long what may take.
    pub plan: Plan,
    /// Where the outcome is written.
    pub report: Option<PathBuf>,
    /// Where the metrics are written, and who said so: a file, or a folder with one for each lock.
    pub metrics_file: Option<Resolved<PathBuf>>,
    /// How to talk to the user.
    pub talk: Talk,
}

impl RunConfig {
    /// Checks what was typed and inherited.
    ///
    /// # Errors
    /// What is still needed from outside; or [`Outcome::Usage`] or [`Outcome::Configuration`], with the
    /// sentence for the user.
    pub fn resolve(args: &RunArgs, inherited: &Inherited) -> Result<Self, Unresolved> {
        let (name, argv) = args.name_and_command().map_err(Outcome::Usage)?;
        let typed = [&args.settings.typed, &args.connection.typed];
        let layers = Layers::gather(&typed, Some(&name), inherited)?;
        let settings = RunSettings::resolve(&layers)?;
        let connection = connection::resolve(&layers)?;
        let limit = limit(args, &settings);
        let nonblock = args.nonblock || settings.wait == Some(Duration::ZERO);
        let wait = settings.wait.filter(|wait| !wait.is_zero());
        check_hold_min(&settings.hold_min, nonblock, wait)?;
        check(args, &settings, limit)?;
        let talk = Talk::of(args, &settings);
        let also = also(args, &name)?;
        let names = || std::iter::once(&name).chain(&also);
        let program = program_name(&argv);
        let plan = Plan {
            program: argv[0].to_string_lossy().into_owned(),
            lock_paths: names()
                .map(|name| format!("{}{name}", connection.prefix))
                .collect(),
            enclosing: enclosing(inherited),
            kill_after: settings.kill_after,
            wait,
            connect_timeout: connection.connect_timeout,
            max_runtime: settings.max_runtime,
            on_leftover: settings.on_leftover,
            on_loss: settings.on_loss,
            conflict_status: settings.conflict_status,
            hold_min: settings.hold_min.value,
            once: args.once.is_some(),
            record: settings.record,
        };
        let entry = Entry {
            v: Entry::VERSION,
            limit,
            host: inherited.host.clone(),
            user: inherited.user.clone(),
            pid: inherited.pid,
            program,
            reason: settings.reason,
            queued: inherited.wall.clone(),
            held: None,
            held_until: None,
            queue: settings.queue,
            locks: match also[..] {
                [] => Vec::new(),
                _ => names().map(LockName::to_string).collect(),
            },
            lock_delay_ms: settings.lock_delay.as_millis() as u64,
        };
        let wanted = Wanted {
            name,
            also,
            prefix: connection.prefix.clone(),
            ttl: settings.ttl,
            nonblock,
            entry,
            once: args.once.clone(),
        };
        Ok(Self {
            wanted,
            argv,
            kill_signal: settings.kill_signal,
            connection,
            once_keep: settings.once_keep,
            plan,
            report: args.report.clone(),
            metrics_file: settings.metrics_file,
            talk,
        })
    }
}

/// Where the metrics of a run are written that is refused: whatever else is wrong.
///
/// # Errors
/// What is still needed from outside.
pub fn metrics_file(args: &RunArgs, inherited: &Inherited) -> Result<Option<PathBuf>, Unresolved> {
    let typed = [&args.settings.typed, &args.connection.typed];
    let name = args
        .words
        .first()
        .and_then(|name| name.to_str()?.parse().ok());
    let files = match Layers::gather(&typed, name.as_ref(), inherited) {
        Err(Unresolved::Refused(_)) => Layers::typed_only(&typed, inherited),
        gathered => gathered?,
    };
    Ok(run_settings::metrics_file(&files).map(|found| found.value))
}

/// What has to fit together, or to be short.
fn check(args: &RunArgs, settings: &RunSettings, limit: Limit) -> Result<(), Outcome> {
    if settings.reason.chars().count() > TEXT_CHARACTERS_MAX {
        let why = format!("--reason has more than {TEXT_CHARACTERS_MAX} characters");
        return Err(Outcome::Usage(why));
    }
    if args.once.is_some() && limit != Limit::EXCLUSIVE {
        let why = "--once needs an exclusive lock: with --shared or --slots two could do it at the same time; add -x";
        return Err(Outcome::Usage(why.to_owned()));
    }
    Ok(())
}

/// The other locks of the run, each once.
fn also(args: &RunArgs, name: &LockName) -> Result<Vec<LockName>, Outcome> {
    let mut also: Vec<LockName> = Vec::new();
    for other in &args.also {
        if other != name && !also.contains(other) {
            also.push(other.clone());
        }
    }
    match also.len() + 1 {
        ..=LOCKS_MAX => Ok(also),
        locks => Err(Outcome::Usage(format!(
            "{locks} locks are more than one run can take: etcd puts at most {LOCKS_MAX} of them in one transaction; take a lock that stands for several of them"
        ))),
    }
}

/// How many may hold the lock with us. What is typed is stronger than the slots of a file.
fn limit(args: &RunArgs, settings: &RunSettings) -> Limit {
    match (args.exclusive, args.shared, settings.slots) {
        (true, ..) | (_, false, None) => Limit::EXCLUSIVE,
        (false, true, _) => Limit::Unlimited,
        (false, false, Some(slots)) => Limit::Holders(slots),
    }
}

/// The command's file name, without its folder: what others are told.
fn program_name(argv: &[OsString]) -> String {
    let path = argv.first().map(PathBuf::from).unwrap_or_default();
    path.file_name().map_or_else(
        || path.to_string_lossy().into_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The variable that lists the locks of all enclosing runs, so that none waits for itself.
pub const ENCLOSING: &str = "LEASEHOLD_ENCLOSING";

fn enclosing(inherited: &Inherited) -> Vec<String> {
    inherited
        .variable(ENCLOSING)
        .map(|list| list.split(',').map(str::to_owned).collect())
        .unwrap_or_default()
}

#[cfg(test)]
pub mod tests;
