//! The state file of `fence run` survives being killed at any moment and a power cut: it says the old token or
//! the new one, and the new one before the command begins.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::leasehold::{Output, Run, binary};
use crate::harness::untested;

/// Above the number of system calls of a whole run in its front process.
const CALLS_MAX: usize = 3000;

struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self {
            folder: TempDir::with_prefix("leasehold-crash-").expect("a folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state(&self) -> String {
        fs::read_to_string(self.path("state")).expect("there is always a state")
    }

    /// `fence run --token TOKEN -- COMMAND`
    fn run<const N: usize>(&self, token: &str, command: [&str; N]) -> Run {
        let state = self.path("state");
        let state = state.to_str().expect("readable");
        Run::program(binary())
            .arguments(["fence", "run", "--state", state, "--token", token])
            .command(command)
    }

    /// What a state file that has seen this token says.
    fn line(&self, token: &str) -> String {
        self.run(token, ["true"]).output().assert_status(0);
        self.state()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("one").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }
}

fn strace_is_missing() -> bool {
    let missing = !Path::new("/usr/bin/strace").exists();
    if missing {
        untested::missing("strace");
    }
    missing
}

/// Whether strace may trace here at all; in some sandboxes nobody may.
fn traced(run: Run, options: &[&str]) -> Option<Output> {
    let mut words = vec!["strace".to_owned()];
    words.extend(options.iter().map(|word| (*word).to_owned()));
    let output = run.wrapped_by(&words).output();
    if output.stderr.contains("PTRACE") || output.stderr.contains("ptrace(") {
        untested::not_allowed("strace may not trace here");
        return None;
    }
    Some(output)
}

#[test]
fn killed_at_every_system_call_it_remembers_the_old_token_or_the_new_one() {
    if strace_is_missing() {
        return;
    }
    let machine = Machine::new();
    let (old, new) = (machine.line("33"), machine.line("34"));
    let ran = machine.path("ran");
    let marker = ran.to_str().expect("readable");
    let mut seen = Vec::new();
    for call in 1..CALLS_MAX {
        fs::write(machine.path("state"), &old).expect("ours");
        let inject = format!("inject=all:signal=KILL:when={call}");
        let options = ["-qq", "-o", "/dev/null", "-e", &inject];
        let Some(output) = traced(machine.run("34", ["touch", marker]), &options) else {
            return;
        };
        let state = machine.state();
        assert!(state == old || state == new, "call {call}: {state:?}");
        seen.push(state == new);
        // Whoever is left of it is waited for; a crash leaves nothing that is in the way.
        machine
            .run("34", ["true"])
            .output()
            .assert_status(0)
            .assert_silent();
        assert_eq!(machine.state(), new, "call {call}");
        let names = machine.names();
        let known = ["ran", "state", "state.lock"];
        assert!(
            names.iter().all(|name| known.contains(&name.as_str())),
            "call {call}: {names:?}"
        );
        let _ = fs::remove_file(&ran);
        if output.status.code() == Some(0) {
            let first = seen
                .iter()
                .position(|new| *new)
                .expect("in the end it is new");
            assert!(
                first > 0 && seen[first..].iter().all(|new| *new),
                "never back to the old one"
            );
            return;
        }
    }
    panic!("{CALLS_MAX} system calls are not enough");
}

#[test]
fn the_command_begins_only_when_the_token_is_on_the_disk() {
    if strace_is_missing() {
        return;
    }
    let machine = Machine::new();
    let folder = fs::canonicalize(machine.folder.path()).expect("there");
    let folder = folder.to_str().expect("readable");
    machine.run("33", ["true"]).output().assert_status(0);
    let log = machine.path("log");
    let log_path = log.to_str().expect("readable").to_owned();
    let options = ["-qq", "-y", "-o", &log_path, "-e", "trace=all"];
    // The second time as well: whoever noted it may have been killed before it was on the disk.
    let raised = [
        format!("{folder}/state.new>, \"leasehold-fence 1 - 34 "),
        format!("fsync(N<{folder}/state.new>"),
        format!("rename(\"{folder}/state.new\", \"{folder}/state\""),
        format!("fsync(N<{folder}>"),
        "clone(".to_owned(),
    ];
    for steps in [&raised, &raised] {
        if traced(machine.run("34", ["true"]), &options).is_none() {
            return;
        }
        let log = fs::read_to_string(&log).expect("written");
        let mut lines = log.lines().map(without_descriptor);
        for step in steps {
            assert!(
                lines.any(|line| line.contains(step)),
                "{step} is missing, or in another order:\n{log}"
            );
        }
    }
}

