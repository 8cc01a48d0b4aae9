//! `--local`: what is not the same as with etcd. What is the same runs against a folder too: `in_a_folder::` everywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::{TempDir, tempdir};

use crate::harness::anatomy::{freeze, is_root, nobodys_uid};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::leasehold::{Run, Running, binary, probe};
use crate::harness::processes::Moment;
use crate::harness::together::in_threads;
use crate::harness::untested;

/// Far above what any of them makes.
const CALLS_MAX: usize = 2000;

fn folder() -> TempDir {
    tempdir().expect("a folder")
}

/// `leasehold run --local=FOLDER NAME`.
fn run(folder: &Path, name: &str) -> Run {
    let folder = folder.to_str().expect("a readable path");
    Run::program(binary())
        .lock(name)
        .arguments([&format!("--local={folder}")])
}

fn hold(folder: &Path, name: &str) -> Running {
    let holder = run(folder, name).shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    holder
}

fn token(folder: &Path, name: &str) -> i64 {
    let output = run(folder, name)
        .arguments(["-q", "--lock-delay", "0"])
        .shell("echo $LEASEHOLD_TOKEN")
        .output();
    output.assert_status(0);
    output.stdout.trim().parse().expect("a token")
}

#[test]
fn a_machine_needs_nothing_but_leasehold_and_the_usual_folder_is_that_of_the_user() {
    let home = folder();
    let usual = |run: Run| run.variable("HOME", home.path().to_str().expect("a readable path"));
    let job = || {
        Run::program(binary())
            .lock("job")
            .arguments(["-v", "--local"])
    };
    if !is_root() {
        let run = usual(job().shell("echo $LEASEHOLD_LOCAL")).output();
        let expected = home.path().join(".local/state/leasehold");
        run.assert_status(0)
            .assert_stdout(&format!("{}\n", expected.display()));
        return untested::not_allowed("root's folder is root's");
    }
    let uid = nobodys_uid();
    nix::unistd::chown(home.path(), Some(uid.into()), None).expect("root may");
    let other = usual(job().shell("echo $LEASEHOLD_LOCAL").by_user(uid)).output();
    let expected = home.path().join(".local/state/leasehold");
    other
        .assert_status(0)
        .assert_stdout(&format!("{}\n", expected.display()))
        .assert_stderr_has([expected.to_str().expect("a readable path")]);
    let root = job().shell("echo $LEASEHOLD_LOCAL").output();
    root.assert_status(0)
        .assert_stdout("/var/lib/leasehold\n")
        .assert_stderr_has(["/var/lib/leasehold"]);
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_and_says_why() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    for path in [file.as_path(), &file.join("below")] {
        run(path, "job")
            .shell("echo ran")
            .output()
            .assert_status(78)
            .assert_stdout("")
            .assert_stderr_has([path.to_str().expect("a readable path")])
            .assert_nobody_left();
    }
    // Another layout, and something else.
    let newer = folder.path().join("newer");
    assert_eq!(token(&newer, "job"), 2);
    let db = rusqlite::Connection::open(newer.join("store.db")).expect("a store");
    db.pragma_update(None, "user_version", 99).expect("written");
    drop(db);
    run(&newer, "job")
        .shell("echo ran")
        .output()
        .assert_status(78)
        .assert_stdout("")
        .assert_stderr_has(["made by a newer leasehold"]);
    let garbled = folder.path().join("garbled");
    fs::create_dir(&garbled).expect("made");
    fs::write(garbled.join("store.db"), vec![b'x'; 5000]).expect("written");
    run(&garbled, "job")
        .shell("echo ran")
        .output()
        .assert_status(78)
        .assert_stdout("")
        .assert_stderr_has(["none of leasehold's"]);
}

#[test]
fn a_user_who_may_not_enter_is_refused_with_77() {
    if !is_root() {
        return untested::not_allowed("only root can be another user");
    }
    let folder = folder();
    let locks = folder.path().join("locks");
    let _holder = hold(&locks, "job");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("ours");
    run(&locks, "job")
        .arguments(["-n"])
        .shell("echo ran")
        .by_user(nobodys_uid())
        .output()
        .assert_status(77)
        .assert_stdout("")
        .assert_stderr_has(["Permission denied"]);
}

