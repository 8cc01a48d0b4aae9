//! `--report FILE`: what a status cannot say, without ambiguity, for every ending.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::harness::eventually::{SOON, eventually};
use crate::harness::service::{Service, in_a_folder_too};

/// All fields.
const FIELDS: [&str; 16] = [
    "version",
    "lock",
    "outcome",
    "status",
    "ran",
    "command",
    "loss",
    "token",
    "lease",
    "cluster",
    "queued_at",
    "started_at",
    "ended_at",
    "waited_ms",
    "held_ms",
    "message",
];

#[test]
fn a_good_run_is_reported_whole() {
    let etcd = Service::start();
    let (_folder, path) = report_path();
    let output = etcd
        .run("job")
        .report(&path)
        .shell("echo $LEASEHOLD_TOKEN $LEASEHOLD_LEASE $LEASEHOLD_CLUSTER; exit 3")
        .output();
    output.assert_status(3);
    let report = read(&path);
    let words: Vec<&str> = output.stdout.trim().split(' ').collect();
    assert_eq!(report["version"], 1);
    assert_eq!(report["lock"], "job");
    assert_eq!(report["token"].to_string(), words[0]);
    assert_eq!(report["lease"], words[1]);
    assert_eq!(report["cluster"], words[2]);
    expect(&report, "exited", 3, true);
    assert_eq!(report["command"], json!({"exited": 3}));
    assert_eq!(report["message"], Value::Null);
    for time in ["queued_at", "started_at", "ended_at"] {
        let text = report[time].as_str().expect("a time");
        let _: jiff::Timestamp = text.parse().expect("RFC 3339");
    }
    assert!(report["held_ms"].is_u64(), "{report}");
    assert!(
        report["waited_ms"].as_u64().is_some_and(|ms| ms < 5000),
        "{report}"
    );
    let object = report.as_object().expect("an object");
    for field in FIELDS {
        assert!(object.contains_key(field), "{field} in {report}");
    }
}

#[test]
fn a_status_that_is_also_one_of_ours_is_told_apart() {
    let etcd = Service::start();
    let (_folder, path) = report_path();
    for status in [75, 79, 69, 124, 126, 127, 70] {
        etcd.run("job")
            .report(&path)
            .shell(&format!("exit {status}"))
            .output()
            .assert_status(status);
        expect(&read(&path), "exited", status, true);
    }
    let _holder = etcd.hold("job");
    etcd.run("job")
        .arguments(["-n"])
        .report(&path)
        .shell("true")
        .output()
        .assert_status(75);
    let report = read(&path);
    expect(&report, "busy", 75, false);
    for field in ["token", "started_at", "held_ms", "command", "loss"] {
        assert_eq!(report[field], Value::Null, "{field} in {report}");
    }
    assert!(
        report["message"]
            .as_str()
            .is_some_and(|text| text.contains("busy"))
    );
}

#[test]
fn a_death_by_a_signal_is_reported() {
    let etcd = Service::start();
    let (_folder, path) = report_path();
    etcd.run("job")
        .report(&path)
        .probe(["die", "9"])
        .output()
        .assert_signal(9);
    let report = read(&path);
    expect(&report, "signaled", 137, true);
    assert_eq!(report["command"], json!({"signaled": 9}));
}

#[test]
fn an_interrupted_wait_is_reported() {
    let etcd = Service::start();
    let (_folder, path) = report_path();
    let _holder = etcd.hold("job");
    let waiter = etcd.run("job").report(&path).shell("true").spawn();
    waiter.expect_stderr("waiting");
    waiter.signal(Signal::SIGINT);
    waiter.wait_within(SOON).assert_signal(2);
    expect(&read(&path), "interrupted", 130, false);
}

#[test]
fn the_end_of_the_maximum_runtime_is_reported() {
    let etcd = Service::start();
    let (_folder, path) = report_path();
    etcd.run("job")
        .report(&path)
        .arguments(["--max-runtime", "0.2"])
        .probe(["tree", "plain"])
        .output()
        .assert_status(124);
    expect(&read(&path), "max-runtime", 124, true);
}

#[test]
fn a_command_that_could_not_be_started_is_reported() {
    let etcd = Service::start();
    let (_folder, path) = report_path();
    for (command, outcome, status) in [
        ("/no/such/command", "not-found", 127),
        ("/etc/passwd", "not-executable", 126),
    ] {
        etcd.run("job")
            .report(&path)
            .command([command])
            .output()
            .assert_status(status);
        expect(&read(&path), outcome, status, false);
    }
}

