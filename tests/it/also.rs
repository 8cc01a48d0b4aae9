//! Several locks at once: all or none, in one transaction, without deadlock.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::tempdir;

use crate::harness::eventually::{SOON, eventually};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Run, Running, binary};
use crate::harness::processes::Moment;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::together::in_threads;

fn status(etcd: &Service, name: &str) -> Value {
    let output = etcd.leasehold(["status", "--json", name]).output();
    output.assert_status(0).assert_silent();
    serde_json::from_str(&output.stdout).expect("one JSON object")
}

fn hold_both(etcd: &Service, options: &[&str]) -> Running {
    let holder = etcd
        .run("a")
        .arguments(["--also", "b"])
        .all_arguments(options)
        .shell("echo ready $LEASEHOLD_SEQUENCER; cat")
        .spawn();
    holder.expect_stdout("ready");
    holder
}

#[test]
fn all_are_put_at_one_revision_with_one_lease_and_one_token_and_given_back_together() {
    let etcd = Service::start();
    let show = "echo $LEASEHOLD_TOKEN $LEASEHOLD_LEASE; echo $LEASEHOLD_LOCK_NAME; echo $LEASEHOLD_LOCK_NAMES; \
                echo $LEASEHOLD_LOCK_KEY; echo $LEASEHOLD_SEQUENCER; echo $LEASEHOLD_ENCLOSING; cat";
    // One that is named twice counts once.
    let holder = etcd
        .run("deploy/app")
        .arguments([
            "--also",
            "db",
            "--also",
            "cache",
            "--also",
            "db",
            "--also",
            "deploy/app",
        ])
        .shell(show)
        .spawn();
    let cluster = format!("{:x}", etcd.store().cluster());
    let text = holder.expect_stdout(&format!("{cluster}:/leasehold/cache"));
    let lines: Vec<&str> = text.lines().collect();
    let (token, lease) = lines[0].split_once(' ').expect("two words");
    assert_eq!(lines[1], "deploy/app");
    assert_eq!(lines[2], "deploy/app,db,cache");
    assert_eq!(lines[3], format!("/leasehold/deploy/app/{lease}"));
    assert_eq!(
        lines[4],
        format!("1:{cluster}:exclusive:{token}:{lease}:deploy/app,db,cache")
    );
    let path = |name: &str| format!("{cluster}:/leasehold/{name}");
    let paths = ["deploy/app", "db", "cache"].map(path);
    assert_eq!(lines[5], paths.join(","));
    let store = etcd.store();
    for name in ["deploy/app", "db", "cache"] {
        let entries = store.entries(name);
        assert_eq!(entries.len(), 1, "{name}");
        assert_eq!(entries[0].create_revision.to_string(), token);
        assert_eq!(format!("{:x}", entries[0].lease), lease);
        let shown = status(&etcd, name);
        assert_eq!(shown["holder"]["state"], "held");
        assert_eq!(
            shown["holder"]["locks"],
            serde_json::json!(["deploy/app", "db", "cache"])
        );
    }
    holder.wait().assert_status(0);
    store.assert_clean();
}

#[test]
fn contenders_that_name_the_same_locks_in_every_order_never_wait_for_one_another_for_ever() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let inside = folder.path().join("inside");
    let orders = [
        ["a", "b", "c"],
        ["a", "c", "b"],
        ["b", "a", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["c", "b", "a"],
    ];
    // A folder can be made by one at a time.
    let script = format!("mkdir {0} && rmdir {0}", inside.display());
    in_threads(8, 0..72, |number: usize| {
        let order = orders[number % orders.len()];
        // Some want only two of them, so that the queues differ.
        let wanted = if number.is_multiple_of(4) { 2 } else { 3 };
        let run = order[1..wanted]
            .iter()
            .fold(etcd.run(order[0]), |run, name| {
                run.arguments(["--also", name])
            });
        let output = run.arguments(["-q"]).shell(&script).output();
        output.assert_status(0).assert_silent();
    });
    etcd.store().assert_clean();
}

