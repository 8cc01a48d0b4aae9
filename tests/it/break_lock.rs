//! `leasehold break NAME --token N`: the lock is taken from whoever has it, and what it ran is dead before.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::tempdir;

use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::{Output, Run, Running};
use crate::harness::processes::Process;
use crate::harness::service::{Service, in_a_folder_too};

fn broken(etcd: &Service, name: &str, token: i64, options: &[&str]) -> Run {
    let run = etcd.leasehold(["break", name, "--token", &token.to_string()]);
    run.all_arguments(options)
}

/// Its token.
fn held(etcd: &Service, holder: &Running) -> i64 {
    holder.expect_stdout("ready");
    etcd.store().entries("job")[0].create_revision
}

/// A holder whose lease is soon gone where nobody renews it, and its token.
#[track_caller]
fn holds_with_a_short_ttl(etcd: &Service) -> (Running, i64) {
    let holder = etcd.run("job").ttl(5).shell("echo ready; sleep 1000");
    let holder = holder.spawn();
    let token = held(etcd, &holder);
    (holder, token)
}

/// Stops all of it, leasehold and command.
fn freeze(holder: &Running) -> Vec<Process> {
    let frozen = holder.processes();
    for process in &frozen {
        process.signal(Signal::SIGSTOP);
    }
    frozen
}

fn go_on(frozen: &[Process]) {
    for process in frozen {
        process.signal(Signal::SIGCONT);
    }
}

#[track_caller]
fn assert_done(output: &Output, text: &str) {
    output.assert_status(0);
    assert!(output.stdout.contains(text), "{}", output.describe());
}

/// Nothing of the lock is left but the request, which goes with its lease.
#[track_caller]
fn assert_free(etcd: &Service) {
    eventually("only a request is left", SOON, || {
        let keys = etcd.store().keys("/leasehold/");
        let left = keys
            .iter()
            .filter(|kv| !kv.key.starts_with("/leasehold/~break/") || kv.lease == 0);
        match left.count() {
            0 => Ok(()),
            _ => Err(format!("{keys:?}")),
        }
    });
}

#[test]
fn the_holder_is_asked_stops_and_says_who_broke_the_lock_and_why() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let report = folder.path().join("report");
    let holder = etcd.run("job").report(&report);
    // Stubborn, and with a child that has left home: it takes the grace and the kill.
    let holder = holder
        .arguments(["-k", "1"])
        .shell("trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000' & echo ready; sleep 1000; sleep 1000")
        .spawn();
    let token = held(&etcd, &holder);
    let waiter = etcd.run("job").shell("echo ran").spawn();
    etcd.store().wait_for_entries("job", 2);
    let output = broken(&etcd, "job", token, &["--reason", "stuck since noon"]).output();
    assert_done(&output, "stopped and gave the lock back");
    output.assert_stderr_has(["job: ", "was asked", "it answered, and stops within 2s"]);
    let ended = holder.wait();
    ended.assert_status(79).assert_nobody_left();
    ended.assert_stderr_has([
        "lock lost: it was broken by",
        "(\"stuck since noon\") with leasehold break",
    ]);
    let report: Value =
        serde_json::from_slice(&std::fs::read(report).expect("written")).expect("JSON");
    assert_eq!(
        (&report["outcome"], &report["loss"]),
        (&"lost".into(), &"broken".into())
    );
    // It was given back cleanly: nobody waits for a lock delay.
    waiter.wait().assert_status(0).assert_stdout("ran\n");
    etcd.store().assert_clean();
}

