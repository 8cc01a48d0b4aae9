//! `--hold-min`: the lock outlives the command, and leasehold.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::tempdir;

use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Output, Run};
use crate::harness::processes::Moment;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::together::in_threads;

fn status(etcd: &Service, name: &str) -> Value {
    let output = etcd.leasehold(["status", "--json", name]).output();
    output.assert_status(0).assert_silent();
    serde_json::from_str(&output.stdout).expect("one JSON object")
}

/// Runs it at once or not at all.
#[track_caller]
fn at_once(etcd: &Service, options: &[&str], script: &str) -> Output {
    let run = etcd.run("job").arguments(["-n"]).all_arguments(options);
    run.shell(script).output()
}

#[test]
fn the_status_comes_at_once_and_the_lock_stays_without_a_process_of_ours() {
    let etcd = Service::start();
    let output = at_once(&etcd, &["--hold-min", "4", "--reason", "why"], "exit 3");
    output.assert_status(3).assert_silent().assert_nobody_left();
    assert!(output.duration() < Duration::from_secs(2), "{output:?}");
    let shown = status(&etcd, "job");
    let holder = &shown["holder"];
    assert_eq!(holder["state"], "held", "{shown}");
    let until = holder["held_until"].as_str().expect("an instant");
    let people = etcd.leasehold(["status", "job"]).output();
    let kept = format!("kept until {until} by --hold-min");
    assert!(people.stdout.contains(&kept), "{}", people.stdout);
    // The first lease is gone, and the second one is as long as what was left.
    let store = etcd.store();
    let entry = &store.entries("job")[0];
    eventually("one lease is left", SOON, || match &store.leases()[..] {
        [only] if *only == entry.lease => Ok(()),
        leases => Err(format!("{leases:x?}")),
    });
    let (granted, _) = store.time_to_live(entry.lease);
    assert!((3..=4).contains(&granted), "{granted}");
    assert_eq!(store.markers("job")[0].lease, entry.lease);
    let busy = at_once(&etcd, &["--hold-min", "4"], "true");
    busy.assert_status(75).assert_stderr_has([&kept]);
    // Whoever waits gets it when the time is over, and without a lock delay: nobody has vanished.
    let next = etcd.run("job").probe(["now"]).output();
    next.assert_status(0);
    let held = Moment::parse(&next.stdout).since(output.started_at);
    assert!(held >= Duration::from_secs(4), "{held:?}");
    assert!(held < Duration::from_secs(8), "{held:?}");
    store.assert_clean();
}

#[test]
fn every_lock_of_several_stays_in_every_mode_and_with_its_limit() {
    let etcd = Service::start();
    for mode in [&["-x"][..], &["-s"], &["--slots", "2"]] {
        let options = [mode, &["--also", "other", "--hold-min", "3"]].concat();
        at_once(&etcd, &options, "true").assert_status(0);
        for name in ["job", "other"] {
            let shown = status(&etcd, name);
            assert!(
                shown["holder"]["held_until"].is_string(),
                "{mode:?}: {shown}"
            );
            let together = etcd.run(name).arguments(["-n"]).all_arguments(mode);
            let together = together.shell("true").output();
            together.assert_status(if mode == ["-x"] { 75 } else { 0 });
            let alone = etcd.run(name).arguments(["-n"]).shell("true").output();
            alone.assert_status(75);
        }
        etcd.store().assert_clean();
    }
}

#[test]
fn what_has_lasted_longer_or_never_ran_is_given_back_at_once() {
    let etcd = Service::start();
    at_once(&etcd, &["--hold-min", "0.2"], "sleep 0.4").assert_status(0);
    etcd.store().assert_clean();
    let missing = etcd.run("job").arguments(["-n", "--hold-min", "60"]);
    missing
        .command(["/nonexistent"])
        .output()
        .assert_status(127);
    etcd.store().assert_clean();
    // A lost lock is nobody's to keep.
    let holder = etcd.run("job").arguments(["-n", "--hold-min", "60"]);
    let holder = holder.shell("echo ready; sleep 60").spawn();
    holder.expect_stdout("ready");
    etcd.store().revoke(etcd.store().entries("job")[0].lease);
    holder.wait().assert_status(79).assert_nobody_left();
    etcd.store().assert_clean();
    // But what was stopped for its time has run.
    let options = ["--hold-min", "3", "--max-runtime", "0.2"];
    at_once(&etcd, &options, "sleep 60").assert_status(124);
    at_once(&etcd, &[], "true").assert_status(75);
    etcd.store().assert_clean();
}

