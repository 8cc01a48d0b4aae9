//! `--metrics-file`: how the last run ended, as Prometheus reads it, for every ending.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::{TempDir, tempdir};

use crate::harness::anatomy::{Own, is_root};
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::Run;
use crate::harness::prometheus::{promtool, samples};
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::untested;

pub(crate) fn metrics_path() -> (TempDir, PathBuf) {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("job.prom");
    (folder, path)
}

impl Run {
    pub(crate) fn metrics(self, path: &Path) -> Self {
        self.arguments(["--metrics-file", path.to_str().expect("readable")])
    }
}

/// What the file says of the lock `job`; nothing where this machine has no parser.
#[track_caller]
fn read(path: &Path) -> Option<Read> {
    promtool(&["check", "metrics"], Some(path));
    samples(path, "job").map(Read)
}

struct Read(BTreeMap<String, f64>);

impl Read {
    #[track_caller]
    fn get(&self, name: &str) -> f64 {
        let value = self.0.get(name);
        *value.unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// This outcome is the only one.
    #[track_caller]
    fn expect(&self, outcome: &str) -> &Self {
        let states = self
            .0
            .iter()
            .filter(|(name, _)| name.starts_with("outcome/"));
        let set: Vec<&str> = states
            .filter(|(_, value)| **value == 1.0)
            .map(|(name, _)| name.trim_start_matches("outcome/"))
            .collect();
        assert_eq!(set, [outcome], "{:?}", self.0);
        self
    }

    /// What is kept of the last run of the command.
    fn last_run(&self) -> Vec<(&String, &f64)> {
        let of_run = ["start", "end", "duration", "success", "exit_status"];
        let is_of_run = |name: &str| of_run.iter().any(|part| name.starts_with(part));
        self.0.iter().filter(|(name, _)| is_of_run(name)).collect()
    }
}

#[test]
fn a_good_run_is_measured_whole() {
    let etcd = Service::start();
    let (folder, path) = metrics_path();
    let before = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    let run = etcd.run("job").metrics(&path).shell("sleep 0.2");
    run.output().assert_status(0).assert_silent();
    let after = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    let files = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(files, 1, "nothing is left beside it");
    let mode = std::fs::metadata(&path)
        .expect("written")
        .permissions()
        .mode();
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    assert_eq!(
        mode & 0o777,
        0o644 & !umask.bits(),
        "node_exporter is another user"
    );
    let Some(read) = read(&path) else { return };
    read.expect("exited");
    assert_eq!(read.get("exit_status"), 0.0);
    let times: Vec<f64> = ["attempt", "start", "end", "success"]
        .map(|name| read.get(&format!("{name}_timestamp_seconds")))
        .to_vec();
    // Thousandths are cut off.
    assert!(
        before <= times[0] + 0.001 && times.is_sorted() && times[3] <= after,
        "{times:?}"
    );
    assert_eq!(times[2], times[3]);
    let duration = read.get("duration_seconds");
    assert!((0.2..5.0).contains(&duration), "{duration}");
    assert!(read.get("wait_seconds") < 5.0);
}

#[test]
fn the_umask_of_whoever_runs_it_is_honoured() {
    let etcd = Service::start();
    for (umask, wanted) in [("022", 0o644), ("027", 0o640), ("077", 0o600)] {
        let (_folder, path) = metrics_path();
        let run = etcd.run("job").metrics(&path).shell("true");
        let script = format!("umask {umask}; exec \"$@\"");
        run.wrapped(["sh", "-c", &script, "sh"])
            .output()
            .assert_status(0);
        let mode = std::fs::metadata(&path)
            .expect("written")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, wanted, "{umask}");
    }
}

