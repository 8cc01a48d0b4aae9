//! What may be typed, and what `--help` says. It only validates; [`crate::config`] makes of it what the
//! program needs.

// `leasehold doctor`.
pub mod doctor;
// `leasehold fence`.
pub mod fence;
// What the person on call types.
pub mod operating;
// The options that come from the table of settings.
mod settings;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::styling::Styles;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::config::layers::Typed;
use crate::lock::name::LockName;
use crate::lock::once::OnceId;

/// Run a command while holding a distributed lock, and have its whole process tree dead before anybody else
/// can get it.
#[derive(Debug, Parser)]
#[command(
    name = "leasehold",
    version,
    styles = Styles::plain(),
    max_term_width = 100,
    help_expected = true,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take the lock, run a command, give the lock back
    #[command(
        override_usage = "leasehold run [OPTIONS] NAME [--] COMMAND [ARG]...\n       leasehold run [OPTIONS] NAME -c 'SHELL STRING'",
        after_help = format!("{}\n{}", crate::outcome::exit_status_help(), crate::environment::help())
    )]
    Run(Box<RunArgs>),
    /// Show who holds a lock and who waits for it
    Status(StatusArgs),
    /// Show all locks that are held, waited for, or left by somebody who vanished
    List(operating::ListArgs),
    /// Show what happens under a lock, or under all, as it happens
    Watch(operating::WatchArgs),
    /// Show who held a lock, when, for how long, and how it ended
    History(operating::HistoryArgs),
    /// Take a lock from its holder, or a place from somebody who waits
    Break(operating::BreakArgs),
    /// Use the fencing token: for what must not be done by a holder that is one no more
    Fence(fence::FenceArgs),
    /// Show or forget what --once remembers
    Once(OnceArgs),
    /// Examine whether this machine can use the cluster, and which TTL fits it
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::DoctorArgs),
    /// Show every setting and where it came from, or check the configuration
    Config(ConfigArgs),
    /// Print the completion script of a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
    /// Print the names of locks in use, for completion
    #[command(hide = true)]
    CompleteNames(CompleteNamesArgs),
}

const COMPLETIONS_HELP: &str = "\
To install:
  bash        leasehold completions bash > ~/.local/share/bash-completion/completions/leasehold
  zsh         leasehold completions zsh > ~/.zfunc/_leasehold    (with ~/.zfunc in fpath)
  fish        leasehold completions fish > ~/.config/fish/completions/leasehold.fish
  elvish      leasehold completions elvish >> ~/.config/elvish/rc.elv
  powershell  leasehold completions powershell >> $PROFILE
";

/// How to reach the lock service: the same for every command.
#[derive(Clone, Debug, Default)]
pub struct ConnectionArgs {
    /// What was typed.
    pub typed: Typed,
}

/// The options of `run` that config.toml may have as well.
#[derive(Clone, Debug, Default)]
pub struct RunSettingArgs {
    /// What was typed.
    pub typed: Typed,
}

/// `leasehold run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Give up at once when the lock is busy
    #[arg(short = 'n', long, visible_alias = "nb", conflicts_with = "wait")]
    pub nonblock: bool,
    /// One holder at a time (this is the default)
    #[arg(short = 'x', long, conflicts_with_all = ["shared", "slots"])]
    pub exclusive: bool,
    /// Share the lock with all others who share it: a reader beside readers
    #[arg(short = 's', long, conflicts_with = "slots")]
    pub shared: bool,
    /// Hold this lock too, in the same mode: all or none, without deadlock; can be given again
    #[arg(long, value_name = "NAME")]
    pub also: Vec<LockName>,
    /// Do not run if a run with this ID has already succeeded under this lock
    #[arg(long, value_name = "ID")]
    pub once: Option<OnceId>,
    #[command(flatten)]
    pub settings: RunSettingArgs,
    /// Write the outcome to FILE as one JSON object
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// Say nothing while waiting or when the lock is busy
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(short, long)]
    pub verbose: bool,
    /// How messages on stderr are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Run this by /bin/sh -c in place of COMMAND
    #[arg(short = 'c', long = "command", value_name = "SHELL STRING")]
    pub shell: Option<OsString>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The lock's name, then the command and its arguments. No shell is involved unless -c is used
    #[arg(
        value_name = "NAME [--] COMMAND",
        value_hint = ValueHint::CommandWithArguments,
        required = true,
        num_args = 1..,
        // No allow_hyphen_values: with it `-w0` before NAME would be taken for NAME.
        trailing_var_arg = true
    )]
    pub words: Vec<OsString>,
}

