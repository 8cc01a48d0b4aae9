//! `--log-format json`: every line is an object whose event and level stand in docs/monitoring.md.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::etcd::Etcd;
use crate::harness::eventually::SOON;
use crate::harness::leasehold::{Output, Run};

/// The events that a run has emitted, each as documented.
#[track_caller]
fn events(output: &Output) -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring.md");
    let page = std::fs::read_to_string(page).expect("readable");
    let lines = output.stderr.lines();
    let events = lines.map(|line| {
        let event: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error}: {line:?} of {}", output.describe()));
        let text = |field: &str| event[field].as_str().expect("a text").to_owned();
        assert_eq!(
            event.as_object().map(serde_json::Map::len),
            Some(5),
            "{line}"
        );
        let _: jiff::Timestamp = text("time").parse().expect("RFC 3339");
        assert_eq!(text("lock"), "job", "{line}");
        assert!(!text("message").is_empty(), "{line}");
        let row = format!("\n| `{}` | {} | ", text("event"), text("level"));
        assert!(page.contains(&row), "{row:?} is not documented");
        text("event")
    });
    events.collect()
}

#[test]
fn what_happens_is_told_to_programs_by_documented_names() {
    let etcd = Etcd::start();
    let job = || etcd.run("job").arguments(["--log-format", "json"]);
    let quiet = job().shell("true").output();
    assert_eq!(events(&quiet), [""; 0]);
    let verbose = job().arguments(["-v"]).shell("true").output();
    let mut told = events(&verbose);
    told.dedup();
    let told: Vec<&str> = told
        .iter()
        .map(String::as_str)
        .filter(|name| *name != "remark")
        .collect();
    assert_eq!(told, ["setting", "ability", "acquired"]);
    let holder = etcd.hold("job");
    let busy = job().arguments(["-n"]).shell("true").output();
    assert_eq!(events(&busy), ["busy"]);
    let waiter = job().shell("true").spawn();
    waiter.expect_stderr("waiting");
    waiter.signal(Signal::SIGTERM);
    assert_eq!(
        events(&waiter.wait_within(SOON)),
        ["waiting", "interrupted"]
    );
    holder.stop_and_wait();
    let max_runtime = job().arguments(["--max-runtime", "0.3"]).shell("sleep 60");
    assert_eq!(events(&max_runtime.output()), ["stopping", "max-runtime"]);
    let left = job()
        .arguments(["--on-leftover", "kill"])
        .shell("sleep 60 > /dev/null 2>&1 &");
    assert_eq!(events(&left.output()), ["leftovers"]);
    let refused = job().arguments(["--ttl", "1"]).shell("true").output();
    assert_eq!(events(&refused), ["usage"]);
    let nobody = Run::new("127.0.0.1:1")
        .lock("job")
        .arguments(["--log-format", "json"]);
    let nobody = nobody.arguments(["--connect-timeout", "0.3"]).shell("true");
    assert_eq!(events(&nobody.output()), ["unavailable"]);
}
