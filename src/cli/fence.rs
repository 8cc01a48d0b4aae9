//! `leasehold fence`: what may be typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use crate::cli::ConnectionArgs;
use crate::config::duration;

/// `leasehold fence`.
#[derive(Args, Debug)]
pub struct FenceArgs {
    /// What to do with the token.
    #[command(subcommand)]
    pub command: FenceCommand,
}

/// The subcommands of `leasehold fence`.
#[derive(Debug, Subcommand)]
pub enum FenceCommand {
    /// Is this token still that of a running holder? 0 current, 79 stale
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Write a key in etcd, if the lock is held with this token at that moment
    #[command(after_help = WRITE_HELP)]
    Put(PutArgs),
    /// Delete a key in etcd, if the lock is held with this token at that moment
    #[command(after_help = WRITE_HELP)]
    Delete(DeleteArgs),
    /// Run a command on this machine, unless a newer token has been seen here
    #[command(
        override_usage = "leasehold fence run [OPTIONS] --state FILE [--token TOKEN] [--] COMMAND [ARG]...",
        after_help = RUN_HELP
    )]
    Run(FencedRunArgs),
}

const CHECK_HELP: &str = "\
Checking and then acting is not fencing: the lock can be lost between the two, and what was checked
says nothing about the moment of the act. Use fence put, fence delete or fence run, or let the
resource compare tokens (docs/fencing.md). A check is for giving up early, before work that would be
refused anyway.

Exit status:
  0        current: the lock was held with this token when the check was answered
  79       stale: released, expired, broken, or taken by a successor
  64       the sequencer cannot be used, or is of another cluster
  78       the settings or the certificate files cannot be used
  69, 77   not known: etcd cannot be reached, or refuses
";

const WRITE_HELP: &str = "\
One transaction in etcd, guarded by the create_revision of every key of the lock: a holder that lost
the lock cannot write, not even before its successor did.

Exit status:
  0        done
  79       stale: nothing was done
  64       the sequencer cannot be used, is of another cluster, or the value is too large: nothing
           was done
  78       the settings or the certificate files cannot be used: nothing was done
  69       etcd cannot be reached or refuses; the message says whether nothing was done or whether
           that is not known. Give the same command again: it takes effect only while the token is
           current
  77       authentication or permission refused: nothing was done
";

const RUN_HELP: &str = "\
FILE remembers the newest token that it has seen, and survives a crash and a power cut. Of the
commands that run with one FILE, one runs at a time, none older than another that has run. Needs no
etcd and no settings.

Exit status:
  COMMAND's own
  79       stale: FILE has seen a newer token; or stopped for a newer one (--preempt)
  75       another COMMAND runs under FILE, and -n or -w has run out
  64       the token cannot be used, or is of another cluster than FILE, or this runs under FILE
           already
  78       FILE, FILE.lock or FILE.new cannot be used: the message says how to mend it
  126, 127 COMMAND cannot be executed, was not found
";

/// Who claims to hold the lock.
#[derive(Args, Debug)]
pub struct ClaimArgs {
    /// Whose token it is (default: $LEASEHOLD_SEQUENCER, which leasehold run gives to its command)
    #[arg(long, value_name = "SEQUENCER")]
    pub sequencer: Option<String>,
    /// Print nothing when the token is stale: the exit status says it
    #[arg(short, long)]
    pub quiet: bool,
}

