//! A script can tell what happened: every exit status of the table, each by name.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::etcd::Etcd;
use crate::harness::eventually::SOON;
use crate::harness::leasehold::Run;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::together::in_threads;

/// The signals whose default is not to end a process, and the two that no process can have of itself:
/// signal(7).
const NOT_FATAL: [Signal; 9] = [
    Signal::SIGCHLD,
    Signal::SIGCONT,
    Signal::SIGSTOP,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGURG,
    Signal::SIGWINCH,
    // Rust's runtime and the kernel both have their say in it; tried by name below.
    Signal::SIGPIPE,
];

#[test]
fn every_exit_status_of_the_command_is_passed_on() {
    let etcd = Service::start();
    in_threads(4, 0..=255, |status: i32| {
        etcd.run(&format!("exit/{status}"))
            .shell(&format!("exit {status}"))
            .output()
            .assert_status(status)
            .assert_silent();
    });
    etcd.store().assert_clean();
}

#[test]
fn every_fatal_signal_of_the_command_is_passed_on() {
    let etcd = Service::start();
    let standard = Signal::iterator()
        .filter(|signal| !NOT_FATAL.contains(signal))
        .map(|signal| signal as i32);
    let real_time = [libc::SIGRTMIN(), libc::SIGRTMAX()];
    in_threads(4, standard.chain(real_time), |signal: i32| {
        etcd.run(&format!("signal/{signal}"))
            .probe(["die", &signal.to_string()])
            .output()
            .assert_signal(signal)
            .assert_silent();
    });
    etcd.store().assert_clean();
}

#[test]
fn a_command_that_died_of_a_closed_pipe_ends_the_run_in_the_same_way() {
    let etcd = Service::start();
    etcd.run("job")
        .probe(["die", &libc::SIGPIPE.to_string()])
        .output()
        .assert_signal(libc::SIGPIPE);
}

#[test]
fn a_shell_sees_128_and_the_signal() {
    let etcd = Service::start();
    let run = etcd.run("job").probe(["die", "15"]).typed();
    Run::program("sh")
        .variable("LEASEHOLD_ENDPOINTS", &etcd.endpoints())
        .arguments(["-c", &format!("{run}; exit $?")])
        .output()
        .assert_status(143);
}

#[test]
fn a_signal_while_waiting_is_128_and_the_signal() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let waiter = etcd.run("job").shell("echo ran").spawn();
        waiter.expect_stderr("waiting for job");
        waiter.signal(signal);
        waiter
            .wait_within(SOON)
            .assert_signal(signal as i32)
            .assert_stdout("")
            .assert_nobody_left();
    }
    holder.wait().assert_status(0);
}

#[test]
fn a_lost_lock_is_79() {
    let etcd = Service::start();
    let holder = etcd.run("job").ttl(5).probe(["tree", "plain"]).spawn();
    holder.expect_stdout("ready");
    let store = etcd.store();
    store.revoke(store.entries("job")[0].lease);
    holder
        .wait_within(SOON)
        .assert_status(79)
        .assert_stderr_has(["job", "lost", "lease"]);
}

#[test]
fn the_end_of_the_maximum_runtime_is_124() {
    let etcd = Service::start();
    let output = etcd
        .run("job")
        .arguments(["--max-runtime", "0.3s"])
        .probe(["tree", "plain"])
        .output();
    output
        .assert_status(124)
        .assert_stderr_has(["job", "--max-runtime"])
        .assert_nobody_left();
    assert!(output.duration() >= Duration::from_millis(300));
    assert!(output.duration() < Duration::from_secs(5), "{output:?}");
    etcd.store().assert_clean();
}

#[test]
fn what_ignores_the_end_of_its_maximum_runtime_is_killed() {
    let etcd = Service::start();
    etcd.run("job")
        .arguments(["--max-runtime", "0.3s", "-k", "0.2s"])
        .probe(["tree", "daemon"])
        .output()
        .assert_status(124)
        .assert_nobody_left();
}

#[test]
fn a_busy_lock_is_75() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    let busy = |option: [&str; 1]| {
        etcd.run("job")
            .arguments(option)
            .shell("echo ran")
            .output()
            .assert_status(75)
            .assert_stdout("")
            .assert_stderr_has(["job", "busy"])
            .assert_nobody_left();
    };
    busy(["-n"]);
    busy(["--nonblock"]);
    busy(["-w0"]);
    busy(["-w0.5"]);
    busy(["--wait=500ms"]);
    drop(holder);
}

