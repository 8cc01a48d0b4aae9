//! What is typed and inherited, and what comes of it.

mod credentials;
mod documented;
mod files;
mod precedence;
pub mod sentences;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};
use crate::config::inherited::{Access, Content, FileState, Need, NotTyped};
use crate::config::secret::Secret;

/// A machine as a run finds it.
#[derive(Clone, Default)]
struct Machine {
    variables: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, FileState>,
    typed_password: Option<&'static [u8]>,
}

const USERS: &str = "/home/u/.config/leasehold/config.toml";
const SYSTEMS: &str = "/etc/leasehold/config.toml";

impl Machine {
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A file that only its owner can read.
    fn file(self, path: &str, text: &str) -> Self {
        self.file_with_mode(path, text, 0o600)
    }

    fn file_with_mode(self, path: &str, text: &str, mode: u32) -> Self {
        let access = Some(Access { mode, uid: 1000 });
        let bytes = Secret::new(text);
        self.state(path, FileState::Read(Content { bytes, access }))
    }

    fn state(mut self, path: &str, state: FileState) -> Self {
        self.files.insert(path.into(), state);
        self
    }

    fn at_home(self) -> Self {
        self.variable("HOME", "/home/u")
    }

    fn inherited(&self) -> Inherited {
        Inherited {
            variables: self.variables.clone(),
            folder: "/work".into(),
            ..Inherited::default()
        }
    }

    /// Gives what is asked for, until there is an answer.
    fn resolve<T>(
        &self,
        resolve: impl Fn(&Inherited) -> Result<T, Unresolved>,
    ) -> Result<T, Outcome> {
        let mut inherited = self.inherited();
        loop {
            match resolve(&inherited) {
                Ok(resolved) => return Ok(resolved),
                Err(Unresolved::Refused(outcome)) => return Err(outcome),
                Err(Unresolved::Needs(Need::File(path))) => {
                    let state = self.files.get(&path).cloned();
                    let again = inherited
                        .files
                        .insert(path, state.unwrap_or(FileState::Absent));
                    assert_eq!(again, None, "a file is asked for once");
                }
                Err(Unresolved::Needs(Need::Password(_))) => {
                    let typed = self.typed_password.map(Secret::new);
                    let again = inherited
                        .typed_password
                        .replace(typed.ok_or(NotTyped::NoTerminal));
                    assert_eq!(again, None, "a password is asked for once");
                }
            }
        }
    }

    fn run(&self, words: &[&str]) -> Result<RunConfig, Outcome> {
        let words = ["leasehold", "run"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|error| Outcome::Usage(error.to_string()))?;
        let Command::Run(args) = cli.command else {
            panic!("run was typed");
        };
        self.resolve(|inherited| RunConfig::resolve(&args, inherited))
    }

    /// What a run of `job` comes to without options.
    fn job(&self) -> RunConfig {
        self.run(&["job", "cmd"]).expect("accepted")
    }

    /// Why a run of `job` is refused as a matter of configuration.
    fn refusal(&self, words: &[&str]) -> String {
        match self.run(&[words, &["job", "cmd"]].concat()) {
            Err(Outcome::Configuration(why)) => why,
            other => panic!("{words:?} gave {other:?}"),
        }
    }
}

/// The source of a setting.
fn source_of(config: &RunConfig, key: &str) -> String {
    let mut shown = config.connection.shown.iter();
    let shown = shown.find(|shown| shown.setting.key == key);
    shown.expect("a setting").source.to_string()
}

fn resolve_with(words: &[&str], variables: &[(&str, &str)]) -> Result<RunConfig, Outcome> {
    let mut machine = Machine::default();
    for (name, value) in variables {
        machine = machine.variable(name, value);
    }
    machine.run(words)
}

fn resolve(words: &[&str]) -> Result<RunConfig, Outcome> {
    resolve_with(words, &[])
}

fn argv(words: &[&str]) -> Vec<OsString> {
    resolve(words).expect("accepted").argv
}

fn refused(words: &[&str]) -> String {
    match resolve(words) {
        Err(Outcome::Usage(why)) => why,
        other => panic!("{words:?} gave {other:?}"),
    }
}

