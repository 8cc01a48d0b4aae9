//! Looking at locks and breaking them where users have roles: who may not is told what he may not.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::etcd::Etcd;
use crate::harness::leasehold::Output;
use crate::login::{PASSWORD, as_user, password_file, user, with_users};

#[track_caller]
fn assert_denied(output: &Output, keys: &str) {
    output.assert_status(77).assert_stdout("");
    output.assert_stderr_has(["permission", keys]);
}

#[test]
fn who_may_not_look_or_break_is_told_which_keys_he_may_not_read() {
    let etcd = with_users(Etcd::start());
    user(&etcd, "neighbour", &["/leasehold/other/"]);
    let folder = password_file(PASSWORD);
    let denied = |arguments: &[&str], keys: &str| {
        let run = etcd.leasehold([]).all_arguments(arguments);
        assert_denied(&as_user(run, "neighbour", folder.path()).output(), keys);
    };
    denied(&["list"], "/leasehold/");
    denied(&["history", "job"], "/leasehold/job/");
    denied(&["watch", "job"], "/leasehold/job/");
    denied(&["watch"], "/leasehold/");
    denied(&["break", "job", "--token", "1"], "/leasehold/job/");
    // Who may read only some of it does not get half an account.
    user(&etcd, "half", &["/leasehold/job/", "/leasehold/~run/job/"]);
    let half = as_user(etcd.leasehold(["history", "job"]), "half", folder.path());
    let output = half.output();
    assert_denied(
        &output,
        "must be allowed to read the keys below /leasehold/job/",
    );
}

#[test]
fn a_holder_who_may_not_be_asked_works_and_loses_the_lease_when_it_is_broken() {
    let etcd = with_users(Etcd::start());
    // A role of before there was a break.
    user(&etcd, "plain", &["/leasehold/job/", "/leasehold/~run/job/"]);
    user(&etcd, "ops", &["/leasehold/"]);
    let folder = password_file(PASSWORD);
    let holder = as_user(etcd.run("job").ttl(5), "plain", folder.path());
    let holder = holder.shell("echo ready; sleep 1000").spawn();
    holder.expect_stdout("ready");
    let token = etcd.store().entries("job")[0].create_revision.to_string();
    let breaking = etcd.leasehold(["break", "job", "--token", &token]);
    let broken = as_user(breaking, "ops", folder.path()).output();
    broken.assert_status(0);
    broken.assert_stderr_has(["waiting at most 5s for the answer"]);
    assert!(
        broken.stdout.contains("did not answer within its TTL"),
        "{broken:?}"
    );
    let ended = holder.wait();
    ended.assert_status(79).assert_nobody_left();
    ended.assert_stderr_has(["its lease is gone"]);
    assert!(etcd.store().entries("job").is_empty());
}

/// The names of all fields, at any depth.
fn fields(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| fields(value, names)),
        Value::Object(object) => {
            for (name, value) in object {
                names.insert(name.clone());
                // It is what --record writes, and not ours to describe here.
                if name != "last_run" {
                    fields(value, names);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_for_programs_is_documented() {
    let etcd = Etcd::start();
    let recorded = etcd.run("job").arguments(["--record"]).shell("true");
    recorded.output().assert_status(0);
    let holder = etcd.hold("job");
    let waiter = etcd.run("job").shell("true").spawn();
    etcd.store().wait_for_entries("job", 2);
    let watching = etcd.leasehold(["watch", "--json"]).spawn();
    watching.expect_stdout("\"queued\"");
    let mut names = BTreeSet::new();
    for arguments in [
        ["status", "--json", "job"],
        ["list", "--json", "job"],
        ["history", "--json", "job"],
    ] {
        let output = etcd.leasehold(arguments).output();
        fields(
            &serde_json::from_str(&output.stdout).expect("JSON"),
            &mut names,
        );
    }
    holder.wait().assert_status(0);
    waiter.wait().assert_status(0);
    watching.signal(nix::sys::signal::Signal::SIGTERM);
    for line in watching.wait().stdout.lines() {
        fields(&serde_json::from_str(line).expect("JSON"), &mut names);
    }
    let documented = std::fs::read_to_string("docs/operating.md").expect("readable");
    let missing: Vec<&String> = names
        .iter()
        .filter(|name| !documented.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty() && names.len() > 40,
        "{missing:?} of {names:?}"
    );
}
