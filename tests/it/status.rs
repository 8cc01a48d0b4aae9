//! `leasehold status NAME`: who holds the lock, who waits, how long the lease still lives.

use serde_json::Value;

use crate::harness::leasehold::Run;
use crate::harness::service::{Service, in_a_folder_too};

#[test]
fn a_free_lock_is_free() {
    let etcd = Service::start();
    etcd.leasehold(["status", "job"])
        .output()
        .assert_status(0)
        .assert_stdout("job is free\n")
        .assert_silent();
    etcd.leasehold(["status", "-q", "job"])
        .output()
        .assert_status(0)
        .assert_stdout("");
    let status = json(&etcd);
    assert_eq!(status["version"], 1);
    assert_eq!(status["lock"], "job");
    assert_eq!(
        (&status["held"], &status["free"]),
        (&false.into(), &true.into())
    );
    assert_eq!(status["holder"], Value::Null);
    assert_eq!(status["waiters"], Value::Array(Vec::new()));
    assert_eq!(status["vanished"], 0);
    assert_eq!(status["cluster"], format!("{:x}", etcd.store().cluster()));
}

#[test]
fn holder_and_waiters_are_shown_to_people_and_to_programs() {
    let etcd = Service::start();
    let store = etcd.store();
    let holder = etcd
        .run("job")
        .ttl(30)
        .arguments(["--reason", "release 4.2"])
        .shell("echo ready; cat # --password=secret")
        .spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").shell("true").spawn();
    let entries = store.wait_for_entries("job", 2);

    let status = json(&etcd);
    assert_eq!(status["held"], true);
    let shown = &status["holder"];
    assert_eq!(shown["key"], entries[0].key.as_str());
    assert_eq!(shown["token"], entries[0].create_revision);
    assert_eq!(shown["lease"], format!("{:x}", entries[0].lease));
    assert_eq!(shown["pid"], holder.pid());
    assert_eq!(shown["program"], "sh");
    assert_eq!(shown["reason"], "release 4.2");
    assert_eq!(shown["limit"], 1);
    let remaining = shown["remaining_s"].as_f64().expect("a number");
    assert!((15.0..=30.0).contains(&remaining), "{remaining}");
    let host = nix::unistd::gethostname().expect("a host name");
    assert_eq!(shown["host"], host.to_string_lossy().as_ref());
    let waiters = status["waiters"].as_array().expect("a list");
    assert_eq!(waiters.len(), 1);
    assert_eq!(waiters[0]["key"], entries[1].key.as_str());
    assert_eq!(waiters[0]["pid"], waiter.pid());

    let people = etcd.leasehold(["status", "job"]).output();
    people.assert_status(0);
    for text in [
        "job is held by",
        "release 4.2",
        &entries[0].create_revision.to_string(),
    ] {
        assert!(
            people.stdout.contains(text),
            "{text}: {}",
            people.describe()
        );
    }
    assert_aligned(&people.stdout);
    etcd.leasehold(["status", "-q", "job"])
        .output()
        .assert_status(75)
        .assert_stdout("");
    // Arguments may hold secrets.
    for entry in store.keys("/leasehold/") {
        assert!(
            !String::from_utf8_lossy(&entry.value).contains("secret"),
            "{entry:?}"
        );
    }
    holder.wait().assert_status(0);
    waiter.wait().assert_status(0);
}

#[test]
fn an_entry_that_is_not_ours_is_shown_as_far_as_it_is_known() {
    let etcd = Service::start();
    etcd.store().put("/leasehold/job/1f", "somebody");
    let status = json(&etcd);
    assert_eq!(status["held"], true);
    assert_eq!(status["holder"]["key"], "/leasehold/job/1f");
    assert_eq!(status["holder"]["lease"], Value::Null);
    assert_eq!(status["holder"]["host"], Value::Null);
    let people = etcd.leasehold(["status", "job"]).output();
    people.assert_status(0);
    assert!(
        people.stdout.contains("none: stays until"),
        "{}",
        people.describe()
    );
}

#[test]
fn a_crowd_of_holders_is_counted_as_holders() {
    let etcd = Service::start();
    let store = etcd.store();
    let value = r#"{"v":1,"limit":"unlimited","host":"h","user":"u","pid":1,"program":"p","queued":"","lock_delay_ms":0}"#;
    for number in 0..25 {
        let keys = [
            format!("/leasehold/job/1{number:x}"),
            format!("/leasehold/~run/job/1{number:x}"),
        ];
        store.put_both([&keys[0], &keys[1]], value);
    }
    store.put("/leasehold/job/ff", "");
    let people = etcd.leasehold(["status", "job"]).output();
    let first = people.stdout.lines().next().expect("a line").to_owned();
    assert_eq!(first, "job is held by 25 who share it, 1 waits");
    assert_eq!(json(&etcd)["free"], false);
}

#[test]
fn status_ends_as_run_does_for_wrong_usage_and_without_etcd() {
    let mut etcd = Service::start();
    etcd.leasehold(["status", "a b"]).output().assert_status(64);
    etcd.leasehold(["status", "-q"]).output().assert_status(64);
    etcd.only().stop();
    etcd.leasehold(["status", "--connect-timeout", "0.5", "job"])
        .output()
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has([&etcd.members[0].endpoint()]);
}

#[test]
fn status_changes_nothing() {
    let etcd = Service::start();
    let store = etcd.store();
    store.put(
        "/leasehold/~run/job/1f",
        "a marker of a holder that vanished",
    );
    let status = json(&etcd);
    assert_eq!(status["vanished"], 1);
    assert_eq!(status["held"], false);
    assert_eq!(store.keys("/leasehold/").len(), 1);
    assert!(store.leases().is_empty());
}

#[test]
fn a_reader_that_closes_early_is_no_panic() {
    let etcd = Service::start();
    Run::program("sh")
        .variable(etcd.variable().0, &etcd.variable().1)
        .arguments([
            "-c",
            &format!("{} | true", etcd.leasehold(["status", "job"]).typed()),
        ])
        .output()
        .assert_status(0)
        .assert_silent();
}

fn json(etcd: &Service) -> Value {
    let output = etcd.leasehold(["status", "--json", "job"]).output();
    output.assert_status(0).assert_silent();
    serde_json::from_str(&output.stdout).expect("one JSON object")
}

/// A table stands behind the sentence, and every column begins where its head does.
#[track_caller]
fn assert_aligned(shown: &str) {
    let table: Vec<&str> = shown.lines().skip(2).collect();
    let [heads, first, second] = table[..] else {
        panic!("{shown}");
    };
    for head in ["WHO", "FOR", "PROGRAM", "PID", "TOKEN", "LEASE"] {
        let column = heads.find(head).expect(head);
        for row in [first, second] {
            assert_eq!(row.as_bytes()[column - 1], b' ', "{head}: {shown}");
            assert_ne!(row.as_bytes()[column], b' ', "{head}: {shown}");
        }
    }
    assert!(
        first.starts_with("holds it") && second.starts_with("1."),
        "{shown}"
    );
}

in_a_folder_too![
    a_free_lock_is_free,
    an_entry_that_is_not_ours_is_shown_as_far_as_it_is_known,
    status_changes_nothing,
    a_reader_that_closes_early_is_no_panic,
];
