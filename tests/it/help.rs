//! One source for every fact a user reads: README, `--help`, CHANGELOG and Cargo.toml agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::leasehold::{Output, Run, binary};

#[test]
fn help_and_version_are_asked_for_and_so_go_to_stdout() {
    for words in [
        vec!["--help"],
        vec!["-h"],
        vec!["run", "--help"],
        vec!["status", "-h"],
        vec!["fence", "--help"],
        vec!["fence", "run", "--help"],
    ] {
        let output = leasehold(&words);
        output.assert_status(0).assert_silent();
        assert!(output.stdout.contains("Usage:"), "{}", output.describe());
    }
    leasehold(&["--version"])
        .assert_status(0)
        .assert_stdout(&format!("leasehold {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_that_was_not_asked_for_goes_to_stderr() {
    leasehold(&[])
        .assert_status(64)
        .assert_stdout("")
        .assert_stderr_has(["usage:"]);
}

#[test]
fn the_readme_has_every_option_and_no_other() {
    let readme = read("README.md");
    let mut help = leasehold(&["run", "--help"]).stdout.clone();
    help.push_str(&leasehold(&["status", "--help"]).stdout);
    let documented = section(&readme, "## All options");
    assert_eq!(long_options(&documented), long_options(&help));
    for words in [
        &["fence", "put"][..],
        &["fence", "run"],
        &["break"],
        &["history"],
    ] {
        help.push_str(&leasehold(&[words, &["--help"]].concat()).stdout);
    }
    let known = long_options(&help);
    for option in long_options(&readme) {
        // etcd's, etcdctl's and etcdutl's.
        let of_another_program = [
            "--auto-compaction-mode",
            "--auto-compaction-retention",
            "--bump-revision",
            "--client-cert-auth",
            "--interactive",
            "--mark-compacted",
        ]
        .contains(&option.as_str());
        assert!(
            known.contains(&option) || of_another_program,
            "{option} in README.md"
        );
    }
}

#[test]
fn the_readme_has_the_table_of_exit_statuses_that_help_prints() {
    let documented = section(&read("README.md"), "## Exit status");
    let help = leasehold(&["run", "--help"]).stdout.clone();
    let help = help
        .split_once("\nExit status")
        .expect("a table of exit statuses")
        .1;
    for status in [
        "79", "124", "75", "76", "69", "77", "64", "78", "126", "127", "70", "128+n",
    ] {
        let in_help = help
            .lines()
            .find(|line| line.trim_start().starts_with(status))
            .unwrap_or_else(|| panic!("{status} in --help:\n{help}"));
        let meaning = in_help.trim_start().trim_start_matches(status).trim();
        let meaning = meaning.split("  ").next().expect("a first part");
        assert!(
            documented
                .lines()
                .any(|line| line.contains(status) && line.contains(meaning)),
            "README.md should say of {status}: {meaning}"
        );
    }
}

#[test]
fn the_readme_names_every_variable_that_the_command_gets() {
    let documented = section(&read("README.md"), "## What the command gets");
    for variable in [
        "LEASEHOLD_TOKEN",
        "LEASEHOLD_LOCK_NAME",
        "LEASEHOLD_LOCK_NAMES",
        "LEASEHOLD_LOCK_KEY",
        "LEASEHOLD_LEASE",
        "LEASEHOLD_CLUSTER",
        "LEASEHOLD_SEQUENCER",
        "ETCD_LOCK_KEY",
        "ETCD_LOCK_REV",
        "LEASEHOLD_ENDPOINTS",
        "LEASEHOLD_PREFIX",
    ] {
        assert!(documented.contains(variable), "{variable} in README.md");
    }
}

#[test]
fn the_readme_has_no_placeholder_left() {
    let readme = read("README.md");
    for word in ["TODO", "TBD", "XXX"] {
        assert!(!readme.contains(word), "{word}");
    }
    let lines: Vec<&str> = readme.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        if line.starts_with("<!--") {
            let next = lines[number + 1..].iter().find(|line| !line.is_empty());
            assert!(
                next.is_some_and(|next| !next.starts_with("## ")),
                "nothing stands behind {line} in README.md"
            );
        }
    }
}

#[test]
fn the_readme_names_only_targets_that_the_makefile_has() {
    let makefile = read("Makefile");
    for line in read("README.md").lines() {
        if let Some(target) = line.trim_start().strip_prefix("make ") {
            let target = target.split(' ').next().expect("a word");
            assert!(
                makefile
                    .lines()
                    .any(|line| line.starts_with(&format!("{target}:"))),
                "make {target} in README.md"
            );
        }
    }
}

#[test]
fn the_changelog_has_a_place_for_what_comes_next() {
    assert!(read("CHANGELOG.md").contains("## [Unreleased]"));
}

#[test]
fn only_leasehold_is_installed() {
    let manifest = read("Cargo.toml");
    assert!(
        !manifest.contains("[[bin]]"),
        "a second binary would be installed"
    );
    assert!(
        !Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/bin")
            .exists()
    );
    assert!(binary().ends_with("/leasehold"));
}

fn leasehold(words: &[&str]) -> Output {
    Run::program(binary()).all_arguments(words).output()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text under a heading, up to the next one of its kind.
fn section(text: &str, heading: &str) -> String {
    let rest = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("{heading} is missing"))
        .1;
    rest.split("\n## ").next().expect("a first part").to_owned()
}

/// Every `--word` in a text.
fn long_options(text: &str) -> BTreeSet<String> {
    text.match_indices("--")
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c == '-' || c.is_alphanumeric()))
        .filter_map(|(at, _)| {
            let word: String = text[at + 2..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            word.starts_with(|c: char| c.is_ascii_lowercase())
                .then(|| format!("--{word}"))
        })
        .collect()
}