#[test]
fn a_waiter_is_taken_out_of_the_queue_and_its_command_not_run() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    let folder = tempdir().expect("a folder");
    let report = folder.path().join("report");
    let waiter = etcd.run("job").report(&report).shell("echo ran").spawn();
    let entries = etcd.store().wait_for_entries("job", 2);
    let output = broken(&etcd, "job", entries[1].create_revision, &[]).output();
    assert_done(&output, "stopped and gave its place back");
    let ended = waiter.wait();
    ended
        .assert_status(79)
        .assert_stdout("")
        .assert_nobody_left();
    ended.assert_stderr_has(["job: taken out of the queue by", "the command was not run"]);
    let report: Value =
        serde_json::from_slice(&std::fs::read(report).expect("written")).expect("JSON");
    assert_eq!(
        (&report["outcome"], &report["ran"]),
        (&"broken".into(), &false.into())
    );
    holder.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn a_token_that_is_nobodys_breaks_nothing_and_says_whose_it_is_now() {
    let etcd = Service::start();
    let output = broken(&etcd, "job", 4711, &[]).output();
    output.assert_status(79).assert_stdout("");
    output.assert_stderr_has([
        "nobody has the token 4711, and nothing was done",
        "job is free",
    ]);
    let holder = etcd.run("job").shell("echo ready; cat").spawn();
    let token = held(&etcd, &holder);
    let output = broken(&etcd, "job", token - 1, &["--force"]).output();
    output.assert_status(79).assert_stdout("");
    output.assert_stderr_has(["job is held", &format!("{token}")]);
    for wrong in [&["break", "job"][..], &["break", "job", "--token", "0"]] {
        let refused = etcd.leasehold([]).all_arguments(wrong).output();
        refused.assert_status(64);
    }
    holder.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn a_request_for_another_token_is_ignored() {
    let etcd = Service::start();
    let holder = etcd.run("job").shell("echo ready; cat").spawn();
    let token = held(&etcd, &holder);
    let store = etcd.store();
    store.put(&format!("/leasehold/~break/job/{}", token - 1), "{}");
    store.put(&format!("/leasehold/~break/other/{token}"), "{}");
    // One for it that says nothing we understand is a request all the same.
    let waiter = etcd.run("job").shell("echo ran").spawn();
    let entries = store.wait_for_entries("job", 2);
    let other = entries[1].create_revision;
    store.put(&format!("/leasehold/~break/job/{other}"), "\u{1b}[2J");
    let ended = waiter.wait();
    ended
        .assert_status(79)
        .assert_stderr_has(["somebody unknown"]);
    holder.wait().assert_status(0);
}

#[test]
fn who_does_not_answer_within_the_ttl_loses_the_lease() {
    let etcd = Service::start();
    let (holder, token) = holds_with_a_short_ttl(&etcd);
    // Somebody else renews it, so that nothing but the revocation frees it.
    let store = etcd.store();
    let lease = store.entries("job")[0].lease;
    let frozen = freeze(&holder);
    let mut renewing = store.keep_alive(lease);
    let breaking = broken(&etcd, "job", token, &[]).spawn();
    breaking.expect_stderr("was asked");
    for _ in 0..2 {
        renewing.send();
        renewing.answer(SOON).expect("renewed");
    }
    let output = breaking.wait();
    assert_done(
        &output,
        "did not answer within its TTL, so its lease was revoked",
    );
    assert!(output.duration() >= Duration::from_secs(5), "{output:?}");
    assert!(store.entries("job").is_empty());
    go_on(&frozen);
    let ended = holder.wait();
    ended.assert_status(79).assert_nobody_left();
}

#[test]
fn whoever_asks_a_second_time_is_answered_too() {
    let etcd = Service::start();
    let holder = etcd.run("job").ttl(9).arguments(["-k", "2"]);
    // It does not end by TERM; so it takes the whole grace, and both ask meanwhile.
    let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let holder = holder.shell(script).spawn();
    let token = held(&etcd, &holder);
    let first = broken(&etcd, "job", token, &[]).spawn();
    first.expect_stderr("it answered");
    let second = broken(&etcd, "job", token, &["--reason", "again"]).spawn();
    second.expect_stderr("it answered");
    for breaking in [first, second] {
        assert_done(&breaking.wait(), "stopped and gave the lock back");
    }
    holder.wait().assert_status(79).assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn one_that_is_frozen_or_dead_vanishes_and_that_is_no_answer() {
    let etcd = Service::start();
    let (holder, token) = holds_with_a_short_ttl(&etcd);
    let frozen = freeze(&holder);
    // Some time ago, so that its lease ends before the time for an answer does.
    let lease = etcd.store().entries("job")[0].lease;
    eventually("its lease is not renewed", SOON, || {
        match etcd.store().time_to_live(lease) {
            (_, ..=2) => Ok(()),
            times => Err(format!("{times:?}")),
        }
    });
    let output = broken(&etcd, "job", token, &[]).output();
    assert_done(&output, "vanished before it had stopped: its lease ended");
    go_on(&frozen);
    holder.wait().assert_status(79).assert_nobody_left();
}

#[test]
fn one_that_ends_meanwhile_and_is_kept_by_hold_min_is_freed_all_the_same() {
    let etcd = Service::start();
    let store = etcd.store();
    let entry = |until: &str| {
        format!(
            r#"{{"v":1,"limit":1,"host":"h","user":"u","pid":1,"program":"p","queued":"2026-01-01T00:00:00Z"{until},"lock_delay_ms":0}}"#
        )
    };
    let (first, second) = (
        store.grant(Duration::from_secs(60)),
        store.grant(Duration::from_secs(600)),
    );
    store.put_leased("/leasehold/job/1f", entry(""), first);
    let token = store.entries("job")[0].create_revision;
    let breaking = broken(&etcd, "job", token, &[]).spawn();
    breaking.expect_stderr("was asked");
    // The hand-over: the same key on another lease.
    let kept = r#","held_until":"2026-01-01T00:10:00Z""#;
    store.put_leased("/leasehold/job/1f", entry(kept), second);
    store.revoke(first);
    assert_done(&breaking.wait(), "its time of --hold-min was ended");
    store.assert_clean();
}

#[test]
fn force_revokes_at_once_and_says_what_goes_with_it() {
    let etcd = Service::start();
    let holder = etcd.run("job").arguments(["--also", "other"]);
    let holder = holder.shell("echo ready; sleep 1000").spawn();
    let token = held(&etcd, &holder);
    let options = ["--force", "--reason", "deadlock"];
    let output = broken(&etcd, "job", token, &options).output();
    assert_done(&output, "its lease was revoked without asking");
    assert!(
        output
            .stdout
            .contains("with the lease went /leasehold/other/"),
        "{output:?}"
    );
    output.assert_silent();
    let ended = holder.wait();
    ended.assert_status(79).assert_nobody_left();
    // It may hear first that its lease is gone, but says who it was all the same.
    ended.assert_stderr_has(["it was broken by", "(\"deadlock\")"]);
    assert_free(&etcd);
}

#[test]
fn a_holder_of_several_locks_is_asked_under_any_of_their_names() {
    let etcd = Service::start();
    let holder = etcd
        .run("job")
        .arguments(["--also", "other", "--on-loss", "warn"]);
    let holder = holder.shell("echo ready; sleep 1000").spawn();
    let token = held(&etcd, &holder);
    let output = broken(&etcd, "other", token, &[]).output();
    assert_done(&output, "other: ");
    // Also with --on-loss warn: this lock was not lost, it was asked for.
    holder.wait().assert_status(79).assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn what_hold_min_keeps_is_freed_at_once() {
    let etcd = Service::start();
    let run = etcd.run("job").arguments(["-n", "--hold-min", "60"]);
    run.shell("true").output().assert_status(0);
    let token = etcd.store().entries("job")[0].create_revision;
    let output = broken(&etcd, "job", token, &[]).output();
    assert_done(&output, "its time of --hold-min was ended");
    etcd.store().assert_clean();
}

#[test]
fn leftovers_are_stopped_and_the_commands_own_status_stays() {
    let etcd = Service::start();
    let holder = etcd
        .run("job")
        .shell("setsid sleep 1000 & echo ready; exit 3")
        .spawn();
    let token = held(&etcd, &holder);
    holder.expect_stderr("run on");
    assert_done(
        &broken(&etcd, "job", token, &[]).output(),
        "gave the lock back",
    );
    holder.wait().assert_status(3).assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn what_is_not_leaseholds_is_touched_only_with_force() {
    let etcd = Service::start();
    let store = etcd.store();
    let foreign = etcd
        .etcdctl([
            "lock",
            "/leasehold/job",
            "--",
            "sh",
            "-c",
            "echo ready; sleep 1000",
        ])
        .spawn();
    foreign.expect_stdout("ready");
    let token = store.entries("job")[0].create_revision;
    let refused = broken(&etcd, "job", token, &[]).output();
    refused.assert_status(75).assert_stdout("");
    refused.assert_stderr_has(["cannot be asked, and nothing was done", "--force"]);
    assert_eq!(store.entries("job").len(), 1);
    let forced = broken(&etcd, "job", token, &["--force"]).output();
    assert_done(&forced, "nobody stops what it runs");
    assert!(store.entries("job").is_empty());
    foreign.vanish();
    // And one that hangs on no lease, which would stay for ever.
    store.put("/leasehold/job/1f", "");
    let token = store.entries("job")[0].create_revision;
    broken(&etcd, "job", token, &[]).output().assert_status(75);
    assert_done(
        &broken(&etcd, "job", token, &["--force"]).output(),
        "taken away",
    );
    store.assert_clean();
}

#[test]
fn somebody_who_changes_his_mind_leaves_nothing_for_long() {
    let etcd = Service::start();
    let (holder, token) = holds_with_a_short_ttl(&etcd);
    let frozen = freeze(&holder);
    let breaking = broken(&etcd, "job", token, &[]).spawn();
    breaking.expect_stderr("was asked");
    breaking.signal(Signal::SIGINT);
    breaking.wait().assert_signal(Signal::SIGINT as i32);
    let requests = etcd.store().keys("/leasehold/~break/");
    let [request] = &requests[..] else {
        panic!("{requests:?}");
    };
    let (granted, _) = etcd.store().time_to_live(request.lease);
    assert_eq!(granted, 40);
    go_on(&frozen);
    // It was asked all the same.
    holder.wait().assert_status(79).assert_nobody_left();
    eventually("the lock is free", SOON, || {
        match etcd.store().entries("job").len() {
            0 => Ok(()),
            count => Err(format!("{count}")),
        }
    });
}

in_a_folder_too![
    the_holder_is_asked_stops_and_says_who_broke_the_lock_and_why,
    a_waiter_is_taken_out_of_the_queue_and_its_command_not_run,
    a_token_that_is_nobodys_breaks_nothing_and_says_whose_it_is_now,
    a_request_for_another_token_is_ignored,
    whoever_asks_a_second_time_is_answered_too,
    force_revokes_at_once_and_says_what_goes_with_it,
    a_holder_of_several_locks_is_asked_under_any_of_their_names,
    what_hold_min_keeps_is_freed_at_once,
    leftovers_are_stopped_and_the_commands_own_status_stays,
];
