//! Bad input and trouble get a clear sentence and the right status, and leave nothing behind.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::tempdir;

use crate::harness::etcd::Etcd;
use crate::harness::eventually::SOON;
use crate::harness::fault::Fault;
use crate::harness::leasehold::Run;

#[test]
fn a_frozen_endpoint_is_given_up_within_the_connect_timeout() {
    let etcd = Etcd::start();
    etcd.members[0].pause();
    let output = etcd
        .run("job")
        .arguments(["--connect-timeout", "1.5"])
        .shell("echo ran")
        .output();
    output
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has(["job", "not run"])
        .assert_nobody_left();
    let waited = output.duration();
    assert!(waited >= Duration::from_millis(1400), "{waited:?}");
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    etcd.members[0].resume();
    // What was sent to it may still be carried out: at the latest its lease takes it away.
    etcd.run("job").shell("true").output().assert_status(0);
}

#[test]
fn an_endpoint_with_a_path_is_refused_where_it_stands() {
    let leasehold = || Run::program(crate::harness::leasehold::binary());
    let typed = leasehold()
        .arguments([
            "run",
            "--endpoints",
            "http://127.0.0.1:2379/v3",
            "job",
            "true",
        ])
        .output();
    typed.assert_status(64);
    let inherited = leasehold()
        .arguments(["run", "job", "echo", "ran"])
        .variable("LEASEHOLD_ENDPOINTS", "http://127.0.0.1:2379/v3")
        .output();
    inherited.assert_status(78);
    for output in [typed, inherited] {
        output.assert_stdout("").assert_stderr_has(["no path"]);
        assert!(output.duration() < Duration::from_secs(2), "{output:?}");
    }
}

#[test]
fn a_certificate_that_may_not_be_read_is_refused() {
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "secret").expect("written");
    let mode = |path: &std::path::Path, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).expect("ours");
    };
    mode(&file, 0o000);
    mode(folder.path(), 0o755);
    let path = file.to_str().expect("readable");
    for option in ["--cacert", "--cert", "--key"] {
        let run = Run::new("127.0.0.1:1").lock("job").shell("echo ran");
        // Not where shells that are tested have put folders of root's.
        let home = folder.path().to_str().expect("readable");
        let run = run.arguments([option, path]).variable("HOME", home);
        // Root may read everything.
        let run = match nix::unistd::Uid::effective().is_root() {
            true => run.wrapped([
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
            ]),
            false => run,
        };
        let output = run.output();
        output
            .assert_status(78)
            .assert_stdout("")
            .assert_stderr_has([path, "permission denied"]);
    }
}

#[test]
fn an_endpoint_that_nobody_listens_on_is_looked_for_as_long_as_asked() {
    let mut etcd = Etcd::start();
    etcd.only().stop();
    let run = etcd
        .run("job")
        .arguments(["--connect-timeout", "20"])
        .shell("echo ran")
        .spawn();
    etcd.only().restart();
    run.wait().assert_status(0).assert_stdout("ran\n");
    etcd.store().assert_clean();
}

#[test]
fn a_dead_member_among_the_endpoints_costs_nothing() {
    let etcd = Etcd::start();
    let endpoints = format!("127.0.0.1:1,{}", etcd.endpoints());
    let output = Run::new(&endpoints).lock("job").shell("echo ran").output();
    output
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_silent();
    assert!(output.duration() < Duration::from_secs(2), "{output:?}");
}

#[test]
fn a_waiter_that_loses_etcd_for_the_connect_timeout_is_69() {
    let mut etcd = Etcd::start();
    let _holder = etcd.hold("job");
    let waiter = etcd
        .run("job")
        .arguments(["--connect-timeout", "1"])
        .shell("echo ran")
        .spawn();
    waiter.expect_stderr("waiting");
    etcd.only().stop();
    waiter
        .wait_within(SOON)
        .assert_status(69)
        .assert_stdout("")
        .assert_nobody_left();
}

