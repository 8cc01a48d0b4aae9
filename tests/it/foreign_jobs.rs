//! A shell that had jobs and then executed leasehold: they are its children, and none of its business.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::anatomy::{Own, assert_dead_within, children, freeze};
use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::Running;
use crate::harness::processes::{Process, describe};

/// The promise is 100 ms on a machine with time; tests share two cores with one another.
const SOON_DEAD: Duration = Duration::from_secs(2);

/// A run executed by a shell with a job, which outlives one of its own children: who is left of that comes to the
/// front without a word of the kernel's, and after everything else of which the kernel tells. The job and the orphan.
fn with_a_foreign_orphan(
    etcd: &Etcd,
    folder: &Path,
    before: impl Fn(&Own),
) -> (Running, [Process; 2]) {
    let fifo = folder.join("fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600)).expect("ours");
    let child = format!("sleep 1000 & read line <{}", fifo.display());
    let job = format!("sh -c \"{child}\"; exec sleep 1001");
    let shell = format!("sh -c '{job}' <&- >&- 2>&- & exec \"$@\"");
    let running = etcd
        .run("job")
        .arguments(["-q", "--ttl", "3", "--lock-delay", "0"])
        .probe(["tree", "daemon"])
        .wrapped(["sh", "-c", &shell, "sh"])
        .spawn();
    running.expect_stdout("ready");
    before(&Own::of(&running));
    // Its reader ends when this does.
    fs::write(&fifo, "").expect("somebody reads it");
    let front = running.pid();
    let foreign = eventually("the front has a job and an orphan", SOON, || {
        let found = children(front);
        let described: Vec<String> = found.iter().map(|&pid| describe(pid)).collect();
        let named = |name: &str| described.iter().position(|line| line.ends_with(name));
        let both = named("] sleep 1001").zip(named("] sleep 1000"));
        let both = both.and_then(|(job, orphan)| {
            Some([Process::open(found[job])?, Process::open(found[orphan])?])
        });
        both.ok_or_else(|| described.join("; "))
    });
    (running, foreign)
}

#[track_caller]
fn assert_spared_when(before: impl Fn(&Own), strike: impl Fn(&Own), dead_within: Duration) {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let (running, foreign) = with_a_foreign_orphan(&etcd, folder.path(), before);
    let tree = running.command_processes();
    strike(&Own::of(&running));
    assert_dead_within(&tree, dead_within);
    assert!(running.process.ended_within(SOON));
    for process in &foreign {
        assert!(!process.is_dead(), "{}", describe(process.pid));
        process.signal(Signal::SIGKILL);
    }
    running.wait().assert_status(79).assert_nobody_left();
}

#[test]
fn the_front_alone_kills_its_tree_and_spares_orphans_of_a_foreign_job() {
    let strike = |own: &Own| own.manager.signal(Signal::SIGKILL);
    assert_spared_when(|own| freeze(&own.witness), strike, SOON_DEAD);
}

#[test]
fn at_the_deadline_the_front_spares_orphans_of_a_foreign_job() {
    assert_spared_when(|_| {}, |own| freeze(&own.manager), SOON);
}
