//! `--local` as README.md and docs/local.md tell of it, where no other test shows it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::tempdir;

use crate::harness::anatomy::{Own, freeze, is_root, nobodys_uid};
use crate::harness::eventually::{SOON, let_time_pass_until};
use crate::harness::leasehold::{Run, binary};
use crate::harness::processes::Moment;
use crate::harness::untested;

const README: &str = include_str!("../../README.md");

/// Where root's locks are.
const USUAL: &str = "/var/lib/leasehold";

fn run(folder: &Path, name: &str) -> Run {
    let folder = folder.to_str().expect("a readable path");
    Run::program(binary())
        .lock(name)
        .arguments([&format!("--local={folder}")])
}

/// Numbers and people are others each time.
fn masked(text: &str) -> Vec<Vec<String>> {
    let mask = |word: &str| {
        if word.contains('@') {
            return "WHO".to_owned();
        }
        let mut masked = String::new();
        for c in word.chars() {
            match c.is_ascii_digit() {
                true if masked.ends_with('N') => {}
                true => masked.push('N'),
                false => masked.push(c),
            }
        }
        masked
    };
    let words = |line: &str| line.split_whitespace().map(mask).collect();
    text.lines().map(words).collect()
}

#[test]
fn the_first_example_of_the_readme_needs_no_server_and_says_what_stands_there() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().to_str().expect("readable");
    let (_, rest) = README.split_once("```console\n").expect("an example");
    let (block, _) = rest.split_once("```").expect("its end");
    let typed: Vec<&str> = block
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    let programs = Path::new(binary()).parent().expect("a folder");
    let bash = |typed: &str| {
        assert!(typed.contains(" --local "), "{typed}");
        let typed = typed.replace("--local ", &format!("--local={path} "));
        let path = format!("{}:/usr/bin:/bin", programs.display());
        let script = format!("PATH={path}; {}", typed.trim_end_matches(" &"));
        Run::program("bash").arguments(["-c", &script])
    };
    let [first, status, second] = typed[..] else {
        panic!("three commands: {typed:?}");
    };
    let running = bash(first).spawn();
    running.expect_stdout("token");
    let mut seen = format!("$ {first}\n{}", "token 2\n");
    let told = bash(status).output();
    told.assert_status(0);
    seen.push_str(&format!("$ {status}\n{}", told.stdout));
    let next = bash(second).output();
    next.assert_status(0);
    running.wait().assert_status(0).assert_stdout("token 2\n");
    seen.push_str(&format!("$ {second}\n{}{}", next.stderr, next.stdout));
    assert_eq!(masked(block), masked(&seen.replace(path, USUAL)));
}

#[test]
fn who_waits_does_not_poll() {
    let folder = tempdir().expect("a folder");
    let holder = run(folder.path(), "job").shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = run(folder.path(), "job").shell("echo ran").spawn();
    waiter.expect_stderr("waiting for job");
    let manager = Own::of(&waiter).manager;
    let wakings = || -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", manager.pid)).expect("it lives");
        let of_task = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        };
        tasks.flatten().filter_map(of_task).sum()
    };
    let_time_pass_until(Moment::now() + Duration::from_secs(1));
    let (began, before) = (Moment::now(), wakings());
    let_time_pass_until(began + Duration::from_secs(3));
    let woken = wakings() - before;
    // One look, at the most; once in 100 ms would be thirty.
    assert!(woken <= 15, "woken {woken} times in 3 s");
    holder.wait().assert_status(0);
    waiter.wait().assert_status(0).assert_stdout("ran\n");
}

/// What is on the disk survives a power cut, and a token that the command has seen is.
#[test]
fn a_token_is_on_the_disk_before_the_command_has_it() {
    let folder = tempdir().expect("a folder");
    if !Path::new("/usr/bin/strace").exists() {
        return untested::missing("strace");
    }
    let log = folder.path().join("log");
    let log = log.to_str().expect("readable");
    let calls = "trace=execve,fsync,fdatasync,pwrite64,write,pwritev";
    let traced = |name: &str| {
        run(&folder.path().join("locks"), name)
            .arguments(["-q"])
            .command(["/bin/true"])
            .wrapped(["strace", "-f", "-qq", "-y", "-o", log, "-e", calls])
            .output()
    };
    // The first one makes the store.
    for name in ["one", "two"] {
        let output = traced(name);
        if output.stderr.contains("ptrace") {
            return untested::not_allowed("nobody may trace here");
        }
        output.assert_status(0);
        let log = fs::read_to_string(log).expect("written");
        let begins = log.find("execve(\"/bin/true\"").expect("it began");
        let before = &log[..begins];
        let in_the_log = |call: &&str| call.contains("store.db-wal");
        let written = before
            .lines()
            .filter(in_the_log)
            .filter(|call| call.contains("write"));
        assert!(written.count() > 0, "{before}");
        let last = before.lines().rfind(in_the_log).expect("the log is used");
        assert!(last.contains("sync("), "{last}");
    }
}

