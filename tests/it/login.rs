//! Users and passwords: one login for each run, the fewest permissions that do, and clear refusals.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::etcd::{Etcd, Options, free_port};
use crate::harness::eventually::{SOON, let_time_pass_until};
use crate::harness::leasehold::{Output, Run, binary};
use crate::harness::processes::Moment;
use crate::harness::proxy::Proxy;
use crate::harness::pty::Terminal;
use crate::harness::together::in_threads;

const TTL_S: u32 = 5;
const TTL: Duration = Duration::from_secs(TTL_S as u64);

pub(crate) const ROOT_PASSWORD: &str = "the root of the test";
pub(crate) const PASSWORD: &str = "corRect:h0rse";

/// What is refused for good is refused long before `--connect-timeout`.
const AT_ONCE: Duration = Duration::from_secs(3);

const README: &str = include_str!("../../README.md");
const GUIDE: &str = include_str!("../../docs/etcd.md");

/// The lines that make a user for all locks, run as they stand there.
#[test]
fn the_documented_role_for_all_locks_is_enough_for_everything() {
    for text in [README, GUIDE] {
        let etcd = with_users(Etcd::start());
        let folder = run_documented(&etcd, text, "A user for all locks");
        let as_user = |run: Run| as_user(run, "leasehold", folder.path());
        everything_works(&etcd, "locks", "deploy/prod", &as_user);
    }
}

#[test]
fn the_documented_role_for_one_lock_is_enough_for_that_lock_and_no_other() {
    let etcd = with_users(Etcd::start());
    let folder = run_documented(&etcd, GUIDE, "For one lock");
    let as_user = |run: Run| as_user(run, "deployer", folder.path());
    everything_works(&etcd, "lock-deploy-prod", "deploy/prod", &as_user);
    let output = as_user(etcd.run("other")).shell("echo ran").output();
    assert_denied(&output);
    output.assert_stderr_has([
        "deployer",
        "/leasehold/other/",
        "/leasehold/~run/other/",
        "read and write",
    ]);
    // The lock's own neighbours are other locks.
    for name in ["deploy", "deploy/production"] {
        assert_denied(&as_user(etcd.run(name)).shell("echo ran").output());
    }
}

#[test]
fn a_lock_whose_markers_are_not_permitted_is_refused_before_the_command_runs() {
    let etcd = with_users(Etcd::start());
    user(&etcd, "half", &["/leasehold/job/"]);
    let folder = password_file(PASSWORD);
    let output = as_user(etcd.run("job"), "half", folder.path())
        .shell("echo ran")
        .output();
    assert_denied(&output);
    output.assert_stderr_has(["job", "half", "/leasehold/~run/job/"]);
    let status = as_user(etcd.leasehold(["status", "job"]), "half", folder.path()).output();
    assert_denied(&status);
    etcd.store().assert_clean();
}

#[test]
fn what_may_not_be_written_for_people_does_not_undo_what_is_done_once() {
    let etcd = with_users(Etcd::start());
    let folder = password_file(PASSWORD);
    let places = ["/leasehold/job/", "/leasehold/~run/job/"];
    user(&etcd, "plain", &places);
    let run = as_user(etcd.run("job"), "plain", folder.path());
    let output = run.arguments(["--once", "1"]).shell("echo ran").output();
    assert_denied(&output);
    output.assert_stderr_has(["/leasehold/~once/job/"]);
    user(
        &etcd,
        "once",
        &[places[0], places[1], "/leasehold/~once/job/"],
    );
    let once = || {
        let run = as_user(etcd.run("job"), "once", folder.path());
        run.arguments(["--once", "1", "--record"]).shell("echo ran")
    };
    once().output().assert_status(0).assert_stdout("ran\n");
    once().output().assert_status(0).assert_stdout("");
}

