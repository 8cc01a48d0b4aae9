//! What an endpoint answers that is not etcd, or more than is read of etcd: each its own sentence and status. Real web
//! servers and proxies; etcd itself never speaks like this.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::etcd::{Etcd, free_port};
use crate::harness::leasehold::{Output, Run};
use crate::harness::servers::{Missing, Server};
use crate::harness::untested;
use crate::login::{PASSWORD, as_user, password_file, user, with_users};

/// What is refused for good is refused long before `--connect-timeout`.
const AT_ONCE: Duration = Duration::from_secs(3);

#[test]
fn a_proxy_that_lets_nobody_in_is_not_etcd_that_denies() {
    for (status, sentence) in [
        (401, "lets nobody in"),
        (403, "lets nobody in"),
        (404, "knows no etcd"),
    ] {
        let Some((_server, address)) = started(Server::answering(status)) else {
            return;
        };
        let output = run(&address.to_string()).output();
        assert_unreachable(&output, address, status);
        output.assert_stderr_has([sentence]);
        let took = output.duration();
        assert!(took < AT_ONCE, "{status}: {took:?}");
    }
}

#[test]
fn a_proxy_in_trouble_is_asked_again_until_the_connect_timeout() {
    let Some((_server, address)) = started(Server::proxy_before(free_port())) else {
        return;
    };
    let output = run(&address.to_string())
        .arguments(["--connect-timeout", "1.5"])
        .output();
    assert_unreachable(&output, address, 503);
    output.assert_stderr_has(["cannot reach it"]);
    let took = output.duration();
    assert!(
        (Duration::from_secs(1)..AT_ONCE).contains(&took),
        "{took:?}"
    );
}

#[test]
fn one_endpoint_that_is_no_etcd_costs_nothing() {
    let etcd = Etcd::start();
    let Some((_server, address)) = started(Server::answering(403)) else {
        return;
    };
    let output = run(&format!("{address},{}", etcd.endpoints())).output();
    output
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_silent();
    etcd.store().assert_clean();
}

#[test]
fn a_queue_of_which_more_is_answered_than_is_read_gives_back_what_was_put() {
    const MARKERS: usize = 20;
    let etcd = Etcd::start();
    let store = etcd.store();
    // Somebody else's, as large as etcd takes them.
    let keys: Vec<String> = (0..MARKERS)
        .map(|number| format!("/leasehold/~run/job/{number:x}"))
        .collect();
    for key in &keys {
        store.put(key, vec![b'x'; 1_400_000]);
    }
    let limited = |bytes: &str| run(&etcd.endpoints()).wrapped(["prlimit", bytes, "--"]);
    let output = limited("--data=16777216").output();
    output
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has(["job", "more to answer than is read"])
        .assert_nobody_left();
    // Our entry was put: no answer is no refusal.
    assert!(store.entries("job").is_empty());
    for key in &keys[2..] {
        store.delete(key);
    }
    assert_eq!(store.markers("job").len(), 2, "ours is gone");
    // What is not too much is read; nobody stands behind these markers, so they go after their delay.
    let output = limited("--data=33554432").output();
    output.assert_status(0).assert_stdout("ran\n");
    store.assert_clean();
    // Values are shown to people, a few at once.
    for number in 0..MARKERS {
        let key = format!("/leasehold/job/{number:x}");
        store.put(&key, vec![b'x'; 1_400_000]);
    }
    let status = etcd.leasehold(["status", "-q", "job"]);
    status.output().assert_status(75);
}

#[test]
fn two_clusters_that_answer_users_only_are_refused_too() {
    for never in [false, true] {
        let etcds = [(); 2].map(|()| with_users(Etcd::start()));
        let folder = password_file(PASSWORD);
        let mut servers = Vec::new();
        for etcd in &etcds {
            user(etcd, "cron", &["/leasehold/"]);
            let server = Server::asking_who(etcd.members[0].address(), never);
            let Some(server) = started(server) else {
                return;
            };
            servers.push(server);
        }
        let [one, other] = [0, 1].map(|index: usize| servers[index].1.to_string());
        for endpoints in [format!("{one},{other}"), format!("{other},{one}")] {
            let output = as_user(run(&endpoints), "cron", folder.path()).output();
            output
                .assert_status(78)
                .assert_stdout("")
                .assert_stderr_has([&one, &other, "cannot be in two clusters"]);
        }
        for etcd in &etcds {
            etcd.store().assert_clean();
        }
    }
}

#[test]
fn members_of_one_cluster_that_answer_users_only_are_met_with_the_token() {
    let etcd = with_users(Etcd::start_three());
    user(&etcd, "cron", &["/leasehold/"]);
    let folder = password_file(PASSWORD);
    let mut servers = Vec::new();
    for member in &etcd.members {
        let Some(server) = started(Server::asking_who(member.address(), false)) else {
            return;
        };
        servers.push(server);
    }
    let endpoints: Vec<String> = servers
        .iter()
        .map(|(_, address)| address.to_string())
        .collect();
    let run = || as_user(run(&endpoints.join(",")), "cron", folder.path());
    let output = run().output();
    output
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_silent();
    etcd.store().assert_clean();
}

fn run(endpoints: &str) -> Run {
    Run::new(endpoints).lock("job").shell("echo ran")
}

#[track_caller]
fn assert_unreachable(output: &Output, address: SocketAddr, status: u16) {
    output
        .assert_status(69)
        .assert_stdout("")
        .assert_nobody_left()
        .assert_stderr_has([&address.to_string(), &format!("HTTP status {status}")]);
}

fn started(server: Result<(Server, SocketAddr), Missing>) -> Option<(Server, SocketAddr)> {
    server.map_err(|missing| untested::missing(&missing)).ok()
}
