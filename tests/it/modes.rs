//! Readers share, slots are counted, and all modes meet in one queue.

use std::time::Duration;

use serde_json::Value;
use tempfile::tempdir;

use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::Running;
use crate::harness::processes::Moment;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::together::in_threads;

const SHARED: &[&str] = &["-s"];
const EXCLUSIVE: &[&str] = &[];

fn slots(number: &str) -> [&str; 2] {
    ["--slots", number]
}

/// Somebody who wants the lock and then holds it until it is waited for.
fn start(etcd: &Service, options: &[&str]) -> Running {
    etcd.run("job")
        .all_arguments(options)
        .shell("echo ready; cat")
        .spawn()
}

fn hold(etcd: &Service, options: &[&str]) -> Running {
    let holder = start(etcd, options);
    holder.expect_stdout("ready");
    holder
}

/// Somebody who has to wait: how many entries there are with it.
fn queue_up(etcd: &Service, options: &[&str], entries: usize) -> Running {
    let waiter = start(etcd, options);
    waiter.expect_stderr("waiting for job");
    etcd.store().wait_for_entries("job", entries);
    waiter
}

fn status(etcd: &Service) -> Value {
    let output = etcd.leasehold(["status", "--json", "job"]).output();
    output.assert_status(0).assert_silent();
    serde_json::from_str(&output.stdout).expect("one JSON object")
}

fn lengths(status: &Value) -> (usize, usize) {
    let length = |key: &str| status[key].as_array().expect("a list").len();
    (length("holders"), length("waiters"))
}

#[test]
fn readers_share_a_writer_waits_for_all_of_them_and_later_readers_for_the_writer() {
    let etcd = Service::start();
    let readers = [hold(&etcd, SHARED), hold(&etcd, SHARED)];
    let writer = queue_up(&etcd, EXCLUSIVE, 3);
    let late = queue_up(&etcd, SHARED, 4);
    assert_eq!(lengths(&status(&etcd)), (2, 2));
    let [first, second] = readers;
    first.wait().assert_status(0);
    etcd.store().wait_for_entries("job", 3);
    assert_eq!(lengths(&status(&etcd)), (1, 2));
    second.wait().assert_status(0);
    writer.expect_stdout("ready");
    assert_eq!(lengths(&status(&etcd)), (1, 1));
    writer.wait().assert_status(0);
    late.expect_stdout("ready");
    late.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn all_readers_behind_a_writer_go_at_once_when_it_goes() {
    let etcd = Service::start();
    let writer = hold(&etcd, EXCLUSIVE);
    let readers: Vec<Running> = (2..6)
        .map(|entries| queue_up(&etcd, SHARED, entries))
        .collect();
    writer.wait().assert_status(0);
    for reader in &readers {
        reader.expect_stdout("ready");
    }
    let shown = status(&etcd);
    assert_eq!(lengths(&shown), (4, 0));
    assert_eq!(shown["limit"], "unlimited");
    for reader in readers {
        reader.wait().assert_status(0);
    }
    etcd.store().assert_clean();
}

#[test]
fn so_many_hold_slots_and_the_next_takes_the_first_one_that_is_free() {
    let etcd = Service::start();
    let three = slots("3");
    let first = hold(&etcd, &three);
    let second = hold(&etcd, &three);
    let third = hold(&etcd, &three);
    let fourth = queue_up(&etcd, &three, 4);
    let fifth = queue_up(&etcd, &three, 5);
    fourth.expect_stderr("1st of 1, held by");
    fifth.expect_stderr("2nd of 2, held by");
    fifth.expect_stderr("and 2 others");
    // Whichever of the three goes.
    second.wait().assert_status(0);
    fourth.expect_stdout("ready");
    assert_eq!(lengths(&status(&etcd)), (3, 1));
    first.wait().assert_status(0);
    fifth.expect_stdout("ready");
    for holder in [third, fourth, fifth] {
        holder.wait().assert_status(0);
    }
    etcd.store().assert_clean();
}

#[test]
fn never_more_than_the_slots_run_at_a_time_and_as_many_as_there_are() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).expect("a folder");
    let (inside, log) = (inside.display(), folder.path().join("log"));
    let script = format!(
        "touch {inside}/$$; ls {inside} | wc -l >>{}; rm {inside}/$$",
        log.display()
    );
    in_threads(8, 0..80, |_| {
        etcd.run("job")
            .arguments(["-q", "--slots", "3"])
            .shell(&script)
            .output()
            .assert_status(0)
            .assert_silent();
    });
    let log = std::fs::read_to_string(log).expect("written");
    let counts: Vec<u32> = log
        .lines()
        .map(|line| line.trim().parse().expect("a number"))
        .collect();
    assert_eq!(counts.len(), 80);
    assert!(
        counts.iter().all(|count| (1..=3).contains(count)),
        "{counts:?}"
    );
    etcd.store().assert_clean();
}

