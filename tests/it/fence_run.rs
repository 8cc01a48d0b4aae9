//! `fence run`: on one machine, one at a time, and none that is older than another that has run. No etcd here.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::leasehold::{Run, binary};
use crate::harness::machine::{Machine, assert_all_dead, process_named};
use crate::harness::untested;

const SEQUENCER: &str = "1:cafe:exclusive:33:beef:job";

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
fn bad_tokens_in_the_environment_are_named_with_their_variable() {
    let machine = Machine::new();
    let state = machine.path("state");
    let cases = [
        ("LEASEHOLD_TOKEN", "x", "\"x\" is not a number"),
        ("LEASEHOLD_TOKEN", "0", "0 is no token"),
        ("LEASEHOLD_TOKEN", "-3", "-3 is no token"),
        (
            "LEASEHOLD_TOKEN",
            "9223372036854775808",
            "the largest there can be",
        ),
        ("LEASEHOLD_SEQUENCER", "1:cafe:exclusive", "cut short"),
        (
            "LEASEHOLD_SEQUENCER",
            "2:cafe:exclusive:33:beef:job",
            "is of version \"2\"",
        ),
        (
            "LEASEHOLD_SEQUENCER",
            "1:cafe:shared:33:beef:job",
            "mode shared orders nothing",
        ),
        (
            "LEASEHOLD_SEQUENCER",
            "1:cafe:slots:33:beef:job",
            "mode slots orders nothing",
        ),
    ];
    for (name, value, sentence) in cases {
        let output = Run::program(binary())
            .arguments(["fence", "run", "--state", state.to_str().expect("readable")])
            .variable(name, value)
            .shell("echo ran")
            .output();
        output.assert_status(64).assert_stdout("");
        output.assert_stderr_has([sentence]);
        if !value.contains(":s") {
            output.assert_stderr_has([name]);
        }
    }
    assert!(!state.exists());
}

#[test]
fn nothing_is_needed_on_that_machine_no_home_no_settings_and_no_etcd() {
    let machine = Machine::new();
    let broken = machine.path("leasehold");
    fs::create_dir(&broken).expect("ours");
    fs::write(broken.join("config.toml"), "this is = not = toml").expect("written");
    let log = machine.path("log");
    let strace = format!("strace -f -qq -e trace=connect -o {}", log.display());
    let strace: Vec<String> = strace.split(' ').map(str::to_owned).collect();
    let run = |run: Run| {
        run.variable(
            "XDG_CONFIG_HOME",
            machine.folder.path().to_str().expect("readable"),
        )
        .variable("HOME", "/nonexistent")
        .variable("LEASEHOLD_ENDPOINTS", "not an endpoint")
        .variable("LEASEHOLD_CACERT", "/nonexistent")
        .variable("LEASEHOLD_TTL", "never")
        .wrapped(["env", "-u", "PATH"])
    };
    run(machine.run(SEQUENCER).command(["/bin/echo", "ran"]))
        .output()
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_silent();
    if !Path::new("/usr/bin/strace").exists() {
        return untested::missing("strace");
    }
    let traced = run(machine
        .run(SEQUENCER)
        .command(["/bin/echo", "ran"])
        .wrapped_by(&strace));
    let output = traced.output();
    if output.stderr.contains("PTRACE") || output.stderr.contains("ptrace(") {
        return untested::not_allowed("strace may not trace here");
    }
    output.assert_status(0);
    // The names of users may come from a daemon on this machine (nscd); nobody else is asked.
    let log = fs::read_to_string(&log).expect("written");
    assert!(!log.contains("AF_INET"), "{log}");
}

#[test]
fn a_run_inside_a_run_on_the_same_file_is_refused_since_it_would_wait_for_itself() {
    let machine = Machine::new();
    let state = machine.path("state");
    let (state, binary) = (state.display(), binary());
    let again = format!("{binary} fence run --state {state}");
    for inner in [
        format!("{again} -- echo ran"),
        format!("{again} -n -- echo ran"),
        format!("{again} --token 34 --preempt -- echo ran"),
        // In a session of its own, with nothing inherited but its place in the tree.
        format!("setsid --wait {again} -- echo ran 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-"),
    ] {
        machine
            .run("33")
            .shell(&inner)
            .output()
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has([
                "already, with token 33 (pid",
                "would wait for itself",
                "the command was not run",
            ]);
    }
    // Another file is another matter.
    let other = format!("{binary} fence run --state {state}2 -- echo ran");
    let output = machine.run("33").shell(&other).output();
    output.assert_status(0).assert_stdout("ran\n");
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

#[test]
fn whichever_process_of_leasehold_is_killed_the_tree_is_dead_and_the_next_one_runs() {
    let machine = Machine::new();
    for (name, status) in [
        ("leasehold", None),
        ("lock-witness", Some(79)),
        ("lock-manager", Some(79)),
    ] {
        let running = machine.stubborn("33");
        let tree = running.command_processes();
        process_named(&running, name).signal(Signal::SIGKILL);
        assert_all_dead(&tree);
        let output = running.wait();
        match status {
            Some(status) => output
                .assert_status(status)
                .assert_stderr_has([&format!("{} process was killed", &name[5..])]),
            None => output.assert_signal(9),
        };
        output.assert_nobody_left();
        machine.run("33").shell(":").output().assert_status(0);
    }
}
