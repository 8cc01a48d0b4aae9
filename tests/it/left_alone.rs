//! `--on-leftover leave`: what the command leaves behind lives outside the lock, whatever happens next.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::anatomy::Own;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::{Run, Running};
use crate::harness::processes::{Process, describe};
use crate::harness::service::{Service, in_a_folder_too};

/// A command that ends when its stdin does, and leaves somebody behind.
fn run(etcd: &Service) -> Run {
    etcd.run("job")
        .arguments(["--on-leftover", "leave", "--lock-delay", "0", "--ttl", "3"])
        .shell("sleep 1000 <&- >&- 2>&- & echo ready; read line; exit 4")
}

/// The command and whom it will leave behind.
fn command_and_left(running: &Running) -> (Process, Process) {
    running.expect_stdout("ready");
    let is_sleep = |process: &Process| describe(process.pid).ends_with("] sleep 1000");
    // The shell forks before it executes it.
    eventually("both are there", SOON, || {
        let (mut left, mut rest): (Vec<_>, Vec<_>) =
            running.command_processes().into_iter().partition(is_sleep);
        let both = rest.pop().zip(left.pop());
        both.filter(|(command, _)| describe(command.pid).contains("] sh -c"))
            .ok_or("not yet")
    })
}

#[test]
fn it_lives_on_and_the_lock_is_free() {
    let etcd = Service::start();
    for run in [run(&etcd), run(&etcd).unprivileged()] {
        let mut running = run.spawn();
        let (_, left) = command_and_left(&running);
        running.close_stdin();
        assert!(running.process.ended_within(SOON));
        assert!(!left.is_dead(), "it was let live");
        let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", left.pid)).expect("it lives");
        assert!(
            !cgroup.contains("/leasehold-"),
            "where it would be without leasehold: {cgroup}"
        );
        etcd.run("job").command(["true"]).output().assert_status(0);
        etcd.store().assert_clean();
        assert!(!left.is_dead(), "nobody's to kill");
        left.signal(Signal::SIGKILL);
        running.wait().assert_status(4).assert_nobody_left();
    }
}

#[test]
fn it_lives_on_when_leasehold_is_killed_before_it_has_given_the_lock_back() {
    let mut etcd = Service::start();
    for victim in ["front", "witness", "manager"] {
        let mut running = run(&etcd).spawn();
        let (command, left) = command_and_left(&running);
        let own = Own::of(&running);
        // So that the lock cannot be given back.
        etcd.only().pause();
        running.close_stdin();
        eventually("the manager waits for etcd", SOON, || {
            let (command, manager) = (describe(command.pid), describe(own.manager.pid));
            if command.contains("[gone]") && manager.contains("[S") {
                Ok(())
            } else {
                Err(format!("{command}; {manager}"))
            }
        });
        match victim {
            "front" => own.front.signal(Signal::SIGKILL),
            "witness" => own.witness.signal(Signal::SIGKILL),
            _ => own.manager.signal(Signal::SIGKILL),
        }
        for process in [&own.manager, &own.witness, &own.front] {
            process.wait_dead(SOON);
        }
        assert!(!left.is_dead(), "{victim} killed: it was let live");
        etcd.only().resume();
        left.signal(Signal::SIGKILL);
        let output = running.wait();
        if victim == "manager" {
            output.assert_status(79);
        }
    }
}

in_a_folder_too![it_lives_on_and_the_lock_is_free,];
