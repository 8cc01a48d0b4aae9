//! `fence run`: on one machine, one at a time, and none that is older than another that has run. No etcd here.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::{Run, Running, binary};
use crate::harness::processes::Process;
use crate::harness::untested;

const SEQUENCER: &str = "1:cafe:exclusive:33:beef:job";

/// A folder with a state file.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self {
            folder: TempDir::with_prefix("leasehold-fence-").expect("a folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state(&self) -> String {
        fs::read_to_string(self.path("state")).expect("readable")
    }

    /// `fence run --state state --token TOKEN`
    fn run(&self, token: &str) -> Run {
        fence_run(&self.path("state"), token)
    }

    /// A command that runs until its stdin ends, with a grandchild in a session of its own that ignores TERM.
    fn stubborn(&self, token: &str) -> Running {
        let script =
            "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo ready; cat >/dev/null' & cat; wait";
        let running = self.run(token).shell(script).spawn();
        running.expect_stdout("ready");
        running
    }
}

fn fence_run(state: &Path, token: &str) -> Run {
    let state = state.to_str().expect("readable");
    Run::program(binary()).arguments(["fence", "run", "--state", state, "--token", token])
}

#[test]
fn only_tokens_that_are_not_older_run() {
    let machine = Machine::new();
    for (token, status) in [
        ("33", 0),
        ("33", 0),
        ("34", 0),
        ("33", 79),
        ("4", 79),
        ("100", 0),
    ] {
        let output = machine.run(token).shell("echo ran").output();
        output
            .assert_status(status)
            .assert_stdout(if status == 0 { "ran\n" } else { "" });
        if status == 79 {
            output.assert_stderr_has([&format!("token {token} is stale")]);
        } else {
            output.assert_silent();
        }
    }
}

#[test]
fn the_command_ends_as_it_would_without() {
    let machine = Machine::new();
    machine.run("1").shell("exit 7").output().assert_status(7);
    machine
        .run("1")
        .shell("kill -TERM $$")
        .output()
        .assert_signal(15);
    machine
        .run("1")
        .arguments(["-c", "cat; echo \"$LEASEHOLD_TOKEN,$LEASEHOLD_SEQUENCER\""])
        .input("in\n")
        .output()
        .assert_status(0)
        .assert_stdout("in\n1,\n");
    machine
        .run("1")
        .command(["nonexistent-command"])
        .output()
        .assert_status(127)
        .assert_stderr_has(["nonexistent-command: no such command"]);
    let not_executable = machine.path("state");
    machine
        .run("1")
        .command([not_executable.to_str().expect("readable")])
        .output()
        .assert_status(126);
}

#[test]
fn inside_a_run_the_token_comes_from_the_environment() {
    let machine = Machine::new();
    let state = machine.path("state");
    let run = ["fence", "run", "--state", state.to_str().expect("readable")];
    Run::program(binary())
        .arguments(run)
        .variable("LEASEHOLD_TOKEN", "33")
        .variable("LEASEHOLD_SEQUENCER", SEQUENCER)
        .shell("echo $LEASEHOLD_SEQUENCER")
        .output()
        .assert_status(0)
        .assert_stdout(&format!("{SEQUENCER}\n"));
    assert!(machine.state().starts_with("leasehold-fence 1 cafe 33 "));
}

#[test]
fn another_cluster_and_tokens_that_order_nothing_are_refused_with_what_to_do() {
    let machine = Machine::new();
    machine.run(SEQUENCER).shell(":").output().assert_status(0);
    let before = machine.state();
    let foreign = SEQUENCER.replace("cafe", "f00d").replace("33", "99");
    let reset = format!("rm {}", machine.path("state").display());
    for token in [foreign.as_str(), "99"] {
        machine
            .run(token)
            .shell("echo ran")
            .output()
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has(["of cluster cafe", "cannot be compared", &reset]);
    }
    for mode in ["shared", "slots"] {
        machine
            .run(&SEQUENCER.replace("exclusive", mode))
            .shell("echo ran")
            .output()
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has([&format!("mode {mode} orders nothing")]);
    }
    assert_eq!(machine.state(), before);
    // What it says to do helps.
    fs::remove_file(machine.path("state")).expect("there");
    machine.run(&foreign).shell(":").output().assert_status(0);
}

#[test]
fn bad_tokens_have_their_own_sentences() {
    let machine = Machine::new();
    let cases = [
        ("", "the token is empty"),
        ("x", "\"x\" is not a number"),
        ("0", "0 is no token"),
        ("-3", "-3 is no token"),
        ("9223372036854775808", "the largest there can be"),
        ("1:cafe:exclusive", "cut short"),
    ];
    for (token, sentence) in cases {
        machine
            .run(token)
            .shell("echo ran")
            .output()
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has([sentence]);
    }
    let state = machine.path("state");
    Run::program(binary())
        .arguments(["fence", "run", "--state", state.to_str().expect("readable")])
        .shell("echo ran")
        .output()
        .assert_status(64)
        .assert_stderr_has(["give --token"]);
    assert!(!state.exists());
}