#[test]
fn a_wrong_password_is_refused_at_once_and_shown_nowhere() {
    let etcd = with_users(Etcd::start_three());
    user(&etcd, "somebody", &["/leasehold/"]);
    let folder = password_file("corRect:h0rse but wrong");
    for name in ["somebody", "nobody"] {
        let run = as_user(etcd.run("job"), name, folder.path());
        let output = run.arguments(["-v"]).shell("echo ran").output();
        assert_denied(&output);
        output.assert_stderr_has(["job", "password"]);
        assert!(!output.stderr.contains("h0rse"), "{output:?}");
        let status = as_user(etcd.leasehold(["status", "job"]), name, folder.path()).output();
        assert_denied(&status);
    }
    etcd.store().assert_clean();
}

#[test]
fn the_password_arrives_from_wherever_it_may_come() {
    let etcd = with_users(Etcd::start());
    user(&etcd, "cron", &["/leasehold/"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    let content = format!("user = \"cron\"\npassword = \"{PASSWORD}\"\n");
    std::fs::write(&file, content).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
    let file = file.to_str().expect("readable");
    let both = format!("cron:{PASSWORD}");
    let run = || etcd.run("job").shell("echo ran");
    for run in [
        run().arguments(["--user", &both]),
        run().variable("LEASEHOLD_USER", &both),
        run()
            .arguments(["--user", "cron"])
            .variable("LEASEHOLD_PASSWORD", PASSWORD),
        run().variable("ETCDCTL_USER", &both),
        run()
            .variable("ETCDCTL_USER", "cron")
            .variable("ETCDCTL_PASSWORD", PASSWORD),
        run().arguments(["--config", file]),
    ] {
        let output = run.output();
        output.assert_status(0).assert_stdout("ran\n");
    }
    let asking = run().arguments(["--user", "cron"]).to_command();
    let mut terminal = Terminal::start(asking);
    terminal.expect("password of cron");
    terminal.press(&format!("{PASSWORD}\r"));
    terminal.expect("ran");
    assert_eq!(terminal.wait().code(), Some(0));
    etcd.store().assert_clean();
}

#[test]
fn nobody_is_let_in_without_a_user_and_the_sentence_says_what_is_missing() {
    let etcd = with_users(Etcd::start_three());
    let output = etcd.run("job").shell("echo ran").output();
    assert_denied(&output);
    output.assert_stderr_has(["job", "--user"]);
}

#[test]
fn a_user_where_there_are_none_is_let_in_as_etcdctl_is() {
    let etcd = Etcd::start_three();
    let folder = password_file(PASSWORD);
    as_user(etcd.run("job"), "somebody", folder.path())
        .shell("echo ran")
        .output()
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_silent();
    etcd.store().assert_clean();
}

#[test]
fn a_hundred_runs_that_start_at_once_log_in_once_each() {
    let etcd = with_users(Etcd::start_three());
    user(&etcd, "cron", &["/leasehold/"]);
    let folder = password_file(PASSWORD);
    let before = hashed_passwords(&etcd);
    in_threads(100, 0..100, |number| {
        // Two cores hash a hundred passwords here; nobody is given up for that.
        as_user(etcd.run(&format!("job/{number}")), "cron", folder.path())
            .arguments(["--connect-timeout", "60"])
            // Nobody is to lose a lock to their hashing either; and as long lives what keeps out that which an
            // overtaken member may carry out late.
            .ttl(15)
            .shell("echo ran")
            .output()
            .assert_status(0)
            .assert_stdout("ran\n");
    });
    let hashed = hashed_passwords(&etcd) - before;
    // A login that an election interrupts has to be repeated, hash and all.
    assert!((100..=120).contains(&hashed), "{hashed}");
    etcd.store().assert_clean();
}

#[test]
fn a_forgotten_login_costs_neither_the_holder_nor_the_waiter_anything() {
    let options = Options {
        arguments: vec!["--auth-token-ttl", "1"],
        ..Options::default()
    };
    let etcd = with_users(Etcd::start_as(3, options));
    user(&etcd, "cron", &["/leasehold/"]);
    let folder = password_file(PASSWORD);
    let proxies: Vec<Proxy> = etcd
        .members
        .iter()
        .map(|member| Proxy::start(free_port(), member.address()).expect("a free port"))
        .collect();
    let endpoints: Vec<String> = proxies.iter().map(Proxy::endpoint).collect();
    let endpoints = endpoints.join(",");
    let run = || as_user(Run::new(&endpoints).lock("job"), "cron", folder.path()).ttl(TTL_S);
    let holder = run().shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = run().shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    // Longer than a login lives unused, and through other members one after the other.
    let ways: [fn(&Proxy); 3] = [Proxy::cut, Proxy::blackhole, Proxy::blackhole];
    for (proxy, breaks) in proxies.iter().zip(ways) {
        breaks(proxy);
        let_time_pass_until(Moment::now() + TTL);
        proxy.mend();
    }
    holder.wait().assert_status(0);
    let output = waiter.wait();
    output.assert_status(0).assert_stdout("ran\n");
    assert!(!output.stderr.contains("again"), "{output:?}");
    etcd.store().assert_clean();
}

#[test]
fn a_change_of_roles_meanwhile_costs_a_holder_nothing() {
    a_change_of_roles_costs_nothing(with_users(Etcd::start()));
}

/// A signed token ends with every change of users or roles ("revision of auth store is old").
#[test]
fn nor_does_it_where_tokens_are_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key on P-256");
    let file = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).expect("written");
        path.display().to_string()
    };
    let public = file("public", key.public_key_pem());
    let private = file("private", key.serialize_pem());
    let how = format!("jwt,pub-key={public},priv-key={private},sign-method=ES256,ttl=10m");
    let options = Options {
        // Its few bytes live as long as the test.
        arguments: vec!["--auth-token", how.leak()],
        ..Options::default()
    };
    a_change_of_roles_costs_nothing(with_users(Etcd::start_as(3, options)));
}

