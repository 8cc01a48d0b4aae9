//! Who may, and how that is shown: logins that are forgotten, users required all of a sudden, certificates replaced.

use std::time::Duration;

use super::{ended_decently, seconds};
use crate::harness::certificates::{Authority, Pair, Valid};
use crate::harness::etcd::{Etcd, Options, ServerTls, free_port, own_address};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::fault::Fault;
use crate::harness::leasehold::Run;
use crate::harness::processes::Moment;
use crate::harness::proxy::Proxy;
use crate::login::{PASSWORD, ROOT_PASSWORD, as_user, password_file, user, with_users};

const TTL_S: u32 = 5;
const TTL: Duration = Duration::from_secs(TTL_S as u64);

/// Whether a member knows the holder's login is the member's own: after a failover it may be another that has forgotten
/// it (simple tokens live on for a time that counts anew with each use, on the member where they are used).
#[test]
fn a_login_is_forgotten_and_members_fail_over() {
    /// Renewed less often than any login lives unused: that is between one and two seconds.
    const TTL_S: u32 = 9;
    let mut fault = Fault::of("login forgotten mid-run, with failover");
    let options = Options {
        arguments: vec!["--auth-token-ttl", "1"],
        ..Options::default()
    };
    let mut etcd = with_users(Etcd::start_as(3, options));
    user(&etcd, "cron", &["/leasehold/"]);
    let folder = password_file(PASSWORD);
    let run = || as_user(etcd.run("job"), "cron", folder.path()).ttl(TTL_S);
    let holder = run().shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = run().shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    // A restarted member has no login but those in its log, and is away for longer than any lives unused.
    for index in 0..3 {
        etcd.members[index].stop();
        let_time_pass_until(Moment::now() + TTL / 2);
        etcd.members[index].restart();
    }
    // Counted by members since they were started again, all of them after the last run had begun.
    let more = eventually("somebody has to log in again", SOON, || {
        match logins(&etcd) {
            0 => Err("nobody had to"),
            more => Ok(more),
        }
    });
    fault.injected(format!(
        "logins live for 1 s, each member in turn is killed and started again; {more} logins since then"
    ));
    let holder = holder.wait();
    holder.assert_status(0);
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(0).assert_stdout("ran\n");
    assert!(!waiter.stderr.contains("again"), "{}", waiter.describe());
    ended_decently([&holder, &waiter]);
    etcd.store().assert_clean();
    fault.seen(
        "the holder ended with 0, then its waiter ran, without losing its place; nothing left",
    );
}

/// How often the members that run have answered a request to log in.
fn logins(etcd: &Etcd) -> u64 {
    etcd.metric("grpc_server_handled_total", "grpc_method=\"Authenticate\"")
}

#[test]
fn users_are_required_all_of_a_sudden() {
    let mut fault = Fault::of("auth turned on mid-run");
    let mut etcd = Etcd::start();
    user(&etcd, "cron", &["/leasehold/"]);
    let folder = password_file(PASSWORD);
    let with_login = as_user(etcd.run("known"), "cron", folder.path()).ttl(TTL_S);
    let with_login = with_login.shell("echo ready; cat").spawn();
    let without = etcd
        .run("unknown")
        .ttl(TTL_S)
        .probe(["tree", "daemon"])
        .spawn();
    with_login.expect_stdout("ready");
    without.expect_stdout("ready");
    let waiter = etcd.run("known").ttl(TTL_S).shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    let tree = without.command_processes();
    etcd.enable_users(ROOT_PASSWORD);
    let required_at = Moment::now();
    let refused = etcd.run("other").shell("echo ran").output();
    refused.assert_status(77).assert_stdout("");
    fault.injected(
        "auth enabled while two hold and one waits: a run without a user is refused (77)",
    );
    for process in &tree {
        process.wait_dead((required_at + TTL).since(Moment::now()));
    }
    let without = without.wait_within(SOON);
    without.assert_lost().assert_nobody_left();
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(77).assert_stdout("");
    let_time_pass_until(required_at + TTL + TTL / 2);
    let with_login = with_login.wait();
    with_login.assert_status(0);
    ended_decently([&refused, &without, &waiter, &with_login]);
    // The marks of those who may not clear up are cleared up by the next one that may.
    let root = password_file(ROOT_PASSWORD);
    for name in ["known", "unknown"] {
        let next = as_user(etcd.run(name), "root", root.path())
            .shell("echo ran")
            .output();
        next.assert_status(0).assert_stdout("ran\n");
    }
    etcd.store().assert_clean();
    fault.seen(format!(
        "who had a login ended with 0; who had none was killed in time (79 after {}), its waiter ended with 77",
        seconds(without.ended_at.since(required_at))
    ));
}

