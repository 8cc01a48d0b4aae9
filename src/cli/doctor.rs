//! `leasehold doctor`: what may be typed.

use clap::Args;

use crate::cli::ConnectionArgs;
use crate::lock::name::LockName;

/// What `--help` says of the exit status.
pub const HELP: &str = "\
Exit status: 0 if a run would work (warnings do not count), else what it would end with:
  69       etcd cannot be reached, has no quorum or no space, or this machine lacks something
  77       authentication or permission refused
  64 / 78  usage / configuration
";

/// `leasehold doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Try the permissions on this lock, where roles are given for single locks
    pub name: Option<LockName>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}
