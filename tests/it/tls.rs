//! TLS: who is trusted, who we are, and one sentence and status for everything that can be wrong with it, long
//! before `--connect-timeout`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::certificates::{Authority, Pair, Valid};
use crate::harness::etcd::{Etcd, Options, ServerTls, free_port, own_address};
use crate::harness::eventually::let_time_pass_until;
use crate::harness::leasehold::{Output, Run};
use crate::harness::processes::Moment;
use crate::harness::proxy::Proxy;

/// What is refused for good is refused long before `--connect-timeout`.
const AT_ONCE: Duration = Duration::from_secs(3);

#[test]
fn an_authority_from_a_file_is_trusted() {
    let authority = Authority::new();
    let etcd = started(1, &authority, Valid::Now, None);
    let output = secure(&etcd, &authority).shell("echo ran").output();
    output
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_silent();
    etcd.store().assert_clean();
}

#[test]
fn three_members_tls_and_a_password_from_files_that_begin_with_a_byte_order_mark() {
    let authority = Authority::new();
    let mut etcd = started(3, &authority, Valid::Now, None);
    etcd.enable_users("secret");
    let marked = |name: &str, content: &str| {
        let path = authority.folder().join(name);
        fs::write(&path, format!("\u{feff}{content}")).expect("written");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("ours");
        path
    };
    let whole = fs::read_to_string(authority.path()).expect("PEM");
    let cacert = marked("marked.pem", &whole);
    let password = marked("password", "secret\r\n");
    let holder = Run::new(&etcd.secure_endpoints())
        .lock("job")
        .arguments(["--cacert", text(&cacert), "--user", "root"])
        .arguments(["--password-file", text(&password)])
        .ttl(5)
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    // Three members, TLS and a password at once; and one of them goes meanwhile.
    etcd.members[0].stop();
    let_time_pass_until(Moment::now() + Duration::from_secs(6));
    holder.wait().assert_status(0);
    etcd.members[0].restart();
    etcd.store().assert_clean();
}

#[test]
fn the_systems_authorities_are_trusted_where_none_is_given() {
    let authority = Authority::new();
    let etcd = started(1, &authority, Valid::Now, None);
    let run = || Run::new(&etcd.secure_endpoints()).lock("job").shell("true");
    // What OpenSSL takes for the system's authorities, and rustls too.
    let trusting = run().variable("SSL_CERT_FILE", text(&authority.path()));
    trusting.output().assert_status(0).assert_silent();
    let stranger = Authority::new();
    let output = run()
        .variable("SSL_CERT_FILE", text(&stranger.path()))
        .output();
    assert_refused(&output, 78, &["this system trusts", "--cacert"]);
}

#[test]
fn both_sides_show_a_certificate_where_etcd_asks_for_one() {
    let authority = Authority::new();
    let etcd = started(3, &authority, Valid::Now, Some(&authority));
    let client = authority.client("anybody", Valid::Now);
    let holder = with_pair(secure(&etcd, &authority), &client)
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let status = Run::new(&etcd.secure_endpoints())
        .arguments(["status", "-q", "job"])
        .variable("LEASEHOLD_CACERT", text(&authority.path()));
    with_pair(status, &client).output().assert_status(75);
    holder.wait().assert_status(0).assert_silent();
    etcd.store().assert_clean();
}

#[test]
fn the_name_in_the_clients_certificate_is_the_user_where_there_are_users() {
    let authority = Authority::new();
    let mut etcd = started(1, &authority, Valid::Now, Some(&authority));
    for line in [
        ["user", "add", "cron:unused"].as_slice(),
        &["role", "add", "locks"],
        &[
            "role",
            "grant-permission",
            "locks",
            "readwrite",
            "--prefix",
            "/leasehold/",
        ],
        &["user", "grant-role", "cron", "locks"],
        &["user", "add", "guest:unused"],
    ] {
        etcd.etcdctl([])
            .all_arguments(line)
            .output()
            .assert_status(0);
    }
    etcd.enable_users("secret");
    let cron = authority.client("cron", Valid::Now);
    let run = || secure(&etcd, &authority).shell("echo ran");
    let output = with_pair(run(), &cron).output();
    output.assert_status(0).assert_stdout("ran\n");
    let guest = authority.client("guest", Valid::Now);
    let output = with_pair(run(), &guest).output();
    assert_refused(&output, 77, &["/leasehold/job/", "certificate"]);
    etcd.store().assert_clean();
}

