//! Users, passwords, certificates, keys.

use super::*;
use crate::config::tls::PemFile;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";

/// The user, the password, and where the password came from.
fn login(machine: &Machine, words: &[&str]) -> Option<(String, String, String)> {
    let config = machine.run(&[words, &["job", "cmd"]].concat());
    let login = config
        .expect("accepted")
        .connection
        .cluster()
        .login
        .clone()?;
    let password = String::from_utf8(login.password.value.reveal().to_vec()).expect("text");
    Some((
        login.user.value,
        password,
        login.password.source.to_string(),
    ))
}

fn expect(user: &str, password: &str, source: &str) -> Option<(String, String, String)> {
    Some((user.to_owned(), password.to_owned(), source.to_owned()))
}

#[test]
fn a_password_comes_from_every_documented_place() {
    let none = Machine::default();
    assert_eq!(login(&none, &[]), None);
    assert_eq!(
        login(&none, &["--user", "u:p:q"]),
        expect("u", "p:q", "command line")
    );
    let variables = none.clone().variable("LEASEHOLD_PASSWORD", "p");
    assert_eq!(
        login(&variables, &["--user", "u"]),
        expect("u", "p", "LEASEHOLD_PASSWORD")
    );
    let etcdctl = none.clone().variable("ETCDCTL_USER", "u:p");
    assert_eq!(login(&etcdctl, &[]), expect("u", "p", "ETCDCTL_USER"));
    let etcdctl = none
        .clone()
        .variable("ETCDCTL_USER", "u")
        .variable("ETCDCTL_PASSWORD", "p");
    assert_eq!(login(&etcdctl, &[]), expect("u", "p", "ETCDCTL_PASSWORD"));
    let file = none.clone().file("/work/secret", "p\r\nnot this\n");
    assert_eq!(
        login(&file, &["--user", "u", "--password-file", "secret"]),
        expect("u", "p", "command line")
    );
    let toml = none.clone().file(SYSTEMS, "user = \"u\"\npassword = \"p\"");
    assert_eq!(login(&toml, &[]), expect("u", "p", SYSTEMS));
    let beside = none
        .clone()
        .file(SYSTEMS, "user = \"u\"\npassword_file = \"secret\"")
        .file("/etc/leasehold/secret", "p");
    assert_eq!(login(&beside, &[]), expect("u", "p", SYSTEMS));
    let typed = Machine {
        typed_password: Some(b"p"),
        ..none
    };
    assert_eq!(
        login(&typed, &["--user", "u"]),
        expect("u", "p", "terminal")
    );
}

#[test]
fn stronger_sources_of_a_password_are_believed() {
    let machine = Machine::default()
        .at_home()
        .variable("LEASEHOLD_PASSWORD", "variable")
        .variable("ETCDCTL_PASSWORD", "etcdctl")
        .file(USERS, "password = \"users\"")
        .file(SYSTEMS, "user = \"u\"\npassword = \"systems\"")
        .file("/work/secret", "typed");
    let words = ["--password-file", "secret", "--user", "u"];
    assert_eq!(
        login(&machine, &words),
        expect("u", "typed", "command line")
    );
    assert_eq!(
        login(&machine, &[]),
        expect("u", "variable", "LEASEHOLD_PASSWORD")
    );
    let mut machine = machine;
    machine.variables.remove("LEASEHOLD_PASSWORD");
    assert_eq!(
        login(&machine, &[]),
        expect("u", "etcdctl", "ETCDCTL_PASSWORD")
    );
    machine.variables.remove("ETCDCTL_PASSWORD");
    assert_eq!(login(&machine, &[]), expect("u", "users", USERS));
}

#[test]
fn a_password_is_only_for_the_user_who_is_named_beside_it() {
    let machine = Machine::default()
        .variable("LEASEHOLD_USER", "other")
        .variable("LEASEHOLD_PASSWORD", "others")
        .variable("ETCDCTL_USER", "another:others")
        .file(SYSTEMS, "user = \"u\"\npassword = \"p\"");
    assert_eq!(login(&machine, &["--user", "u"]), expect("u", "p", SYSTEMS));
    let why = machine.refusal(&["--user", "nobody"]);
    assert!(why.contains("the password of nobody is missing"), "{why}");
}

#[test]
fn a_missing_password_names_the_ways_to_give_it() {
    let why = Machine::default().refusal(&["--user", "u"]);
    for way in [
        "--password-file",
        "LEASEHOLD_PASSWORD",
        "config.toml",
        "terminal",
    ] {
        assert!(why.contains(way), "{why}");
    }
    let nothing_typed = Machine {
        typed_password: Some(b""),
        ..Machine::default()
    };
    assert!(
        nothing_typed
            .refusal(&["--user", "u"])
            .contains("no password was typed")
    );
    let garbled = Machine {
        typed_password: Some(b"p\xff"),
        ..Machine::default()
    };
    let why = garbled.refusal(&["--user", "u"]);
    assert!(why.contains("no text (not UTF-8)"), "{why}");
}