fn a_change_of_roles_costs_nothing(etcd: Etcd) {
    user(&etcd, "cron", &["/leasehold/"]);
    let folder = password_file(PASSWORD);
    let holder = as_user(etcd.run("job"), "cron", folder.path())
        .ttl(TTL_S)
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    user(&etcd, "another", &["/leasehold/"]);
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    holder.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn a_waiter_whose_permission_is_taken_away_is_told() {
    let etcd = with_users(Etcd::start());
    user(&etcd, "cron", &["/leasehold/"]);
    let folder = password_file(PASSWORD);
    let holder = as_user(etcd.run("job"), "cron", folder.path())
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    user(&etcd, "guest", &["/leasehold/"]);
    let waiter = as_user(etcd.run("job"), "guest", folder.path())
        .shell("echo ran")
        .spawn();
    waiter.expect_stderr("waiting");
    etcd.etcdctl(["user", "revoke-role", "guest", "guest"])
        .output()
        .assert_status(0);
    let output = waiter.wait_within(SOON);
    output
        .assert_status(77)
        .assert_stdout("")
        .assert_stderr_has(["guest", "/leasehold/job/"]);
}

/// A lock taken, waited for, given back after a vanished holder, and looked at.
fn everything_works(etcd: &Etcd, role: &str, name: &str, as_user: &dyn Fn(Run) -> Run) {
    let holder = as_user(etcd.run(name))
        .ttl(TTL_S)
        .arguments(["--lock-delay", "500ms"])
        .shell("echo ready; exec sleep 1000")
        .spawn();
    holder.expect_stdout("ready");
    as_user(etcd.leasehold(["status", "-q", name]))
        .output()
        .assert_status(75);
    let busy = as_user(etcd.run(name)).arguments(["-n"]).shell("echo ran");
    busy.output().assert_status(75);
    let waiter = as_user(etcd.run(name)).ttl(TTL_S).shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    // A renewal is due at a quarter of the TTL.
    let_time_pass_until(Moment::now() + TTL / 2);
    holder.vanish();
    waiter
        .wait_within(TTL + SOON)
        .assert_status(0)
        .assert_stdout("ran\n");
    etcd.store().assert_clean();
    let remembering = |options: [&str; 3]| as_user(etcd.run(name)).arguments(options);
    let once = remembering(["--record", "--once", "1"]);
    once.shell("true").output().assert_status(0).assert_silent();
    let status = as_user(etcd.leasehold(["status", name])).output();
    assert!(status.stdout.contains("last run: exited"), "{status:?}");
    let forget = as_user(etcd.leasehold(["once", "forget", name, "1"]));
    forget.output().assert_status(0).assert_silent();
    let kept = remembering(["-n", "--hold-min", "2"]).shell("true");
    kept.output().assert_status(0).assert_silent();
    let latest = || {
        remembering(["--queue", "latest", "-v"])
            .shell("true")
            .spawn()
    };
    let older = latest();
    etcd.store().wait_for_entries(name, 2);
    let newer = latest();
    older.wait().assert_status(76);
    newer.wait().assert_status(0);
    let app = ["role", "grant-permission", role, "readwrite", "/app/state"];
    etcd.etcdctl(app).output().assert_status(0);
    let writing = format!(
        "{0} fence put /app/state v && {0} fence delete /app/state",
        binary()
    );
    let fenced = as_user(etcd.run(name)).shell(&writing).output();
    fenced.assert_status(0);
    let holder = as_user(etcd.run(name))
        .ttl(TTL_S)
        .shell("echo ready; exec sleep 1000")
        .spawn();
    holder.expect_stdout("ready");
    let token = etcd.store().entries(name)[0].create_revision.to_string();
    let broken = etcd.leasehold(["break", name, "--token", &token]);
    as_user(broken).output().assert_status(0);
    holder.wait().assert_status(79);
}

pub(crate) fn with_users(mut etcd: Etcd) -> Etcd {
    etcd.enable_users(ROOT_PASSWORD);
    etcd
}

/// A user with a role of its own that may read and write below these keys.
pub(crate) fn user(etcd: &Etcd, name: &str, prefixes: &[&str]) {
    let with_password = format!("{name}:{PASSWORD}");
    for line in [
        ["user", "add", &with_password].as_slice(),
        &["role", "add", name],
        &["user", "grant-role", name, name],
    ] {
        etcd.etcdctl([])
            .all_arguments(line)
            .output()
            .assert_status(0);
    }
    for prefix in prefixes {
        etcd.etcdctl([
            "role",
            "grant-permission",
            name,
            "readwrite",
            "--prefix",
            prefix,
        ])
        .output()
        .assert_status(0);
    }
}

pub(crate) fn password_file(password: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{password}\n")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
    folder
}

/// The password is in `password` in the folder.
pub(crate) fn as_user(run: Run, name: &str, folder: &Path) -> Run {
    let file = folder.join("password");
    run.variable("LEASEHOLD_USER", name)
        .variable("LEASEHOLD_PASSWORD_FILE", file.to_str().expect("readable"))
}

/// Runs the block of lines whose introduction ends with this; the password file it makes is in the folder.
fn run_documented(etcd: &Etcd, text: &str, which: &str) -> TempDir {
    let (_, rest) = text
        .split_once(&format!("{which}:\n\n```sh\n"))
        .unwrap_or_else(|| panic!("no lines {which}"));
    let (lines, _) = rest.split_once("```").expect("an end");
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!(
        "set -e; cd \"$1\"; program=$2; etcdctl() {{ command \"$program\" \"$@\"; }}; {lines}"
    );
    etcd.etcdctl([])
        .wrapped([
            "sh",
            "-c",
            &script,
            "sh",
            folder.path().to_str().expect("readable"),
        ])
        .output()
        .assert_status(0);
    folder
}

/// Also those that nobody waited for to the end (Unknown); but an election is noticed before anything is hashed.
fn hashed_passwords(etcd: &Etcd) -> u64 {
    let of = |code: &str| {
        let labels = format!("grpc_code=\"{code}\",grpc_method=\"Authenticate\"");
        etcd.metric("grpc_server_handled_total", &labels)
    };
    of("OK") + of("Unknown")
}

#[track_caller]
fn assert_denied(output: &Output) {
    output
        .assert_status(77)
        .assert_stdout("")
        .assert_nobody_left();
    let took = output.duration();
    assert!(took < AT_ONCE, "{took:?}: {output:?}");
}
