//! `leasehold doctor`: one line for each finding, a status for CI, and nothing left behind.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::harness::certificates::{Authority, Valid};
use crate::harness::etcd::{Etcd, Options, ServerTls, free_port, own_address};
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::{Output, Run};
use crate::harness::pty::Terminal;
use crate::harness::unreachable::Unreachable;
use crate::harness::untested::missing;
use crate::harness::wall_clock::WallClock;
use crate::login::{as_user, password_file, user, with_users};

/// What `--connect-timeout` is set to where somebody does not answer.
const PATIENCE: &str = "1";

/// Three steps, each of at most that, on a busy machine.
const BOUND: Duration = Duration::from_secs(6);

fn doctor(endpoints: &str) -> Run {
    Run::new(endpoints).arguments(["doctor"])
}

/// The findings of one check: verdict, what it is about, message.
fn findings(output: &Output, check: &str) -> Vec<(String, String, String)> {
    let report: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", output.describe()));
    assert_eq!(report["version"], 1);
    assert_eq!(report["status"], output.status.code().expect("no signal"));
    let all = report["findings"].as_array().expect("a list");
    let of_check = all.iter().filter(|finding| finding["check"] == check);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let parts = |finding: &Value| {
        (
            text(&finding["verdict"]),
            text(&finding["about"]),
            text(&finding["message"]),
        )
    };
    of_check.map(parts).collect()
}

/// This check has such verdicts, in this order, and the messages of those that are not ok say this.
#[track_caller]
fn expect(output: &Output, check: &str, verdicts: &[&str], said: &str) {
    let found = findings(output, check);
    let found_verdicts: Vec<&str> = found.iter().map(|(verdict, ..)| verdict.as_str()).collect();
    assert_eq!(found_verdicts, verdicts, "{check} of {}", output.describe());
    for (verdict, _, message) in &found {
        assert!(
            verdict == "ok" || message.contains(said),
            "{said:?} in {message:?}"
        );
    }
}

#[test]
fn a_cluster_that_is_well_is_told_line_by_line_and_left_as_it_was() {
    for etcd in [Etcd::start(), Etcd::start_three()] {
        let revision = etcd.store().revision();
        let output = doctor(&etcd.endpoints()).output();
        output.assert_status(0).assert_silent();
        let lines: Vec<&str> = output.stdout.lines().collect();
        for (index, member) in etcd.members.iter().enumerate() {
            let about = format!("{}: ", member.endpoint());
            let of_member: Vec<&&str> = lines.iter().filter(|line| line.contains(&about)).collect();
            for said in ["etcd 3.", "clock agrees", "a linearizable read takes"] {
                let said_once = of_member.iter().filter(|line| line.contains(said)).count();
                assert_eq!(said_once, 1, "{said} of {index}: {}", output.describe());
            }
        }
        for line in &lines {
            let good = line.starts_with("ok       ") || line.starts_with("warning  ");
            assert!(good, "{line}");
        }
        assert_eq!(output.stdout.matches("is the leader").count(), 1);
        for said in [
            "cluster: its id is",
            "may be read and written",
            "--ttl 60s",
            "subreaper",
        ] {
            assert!(
                output.stdout.contains(said),
                "{said}: {}",
                output.describe()
            );
        }
        etcd.store().assert_clean();
        assert_eq!(etcd.store().revision(), revision, "nothing was written");
    }
}

#[test]
fn programs_get_the_documented_object() {
    let etcd = Etcd::start();
    let output = doctor(&etcd.endpoints())
        .arguments(["--json", "job"])
        .output();
    output.assert_status(0).assert_silent();
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(report["lock"], "job");
    let endpoint = &report["endpoints"][0];
    assert_eq!(endpoint["address"], etcd.members[0].endpoint());
    assert_eq!(endpoint["cluster"], format!("{:x}", etcd.store().cluster()));
    assert_eq!(endpoint["leader"], true);
    assert!(
        endpoint["commit_ms"].as_f64().is_some_and(|ms| ms > 0.0),
        "{report}"
    );
    let clock: Vec<i64> = serde_json::from_value(endpoint["clock_ahead_ms"].clone()).expect("two");
    assert!(clock[0] <= 0 && clock[1] >= 0, "one clock: {clock:?}");
    assert_eq!(report["ttl"]["recommended_s"], 60);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/doctor.md");
    let page = std::fs::read_to_string(page).expect("readable");
    let documented = |name: &str| assert!(page.contains(&format!("| `{name}` |")), "{name}");
    for object in [&report, &report["ttl"], endpoint, &report["findings"][0]] {
        for field in object.as_object().expect("an object").keys() {
            documented(field);
        }
    }
    for finding in report["findings"].as_array().expect("a list") {
        documented(finding["check"].as_str().expect("a name"));
    }
}

