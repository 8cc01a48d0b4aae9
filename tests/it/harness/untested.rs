//! What cannot be tested on a machine is not passed over in silence.
//!
//! A program that scripts/setup.sh installs has to be there on CI. On a developer's machine it may be missing:
//! then `make test` says at its end what was not tested.

use std::fs::OpenOptions;
use std::io::Write;

/// The lines that `make test` prints at its end.
const NOTES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/untested");

/// A program is missing.
#[track_caller]
pub(crate) fn missing(program: &str) {
    let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(
        !is_ci,
        "{program} is missing: scripts/setup.sh test installs it"
    );
    note(&format!("{program} is missing (make setup)"));
}

/// Somebody forbids it here: a sandbox, or whoever is not root.
pub(crate) fn not_allowed(why: &str) {
    note(why);
}

fn note(why: &str) {
    let test = std::thread::current();
    let line = format!("{}: {why}\n", test.name().unwrap_or("a test"));
    eprint!("not tested: {line}");
    let notes = OpenOptions::new().create(true).append(true).open(NOTES);
    let written = notes.and_then(|mut notes| notes.write_all(line.as_bytes()));
    written.expect("the build's own folder");
}