#[test]
fn nobody_is_asked_while_something_else_is_wrong() {
    let machine = Machine::default();
    for words in [
        ["--user", "u", "--ttl", "1"].as_slice(),
        &["--user", "u", "--cacert", "/none"],
        &["--user", "u", "--connect-timeout", "0"],
    ] {
        let outcome = machine.run(&[words, &["job", "cmd"]].concat());
        let outcome = format!("{:?}", outcome.expect_err("refused"));
        assert!(!outcome.contains("password"), "{outcome}");
    }
}

#[test]
fn two_passwords_in_one_place_are_refused() {
    let machine = Machine::default().file("/s", "p");
    let twice = ["--user", "u:p", "--password-file", "/s", "job", "cmd"];
    assert!(
        matches!(machine.run(&twice), Err(Outcome::Usage(why)) if why.contains("two passwords"))
    );
    let machine = machine
        .variable("LEASEHOLD_USER", "u:p")
        .variable("LEASEHOLD_PASSWORD", "q");
    let why = machine.refusal(&[]);
    assert!(why.contains("two passwords") && !why.contains('q'), "{why}");
}

#[test]
fn a_password_file_without_a_user_is_refused_where_it_was_typed() {
    let machine = Machine::default().file("/s", "p");
    let typed = machine.run(&["--password-file", "/s", "job", "cmd"]);
    assert!(matches!(typed, Err(Outcome::Usage(why)) if why.contains("--user")));
    let inherited = machine.variable("LEASEHOLD_PASSWORD_FILE", "/s");
    assert_eq!(login(&inherited, &[]), None);
}

#[test]
fn secrets_that_others_can_read_are_refused_with_the_chmod_to_run() {
    let password_file = Machine::default().file_with_mode("/s", "p", 0o644);
    let key = Machine::default()
        .file("/c", CERTIFICATE)
        .file_with_mode("/k", KEY, 0o640);
    let toml = Machine::default().file_with_mode(SYSTEMS, "user=\"u\"\npassword = \"p\"", 0o644);
    let in_user = Machine::default().file_with_mode(SYSTEMS, "user=\"u:p\"", 0o604);
    for (machine, words, command) in [
        (
            password_file,
            ["--user", "u", "--password-file", "/s"].as_slice(),
            "chmod 600 /s",
        ),
        (key, &["--cert", "/c", "--key", "/k"], "chmod 600 /k"),
        (toml, &[], "chmod 600 /etc/leasehold/config.toml"),
        (in_user, &[], "chmod 600 /etc/leasehold/config.toml"),
    ] {
        let why = machine.refusal(words);
        assert!(why.contains(command), "{why}");
    }
    let harmless = Machine::default().file_with_mode(SYSTEMS, "password_file = \"/s\"", 0o644);
    assert!(harmless.run(&["job", "cmd"]).is_ok());
}

#[test]
fn no_sentence_and_no_debug_output_contains_a_secret() {
    let secret = "s3cret";
    let machine = Machine::default()
        .variable("LEASEHOLD_PASSWORD", secret)
        .file("/c", CERTIFICATE)
        .file("/k", KEY);
    let words = ["--user", "u", "--cert", "/c", "--key", "/k", "job", "cmd"];
    let config = machine.run(&words).expect("accepted");
    let shown = format!("{config:?} {:?}", machine.inherited());
    assert!(
        !shown.contains(secret) && !shown.contains("MIIB"),
        "{shown}"
    );
    let cli = Cli::try_parse_from(["leasehold", "run", "--user", "u:s3cret", "job", "cmd"]);
    assert!(!format!("{cli:?}").contains(secret));
    for words in [
        ["--user", ":s3cret"],
        ["--endpoints", "http://u:s3cret@a"],
        ["--endpoints", "http://u:s3cret/@a"],
        ["--endpoints", "a,u:s3cret,s3cret@a"],
    ] {
        let words = ["leasehold", "run"]
            .iter()
            .chain(&words)
            .chain(&["job", "cmd"]);
        let why = Cli::try_parse_from(words).expect_err("refused").to_string();
        assert!(why.contains("--") && !why.contains(secret), "{why}");
    }
    for text in [
        "password = s3cret",
        "password = \"s3cret",
        "password = [\"s3cret\"]",
        "user = \":s3cret\"",
        "password = \"s3cret\"\npassword = \"s3cret\"",
        "endpoints = \"http://u:s3cret@a\"",
    ] {
        let why = Machine::default().file(SYSTEMS, text).refusal(&[]);
        assert!(!why.contains(secret), "{why}");
    }
}

