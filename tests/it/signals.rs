//! Signals reach the command exactly once, whoever they are sent to; and what else a process gets from the one
//! that starts it: descriptors, sockets, the place of PID 1.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, children};
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::{Run, Running, probe};
use crate::harness::processes::Process;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::shell::typed;

/// Every signal that can be caught and that the kernel does not send by itself to a process that does nothing.
fn catchable() -> impl Iterator<Item = Signal> {
    use Signal::{SIGCHLD, SIGKILL, SIGSTOP, SIGUSR2};
    // The last one, which ends the helper program, comes from the caller.
    Signal::iterator().filter(|signal| !matches!(signal, SIGKILL | SIGSTOP | SIGCHLD | SIGUSR2))
}

/// Sends every signal with `send`, and looks at what the command got.
#[track_caller]
fn assert_each_arrives_once(running: Running, send: impl Fn(&Running, Signal)) {
    running.expect_stdout("ready");
    let mut expected = "ready\n".to_owned();
    for signal in catchable().chain([Signal::SIGUSR2]) {
        send(&running, signal);
        expected.push_str(&format!("signal {signal}\n"));
        running.expect_stdout(&format!("signal {signal}\n"));
    }
    running.wait().assert_status(0).assert_stdout(&expected);
}

fn signals(etcd: &Service) -> Run {
    etcd.run("job").probe(["signals"])
}

/// The process of the command.
fn command(running: &Running) -> Process {
    let mut all = running.command_processes();
    assert_eq!(all.len(), 1, "the command is one process");
    all.remove(0)
}

#[test]
fn sent_to_leasehold_alone() {
    let etcd = Service::start();
    for run in [signals(&etcd), signals(&etcd).unprivileged()] {
        assert_each_arrives_once(run.spawn(), |running, signal| {
            Own::of(running).front.signal(signal);
        });
    }
    etcd.store().assert_clean();
}

#[test]
fn sent_to_the_process_group() {
    let etcd = Service::start();
    for run in [signals(&etcd), signals(&etcd).unprivileged()] {
        assert_each_arrives_once(run.own_group().spawn(), |running, signal| {
            let group = nix::unistd::Pid::from_raw(running.pid());
            nix::sys::signal::killpg(group, signal).expect("our own group");
        });
    }
    etcd.store().assert_clean();
}

#[test]
fn sent_to_each_process_one_by_one_as_systemd_does() {
    let etcd = Service::start();
    for run in [signals(&etcd), signals(&etcd).unprivileged()] {
        assert_each_arrives_once(run.spawn(), |running, signal| {
            let own = Own::of(running);
            for process in [own.front, own.witness, own.manager, command(running)] {
                process.signal(signal);
            }
        });
    }
    etcd.store().assert_clean();
}

#[test]
fn sent_to_each_process_the_other_way_round() {
    let etcd = Service::start();
    assert_each_arrives_once(signals(&etcd).spawn(), |running, signal| {
        let own = Own::of(running);
        for process in [command(running), own.manager, own.witness, own.front] {
            process.signal(signal);
        }
    });
    etcd.store().assert_clean();
}

/// A command that makes a process group of its own, as timeout(1) does.
fn signals_in_its_own_group(etcd: &Service) -> Run {
    etcd.run("job").probe(["own-group", "signals"])
}

#[test]
fn sent_to_each_process_one_by_one_a_command_in_its_own_group_gets_it_once() {
    let etcd = Service::start();
    let run = signals_in_its_own_group(&etcd);
    for run in [run.clone(), run.unprivileged()] {
        for backwards in [false, true] {
            assert_each_arrives_once(run.clone().spawn(), |running, signal| {
                let own = Own::of(running);
                let mut all = [own.front, own.witness, own.manager, command(running)];
                if backwards {
                    all.reverse();
                }
                for process in all {
                    process.signal(signal);
                }
            });
        }
    }
    etcd.store().assert_clean();
}

#[test]
fn sent_to_the_group_or_to_leasehold_a_command_in_its_own_group_gets_it_once() {
    let etcd = Service::start();
    let group = |running: &Running, signal| {
        let group = nix::unistd::Pid::from_raw(running.pid());
        nix::sys::signal::killpg(group, signal).expect("our own group");
    };
    let run = signals_in_its_own_group(&etcd).own_group();
    assert_each_arrives_once(run.clone().spawn(), group);
    assert_each_arrives_once(run.spawn(), |running, signal| {
        Own::of(running).front.signal(signal);
    });
    etcd.store().assert_clean();
}