#[test]
fn certificates_are_replaced() {
    let mut fault =
        Fault::of("certificates of the members replaced mid-run, by those of another authority");
    let (old, new) = (Authority::new(), Authority::new());
    let both = old.folder().join("both.pem");
    let pem = |authority: &Authority| std::fs::read_to_string(authority.path()).expect("written");
    std::fs::write(&both, pem(&old) + &pem(&new)).expect("ours");
    let tls = |authority: &Authority| ServerTls {
        pair: authority.server(own_address(), Valid::Now),
        clients: None,
    };
    let options = Options {
        tls: Some(tls(&old)),
        ..Options::default()
    };
    let mut etcd = Etcd::start_as(3, options);
    let endpoints = etcd.secure_endpoints();
    let trusting = |file: &std::path::Path| {
        Run::new(&endpoints).lock("job").ttl(TTL_S).arguments([
            "--cacert",
            file.to_str().expect("readable"),
            "--connect-timeout",
            "3",
        ])
    };
    let holder = trusting(&both).shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = trusting(&both).shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    for member in &mut etcd.members {
        member.stop();
        member.set_tls(tls(&new));
        member.restart();
    }
    let stranger = trusting(&old.path()).shell("echo ran").output();
    stranger.assert_status(78).assert_stdout("");
    fault.injected(
        "one member after the other came back with a certificate of the new authority: who trusts only the old one is \
         refused (78)",
    );
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    let holder = holder.wait();
    holder.assert_status(0);
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(0).assert_stdout("ran\n");
    ended_decently([&stranger, &holder, &waiter]);
    etcd.store().assert_clean();
    fault.seen("holder and waiter, who trust both, went on; 0 and 0, nothing left");
}

/// etcd reads its certificate anew for each connection, so it is replaced without a restart.
#[test]
fn a_certificate_runs_out_mid_run() {
    let mut fault = Fault::of("certificate of the only member runs out mid-run");
    let authority = Authority::new();
    let served = authority.server(own_address(), Valid::Now);
    let options = Options {
        tls: Some(ServerTls {
            pair: served.clone(),
            clients: None,
        }),
        ..Options::default()
    };
    let etcd = Etcd::start_as(1, options);
    let proxy = Proxy::start(free_port(), etcd.members[0].secure_address()).expect("a free port");
    let endpoint = format!("https://{}", proxy.endpoint());
    let run = || {
        Run::new(&endpoint)
            .lock("job")
            .ttl(TTL_S)
            .arguments(["--cacert", authority.path().to_str().expect("readable")])
    };
    let holder = run().shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    replace(&served, &authority.server(own_address(), Valid::NotAnyMore));
    let refused = run().shell("echo ran").output();
    refused
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has(["expired at 2021"]);
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    assert!(!holder.process.is_dead(), "over the connection it has");
    // New connections are made, with the certificate that is out of its time, and then with a good one.
    proxy.cut();
    proxy.mend();
    replace(&served, &authority.server(own_address(), Valid::Now));
    eventually("a run is let in again", SOON, || {
        let output = run().arguments(["-n"]).shell("echo ran").output();
        match output.status.code() {
            Some(75) => Ok(()),
            _ => Err(output.describe()),
        }
    });
    fault.injected("a new run is refused (69, and its sentence says when it expired), then the certificate is replaced by a good one");
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    let holder = holder.wait();
    holder.assert_status(0);
    ended_decently([&refused, &holder]);
    etcd.store().assert_clean();
    fault.seen("the holder went on over the connection it had, and over a new one afterwards; 0");
}

/// Both files at once enough: etcd reads them only for a new connection.
fn replace(old: &Pair, new: &Pair) {
    for (old, new) in [(&old.key, &new.key), (&old.cert, &new.cert)] {
        std::fs::copy(new, old).expect("ours");
    }
}
