//! `leasehold status NAME`: who holds the lock, who waits, how long the lease still lives.

use serde_json::Value;

use crate::harness::etcd::Etcd;
use crate::harness::leasehold::Run;

#[test]
fn a_free_lock_is_free() {
    let etcd = Etcd::start();
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
    assert_eq!(status["held"], false);
    assert_eq!(status["holder"], Value::Null);
    assert_eq!(status["waiters"], Value::Array(Vec::new()));
    assert_eq!(status["vanished"], 0);
    assert_eq!(status["cluster"], format!("{:x}", etcd.store().cluster()));
}

#[test]
fn holder_and_waiters_are_shown_to_people_and_to_programs() {
    let etcd = Etcd::start();
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
    assert_eq!(people.stdout.lines().count(), 2, "{}", people.describe());
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
    let etcd = Etcd::start();
    etcd.store().put("/leasehold/job/1f", "somebody");
    let status = json(&etcd);
    assert_eq!(status["held"], true);
    assert_eq!(status["holder"]["key"], "/leasehold/job/1f");
    assert_eq!(status["holder"]["lease"], Value::Null);
    assert_eq!(status["holder"]["host"], Value::Null);
    let people = etcd.leasehold(["status", "job"]).output();
    people.assert_status(0);
    assert!(people.stdout.contains("no lease"), "{}", people.describe());
}

#[test]
fn status_ends_as_run_does_for_wrong_usage_and_without_etcd() {
    let mut etcd = Etcd::start();
    etcd.leasehold(["status", "a b"]).output().assert_status(64);
    etcd.leasehold(["status"]).output().assert_status(64);
    etcd.only().stop();
    etcd.leasehold(["status", "--connect-timeout", "0.5", "job"])
        .output()
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has([&etcd.members[0].endpoint()]);
}

#[test]
fn status_changes_nothing() {
    let etcd = Etcd::start();
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
    let etcd = Etcd::start();
    Run::program("sh")
        .variable("LEASEHOLD_ENDPOINTS", &etcd.endpoints())
        .arguments([
            "-c",
            &format!("{} | true", etcd.leasehold(["status", "job"]).typed()),
        ])
        .output()
        .assert_status(0)
        .assert_silent();
}

fn json(etcd: &Etcd) -> Value {
    let output = etcd.leasehold(["status", "--json", "job"]).output();
    output.assert_status(0).assert_silent();
    serde_json::from_str(&output.stdout).expect("one JSON object")
}
