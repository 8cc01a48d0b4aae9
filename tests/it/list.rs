//! `leasehold list`: all locks, and a table that fits wherever it is read.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::leasehold::{Output, Run};
use crate::harness::pty::Terminal;
use crate::harness::service::{Service, in_a_folder_too};

fn list(etcd: &Service, arguments: &[&str]) -> Output {
    let output = etcd.leasehold(["list"]).all_arguments(arguments).output();
    output.assert_status(0).assert_silent();
    output
}

fn objects(output: &Output) -> Vec<Value> {
    let lines = output.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[test]
fn every_lock_has_its_line_and_its_object() {
    let etcd = Service::start();
    list(&etcd, &[]).assert_stdout("LOCK  STATE  HOLDER  FOR  WAITING  LEASE  REASON\n");
    list(&etcd, &["--json"]).assert_stdout("");
    let store = etcd.store();
    let reason = ["--reason", "release 4.2"];
    let holder = etcd
        .run("deploy")
        .arguments(reason)
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("deploy").shell("true").spawn();
    store.wait_for_entries("deploy", 2);
    let readers = ["r1", "r2"].map(|_| {
        let reader = etcd
            .run("deploy/prod")
            .arguments(["-s"])
            .shell("echo ready; cat")
            .spawn();
        reader.expect_stdout("ready");
        reader
    });
    store.put("/leasehold/etl/1f", "somebody's");
    store.put("/leasehold/old/config", "no lock");
    store.put(
        "/leasehold/~run/gone/2f",
        r#"{"v":1,"limit":1,"host":"h","user":"u","pid":1,"program":"p","queued":"","lock_delay_ms":0}"#,
    );
    let people = list(&etcd, &[]);
    let the_same = etcd.leasehold(["status"]).output();
    assert_eq!(
        the_same.stdout.lines().count(),
        people.stdout.lines().count()
    );
    let lines: Vec<&str> = people.stdout.lines().collect();
    let [heads, deploy, prod, etl, gone] = lines[..] else {
        panic!("{}", people.describe());
    };
    assert!(heads.starts_with("LOCK"), "{heads}");
    assert!(deploy.starts_with("deploy "), "{deploy}");
    assert!(
        deploy.contains("held") && deploy.contains(" 1 ") && deploy.ends_with("release 4.2"),
        "{deploy}"
    );
    assert!(
        prod.contains("2 share it") && prod.contains("and 1 more"),
        "{prod}"
    );
    assert!(
        etl.contains("not leasehold's") && etl.contains("none: stays"),
        "{etl}"
    );
    assert!(
        gone.starts_with("gone") && gone.ends_with("vanished"),
        "{gone}"
    );
    for reader in readers {
        reader.wait().assert_status(0);
    }
    holder.wait().assert_status(0);
    waiter.wait().assert_status(0);
}

#[test]
fn its_objects_are_those_of_status() {
    let etcd = Service::start();
    let store = etcd.store();
    let holder = etcd.hold("deploy");
    let waiter = etcd.run("deploy").shell("true").spawn();
    store.wait_for_entries("deploy", 2);
    for key in ["deploy/prod/1f", "deploy-x/1f", "etl/1f", "old/config"] {
        store.put(&format!("/leasehold/{key}"), "somebody's");
    }
    store.put("/leasehold/~run/gone/2f", "");
    let objects = objects(&list(&etcd, &["--json"]));
    let names: Vec<&str> = objects
        .iter()
        .filter_map(|lock| lock["lock"].as_str())
        .collect();
    assert_eq!(names, ["deploy", "deploy-x", "deploy/prod", "etl", "gone"]);
    // The same object as status gives.
    let status = etcd.leasehold(["status", "--json", "deploy"]).output();
    let mut status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let mut listed = objects[0].clone();
    for object in [&mut status, &mut listed] {
        // The clock goes on.
        for entry in ["holder", "holders", "waiters"] {
            strip(&mut object[entry]);
        }
    }
    assert_eq!(listed, status);
    let below = list(&etcd, &["--json", "deploy"]);
    assert_eq!(below.stdout.lines().count(), 2, "{}", below.describe());
    holder.wait().assert_status(0);
    waiter.wait().assert_status(0);
}

fn strip(value: &mut Value) {
    match value {
        Value::Array(entries) => entries.iter_mut().for_each(strip),
        Value::Object(entry) => {
            entry.remove("remaining_s");
        }
        _ => {}
    }
}

#[test]
fn thousands_of_locks_are_read_a_page_at_a_time() {
    let etcd = Service::start();
    etcd.store()
        .put_each(2500, |number| format!("/leasehold/many/x{number}/1f"));
    let objects = objects(&list(&etcd, &["--json"]));
    assert_eq!(objects.len(), 2500);
    let names: BTreeSet<&str> = objects
        .iter()
        .filter_map(|lock| lock["lock"].as_str())
        .collect();
    assert_eq!(names.len(), 2500);
    let people = list(&etcd, &["many/x7"]);
    assert_eq!(people.stdout.lines().count(), 2, "{}", people.describe());
}

#[test]
fn ten_thousand_waiters_are_counted_and_the_first_are_shown() {
    let etcd = Service::start();
    let store = etcd.store();
    // A name of which every key is a lock of its own, among keys of a lock that stands around them.
    store.put_many("/leasehold/many/", 10_000);
    let output = list(&etcd, &["--json"]);
    let objects = objects(&output);
    assert_eq!(objects.len(), 1, "{}", objects.len());
    let waiters = objects[0]["waiters"].as_array().map_or(0, Vec::len);
    assert_eq!(waiters, 9999);
    let people = etcd.leasehold(["status", "many"]).output();
    let lines: Vec<&str> = people.stdout.lines().collect();
    assert!(lines[0].ends_with(", 9999 wait"), "{}", lines[0]);
    assert_eq!(lines.len(), 24, "{}", people.describe());
    assert_eq!(lines[23], "and 9980 more (--json shows all)");
    etcd.leasehold(["status", "-q", "many"])
        .output()
        .assert_status(75);
}

#[test]
fn a_narrow_terminal_gets_blocks_and_no_color_is_heeded() {
    let etcd = Service::start();
    etcd.store().put("/leasehold/job/1f", "");
    for (columns, no_color, expected) in [
        (200, "", "\u{1b}[1mLOCK  STATE"),
        (200, "1", "\nLOCK  STATE"),
        (
            20,
            "1",
            "\nLOCK job\r\nSTATE held\r\nHOLDER not leasehold's\r\n",
        ),
    ] {
        let typed = etcd.leasehold(["list"]).typed();
        let script = format!("stty cols {columns}; echo; {typed}");
        let shell = Run::program("sh").arguments(["-c", &script]);
        let mut terminal = Terminal::start(
            shell
                .variable("TERM", "xterm")
                .variable(etcd.variable().0, &etcd.variable().1)
                .variable("NO_COLOR", no_color)
                .to_command(),
        );
        terminal.expect(expected);
        assert!(terminal.wait().success());
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_without_a_word() {
    use std::os::unix::process::ExitStatusExt;
    let etcd = Service::start();
    etcd.store().put("/leasehold/job/1f", "");
    for options in [&["list"][..], &["list", "--json"]] {
        // It is gone before there is anything to read: otherwise what is told may fit into the pipe.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let run = etcd.leasehold([]).all_arguments(options);
        let output = run.to_command().stdout(writer).output();
        let output = output.expect("the program exists");
        assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn it_ends_as_run_does_without_etcd_and_for_wrong_usage() {
    let mut etcd = Service::start();
    etcd.leasehold(["list", "a b"]).output().assert_status(64);
    etcd.only().stop();
    for options in [&["list"][..], &["list", "--json"]] {
        let run = etcd.leasehold([]).all_arguments(options);
        let output = run.arguments(["--connect-timeout", "0.5"]).output();
        output.assert_status(69).assert_stdout("");
        output.assert_stderr_has(["cannot connect to etcd"]);
    }
}

in_a_folder_too![
    every_lock_has_its_line_and_its_object,
    its_objects_are_those_of_status,
    a_narrow_terminal_gets_blocks_and_no_color_is_heeded,
    a_reader_that_goes_away_ends_it_without_a_word,
];