#[test]
fn a_folder_of_somebody_else_is_refused_and_says_whose_it_is() {
    if !is_root() {
        return untested::not_allowed("only root can be another user");
    }
    let folder = folder();
    let locks = folder.path().join("locks");
    let other = nobodys_uid();
    fs::create_dir(&locks).expect("made");
    nix::unistd::chown(&locks, Some(other.into()), None).expect("root may");
    let why = format!("belongs to the user with the id {other}, and this is 0");
    let refused = run(&locks, "job").shell("echo ran").output();
    refused
        .assert_status(77)
        .assert_stdout("")
        .assert_stderr_has([&why, "--local=DIR", locks.to_str().expect("readable")]);
    let path = locks.to_str().expect("readable");
    let status = Run::program(binary()).arguments(["status", "job", &format!("--local={path}")]);
    status.output().assert_status(77).assert_stdout("");
    assert_eq!(fs::read_dir(&locks).expect("a folder").count(), 0);
    // Its owner may, and so may whoever is given the right to write into it: not.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    fs::set_permissions(&locks, fs::Permissions::from_mode(0o777)).expect("root may");
    let by_owner = run(&locks, "job").shell("echo ran").by_user(other);
    by_owner.output().assert_status(0).assert_stdout("ran\n");
    let stranger = run(&locks, "job").shell("echo ran").by_user(other + 1);
    stranger.output().assert_status(77).assert_stdout("");
}

#[test]
fn who_waits_or_must_not_is_told_in_which_folder_and_status_that_no_time_is_left_to_run_out() {
    let folder = folder();
    let holder = hold(folder.path(), "job");
    let path = folder.path().to_str().expect("readable");
    let named = format!("(lock folder {path})");
    let busy = run(folder.path(), "job")
        .arguments(["-n"])
        .shell("echo ran");
    busy.output()
        .assert_status(75)
        .assert_stderr_has(["the lock is busy", &named]);
    let waiter = run(folder.path(), "job").shell("echo ran").spawn();
    let said = waiter.expect_stderr("waiting for job");
    assert!(said.contains(&named), "{said}");
    let local = format!("--local={path}");
    let status = |also| {
        let run = Run::program(binary()).arguments(["status", "job", &local]);
        run.all_arguments(also).output()
    };
    let people = status(&[]);
    people.assert_status(0);
    assert!(people.stdout.contains("ends with its run"), "{people:?}");
    let json = status(&["--json"]);
    json.assert_status(0);
    assert!(json.stdout.contains("\"remaining_s\":null"), "{json:?}");
    holder.wait().assert_status(0);
    waiter.wait().assert_status(0).assert_stdout("ran\n");
}

#[test]
fn without_space_a_run_is_refused_and_one_that_holds_the_lock_ends_as_it_does() {
    if !is_root() {
        return untested::not_allowed("only root may mount");
    }
    let folder = folder();
    let path = folder.path().to_str().expect("a readable path");
    let script = format!(
        "mount -t tmpfs -o size=300k none {path} && {} run --local={path} job -- sh -c 'cat /dev/zero >{path}/full 2>&1; exit 3'; \
         echo $?; {} run --local={path} job -- echo ran; echo $?; rm {path}/full; {} run --local={path} job -- echo ran",
        binary(),
        binary(),
        binary(),
    );
    let output = Run::program("unshare")
        .arguments(["--mount", "sh", "-c", &script])
        .output();
    output.assert_status(0).assert_stdout("3\n69\nran\n");
    output.assert_stderr_has(["no space is left"]);
}

#[test]
fn a_folder_that_is_removed_takes_the_lock_from_its_holder_at_once() {
    let folder = folder();
    let locks = folder.path().join("locks");
    // Long before its lease would be over.
    let holder = run(&locks, "job")
        .shell("echo ready; exec sleep 1000")
        .spawn();
    holder.expect_stdout("ready");
    let waiter = run(&locks, "job").shell("echo ran").spawn();
    waiter.expect_stderr("waiting for job");
    // SQLite may be making a file in it.
    eventually("it is removed", SOON, || fs::remove_dir_all(&locks));
    let why = "the folder that it was in was removed or replaced";
    holder
        .wait_within(SOON)
        .assert_status(79)
        .assert_stderr_has([why])
        .assert_nobody_left();
    // Its life was in that folder too.
    waiter
        .wait_within(SOON)
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has([why]);
    assert_eq!(token(&locks, "job"), 2);
}