#[test]
fn the_smallest_number_of_slots_among_them_decides_and_status_shows_it() {
    let etcd = Service::start();
    let wide = hold(&etcd, &slots("5"));
    assert_eq!(status(&etcd)["limit"], 5);
    let narrow = hold(&etcd, &slots("2"));
    let late = queue_up(&etcd, &slots("5"), 3);
    let shown = status(&etcd);
    assert_eq!(lengths(&shown), (2, 1));
    assert_eq!(shown["limit"], 2);
    assert_eq!(shown["holders"][0]["limit"], 5);
    assert_eq!(shown["holders"][0]["mode"], "slots");
    assert_eq!(shown["holder"], shown["holders"][0]);
    let people = etcd.leasehold(["status", "job"]).output();
    people.assert_status(0);
    let lines: Vec<&str> = people.stdout.lines().collect();
    assert_eq!(lines[0], "job is held by 2 of at most 2, 1 waits");
    assert_eq!(lines.len(), 6, "{}", people.describe());
    assert!(lines[3].contains("slots 5"), "{}", people.describe());
    assert!(lines[4].contains("slots 2"), "{}", people.describe());
    assert!(lines[5].starts_with("1. "), "{}", people.describe());
    // The strict one goes, and the others are as many as they allow themselves.
    narrow.wait().assert_status(0);
    late.expect_stdout("ready");
    let another = hold(&etcd, &slots("5"));
    assert_eq!(lengths(&status(&etcd)), (3, 0));
    for holder in [wide, late, another] {
        holder.wait().assert_status(0);
    }
    etcd.store().assert_clean();
}

#[test]
fn whoever_must_not_wait_runs_beside_those_it_can_and_never_queues() {
    let etcd = Service::start();
    let store = etcd.store();
    let impatient = |options: &[&str]| {
        etcd.run("job")
            .all_arguments(options)
            .arguments(["-n"])
            .shell("echo ran")
            .output()
    };
    let reader = hold(&etcd, SHARED);
    impatient(SHARED).assert_status(0).assert_stdout("ran\n");
    impatient(&slots("2"))
        .assert_status(0)
        .assert_stdout("ran\n");
    let writer = queue_up(&etcd, EXCLUSIVE, 2);
    let before = store.history("/leasehold/job/").len();
    for options in [EXCLUSIVE, SHARED, &slots("2"), &slots("9")] {
        let output = impatient(options);
        output.assert_status(75).assert_stdout("");
        output.assert_stderr_has(["the lock is busy"]);
    }
    writer.signal(nix::sys::signal::Signal::SIGTERM);
    writer.wait().assert_signal(15);
    let other = hold(&etcd, &slots("2"));
    for options in [EXCLUSIVE, SHARED, &slots("2"), &slots("9")] {
        let output = impatient(options);
        output.assert_status(75).assert_stdout("");
        output.assert_stderr_has(["and one other"]);
    }
    let after = store.history("/leasehold/job/").len();
    assert_eq!(after, before + 1, "only the holder's entry was ever put");
    reader.wait().assert_status(0);
    other.wait().assert_status(0);
    store.assert_clean();
}

