//! What the program needs: command line > environment > default, checked once. Pure: what the process
//! inherited comes in as [`Inherited`].

pub mod duration;
pub mod endpoint;
pub mod signal;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{self, ConnectionArgs, LogFormat, RunArgs};
use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::lock::lease;
use crate::outcome::Outcome;
use crate::service::Wanted;
use crate::supervisor::{OnLeftover, OnLoss, Plan};
use endpoint::Endpoint;

/// What this process was given by whoever started it.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    /// The variables whose names and values are text; no other is ours.
    pub variables: BTreeMap<String, String>,
    /// The machine's name.
    pub host: String,
    /// The login name, or the uid.
    pub user: String,
    /// The pid that shell, cron or systemd know.
    pub pid: i32,
    /// Now, for people: RFC 3339.
    pub wall: String,
}

impl Inherited {
    /// A variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// Where a setting came from, for `-v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Typed.
    CommandLine,
    /// This variable.
    Variable(&'static str),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CommandLine => write!(f, "command line"),
            Self::Variable(name) => name.fmt(f),
            Self::Default => write!(f, "default"),
        }
    }
}

/// How to reach the lock service.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The cluster's members.
    pub endpoints: Vec<Endpoint>,
    /// Who named them.
    pub endpoints_source: Source,
    /// What every key begins with.
    pub prefix: Prefix,
    /// Who said so.
    pub prefix_source: Source,
    /// How long to look for a working member.
    pub connect_timeout: Duration,
}

/// How to talk to the user.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// How messages are written.
    pub format: LogFormat,
    /// `-q`.
    pub quiet: bool,
    /// `-v`.
    pub verbose: bool,
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
    /// How long what may take.
    pub plan: Plan,
    /// Where the outcome is written.
    pub report: Option<PathBuf>,
    /// How to talk to the user.
    pub talk: Talk,
}

/// Resolves how to reach the lock service.
///
/// # Errors
/// [`Outcome::Configuration`] for a variable that makes no sense, [`Outcome::Usage`] for an option.
pub fn connection(args: &ConnectionArgs, inherited: &Inherited) -> Result<Connection, Outcome> {
    let variable = |name: &'static str| {
        let value = inherited.variable(name)?;
        Some((value.to_owned(), Source::Variable(name)))
    };
    let typed = args
        .endpoints
        .clone()
        .map(|list| (list, Source::CommandLine));
    let (endpoints, endpoints_source) = typed
        .or_else(|| variable("LEASEHOLD_ENDPOINTS"))
        .or_else(|| variable("ETCDCTL_ENDPOINTS"))
        .unwrap_or_else(|| ("127.0.0.1:2379".to_owned(), Source::Default));
    let endpoints =
        Endpoint::parse_list(&endpoints).map_err(|why| refusal(&endpoints_source, why))?;
    let typed = args
        .prefix
        .clone()
        .map(|prefix| (prefix, Source::CommandLine));
    let (prefix, prefix_source) = match (typed, variable("LEASEHOLD_PREFIX")) {
        (Some(typed), _) => typed,
        (None, Some((text, source))) => {
            let prefix = text
                .parse::<Prefix>()
                .map_err(|why| refusal(&source, why.to_string()))?;
            (prefix, source)
        }
        (None, None) => (Prefix::default(), Source::Default),
    };
    Ok(Connection {
        endpoints,
        endpoints_source,
        prefix,
        prefix_source,
        connect_timeout: args.connect_timeout,
    })
}

fn refusal(source: &Source, why: String) -> Outcome {
    match source {
        Source::CommandLine => Outcome::Usage(why),
        Source::Variable(_) | Source::Default => {
            Outcome::Configuration(format!("{why} ({source})"))
        }
    }
}

impl RunConfig {
    /// Checks what was typed and inherited.
    ///
    /// # Errors
    /// [`Outcome::Usage`] or [`Outcome::Configuration`], with the sentence for the user.
    pub fn resolve(args: RunArgs, inherited: &Inherited) -> Result<Self, Outcome> {
        let connection = connection(&args.connection, inherited)?;
        let (name, argv) = args.name_and_command().map_err(Outcome::Usage)?;
        let (ttl, kill_after) = timing(&args)?;
        if args.connect_timeout_is_zero() {
            return Err(Outcome::Usage("--connect-timeout cannot be 0".to_owned()));
        }
        let program = program_name(&argv);
        let lock_path = format!("{}{name}", connection.prefix);
        let wait = args.wait.filter(|wait| !wait.is_zero());
        let plan = Plan {
            program: program.clone(),
            lock_path,
            enclosing: enclosing(inherited),
            kill_after,
            wait,
            connect_timeout: args.connection.connect_timeout,
            max_runtime: args.max_runtime,
            on_leftover: match args.on_leftover {
                cli::OnLeftover::Wait => OnLeftover::Wait,
                cli::OnLeftover::Kill => OnLeftover::Kill,
                cli::OnLeftover::Leave => OnLeftover::Leave,
            },
            on_loss: match args.on_loss {
                cli::OnLoss::Kill => OnLoss::Kill,
                cli::OnLoss::Warn => OnLoss::Warn,
            },
            conflict_status: args.conflict_exit_code,
        };
        let entry = Entry {
            v: Entry::VERSION,
            limit: 1,
            host: inherited.host.clone(),
            user: inherited.user.clone(),
            pid: inherited.pid,
            program,
            reason: args.reason.clone().unwrap_or_default(),
            queued: inherited.wall.clone(),
            held: None,
            lock_delay_ms: args.lock_delay.as_millis() as u64,
        };
        let wanted = Wanted {
            name,
            prefix: connection.prefix.clone(),
            ttl,
            nonblock: args.nonblock || args.wait == Some(Duration::ZERO),
            entry,
        };
        Ok(Self {
            wanted,
            argv,
            kill_signal: args.kill_signal,
            connection,
            plan,
            report: args.report,
            talk: Talk {
                format: args.log_format,
                quiet: args.quiet,
                verbose: args.verbose,
            },
        })
    }
}

/// TTL and grace, if they fit together.
fn timing(args: &RunArgs) -> Result<(Duration, Duration), Outcome> {
    let usage = |why: String| Outcome::Usage(why);
    // etcd counts TTLs in whole seconds; a fraction more is the safe side.
    let ttl = Duration::from_secs(args.ttl.as_secs() + u64::from(args.ttl.subsec_nanos() > 0));
    let kill_after = args
        .kill_after
        .unwrap_or_else(|| lease::default_kill_after(ttl));
    lease::check(ttl, kill_after).map_err(|why| usage(why.to_string()))?;
    if args.lock_delay > crate::lock::entry::LOCK_DELAY_MAX {
        let most = crate::lock::entry::LOCK_DELAY_MAX;
        return Err(usage(format!("--lock-delay can be at most {most:?}")));
    }
    Ok((ttl, kill_after))
}

/// The command's file name, without its folder: what others are told.
pub fn program_name(argv: &[OsString]) -> String {
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
mod tests;
