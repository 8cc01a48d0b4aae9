//! What is made from the definitions and checked in: the completion scripts, the manual page, the tables in
//! docs/. The tests compare; with LEASEHOLD_BLESS=1 they rewrite.

mod completions;
mod configuration;
mod events;
mod literals;
mod man;
mod samples;
mod sentences;

use std::path::Path;

use crate::cli::Cli;

/// The whole command line, built: with every subcommand's `--help` and name.
fn command() -> clap::Command {
    let mut command = <Cli as clap::CommandFactory>::command();
    command.build();
    command
}

/// Compares the checked-in file with what it has to be, or makes it so.
fn compare(path: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("LEASEHOLD_BLESS").is_some() {
        std::fs::write(&path, wanted).expect("a folder that can be written");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found == wanted {
        return;
    }
    let mut lines = found.lines().zip(wanted.lines());
    let different = lines.position(|(found, wanted)| found != wanted);
    panic!(
        "{} differs from what the definitions say (line {:?}); run: LEASEHOLD_BLESS=1 cargo nextest run generated",
        path.display(),
        different.map(|index| index + 1),
    );
}