#[test]
fn an_authority_that_did_not_sign_is_named() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let etcd = started(3, &authority, Valid::Now, None);
    let output = secure(&etcd, &stranger).shell("echo ran").output();
    assert_refused(
        &output,
        78,
        &[text(&stranger.path()), "authority", "--cacert"],
    );
}

#[test]
fn a_certificate_out_of_its_time_is_told_with_its_date() {
    let authority = Authority::new();
    let cases = [
        (Valid::NotAnyMore, "expired at 2021-01-01"),
        (Valid::NotYet, "not valid before 2099-01-01"),
    ];
    for (valid, sentence) in cases {
        let etcd = started(1, &authority, valid, None);
        let output = secure(&etcd, &authority).shell("echo ran").output();
        assert_refused(&output, 69, &[sentence, &secure_address(&etcd)]);
    }
    let etcd = started(1, &authority, Valid::Now, Some(&authority));
    for (valid, sentence) in cases {
        let client = authority.client("anybody", valid);
        let run = with_pair(secure(&etcd, &authority), &client);
        let output = run.shell("echo ran").output();
        assert_refused(&output, 78, &[sentence, text(&client.cert)]);
    }
}

#[test]
fn a_certificate_for_another_name_is_told_with_both_names() {
    let authority = Authority::new();
    let pair = authority.server_named(&["etcd1.example", "etcd1"], Valid::Now);
    let etcd = Etcd::start_as(1, with_tls(pair, None));
    let run = || secure(&etcd, &authority).shell("echo ran");
    let output = run().output();
    let own = own_address().to_string();
    assert_refused(
        &output,
        78,
        &["etcd1.example", "etcd1", &own, "--tls-server-name"],
    );
    run()
        .arguments(["--tls-server-name", "etcd1.example"])
        .output()
        .assert_status(0);
    let other = run().arguments(["--tls-server-name", "etcd2.example"]);
    assert_refused(&other.output(), 78, &["etcd1.example", "etcd2.example"]);
}

#[test]
fn a_client_whose_certificate_is_missing_or_not_accepted_is_77() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for count in [1, 3] {
        let etcd = started(count, &authority, Valid::Now, Some(&authority));
        let run = || secure(&etcd, &authority).shell("echo ran");
        assert_refused(&run().output(), 77, &["client certificate", "--cert"]);
        let client = stranger.client("anybody", Valid::Now);
        let output = with_pair(run(), &client).output();
        assert_refused(&output, 77, &["does not accept", text(&client.cert)]);
        etcd.store().assert_clean();
    }
}

#[test]
fn files_that_are_no_certificates_are_refused_before_anything_is_sent() {
    let authority = Authority::new();
    let etcd = started(1, &authority, Valid::Now, Some(&authority));
    let pair = authority.client("anybody", Valid::Now);
    let other = authority.client("another", Valid::Now);
    let whole = fs::read_to_string(authority.path()).expect("PEM");
    let file = |name: &str, content: &str| {
        let path = authority.folder().join(name);
        fs::write(&path, content).expect("written");
        path
    };
    let half = file("half.pem", &whole[..whole.len() / 2]);
    // PEM from the first to the last line, and nothing like a certificate in it.
    let lines: Vec<&str> = whole.lines().collect();
    let short: Vec<&str> = [&lines[..3], &lines[lines.len() - 1..]].concat();
    let damaged = file("damaged.pem", &short.join("\n"));
    let cacerts = [
        (half, "cut off"),
        (damaged, "cannot be used"),
        (authority.folder().to_owned(), "folder"),
        (authority.folder().join("none"), "none"),
    ];
    for (cacert, sentence) in cacerts {
        let run = Run::new(&etcd.secure_endpoints())
            .lock("job")
            .arguments(["--cacert", text(&cacert)]);
        let output = with_pair(run, &pair).shell("echo ran").output();
        assert_refused(&output, 78, &[sentence, text(&cacert)]);
    }
    let half_of = |path: &Path, name: &str| {
        let whole = fs::read_to_string(path).expect("PEM");
        let half = file(name, &whole[..whole.len() / 2]);
        fs::set_permissions(&half, PermissionsExt::from_mode(0o600)).expect("ours");
        half
    };
    let folder = authority.folder().to_owned();
    for (cert, key, sentence) in [
        (folder.clone(), pair.key.clone(), "folder"),
        (half_of(&pair.cert, "cert"), pair.key.clone(), "cut off"),
        (pair.cert.clone(), folder, "folder"),
        (pair.cert.clone(), half_of(&pair.key, "key"), "cut off"),
    ] {
        let run = secure(&etcd, &authority).shell("echo ran");
        let output = with_pair(run, &Pair { cert, key }).output();
        assert_refused(&output, 78, &[sentence]);
    }
    let mixed = Pair {
        cert: pair.cert.clone(),
        key: other.key,
    };
    let run = with_pair(secure(&etcd, &authority), &mixed);
    let output = run.shell("echo ran").output();
    assert_refused(
        &output,
        78,
        &["is not that of the certificate", text(&mixed.key)],
    );
    etcd.store().assert_clean();
}