/// As often as it is sent to a process group without leasehold in it, and no more often: a signal that is sent again
/// before it was read is kept once (signal(7)).
#[test]
fn sent_to_the_group_again_and_again_it_is_never_passed_on_in_addition() {
    let etcd = Service::start();
    let running = signals(&etcd).own_group().spawn();
    running.expect_stdout("ready");
    let group = nix::unistd::Pid::from_raw(running.pid());
    for _ in 0..20 {
        for _ in 0..50 {
            nix::sys::signal::killpg(group, Signal::SIGTERM).expect("our own group");
        }
        // Whatever was to be passed on is: a signal for the command alone comes after it.
        Own::of(&running).front.signal(Signal::SIGUSR1);
        eventually("what came last has arrived", SOON, || {
            let stdout = running.expect_stdout("ready");
            if stdout.ends_with("signal SIGUSR1\n") {
                Ok(())
            } else {
                Err(stdout)
            }
        });
        nix::sys::signal::killpg(group, Signal::SIGHUP).expect("our own group");
        eventually("what came last has arrived", SOON, || {
            let stdout = running.expect_stdout("ready");
            if stdout.ends_with("signal SIGHUP\n") {
                Ok(())
            } else {
                Err(stdout)
            }
        });
    }
    Own::of(&running).front.signal(Signal::SIGUSR2);
    let output = running.wait();
    let count = |name: &str| output.stdout.matches(name).count();
    assert_eq!((count("SIGUSR1"), count("SIGHUP")), (20, 20));
    assert!(count("SIGTERM") <= 1000, "{}", output.describe());
    etcd.store().assert_clean();
}

#[test]
fn sent_to_one_of_leaseholds_helpers_alone_it_reaches_nobody() {
    let etcd = Service::start();
    let running = signals(&etcd).spawn();
    running.expect_stdout("ready");
    let own = Own::of(&running);
    for signal in catchable() {
        own.manager.signal(signal);
        own.witness.signal(signal);
    }
    own.front.signal(Signal::SIGUSR2);
    running
        .wait()
        .assert_status(0)
        .assert_stdout("ready\nsignal SIGUSR2\n");
    etcd.store().assert_clean();
}

#[test]
fn term_twice_within_a_second_is_passed_on_twice() {
    let etcd = Service::start();
    let running = etcd
        .run("job")
        .shell("trap 'n=$((n+1)); echo term $n; test $n = 2 && exit 5' TERM; echo ready; while :; do read x; done")
        .spawn();
    running.expect_stdout("ready");
    running.signal(Signal::SIGTERM);
    running.expect_stdout("term 1");
    running.signal(Signal::SIGTERM);
    running
        .wait()
        .assert_status(5)
        .assert_stdout("ready\nterm 1\nterm 2\n");
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    // While it waits, and while it runs.
    let run = etcd.run("job").shell("echo ready; read line; echo $line");
    let mut running = run.wrapped(["nohup"]).spawn();
    etcd.store().wait_for_entries("job", 2);
    running.signal(Signal::SIGHUP);
    holder.wait().assert_status(0);
    running.expect_stdout("ready");
    running.signal(Signal::SIGHUP);
    running.type_line("alive");
    running
        .wait()
        .assert_status(0)
        .assert_stdout("ready\nalive\n");
    etcd.store().assert_clean();
}