/// `leasehold fence check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Whose token it is (default: $LEASEHOLD_SEQUENCER, which leasehold run gives to its command)
    #[arg(value_name = "SEQUENCER")]
    pub sequencer: Option<String>,
    /// Print nothing when the token is stale: the exit status says it
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold fence put`.
#[derive(Args, Debug)]
pub struct PutArgs {
    /// The key to write
    #[arg(value_name = "KEY")]
    pub target: OsString,
    /// Its value, after -- if it may begin with -; - or nothing reads it from stdin
    #[arg(allow_hyphen_values = true)]
    pub value: Option<OsString>,
    /// Read the value from FILE
    #[arg(long, value_name = "FILE", conflicts_with = "value", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub claim: ClaimArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold fence delete`.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// The key to delete; that it is not there is no error
    #[arg(value_name = "KEY")]
    pub target: OsString,
    #[command(flatten)]
    pub claim: ClaimArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold fence run`.
#[derive(Args, Debug)]
pub struct FencedRunArgs {
    /// The file that remembers the newest token; FILE.lock and FILE.new beside it are used as well
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub state: PathBuf,
    /// The token: its number, or the whole sequencer, which also says of which cluster it is (default:
    /// $LEASEHOLD_SEQUENCER, else $LEASEHOLD_TOKEN)
    #[arg(long, allow_hyphen_values = true)]
    pub token: Option<String>,
    /// Give up at once when another COMMAND runs under FILE
    #[arg(short = 'n', long, visible_alias = "nb", conflicts_with = "wait")]
    pub nonblock: bool,
    /// Give up after DUR when another COMMAND runs under FILE; 0 is -n (default: wait for ever)
    #[arg(short, long, value_name = "DUR", value_parser = duration::parse)]
    pub wait: Option<Duration>,
    /// Stop an older COMMAND that runs under FILE, with all its processes, rather than wait for it
    #[arg(long, conflicts_with = "nonblock")]
    pub preempt: bool,
    /// Time between TERM and KILL, for an older COMMAND and for this one
    #[arg(short, long, value_name = "DUR", default_value = "10s", value_parser = duration::parse)]
    pub kill_after: Duration,
    /// Say nothing while waiting or when it gave up
    #[arg(short, long)]
    pub quiet: bool,
    /// Run this by /bin/sh -c in place of COMMAND
    #[arg(
        short = 'c',
        long = "command",
        value_name = "SHELL STRING",
        conflicts_with = "words"
    )]
    pub shell: Option<OsString>,
    /// What to run, and its arguments. No shell is involved unless -c is used
    #[arg(
        value_name = "COMMAND",
        value_hint = ValueHint::CommandWithArguments,
        required_unless_present = "shell",
        num_args = 1..,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{BUSY_STATUS, Ended, Outcome};

    /// The numbers at the beginning of the lines of a table of exit statuses.
    fn documented(help: &str) -> Vec<u8> {
        let (_, table) = help.split_once("Exit status:\n").expect("a table");
        let first_column = |line: &str| line.get(..11).unwrap_or(line).to_owned();
        table
            .lines()
            .map(first_column)
            .flat_map(|column| {
                let numbers = column.split([',', ' ']).map(str::parse::<u8>);
                numbers.flatten().collect::<Vec<u8>>()
            })
            .collect()
    }

    fn statuses<const N: usize>(outcomes: [Outcome; N]) -> Vec<u8> {
        outcomes.iter().map(Outcome::exit_status).collect()
    }

    #[test]
    fn help_has_the_statuses_that_the_outcomes_have() {
        let text = String::new;
        let done = Outcome::Command(Ended::Exited(0));
        let of_etcd = statuses([
            done,
            Outcome::Stale(text()),
            Outcome::Usage(text()),
            Outcome::Configuration(text()),
            Outcome::Unknown(text()),
            Outcome::Denied(text()),
        ]);
        assert_eq!(documented(CHECK_HELP), of_etcd);
        assert_eq!(documented(WRITE_HELP), of_etcd);
        // What is wider is broken anew, without its indent.
        for help in [CHECK_HELP, WRITE_HELP, RUN_HELP] {
            assert!(
                help.lines().all(|line| line.chars().count() <= 100),
                "{help}"
            );
        }
        let of_run = statuses([
            Outcome::Preempted,
            Outcome::Busy {
                holder: None,
                status: BUSY_STATUS,
            },
            Outcome::Usage(text()),
            Outcome::Configuration(text()),
            Outcome::NotExecutable(text()),
            Outcome::NotFound(text()),
        ]);
        assert_eq!(documented(RUN_HELP), of_run);
    }
}
