//! `--once`: what has succeeded under a lock is not done again.

use std::time::Duration;

use serde_json::Value;
use tempfile::tempdir;

use crate::harness::anatomy::is_root;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Output, Run, binary};
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::together::in_threads;
use crate::harness::{untested, wall_clock};

#[track_caller]
fn once(etcd: &Service, id: &str, script: &str) -> Output {
    let run = etcd.run("job").arguments(["--once", id]);
    run.shell(script).output()
}

fn records(etcd: &Service, name: &str) -> Value {
    let list = etcd.leasehold(["once", "list", "--json", name]).output();
    list.assert_status(0).assert_silent();
    serde_json::from_str(&list.stdout).expect("one JSON object")
}

#[test]
fn what_has_succeeded_is_not_done_again_and_who_comes_later_is_told() {
    let etcd = Service::start();
    let first = once(&etcd, "2026-11-27", "echo $LEASEHOLD_TOKEN");
    first.assert_status(0).assert_silent();
    let token = first.stdout.trim();
    let again = once(&etcd, "2026-11-27", "echo again");
    again.assert_status(0).assert_stdout("").assert_silent();
    let folder = tempdir().expect("a folder");
    let report = folder.path().join("report");
    let told = etcd.run("job").arguments(["--once", "2026-11-27", "-v"]);
    let told = told.report(&report).shell("echo again").output();
    told.assert_status(0).assert_stdout("");
    told.assert_stderr_has(["job: already done by", &format!("(token {token})")]);
    let report: Value =
        serde_json::from_slice(&std::fs::read(report).expect("written")).expect("JSON");
    assert_eq!(report["outcome"], "already-done");
    assert_eq!(report["ran"], false);
    // Another ID, and the same one under another lock.
    once(&etcd, "2026-11-28", "echo ran").assert_stdout("ran\n");
    let other = etcd.run("other").arguments(["--once", "2026-11-27"]);
    other.shell("echo ran").output().assert_stdout("ran\n");
    assert_eq!(records(&etcd, "job")["once"][0]["token"].to_string(), token);
}

#[test]
fn what_failed_or_was_stopped_or_lost_is_not_remembered() {
    let etcd = Service::start();
    once(&etcd, "1", "exit 1").assert_status(1);
    once(&etcd, "1", "kill -9 $$").assert_signal(9);
    let stopped = etcd
        .run("job")
        .arguments(["--once", "1", "--max-runtime", "0.2"]);
    stopped
        .shell("trap 'exit 0' TERM; sleep 60 & wait")
        .output()
        .assert_status(124);
    let lost = etcd
        .run("job")
        .arguments(["--once", "1", "--on-loss", "warn"]);
    let lost = lost.shell("echo ready; cat").spawn();
    lost.expect_stdout("ready");
    etcd.store().delete(&etcd.store().entries("job")[0].key);
    lost.expect_stderr("lock lost");
    lost.wait().assert_status(79);
    etcd.store().assert_clean();
    once(&etcd, "1", "echo ran").assert_stdout("ran\n");
}

/// Debian's own cron, in a namespace where it finds only this crontab, and with a clock on which a minute takes three
/// seconds: in a crontab a `%` that is not escaped ends the command (crontab(5)).
#[test]
fn the_crontab_line_of_the_readme_survives_crons_rule_for_the_percent_sign() {
    if !is_root() {
        return untested::not_allowed("only root can start a cron of its own");
    }
    if !std::path::Path::new("/usr/sbin/cron").exists() {
        return untested::missing("cron");
    }
    let Some(library) = wall_clock::library("libfaketime.so.1") else {
        return untested::missing("faketime");
    };
    let namespace =
        Run::program("unshare").arguments(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]);
    if !namespace.output().status.success() {
        return untested::not_allowed("nobody may mount here, not even root");
    }
    let etcd = Service::start();
    let readme = include_str!("../../README.md");
    let line = readme
        .lines()
        .find(|line| line.contains("leasehold run --once"));
    let (_, line) = line
        .expect("an example")
        .split_once("* * *  leasehold")
        .expect("a time");
    assert!(line.contains(r"\%F"), "{line}");
    let folder = tempdir().expect("a folder");
    let ran = folder.path().join("ran");
    let job = format!("sh -c 'echo ran >> {}'", ran.display());
    let line = line.replace("/usr/local/bin/report", &job);
    let (endpoints, binary) = (etcd.endpoints(), binary());
    let crontab = folder.path().join("crontab");
    let times = folder.path().join("times");
    let content = format!(
        "LEASEHOLD_ENDPOINTS={endpoints}\n* * * * * {binary}{line}; echo $? >> {}\n",
        times.display()
    );
    std::fs::write(&crontab, content).expect("written");
    let script = "set -e; mount -t tmpfs none /etc/cron.d; mount -t tmpfs none /var/spool/cron; mkdir /var/spool/cron/crontabs
        mount --bind /dev/null /etc/crontab; mount -t tmpfs none /run; mount -t tmpfs none /dev/shm; install -m 600 \"$0\" /var/spool/cron/crontabs/root
        LD_PRELOAD=$1 FAKETIME='+0 x20'; export LD_PRELOAD FAKETIME
        exec cron -f";
    let path = crontab.to_str().expect("readable");
    let cron = Run::program("unshare").arguments([
        "-m",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        path,
        &library,
    ]);
    let cron = cron.spawn();
    let twice = eventually(
        "cron has run it twice",
        SOON,
        || match std::fs::read_to_string(&times).unwrap_or_default() {
            text if text.lines().count() >= 2 => Ok(text),
            text => Err(text),
        },
    );
    assert!(twice.lines().all(|status| status == "0"), "{twice}");
    drop(cron);
    let times = std::fs::read_to_string(ran).expect("it ran");
    let records = records(&etcd, "nightly-report");
    let ids = records["once"].as_array().expect("a list");
    // Two around midnight.
    assert_eq!(times.lines().count(), ids.len(), "{times}");
    let id = ids[0]["id"].as_str().expect("a text");
    assert!(id.len() == 10 && id.starts_with("20"), "{id}");
}

