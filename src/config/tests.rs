//! What is typed and inherited, and what comes of it.

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn resolve_with(words: &[&str], variables: &[(&str, &str)]) -> Result<RunConfig, Outcome> {
    let words = ["leasehold", "run"].iter().chain(words);
    let cli = Cli::try_parse_from(words).map_err(|error| Outcome::Usage(error.to_string()))?;
    let Command::Run(args) = cli.command else {
        panic!("run was typed");
    };
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    RunConfig::resolve(
        *args,
        &Inherited {
            variables,
            ..Inherited::default()
        },
    )
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
fn the_command_line_wins_over_leaseholds_variable_over_etcdctls_over_the_default() {
    let both = [("LEASEHOLD_ENDPOINTS", "b:2"), ("ETCDCTL_ENDPOINTS", "c:3")];
    let endpoints = |words: &[&str], variables: &[(&str, &str)]| {
        let connection = resolve_with(words, variables).expect("accepted").connection;
        (
            connection.endpoints[0].url().to_owned(),
            connection.endpoints_source,
        )
    };
    let expect = |url: &str, source| (url.to_owned(), source);
    let job = ["job", "cmd"];
    assert_eq!(
        endpoints(&["--endpoints", "a:1", "job", "cmd"], &both),
        expect("http://a:1", Source::CommandLine)
    );
    assert_eq!(
        endpoints(&job, &both),
        expect("http://b:2", Source::Variable("LEASEHOLD_ENDPOINTS"))
    );
    assert_eq!(
        endpoints(&job, &both[1..]),
        expect("http://c:3", Source::Variable("ETCDCTL_ENDPOINTS"))
    );
    assert_eq!(
        endpoints(&job, &[]),
        expect("http://127.0.0.1:2379", Source::Default)
    );
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