#[test]
fn a_busy_lock_is_what_conflict_exit_code_says() {
    let etcd = Service::start();
    let _holder = etcd.hold("job");
    for (option, status) in [("-E0", 0), ("-E255", 255), ("--conflict-exit-code=3", 3)] {
        etcd.run("job")
            .arguments(["-n", option])
            .shell("echo ran")
            .output()
            .assert_status(status)
            .assert_stdout("");
    }
}

#[test]
fn no_etcd_is_69() {
    let mut etcd = Service::start();
    etcd.only().stop();
    etcd.run("job")
        .arguments(["--connect-timeout", "1"])
        .shell("echo ran")
        .output()
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has(["job", &etcd.members[0].endpoint(), "not run"])
        .assert_nobody_left();
}

#[test]
fn no_quorum_is_69() {
    let mut etcd = Etcd::start_three();
    etcd.members[0].stop();
    etcd.members[1].stop();
    etcd.run("job")
        .arguments(["--connect-timeout", "2"])
        .shell("echo ran")
        .output()
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has(["job", "not run"]);
}

#[test]
fn an_etcd_that_wants_to_know_who_we_are_is_77() {
    let etcd = Service::start();
    etcd.etcdctl(["user", "add", "root:secret"])
        .output()
        .assert_status(0);
    etcd.etcdctl(["user", "grant-role", "root", "root"])
        .output()
        .assert_status(0);
    etcd.etcdctl(["auth", "enable"]).output().assert_status(0);
    etcd.run("job")
        .shell("echo ran")
        .output()
        .assert_status(77)
        .assert_stdout("")
        .assert_stderr_has(["job", "not run"])
        .assert_nobody_left();
}

#[test]
fn wrong_usage_is_64() {
    let etcd = Service::start();
    for words in [
        vec!["run"],
        vec!["run", "job"],
        vec!["run", "--no-such-option", "job", "true"],
        vec!["run", "--ttl", "soon", "job", "true"],
        vec!["run", "-n", "-w", "5", "job", "true"],
        vec!["no-such-command"],
        vec![],
    ] {
        Run::new(&etcd.endpoints())
            .all_arguments(&words)
            .output()
            .assert_status(64)
            .assert_stdout("");
    }
    etcd.store().assert_clean();
}

#[test]
fn a_wrong_setting_in_the_environment_is_78() {
    Run::new("http://[not an address")
        .lock("job")
        .shell("echo ran")
        .output()
        .assert_status(78)
        .assert_stdout("")
        .assert_stderr_has(["LEASEHOLD_ENDPOINTS"]);
}

#[test]
fn what_cannot_be_executed_is_126() {
    let etcd = Service::start();
    for path in ["/etc/passwd", "/"] {
        etcd.run("job")
            .command([path])
            .output()
            .assert_status(126)
            .assert_stderr_has(["job", path])
            .assert_nobody_left();
    }
    etcd.store().assert_clean();
}

#[test]
fn what_does_not_exist_is_127() {
    let etcd = Service::start();
    for path in ["no-such-command", "/no/such/command", "./no-such-command"] {
        etcd.run("job")
            .command([path])
            .output()
            .assert_status(127)
            .assert_stderr_has(["job", path])
            .assert_nobody_left();
    }
    etcd.store().assert_clean();
}

#[test]
fn a_waiter_whose_own_manager_is_killed_is_70() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    let waiter = etcd.run("job").ttl(3).shell("echo ran").spawn();
    etcd.store().wait_for_entries("job", 2);
    let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let manager = waiter
        .processes()
        .into_iter()
        .find(|process| name(process.pid) == "lock-manager\n")
        .expect("a manager");
    manager.signal(Signal::SIGKILL);
    waiter
        .wait()
        .assert_status(70)
        .assert_stdout("")
        .assert_stderr_has(["job", "manager", "killed"]);
    holder.wait().assert_status(0);
}

in_a_folder_too![
    every_exit_status_of_the_command_is_passed_on,
    every_fatal_signal_of_the_command_is_passed_on,
    a_command_that_died_of_a_closed_pipe_ends_the_run_in_the_same_way,
    a_signal_while_waiting_is_128_and_the_signal,
    a_lost_lock_is_79,
    the_end_of_the_maximum_runtime_is_124,
    what_ignores_the_end_of_its_maximum_runtime_is_killed,
    a_busy_lock_is_75,
    a_busy_lock_is_what_conflict_exit_code_says,
    what_cannot_be_executed_is_126,
    what_does_not_exist_is_127,
    a_waiter_whose_own_manager_is_killed_is_70,
];
