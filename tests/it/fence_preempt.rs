//! `fence run --preempt`: an older command is stopped with all its tree, or it is said why it cannot be.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::machine::{Machine, assert_all_dead, process_named};
use crate::harness::processes::Process;
use crate::harness::untested;

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
fn a_second_one_who_preempts_takes_no_grace_away() {
    let machine = Machine::new();
    let script = "trap 'echo asked; read line; echo cleaned; exit 0' TERM
                  echo ready; while :; do sleep 0.05; done";
    let mut older = machine.run("33").shell(script).spawn();
    older.expect_stdout("ready");
    let preempting = ["34", "35"].map(|token| {
        let run = machine.run(token).arguments(["--preempt", "-k", "50"]);
        let running = run.shell("echo ran").spawn();
        running.expect_stderr("stopping the command that runs with token 33");
        older.expect_stdout("asked");
        running
    });
    older.type_line("now");
    older
        .wait()
        .assert_status(79)
        .assert_stdout("ready\nasked\ncleaned\n");
    for run in preempting {
        // The newer one may be the first, or stop the other: both are as they should be.
        assert!(matches!(run.wait().status.code(), Some(0 | 79)));
    }
    machine.run("34").shell(":").output().assert_status(79);
}

#[test]
fn what_a_command_sends_to_its_parent_preempts_nobody() {
    let machine = Machine::new();
    // Until the parent has taken it, by a sender that lives on and by one that ends at once.
    let script = "taken() { while grep -q 'Pnd:.*[1-9a-f]' /proc/$PPID/status; do :; done; }
                  for signal in USR1 USR2; do
                      kill -$signal $PPID; taken; /bin/kill -$signal $PPID; taken
                  done
                  echo ready; read line; echo $line";
    let mut run = machine.run("33").shell(script).spawn();
    run.expect_stdout("ready");
    run.type_line("undisturbed");
    run.wait()
        .assert_status(0)
        .assert_stdout("ready\nundisturbed\n")
        .assert_nobody_left();
}

/// As `systemctl kill -s USR1` does, to have a log file opened anew.
#[test]
fn what_somebody_sends_to_each_process_one_by_one_preempts_nobody() {
    let machine = Machine::new();
    let script = "trap 'echo told' USR1; echo ready; while ! read line; do :; done; echo $line";
    let mut run = machine.run("33").shell(script).spawn();
    run.expect_stdout("ready");
    for process in run.processes() {
        process.signal(Signal::SIGUSR1);
    }
    run.expect_stdout("told");
    run.type_line("undisturbed");
    run.wait()
        .assert_status(0)
        .assert_stdout("ready\ntold\nundisturbed\n")
        .assert_nobody_left();
}

#[test]
fn one_who_cannot_be_stopped_is_told_of_also_by_those_who_wait_for_ever() {
    if !nix::unistd::geteuid().is_root() {
        return untested::not_allowed("only root can be somebody else");
    }
    let machine = Machine::new();
    machine.run("32").shell(":").output().assert_status(0);
    fs::set_permissions(machine.folder.path(), PermissionsExt::from_mode(0o777)).expect("root may");
    for name in ["state", "state.lock"] {
        chown(machine.path(name), Some(65534), Some(65534)).expect("root may");
    }
    let older = machine.stubborn("33");
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let newer = machine
        .run("34")
        .arguments(["--preempt"])
        .shell("echo ran")
        .wrapped(nobody)
        .spawn();
    newer.expect_stderr(
        "it cannot be stopped from here: Permission denied; only its user and root may",
    );
    older.wait().assert_status(0);
    newer.wait().assert_status(0).assert_stdout("ran\n");
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
        .assert_status(75)
        .assert_stderr_has([
            "waiting for the command that runs with token 33",
            "--preempt stops only older ones",
        ]);
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
    let preempting = machine.run("34").arguments(["--preempt"]).shell("echo ran");
    let preempting = preempting.spawn();
    preempting.expect_stderr("whoever watched over the command that runs is gone");
    preempting.expect_stderr("end it by hand (fuser -v ");
    older.close_stdin();
    preempting.wait().assert_status(0).assert_stdout("ran\n");
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
