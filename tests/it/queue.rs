//! The queue: first come, first served; tokens that grow; waiters that leave nothing behind.

use std::collections::HashSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::tempdir;

use crate::harness::etcd::free_port;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::fault::Fault;
use crate::harness::leasehold::Run;
use crate::harness::processes::Moment;
use crate::harness::proxy::Proxy;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::store::Stored;
use crate::harness::together::in_threads;

#[test]
fn who_comes_first_is_served_first() {
    let etcd = Service::start();
    let store = etcd.store();
    let folder = tempdir().expect("a folder");
    let log = folder.path().join("log");
    let log = log.to_str().expect("readable");
    let holder = etcd.hold("job");
    let mut waiters = Vec::new();
    for number in 1..=5 {
        let script = format!("echo {number} >>{log}");
        waiters.push(etcd.run("job").shell(&script).spawn());
        store.wait_for_entries("job", number + 1);
    }
    holder.wait().assert_status(0);
    for waiter in waiters {
        waiter.wait().assert_status(0);
    }
    assert_eq!(
        std::fs::read_to_string(log).expect("written"),
        "1\n2\n3\n4\n5\n"
    );
    store.assert_clean();
}

#[test]
fn two_hundred_acquisitions_by_eight_contenders_never_overlap_and_their_tokens_grow() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let log = folder.path().join("log");
    let log = log.to_str().expect("readable");
    in_threads(8, 0..200, |_| {
        etcd.run("job")
            .arguments(["-q"])
            .probe(["witness", log])
            .output()
            .assert_status(0)
            .assert_silent();
    });
    let log = std::fs::read_to_string(log).expect("written");
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 200);
    let token = |line: &[&str]| line[0].parse::<i64>().expect("a token");
    let read_revision = |line: &[&str]| line[2].parse::<i64>().expect("a revision");
    for pair in lines.windows(2) {
        assert!(token(&pair[0]) < token(&pair[1]), "{pair:?}");
        assert!(
            read_revision(&pair[0]) < read_revision(&pair[1]),
            "{pair:?}"
        );
    }
    let history = etcd.store().history("/leasehold/job/");
    for line in &lines {
        assert_eq!(history.get(line[1]), Some(&token(line)), "{line:?}");
        assert!(read_revision(line) >= token(line), "{line:?}");
    }
    let keys: HashSet<&str> = lines.iter().map(|line| line[1]).collect();
    assert_eq!(keys.len(), 200, "every acquisition has a key of its own");
    etcd.store().assert_clean();
}

#[test]
fn a_nested_run_exports_the_inner_token() {
    let etcd = Service::start();
    let show = "echo $LEASEHOLD_LOCK_NAME $LEASEHOLD_TOKEN $LEASEHOLD_LOCK_KEY $ETCD_LOCK_KEY";
    let inner = etcd.run("inner").shell(show).typed();
    let inner = inner.replace(&format!("-- sh -c {show}"), &format!("-- sh -c '{show}'"));
    let output = etcd
        .run("outer")
        .shell(&format!("{show}; {inner}"))
        .output();
    output.assert_status(0).assert_silent();
    let history = etcd.store().history("/leasehold/");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", output.describe());
    for (line, name) in lines.iter().zip(["outer", "inner"]) {
        let words: Vec<&str> = line.split(' ').collect();
        let [lock, token, key, etcd_key] = words[..] else {
            panic!("{line}");
        };
        assert_eq!(lock, name);
        assert!(key.starts_with(&format!("/leasehold/{name}/")), "{line}");
        assert_eq!(key, etcd_key);
        assert_eq!(history[key].to_string(), token);
    }
    etcd.store().assert_clean();
}

#[test]
fn an_interrupted_waiter_leaves_nothing_behind() {
    let etcd = Service::start();
    let store = etcd.store();
    let holder = etcd.hold("job");
    let before: Vec<String> = keys(&etcd);
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        let waiter = etcd.run("job").shell("echo ran").spawn();
        store.wait_for_entries("job", 2);
        waiter.signal(signal);
        waiter
            .wait_within(SOON)
            .assert_signal(signal as i32)
            .assert_stdout("")
            .assert_nobody_left();
        assert_eq!(keys(&etcd), before, "{signal}");
        eventually("only the holder's lease is left", SOON, || {
            match store.leases().len() {
                1 => Ok(()),
                count => Err(format!("{count} leases")),
            }
        });
    }
    holder.wait().assert_status(0);
    store.assert_clean();
}

#[test]
fn a_run_that_is_interrupted_while_it_gets_its_place_leaves_nothing_behind() {
    let etcd = Service::start();
    let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
    // Its place is there, and it does not know it.
    proxy.delay(Duration::from_millis(100));
    let run = Run::new(&proxy.endpoint()).arguments(["run", "job"]);
    let running = run.command(["true"]).spawn();
    etcd.store().wait_for_entries("job", 1);
    running.signal(Signal::SIGINT);
    let output = running.wait();
    output.assert_signal(2).assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn an_impatient_run_never_stands_in_the_queue() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    for option in ["-n", "-w0"] {
        etcd.run("job")
            .arguments([option])
            .shell("true")
            .output()
            .assert_status(75);
    }
    assert_eq!(etcd.store().history("/leasehold/job/").len(), 1);
    holder.wait().assert_status(0);
    for option in ["-n", "-w0", "-w5"] {
        etcd.run("job")
            .arguments([option])
            .shell("echo ran")
            .output()
            .assert_status(0)
            .assert_stdout("ran\n")
            .assert_silent();
    }
    etcd.store().assert_clean();
}