#[test]
fn a_skip_looks_neither_like_a_failure_nor_like_a_success() {
    let etcd = Service::start();
    let (_folder, path) = metrics_path();
    let job = |arguments: &[&str]| {
        let run = etcd.run("job").metrics(&path).all_arguments(arguments);
        run.shell("true")
    };
    job(&["--once", "a"]).output().assert_status(0);
    let first = read(&path);
    job(&["--once", "a"]).output().assert_status(0);
    let done = read(&path);
    let holder = etcd.hold("job");
    job(&["-n"]).output().assert_status(75);
    let busy = read(&path);
    let older = job(&["--queue", "latest"]).spawn();
    older.expect_stderr("waiting");
    let newer = etcd
        .run("job")
        .arguments(["--queue", "latest"])
        .shell("true")
        .spawn();
    older.wait_within(SOON).assert_status(76);
    let superseded = read(&path);
    newer.signal(Signal::SIGTERM);
    newer.wait().assert_signal(15);
    drop(holder);
    let Some(first) = first else { return };
    let skips = [
        (done, "already-done"),
        (busy, "busy"),
        (superseded, "superseded"),
    ];
    for (read, outcome) in skips {
        let read = read.expect("there is a parser");
        read.expect(outcome);
        assert_eq!(read.last_run(), first.last_run(), "{outcome}");
        let attempt = "attempt_timestamp_seconds";
        assert!(read.get(attempt) > first.get(attempt), "{outcome}");
    }
}

#[test]
fn a_failure_keeps_the_last_success_and_without_one_there_is_none() {
    let etcd = Service::start();
    let (_folder, path) = metrics_path();
    let job = |script: &str| etcd.run("job").metrics(&path).shell(script).output();
    job("exit 3").assert_status(3);
    let failed = read(&path);
    job("true").assert_status(0);
    let succeeded = read(&path);
    job("kill -9 $$").assert_signal(9);
    let Some(killed) = read(&path) else { return };
    let success = "success_timestamp_seconds";
    let (failed, succeeded) = (failed.expect("parsed"), succeeded.expect("parsed"));
    failed.expect("exited");
    assert!(!failed.has(success), "{:?}", failed.0);
    assert_eq!(failed.get("exit_status"), 3.0);
    killed.expect("signaled");
    assert_eq!(killed.get("exit_status"), 137.0);
    assert_eq!(killed.get(success), succeeded.get(success));
    let end = "end_timestamp_seconds";
    assert!(killed.get(end) > succeeded.get(end));
}

#[test]
fn what_never_ran_is_measured_too() {
    let mut etcd = Service::start();
    let (folder, path) = metrics_path();
    let job = |etcd: &Service| etcd.run("job").metrics(&path).shell("true");
    let wrong = folder.path().join("config.toml");
    std::fs::write(&wrong, "tll = 5\n").expect("written");
    let wrong = wrong.to_str().expect("readable");
    let report = "/nonexistent/report";
    let misplaced = etcd.run("job").metrics(&path);
    let misplaced = misplaced.words(["--ttl", "60", "--", "true"]);
    for (run, status, outcome) in [
        (job(&etcd).arguments(["--ttl", "1"]), 64, "usage"),
        (misplaced, 64, "usage"),
        (job(&etcd).arguments(["--report", report]), 64, "usage"),
        (
            job(&etcd).arguments(["--config", wrong]),
            78,
            "configuration",
        ),
        (
            etcd.run("job").metrics(&path).command(["/none"]),
            127,
            "not-found",
        ),
        (
            etcd.run("job").metrics(&path).command(["/etc/passwd"]),
            126,
            "not-executable",
        ),
    ] {
        let output = run.output();
        output.assert_status(status);
        let Some(read) = read(&path) else { continue };
        read.expect(outcome);
        assert_eq!(
            read.get("exit_status"),
            f64::from(status),
            "{}",
            output.describe()
        );
        assert!(
            !read.has("start_timestamp_seconds"),
            "{}",
            output.describe()
        );
        std::fs::remove_file(&path).expect("ours");
    }
    etcd.enable_users("secret");
    job(&etcd).output().assert_status(77);
    if let Some(read) = read(&path) {
        read.expect("denied");
    }
    etcd.only().stop();
    let run = job(&etcd).arguments(["--connect-timeout", "0.5"]);
    run.output().assert_status(69);
    if let Some(read) = read(&path) {
        read.expect("unavailable");
        assert_eq!(read.get("exit_status"), 69.0);
        let waited = read.get("wait_seconds");
        assert!((0.4..5.0).contains(&waited), "{waited}");
    }
}

