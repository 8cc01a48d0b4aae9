//! Inside, the command behaves as if it had been started without leasehold.

use nix::sys::signal::Signal;

use crate::harness::leasehold::{Run, probe};
use crate::harness::service::{Service, in_a_folder_too};

#[test]
fn stdin_and_stdout_pass_through_unchanged() {
    let etcd = Service::start();
    // Larger than any pipe, and no text.
    let input: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let output = etcd
        .run("job")
        .command(["cat"])
        .input(input.clone())
        .output();
    output.assert_status(0).assert_silent();
    assert!(output.stdout_bytes == input, "not the same bytes");
}

#[test]
fn stdout_and_stderr_are_the_commands_own() {
    let etcd = Service::start();
    let output = etcd.run("job").shell("echo out; echo err >&2").output();
    output.assert_status(0).assert_stdout("out\n");
    assert_eq!(output.stderr, "err\n");
}

#[test]
fn a_command_that_reads_no_stdin_does_not_lose_it_for_the_next_one() {
    let etcd = Service::start();
    let run = etcd.run("job").command(["true"]).typed();
    Run::program("sh")
        .variable(etcd.variable().0, &etcd.variable().1)
        .arguments(["-c", &format!("{run}; cat")])
        .input("for the next one")
        .output()
        .assert_status(0)
        .assert_stdout("for the next one");
}

#[test]
fn the_command_inherits_what_it_would_have_inherited_without_leasehold() {
    let etcd = Service::start();
    // Everything a process can inherit is made unusual first.
    let unusual = "umask 027; ulimit -n 200; ulimit -c 0; trap '' HUP USR1; cd /var; exec 7</dev/null; \
                   export KEPT=yes; exec nice -n 5 \"$@\"";
    let without = Run::program("sh")
        .variable(etcd.variable().0, &etcd.variable().1)
        .arguments(["-c", unusual, "sh", &probe(), "state"])
        .output();
    let with = etcd.run("job").probe(["state"]);
    let with = with.wrapped(["sh", "-c", unusual, "sh"]).output();
    without.assert_status(0);
    with.assert_status(0).assert_silent();
    assert_eq!(without.stdout, with.stdout, "without leasehold and with it");
    for line in ["Umask:\t0027", "Folder: /var", "Nice: 5"] {
        assert!(with.stdout.contains(line), "{line} in {}", with.stdout);
    }
}

#[test]
fn closed_standard_descriptors_stay_closed_and_harm_nothing() {
    let etcd = Service::start();
    for closing in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        etcd.run("job")
            .shell("exit 3")
            .wrapped(["sh", "-c", &format!("exec \"$@\" {closing}"), "sh"])
            .output()
            .assert_status(3);
    }
    etcd.store().assert_clean();
}

#[test]
fn the_command_is_told_everything_about_its_lock() {
    let etcd = Service::start();
    let store = etcd.store();
    let holder = etcd
        .run("deploy/prod")
        .shell("env | grep -E '^(LEASEHOLD|ETCD_LOCK)_' | sort; echo ready; cat")
        .spawn();
    let stdout = holder.expect_stdout("ready");
    let entry = store.entries("deploy/prod")[0].clone();
    let (token, lease) = (entry.create_revision, entry.lease);
    let cluster = store.cluster();
    for line in [
        format!("LEASEHOLD_TOKEN={token}"),
        "LEASEHOLD_LOCK_NAME=deploy/prod".to_owned(),
        "LEASEHOLD_LOCK_NAMES=deploy/prod".to_owned(),
        format!("LEASEHOLD_LOCK_KEY={}", entry.key),
        format!("LEASEHOLD_LEASE={lease:x}"),
        format!("LEASEHOLD_CLUSTER={cluster:x}"),
        format!("LEASEHOLD_SEQUENCER=1:{cluster:x}:exclusive:{token}:{lease:x}:deploy/prod"),
        format!("ETCD_LOCK_KEY={}", entry.key),
        etcd.exported(),
        "LEASEHOLD_PREFIX=/leasehold/".to_owned(),
    ] {
        assert!(
            stdout.lines().any(|found| found == line),
            "{line} in {stdout}"
        );
    }
    assert_eq!(entry.key, format!("/leasehold/deploy/prod/{lease:x}"));
    holder.wait().assert_status(0);
}