#[test]
fn with_all_of_leasehold_killed_the_lock_is_free_after_the_lock_delay() {
    let folder = tempdir().expect("a folder");
    let holder = run(folder.path(), "job")
        .arguments(["--lock-delay", "1"])
        .shell("setsid sleep 1000 & echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let next = run(folder.path(), "job").shell("echo ran").spawn();
    next.expect_stderr("waiting for job");
    let tree = holder.command_processes();
    let own = Own::of(&holder);
    let all = [own.front, own.witness, own.manager];
    // Nobody sees the others die, and has the time to kill the tree.
    all.iter().for_each(freeze);
    let struck_at = Moment::now();
    all.iter()
        .for_each(|process| process.signal(Signal::SIGKILL));
    let next = next.wait();
    next.assert_status(0).assert_stdout("ran\n");
    let waited = next.ended_at.since(struck_at);
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert!(waited < SOON, "{waited:?}");
    // The command itself died with the manager, and what it had started lives on.
    let left: Vec<_> = tree.iter().filter(|process| !process.is_dead()).collect();
    assert_eq!(left.len(), tree.len() - 1, "{left:?}");
    holder.vanish();
}

#[test]
fn a_name_that_looks_like_a_path_is_none_and_one_with_slashes_makes_no_folder() {
    let folder = tempdir().expect("a folder");
    let locks = folder.path().join("locks");
    for name in ["../job", "a/../../job", "/job", "job/", ".", "a//b"] {
        let refused = run(&locks, name).shell("echo ran").output();
        refused.assert_status(64).assert_stdout("");
    }
    assert!(!locks.exists(), "nothing was asked of the folder");
    let output = run(&locks, "a/b/leases").shell("echo ran").output();
    output.assert_status(0).assert_stdout("ran\n");
    let mut found: Vec<String> = fs::read_dir(&locks)
        .expect("a folder")
        .map(|file| file.expect("a file").file_name().display().to_string())
        .filter(|name| !name.starts_with("store.db-"))
        .collect();
    found.sort();
    assert_eq!(found, ["bells", "gate", "leases", "store.db", "trial"]);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_refused_with_77() {
    if !is_root() {
        return untested::not_allowed("only root can be another user");
    }
    let uid = nobodys_uid();
    let folder = tempdir().expect("a folder");
    let locks = folder.path().join("locks");
    fs::create_dir(&locks).expect("made");
    let mode = |path: &Path, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, mode).expect("root may");
    };
    mode(folder.path(), 0o755);
    mode(&locks, 0o500);
    nix::unistd::chown(&locks, Some(uid.into()), None).expect("root may");
    let refused = run(&locks, "job").shell("echo ran").by_user(uid).output();
    refused
        .assert_status(77)
        .assert_stdout("")
        .assert_stderr_has(["Permission denied"]);
}

#[test]
fn of_a_folder_and_a_cluster_the_one_that_is_believed_more_counts_and_false_means_etcd() {
    let home = tempdir().expect("a folder");
    let path = home.path().to_str().expect("readable");
    let config = home.path().join(".config/leasehold/config.toml");
    fs::create_dir_all(config.parent().expect("a folder")).expect("made");
    let folder = home.path().join("locks");
    let folder = folder.to_str().expect("readable");
    let local = || {
        let run = Run::program(binary()).variable("HOME", path).lock("job");
        run.arguments(["--connect-timeout", "0.5"])
    };
    let ran = |run: Run| {
        let output = run.shell("echo $LEASEHOLD_LOCAL").output();
        (output.status.code(), output.stdout.trim_end().to_owned())
    };
    let in_folder = (Some(0), folder.to_owned());
    let in_etcd = (Some(69), String::new());
    // Nothing listens there.
    let nowhere = "127.0.0.1:1";
    fs::write(&config, format!("local = \"{folder}\"\n")).expect("written");
    assert_eq!(ran(local()), in_folder);
    assert_eq!(
        ran(local().variable("LEASEHOLD_ENDPOINTS", nowhere)),
        in_etcd
    );
    assert_eq!(
        ran(local().arguments([&format!("--endpoints={nowhere}")])),
        in_etcd
    );
    let no = local().variable("LEASEHOLD_LOCAL", "false");
    assert_eq!(
        ran(no.variable("ETCDCTL_ENDPOINTS", nowhere)),
        in_etcd,
        "false means etcd"
    );
    let both = local().variable("LEASEHOLD_LOCAL", folder);
    let both = both.variable("LEASEHOLD_ENDPOINTS", nowhere);
    assert_eq!(ran(both).0, Some(78), "two answers");
    fs::write(&config, format!("endpoints = \"{nowhere}\"\n")).expect("written");
    assert_eq!(ran(local()), in_etcd);
    assert_eq!(
        ran(local().arguments([&format!("--local={folder}")])),
        in_folder
    );
}

/// The cluster is another one: so it is from a folder to etcd, and so it is here.
#[test]
fn a_fenced_resource_takes_the_tokens_of_one_folder_and_says_how_it_comes_to_take_anothers() {
    let folder = tempdir().expect("a folder");
    let state = folder.path().join("state");
    let state = state.to_str().expect("readable");
    let fenced = format!("{} fence run --state {state} -- echo fenced", binary());
    let in_folder = |name: &str| {
        let run = run(&folder.path().join(name), "job").arguments(["-q"]);
        run.shell(&fenced).output()
    };
    for _ in 0..2 {
        in_folder("one").assert_status(0).assert_stdout("fenced\n");
    }
    in_folder("another")
        .assert_status(64)
        .assert_stdout("")
        .assert_stderr_has(["cannot be compared", &format!("rm {state}")]);
}