#[test]
fn one_member_that_is_dead_frozen_or_far_away_is_a_warning_in_time() {
    let mut etcd = Etcd::start_three();
    etcd.members[0].stop();
    let unreachable = Unreachable::start(free_port());
    etcd.wait_for_leader();
    let endpoints = format!("{},{}", etcd.endpoints(), unreachable.address);
    let output = doctor(&endpoints)
        .arguments(["--json", "--connect-timeout", PATIENCE])
        .output();
    output.assert_status(0);
    assert!(output.duration() < BOUND, "{:?}", output.duration());
    expect(
        &output,
        "endpoint",
        &["warning", "ok", "ok", "warning"],
        "runs use the others",
    );
    etcd.members[0].restart();
    etcd.members[2].pause();
    let output = doctor(&etcd.endpoints())
        .arguments(["--json", "--connect-timeout", PATIENCE])
        .output();
    etcd.members[2].resume();
    assert!(output.duration() < BOUND, "{:?}", output.duration());
    let found = findings(&output, "endpoint");
    let (verdict, about, message) = &found[2];
    assert_eq!(
        (verdict.as_str(), about),
        ("warning", &etcd.members[2].endpoint())
    );
    assert!(
        message.contains("did not answer within 1s") || message.contains("no connection"),
        "{message}"
    );
}

#[test]
fn a_cluster_of_which_nothing_is_left_or_no_quorum_is_69_in_time() {
    let mut etcd = Etcd::start_three();
    etcd.members[0].stop();
    etcd.members[1].stop();
    let impatient = |endpoints: &str| {
        let run = doctor(endpoints).arguments(["--json", "--connect-timeout", PATIENCE]);
        let output = run.output();
        output.assert_status(69).assert_silent();
        assert!(output.duration() < BOUND, "{:?}", output.duration());
        output
    };
    // It leads until it misses them, and can do nothing.
    let late = impatient(&etcd.endpoints());
    assert!(
        late.stdout.contains("majority") || late.stdout.contains("quorum"),
        "{}",
        late.describe()
    );
    eventually("it has missed them", SOON, || match etcd.leader_of(&[2]) {
        Ok(leader) => Err(format!("{leader:?}")),
        Err(_) => Ok(()),
    });
    let left = impatient(&etcd.endpoints());
    expect(&left, "endpoint", &["failure"; 3], "");
    assert!(
        findings(&left, "endpoint")[2].2.contains("quorum"),
        "{}",
        left.describe()
    );
    etcd.members[2].stop();
    let nothing = impatient(&etcd.endpoints());
    expect(&nothing, "endpoint", &["failure"; 3], "connection refused");
    assert!(findings(&nothing, "pace").is_empty() && findings(&nothing, "ttl").is_empty());
    let mut frozen = Etcd::start();
    frozen.only().pause();
    expect(
        &impatient(&frozen.endpoints()),
        "endpoint",
        &["failure"],
        "within 1s",
    );
}

#[test]
fn a_learner_a_full_member_and_one_of_another_cluster_are_told() {
    let mut etcd = Etcd::start();
    etcd.add_learner();
    let output = doctor(&etcd.endpoints()).arguments(["--json"]).output();
    output.assert_status(0);
    expect(&output, "endpoint", &["ok", "warning"], "has no vote");
    assert_eq!(
        findings(&output, "pace").len(),
        1,
        "a learner answers no linearizable read"
    );
    let other = Etcd::start();
    let both = format!("{},{}", etcd.members[0].endpoint(), other.endpoints());
    let output = doctor(&both).arguments(["--json"]).output();
    output.assert_status(78);
    expect(
        &output,
        "cluster",
        &["failure"],
        "give the endpoints of one",
    );

    let options = Options {
        arguments: vec!["--quota-backend-bytes=16777216"],
        ..Options::default()
    };
    let full = Etcd::start_as(1, options);
    let mut puts = 0..100;
    while full
        .store()
        .try_put("/foreign/big", vec![1; 1 << 20])
        .is_ok()
    {
        puts.next()
            .expect("the quota of 16 MiB should be full by now");
    }
    let output = doctor(&full.endpoints()).arguments(["--json"]).output();
    output.assert_status(69);
    expect(&output, "alarm", &["failure"], "NOSPACE");
    full.store().assert_clean();
}