#[test]
fn parsing_stops_at_the_name() {
    for words in [
        ["job", "sh", "-c", "x -y"].as_slice(),
        &["job", "--", "sh", "-c", "x -y"],
        &["--", "job", "sh", "-c", "x -y"],
        &["-w", "3", "job", "sh", "-c", "x -y"],
        &["-w3", "job", "sh", "-c", "x -y"],
        &["-w3", "-E0", "--ttl=9", "job", "--", "sh", "-c", "x -y"],
    ] {
        assert_eq!(argv(words), ["sh", "-c", "x -y"], "{words:?}");
    }
    assert_eq!(argv(&["job", "cat", "--", "-n"]), ["cat", "--", "-n"]);
}

#[test]
fn a_shell_string_is_taken_before_and_after_the_name() {
    let shell = ["/bin/sh", "-c", "echo $PATH | wc"];
    assert_eq!(argv(&["-c", "echo $PATH | wc", "job"]), shell);
    assert_eq!(argv(&["job", "-c", "echo $PATH | wc"]), shell);
}

#[test]
fn options_after_the_name_are_refused_with_a_hint() {
    for words in [
        ["job", "--ttl", "60", "--", "cmd"].as_slice(),
        &["job", "--ttl=60", "cmd"],
        &["job", "-n", "cmd"],
        &["job", "-w5", "cmd"],
    ] {
        let why = refused(words);
        assert!(why.contains("before the lock's name"), "{words:?}: {why}");
    }
    assert!(
        refused(&["job", "-Z", "x"]).contains("--"),
        "an unknown option is no command"
    );
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for words in [
        ["job"].as_slice(),
        &["job", "--"],
        &["-c", "true", "job", "cmd"],
        &["job", "-c"],
        &["job", "-c", "true", "more"],
        &["-c", "a", "job", "-c", "b"],
        &["a b", "cmd"],
        &["../x", "cmd"],
        &["--ttl", "1", "job", "cmd"],
        &["--ttl", "10", "-k", "8", "job", "cmd"],
        &["--ttl", "301", "job", "cmd"],
        &["--lock-delay", "1h", "job", "cmd"],
        &["--connect-timeout", "0", "job", "cmd"],
        &["-n", "-w", "3", "job", "cmd"],
        &["-E", "256", "job", "cmd"],
        &["--kill-signal", "NOPE", "job", "cmd"],
        &["--endpoints", "http://a/b", "job", "cmd"],
        &["--prefix", "//", "job", "cmd"],
        &["job", ""],
        &["-Z", "job", "cmd"],
        &["--no-such-option", "job", "cmd"],
    ] {
        refused(words);
    }
}

#[test]
fn impossible_durations_come_with_ones_that_fit() {
    let why = refused(&["--ttl", "10", "-k", "8", "job", "cmd"]);
    assert!(why.contains("4.4s") && why.contains("--ttl 19s"), "{why}");
}

#[test]
fn a_variable_that_makes_no_sense_is_a_matter_of_configuration() {
    for variable in [
        ("LEASEHOLD_ENDPOINTS", "http://a/b"),
        ("LEASEHOLD_PREFIX", "a b"),
    ] {
        let outcome = resolve_with(&["job", "cmd"], &[variable]).expect_err("refused");
        let Outcome::Configuration(why) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(why.contains(variable.0), "{why}");
    }
}

#[test]
fn waiting_no_time_is_not_waiting() {
    assert!(
        resolve(&["-w", "0", "job", "cmd"])
            .expect("accepted")
            .wanted
            .nonblock
    );
    assert!(
        resolve(&["-n", "job", "cmd"])
            .expect("accepted")
            .wanted
            .nonblock
    );
    assert!(
        !resolve(&["-w", "1", "job", "cmd"])
            .expect("accepted")
            .wanted
            .nonblock
    );
}

#[test]
fn others_are_told_the_programs_name_but_never_its_arguments() {
    let config = resolve(&["job", "/opt/bin/report", "--password=s3cret"]).expect("accepted");
    let told = String::from_utf8(config.wanted.entry.to_json()).expect("JSON is text");
    assert!(
        told.contains("\"report\"") && !told.contains("s3cret") && !told.contains("/opt"),
        "{told}"
    );
}