#[test]
fn names_outside_the_alphabet_are_refused() {
    let etcd = Etcd::start();
    let long = "n".repeat(256);
    for name in [
        "", "/a", "a/", "a//b", ".", "a/../b", "a b", "~run", "a,b", "a\nb", "größe", &long,
    ] {
        etcd.run(name)
            .shell("echo ran")
            .output()
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has(["lock name"]);
    }
    etcd.store().assert_clean();
}

#[test]
fn impossible_durations_are_refused_with_ones_that_would_fit() {
    let etcd = Etcd::start();
    for (options, proposals) in [
        (vec!["--ttl", "1"], vec!["--ttl 2s"]),
        (vec!["--ttl", "301"], vec!["300s"]),
        (
            vec!["--ttl", "10", "-k", "8"],
            vec!["--kill-after 4.4s", "--ttl 19s"],
        ),
        (vec!["-k", "10m"], vec!["--kill-after"]),
    ] {
        let output = etcd
            .run("job")
            .all_arguments(&options)
            .shell("echo ran")
            .output();
        output.assert_status(64).assert_stdout("");
        for proposal in proposals {
            output.assert_stderr_has([proposal]);
        }
    }
    etcd.store().assert_clean();
}

#[test]
fn words_that_are_no_durations_are_refused() {
    let etcd = Etcd::start();
    for duration in [
        "",
        "-1",
        "5x",
        "1e999",
        "nan",
        "inf",
        "99999999999999999999d",
        "1 m",
    ] {
        for option in [
            "--ttl",
            "--wait",
            "--kill-after",
            "--max-runtime",
            "--lock-delay",
        ] {
            etcd.run("job")
                .arguments([&format!("{option}={duration}")])
                .shell("echo ran")
                .output()
                .assert_status(64)
                .assert_stdout("");
        }
    }
}

#[test]
fn an_option_of_ours_after_the_name_is_refused_with_a_hint() {
    let etcd = Etcd::start();
    for option in ["--ttl", "--ttl=60", "-n", "--wait", "-w5", "-E"] {
        etcd.leasehold(["run", "job", option, "60", "--", "echo", "ran"])
            .output()
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has([
                option.split('=').next().expect("a first part"),
                "before the lock's name",
            ]);
    }
    // Its value may be a secret.
    let output = etcd
        .leasehold(["run", "job", "--user=bob:s3cret", "echo", "ran"])
        .output();
    output.assert_status(64);
    assert!(!output.stderr.contains("s3cret"), "{}", output.describe());
    etcd.store().assert_clean();
}

#[test]
fn a_lock_that_an_enclosing_run_holds_is_refused() {
    let etcd = Etcd::start();
    let inner = |name: &str| {
        etcd.run(name)
            .arguments(["-w", "5"])
            .command(["echo", "ran"])
            .typed()
    };
    etcd.run("job")
        .shell(&format!("{}; echo $?", inner("job")))
        .output()
        .assert_status(0)
        .assert_stdout("64\n")
        .assert_stderr_has(["job", "enclosing"]);
    let middle = etcd.run("other").command([]).typed();
    etcd.run("job")
        .shell(&format!("{middle} {}; echo $?", inner("job")))
        .output()
        .assert_status(0)
        .assert_stdout("64\n");
    etcd.store().assert_clean();
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_command_starts() {
    let etcd = Etcd::start();
    let folder = tempdir().expect("a folder");
    for path in [
        "/no/such/folder/report",
        "/",
        "/proc/version/report",
        "/dev/full/x",
    ] {
        etcd.run("job")
            .arguments(["--report", path])
            .shell("echo ran")
            .output()
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has([path]);
    }
    drop(folder);
    assert!(etcd.store().history("/leasehold/").is_empty());
}

#[test]
fn a_file_that_is_not_executable_is_126_and_a_script_without_a_hash_bang_is_run_by_sh() {
    let etcd = Etcd::start();
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("script");
    std::fs::write(&file, "echo ran").expect("written");
    // As env(1), timeout(1) and shells do it: execvp, posix_spawnp(3).
    for (mode, status, stdout) in [(0o644, 126, ""), (0o755, 0, "ran\n")] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
        etcd.run("job")
            .command([file.to_str().expect("readable")])
            .output()
            .assert_status(status)
            .assert_stdout(stdout);
    }
    etcd.store().assert_clean();
}