#[test]
fn a_state_file_that_cannot_be_used_is_78_and_nothing_runs() {
    let machine = Machine::new();
    fs::write(machine.path("corrupt"), "leasehold-fence 1 - 34 00000000\n").expect("written");
    fs::write(machine.path("empty"), "").expect("written");
    fs::write(machine.path("foreign"), "token = 34\n").expect("written");
    std::os::unix::fs::symlink("nowhere", machine.path("dangling")).expect("linked");
    let cases: [(PathBuf, &str); 7] = [
        (machine.path("corrupt"), "checksum is wrong"),
        (machine.path("empty"), "it is empty"),
        (machine.path("foreign"), "no state file of leasehold"),
        (machine.path("missing/state"), "is no folder; make it"),
        (
            machine.path("dangling"),
            "is a link to a file that is not there",
        ),
        (machine.folder.path().to_owned(), "is a folder"),
        ("/proc/leasehold-state".into(), "/proc/leasehold-state"),
    ];
    for (path, sentence) in cases {
        fence_run(&path, "99")
            .shell("echo ran")
            .output()
            .assert_status(78)
            .assert_stdout("")
            .assert_stderr_has([sentence]);
    }
}

#[test]
fn a_corrupt_file_is_mended_as_it_says() {
    let machine = Machine::new();
    machine.run("33").shell(":").output().assert_status(0);
    let line = machine.state().replace("33", "32");
    fs::write(machine.path("state"), line).expect("written");
    let output = machine.run("32").shell("echo ran").output();
    output.assert_status(78).assert_stdout("");
    let (_, mend) = output.stderr.split_once("remove it: ").expect("a command");
    Run::program("/bin/sh")
        .arguments(["-c", mend.trim()])
        .output()
        .assert_status(0);
    machine.run("33").shell(":").output().assert_status(0);
}

#[test]
fn root_gives_another_users_file_back_and_others_are_refused() {
    if !nix::unistd::geteuid().is_root() {
        untested::not_allowed("only root can make another user's file");
        return;
    }
    let machine = Machine::new();
    let (state, nobody) = (machine.path("state"), 65534);
    machine.run("33").shell(":").output().assert_status(0);
    chown(&state, Some(nobody), Some(nobody)).expect("root may");
    fs::set_permissions(&state, PermissionsExt::from_mode(0o644)).expect("root may");
    machine.run("34").shell(":").output().assert_status(0);
    let kept = fs::metadata(&state).expect("there");
    assert_eq!((kept.uid(), kept.mode() & 0o777), (nobody, 0o644));
    let lock = fs::metadata(machine.path("state.lock")).expect("there");
    assert_eq!(lock.uid(), nobody);
    // A third user, in a folder where everybody may make files.
    let as_another = [
        "setpriv",
        "--reuid=65533",
        "--regid=65533",
        "--clear-groups",
    ];
    fs::set_permissions(machine.folder.path(), PermissionsExt::from_mode(0o777)).expect("root may");
    machine
        .run("35")
        .shell("echo ran")
        .wrapped(as_another)
        .output()
        .assert_status(78)
        .assert_stdout("")
        .assert_stderr_has(["permission denied", "uid 65534"]);
}

