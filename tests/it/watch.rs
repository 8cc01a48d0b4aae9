//! `leasehold watch [NAME]`: what happens, as it happens.

use serde_json::Value;

use crate::harness::etcd::Etcd;
use crate::harness::leasehold::{Run, Running};
use crate::harness::pty::Terminal;
use crate::harness::service::{Service, in_a_folder_too};

fn watch(etcd: &Service, arguments: &[&str]) -> Running {
    let watching = etcd.leasehold(["watch"]).all_arguments(arguments).spawn();
    watching.expect_stdout("\"watching\"");
    watching
}

/// Ends it, and gives back what it told: the names of the events and the locks.
#[track_caller]
fn told(watching: Running) -> Vec<Value> {
    watching.signal(nix::sys::signal::Signal::SIGINT);
    let output = watching.wait();
    output.assert_signal(libc::SIGINT).assert_silent();
    let lines = output.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn names(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| match event["lock"].as_str() {
        Some(lock) => format!("{} {lock}", event["event"].as_str().unwrap_or_default()),
        None => event["event"].as_str().unwrap_or_default().to_owned(),
    };
    events.iter().map(name).collect()
}

#[test]
fn every_event_is_a_line_in_the_order_of_the_revisions() {
    let etcd = Service::start();
    let holder = etcd
        .run("job")
        .arguments(["--record"])
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let watching = watch(&etcd, &["job"]);
    watching.expect_stdout("\"held\"");
    // What happens elsewhere is none of its business.
    etcd.run("job/below")
        .shell("true")
        .output()
        .assert_status(0);
    let waiter = etcd.run("job").shell("echo ready; cat").spawn();
    etcd.store().wait_for_entries("job", 2);
    holder.wait().assert_status(0);
    watching.expect_stdout("\"started\"");
    waiter.vanish();
    for entry in etcd.store().entries("job") {
        etcd.store().revoke(entry.lease);
    }
    watching.expect_stdout("\"vanished\"");
    let events = told(watching);
    assert_eq!(
        names(&events),
        [
            "watching",
            "queued job",
            "held job",
            "queued job",
            "recorded job",
            "released job",
            "held job",
            "started job",
            "vanished job"
        ]
    );
    let before: Vec<bool> = events
        .iter()
        .filter_map(|event| event["before"].as_bool())
        .collect();
    assert_eq!(
        before,
        [true, true, false, false, false, false, false, false]
    );
    let revisions: Vec<i64> = events
        .iter()
        .filter_map(|event| event["revision"].as_i64())
        .collect();
    assert!(revisions.is_sorted(), "{revisions:?}");
}

#[test]
fn without_a_name_all_locks_are_watched() {
    let etcd = Service::start();
    let watching = watch(&etcd, &[]);
    for name in ["a", "a/b", "c"] {
        etcd.run(name).shell("true").output().assert_status(0);
    }
    let last = etcd.run("last").shell("true").output();
    last.assert_status(0);
    watching.expect_stdout("\"lock\":\"last\"");
    let events = names(&told(watching));
    let mut expected = vec!["watching".to_owned()];
    for name in ["a", "a/b", "c"] {
        expected.extend(["queued", "held", "released"].map(|what| format!("{what} {name}")));
    }
    assert_eq!(events[..expected.len()], expected);
}

#[test]
fn an_outage_and_a_dead_member_are_survived_and_nothing_is_missed() {
    let mut etcd = Service::Etcd(Box::new(Etcd::start_three()));
    let watching = watch(&etcd, &["job"]);
    etcd.stop_all();
    watching.expect_stdout("\"unreachable\"");
    etcd.restart_all();
    watching.expect_stdout("\"reached\"");
    // Whichever it follows by now: one is dead, one after the other.
    etcd.members[0].stop();
    etcd.run("job").shell("true").output().assert_status(0);
    etcd.members[0].restart();
    etcd.members[1].stop();
    etcd.run("job").shell("true").output().assert_status(0);
    etcd.run("job").shell("true").output().assert_status(0);
    etcd.run("job")
        .arguments(["--reason", "the last"])
        .shell("true")
        .output()
        .assert_status(0);
    watching.expect_stdout("the last");
    let events = names(&told(watching));
    let count = |name: &str| events.iter().filter(|event| *event == name).count();
    assert_eq!(count("unreachable"), count("reached"), "{events:?}");
    assert_eq!(count("queued job"), 4, "{events:?}");
    // It is ended when the last one is seen to queue.
    assert!(count("held job") >= 3, "{events:?}");
    assert!(count("released job") >= 3, "{events:?}");
}

#[test]
fn a_compaction_that_it_slept_through_begins_anew() {
    let mut etcd = Service::start();
    let store = etcd.store();
    let watching = watch(&etcd, &["job"]);
    watching.signal(nix::sys::signal::Signal::SIGSTOP);
    etcd.run("job").shell("true").output().assert_status(0);
    let holder = etcd.hold("job");
    store.compact(store.revision());
    etcd.only().stop();
    etcd.only().restart();
    watching.signal(nix::sys::signal::Signal::SIGCONT);
    watching.expect_stdout("\"held\"");
    holder.wait().assert_status(0);
    watching.expect_stdout("\"released\"");
    let events = names(&told(watching));
    assert!(events.contains(&"held job".to_owned()), "{events:?}");
}

/// `watch` in a shell on a terminal of this size.
fn on_a_terminal(etcd: &Service, columns: usize, arguments: &str) -> Terminal {
    let typed = etcd.leasehold(["watch"]).typed();
    let script = format!(
        "trap : INT; stty cols {columns} rows 12; {typed} {arguments}; echo \"ended with $?\""
    );
    let shell = Run::program("bash").arguments(["-c", &script]);
    Terminal::start(
        shell
            .variable("TERM", "xterm")
            .variable("NO_COLOR", "1")
            .variable("LEASEHOLD_ENDPOINTS", &etcd.endpoints())
            .to_command(),
    )
}

#[test]
fn on_a_terminal_it_is_a_view_that_is_drawn_anew_and_ctrl_c_ends_it() {
    let etcd = Service::start();
    let mut terminal = on_a_terminal(&etcd, 100, "job");
    terminal.expect("job at ");
    terminal.expect("free");
    let holder = etcd
        .run("job")
        .arguments(["--reason", "4.2"])
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    terminal.expect("holds it  root@");
    terminal.expect("4.2");
    terminal.expect("has the lock");
    // Narrower: a block for each run, and no line is longer than the terminal is wide.
    terminal.resize(20, 12);
    terminal.expect("\u{1b}[Hjob at 2");
    terminal.expect("WHO root@");
    terminal.expect("\u{1b}[J");
    terminal.expect("\u{1b}[J");
    for line in terminal.unread().split("\r\n") {
        let shown = line
            .replace("\u{1b}[H", "")
            .replace("\u{1b}[K", "")
            .replace("\u{1b}[J", "");
        assert!(shown.chars().count() <= 20, "{shown:?}");
    }
    holder.wait().assert_status(0);
    terminal.expect("gave it");
    terminal.press("\x03");
    terminal.expect("ended with 130");
    assert!(terminal.wait().success());
}

#[test]
fn the_view_says_that_it_is_not_up_to_date_goes_on_and_can_be_left_during_an_outage() {
    let mut etcd = Service::Etcd(Box::new(Etcd::start_three()));
    let mut terminal = on_a_terminal(&etcd, 100, "job");
    let holder = etcd.hold("job");
    terminal.expect("holds it  ");
    // They are silent, and then they are dead.
    for member in &etcd.members {
        member.pause();
    }
    terminal.expect("not up to date: ");
    terminal.resize(20, 12);
    terminal.expect("WHO ");
    terminal.expect("\u{1b}[J");
    for member in &etcd.members {
        member.resume();
    }
    terminal.resize(100, 12);
    holder.wait().assert_status(0);
    terminal.expect("gave it back");
    terminal.expect("free\u{1b}[K\r\n");
    let pictures = terminal.screen_text();
    let (pictures, _) = pictures.rsplit_once("free").expect("it is free");
    let (_, last) = pictures.rsplit_once("\u{1b}[H").expect("a picture");
    assert!(!last.contains("not up to date"), "{last:?}");
    // Whichever it follows by now: one is dead, one after the other.
    for index in [0, 1] {
        etcd.members[index].stop();
        let reason = format!("without {index}");
        let run = etcd.run("job").arguments(["--reason", &reason]);
        let run = run.shell("echo ready; cat").spawn();
        run.expect_stdout("ready");
        terminal.expect(&reason);
        run.wait().assert_status(0);
        etcd.members[index].restart();
    }
    etcd.stop_all();
    terminal.expect("not up to date: ");
    terminal.press("\x03");
    terminal.expect("ended with 130");
    assert!(terminal.wait().success());
}

#[test]
fn it_ends_as_run_does_without_etcd_and_when_nobody_reads() {
    let mut etcd = Service::start();
    let typed = etcd.leasehold(["watch"]).typed();
    let script = format!("{{ {typed}; echo $? >&2; }} | head -n 1 >/dev/null");
    let bash = Run::program("bash").arguments(["-c", &script]);
    let bash = bash
        .variable("LEASEHOLD_ENDPOINTS", &etcd.endpoints())
        .spawn();
    crate::harness::eventually::eventually(
        "it is noticed",
        std::time::Duration::from_secs(20),
        || {
            etcd.run("job").shell("true").output().assert_status(0);
            match bash.stderr().contains("141") {
                true => Ok(()),
                false => Err(bash.stderr()),
            }
        },
    );
    bash.wait().assert_status(0);
    etcd.only().stop();
    let run = etcd
        .leasehold(["watch", "--connect-timeout", "0.5"])
        .output();
    run.assert_status(69).assert_stdout("");
}

in_a_folder_too![
    every_event_is_a_line_in_the_order_of_the_revisions,
    without_a_name_all_locks_are_watched,
];
