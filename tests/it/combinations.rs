//! Which options go together: every mode with everything else, and the table of what is refused.

use serde_json::Value;
use tempfile::tempdir;

use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::{Run, binary};

const MODES: [&[&str]; 5] = [
    &["-x"],
    &["-s"],
    &["--slots", "2"],
    &["--also", "other"],
    &["-s", "--also", "other"],
];

/// Runs it, and returns its report beside its output.
#[track_caller]
fn reported(etcd: &Etcd, mode: &[&str], options: &[&str], script: &str, status: i32) -> Value {
    let folder = tempdir().expect("a folder");
    let report = folder.path().join("report");
    let output = etcd
        .run("job")
        .all_arguments(mode)
        .all_arguments(options)
        .report(&report)
        .shell(script)
        .output();
    output.assert_status(status).assert_nobody_left();
    let report = std::fs::read_to_string(report).expect("written");
    serde_json::from_str(&report).expect("JSON")
}

#[test]
fn every_mode_has_its_time_limit_its_conflict_status_and_its_report() {
    let etcd = Etcd::start();
    for mode in MODES {
        let report = reported(&etcd, mode, &["--max-runtime", "0.3"], "sleep 60", 124);
        assert_eq!(report["outcome"], "max-runtime", "{mode:?}");
        let report = reported(&etcd, mode, &["-n", "--kill-signal", "INT"], "exit 3", 3);
        assert_eq!(report["outcome"], "exited", "{mode:?}");
        let holder = etcd.hold("job");
        for options in [["-n", "-E", "5"].as_slice(), &["-w", "0.2", "-E", "5"]] {
            let report = reported(&etcd, mode, options, "true", 5);
            assert_eq!(report["outcome"], "busy", "{mode:?}");
            assert_eq!(report["ran"], false, "{mode:?}");
        }
        holder.wait().assert_status(0);
        etcd.store().assert_clean();
    }
}

#[test]
fn every_mode_keeps_its_lock_replaces_waiters_and_is_recorded() {
    let etcd = Etcd::start();
    let store = etcd.store();
    for mode in MODES {
        let options = ["--queue", "latest", "--record"];
        let holder = etcd.hold("job");
        let older = etcd.run("job").all_arguments(mode).arguments(options);
        let older = older.shell("true").spawn();
        store.wait_for_entries("job", 2);
        let newer = etcd.run("job").all_arguments(mode).arguments(options);
        let newer = newer.arguments(["-w", "60", "-E", "5"]).shell("exit 4");
        let newer = newer.spawn();
        let output = older.wait();
        output.assert_status(76).assert_nobody_left();
        holder.wait().assert_status(0);
        newer.wait().assert_status(4);
        for options in [["-n"].as_slice(), &["-w", "0.5"]] {
            let all = [
                "--hold-min",
                "2",
                "--record",
                "--lock-delay",
                "0",
                "-E",
                "5",
            ];
            let options = [options, &all].concat();
            let report = reported(&etcd, mode, &options, "exit 3", 3);
            assert_eq!(report["outcome"], "exited", "{mode:?}");
            let report = reported(&etcd, &["-x"], &options, "true", 5);
            assert_eq!(report["outcome"], "busy", "{mode:?}");
            eventually("the time is over", SOON, || {
                match store.entries("job").len() {
                    0 => Ok(()),
                    left => Err(left),
                }
            });
        }
        let last: Value =
            serde_json::from_slice(&store.keys("/leasehold/~last/job")[0].value).expect("JSON");
        assert_eq!(
            (&last["outcome"], &last["status"]),
            (&"exited".into(), &3.into())
        );
        assert!(store.markers("job").is_empty(), "{mode:?}");
    }
    // What is done once is done exclusively, with everything else.
    for mode in [&["-x"][..], &["--also", "other"]] {
        let options = [
            "-n",
            "--once",
            "1",
            "--hold-min",
            "1",
            "--record",
            "--max-runtime",
            "9",
        ];
        let report = reported(&etcd, mode, &options, "true", 0);
        assert_eq!(report["outcome"], "exited", "{mode:?}");
        eventually("the time is over", SOON, || {
            match store.entries("job").len() {
                0 => Ok(()),
                left => Err(left),
            }
        });
        let report = reported(&etcd, mode, &options, "true", 0);
        assert_eq!(report["outcome"], "already-done", "{mode:?}");
        etcd.leasehold(["once", "forget", "job", "1"])
            .output()
            .assert_status(0);
    }
}

#[test]
fn every_mode_loses_its_lock_and_leaves_its_lock_delay() {
    let etcd = Etcd::start();
    let store = etcd.store();
    for mode in MODES {
        let holder = etcd
            .run("job")
            .all_arguments(mode)
            .arguments(["--lock-delay", "0"])
            .shell("echo ready; sleep 60")
            .spawn();
        holder.expect_stdout("ready");
        let marker: Value = serde_json::from_slice(&store.markers("job")[0].value).expect("JSON");
        assert_eq!(marker["lock_delay_ms"], 0, "{mode:?}");
        store.revoke(store.entries("job")[0].lease);
        let output = holder.wait_within(SOON);
        output.assert_status(79).assert_nobody_left();
        output.assert_stderr_has(["lock lost"]);
        store.assert_clean();
    }
}

#[test]
fn what_the_documentation_calls_refused_is_refused_with_that_sentence() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let text = std::fs::read_to_string(path).expect("readable");
    let (_, rest) = text.split_once("<!-- refused").expect("a table");
    let (table, _) = rest.split_once("<!-- end of refused").expect("its end");
    let rows: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `leasehold "))
        .map(|line| line.split_once("` | ").expect("two columns"))
        .collect();
    assert!(rows.len() > 5, "{rows:?}");
    for (typed, says) in rows {
        let words: Vec<&str> = typed.split(' ').collect();
        let output = Run::program(binary())
            .variable("LEASEHOLD_ENDPOINTS", "127.0.0.1:1")
            .all_arguments(&words)
            .output();
        output.assert_status(64).assert_stdout("");
        let says = says.trim_end_matches(" |");
        assert!(
            output.stderr.contains(says),
            "{says}: {}",
            output.describe()
        );
    }
}