#[test]
fn everything_that_a_process_inherits_is_what_it_would_be_without_leasehold() {
    let etcd = Service::start();
    let folder = tempfile::tempdir().expect("a folder");
    let inner = r#"exec 2>&1
        grep -E '^(Uid|Gid|Groups|Umask|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt|Cap|NoNewPrivs|Seccomp|Cpus_a|Mems_a)' /proc/self/status
        ls -l --time-style=+ /proc/self/fd
        for file in limits oom_score_adj coredump_filter personality timerslack_ns loginuid sessionid autogroup; do
            echo "$file: $(cat /proc/self/$file 2>&1)"
        done
        ps -o pgid= -o sid= -o tty= -o nice= -p $$; pwd; umask
        env | grep -vE '^(LEASEHOLD|ETCD_LOCK|_=|SHLVL)' | sort"#;
    // Both by the same shell, into files, so that nothing differs that need not.
    let script = format!(
        "umask 027; ulimit -n 300; cd /var; export KEPT=yes; exec 5</etc/passwd 7>/dev/null 8<>/dev/zero; SETTING; \
         sh -c \"$1\" >{0}/out REDIRECTIONS; mv {0}/out {0}/without; \
         shift; \"$@\" >{0}/out REDIRECTIONS; mv {0}/out {0}/with",
        folder.path().display()
    );
    for setting in [
        ":",
        "trap '' HUP PIPE USR1 TSTP",
        "ulimit -s 4096; ulimit -c 0",
    ] {
        for redirections in ["", "<&-", "2>&-", "<&- 2>&- 5<&-"] {
            let script = script
                .replace("SETTING", setting)
                .replace("REDIRECTIONS", redirections);
            etcd.run("job")
                .shell(inner)
                .wrapped(["sh", "-c", &script, "sh", inner])
                .output()
                .assert_status(0);
            let read = |name| {
                let text = fs::read_to_string(folder.path().join(name)).expect("written");
                // ls(1) has the folder itself open, by its own pid.
                let lines = text.lines().filter(|line| !line.contains(" -> /proc/"));
                lines.collect::<Vec<_>>().join("\n")
            };
            assert_eq!(
                read("without"),
                read("with"),
                "{setting} {redirections}: without and with"
            );
            assert!(read("with").lines().count() > 40, "{}", read("with"));
        }
    }
}

#[test]
fn sockets_and_watchdogs_of_systemd_are_handed_on_to_the_command() {
    let etcd = Service::start();
    let command = "test $LISTEN_PID = $$ && test $WATCHDOG_PID = $$ && echo mine $LISTEN_FDS $LISTEN_PIDFDID; cat <&3";
    etcd.run("job")
        .shell(command)
        .wrapped([
            "sh",
            "-c",
            "echo passed >$1; exec 3<$1; shift; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_PIDFDID=7 WATCHDOG_PID=$$ exec \"$@\"",
            "sh",
            &format!("{}/listen-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id()),
        ])
        .output()
        .assert_status(0)
        .assert_stdout("mine 1\npassed\n");
    // Meant for somebody else, it stays so.
    etcd.run("job")
        .shell("echo $LISTEN_PID $WATCHDOG_PID $LISTEN_PIDFDID")
        .variable("LISTEN_PID", "1")
        .variable("LISTEN_PIDFDID", "3")
        .variable("WATCHDOG_PID", "2")
        .output()
        .assert_status(0)
        .assert_stdout("1 2 3\n");
}

#[test]
fn a_service_that_notifies_reaches_its_socket() {
    let etcd = Service::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    etcd.run("job")
        .probe(["notify", "READY=1"])
        .variable("NOTIFY_SOCKET", path.to_str().expect("readable"))
        .output()
        .assert_status(0);
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).expect("sent before the run ended");
    // The command's words only: nobody says READY in its place.
    assert_eq!(&buffer[..length], b"READY=1");
    socket.set_nonblocking(true).expect("a socket");
    socket.recv(&mut buffer).expect_err("nothing more came");
}

#[test]
fn a_reader_sees_the_end_when_the_command_closes_its_stdout() {
    let etcd = Service::start();
    let run = etcd
        .run("job")
        .shell("echo first; exec >&-; read line; exit 0");
    let running = run
        .wrapped(["sh", "-c", "\"$@\" | { cat; echo end; }", "sh"])
        .spawn();
    // The command still waits for a line.
    running.expect_stdout("first\nend\n");
    running.wait().assert_status(0);
}

#[test]
fn a_hundred_megabytes_pass_in_both_directions() {
    let etcd = Service::start();
    let source = "yes leasehold | head -c 100000000";
    let run = etcd.run("job").command(["cat"]);
    let output = run
        .wrapped([
            "sh",
            "-c",
            &format!("{source} | \"$@\" | cksum; {source} | cksum"),
            "sh",
        ])
        .output();
    let sums: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(sums.len(), 2);
    assert_eq!(sums[0], sums[1]);
    assert!(sums[0].ends_with(" 100000000"), "{sums:?}");
}