#[test]
fn one_member_with_a_bad_certificate_costs_nothing() {
    let authority = Authority::new();
    let mut etcd = started(3, &authority, Valid::Now, None);
    etcd.members[0].stop();
    etcd.members[0].set_tls(ServerTls {
        pair: authority.server(own_address(), Valid::NotAnyMore),
        clients: None,
    });
    etcd.members[0].restart();
    let output = secure(&etcd, &authority).shell("echo ran").output();
    output
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_silent();
    etcd.store().assert_clean();
}

#[test]
fn tls_where_there_is_none_and_none_where_there_is_are_told() {
    let authority = Authority::new();
    let etcd = started(1, &authority, Valid::Now, None);
    let cacert = authority.path();
    let run = |endpoint: &str| {
        Run::new(endpoint)
            .lock("job")
            .arguments(["--connect-timeout", "2", "--cacert", text(&cacert)])
            .shell("echo ran")
            .output()
    };
    let plain = format!("https://{}", etcd.endpoints());
    let output = run(&plain);
    output
        .assert_status(69)
        .assert_stderr_has(["TLS", "http://"]);
    let encrypted = secure_address(&etcd);
    let output = run(&format!("http://{encrypted}"));
    output
        .assert_status(69)
        .assert_stderr_has([encrypted.as_str(), "https://"]);
}

#[test]
fn a_handshake_that_is_never_answered_ends_with_the_connect_timeout() {
    let authority = Authority::new();
    let etcd = started(1, &authority, Valid::Now, None);
    let secure = etcd.members[0].secure_address();
    let proxy = Proxy::start(free_port(), secure).expect("a free port");
    proxy.blackhole();
    let output = Run::new(&format!("https://{}", proxy.endpoint()))
        .lock("job")
        .arguments([
            "--cacert",
            text(&authority.path()),
            "--connect-timeout",
            "1.5",
        ])
        .shell("echo ran")
        .output();
    assert_refused(&output, 69, &["no connection", &proxy.endpoint()]);
    assert!(output.duration() > Duration::from_secs(1), "{output:?}");
}

fn started(count: usize, authority: &Authority, valid: Valid, clients: Option<&Authority>) -> Etcd {
    let pair = authority.server(own_address(), valid);
    Etcd::start_as(count, with_tls(pair, clients.map(Authority::path)))
}

fn with_tls(pair: Pair, clients: Option<PathBuf>) -> Options {
    Options {
        tls: Some(ServerTls { pair, clients }),
        ..Options::default()
    }
}

/// `run job`, trusting the authority.
fn secure(etcd: &Etcd, authority: &Authority) -> Run {
    Run::new(&etcd.secure_endpoints())
        .lock("job")
        .arguments(["--cacert", text(&authority.path())])
}

fn with_pair(run: Run, pair: &Pair) -> Run {
    run.variable("LEASEHOLD_CERT", text(&pair.cert))
        .variable("LEASEHOLD_KEY", text(&pair.key))
}

fn secure_address(etcd: &Etcd) -> String {
    etcd.members[0].secure_address().to_string()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

#[track_caller]
fn assert_refused(output: &Output, status: i32, sentence: &[&str]) {
    output
        .assert_status(status)
        .assert_stdout("")
        .assert_nobody_left();
    for part in sentence {
        output.assert_stderr_has([*part]);
    }
    let took = output.duration();
    assert!(took < AT_ONCE, "{took:?}: {output:?}");
}
