//! What etcd keeps, and forgets: compaction, no space, foreign keys, a restored backup.

use std::time::Duration;

use super::{ended_decently, seconds};
use crate::harness::anatomy::name;
use crate::harness::etcd::{Etcd, Options, free_port};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Run, Running};
use crate::harness::processes::Moment;
use crate::harness::proxy::Proxy;
use crate::harness::store::Store;

const TTL_S: u32 = 5;
const TTL: Duration = Duration::from_secs(TTL_S as u64);

#[test]
fn compaction_under_a_waiter_and_a_holder() {
    let mut fault = Fault::of("compaction under a waiter and a holder");
    let etcd = Etcd::start();
    let store = etcd.store();
    let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
    let run = || Run::new(&proxy.endpoint()).lock("job").ttl(TTL_S);
    let holder = run().shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = run().shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    let entered_at = store.wait_for_entries("job", 2)[1].create_revision;
    for number in 0..10 {
        // Watches break and are opened again from a revision that is gone.
        store.put_many("/foreign/", 100);
        store.compact(store.revision());
        proxy.cut();
        proxy.mend();
        let_time_pass_until(Moment::now() + Duration::from_millis(100 * number));
    }
    let trouble = store.trouble_at("/foreign/0", entered_at);
    let trouble = trouble.expect("the waiter's first revision is forgotten");
    assert!(trouble.contains("compacted"), "{trouble}");
    fault.injected(format!(
        "ten compactions to the newest revision, with connections broken after each; revision {entered_at}: compacted"
    ));
    let_time_pass_until(Moment::now() + TTL);
    let freed_at = Moment::now();
    let holder = holder.wait();
    holder.assert_status(0);
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(0).assert_stdout("ran\n");
    let took = waiter.ended_at.since(freed_at);
    // It is told; it does not find out at its next reading.
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(!waiter.stderr.contains("again"), "{}", waiter.describe());
    ended_decently([&holder, &waiter]);
    store.assert_clean();
    fault.seen(format!(
        "the holder ended with 0, the waiter ran {} later; nothing left",
        seconds(took)
    ));
}

/// An etcd that holds 16 MiB at most.
fn small() -> Etcd {
    let options = Options {
        arguments: vec!["--quota-backend-bytes=16777216"],
        ..Options::default()
    };
    Etcd::start_as(1, options)
}

/// Puts until nothing more goes in; what it says then.
fn fill(store: &Store) -> String {
    for number in 0..100 {
        if let Err(trouble) = store.try_put("/foreign/big", vec![number; 1 << 20]) {
            assert!(trouble.contains("space exceeded"), "{trouble}");
            return trouble;
        }
    }
    panic!("the quota of 16 MiB should be full by now");
}

/// As an operator does it: forget old versions, give the space back, lift the alarm.
fn make_room(etcd: &Etcd) {
    let store = etcd.store();
    store.compact(store.revision());
    for line in [["defrag"].as_slice(), &["alarm", "disarm"]] {
        etcd.etcdctl([])
            .all_arguments(line)
            .output()
            .assert_status(0);
    }
}

#[test]
fn no_space_before_a_run() {
    let mut fault = Fault::of("no space in etcd before a run");
    let etcd = small();
    let store = etcd.store();
    fill(&store);
    fault.injected("filled up to its quota: NOSPACE is raised and puts are refused");
    let refused = etcd.run("job").shell("echo ran").output();
    refused
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has(["space"])
        .assert_nobody_left();
    ended_decently([&refused]);
    store.assert_clean();
    make_room(&etcd);
    let after = etcd.run("job").shell("echo ran").output();
    after.assert_status(0).assert_stdout("ran\n");
    store.assert_clean();
    fault.seen(format!(
        "69 after {}, and the sentence says why; with room made, a run runs",
        seconds(refused.duration())
    ));
}

#[test]
fn no_space_during_a_run() {
    let mut fault = Fault::of("no space in etcd during a run");
    let etcd = small();
    let store = etcd.store();
    let run = || etcd.run("job").ttl(TTL_S);
    let holder = run().shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = run().shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    fill(&store);
    fault.injected("filled up to its quota while one holds and one waits");
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    let holder = holder.wait();
    holder.assert_status(0).assert_silent();
    let freed_at = Moment::now();
    // etcd 3.5.1 refuses to read in a transaction while it is full, and nobody is admitted who is not read.
    let is_served = store.answers_transactions();
    if !is_served {
        let_time_pass_until(freed_at + TTL);
        assert!(!waiter.process.is_dead(), "it waits");
        make_room(&etcd);
    }
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(0).assert_stdout("ran\n");
    ended_decently([&holder, &waiter]);
    store.assert_clean();
    fault.seen(format!(
        "renewed for 1.5 TTL, ended with 0 and gave the lock back; the waiter ran {} later{}; nothing left",
        seconds(waiter.ended_at.since(freed_at)),
        match is_served {
            true => "",
            false => ", once there was room: this etcd does not even read in transactions while it is full",
        }
    ));
}

