//! The harness: what the other tests stand on is tried by itself, without leasehold.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::decency;
use crate::harness::etcd::{Etcd, free_port};
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::Run;
use crate::harness::processes::{Moment, Process};
use crate::harness::proxy::{Proxy, Way};
use crate::harness::pty::Terminal;
use crate::harness::store::Store;

#[test]
fn an_etcd_keeps_its_data_over_a_restart() {
    let mut etcd = Etcd::start();
    etcd.store().put("/leasehold/a/1", "kept");
    etcd.only().restart();
    let keys = etcd.store().keys("/leasehold/a/");
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].value, b"kept");
}

#[test]
fn three_members_survive_the_loss_of_one() {
    let mut etcd = Etcd::start_three();
    etcd.members[0].stop();
    let store = Store::connect(vec![etcd.members[1].endpoint()]);
    eventually("two members answer", SOON, || store.is_ready());
}

#[test]
fn a_frozen_etcd_does_not_answer_and_then_goes_on() {
    let etcd = Etcd::start();
    let store = etcd.store();
    etcd.members[0].pause();
    store.is_ready().expect_err("it is frozen");
    etcd.members[0].resume();
    eventually("it answers again", SOON, || store.is_ready());
}

#[test]
fn the_history_shows_keys_that_are_deleted() {
    let etcd = Etcd::start();
    let store = etcd.store();
    store.put("/leasehold/a/1", "");
    store.put("/leasehold/a/2", "");
    store.delete("/leasehold/a/1");
    let history = store.history("/leasehold/a/");
    let keys: Vec<&str> = history.keys().map(String::as_str).collect();
    assert_eq!(keys, ["/leasehold/a/1", "/leasehold/a/2"]);
    assert!(history["/leasehold/a/1"] < history["/leasehold/a/2"]);
    assert_eq!(store.keys("/leasehold/a/").len(), 1);
}

#[test]
fn a_proxy_delays_swallows_and_cuts() {
    let etcd = Etcd::start();
    let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
    let store = Store::connect(vec![proxy.endpoint()]);
    store.put("/x", "");
    proxy.delay(Duration::from_millis(50));
    let before = Moment::now();
    store.put("/x", "");
    assert!(Moment::now().since(before) >= Duration::from_millis(100));
    proxy.delay(Duration::ZERO);
    for trouble in [
        Proxy::blackhole as fn(&Proxy),
        |proxy| proxy.hold(Way::ToClient),
        |proxy| proxy.hold(Way::ToServer),
        Proxy::cut,
    ] {
        trouble(&proxy);
        store.is_ready().expect_err("there is trouble");
        proxy.mend();
        eventually("all is well again", SOON, || store.is_ready());
    }
}

#[test]
fn etcdctl_speaks_to_the_cluster() {
    let etcd = Etcd::start();
    etcd.etcdctl(["put", "/x", "y"])
        .output()
        .assert_status(0)
        .assert_stdout("OK\n");
}

#[test]
fn exit_statuses_and_signals_are_seen_exactly() {
    let sh = |script: &str| Run::program("sh").arguments(["-c", script]).output();
    sh("exit 143").assert_status(143);
    sh("kill -TERM $$").assert_signal(15);
    sh("echo out; echo Err >&2")
        .assert_status(0)
        .assert_stdout("out\n")
        .assert_stderr_has(["err"]);
    Run::program("cat")
        .input("typed")
        .output()
        .assert_stdout("typed")
        .assert_nobody_left();
}

#[test]
fn bounded_memory_is_refused_to_whoever_wants_more() {
    let is_done = |bytes: &str, bounded: bool| {
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "of=/dev/null", "count=1", bytes]);
        if bounded {
            decency::bound_memory(&mut dd);
        }
        dd.output().expect("dd").status.success()
    };
    assert!(is_done("bs=32M", false), "without a bound");
    assert!(is_done("bs=1M", true), "within it");
    assert!(!is_done("bs=32M", true), "beyond it");
}

#[test]
fn what_escapes_its_session_is_found_and_ended_with_the_run() {
    let running = Run::program("sh")
        .arguments(["-c", "setsid sh -c 'echo $$; exec sleep 1000' & wait"])
        .spawn();
    let pid: i32 = running.expect_stdout("\n").trim().parse().expect("a pid");
    let escaped = Process::open(pid).expect("it lives");
    // In the middle of its exec it shows no environment.
    eventually("it is found", SOON, || {
        let processes = running.processes();
        let is_found = processes.iter().any(|other| other.pid == pid);
        if is_found {
            Ok(())
        } else {
            Err(format!("{processes:?}"))
        }
    });
    running.vanish();
    escaped.wait_dead(SOON);
}

#[test]
fn a_terminal_sends_its_signals_to_the_foreground() {
    let mut terminal = Terminal::start(
        Run::program("sh")
            // Busy, since a signal in the moment before a wait would be noticed only after it.
            .arguments([
                "-c",
                "trap 'echo caught; exit 3' INT; echo ready; while :; do :; done",
            ])
            .to_command(),
    );
    terminal.expect("ready");
    terminal.press("\x03");
    terminal.expect("caught");
    assert_eq!(terminal.wait().code(), Some(3));
}

#[test]
fn a_signal_reaches_only_the_process_it_is_sent_to() {
    let running = Run::program("sleep").arguments(["1000"]).spawn();
    running.signal(Signal::SIGTERM);
    running.wait_within(SOON).assert_signal(15);
}
