//! `leasehold history NAME`: who held it, when, for how long, how it ended; as far as etcd remembers.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tempfile::tempdir;

use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::{Output, Run};
use crate::harness::service::{Service, in_a_folder_too};

fn history(etcd: &Service, arguments: &[&str]) -> Output {
    let output = etcd
        .leasehold(["history", "job"])
        .all_arguments(arguments)
        .output();
    output.assert_status(0).assert_silent();
    output
}

fn object(etcd: &Service) -> Value {
    serde_json::from_str(&history(etcd, &["--json"]).stdout).expect("one JSON object")
}

/// Draws it, and says what was drawn.
fn picture(etcd: &Service, svg: &str) -> Value {
    serde_json::from_str(&history(etcd, &["--svg", svg, "--json"]).stdout).expect("JSON")
}

/// One value of each run.
fn each(history: &Value, key: &str) -> Vec<Value> {
    let runs = history["runs"].as_array().expect("a list");
    runs.iter().map(|run| run[key].clone()).collect()
}

/// A recorded failure, one that had to wait for it and was not recorded, and one that vanished.
fn three_runs(etcd: &Service) {
    let recorded = etcd.run("job").arguments(["--record", "--reason", "<4.2>"]);
    let recorded = recorded.shell("echo ready; cat; exit 3").spawn();
    recorded.expect_stdout("ready");
    let waiter = etcd.run("job").shell("echo ready; cat").spawn();
    etcd.store().wait_for_entries("job", 2);
    recorded.wait().assert_status(3);
    waiter.expect_stdout("ready");
    let entry = etcd.store().entries("job")[0].clone();
    eventually("it is announced", SOON, || {
        let now = etcd.store().entries("job")[0].value.clone();
        if now == entry.value && !String::from_utf8_lossy(&now).contains("\"held\"") {
            return Err("not yet".to_owned());
        }
        Ok(())
    });
    waiter.wait().assert_status(0);
    let killed = etcd.run("job").shell("echo ready; sleep 1000").spawn();
    killed.expect_stdout("ready");
    etcd.store().revoke(etcd.store().entries("job")[0].lease);
    killed.wait().assert_status(79);
}

#[test]
fn every_run_is_told_as_far_as_it_is_known() {
    let etcd = Service::start();
    let empty = history(&etcd, &[]);
    let nothing = "job: 0 runs since the store was made: nothing of it was compacted yet\n";
    empty.assert_stdout(nothing);
    three_runs(&etcd);
    let waiting = etcd.hold("job");
    let told = object(&etcd);
    assert_eq!(told["compacted"], false);
    assert_eq!(each(&told, "state"), ["gone", "gone", "gone", "held"]);
    assert_eq!(
        each(&told, "way"),
        [
            "released".into(),
            "released".into(),
            "vanished".into(),
            Value::Null
        ]
    );
    assert_eq!(each(&told, "status")[..2], [3.into(), Value::Null]);
    let runs = told["runs"].as_array().expect("a list");
    // The recorded one has all of its times, to the millisecond.
    assert!(
        runs[0]["held_ms"].is_u64() && runs[0]["ended"].is_string(),
        "{}",
        runs[0]
    );
    // Of the other one it is known when it began, how long it queued, and by when it had ended.
    assert!(
        runs[1]["waited_ms"].is_u64() && runs[1]["held"].is_string(),
        "{}",
        runs[1]
    );
    assert!(
        runs[1]["ended"].is_null() && runs[1]["ended_by"].is_string(),
        "{}",
        runs[1]
    );
    let people = history(&etcd, &["--timeline"]).stdout;
    for text in [
        "exited, status 3 (\"<4.2>\")",
        "gave it back",
        "vanished",
        "holds it",
        "at most",
        "##",
    ] {
        assert!(people.contains(text), "{text}: {people}");
    }
    let last = history(&etcd, &["--last", "1"]).stdout;
    assert!(
        last.contains("4 runs") && last.lines().count() == 4,
        "{last}"
    );
    waiting.wait().assert_status(0);
}

#[test]
fn it_begins_where_etcd_was_compacted_and_says_so() {
    let etcd = Service::start();
    three_runs(&etcd);
    let holder = etcd.run("job").shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let store = etcd.store();
    let token = store.entries("job")[0].create_revision;
    store.put("elsewhere", "");
    let compacted = store.revision();
    store.compact(compacted);
    let told = object(&etcd);
    assert_eq!(told["begins_revision"], compacted);
    assert_eq!(each(&told, "token"), [token]);
    assert_eq!(each(&told, "state"), ["held"]);
    let people = history(&etcd, &[]).stdout;
    let begins = format!("1 run since revision {compacted}: etcd has compacted what was before");
    assert!(people.contains(&begins), "{people}");
    holder.wait().assert_status(0);
    assert_eq!(each(&object(&etcd), "way"), ["released"]);
}