#[test]
fn many_hosts_that_start_together_do_it_once() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let ran = folder.path().join("ran");
    let script = format!("echo $$ >> {}", ran.display());
    in_threads(8, 0..24, |_| {
        once(&etcd, "$(date)", &script)
            .assert_status(0)
            .assert_silent();
    });
    let times = std::fs::read_to_string(ran).expect("it ran");
    assert_eq!(times.lines().count(), 1, "{times}");
}

#[test]
fn records_are_listed_forgotten_and_gone_after_their_time() {
    let etcd = Service::start();
    let nothing = etcd.leasehold(["once", "list", "job"]).output();
    nothing
        .assert_status(0)
        .assert_stdout("job: nothing is remembered\n");
    for id in ["a/b 100%", "\u{e9}t\u{e9}"] {
        once(&etcd, id, "true").assert_status(0);
    }
    // Of a lock below, and what no version of ours wrote.
    let below = etcd.run("job/below").arguments(["--once", "x"]);
    below.shell("true").output().assert_status(0);
    etcd.store().put("/leasehold/~once/job/%zz", "");
    etcd.store().put("/leasehold/~once/job/newer", "{\"v\":2}");
    let list = etcd.leasehold(["once", "list", "job"]).output();
    list.assert_status(0).assert_silent();
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", list.stdout);
    assert!(
        lines[0].starts_with("ID ") && lines[0].ends_with("TOKEN"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("\u{e9}t\u{e9} "), "{lines:?}");
    assert!(lines[2].starts_with("a/b 100% "), "{lines:?}");
    assert!(
        lines[3].starts_with("newer ") && lines[3].contains("unknown"),
        "{lines:?}"
    );
    // A record of a newer version is one.
    let newer = etcd.run("job").arguments(["--once", "newer", "-v"]);
    let newer = newer.shell("echo ran").output();
    newer.assert_status(0).assert_stdout("");
    newer.assert_stderr_has(["perhaps of a newer version"]);
    let leases = etcd.store().leases().len();
    let forget = || {
        etcd.leasehold(["once", "forget", "job", "a/b 100%"])
            .output()
    };
    forget().assert_status(0).assert_silent();
    eventually("its lease is gone", SOON, || {
        match etcd.store().leases().len() {
            left if left == leases - 1 => Ok(()),
            left => Err(format!("{left} of {leases}")),
        }
    });
    let twice = forget();
    twice.assert_status(0);
    twice.assert_stderr_has(["job: nothing is remembered under a/b 100%"]);
    once(&etcd, "a/b 100%", "echo ran").assert_stdout("ran\n");
    let short = etcd
        .run("job")
        .arguments(["--once", "short", "--once-keep", "2"]);
    short.shell("true").output().assert_status(0);
    eventually("it is forgotten", SOON, || {
        match etcd.store().keys("/leasehold/~once/job/short").len() {
            0 => Ok(()),
            left => Err(left),
        }
    });
}

#[test]
fn where_the_success_cannot_be_remembered_the_run_is_not_to_be_trusted() {
    let mut fault = Fault::of("etcd is frozen when a run with --once has succeeded");
    let mut etcd = Service::start();
    let holder = etcd
        .run("job")
        .ttl(4)
        .arguments(["--once", "1", "--lock-delay", "0"]);
    let holder = holder.shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    etcd.only().pause();
    let output = holder.wait();
    output.assert_status(79).assert_nobody_left();
    output.assert_stderr_has(["succeeded", "--once could not remember it"]);
    etcd.only().resume();
    once(&etcd, "1", "echo ran").assert_stdout("ran\n");
    fault.injected("SIGSTOP to the only member until the run had ended");
    fault.seen("status 79; the next run did it again");
}

#[test]
fn an_outage_that_ends_in_time_is_waited_for() {
    let mut etcd = Service::start();
    let holder = etcd.run("job").ttl(20).arguments(["--once", "1"]);
    let mut holder = holder.shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    etcd.only().stop();
    holder.close_stdin();
    eventually("the command has ended", SOON, || {
        match holder.command_processes().len() {
            0 => Ok(()),
            left => Err(left),
        }
    });
    etcd.only().restart();
    holder.wait().assert_status(0);
    once(&etcd, "1", "echo again").assert_stdout("");
    assert_eq!(
        records(&etcd, "job")["once"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn an_id_that_is_none_and_modes_that_let_two_do_it_are_refused() {
    let refused = |options: &[&str], says: &str| {
        let run = Run::program(binary()).variable("LEASEHOLD_ENDPOINTS", "127.0.0.1:1");
        let run = run.arguments(["run"]).all_arguments(options);
        let output = run.arguments(["job", "--", "true"]).output();
        output.assert_status(64).assert_stdout("");
        output.assert_stderr_has([says]);
    };
    let long = "x".repeat(10_240);
    refused(&["--once", ""], "an ID cannot be empty");
    refused(&["--once", &long], "at most 200 bytes; this one has 10240");
    refused(
        &["--once", "a\u{1b}[2Jb"],
        "no control characters: a\\u{1b}[2Jb",
    );
    refused(
        &["--once", "1", "--shared"],
        "--once needs an exclusive lock",
    );
    refused(
        &["--once", "1", "--slots", "2"],
        "--once needs an exclusive lock",
    );
    refused(
        &["--once", "1", "--once-keep", "0"],
        "from a second to ten years",
    );
}

#[test]
fn a_failure_to_write_down_a_run_for_people_is_said_and_changes_nothing() {
    let mut etcd = Service::start();
    let run = etcd
        .run("job")
        .arguments(["--record", "--reason", "release 4.2"]);
    run.shell("exit 3")
        .output()
        .assert_status(3)
        .assert_silent();
    let shown = etcd.leasehold(["status", "--json", "job"]).output();
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let last = &shown["last_run"];
    assert_eq!(last["outcome"], "exited", "{shown}");
    assert_eq!(
        (&last["status"], &last["reason"]),
        (&3.into(), &"release 4.2".into())
    );
    let people = etcd.leasehold(["status", "job"]).output();
    people.assert_stdout(&people.stdout).assert_status(0);
    assert!(
        people
            .stdout
            .contains("job is free\nlast run: exited, status 3, "),
        "{}",
        people.stdout
    );
    // A lost run is written down too, but not over one of a later holder.
    let token = last["token"].as_i64().expect("a token");
    let lost = |name: &str| {
        let run = etcd.run(name).arguments(["--record"]);
        let run = run.shell("echo ready; sleep 60").spawn();
        run.expect_stdout("ready");
        etcd.store().revoke(etcd.store().entries(name)[0].lease);
        run.wait().assert_status(79);
    };
    lost("job");
    let shown = etcd.leasehold(["status", "--json", "job"]).output();
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["last_run"]["outcome"], "lost");
    assert!(shown["last_run"]["token"].as_i64().expect("a token") > token);
    let options = ["--record", "--connect-timeout", "1", "--ttl", "4"];
    let unwritten = etcd.run("job").arguments(options);
    let unwritten = unwritten.shell("echo ready; cat; exit 4").spawn();
    unwritten.expect_stdout("ready");
    etcd.only().pause();
    let output = unwritten.wait();
    output.assert_status(4);
    output.assert_stderr_has(["the run could not be recorded"]);
    etcd.only().resume();
    assert!(output.duration() < Duration::from_secs(20));
}

in_a_folder_too![
    what_has_succeeded_is_not_done_again_and_who_comes_later_is_told,
    what_failed_or_was_stopped_or_lost_is_not_remembered,
    many_hosts_that_start_together_do_it_once,
    records_are_listed_forgotten_and_gone_after_their_time,
];