#[test]
fn a_run_waits_for_any_of_them_and_says_for_which_and_the_others_are_reserved() {
    let etcd = Service::start();
    let busy = etcd.hold("b");
    let waiter = etcd
        .run("a")
        .arguments(["--also", "b"])
        .shell("echo ready; cat")
        .spawn();
    waiter.expect_stderr("waiting for b: 1st of 1, held by");
    let shown = status(&etcd, "a");
    assert_eq!(shown["held"], false);
    assert_eq!(shown["holder"], Value::Null);
    assert_eq!(shown["reserved"][0]["pid"], waiter.pid());
    assert_eq!(shown["reserved"][0]["state"], "reserved");
    assert_eq!(status(&etcd, "b")["waiters"][0]["pid"], waiter.pid());
    let people = etcd.leasehold(["status", "a"]).output();
    assert!(
        people.stdout.starts_with("a is reserved for "),
        "{}",
        people.describe()
    );
    assert!(
        people.stdout.contains("all of a, b"),
        "{}",
        people.describe()
    );
    etcd.leasehold(["status", "-q", "a"])
        .output()
        .assert_status(75);
    etcd.run("a")
        .arguments(["-n"])
        .shell("true")
        .output()
        .assert_status(75);
    // Whoever comes later for the reserved one waits: the order is one for all.
    let later = etcd.run("a").shell("echo ready").spawn();
    later.expect_stderr("waiting for a");
    busy.wait().assert_status(0);
    waiter.expect_stdout("ready");
    assert_eq!(status(&etcd, "a")["holder"]["state"], "held");
    waiter.wait().assert_status(0);
    later.wait().assert_status(0).assert_stdout("ready\n");
    etcd.store().assert_clean();
}

#[test]
fn whoever_must_not_wait_takes_all_or_nothing() {
    let etcd = Service::start();
    let store = etcd.store();
    let busy = etcd.hold("b");
    let output = etcd
        .run("a")
        .arguments(["--also", "b", "--also", "c", "-n"])
        .shell("echo ran")
        .output();
    output.assert_status(75).assert_stdout("");
    output.assert_stderr_has(["the lock is busy", "(lock b)"]);
    for name in ["a", "c"] {
        assert!(
            store.history(&format!("/leasehold/{name}/")).is_empty(),
            "{name}"
        );
    }
    let output = etcd
        .run("a")
        .arguments(["--also", "b", "-w", "0.3", "-E", "3"])
        .shell("echo ran")
        .output();
    output
        .assert_status(3)
        .assert_stdout("")
        .assert_stderr_has(["(lock b)"]);
    busy.wait().assert_status(0);
    let report = tempdir().expect("a folder");
    let report = report.path().join("report");
    etcd.run("a")
        .arguments(["--also", "b", "--also", "c", "-n"])
        .report(&report)
        .shell("echo ran")
        .output()
        .assert_status(0)
        .assert_stdout("ran\n");
    let report = std::fs::read_to_string(report).expect("written");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["locks"], serde_json::json!(["a", "b", "c"]));
    store.assert_clean();
}

#[test]
fn readers_and_slots_of_several_locks() {
    let etcd = Service::start();
    let first = hold_both(&etcd, &["-s"]);
    let second = hold_both(&etcd, &["-s", "-n"]);
    etcd.run("b")
        .arguments(["-n"])
        .shell("true")
        .output()
        .assert_status(75);
    let writer = etcd.run("b").shell("echo ready").spawn();
    writer.expect_stderr("waiting for b");
    first.wait().assert_status(0);
    second.wait().assert_status(0);
    writer.wait().assert_status(0);
    let slots = [(); 2].map(|()| hold_both(&etcd, &["--slots", "2"]));
    let third = etcd
        .run("b")
        .arguments(["--also", "a", "--slots", "2", "-n"])
        .shell("true")
        .output();
    third.assert_status(75).assert_stderr_has(["and one other"]);
    for holder in slots {
        holder.wait().assert_status(0);
    }
    etcd.store().assert_clean();
}