#[test]
fn entries_that_are_not_ours_count_as_holders_whatever_they_hold() {
    let mut fault = Fault::of("hostile values under the lock's keys");
    let etcd = Etcd::start();
    let store = etcd.store();
    let newer = br#"{"v":2,"limit":9,"host":"h","user":"u","pid":1,"program":"p","queued":"","lock_delay_ms":0}"#;
    let values: [Vec<u8>; 6] = [
        Vec::new(),
        b"not json".to_vec(),
        b"\xff\xfe\x00\x1b[2J".to_vec(),
        newer.to_vec(),
        b"[[[[[".to_vec(),
        vec![b'x'; 1_000_000],
    ];
    for value in values {
        let head: Vec<u8> = value.iter().copied().take(20).collect();
        store.put("/leasehold/job/1f", value);
        let busy = etcd.run("job").arguments(["-n"]).shell("echo ran").output();
        busy.assert_status(75).assert_stdout("");
        assert!(
            !busy.stderr.contains('\x1b'),
            "{head:?}: {}",
            busy.describe()
        );
        let waiter = etcd.run("job").shell("echo ran").spawn();
        waiter.expect_stderr("waiting for job");
        store.wait_for_entries("job", 2);
        store.delete("/leasehold/job/1f");
        waiter.wait().assert_status(0).assert_stdout("ran\n");
        store.assert_clean();
    }
    fault.injected("an empty value, no JSON, bytes that are no text, a newer version, deep nesting, a megabyte");
    fault.seen(
        "75 with -n, and a waiter waits until the key is gone; no control codes, nothing left",
    );
}

#[test]
fn an_entry_with_a_lease_that_is_not_ours_frees_the_lock_with_it() {
    let etcd = Etcd::start();
    let store = etcd.store();
    let lease = store.grant(Duration::from_secs(2));
    store.put_leased("/leasehold/job/1f", "somebody", lease);
    etcd.run("job")
        .shell("echo ran")
        .output()
        .assert_status(0)
        .assert_stdout("ran\n");
    store.assert_clean();
}

#[test]
fn keys_that_are_no_entries_block_nobody() {
    let etcd = Etcd::start();
    let store = etcd.store();
    for key in [
        "/leasehold/job",
        "/leasehold/job/",
        "/leasehold/job/config",
        "/leasehold/job/a/1f",
    ] {
        store.put(key, "");
    }
    etcd.run("job")
        .arguments(["-n"])
        .shell("echo ran")
        .output()
        .assert_status(0)
        .assert_stdout("ran\n");
}

#[test]
fn text_of_other_hosts_cannot_move_the_cursor() {
    let mut fault = Fault::of("control codes in the values of others");
    let etcd = Etcd::start();
    let store = etcd.store();
    let evil = r#"{"v":1,"limit":1,"host":"h\u001b[2J","user":"u\n\u009b","pid":1,"program":"\u0007p","reason":"\u202er","queued":"2026-01-01T00:00:00Z","lock_delay_ms":0}"#;
    store.put("/leasehold/job/1f", evil);
    let busy = etcd.run("job").arguments(["-n"]).shell("true").output();
    busy.assert_status(75);
    let shown = etcd.leasehold(["status", "job"]).output();
    shown.assert_status(0);
    for (text, lines) in [(&busy.stderr, 1), (&shown.stdout, 4)] {
        for character in ['\x1b', '\u{9b}', '\x07', '\u{202e}'] {
            assert!(!text.contains(character), "{character:?} in {text:?}");
        }
        assert_eq!(text.lines().count(), lines, "{text:?}");
    }
    fault.injected("ESC, CSI, BEL, a newline and a right-to-left mark as host, user, program and reason of a holder");
    fault.seen("the messages of run -n and status are as many lines as without, with none of them");
}