#[test]
fn two_hosts_with_different_clocks_and_the_same_crontab_line_run_the_job_once() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let ran = folder.path().join("ran");
    // Each waits for its own clock to come to the minute. The second one's is 1.5 s late, which is longer than the job
    // takes and shorter than the lock is held.
    let minute = jiff::Timestamp::now().as_millisecond() + 1000;
    let crontab = |late: i64| {
        let script = format!(
            "until [ $(($(date +%s%3N) - {late})) -ge {minute} ]; do sleep 0.01; done\n\
             exec \"$0\" run -n -E 0 --hold-min 4 job -- sh -c 'echo $$ >> {}'",
            ran.display()
        );
        let cron = Run::program("/bin/sh").arguments(["-c", &script]);
        cron.arguments([crate::harness::leasehold::binary()])
            .variable("LEASEHOLD_ENDPOINTS", &etcd.endpoints())
    };
    let hosts = [crontab(0), crontab(1500)];
    in_threads(2, hosts, |host| {
        host.output().assert_status(0).assert_silent();
    });
    let times = std::fs::read_to_string(ran).expect("it ran");
    assert_eq!(times.lines().count(), 1, "{times}");
    etcd.store().assert_clean();
}

#[test]
fn a_holder_that_is_killed_before_the_hand_over_blocks_for_its_ttl_at_most() {
    let mut fault = Fault::of("a run with --hold-min is killed before it could hand its lock over");
    let etcd = Service::start();
    let options = ["-n", "--ttl", "3", "--hold-min", "600", "--lock-delay", "0"];
    let holder = etcd.run("job").arguments(options);
    let holder = holder.shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    holder.vanish();
    let next = etcd.run("job").ttl(3).shell("true").output();
    next.assert_status(0);
    assert!(next.duration() < Duration::from_secs(8), "{next:?}");
    etcd.store().assert_clean();
    fault.injected("all processes of the run killed at once while its command ran");
    fault.seen(format!("the next one ran {:?} after that", next.duration()));
}

#[test]
fn where_it_cannot_be_handed_over_the_lock_is_left_to_its_ttl_and_not_given_back() {
    let mut fault = Fault::of("etcd is frozen when a run with --hold-min ends");
    let mut etcd = Service::start();
    let holder = etcd.run("job").arguments([
        "-n",
        "--ttl",
        "4",
        "--hold-min",
        "600",
        "--lock-delay",
        "0",
        "--connect-timeout",
        "1",
    ]);
    let holder = holder.shell("echo ready; cat; exit 5").spawn();
    holder.expect_stdout("ready");
    etcd.only().pause();
    let output = holder.wait();
    output.assert_status(5);
    output.assert_stderr_has(["could not be kept for --hold-min", "within the TTL"]);
    etcd.only().resume();
    at_once(&etcd, &[], "true").assert_status(75);
    let next = etcd.run("job").ttl(3).shell("true").output();
    next.assert_status(0);
    // The second lease may have been granted when etcd went on: nothing hangs on it.
    assert!(etcd.store().keys("/leasehold/").is_empty());
    fault.injected("SIGSTOP to the only member until the run had ended");
    fault.seen("status 5 and a warning; the next one ran after the TTL");
}

#[test]
fn whoever_does_not_wait_for_the_hand_over_does_not_give_the_lock_back() {
    let mut etcd = Service::start();
    let holder = etcd
        .run("job")
        .arguments(["-n", "--hold-min", "600", "--lock-delay", "0"]);
    let mut holder = holder.shell("echo ready; cat; exit 5").spawn();
    holder.expect_stdout("ready");
    etcd.only().pause();
    holder.close_stdin();
    eventually("the command has ended", SOON, || {
        match holder.command_processes().len() {
            0 => Ok(()),
            left => Err(left),
        }
    });
    // A signal that comes at once is taken for the one that ended the command.
    let_time_pass_until(Moment::now() + Duration::from_millis(1500));
    holder.signal(Signal::SIGTERM);
    holder.expect_stderr("could not be kept for --hold-min");
    etcd.only().resume();
    holder.wait().assert_status(5);
    at_once(&etcd, &[], "true").assert_status(75);
}

#[test]
fn it_needs_a_contender_that_does_not_wait_for_its_end() {
    let etcd = Service::start();
    for options in [&["--hold-min", "60"][..], &["--hold-min", "60", "-w", "60"]] {
        let run = etcd.run("job").all_arguments(options);
        let output = run.shell("true").output();
        output.assert_status(64);
        output.assert_stderr_has(["--hold-min 60s needs -n, or a --wait that is shorter"]);
    }
    let run = etcd.run("job").arguments(["--hold-min", "1", "-w", "0.9"]);
    run.shell("true").output().assert_status(0);
}

#[test]
fn the_token_of_a_lock_that_is_only_kept_is_stale() {
    let etcd = Service::start();
    let output = at_once(&etcd, &["--hold-min", "3"], "echo $LEASEHOLD_SEQUENCER");
    output.assert_status(0);
    let sequencer = output.stdout.trim();
    let check = etcd.leasehold(["fence", "check", sequencer]).output();
    check.assert_status(79);
    let put = etcd.leasehold(["fence", "put", "--sequencer", sequencer, "resource", "late"]);
    put.output().assert_status(79);
    etcd.store().assert_clean();
}

in_a_folder_too![
    every_lock_of_several_stays_in_every_mode_and_with_its_limit,
    what_has_lasted_longer_or_never_ran_is_given_back_at_once,
    a_holder_that_is_killed_before_the_hand_over_blocks_for_its_ttl_at_most,
    it_needs_a_contender_that_does_not_wait_for_its_end,
];