#[test]
fn the_loss_of_any_one_of_them_is_a_loss_and_the_rest_is_given_back() {
    let etcd = Service::start();
    let store = etcd.store();
    for lost in ["a", "b"] {
        let holder = etcd
            .run("a")
            .arguments(["--also", "b"])
            .shell("echo ready; sleep 60")
            .spawn();
        holder.expect_stdout("ready");
        let next = etcd
            .run(if lost == "a" { "b" } else { "a" })
            .shell("true")
            .spawn();
        let other = if lost == "a" { "b" } else { "a" };
        store.wait_for_entries(other, 2);
        store.delete(&store.entries(lost)[0].key);
        let output = holder.wait_within(SOON);
        output
            .assert_status(79)
            .assert_stderr_has(["lock lost", "key was deleted"]);
        output.assert_nobody_left();
        next.wait_within(SOON).assert_status(0);
        store.assert_clean();
    }
}

#[test]
fn one_key_of_a_set_is_deleted() {
    let mut fault = Fault::of("one key of a set of locks deleted");
    let etcd = Service::start();
    let store = etcd.store();
    for (lost, kept) in [("a", "b"), ("b", "a")] {
        let holder = etcd
            .run("a")
            .arguments(["--also", "b"])
            .probe(["tree", "daemon"])
            .spawn();
        holder.expect_stdout("ready");
        let tree = holder.command_processes();
        assert!(tree.len() > 1, "{} processes", tree.len());
        let successors = ["a", "b"].map(|name| {
            let next = etcd.run(name).probe(["census", holder.cookie()]).spawn();
            store.wait_for_entries(name, 2);
            next
        });
        let key = store.entries(lost)[0].key.clone();
        let lease = store.entries(kept)[0].lease;
        let lost_at = Moment::now();
        etcd.etcdctl(["del", &key])
            .output()
            .assert_status(0)
            .assert_stdout("1\n");
        fault.injected(format!(
            "etcdctl del {key}, with a waiter for each of a and b"
        ));
        // Whoever sees the other lock released finds nobody of the tree, at that moment.
        eventually("the other lock is released", SOON, || {
            let entries = store.entries(kept);
            match entries.iter().all(|entry| entry.lease != lease) {
                true => Ok(()),
                false => Err(format!("{entries:?}")),
            }
        });
        let alive = tree.iter().filter(|process| !process.is_dead()).count();
        assert_eq!(alive, 0, "{kept} is released, and the tree lives");
        let output = holder.wait_within(SOON);
        output
            .assert_status(79)
            .assert_stderr_has(["lock lost", "key was deleted"])
            .assert_nobody_left();
        Fault::ended_decently(&output);
        for next in successors {
            let next = next.wait_within(SOON);
            next.assert_status(0).assert_stdout("0 alive\n");
            Fault::ended_decently(&next);
        }
        store.assert_clean();
        fault.seen(format!(
            "79 {:?} later; both successors found nobody alive; nothing left",
            output.ended_at.since(lost_at)
        ));
    }
}

#[test]
fn a_fence_looks_at_every_key() {
    let etcd = Service::start();
    let store = etcd.store();
    let holder = hold_both(&etcd, &["--on-loss", "warn"]);
    let text = holder.expect_stdout("\n");
    let sequencer = text
        .trim()
        .strip_prefix("ready ")
        .expect("a sequencer")
        .to_owned();
    let check = || etcd.leasehold(["fence", "check", &sequencer]).output();
    let put = |value: &str| {
        etcd.leasehold(["fence", "put", "--sequencer", &sequencer, "app/key", value])
            .output()
    };
    check().assert_status(0);
    put("early").assert_status(0);
    store.delete(&store.entries("b")[0].key);
    holder.expect_stderr("lock lost");
    check().assert_status(79);
    put("late").assert_status(79);
    assert_eq!(store.keys("app/key")[0].value, b"early");
    holder.wait().assert_status(79);
    store.delete("app/key");
}

