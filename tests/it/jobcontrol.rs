//! The keys of job control do what they do without leasehold, in every shell.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, assert_dead_within, wait_stopped};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::processes::{Moment, Process, describe};
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::shell::{
    Shell, all, in_every_shell, in_foreground, sleeper, the_commands, typed,
};

#[test]
fn ctrl_c_ends_a_running_command_and_the_shell_goes_on() {
    let etcd = Service::start();
    in_every_shell(&etcd, |mut shell| {
        shell.start_job(&sleeper(&etcd));
        shell.terminal.press("\x03");
        shell.expect_signal(Signal::SIGINT);
        shell.exit();
        etcd.store().assert_clean();
    });
}

#[test]
fn ctrl_backslash_ends_it_as_well() {
    let etcd = Service::start();
    in_every_shell(&etcd, |mut shell| {
        shell.start_job(&sleeper(&etcd));
        shell.terminal.press("\x1c");
        shell.expect_signal(Signal::SIGQUIT);
        shell.exit();
        etcd.store().assert_clean();
    });
}

#[test]
fn ctrl_c_ends_a_waiting_run_and_gives_its_place_back() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    in_every_shell(&etcd, |mut shell| {
        shell.enter(&typed(&sleeper(&etcd)));
        shell.expect("waiting for job");
        etcd.store().wait_for_entries("job", 2);
        shell.terminal.press("\x03");
        shell.expect_signal(Signal::SIGINT);
        etcd.store().wait_for_entries("job", 1);
        shell.exit();
    });
    holder.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn ctrl_c_ends_a_script_that_runs_it() {
    let etcd = Service::start();
    let run = typed(&sleeper(&etcd));
    // By the shell that reads it, as well as in the shell that runs it: who dies of the signal is not asked again.
    for script_shell in ["bash", "dash", "zsh", "ksh"] {
        let mut shell = Shell::bash(&etcd);
        shell.enter(&format!("{script_shell} -c '{run}; echo not re\"\"ached'"));
        shell.expect("ready\r\n");
        shell.terminal.press("\x03");
        shell.expect_prompt();
        let seen = shell.terminal.screen_text();
        assert!(!seen.contains("not reached"), "{script_shell}: {seen}");
        shell.exit();
        etcd.store().assert_clean();
    }
}

#[test]
fn ctrl_z_stops_it_bg_and_fg_continue_it_and_the_lease_lives_on() {
    let etcd = Service::start();
    in_every_shell(&etcd, |mut shell| {
        shell.start_job(&etcd.run("job").probe(["watch", "CONT", "WINCH"]));
        for _ in 0..2 {
            shell.terminal.press("\x1a");
            shell.expect_stopped();
            for process in the_commands(&etcd) {
                wait_stopped(&process);
            }
            shell.enter("bg");
            shell.expect("signal SIGCONT\r\n");
            shell.enter("fg");
            // Only a job in the foreground gets the key.
            eventually("the job is in the foreground", SOON, || {
                in_foreground(&etcd)
            });
        }
        assert_eq!(etcd.store().entries("job").len(), 1, "held all the time");
        shell.terminal.press("\x03");
        shell.expect_prompt();
        shell.exit();
        etcd.store().assert_clean();
    });
}

fn group_of(process: &Process) -> i32 {
    let pid = nix::unistd::Pid::from_raw(process.pid);
    nix::unistd::getpgid(Some(pid)).expect("it runs").as_raw()
}

#[test]
fn a_stop_that_nobody_can_refuse_stops_the_job_as_well() {
    let etcd = Service::start();
    in_every_shell(&etcd, |mut shell| {
        shell.start_job(&etcd.run("job").probe(["watch", "CONT"]));
        for process in the_commands(&etcd) {
            process.signal(Signal::SIGSTOP);
        }
        shell.expect_stopped();
        shell.enter("fg");
        shell.expect("signal SIGCONT\r\n");
        shell.terminal.press("\x03");
        shell.expect_prompt();
        shell.exit();
        etcd.store().assert_clean();
    });
}