/// `leasehold status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The lock's name; without it all locks, as list shows them
    pub name: Option<LockName>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print nothing; the exit status says it: 0 free, 75 held
    #[arg(short, long, requires = "name")]
    pub quiet: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold once`.
#[derive(Args, Debug)]
pub struct OnceArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: OnceCommand,
}

/// The subcommands of `leasehold once`.
#[derive(Debug, Subcommand)]
pub enum OnceCommand {
    /// Show what has been done under a lock, by whom and when
    List(OnceListArgs),
    /// Forget that it was done, so that the next run with this ID does it again
    Forget(OnceForgetArgs),
}

/// `leasehold once list`.
#[derive(Args, Debug)]
pub struct OnceListArgs {
    /// The lock's name
    pub name: LockName,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold once forget`.
#[derive(Args, Debug)]
pub struct OnceForgetArgs {
    /// The lock's name
    pub name: LockName,
    /// What was given to --once
    pub id: OnceId,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold config`.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The subcommands of `leasehold config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting, its value and where it came from
    Show(ConfigShowArgs),
    /// Check the variables, the configuration files and the files that they name; 0, or 78 with the mistakes
    Check(ConfigCheckArgs),
}

/// `leasehold config show`.
#[derive(Args, Debug)]
pub struct ConfigShowArgs {
    /// Show what counts for this lock
    pub name: Option<LockName>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold config check`.
#[derive(Args, Debug)]
pub struct ConfigCheckArgs {
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// Elvish
    Elvish,
    /// PowerShell
    Powershell,
}

/// `leasehold complete-names`.
#[derive(Args, Debug)]
pub struct CompleteNamesArgs {
    /// What was typed so far, without the program's name: its connection options count
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// `--on-leftover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnLeftover {
    /// Hold the lock until they end
    Wait,
    /// Stop them: TERM, grace, KILL
    Kill,
    /// Let them live outside the lock
    Leave,
}

/// `--on-loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnLoss {
    /// Stop it before anybody else can get the lock
    Kill,
    /// Only say so; for commands whose every write is fenced
    Warn,
}

/// `--queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Queue {
    /// Wait until it is our turn
    Fifo,
    /// Take the place of older waiters that said latest, and give ours to a newer one
    Latest,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

impl RunArgs {
    /// The lock's name, and what to execute. Everything after NAME is the command's, but for `--` and, as in
    /// flock(1), `-c`; an option of ours that was typed there is refused rather than executed.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn name_and_command(&self) -> Result<(LockName, Vec<OsString>), String> {
        let (name, rest) = self
            .words
            .split_first()
            .ok_or("the lock's name is missing")?;
        let name: LockName = name
            .to_str()
            .ok_or("a lock name is plain text")?
            .parse()
            .map_err(|error: crate::lock::name::NameError| error.to_string())?;
        let (shell, argv) = match rest {
            [dash_c, tail @ ..] if dash_c == "-c" => match (tail, &self.shell) {
                ([string], None) => (Some(string.clone()), Vec::new()),
                ([_], Some(_)) => return Err("-c is given twice".to_owned()),
                _ => return Err("-c takes exactly one string; quote it".to_owned()),
            },
            [dashes, tail @ ..] if dashes == "--" => (self.shell.clone(), tail.to_vec()),
            [word, ..] if word.to_string_lossy().starts_with('-') => {
                return Err(misplaced(&word.to_string_lossy(), &name));
            }
            _ => (self.shell.clone(), rest.to_vec()),
        };
        match (shell, argv) {
            (Some(string), argv) if argv.is_empty() => {
                Ok((name, vec!["/bin/sh".into(), "-c".into(), string]))
            }
            (Some(_), _) => Err("-c stands in place of COMMAND; give only one of them".to_owned()),
            (None, argv) if argv.first().is_none_or(|program| program.is_empty()) => Err(format!(
                "what to run under {name} is missing: leasehold run {name} -- COMMAND"
            )),
            (None, argv) => Ok((name, argv)),
        }
    }
}

/// Why a word that begins with a dash cannot stand after NAME.
fn misplaced(word: &str, name: &LockName) -> String {
    // Without the value: it may be a secret.
    let word = word.split_once('=').map_or(word, |(option, _)| option);
    let command = <Cli as clap::CommandFactory>::command();
    let ours = command.find_subcommand("run").is_some_and(|run| {
        run.get_arguments().any(|argument| {
            let long = argument
                .get_long()
                .is_some_and(|long| word.strip_prefix("--") == Some(long));
            let short = argument
                .get_short()
                .is_some_and(|short| !word.starts_with("--") && word[1..].starts_with(short));
            long || short
        })
    });
    if ours {
        format!(
            "options of leasehold go before the lock's name: leasehold run {word} ... {name} -- COMMAND"
        )
    } else {
        format!("{word} is no command; if it is one, write: leasehold run {name} -- {word}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