#[test]
fn an_etcd_that_cannot_be_reached_is_reported() {
    let mut etcd = Service::start();
    let (_folder, path) = report_path();
    etcd.only().stop();
    etcd.run("job")
        .report(&path)
        .arguments(["--connect-timeout", "0.5"])
        .shell("true")
        .output()
        .assert_status(69);
    expect(&read(&path), "unavailable", 69, false);
}

#[test]
fn a_front_that_is_killed_has_its_command_stopped_its_lock_given_back_and_its_report_written() {
    let etcd = Service::start();
    let (_folder, path) = report_path();
    let running = etcd
        .run("job")
        .report(&path)
        .probe(["tree", "daemon"])
        .spawn();
    running.expect_stdout("ready");
    let tree = running.command_processes();
    assert!(tree.len() >= 2);
    running.signal(Signal::SIGKILL);
    for process in &tree {
        process.wait_dead(SOON);
    }
    running.wait().assert_signal(9).assert_nobody_left();
    let report = eventually("the report is written", SOON, || {
        if path.exists() {
            Ok(read(&path))
        } else {
            Err("no file")
        }
    });
    expect(&report, "front-killed", 137, true);
    etcd.store().assert_clean();
}

#[test]
fn a_file_that_is_not_regular_is_written_in_place() {
    let etcd = Service::start();
    let (_folder, path) = report_path();
    let target = path.with_extension("target");
    std::fs::write(&target, "old and much longer than nothing").expect("written");
    std::os::unix::fs::symlink(&target, &path).expect("linked");
    etcd.run("job")
        .report(&path)
        .shell("true")
        .output()
        .assert_status(0);
    assert!(path.is_symlink());
    expect(&read(&target), "exited", 0, true);
    etcd.run("job")
        .arguments(["--report", "/dev/null"])
        .shell("true")
        .output()
        .assert_status(0);
}

#[test]
fn nothing_is_left_beside_the_report_and_an_old_one_is_replaced() {
    let etcd = Service::start();
    let (folder, path) = report_path();
    std::fs::write(&path, "x".repeat(100_000)).expect("written");
    etcd.run("job")
        .report(&path)
        .shell("true")
        .output()
        .assert_status(0);
    expect(&read(&path), "exited", 0, true);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        1
    );
}

#[test]
fn a_relative_report_lands_in_the_folder_where_leasehold_was_started() {
    let etcd = Service::start();
    let (folder, path) = report_path();
    etcd.run("job")
        .arguments(["--report", "report.json"])
        .shell("true")
        .wrapped(["env", "-C", folder.path().to_str().expect("readable")])
        .output()
        .assert_status(0);
    expect(&read(&path), "exited", 0, true);
}

fn report_path() -> (TempDir, PathBuf) {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("report.json");
    (folder, path)
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a report was written");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

#[track_caller]
fn expect(report: &Value, outcome: &str, status: i32, ran: bool) {
    assert_eq!(report["outcome"], outcome, "{report}");
    assert_eq!(report["status"], status, "{report}");
    assert_eq!(report["ran"], ran, "{report}");
}

#[test]
fn a_refusal_replaces_the_report_of_an_earlier_run() {
    let etcd = Service::start();
    let (_folder, path) = report_path();
    etcd.run("job")
        .report(&path)
        .shell("true")
        .output()
        .assert_status(0);
    etcd.run("job")
        .report(&path)
        .arguments(["--ttl", "1"])
        .shell("true")
        .output()
        .assert_status(64);
    expect(&read(&path), "usage", 64, false);
}

#[test]
fn a_report_into_a_descriptor_is_refused_before_the_command_runs() {
    let etcd = Service::start();
    for descriptor in ["/dev/stdout", "/dev/fd/2", "/proc/self/fd/1"] {
        etcd.run("job")
            .report(Path::new(descriptor))
            .shell("echo ran")
            .output()
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has(["name a file"]);
    }
    etcd.store().assert_clean();
}

in_a_folder_too![
    a_good_run_is_reported_whole,
    a_status_that_is_also_one_of_ours_is_told_apart,
    a_death_by_a_signal_is_reported,
    an_interrupted_wait_is_reported,
    the_end_of_the_maximum_runtime_is_reported,
    a_command_that_could_not_be_started_is_reported,
    a_front_that_is_killed_has_its_command_stopped_its_lock_given_back_and_its_report_written,
    a_file_that_is_not_regular_is_written_in_place,
    nothing_is_left_beside_the_report_and_an_old_one_is_replaced,
    a_relative_report_lands_in_the_folder_where_leasehold_was_started,
    a_refusal_replaces_the_report_of_an_earlier_run,
    a_report_into_a_descriptor_is_refused_before_the_command_runs,
];