#[test]
fn certificates_are_read_and_their_paths_made_absolute() {
    let machine = Machine::default()
        .file("/work/ca.pem", CERTIFICATE)
        .file("/etc/leasehold/c.pem", CERTIFICATE)
        .file("/etc/leasehold/k.pem", KEY)
        .file(SYSTEMS, "cert = \"c.pem\"\nkey = \"k.pem\"");
    let words = [
        "--cacert",
        "ca.pem",
        "--tls-server-name",
        "etcd",
        "job",
        "cmd",
    ];
    let config = machine.run(&words).expect("accepted");
    let path = |file: &PemFile| file.path.display().to_string();
    let tls = &config.connection.cluster().tls;
    let identity = tls.identity.as_ref().expect("given");
    assert_eq!(path(tls.cacert.as_ref().expect("given")), "/work/ca.pem");
    assert_eq!(path(&identity.cert), "/etc/leasehold/c.pem");
    assert_eq!(path(&identity.key), "/etc/leasehold/k.pem");
    assert_eq!(identity.key.pem.reveal(), KEY.as_bytes());
    assert_eq!(tls.server_name.as_ref().expect("given").value, "etcd");
    let url = config.connection.cluster().endpoints[0].url();
    assert_eq!(url, "https://127.0.0.1:2379", "files for TLS mean TLS");
}

#[test]
fn a_byte_order_mark_belongs_to_no_text() {
    const MARK: char = '\u{feff}';
    let machine = Machine::default()
        .file("/ca.pem", &format!("{MARK}{CERTIFICATE}"))
        .file("/password", &format!("{MARK}p\r\n"))
        .file(
            SYSTEMS,
            &format!("{MARK}user = \"u\"\ncacert = \"/ca.pem\""),
        );
    let words = ["--password-file", "/password"];
    assert_eq!(login(&machine, &words), expect("u", "p", "command line"));
    let config = machine.run(&["--password-file", "/password", "job", "cmd"]);
    let cacert = config
        .expect("accepted")
        .connection
        .cluster()
        .tls
        .cacert
        .clone();
    let pem = cacert.expect("given").pem;
    assert_eq!(pem.reveal(), CERTIFICATE.as_bytes(), "as rustls reads it");
}

#[test]
fn in_a_file_a_path_may_begin_with_the_users_folder() {
    let machine = Machine::default()
        .at_home()
        .file(USERS, "cacert = \"~/ca.pem\"")
        .file("/home/u/ca.pem", CERTIFICATE);
    assert!(machine.run(&["job", "cmd"]).is_ok());
}

#[test]
fn a_certificate_file_that_cannot_be_used_is_refused_with_its_reason() {
    let half = &CERTIFICATE[..36];
    let denied = FileState::Unreadable("Permission denied".to_owned());
    let binary = |bytes: &[u8]| {
        let bytes = Secret::new(bytes);
        let access = None;
        Machine::default().state("/c", FileState::Read(Content { bytes, access }))
    };
    let cases = [
        (Machine::default(), "no such file"),
        (
            Machine::default().state("/c", FileState::Folder),
            "it is a folder",
        ),
        (Machine::default().state("/c", denied), "Permission denied"),
        (
            Machine::default().state("/c", FileState::TooBig),
            "more than 1 MiB",
        ),
        (Machine::default().file("/c", half), "cut off in the middle"),
        (Machine::default().file("/c", "text"), "not PEM"),
        (binary(&[0xff, 0x30, 0x82]), "not PEM: it is no text"),
        (binary(&[0xff, 0xfe, b'-', 0]), "not PEM: it is UTF-16"),
        (Machine::default().file("/c", KEY), "but a PRIVATE KEY"),
    ];
    for (machine, part) in cases {
        let why = machine.refusal(&["--cacert", "/c"]);
        let named = why.contains("the certificate /c") && why.contains("(command line)");
        assert!(named && why.contains(part), "{why}");
    }
}

#[test]
fn a_certificate_and_its_key_go_together() {
    let machine = Machine::default().file("/c", CERTIFICATE).file("/k", KEY);
    for words in [["--cert", "/c"], ["--key", "/k"]] {
        let outcome = machine.run(&[words.as_slice(), &["job", "cmd"]].concat());
        assert!(matches!(outcome, Err(Outcome::Usage(why)) if why.contains("go together")));
    }
    let why = machine.variable("ETCDCTL_CERT", "/c").refusal(&[]);
    assert!(
        why.contains("--key") && why.contains("ETCDCTL_CERT"),
        "{why}"
    );
}

#[test]
fn what_may_not_be_as_it_seems_is_remarked() {
    let machine = Machine::default().file("/c", CERTIFICATE);
    let words = [
        "--cacert",
        "/c",
        "--endpoints",
        "http://a",
        "--user",
        "u:p",
        "job",
        "cmd",
    ];
    let remarks = machine.run(&words).expect("accepted").connection.remarks();
    assert_eq!(remarks.len(), 3, "{remarks:?}");
    assert!(machine.job().connection.remarks().is_empty());
}