#[test]
fn a_full_disk_and_a_read_only_one_run_nothing() {
    let machine = Machine::new();
    let disk = machine.path("disk");
    fs::create_dir(&disk).expect("ours");
    let state = disk.join("state");
    let (disk, state) = (disk.display(), state.display());
    let binary = binary();
    // A mount namespace of its own: nobody else sees this disk.
    let script = format!(
        "mount -t tmpfs -o size=8k,mode=700 tmpfs {disk} || exit 100
         {binary} fence run --state {state} --token 33 -- true || exit 101
         cat /dev/zero >{disk}/filling 2>/dev/null
         {binary} fence run --state {state} --token 34 -- echo ran; echo full $?
         rm {disk}/filling
         mount -o remount,ro {disk} || exit 102
         {binary} fence run --state {state} --token 34 -- echo ran; echo read-only $?
         cat {state}; ls {disk}"
    );
    let output = Run::program("unshare")
        .arguments(["--mount", "--map-root-user", "sh", "-c", &script])
        .output();
    if output.stderr.contains("unshare:") || output.status.code() == Some(100) {
        untested::not_allowed("no disk can be made here");
        return;
    }
    output.assert_status(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(&lines[..2], ["full 78", "read-only 78"]);
    assert!(lines[2].starts_with("leasehold-fence 1 - 33 "), "{lines:?}");
    assert_eq!(&lines[3..], ["state", "state.lock"], "nothing half-written");
    output.assert_stderr_has(["no space left", "free some space", "read-only file system"]);
}

#[test]
fn one_runs_at_a_time_and_the_others_wait_as_long_as_they_were_told() {
    let machine = Machine::new();
    let first = machine.stubborn("33");
    for (options, sentence) in [
        (["-w", "0.2"], "held by the command that runs with token 33"),
        (
            ["--wait", "0"],
            "held by the command that runs with token 33",
        ),
    ] {
        machine
            .run("34")
            .arguments(options)
            .shell("echo ran")
            .output()
            .assert_status(75)
            .assert_stdout("")
            .assert_stderr_has([sentence, "the command was not run"]);
    }
    machine
        .run("34")
        .arguments(["-n", "-q"])
        .shell("echo ran")
        .output()
        .assert_status(75)
        .assert_silent();
    let next = machine.run("34").shell("echo ran").spawn();
    next.expect_stderr("waiting for the command that runs with token 33");
    first.wait().assert_status(0);
    next.wait().assert_status(0).assert_stdout("ran\n");
    machine.run("33").shell(":").output().assert_status(79);
}

#[test]
fn what_a_command_leaves_behind_is_waited_for() {
    let machine = Machine::new();
    let left = machine
        .run("33")
        .shell("exec 3<&0; cat <&3 & exec echo ready")
        .spawn();
    left.expect_stdout("ready");
    left.expect_stderr("these it started run on");
    machine
        .run("34")
        .arguments(["-n"])
        .shell("echo ran")
        .output()
        .assert_status(75);
    left.wait().assert_status(0).assert_nobody_left();
}

#[test]
fn a_newer_token_preempts_an_older_command_with_all_its_tree() {
    let machine = Machine::new();
    let older = machine.stubborn("33");
    let tree = older.command_processes();
    assert!(tree.len() >= 2, "{tree:?}");
    preempt(&machine, "34");
    assert_all_dead(&tree);
    older
        .wait()
        .assert_status(79)
        .assert_stderr_has(["a newer token has come"])
        .assert_nobody_left();
    machine.run("33").shell(":").output().assert_status(79);
}

#[test]
fn a_manager_that_is_frozen_does_not_keep_a_newer_token_waiting() {
    let machine = Machine::new();
    let older = machine.stubborn("33");
    let tree = older.command_processes();
    process_named(&older, "lock-manager").signal(Signal::SIGSTOP);
    preempt(&machine, "34");
    assert_all_dead(&tree);
    older.wait().assert_status(79).assert_nobody_left();
}

#[test]
fn a_run_that_is_frozen_as_a_whole_does_not_keep_a_newer_token_waiting() {
    let machine = Machine::new();
    let older = machine.stubborn("33");
    let all = older.processes();
    for process in &all {
        process.signal(Signal::SIGSTOP);
    }
    preempt(&machine, "34");
    assert_all_dead(&all);
}

#[test]
fn neither_its_own_nor_a_newer_command_is_preempted() {
    let machine = Machine::new();
    let running = machine.stubborn("33");
    machine
        .run("33")
        .arguments(["--preempt", "-k", "0", "-w", "0.5"])
        .shell("echo ran")
        .output()
        .assert_status(75);
    machine
        .run("32")
        .arguments(["--preempt", "-k", "0"])
        .shell("echo ran")
        .output()
        .assert_status(79);
    running.wait().assert_status(0);
}

#[test]
fn when_everybody_who_watches_is_killed_at_once_the_tree_still_holds_the_lock() {
    let machine = Machine::new();
    let mut older = machine.stubborn("33");
    let ours: Vec<Process> = ["leasehold", "lock-witness", "lock-manager"]
        .map(|name| process_named(&older, name))
        .into();
    for process in &ours {
        process.signal(Signal::SIGSTOP);
    }
    for process in &ours {
        process.signal(Signal::SIGKILL);
    }
    assert_all_dead(&ours);
    machine
        .run("34")
        .arguments(["-w", "0.3"])
        .shell("echo ran")
        .output()
        .assert_status(75);
    older.close_stdin();
    machine.run("34").shell(":").output().assert_status(0);
}

#[test]
fn a_signal_reaches_the_command_and_a_killed_front_takes_the_tree_along() {
    let machine = Machine::new();
    let running = machine
        .run("33")
        .shell("trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
        .spawn();
    running.expect_stdout("ready");
    running.signal(Signal::SIGTERM);
    let output = running.wait();
    output.assert_status(5).assert_stdout("ready\ngot it\n");
    let running = machine.stubborn("33");
    let tree = running.command_processes();
    running.signal(Signal::SIGKILL);
    assert_all_dead(&tree);
    machine.run("34").shell(":").output().assert_status(0);
}

#[track_caller]
fn preempt(machine: &Machine, token: &str) {
    let output = machine
        .run(token)
        .arguments(["--preempt", "-k", "0.3", "-w", "20"])
        .shell("echo ran")
        .output();
    output
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_stderr_has(["stopping the command that runs with token 33"]);
    assert!(
        output.duration() < Duration::from_secs(10),
        "{}",
        output.describe()
    );
}

#[track_caller]
fn assert_all_dead(processes: &[Process]) {
    for process in processes {
        process.wait_dead(SOON);
    }
}

#[track_caller]
fn process_named(running: &Running, name: &str) -> Process {
    eventually(format!("a process named {name}"), SOON, || {
        let is_it = |process: &Process| {
            let path = format!("/proc/{}/comm", process.pid);
            fs::read_to_string(path).is_ok_and(|comm| comm.trim() == name)
        };
        running
            .processes()
            .into_iter()
            .find(is_it)
            .ok_or("none yet")
    })
}