#[test]
fn the_picture_is_drawn_by_a_real_renderer_whatever_the_values_are() {
    let etcd = Service::start();
    let hostile = r#"{"v":1,"limit":1,"host":"<script>&\u0007","user":"\u001b[2J\"'","pid":1,"program":"]]>","reason":"\uffff","queued":"2026-01-01T00:00:00Z","lock_delay_ms":0}"#;
    etcd.store().put("/leasehold/job/1f", hostile);
    etcd.store().delete("/leasehold/job/1f");
    three_runs(&etcd);
    let folder = tempdir().expect("a folder");
    let (svg, png) = (folder.path().join("t.svg"), folder.path().join("t.png"));
    let svg = svg.to_str().expect("text");
    assert_eq!(each(&picture(&etcd, svg), "token").len(), 4);
    let drawn = Run::program("rsvg-convert").arguments([svg, "-o", png.to_str().expect("text")]);
    drawn.output().assert_status(0).assert_silent();
    let png = std::fs::read(png).expect("drawn");
    // Its header says how large it is (PNG, 11.2.2): four rows, and three for the rest.
    assert_eq!(png[..4], *b"\x89PNG");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((number(16), number(20)), (980, 22 * 7));
    let missing = etcd.leasehold(["history", "job", "--svg", "/nonexistent/t.svg"]);
    let missing = missing.output();
    missing.assert_status(74).assert_stdout("");
    missing.assert_stderr_has(["/nonexistent/t.svg could not be written: "]);
}

#[test]
fn a_long_and_hostile_history_is_told_in_bounded_memory() {
    let etcd = Service::start();
    let store = etcd.store();
    for _ in 0..40 {
        store.put("/leasehold/job/1f", vec![b'x'; 1_400_000]);
        store.delete("/leasehold/job/1f");
    }
    for _ in 0..1200 {
        store.put("/leasehold/job/2f", "");
        store.delete("/leasehold/job/2f");
    }
    let memory = ["prlimit", "--data=200000000"];
    let run = etcd.leasehold(["history", "job", "--json"]).wrapped(memory);
    let output = run.output();
    output.assert_status(0).assert_silent();
    let told: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(each(&told, "way"), vec!["removed"; 1240]);
}

#[test]
fn the_account_of_a_busy_lock_ends_where_it_began_to_be_read() {
    let etcd = Service::start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        scope.spawn(|| {
            let store = etcd.store();
            while !stop.load(Ordering::Relaxed) {
                store.put("/leasehold/job/1f", "x");
                store.delete("/leasehold/job/1f");
            }
        });
        eventually("it is busy", SOON, || match etcd.store().revision() {
            100.. => Ok(()),
            revision => Err(format!("revision {revision}")),
        });
        let told = object(&etcd);
        let until = told["until_revision"].as_i64();
        let tokens = each(&told, "token");
        assert!(tokens.len() > 10, "{}", tokens.len());
        assert!(tokens.iter().all(|token| token.as_i64() <= until));
    });
}

/// Ends what goes on beside a test, however it ends.
struct Stops<'flag>(&'flag AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whoever_wants_several_locks_is_not_taken_for_a_holder_before_he_is_one() {
    let etcd = Service::start();
    let holder = etcd.hold("other");
    let waiter = etcd.run("job").arguments(["--also", "other"]);
    let waiter = waiter.shell("echo ready; cat").spawn();
    etcd.store().wait_for_entries("other", 2);
    let told = object(&etcd);
    assert_eq!(each(&told, "state"), ["reserved"]);
    assert_eq!(each(&told, "held_ms"), [Value::Null]);
    holder.wait().assert_status(0);
    waiter.expect_stdout("ready");
    eventually("it says that it runs", SOON, || {
        match each(&object(&etcd), "state") == ["held"] {
            true => Ok(()),
            false => Err(object(&etcd).to_string()),
        }
    });
    waiter.wait().assert_status(0);
}

#[test]
fn it_ends_as_run_does_without_etcd_and_for_wrong_usage() {
    let mut etcd = Service::start();
    etcd.leasehold(["history"]).output().assert_status(64);
    etcd.only().stop();
    let run = etcd.leasehold(["history", "job", "--connect-timeout", "0.5"]);
    let output = run.output();
    output.assert_status(69).assert_stdout("");
    output.assert_stderr_has(["job: cannot connect to etcd"]);
}

in_a_folder_too![
    every_run_is_told_as_far_as_it_is_known,
    the_picture_is_drawn_by_a_real_renderer_whatever_the_values_are,
    a_long_and_hostile_history_is_told_in_bounded_memory,
    the_account_of_a_busy_lock_ends_where_it_began_to_be_read,
    whoever_wants_several_locks_is_not_taken_for_a_holder_before_he_is_one,
];
