//! Machines that lack something, and limits that are reached: the table in docs/processes.md says what still
//! holds, and so do these.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, assert_dead_within, is_root};
use crate::harness::eventually::let_time_pass_until;
use crate::harness::leasehold::{Run, probe};
use crate::harness::processes::Moment;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::shell::{installed, typed};
use crate::harness::{untested, wall_clock};

/// The promise is 100 ms on a machine with time; tests share two cores with one another.
const SOON_DEAD: Duration = Duration::from_secs(2);

/// Refused before anything was asked for: nobody is left, and etcd has never heard of it.
#[track_caller]
fn assert_refused_untouched(etcd: &Service, run: Run, reason: &str) {
    run.output()
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has([reason])
        .assert_nobody_left();
    assert!(etcd.store().history("/leasehold/").is_empty());
}

#[test]
fn without_proc_a_run_is_refused_before_the_lock_is_taken() {
    let etcd = Service::start();
    let run = etcd.run("job").shell("echo ran");
    assert_refused_untouched(
        &etcd,
        run.clone().after_mounts("umount -l /proc"),
        "/proc is not mounted",
    );
    // A pid namespace that still sees the outer one's /proc.
    assert_refused_untouched(
        &etcd,
        run.clone().wrapped(["unshare", "--pid", "--fork"]),
        "that of another pid namespace",
    );
    // We see ours, but those that we fork are in another one.
    assert_refused_untouched(
        &etcd,
        run.wrapped(["unshare", "--pid"]),
        "unshare --pid without --fork",
    );
}