#[test]
fn a_name_that_is_none_breaks_no_format() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("x.prom");
    let name = "a\"b\\c\nd é";
    let run = Run::new("127.0.0.1:1")
        .lock(name)
        .metrics(&path)
        .shell("true");
    run.output().assert_status(64);
    promtool(&["check", "metrics"], Some(&path));
    // The parser gives back what was typed.
    if let Some(samples) = samples(&path, name) {
        assert_eq!(samples["outcome/usage"], 1.0);
    }
}

#[test]
fn whichever_of_leaseholds_processes_is_killed_the_others_write_it() {
    let etcd = Service::start();
    for (victim, outcome, status) in [
        ("front", "front-killed", 137.0),
        ("witness", "lost", 79.0),
        ("manager", "lost", 79.0),
    ] {
        let (_folder, path) = metrics_path();
        let job = etcd
            .run("job")
            .metrics(&path)
            .ttl(3)
            .arguments(["--lock-delay", "0"]);
        let running = job.probe(["tree", "plain"]).spawn();
        running.expect_stdout("ready");
        let own = Own::of(&running);
        match victim {
            "front" => own.front.signal(Signal::SIGKILL),
            "witness" => own.witness.signal(Signal::SIGKILL),
            _ => own.manager.signal(Signal::SIGKILL),
        }
        let output = running.wait();
        output.assert_nobody_left();
        let is_written = || path.metadata().is_ok_and(|file| file.len() > 0);
        eventually("it is written", SOON, || {
            is_written().then_some(()).ok_or("not yet")
        });
        let Some(read) = read(&path) else { continue };
        read.expect(outcome);
        assert_eq!(read.get("exit_status"), status, "{victim}");
        assert!(
            read.has("start_timestamp_seconds"),
            "{victim}: {:?}",
            read.0
        );
        assert!(read.has("duration_seconds"), "{victim}: {:?}", read.0);
        assert!(
            !read.has("success_timestamp_seconds"),
            "{victim}: {:?}",
            read.0
        );
    }
}

#[test]
fn a_file_for_each_lock_in_a_folder_that_config_toml_names() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let config = folder.path().join("config.toml");
    std::fs::create_dir(folder.path().join("prom")).expect("made");
    std::fs::write(&config, "metrics_file = \"prom\"\n").expect("written");
    let config = config.to_str().expect("readable");
    for name in ["job", "deploy/prod"] {
        let run = etcd.run(name).arguments(["--config", config]);
        run.shell("true").output().assert_status(0);
    }
    // Also a run that is refused, though not for the file.
    let run = etcd
        .run("night/1")
        .arguments(["--config", config, "--ttl", "1"]);
    run.shell("true").output().assert_status(64);
    let files = std::fs::read_dir(folder.path().join("prom")).expect("a folder");
    let mut names: Vec<String> = files
        .map(|file| {
            file.expect("readable")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    let wanted = [
        "leasehold-deploy%prod.prom",
        "leasehold-job.prom",
        "leasehold-night%1.prom",
    ];
    assert_eq!(names, wanted);
    if let Some(samples) = samples(&folder.path().join("prom").join(wanted[0]), "deploy/prod") {
        assert_eq!(samples["outcome/exited"], 1.0);
    }
}

#[test]
fn a_file_of_two_locks_is_refused_and_a_wrong_one_in_config_toml_is_78() {
    let etcd = Service::start();
    let (folder, path) = metrics_path();
    let job = |name: &str| etcd.run(name).metrics(&path).shell("echo ran");
    job("job").output().assert_status(0);
    let before = std::fs::read_to_string(&path).expect("written");
    let other = job("other").output();
    other
        .assert_status(64)
        .assert_stdout("")
        .assert_stderr_has(["is that of the lock job", "name a folder"]);
    let after = std::fs::read_to_string(&path).expect("written");
    assert_eq!(before, after, "nothing of the other lock is lost");
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "metrics_file = \"none/job.prom\"\n").expect("written");
    let config = config.to_str().expect("readable");
    let run = etcd
        .run("job")
        .arguments(["--config", config])
        .shell("echo ran");
    run.output()
        .assert_status(78)
        .assert_stdout("")
        .assert_stderr_has(["none/job.prom cannot be written", config]);
}