#[test]
fn started_in_the_background_it_stops_when_it_reads_and_goes_on_in_the_foreground() {
    let etcd = Service::start();
    in_every_shell(&etcd, |mut shell| {
        let run = etcd.run("job").shell("read line; echo got $line; exit 3");
        shell.enter(&format!("{} &", typed(&run)));
        eventually("the command is stopped", SOON, || {
            match the_commands(&etcd).pop() {
                Some(process) if describe(process.pid).contains("[T") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        // Not before the front, which mirrors it: the shell looks at that one.
        wait_stopped(&Own::among(all(&etcd)).front);
        shell.enter("fg");
        eventually("the job is in the foreground", SOON, || {
            in_foreground(&etcd)
        });
        shell.enter("hello");
        shell.expect("got hello\r\n");
        // fish says how fg(1) ended.
        shell.expect_status(if shell.name == "fish" { 0 } else { 3 });
        shell.exit();
        etcd.store().assert_clean();
    });
}

#[test]
fn kill_percent_1_ends_a_job_in_the_background() {
    let etcd = Service::start();
    in_every_shell(&etcd, |mut shell| {
        let run = etcd.run("job").probe(["signals"]);
        shell.enter(&format!("{} &", typed(&run)));
        shell.expect("ready\r\n");
        // fish has no job numbers for kill(1).
        let group = group_of(&the_commands(&etcd)[0]);
        let kill = |signal: &str| match shell.name {
            "fish" => format!("kill -{signal} -- -{group}"),
            _ => format!("kill -{signal} %1"),
        };
        let (term, usr2) = (kill("TERM"), kill("USR2"));
        shell.enter(&term);
        shell.expect("signal SIGTERM\r\n");
        shell.enter(&usr2);
        shell.expect("signal SIGUSR2\r\n");
        let seen = shell.terminal.screen_text();
        assert_eq!(seen.matches("signal SIGTERM\r\n").count(), 1, "{seen}");
        shell.exit();
        etcd.store().assert_clean();
    });
}

#[test]
fn a_job_stopped_for_longer_than_its_lease_still_has_it() {
    let etcd = Service::start();
    let ttl = Duration::from_secs(3);
    let mut shell = Shell::bash(&etcd);
    shell.start_job(&etcd.run("job").ttl(3).probe(["watch", "CONT"]));
    let lease = etcd.store().entries("job")[0].lease;
    shell.terminal.press("\x1a");
    shell.expect_stopped();
    let stopped_at = Moment::now();
    let_time_pass_until(stopped_at + 2 * ttl + ttl / 3);
    assert_eq!(
        etcd.store().entries("job")[0].lease,
        lease,
        "the same lease"
    );
    shell.enter("fg");
    shell.expect("signal SIGCONT\r\n");
    shell.terminal.press("\x03");
    shell.expect_signal(Signal::SIGINT);
    shell.exit();
    etcd.store().assert_clean();
}

#[test]
fn a_waiting_run_stopped_for_longer_than_its_lease_gives_up_its_place_and_queues_again() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    let mut shell = Shell::bash(&etcd);
    let run = etcd.run("job").ttl(3).shell("echo ready; exit 2");
    shell.enter(&typed(&run));
    shell.expect("waiting for job");
    let first = etcd.store().wait_for_entries("job", 2)[1].clone();
    // Stopped for a moment, it keeps its place.
    shell.terminal.press("\x1a");
    shell.expect_stopped();
    let still = etcd.store().entries("job")[1].clone();
    assert_eq!(still.create_revision, first.create_revision);
    // Stopped for longer, nobody waits for it.
    etcd.store().wait_for_entries("job", 1);
    shell.enter("fg");
    let second = etcd.store().wait_for_entries("job", 2)[1].clone();
    assert_ne!(second.create_revision, first.create_revision, "a new place");
    holder.wait().assert_status(0);
    shell.expect("ready\r\n");
    shell.expect_status(2);
    shell.exit();
    etcd.store().assert_clean();
}

#[test]
fn a_stopped_job_whose_manager_is_killed_is_dead() {
    let etcd = Service::start();
    let mut shell = Shell::bash(&etcd);
    let run = etcd
        .run("job")
        .arguments(["--ttl", "3", "--lock-delay", "0"])
        .probe(["tree", "daemon"]);
    shell.start_job(&run);
    shell.terminal.press("\x1a");
    shell.expect_stopped();
    let tree = the_commands(&etcd);
    let own = Own::among(all(&etcd));
    own.manager.signal(Signal::SIGKILL);
    assert_dead_within(&tree, Duration::from_secs(1));
    // The front was woken, so the shell sees how it ended.
    own.front.wait_dead(SOON);
    shell.enter("wait %1");
    shell.expect_status(79);
    shell.exit();
}

in_a_folder_too![
    ctrl_c_ends_a_running_command_and_the_shell_goes_on,
    ctrl_backslash_ends_it_as_well,
    ctrl_c_ends_a_waiting_run_and_gives_its_place_back,
    ctrl_c_ends_a_script_that_runs_it,
    ctrl_z_stops_it_bg_and_fg_continue_it_and_the_lease_lives_on,
    a_stop_that_nobody_can_refuse_stops_the_job_as_well,
    started_in_the_background_it_stops_when_it_reads_and_goes_on_in_the_foreground,
    kill_percent_1_ends_a_job_in_the_background,
    a_job_stopped_for_longer_than_its_lease_still_has_it,
    a_waiting_run_stopped_for_longer_than_its_lease_gives_up_its_place_and_queues_again,
    a_stopped_job_whose_manager_is_killed_is_dead,
];