fn secured(valid: Valid, authority: &Authority) -> Etcd {
    secured_for(valid, authority, None)
}

fn secured_for(valid: Valid, authority: &Authority, clients: Option<PathBuf>) -> Etcd {
    let tls = ServerTls {
        pair: authority.server(own_address(), valid),
        clients,
    };
    let options = Options {
        tls: Some(tls),
        ..Options::default()
    };
    Etcd::start_as(1, options)
}

#[test]
fn certificates_are_looked_at() {
    let authority = Authority::new();
    let path = authority.path();
    let path = path.to_str().expect("readable");
    let doctor_of = |etcd: &Etcd| {
        let run = doctor(&etcd.secure_endpoints()).arguments(["--json", "--cacert", path]);
        run.arguments(["--connect-timeout", "3"])
    };
    let expired = secured(Valid::NotAnyMore, &authority);
    let output = doctor_of(&expired).output();
    output.assert_status(69);
    expect(&output, "endpoint", &["failure"], "expired at 2021-01-01");
    let etcd = secured(Valid::Now, &authority);
    let output = doctor_of(&etcd).output();
    output.assert_status(0);
    let found = findings(&output, "certificate");
    assert_eq!(found.len(), 1, "{}", output.describe());
    assert!(
        found[0].2.contains("valid until 2100-01-01T00:00:00Z"),
        "{found:?}"
    );
    assert_eq!(findings(&output, "clock").len(), 1, "by HTTP over TLS");
    // Somebody else's authority.
    let other = Authority::new();
    let other = other.path();
    let run = doctor(&etcd.secure_endpoints()).arguments(["--json", "--cacert"]);
    let output = run.arguments([other.to_str().expect("readable")]).output();
    output.assert_status(78);
    expect(&output, "endpoint", &["failure"], "authority");
    // Ours counts too, and is shown to the HTTP server as well.
    let strict = secured_for(Valid::Now, &authority, Some(authority.path()));
    let client = authority.client("anybody", Valid::NotMuchLonger);
    let run = doctor_of(&strict)
        .variable("LEASEHOLD_CERT", client.cert.to_str().expect("readable"))
        .variable("LEASEHOLD_KEY", client.key.to_str().expect("readable"));
    let output = run.output();
    output.assert_status(0);
    expect(&output, "certificate", &["warning", "ok"], "renew it");
    let anonymous = doctor_of(&strict).output();
    anonymous.assert_status(77);
    expect(&anonymous, "endpoint", &["failure"], "--cert and --key");
    let soon = secured(Valid::NotMuchLonger, &authority);
    let output = doctor_of(&soon).output();
    output.assert_status(0);
    expect(&output, "certificate", &["warning"], "renew it");
}

#[test]
fn clocks_that_differ_are_told() {
    let Some(clock) = WallClock::new() else {
        return missing("faketime");
    };
    let etcd = Etcd::start();
    clock.step(-3600);
    let output = clock
        .of(doctor(&etcd.endpoints()).arguments(["--json"]))
        .output();
    output.assert_status(0);
    expect(
        &output,
        "clock",
        &["warning"],
        "s ahead of ours, give or take 0.5 s",
    );
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let ahead: Vec<i64> =
        serde_json::from_value(report["endpoints"][0]["clock_ahead_ms"].clone()).expect("two");
    assert!(ahead[0] <= 3_600_500 && ahead[1] >= 3_600_000, "{ahead:?}");
    assert!(ahead[1] - ahead[0] < 3_000, "{ahead:?}");
}

