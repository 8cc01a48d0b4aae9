//! The subcommands other than `run`: one file each, thin.

pub mod status;