#[test]
fn readers_that_must_not_wait_all_run_although_they_come_together() {
    let etcd = Service::start();
    let reader = hold(&etcd, SHARED);
    in_threads(8, 0..40, |_| {
        etcd.run("job")
            .arguments(["-s", "-n"])
            .shell("true")
            .output()
            .assert_status(0)
            .assert_silent();
    });
    reader.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn waiting_for_a_slot_can_run_out() {
    let etcd = Service::start();
    let holders = [hold(&etcd, &slots("2")), hold(&etcd, &slots("2"))];
    let output = etcd
        .run("job")
        .arguments(["--slots", "2", "-w", "0.5", "-E", "9"])
        .shell("echo ran")
        .output();
    output.assert_status(9).assert_stdout("");
    output.assert_stderr_has(["busy", "and one other"]);
    assert!(output.duration() >= Duration::from_millis(500));
    for holder in holders {
        holder.wait().assert_status(0);
    }
    etcd.store().assert_clean();
}

#[test]
fn etcdctl_in_the_queue_is_one_exclusive_contender_among_all_modes() {
    let etcd = Service::start();
    let readers = [hold(&etcd, SHARED), hold(&etcd, SHARED)];
    let folder = tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    let script = format!("echo ready; read line <{}", fifo.display());
    let etcdctl = etcd
        .etcdctl(["lock", "/leasehold/job", "--", "sh", "-c", &script])
        .spawn();
    etcd.store().wait_for_entries("job", 3);
    let reader = queue_up(&etcd, SHARED, 4);
    let slot = queue_up(&etcd, &slots("4"), 5);
    assert_eq!(lengths(&status(&etcd)), (2, 3));
    for reader in readers {
        reader.wait().assert_status(0);
    }
    etcdctl.expect_stdout("ready");
    assert_eq!(lengths(&status(&etcd)), (1, 2));
    std::fs::write(&fifo, "go\n").expect("it reads");
    etcdctl.wait().assert_status(0);
    reader.expect_stdout("ready");
    slot.expect_stdout("ready");
    reader.wait().assert_status(0);
    slot.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn a_mixed_crowd_never_runs_beside_a_writer() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).expect("a folder");
    let log = folder.path().join("log");
    let (inside, shown_log) = (inside.display(), log.display());
    // Who is inside with us, by the names of their files: x, s or the number of slots.
    let script = |kind: &str| {
        format!(
            "touch {inside}/{kind}.$$; echo {kind} $(ls {inside}) >>{shown_log}; rm {inside}/{kind}.$$"
        )
    };
    in_threads(8, 0..96, |number: usize| {
        let (kind, options): (&str, &[&str]) = match number % 4 {
            0 => ("x", &["-q", "-x"]),
            1 => ("s", &["-q", "-s"]),
            2 => ("2", &["-q", "--slots", "2"]),
            _ => ("4", &["-q", "--slots", "4"]),
        };
        let run = match number % 16 {
            0 => etcd.etcdctl(["lock", "/leasehold/job", "--", "sh", "-c", &script("x")]),
            _ => etcd.run("job").all_arguments(options).shell(&script(kind)),
        };
        run.output().assert_status(0);
    });
    let log = std::fs::read_to_string(log).expect("written");
    assert_eq!(log.lines().count(), 96);
    for line in log.lines() {
        let inside: Vec<&str> = line
            .split(' ')
            .skip(1)
            .map(|file| file.split('.').next().expect("a kind"))
            .collect();
        let strictest = inside.iter().map(|kind| match *kind {
            "x" => 1,
            "s" => usize::MAX,
            slots => slots.parse().expect("a number"),
        });
        let strictest = strictest.min().expect("at least itself");
        assert!(inside.len() <= strictest, "{line}");
    }
    eventually("nothing of ours is left", SOON, || {
        match etcd.store().keys("/leasehold/").len() {
            0 => Ok(()),
            count => Err(format!("{count} keys")),
        }
    });
}