#[test]
fn what_is_not_permitted_is_tried_and_told() {
    let etcd = with_users(Etcd::start());
    let folder = password_file("secret");
    let open = Etcd::start();
    let needless = as_user(doctor(&open.endpoints()), "alice", folder.path());
    let needless = needless.arguments(["--json"]).output();
    needless.assert_status(0);
    expect(&needless, "login", &["warning"], "alice need not log in");
    let nobody = doctor(&etcd.endpoints()).arguments(["--json"]).output();
    nobody.assert_status(77);
    expect(&nobody, "login", &["failure"], "--user");
    let wrong = as_user(doctor(&etcd.endpoints()), "nobody", folder.path());
    let wrong = wrong.arguments(["--json"]).output();
    wrong.assert_status(77);
    expect(&wrong, "login", &["failure"], "user name or the password");
    let folder = password_file(crate::login::PASSWORD);
    let as_one = |name: &str, arguments: &[&str]| {
        let run = as_user(doctor(&etcd.endpoints()), name, folder.path());
        run.arguments(["--json"]).all_arguments(arguments).output()
    };
    user(&etcd, "all", &["/leasehold/"]);
    let all = as_one("all", &[]);
    all.assert_status(0);
    expect(&all, "permission", &["ok"], "");
    expect(&all, "login", &["ok"], "");
    user(
        &etcd,
        "one",
        &[
            "/leasehold/job/",
            "/leasehold/~run/job/",
            "/leasehold/~once/job/",
        ],
    );
    let one = as_one("one", &["job"]);
    one.assert_status(0);
    expect(&one, "permission", &["warning"; 4], "needed for");
    for range in [
        "~fence/job/",
        "~superseded/job/",
        "~last/job",
        "~break/job/",
    ] {
        assert!(one.stdout.contains(range), "{range}: {}", one.describe());
    }
    let without_name = as_one("one", &[]);
    without_name.assert_status(77);
    assert!(without_name.stdout.contains("leasehold doctor NAME"));
    let other = as_one("one", &["other"]);
    other.assert_status(77);
    let found = findings(&other, "permission");
    let failures: Vec<_> = found
        .iter()
        .filter(|(verdict, ..)| verdict == "failure")
        .collect();
    assert_eq!(failures.len(), 2, "{}", other.describe());
    assert!(
        failures[0]
            .2
            .contains("one must be allowed to read and write the keys below /leasehold/other/")
    );
    etcd.store().assert_clean();
}

#[test]
fn who_holds_or_waits_is_not_disturbed() {
    let etcd = Etcd::start();
    let holder = etcd.hold("job");
    let waiter = etcd.run("job").shell("true").spawn();
    waiter.expect_stderr("waiting");
    // Who holds says so once more when its command runs; no key comes or goes.
    let keys = || {
        let keys = etcd.store().keys("/leasehold/").into_iter();
        keys.map(|kv| (kv.key, kv.create_revision))
            .collect::<Vec<_>>()
    };
    let before = keys();
    assert_eq!(before.len(), 4, "two entries and two markers: {before:?}");
    doctor(&etcd.endpoints())
        .arguments(["job"])
        .output()
        .assert_status(0);
    assert_eq!(keys(), before);
    holder.stop_and_wait();
    waiter.wait_within(SOON).assert_status(0);
}

#[test]
fn settings_that_are_wrong_are_refused_and_odd_ones_are_told() {
    let etcd = Etcd::start();
    doctor("http://x/y")
        .output()
        .assert_status(78)
        .assert_stdout("");
    let typed = doctor(&etcd.endpoints())
        .arguments(["--connect-timeout", "0"])
        .output();
    typed.assert_status(64).assert_stdout("");
    let authority = Authority::new();
    let path = authority.path();
    let odd = doctor(&etcd.members[0].endpoint().replace("127", "http://127"));
    let odd = odd
        .arguments(["--json", "--cacert", path.to_str().expect("readable")])
        .output();
    odd.assert_status(0);
    expect(&odd, "settings", &["warning"], "without TLS");
}

#[test]
fn a_narrow_terminal_gets_every_word_and_a_reader_who_leaves_ends_it() {
    let etcd = Etcd::start();
    let wide = doctor(&etcd.endpoints()).output();
    let narrow = doctor(&etcd.endpoints()).wrapped(["sh", "-c", "stty cols 20; \"$@\"", "sh"]);
    let mut terminal = Terminal::start(narrow.to_command());
    terminal.expect("cgroup");
    let screen = terminal.screen_text();
    assert!(terminal.wait().success());
    // What is measured twice is not twice the same.
    let measured = |text: &str| text.replace(|digit: char| digit.is_ascii_digit(), "");
    let screen = measured(&screen);
    for line in wide.stdout.lines().filter(|line| !line.contains(" ms")) {
        assert!(screen.contains(&measured(line)), "{line:?} in {screen:?}");
    }
    let (read, write) = nix::unistd::pipe().expect("a pipe");
    drop(read);
    let mut command = doctor(&etcd.endpoints()).to_command();
    command.stdout(Stdio::from(write)).stderr(Stdio::piped());
    let ended = command
        .spawn()
        .expect("it starts")
        .wait_with_output()
        .expect("ours");
    let signal = std::os::unix::process::ExitStatusExt::signal(&ended.status);
    assert_eq!(signal, Some(libc::SIGPIPE));
    assert!(ended.stderr.is_empty(), "{ended:?}");
}
