//! Processes that were made in ways that hide them are found and killed, whoever has to do it.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, assert_dead_within, children};
use crate::harness::leasehold::{Run, Running, probe};
use crate::harness::processes::Process;
use crate::harness::service::{Service, in_a_folder_too};

/// The promise is 100 ms on a machine with time; tests share two cores with one another.
const SOON_DEAD: Duration = Duration::from_secs(2);

const SHAPES: [&str; 8] = [
    "nested-subreaper",
    "clone-parent",
    "no-exit-signal",
    "vfork",
    "traced",
    "pid-namespace",
    "no-environment",
    "no-first-thread",
];

/// Everybody below the manager: some of them are not to be found by their environment.
fn tree(running: &Running) -> Vec<Process> {
    fn below(pid: i32, found: &mut Vec<Process>) {
        for child in children(pid) {
            found.extend(Process::open(child));
            below(child, found);
        }
    }
    let mut found = Vec::new();
    below(Own::of(running).manager.pid, &mut found);
    assert!(found.len() > 1, "a command and what it has started");
    found
}

/// As the user of the tests, who may have a cgroup to kill by, and as one who has none.
#[track_caller]
fn assert_dies_when(etcd: &Service, shape: &str, run: Run, strike: impl Fn(&Own)) {
    assert_one_dies_when(etcd, shape, run.clone(), &strike);
    assert_one_dies_when(etcd, shape, run.unprivileged(), &strike);
}

#[track_caller]
fn assert_one_dies_when(etcd: &Service, shape: &str, run: Run, strike: impl Fn(&Own)) {
    let running = run
        .arguments(["-q", "--lock-delay", "0", "--ttl", "3"])
        .probe(["odd", shape])
        .spawn();
    running.expect_stdout("ready");
    let tree = tree(&running);
    strike(&Own::of(&running));
    assert_dead_within(&tree, SOON_DEAD);
    running.wait().assert_nobody_left();
    // The next one gets the lock.
    etcd.run(shape).command(["true"]).output().assert_status(0);
}

#[test]
fn with_the_front() {
    let etcd = Service::start();
    for shape in SHAPES {
        assert_dies_when(&etcd, shape, etcd.run(shape), |own| {
            own.front.signal(Signal::SIGKILL);
        });
    }
    etcd.store().assert_clean();
}

#[test]
fn with_the_manager() {
    let etcd = Service::start();
    for shape in SHAPES {
        assert_dies_when(&etcd, shape, etcd.run(shape), |own| {
            own.manager.signal(Signal::SIGKILL);
        });
    }
    etcd.store().assert_clean();
}

#[test]
fn with_front_and_manager() {
    let etcd = Service::start();
    for shape in SHAPES {
        assert_dies_when(&etcd, shape, etcd.run(shape), |own| {
            own.front.signal(Signal::SIGKILL);
            own.manager.signal(Signal::SIGKILL);
        });
    }
    etcd.store().assert_clean();
}

#[test]
fn at_the_end_of_its_time() {
    let etcd = Service::start();
    for shape in SHAPES {
        let run = etcd
            .run(shape)
            .arguments(["--max-runtime", "0.5", "-k", "0.2"])
            .probe(["odd", shape]);
        for run in [run.clone(), run.unprivileged()] {
            run.output().assert_status(124).assert_nobody_left();
        }
    }
    etcd.store().assert_clean();
}

#[test]
fn whose_first_thread_has_ended_is_asked_before_it_is_killed() {
    let etcd = Service::start();
    let run = etcd.run("job").arguments(["--max-runtime", "0.5"]);
    // The command itself, and one that it has started.
    let itself = run.clone().probe(["second-thread"]);
    let below = run.shell(&format!("{} second-thread; exit", probe()));
    for run in [itself, below] {
        run.output()
            .assert_status(124)
            .assert_stdout("ready\nsignal SIGTERM\n")
            .assert_nobody_left();
    }
    etcd.store().assert_clean();
}

in_a_folder_too![
    with_the_front,
    with_the_manager,
    with_front_and_manager,
    at_the_end_of_its_time,
    whose_first_thread_has_ended_is_asked_before_it_is_killed,
];