#[test]
fn every_signal_reaches_the_command_exactly_once() {
    let etcd = Service::start();
    let running = etcd.run("job").probe(["signals"]).spawn();
    running.expect_stdout("ready");
    let signals = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGALRM,
        Signal::SIGWINCH,
        Signal::SIGUSR2,
    ];
    for signal in signals {
        running.signal(signal);
        running.expect_stdout(&format!("signal {signal}\n"));
    }
    let expected: String = signals
        .iter()
        .map(|signal| format!("signal {signal}\n"))
        .collect();
    running
        .wait()
        .assert_status(0)
        .assert_stdout(&format!("ready\n{expected}"));
    etcd.store().assert_clean();
}

#[test]
fn a_signal_to_the_whole_group_reaches_the_command_once() {
    let etcd = Service::start();
    let running = etcd.run("job").probe(["signals"]).own_group().spawn();
    running.expect_stdout("ready");
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR2] {
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(running.pid()), signal)
            .expect("our own group");
        running.expect_stdout(&format!("signal {signal}\n"));
    }
    running
        .wait()
        .assert_status(0)
        .assert_stdout("ready\nsignal SIGTERM\nsignal SIGHUP\nsignal SIGUSR2\n");
}

#[test]
fn a_group_that_is_asked_to_end_gives_its_lock_back() {
    let etcd = Service::start();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // As a service manager, a CI runner or timeout(1) does it.
        let running = etcd.run("job").probe(["tree", "plain"]).own_group().spawn();
        running.expect_stdout("ready");
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(running.pid()), signal)
            .expect("our own group");
        running
            .wait()
            .assert_signal(signal as i32)
            .assert_silent()
            .assert_nobody_left();
        etcd.store().assert_clean();
    }
}

#[test]
fn a_command_that_handles_term_decides_itself_how_it_ends() {
    let etcd = Service::start();
    let running = etcd
        .run("job")
        .shell("trap 'kill $!; echo bye; exit 4' TERM; sleep 1000 & echo ready; wait")
        .spawn();
    running.expect_stdout("ready");
    running.signal(Signal::SIGTERM);
    running.expect_stdout("bye");
    running.wait().assert_status(4);
    etcd.store().assert_clean();
}

#[test]
fn a_shell_string_is_run_by_sh() {
    let etcd = Service::start();
    etcd.leasehold(["run", "-c", "echo $((1 + 2)) | cat", "job"])
        .output()
        .assert_status(0)
        .assert_stdout("3\n");
    etcd.leasehold(["run", "job", "-c", "exit 5"])
        .output()
        .assert_status(5);
}

#[test]
fn a_command_needs_no_dashes_before_it_and_keeps_its_own() {
    let etcd = Service::start();
    etcd.leasehold([
        "run",
        "job",
        "sh",
        "-c",
        "printf '%s ' \"$@\"",
        "sh",
        "-n",
        "--",
        "-w",
    ])
    .output()
    .assert_status(0)
    .assert_stdout("-n -- -w ");
}

in_a_folder_too![
    stdin_and_stdout_pass_through_unchanged,
    stdout_and_stderr_are_the_commands_own,
    a_command_that_reads_no_stdin_does_not_lose_it_for_the_next_one,
    the_command_inherits_what_it_would_have_inherited_without_leasehold,
    closed_standard_descriptors_stay_closed_and_harm_nothing,
    the_command_is_told_everything_about_its_lock,
    every_signal_reaches_the_command_exactly_once,
    a_signal_to_the_whole_group_reaches_the_command_once,
    a_group_that_is_asked_to_end_gives_its_lock_back,
    a_command_that_handles_term_decides_itself_how_it_ends,
    a_shell_string_is_run_by_sh,
    a_command_needs_no_dashes_before_it_and_keeps_its_own,
];