/// Only the calls that change files: the others are those of a run that finds a file.
#[test]
fn killed_while_it_makes_its_first_state_file_it_remembers_nothing_or_the_token() {
    if strace_is_missing() {
        return;
    }
    let machine = Machine::new();
    let new = machine.line("34");
    let calls = "openat,write,fsync,rename,fchown,fchmod,flock,unlink,pwrite64,ftruncate";
    for call in 1..CALLS_MAX {
        for name in machine.names() {
            fs::remove_file(machine.path(&name)).expect("ours");
        }
        let inject = format!("inject={calls}:signal=KILL:when={call}");
        let options = ["-qq", "-o", "/dev/null", "-e", &inject];
        let Some(output) = traced(machine.run("34", ["true"]), &options) else {
            return;
        };
        let state = fs::read_to_string(machine.path("state")).ok();
        assert!(
            state.as_ref().is_none_or(|state| *state == new),
            "call {call}: {state:?}"
        );
        machine
            .run("34", ["true"])
            .output()
            .assert_status(0)
            .assert_silent();
        assert_eq!(machine.state(), new, "call {call}");
        assert_eq!(machine.names(), ["state", "state.lock"], "call {call}");
        if output.status.code() == Some(0) {
            assert!(call > 10, "{call} calls are not all");
            return;
        }
    }
    panic!("{CALLS_MAX} system calls are not enough");
}

#[test]
fn a_disk_that_fails_is_said_and_nothing_runs() {
    if strace_is_missing() {
        return;
    }
    let machine = Machine::new();
    let (old, new) = (machine.line("33"), machine.line("34"));
    let folder = fs::canonicalize(machine.folder.path()).expect("there");
    let path = |name: &str| folder.join(name).to_str().expect("readable").to_owned();
    // What fails, with what, and whether the new line has its name by then.
    let cases = [
        ("write", path("state.new"), "ENOSPC", false),
        ("write", path("state.new"), "EIO", false),
        ("fchmod", path("state.new"), "EROFS", false),
        ("fsync", path("state.new"), "EIO", false),
        ("fsync", path("state.new"), "ENOSPC", false),
        ("rename", path("state.new"), "EIO", false),
        ("fsync", path(""), "EIO", true),
        ("flock", path("state.lock"), "ENOLCK", false),
    ];
    for (call, file, error, is_renamed) in cases {
        fs::write(machine.path("state"), &old).expect("ours");
        let case = format!("{call} of {file}: {error}");
        let inject = format!("inject={call}:error={error}");
        let file = file.trim_end_matches('/');
        let options = ["-qq", "-o", "/dev/null", "-P", file, "-e", &inject];
        let Some(output) = traced(machine.run("34", ["echo", "ran"]), &options) else {
            return;
        };
        output
            .assert_status(78)
            .assert_stdout("")
            .assert_stderr_has(["the state file", "Nothing was run"]);
        assert_eq!(
            machine.state(),
            if is_renamed { &*new } else { &old },
            "{case}"
        );
        assert_eq!(machine.names(), ["state", "state.lock"], "{case}");
        machine.run("34", ["true"]).output().assert_status(0);
        assert_eq!(machine.state(), new, "{case}");
    }
}

/// The line with its first descriptor's number replaced by N.
fn without_descriptor(line: &str) -> String {
    match line.split_once('(') {
        Some((call, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{call}(N{rest}")
        }
        _ => line.to_owned(),
    }
}

#[test]
fn what_an_earlier_crash_left_is_in_nobodys_way() {
    let machine = Machine::new();
    let old = machine.line("33");
    fs::write(machine.path("state.new"), &old[..7]).expect("ours");
    machine.run("34", ["true"]).output().assert_status(0);
    assert!(machine.state().contains(" 34 "));
    assert_eq!(machine.names(), ["state", "state.lock"]);
    // Killed between creating it and writing to it.
    for torn in ["state.new", "state.lock"] {
        fs::write(machine.path(torn), "").expect("ours");
        machine.run("35", ["true"]).output().assert_status(0);
    }
    assert_eq!(machine.names(), ["state", "state.lock"]);
}