#[test]
fn where_descriptors_are_short_a_run_works_or_is_refused_before_the_lock_is_taken() {
    let etcd = Service::start();
    let limited = |limit: usize| {
        let limit = format!("--nofile={limit}");
        let run = etcd.run("job").shell("echo ran");
        run.wrapped(["prlimit", &limit])
    };
    for limit in (8..32).step_by(2) {
        assert_refused_untouched(&etcd, limited(limit), "raise ulimit -n");
    }
    limited(48)
        .output()
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn without_a_subreaper_a_run_is_refused_before_the_lock_is_taken() {
    let etcd = Service::start();
    let run = etcd.run("job").shell("echo ran").without("subreaper");
    assert_refused_untouched(&etcd, run, "subreaper");
}

#[test]
fn where_proc_hides_other_users_processes_the_own_tree_is_found_and_killed() {
    let etcd = Service::start();
    if !is_root() {
        return untested::not_allowed("only root can mount /proc with hidepid=2");
    }
    for shape in ["daemon", "deep:50"] {
        etcd.run("job")
            .arguments(["--max-runtime", "0.5", "-k", "0.2"])
            .probe(["tree", shape])
            .unprivileged()
            .after_mounts("mount -t proc -o hidepid=2 proc /proc")
            .wrapped(["unshare", "--pid", "--fork"])
            .output()
            .assert_status(124)
            .assert_nobody_left();
    }
    etcd.store().assert_clean();
}

#[test]
fn without_pidfds_everything_holds_and_v_says_so() {
    let etcd = Service::start();
    for shape in ["daemon", "deep:50", "wide:50"] {
        etcd.run("job")
            .arguments(["--max-runtime", "0.5", "-k", "0.2", "-v"])
            .probe(["tree", shape])
            .without("pidfd")
            .output()
            .assert_status(124)
            .assert_stderr_has(["no pidfd"])
            .assert_nobody_left();
    }
    for index in 0..3 {
        let running = etcd
            .run("job")
            .arguments(["--ttl", "3", "--lock-delay", "0", "-q"])
            .probe(["tree", "daemon"])
            .without("pidfd")
            .spawn();
        running.expect_stdout("ready");
        let tree = running.command_processes();
        let own = Own::of(&running);
        let victim = [own.front, own.witness, own.manager];
        victim[index].signal(Signal::SIGKILL);
        assert_dead_within(&tree, SOON_DEAD);
        running.wait().assert_nobody_left();
    }
    // Whoever comes after the manager that was killed clears up behind it.
    etcd.run("job").command(["true"]).output().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn without_a_controlling_terminal_or_any_device_but_null_a_run_is_a_run() {
    let etcd = Service::start();
    let run = etcd.run("job").shell("echo ran");
    run.clone()
        .wrapped(["setsid", "--wait"])
        .output()
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_silent();
    run.after_mounts(
        "exec 3<>/dev/null; mount -t tmpfs none /mnt; touch /mnt/null; mount --bind /dev/null /mnt/null; \
         mount --rbind /mnt /dev",
    )
    .output()
    .assert_status(0)
    .assert_stdout("ran\n")
    .assert_silent();
}

#[test]
fn with_an_empty_dev_a_run_is_refused_or_works_but_leaves_nothing() {
    let etcd = Service::start();
    let output = etcd
        .run("job")
        .shell("echo ran")
        .after_mounts("mount -t tmpfs none /dev")
        .output();
    output
        .assert_status(69)
        .assert_stderr_has(["/dev/null"])
        .assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn where_no_more_processes_can_be_made_a_run_is_refused_and_leaves_nobody() {
    let etcd = Service::start();
    // The front, the witness, the manager, the stub that becomes the command.
    for limit in 1..=4 {
        let limit_text = format!("--nproc={limit}");
        let output = etcd
            .run("job")
            .command(["true"])
            .wrapped(["prlimit", &limit_text])
            .unprivileged()
            .output();
        output.assert_nobody_left();
        if limit < 4 && is_root() {
            output
                .assert_status(69)
                .assert_stderr_has(["processes around the command cannot be made"]);
        } else {
            output.assert_status(0);
        }
    }
    if !is_root() {
        untested::not_allowed("only root can limit the processes of a user whom nobody else is");
    }
    // The resolver of names needs a thread of its own.
    if is_root() {
        let port = etcd.members[0].address().port();
        etcd.run("job")
            .arguments([
                "--endpoints",
                &format!("localhost:{port}"),
                "--connect-timeout",
                "1",
            ])
            .command(["true"])
            .wrapped(["prlimit", "--nproc=4"])
            .unprivileged()
            .output()
            .assert_status(69)
            .assert_stderr_has(["localhost has no address", "temporarily unavailable"])
            .assert_nobody_left();
    }
    // The command's own trouble is its own.
    if is_root() {
        let output = etcd
            .run("job")
            .shell("true & wait; exit 3")
            .wrapped(["prlimit", "--nproc=4"])
            .unprivileged()
            .output();
        output.assert_nobody_left();
        assert!(output.stderr.contains("fork"), "{}", output.describe());
    }
    etcd.store().assert_clean();
}

#[test]
fn where_memory_is_short_a_run_works_or_is_refused_and_leaves_nobody() {
    let etcd = Service::start();
    let mut worked = false;
    for megabytes in (4..40).chain([64, 512]) {
        let limit = format!("--as={}", megabytes << 20);
        let output = etcd
            .run("job")
            // Who dies of it in the middle leaves its lease to the TTL.
            .ttl(3)
            .shell("echo ran")
            .wrapped(["prlimit", &limit])
            .output();
        output.assert_nobody_left();
        worked = output.status.success();
        println!("{megabytes} MB: {} {}", output.status, output.stderr);
        // A manager that lacks it once the command runs (seen at 33 MB, in a folder) takes the run with it.
        if output.status.code() == Some(79) && output.stdout == "ran\n" {
            output.assert_stderr_has(["memory allocation", "manager process was killed"]);
            continue;
        }
        // The shell that is the command can lack memory as well.
        assert_eq!(output.stdout, if worked { "ran\n" } else { "" });
    }
    assert!(worked, "half a gigabyte is enough");
    etcd.store().assert_clean();
}

#[test]
fn a_command_that_the_kernel_ends_for_its_memory_is_dead_and_the_lock_free() {
    let etcd = Service::start();
    let Some(group) = MemoryGroup::make(64 << 20) else {
        return untested::not_allowed("no cgroup that limits memory can be made");
    };
    // tail(1) keeps all of what has no end of line.
    let output = etcd
        .run("job")
        .shell("head -c 1G /dev/zero | tail >/dev/null; echo status $?")
        .wrapped(["sh", "-c", &group.enter(), "sh"])
        .output();
    output
        .assert_status(0)
        .assert_stdout("status 137\n")
        .assert_nobody_left();
    etcd.store().assert_clean();
}

/// A cgroup with a limit of memory, gone with the test.
struct MemoryGroup(String);

impl MemoryGroup {
    /// Below version 1 of cgroups, or version 2 where it is ours to divide.
    fn make(bytes: u64) -> Option<Self> {
        [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ]
        .into_iter()
        .find_map(|(root, limit)| {
            let folder = format!("{root}/leasehold-test-{}", std::process::id());
            fs::create_dir(&folder).ok()?;
            let group = Self(folder);
            let made = fs::write(format!("{}/{limit}", group.0), bytes.to_string());
            made.ok().map(|()| group)
        })
    }

    /// What a shell does to become a member and execute its arguments.
    fn enter(&self) -> String {
        format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.0)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Fails while somebody is in it: then there is a test that says so.
        let _ = fs::remove_dir(&self.0);
    }
}

/// It runs no more, but the kernel takes its time to give back its memory.
#[test]
fn a_process_with_much_memory_dies_in_time() {
    let etcd = Service::start();
    let running = etcd
        .run("job")
        .arguments(["-q", "--lock-delay", "0"])
        .probe(["memory", "512"])
        .spawn();
    running.expect_stdout("ready");
    let tree = running.command_processes();
    let struck_at = Moment::now();
    running.signal(Signal::SIGKILL);
    assert_dead_within(&tree, Duration::from_secs(1));
    println!("512 MB: dead after {:?}", Moment::now().since(struck_at));
    running.wait().assert_signal(9).assert_nobody_left();
    etcd.store().assert_clean();
}

/// Only the clock of the wall: the others go on.
#[test]
fn a_clock_that_is_set_a_day_forward_or_back_changes_nothing() {
    let Some(library) = wall_clock::library("libfaketimeMT.so.1") else {
        return untested::missing("faketime");
    };
    let etcd = Service::start();
    let folder = tempfile::tempdir().expect("a folder");
    let offset = folder.path().join("offset");
    let set = |to: &str| fs::write(&offset, format!("{to}\n")).expect("ours");
    set("+0");
    let running = etcd
        .run("job")
        .arguments(["--ttl", "3", "--lock-delay", "0"])
        .variable("LD_PRELOAD", &library)
        .variable("FAKETIME_TIMESTAMP_FILE", offset.to_str().expect("text"))
        .variable("FAKETIME_NO_CACHE", "1")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .shell("date +now:%Y; read again; date +then:%Y; cat")
        .spawn();
    let now = running.expect_stdout("now:");
    let lease = etcd.store().entries("job")[0].lease;
    for (step, until) in [("+400d", 4), ("-400d", 8)] {
        set(step);
        let_time_pass_until(running.started_at + Duration::from_secs(until));
        assert_eq!(etcd.store().entries("job")[0].lease, lease, "{step}");
    }
    let mut running = running;
    running.type_line("again");
    let both = running.expect_stdout("then:");
    // The clock did step.
    let year = |what: &str, text: &str| {
        let rest = text.split(what).nth(1).expect("printed");
        rest.trim_start().get(..4).map(str::to_owned)
    };
    assert_ne!(year("now:", &now), year("then:", &both), "{both}");
    running
        .wait()
        .assert_status(0)
        .assert_silent()
        .assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn killall_leasehold_leaves_the_manager_which_kills_the_tree() {
    let etcd = Service::start();
    if !installed("killall") {
        return untested::missing("killall");
    }
    let run = etcd
        .run("job")
        .arguments(["--lock-delay", "0", "-q"])
        .probe(["tree", "daemon"]);
    // In a pid namespace of its own, since there are other leaseholds on this machine.
    let script = format!("{} & read go; killall -9 leasehold; cat", typed(&run));
    let mut running = Run::program("sh")
        .variable("LEASEHOLD_ENDPOINTS", &etcd.endpoints())
        .arguments(["-c", &script])
        .pid_1()
        .spawn();
    running.expect_stdout("ready");
    let tree = running.command_processes();
    running.type_line("go");
    assert_dead_within(&tree, Duration::from_secs(1));
    // By the manager: the namespace, and everybody in it, still lives.
    etcd.store().assert_clean();
    running.wait().assert_status(0).assert_nobody_left();
}

#[test]
fn an_init_that_does_not_reap_gets_no_zombies_of_ours() {
    let etcd = Service::start();
    for command in [["true"], ["false"]] {
        let output = etcd
            .run("job")
            .command(command)
            .wrapped([&probe(), "init"])
            .pid_1()
            .output();
        output.assert_status(0);
        assert!(!output.stdout.contains("left:"), "{}", output.describe());
    }
    etcd.store().assert_clean();
}

in_a_folder_too![
    without_proc_a_run_is_refused_before_the_lock_is_taken,
    where_descriptors_are_short_a_run_works_or_is_refused_before_the_lock_is_taken,
    without_a_subreaper_a_run_is_refused_before_the_lock_is_taken,
    where_proc_hides_other_users_processes_the_own_tree_is_found_and_killed,
    without_pidfds_everything_holds_and_v_says_so,
    without_a_controlling_terminal_or_any_device_but_null_a_run_is_a_run,
    with_an_empty_dev_a_run_is_refused_or_works_but_leaves_nothing,
    where_memory_is_short_a_run_works_or_is_refused_and_leaves_nobody,
    a_command_that_the_kernel_ends_for_its_memory_is_dead_and_the_lock_free,
    a_process_with_much_memory_dies_in_time,
    a_clock_that_is_set_a_day_forward_or_back_changes_nothing,
    an_init_that_does_not_reap_gets_no_zombies_of_ours,
];
