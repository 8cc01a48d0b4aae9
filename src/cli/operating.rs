//! The commands of the person on call: what may be typed.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::ConnectionArgs;
use crate::lock::name::LockName;

/// `leasehold list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only this lock and those below it: a shows a, a/b and a/b/c
    pub name: Option<LockName>,
    /// Print one JSON object per line and lock, as status --json
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// The lock's name; without it all locks
    pub name: Option<LockName>,
    /// Print one JSON object per line and event, also on a terminal
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `leasehold history`.
#[derive(Args, Debug)]
#[command(after_help = HISTORY_HELP)]
pub struct HistoryArgs {
    /// The lock's name
    pub name: LockName,
    /// Show so many runs, the last ones [default: 20, with --json all]
    #[arg(long, value_name = "COUNT")]
    pub last: Option<usize>,
    /// Draw who waited and who held it when
    #[arg(long, conflicts_with = "json")]
    pub timeline: bool,
    /// Draw that into FILE, as SVG
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

const HISTORY_HELP: &str = "\
What etcd remembers: every change since its last compaction, in its order. It remembers no times, so
those shown are what the hosts wrote by their own clocks. How a run ended, and when, is known where it
was run with --record; otherwise only whether it gave the lock back or vanished, and that it had ended
before the next one began.
";

/// `leasehold break`.
#[derive(Args, Debug)]
#[command(after_help = BREAK_HELP)]
pub struct BreakArgs {
    /// The lock's name
    pub name: LockName,
    /// Whom to take it from: the token that status shows, of the holder or of somebody in the queue
    #[arg(long, value_name = "TOKEN", value_parser = clap::value_parser!(i64).range(1..))]
    pub token: i64,
    /// Why: the holder's messages and report say it
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
    /// Revoke without asking
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

const BREAK_HELP: &str = "\
The holder is asked, answers within its TTL, stops its command with all of its processes and gives the
lock back: its exit status is 79. Somebody who waits is taken out of the queue. Who does not answer
loses the lease: his command is killed when his machine notices, and whoever comes next waits for the
lock delay. The command of an etcdctl is not killed by anybody: --force is needed, and it runs on.

Exit status:
  0        whoever had this token has it no more
  79       this token is neither the holder's nor in the queue: nothing was done
  75       still held: the holder answered and could not stop in time, or cannot be asked
  69, 77   etcd cannot be reached, or refuses
  64, 78   usage, configuration
";