#[test]
fn a_file_that_cannot_be_written_is_found_out_before_the_lock_is_taken() {
    let etcd = Service::start();
    let (folder, report) = metrics_path();
    for path in ["/nonexistent/job.prom", "/dev/stdout", "/dev/full/job.prom"] {
        let run = etcd.run("job").metrics(Path::new(path)).report(&report);
        let output = run.shell("echo ran").output();
        output
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has(["the metrics file", path, "cannot be written"]);
        let report = std::fs::read_to_string(&report).expect("the other file is written");
        assert!(report.contains("\"usage\""), "{report}");
    }
    // Unless the folder of the file is a file.
    drop(folder);
    etcd.store().assert_clean();
}

#[test]
fn a_disk_that_is_full_at_the_end_is_said_and_changes_nothing() {
    if !is_root() {
        return untested::not_allowed("a small disk needs root's rights");
    }
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let place = folder.path().to_str().expect("readable");
    let path = folder.path().join("job.prom");
    // Full by the command itself.
    let fill = format!("cat /dev/zero > {place}/filling 2>/dev/null; exit 3");
    let run = etcd.run("job").metrics(&path).shell(&fill);
    let run = run.after_mounts(&format!("mount -t tmpfs -o size=64k leasehold {place}"));
    run.output().assert_status(3).assert_stderr_has([
        "job: the metrics file could not be written",
        "No space left",
    ]);
    etcd.store().assert_clean();
}

#[test]
fn two_runs_that_end_at_once_take_no_success_from_each_other() {
    let etcd = Service::start();
    let (_folder, path) = metrics_path();
    for round in 0..5 {
        let script = "read line; true";
        let runner = etcd
            .run("job")
            .metrics(&path)
            .shell(&format!("echo ready; {script}"));
        let mut runner = runner.spawn();
        runner.expect_stdout("ready");
        let skippers: Vec<_> = (0..3)
            .map(|_| {
                etcd.run("job")
                    .arguments(["-w", "0.05"])
                    .metrics(&path)
                    .shell("true")
                    .spawn()
            })
            .collect();
        runner.close_stdin();
        runner.wait().assert_status(0);
        for skipper in skippers {
            // Some get the lock after all.
            let _ = skipper.wait();
        }
        let Some(read) = read(&path) else { return };
        let (start, success) = ("start_timestamp_seconds", "success_timestamp_seconds");
        assert!(
            read.get(success) >= read.get(start),
            "round {round}: {:?}",
            read.0
        );
    }
}

#[test]
fn a_wait_is_measured_apart_from_the_run() {
    let etcd = Service::start();
    let (_folder, path) = metrics_path();
    let holder = etcd.hold("job");
    let waiter = etcd.run("job").metrics(&path).shell("true").spawn();
    waiter.expect_stderr("waiting");
    let began = std::time::Instant::now();
    eventually("half a second has passed", SOON, || {
        (began.elapsed() > Duration::from_millis(500))
            .then_some(())
            .ok_or("not yet")
    });
    holder.stop_and_wait();
    waiter.wait_within(SOON).assert_status(0);
    let Some(read) = read(&path) else { return };
    let (wait, duration) = (read.get("wait_seconds"), read.get("duration_seconds"));
    assert!(wait >= 0.5 && duration < wait, "{wait} {duration}");
}

in_a_folder_too![
    a_good_run_is_measured_whole,
    the_umask_of_whoever_runs_it_is_honoured,
    a_skip_looks_neither_like_a_failure_nor_like_a_success,
    a_failure_keeps_the_last_success_and_without_one_there_is_none,
    whichever_of_leaseholds_processes_is_killed_the_others_write_it,
    a_file_for_each_lock_in_a_folder_that_config_toml_names,
    a_file_of_two_locks_is_refused_and_a_wrong_one_in_config_toml_is_78,
    a_file_that_cannot_be_written_is_found_out_before_the_lock_is_taken,
    a_disk_that_is_full_at_the_end_is_said_and_changes_nothing,
    two_runs_that_end_at_once_take_no_success_from_each_other,
    a_wait_is_measured_apart_from_the_run,
];