#[test]
fn a_command_that_dumps_core_leaves_no_second_one() {
    let etcd = Service::start();
    let folder = tempfile::tempdir().expect("a folder");
    // Without the harness' limit, which is zero.
    let cores_of = |command: &str| {
        let script = format!(
            "cd {} && ulimit -c unlimited && exec {command}",
            folder.path().display()
        );
        let status = Command::new("sh")
            .args(["-c", &script])
            .env_remove("LEASEHOLD_CONFIG")
            .stderr(Stdio::null())
            .status()
            .expect("sh");
        let files = fs::read_dir(folder.path()).expect("ours").flatten();
        let cores = files
            .map(|file| fs::remove_file(file.path()).expect("ours"))
            .count();
        (status.signal(), cores)
    };
    let without = cores_of(&format!("{} die 6", probe()));
    if without.1 == 0 {
        println!("no core file without leasehold either: nothing to count");
    }
    let run = etcd.run("job").probe(["die", "6"]);
    let run = format!(
        "env LEASEHOLD_ENDPOINTS={} {}",
        etcd.endpoints(),
        typed(&run)
    );
    assert_eq!(cores_of(&run), without, "with leasehold and without");
}

#[test]
fn as_pid_1_it_ends_as_the_command_and_gives_the_lock_back() {
    let etcd = Service::start();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        etcd.run("job")
            .shell(script)
            .pid_1()
            .output()
            .assert_status(status)
            .assert_nobody_left();
        // Nothing dies with PID 1 that still had to be done.
        assert!(etcd.store().leases().is_empty(), "{script}");
    }
    etcd.store().assert_clean();
}

#[test]
fn as_pid_1_it_passes_term_on() {
    let etcd = Service::start();
    for (script, status) in [
        ("echo ready; exec sleep 1000", 143),
        (
            "trap 'exit 4' TERM; echo ready; while :; do read x; done",
            4,
        ),
    ] {
        let running = etcd.run("job").shell(script).pid_1().spawn();
        running.expect_stdout("ready");
        let front = children(running.pid())[0];
        Process::open(front)
            .expect("it runs")
            .signal(Signal::SIGTERM);
        running.wait().assert_status(status).assert_nobody_left();
    }
    etcd.store().assert_clean();
}

#[test]
fn as_pid_1_it_reaps_whoever_is_left_to_it() {
    let etcd = Service::start();
    // Orphans that have ended: none may stay.
    let script = "for i in 1 2 3 4 5; do (true &) ; done; echo ready; cat";
    let running = etcd.run("job").shell(script).pid_1().spawn();
    running.expect_stdout("ready");
    let front = children(running.pid())[0];
    eventually("nobody is a zombie", SOON, || {
        let zombies = zombies_below(front);
        if zombies.is_empty() {
            Ok(())
        } else {
            Err(format!("{zombies:?}"))
        }
    });
    running.wait().assert_status(0).assert_nobody_left();
}

fn zombies_below(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for child in children(pid) {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        if stat.contains(") Z ") {
            found.push(child);
        }
        found.append(&mut zombies_below(child));
    }
    found
}

in_a_folder_too![
    sent_to_leasehold_alone,
    sent_to_the_process_group,
    sent_to_each_process_one_by_one_as_systemd_does,
    sent_to_each_process_the_other_way_round,
    sent_to_each_process_one_by_one_a_command_in_its_own_group_gets_it_once,
    sent_to_the_group_or_to_leasehold_a_command_in_its_own_group_gets_it_once,
    sent_to_the_group_again_and_again_it_is_never_passed_on_in_addition,
    sent_to_one_of_leaseholds_helpers_alone_it_reaches_nobody,
    term_twice_within_a_second_is_passed_on_twice,
    a_signal_that_was_ignored_at_the_start_stays_ignored,
    everything_that_a_process_inherits_is_what_it_would_be_without_leasehold,
    sockets_and_watchdogs_of_systemd_are_handed_on_to_the_command,
    a_service_that_notifies_reaches_its_socket,
    a_reader_sees_the_end_when_the_command_closes_its_stdout,
    a_hundred_megabytes_pass_in_both_directions,
    as_pid_1_it_ends_as_the_command_and_gives_the_lock_back,
    as_pid_1_it_passes_term_on,
    as_pid_1_it_reaps_whoever_is_left_to_it,
];