#[test]
fn a_run_inside_that_wants_one_of_them_is_refused() {
    let etcd = Service::start();
    let inner = format!("{} run x --also b -- true; echo $?", binary());
    let inner = inner.replace("run x --also b", "run --also b x");
    etcd.run("a")
        .arguments(["--also", "b"])
        .shell(&inner)
        .output()
        .assert_status(0)
        .assert_stdout("64\n")
        .assert_stderr_has(["/leasehold/b is held by an enclosing leasehold run"]);
    etcd.store().assert_clean();
}

#[test]
fn a_holder_of_several_that_vanishes_delays_the_next_of_each() {
    let etcd = Service::start();
    let holder = hold_both(&etcd, &["--ttl", "3", "--lock-delay", "2"]);
    holder.vanish();
    let store = etcd.store();
    let mut before = Moment::now();
    let gone_at = eventually("its lease expires", SOON, || {
        let looked_at = Moment::now();
        let entries = store.entries("b");
        if entries.is_empty() {
            return Ok(before);
        }
        before = looked_at;
        Err(format!("{entries:?}"))
    });
    let next = etcd
        .run("b")
        .arguments(["--also", "c"])
        .probe(["now"])
        .output();
    next.assert_status(0);
    let waited = Moment::parse(&next.stdout).since(gone_at);
    assert!(waited >= Duration::from_millis(1950), "{waited:?}");
    // Its delay ran on the other one meanwhile, but nobody had seen it there.
    etcd.run("a")
        .arguments(["-n"])
        .shell("true")
        .output()
        .assert_status(75);
    etcd.run("a").shell("true").output().assert_status(0);
    store.assert_clean();
}

#[test]
fn an_interrupted_waiter_leaves_none_of_them() {
    let etcd = Service::start();
    let busy = etcd.hold("b");
    let waiter = etcd
        .run("a")
        .arguments(["--also", "b"])
        .shell("true")
        .spawn();
    waiter.expect_stderr("waiting for b");
    waiter.signal(Signal::SIGINT);
    waiter.wait_within(SOON).assert_signal(2);
    assert!(etcd.store().entries("a").is_empty());
    assert_eq!(etcd.store().entries("b").len(), 1);
    busy.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn as_many_locks_as_one_transaction_takes_and_not_one_more() {
    let names: Vec<String> = (1..=32).map(|number| format!("n{number}")).collect();
    let with = |run: Run, names: &[String]| {
        names
            .iter()
            .fold(run, |run, name| run.arguments(["--also", name]))
    };
    let etcd = Service::start();
    let all = with(etcd.run("n0"), &names[..31])
        .arguments(["-n"])
        .shell("echo $LEASEHOLD_LOCK_NAMES")
        .output();
    all.assert_status(0);
    assert_eq!(all.stdout.split(',').count(), 32);
    etcd.store().assert_clean();
    let output = with(Run::new("127.0.0.1:1").lock("n0"), &names)
        .shell("echo ran")
        .output();
    output.assert_status(64).assert_stdout("");
    output.assert_stderr_has(["33 locks", "at most 32", "one transaction"]);
    let output = Run::new("127.0.0.1:1")
        .lock("a")
        .arguments(["--also", "b c"])
        .shell("true")
        .output();
    output.assert_status(64).assert_stderr_has(["b c"]);
}

in_a_folder_too![
    all_are_put_at_one_revision_with_one_lease_and_one_token_and_given_back_together,
    contenders_that_name_the_same_locks_in_every_order_never_wait_for_one_another_for_ever,
    a_run_waits_for_any_of_them_and_says_for_which_and_the_others_are_reserved,
    whoever_must_not_wait_takes_all_or_nothing,
    readers_and_slots_of_several_locks,
    the_loss_of_any_one_of_them_is_a_loss_and_the_rest_is_given_back,
    a_run_inside_that_wants_one_of_them_is_refused,
    a_holder_of_several_that_vanishes_delays_the_next_of_each,
    an_interrupted_waiter_leaves_none_of_them,
    as_many_locks_as_one_transaction_takes_and_not_one_more,
];
