//! `leasehold fence`: the use of tokens. P1 (nobody runs without the lock) rests on clocks and schedulers; what
//! is done here does not.
//!
//! ```text
//!  claim        whose token: typed, or from the environment          [pure]
//!  in_etcd      check, put, delete: transactions that only a holder can make
//!  value        what put writes, from argument, file or stdin
//!  on_machine   run: a command on this machine, unless a newer token has been seen
//!   ├ state_file  what FILE remembers, on disk; who may use it
//!   ├ preempt     stopping an older COMMAND
//!   └ guard       what happens to COMMAND and what to do about it   [pure]
//! ```

mod claim;
mod guard;
mod in_etcd;
mod on_machine;
mod preempt;
mod state_file;
mod value;

use crate::cli::fence::FenceCommand;
use crate::config::Inherited;
use crate::outcome::Ending;

/// Runs the subcommand.
pub fn fence(command: FenceCommand, inherited: &Inherited) -> Ending {
    match command {
        FenceCommand::Check(args) => in_etcd::check(&args, inherited),
        FenceCommand::Put(args) => in_etcd::put(&args, inherited),
        FenceCommand::Delete(args) => in_etcd::delete(&args, inherited),
        FenceCommand::Run(args) => on_machine::run(args, inherited),
    }
}