/// Somebody was stopped in the middle of a change.
#[test]
fn a_holder_renews_whoever_has_the_gate() {
    let folder = folder();
    let holder = run(folder.path(), "job")
        .ttl(3)
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let gate = fs::File::open(folder.path().join("gate")).expect("a gate");
    gate.lock().expect("a lock");
    let began = Moment::now();
    run(folder.path(), "job")
        .arguments(["--connect-timeout", "0.5"])
        .shell("echo ran")
        .output()
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has(["is one of them stopped?"]);
    let_time_pass_until(began + Duration::from_secs(6));
    drop(gate);
    holder.wait().assert_status(0).assert_silent();
}

#[test]
fn a_waiter_that_is_stopped_does_not_hold_up_those_behind_it_for_longer_than_its_ttl() {
    let folder = folder();
    let holder = hold(folder.path(), "job");
    let second = run(folder.path(), "job")
        .ttl(3)
        .shell("echo ran second")
        .spawn();
    second.expect_stderr("waiting for job");
    let third = run(folder.path(), "job").shell("echo ran third").spawn();
    third.expect_stderr("waiting for job");
    for process in second.processes() {
        freeze(&process);
    }
    let stopped = second.processes();
    holder.wait().assert_status(0);
    third.wait().assert_status(0).assert_stdout("ran third\n");
    for process in stopped {
        process.signal(Signal::SIGCONT);
    }
    second
        .wait()
        .assert_status(0)
        .assert_stdout("ran second\n")
        .assert_stderr_has(["queueing again"]);
}

#[test]
fn what_etcd_alone_can_do_is_refused_with_64() {
    let folder = folder();
    let path = folder.path().to_str().expect("a readable path");
    let local = format!("--local={path}");
    Run::program(binary())
        .arguments(["doctor", &local])
        .output()
        .assert_status(64)
        .assert_stderr_has(["doctor needs etcd", path]);
    let script = format!(
        "{0} fence check && {0} fence put key value; echo $?; {0} fence delete key; echo $?",
        binary()
    );
    run(folder.path(), "job")
        .shell(&script)
        .output()
        .assert_status(0)
        .assert_stdout("64\n64\n")
        .assert_stderr_has(["fence put needs etcd", "fence delete needs etcd"]);
    for also in ["--endpoints=a:1", "--user=me", "--cacert=ca"] {
        run(folder.path(), "job")
            .arguments([also])
            .shell("echo ran")
            .output()
            .assert_status(64)
            .assert_stdout("");
    }
}

#[test]
fn fifty_contenders_leave_nothing_and_their_tokens_grow() {
    let folder = folder();
    let log = folder.path().join("log");
    let log = log.to_str().expect("readable");
    in_threads(50, 0..200, |_| {
        run(folder.path(), "job")
            .arguments(["-q"])
            .probe(["witness", log])
            .output()
            .assert_status(0)
            .assert_silent();
    });
    let log = fs::read_to_string(log).expect("written");
    let tokens: Vec<i64> = log
        .lines()
        .map(|line| {
            line.split(' ')
                .next()
                .and_then(|token| token.parse().ok())
                .expect("a token")
        })
        .collect();
    assert_eq!(tokens.len(), 200);
    assert!(tokens.is_sorted_by(|one, two| one < two), "{tokens:?}");
    for left in ["leases", "bells"] {
        let left = fs::read_dir(folder.path().join(left)).expect("a folder");
        assert_eq!(left.count(), 0);
    }
}

/// SIGKILL at each system call of a release, of any thread of the manager: whoever comes next gets the lock at once, and
/// a greater token. (The same for what comes before the command: `births::in_a_folder`.)
#[test]
fn whatever_system_call_of_a_release_is_the_last_the_next_one_proceeds_and_tokens_grow() {
    let folder = folder();
    let killed_at = |call: usize| {
        let lock = call.to_string();
        run(folder.path(), &lock)
            .arguments(["-q", "--lock-delay", "0"])
            .command(["true"])
            .wrapped([&probe(), "killed-after", "2", &lock])
            .output()
    };
    if killed_at(CALLS_MAX).stderr.contains("ptrace") {
        return untested::not_allowed("nobody may trace here");
    }
    let over = AtomicBool::new(false);
    in_threads(4, 1..CALLS_MAX, |call| {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let before = token(folder.path(), "counter");
        let output = killed_at(call);
        output.assert_nobody_left();
        match output.status.code() {
            Some(0) => over.store(true, Ordering::Relaxed),
            status => assert!(matches!(status, Some(0 | 79)), "{}", output.describe()),
        }
        assert!(
            before < token(folder.path(), &call.to_string()),
            "call {call}"
        );
    });
    assert!(over.load(Ordering::Relaxed), "a release has an end");
}