#[test]
fn a_vanished_reader_delays_no_reader_and_a_vanished_slot_is_free_after_its_delay() {
    let etcd = Service::start();
    let store = etcd.store();
    let vanishing = hold(&etcd, &["-s", "--ttl", "3", "--lock-delay", "60"]);
    vanishing.vanish();
    eventually("its lease expires", SOON, || {
        match store.entries("job").len() {
            0 => Ok(()),
            count => Err(format!("{count} entries")),
        }
    });
    for options in [SHARED, &slots("2")] {
        let beside = etcd
            .run("job")
            .all_arguments(options)
            .arguments(["-n"])
            .shell("true")
            .output();
        beside.assert_status(0);
    }
    etcd.run("job")
        .arguments(["-n"])
        .shell("true")
        .output()
        .assert_status(75)
        .assert_stderr_has(["vanished"]);

    let etcd = Service::start();
    let vanishing = hold(&etcd, &["--slots", "2", "--ttl", "3", "--lock-delay", "2"]);
    let other = hold(&etcd, &slots("2"));
    let waiter = etcd
        .run("job")
        .all_arguments(&slots("2"))
        .probe(["now"])
        .spawn();
    waiter.expect_stderr("waiting for job");
    vanishing.vanish();
    let store = etcd.store();
    let mut before = Moment::now();
    let gone_at = eventually("its lease expires", SOON, || {
        let looked_at = Moment::now();
        let entries = store.entries("job");
        if entries.len() == 2 {
            return Ok(before);
        }
        before = looked_at;
        Err(format!("{entries:?}"))
    });
    let output = waiter.wait();
    output.assert_status(0);
    let waited = Moment::parse(&output.stdout).since(gone_at);
    assert!(waited >= Duration::from_millis(1950), "{waited:?}");
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    other.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn the_sequencer_says_how_the_lock_is_held_and_fence_run_takes_only_exclusive_ones() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let state = folder.path().join("state");
    let fenced = format!(
        "echo ${{LEASEHOLD_SEQUENCER}}; {} fence run --state {} -- echo fenced",
        crate::harness::leasehold::binary(),
        state.display()
    );
    for (options, mode, allowed) in [
        (EXCLUSIVE, "exclusive", true),
        (&slots("1"), "exclusive", true),
        (SHARED, "shared", false),
        (&slots("2"), "slots", false),
    ] {
        let output = etcd
            .run("job")
            .all_arguments(options)
            .shell(&fenced)
            .output();
        output.assert_status(if allowed { 0 } else { 64 });
        let sequencer = output.stdout.lines().next().expect("a line");
        assert_eq!(
            sequencer.split(':').nth(2),
            Some(mode),
            "{}",
            output.describe()
        );
        assert_eq!(output.stdout.contains("fenced"), allowed);
        if !allowed {
            output.assert_stderr_has([mode, "orders nothing"]);
        }
    }
    // What only this holder may write is no matter of order.
    let written = etcd
        .run("job")
        .arguments(["-s"])
        .shell(&format!(
            "{binary} fence check && {binary} fence put app/key written",
            binary = crate::harness::leasehold::binary()
        ))
        .output();
    written.assert_status(0);
    assert_eq!(etcd.store().keys("app/key")[0].value, b"written");
}

#[test]
fn contradictions_and_impossible_numbers_of_slots_are_refused() {
    let run = |options: &[&str]| {
        crate::harness::leasehold::Run::new("127.0.0.1:1")
            .lock("job")
            .all_arguments(options)
            .shell("echo ran")
            .output()
    };
    for options in [
        ["-x", "-s"].as_slice(),
        &["-s", "--slots", "2"],
        &["-x", "--slots", "2"],
        &["-s", "-x"],
    ] {
        let output = run(options);
        output.assert_status(64).assert_stdout("");
        output.assert_stderr_has(["cannot be used with"]);
    }
    for number in ["0", "-1", "1.5", "many", "", "4294967296"] {
        let output = run(&[&format!("--slots={number}")]);
        output.assert_status(64).assert_stdout("");
        output.assert_stderr_has(["a number from 1"]);
    }
}

#[test]
fn a_file_can_say_how_many_slots_a_lock_has_and_the_command_line_is_stronger() {
    let etcd = Service::start();
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[lock.job]\nslots = 2\n").expect("written");
    let file = file.to_str().expect("readable");
    let with = |options: &[&str]| {
        let output = etcd
            .run("job")
            .arguments(["--config", file])
            .all_arguments(options)
            .shell("echo $LEASEHOLD_SEQUENCER")
            .output();
        output.assert_status(0);
        output.stdout.split(':').nth(2).expect("a mode").to_owned()
    };
    assert_eq!(with(&[]), "slots");
    assert_eq!(with(&["-x"]), "exclusive");
    assert_eq!(with(&["-s"]), "shared");
    std::fs::write(file, "[lock.job]\nslots = 0\n").expect("written");
    etcd.run("job")
        .arguments(["--config", file])
        .shell("true")
        .output()
        .assert_status(78)
        .assert_stderr_has([file, "slots", "a number from 1"]);
}

in_a_folder_too![
    readers_share_a_writer_waits_for_all_of_them_and_later_readers_for_the_writer,
    all_readers_behind_a_writer_go_at_once_when_it_goes,
    so_many_hold_slots_and_the_next_takes_the_first_one_that_is_free,
    never_more_than_the_slots_run_at_a_time_and_as_many_as_there_are,
    the_smallest_number_of_slots_among_them_decides_and_status_shows_it,
    whoever_must_not_wait_runs_beside_those_it_can_and_never_queues,
    readers_that_must_not_wait_all_run_although_they_come_together,
    waiting_for_a_slot_can_run_out,
    a_vanished_reader_delays_no_reader_and_a_vanished_slot_is_free_after_its_delay,
    a_file_can_say_how_many_slots_a_lock_has_and_the_command_line_is_stronger,
];