#[test]
fn a_bounded_wait_ends_in_time_and_leaves_nothing_behind() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    let before = keys(&etcd);
    let output = etcd
        .run("job")
        .arguments(["-w", "1"])
        .shell("echo ran")
        .output();
    output
        .assert_status(75)
        .assert_stdout("")
        .assert_stderr_has(["busy"]);
    assert!(output.duration() >= Duration::from_secs(1));
    assert!(output.duration() < Duration::from_secs(4), "{output:?}");
    assert_eq!(keys(&etcd), before);
    drop(holder);
}

#[test]
fn a_bounded_wait_gets_the_lock_when_it_becomes_free() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    let waiter = etcd
        .run("job")
        .arguments(["-w", "30s"])
        .shell("echo ran")
        .spawn();
    waiter.expect_stderr("waiting for job");
    let freed_at = Moment::now();
    holder.wait().assert_status(0);
    let output = waiter.wait();
    output.assert_status(0).assert_stdout("ran\n");
    // It is told; it does not find out at its next reading.
    assert!(output.ended_at.since(freed_at) < Duration::from_secs(1));
}

#[test]
fn a_waiter_says_who_holds_the_lock() {
    let etcd = Service::start();
    let holder = etcd
        .run("job")
        .arguments(["--reason", "release 4.2"])
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").shell("true").spawn();
    waiter.expect_stderr("\n");
    holder.wait().assert_status(0);
    let host = nix::unistd::gethostname().expect("a host name");
    waiter.wait().assert_status(0).assert_stderr_has([
        "waiting for job: 1st of 1, held by ",
        &host.to_string_lossy(),
        "\"release 4.2\"",
    ]);
}

#[test]
fn a_quiet_waiter_says_nothing() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    let waiter = etcd.run("job").arguments(["-q"]).shell("true").spawn();
    etcd.store().wait_for_entries("job", 2);
    holder.wait().assert_status(0);
    waiter.wait().assert_status(0).assert_silent();
    let _holder = etcd.hold("job");
    etcd.run("job")
        .arguments(["-q", "-n"])
        .shell("true")
        .output()
        .assert_status(75)
        .assert_silent();
}

#[test]
fn a_chosen_skip_is_silent_so_that_cron_sends_no_mail() {
    let etcd = Service::start();
    let _holder = etcd.hold("job");
    etcd.run("job")
        .arguments(["-n", "-E", "0"])
        .shell("true")
        .output()
        .assert_status(0)
        .assert_silent();
    etcd.run("job")
        .arguments(["-n", "-E", "0", "-v"])
        .shell("true")
        .output()
        .assert_status(0)
        .assert_stderr_has(["busy"]);
}

#[test]
fn a_waiter_that_loses_its_lease_or_its_key_queues_again_and_says_so() {
    let mut fault = Fault::of("waiter's lease revoked, its key deleted");
    let etcd = Service::start();
    let store = etcd.store();
    let holder = etcd.hold("job");
    let waiter = etcd.run("job").shell("echo ran $LEASEHOLD_TOKEN").spawn();
    let first = store.wait_for_entries("job", 2)[1].clone();
    store.revoke(first.lease);
    let second = wait_for_another_entry(&etcd, &first);
    store.delete(&second.key);
    let third = wait_for_another_entry(&etcd, &second);
    assert_ne!(first.create_revision, third.create_revision);
    holder.wait().assert_status(0);
    let output = waiter.wait();
    output
        .assert_status(0)
        .assert_stderr_has(["queueing again"]);
    let token = store.history("/leasehold/job/")[&third.key];
    output.assert_stdout(&format!("ran {token}\n"));
    store.assert_clean();
    fault.injected("its lease revoked, then its new key deleted: a new entry came each time");
    fault.seen("it said 'queueing again' and ran with the token of its third entry; nothing left");
}

#[test]
fn lock_a_is_not_lock_a_b() {
    let etcd = Service::start();
    let _deeper = etcd.hold("a/b");
    etcd.run("a")
        .arguments(["-n"])
        .shell("echo ran")
        .output()
        .assert_status(0)
        .assert_stdout("ran\n");
}

#[test]
fn another_prefix_is_another_lock() {
    let etcd = Service::start();
    let _holder = etcd.hold("job");
    etcd.run("job")
        .arguments(["-n", "--prefix", "/other/"])
        .shell("echo $LEASEHOLD_LOCK_KEY")
        .output()
        .assert_status(0);
    assert_eq!(etcd.store().history("/other/job/").len(), 1);
    assert!(etcd.store().keys("/other/").is_empty());
}

fn keys(etcd: &Service) -> Vec<String> {
    let keys = etcd.store().keys("/leasehold/");
    keys.into_iter().map(|stored| stored.key).collect()
}

fn wait_for_another_entry(etcd: &Service, old: &Stored) -> Stored {
    let store = etcd.store();
    eventually("the waiter has a new entry", SOON, || {
        let entries = store.entries("job");
        match &entries[..] {
            [_, waiter] if waiter.create_revision != old.create_revision => Ok(waiter.clone()),
            _ => Err(format!("{entries:?}")),
        }
    })
}

in_a_folder_too![
    who_comes_first_is_served_first,
    two_hundred_acquisitions_by_eight_contenders_never_overlap_and_their_tokens_grow,
    a_nested_run_exports_the_inner_token,
    an_interrupted_waiter_leaves_nothing_behind,
    an_impatient_run_never_stands_in_the_queue,
    a_bounded_wait_ends_in_time_and_leaves_nothing_behind,
    a_bounded_wait_gets_the_lock_when_it_becomes_free,
    a_waiter_says_who_holds_the_lock,
    a_quiet_waiter_says_nothing,
    a_chosen_skip_is_silent_so_that_cron_sends_no_mail,
    a_waiter_that_loses_its_lease_or_its_key_queues_again_and_says_so,
    lock_a_is_not_lock_a_b,
    another_prefix_is_another_lock,
];