#[test]
fn ten_thousand_foreign_keys() {
    const KEYS: usize = 10_000;
    let mut fault = Fault::of("10,000 foreign keys under the prefix");
    let etcd = Etcd::start();
    let store = etcd.store();
    // Beside the lock's own, below it, and among the marks of runs.
    for prefix in [
        "/leasehold/foreign/",
        "/leasehold/job/x-",
        "/leasehold/~run/job/x-",
    ] {
        store.put_many(prefix, KEYS / 2);
    }
    assert_eq!(store.keys("/leasehold/").len(), KEYS / 2 * 3);
    fault.injected("5,000 beside the lock, 5,000 below its own key, 5,000 among its marks");
    let holder = etcd.run("job").ttl(TTL_S).shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").ttl(TTL_S).shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    let peaks = [&holder, &waiter].map(peak_memory_of_the_manager);
    let holder = holder.wait();
    holder.assert_status(0);
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(0).assert_stdout("ran\n");
    let alone = etcd.run("job").shell("echo ran").output();
    alone.assert_status(0).assert_stdout("ran\n");
    ended_decently([&holder, &waiter, &alone]);
    assert!(alone.duration() < Duration::from_secs(2), "{alone:?}");
    assert!(peaks.iter().all(|peak| *peak < 64 << 10), "{peaks:?} KB");
    assert_eq!(
        store.keys("/leasehold/").len(),
        KEYS / 2 * 3,
        "theirs are left, ours are not"
    );
    fault.seen(format!(
        "holder and waiter as ever, an uncontended run took {}; managers used at most {} and {} MB",
        seconds(alone.duration()),
        peaks[0] >> 10,
        peaks[1] >> 10
    ));
}

/// The most memory it ever used, in KB.
fn peak_memory_of_the_manager(running: &Running) -> u64 {
    let processes = running.processes();
    let manager = processes
        .iter()
        .find(|process| name(process.pid) == "lock-manager");
    let pid = manager.expect("it runs").pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.expect("proc(5)").trim().trim_end_matches(" kB");
    peak.parse().expect("a number")
}

#[test]
fn a_restored_snapshot() {
    let mut fault = Fault::of("revisions go backwards: an older snapshot restored");
    let mut etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let snapshot = folder.path().join("snapshot");
    let token = |run: Run| -> i64 {
        let output = run.shell("echo $LEASEHOLD_TOKEN").output();
        output.assert_status(0);
        output.stdout.trim().parse().expect("a token")
    };
    token(etcd.run("job"));
    etcd.etcdctl(["snapshot", "save", snapshot.to_str().expect("readable")])
        .output()
        .assert_status(0);
    let cluster = etcd.store().cluster();
    for _ in 0..5 {
        token(etcd.run("job"));
    }
    let holder = etcd
        .run("job")
        .arguments(["--ttl", "20"])
        .probe(["tree", "daemon"])
        .spawn();
    holder.expect_stdout("ready");
    let tree = holder.command_processes();
    let before = etcd.store().entries("job")[0].create_revision;
    etcd.only().stop();
    etcd.only().restore(&snapshot);
    etcd.only().restart();
    let restored_at = Moment::now();
    assert_eq!(etcd.store().cluster(), cluster, "nobody can tell by its id");
    let revision = etcd.store().revision();
    assert!(revision < before, "{revision} should be before {before}");
    fault.injected(format!(
        "the store went back from revision {before} to {revision}, under the same cluster id"
    ));
    for process in &tree {
        process.wait_dead(Duration::from_secs(5));
    }
    let output = holder.wait_within(SOON);
    output.assert_lost().assert_nobody_left();
    ended_decently([&output]);
    let after = eventually("a run runs", SOON, || {
        let output = etcd.run("job").shell("echo $LEASEHOLD_TOKEN").output();
        match output.status.code() {
            Some(0) => output
                .stdout
                .trim()
                .parse::<i64>()
                .map_err(|error| error.to_string()),
            _ => Err(output.describe()),
        }
    });
    assert!(after < before, "{after} and {before}: tokens repeat");
    fault.seen(format!(
        "the holder, whose entry is in no snapshot, was killed {} later with 79; but the next token is {after} after \
         {before}: no lock can help that",
        seconds(output.ended_at.since(restored_at))
    ));
}
