//! What can be wrong with what is typed and configured, each with the sentence for it: for tests/sentences.txt.

use super::*;

/// A certificate and a key as far as their outside goes.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";

/// The sentence for this, without the usage that clap adds.
fn why(machine: &Machine, words: &[&str]) -> String {
    match machine.run(words) {
        Err(Outcome::Usage(why) | Outcome::Configuration(why)) => {
            let first = why.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
        other => panic!("{words:?} gave {other:?}"),
    }
}

/// What may be typed wrongly.
pub fn typed() -> Vec<String> {
    let none = Machine::default();
    let long = "x".repeat(300);
    let many: Vec<String> = (0..40).map(|number| format!("--also=l{number}")).collect();
    let many: Vec<&str> = many
        .iter()
        .map(String::as_str)
        .chain(["job", "true"])
        .collect();
    let cases: [&[&str]; 48] = [
        &["-n", "-w", "5", "job", "true"],
        &["-x", "-s", "job", "true"],
        &["-q", "-v", "job", "true"],
        &["--unknown", "job", "true"],
        &["job"],
        &[""],
        &["a//b", "true"],
        &["a/../b", "true"],
        &["a b", "true"],
        &[&long, "true"],
        &["job", "--ttl", "60", "--", "true"],
        &["job", "--other", "true"],
        &["job", "-c"],
        &["-c", "true", "job", "true"],
        &["-c", "true", "job", "-c", "true"],
        &["--ttl", "soon", "job", "true"],
        &["--ttl", "200y", "job", "true"],
        &["--wait", "99999999999999999999", "job", "true"],
        &["--ttl", "600", "job", "true"],
        &["--ttl", "1", "job", "true"],
        &["--ttl", "10", "--kill-after", "8", "job", "true"],
        &["--ttl", "10", "--kill-after", "600", "job", "true"],
        &["--kill-signal", "HOP", "job", "true"],
        &["-E", "256", "job", "true"],
        &["--slots", "0", "job", "true"],
        &["--lock-delay", "10m", "job", "true"],
        &["--hold-min", "5m", "job", "true"],
        &["-n", "--hold-min", "3651d", "job", "true"],
        &["--once-keep", "0", "job", "true"],
        &["--once", "", "job", "true"],
        &["--once", &long, "job", "true"],
        &["--once", "a\u{7}", "job", "true"],
        &["--once", "1", "-s", "job", "true"],
        &["--on-loss", "cry", "job", "true"],
        &["--reason", &long, "job", "true"],
        &["--metrics-file", "", "job", "true"],
        &["--prefix", "a b", "job", "true"],
        &["--connect-timeout", "0", "job", "true"],
        &["--endpoints", "", "job", "true"],
        &["--endpoints", "ftp://etcd1:2379", "job", "true"],
        &["--endpoints", "http://etcd1:2379/v3", "job", "true"],
        &["--endpoints", "::1:2379", "job", "true"],
        &["--endpoints", "a b:2379", "job", "true"],
        &["--endpoints", "etcd1:99999", "job", "true"],
        &["--endpoints", "u:p@etcd1:2379", "job", "true"],
        &["--tls-server-name", "a b", "job", "true"],
        &["--user", ":p", "job", "true"],
        &["--password-file", "secret", "job", "true"],
    ];
    let mut sentences: Vec<String> = cases.iter().map(|words| why(&none, words)).collect();
    sentences.push(why(&none, &many));
    sentences
}

/// What may be wrong in variables and files.
pub fn configured() -> Vec<String> {
    let job = ["job", "true"];
    let toml = |text: &str| why(&Machine::default().file(SYSTEMS, text), &job);
    let mut sentences: Vec<String> = [
        "tll = 3",
        "zzz = 3",
        "ttl = true",
        "record = 1",
        "endpoints = 3",
        "conflict_exit_code = \"75\"",
        "slots = \"x\"",
        "kill_signal = true",
        "ttl = \"soon\"",
        "on_loss = \"cry\"",
        "on_leftover = \"cry\"",
        "queue = \"newest\"",
        "ttl = 3\nttl = 4",
        "ttl =",
        "lock = 3",
        "[lock]\nttl = 3",
        "[lock.\"a b\"]\nttl = 3",
        "[lock.\"\"]",
        "[lock.db.backup]\nttl = 3",
        "[lock.db]\nendpoints = \"a:1\"",
        "ttl = \"soon\"\nzzz = 3",
        "kill_after = 40",
    ]
    .iter()
    .map(|text| toml(text))
    .collect();
    let state = |state: FileState| why(&Machine::default().state(SYSTEMS, state), &job);
    sentences.extend([
        state(FileState::Folder),
        state(FileState::TooBig),
        state(FileState::Unreadable("Permission denied".to_owned())),
        why(
            &Machine::default(),
            &["--config", "/none.toml", "job", "true"],
        ),
    ]);
    let raw = |bytes: &[u8]| {
        let bytes = Secret::new(bytes);
        state(FileState::Read(Content {
            bytes,
            access: None,
        }))
    };
    sentences.extend([raw(b"\xff\xfet\0"), raw(b"\x80")]);
    sentences.extend(credentials(&job));
    let mut garbled = Machine::default().inherited();
    garbled.garbled.insert("LEASEHOLD_PREFIX".to_owned());
    match Layers::gather(&[], None, &garbled) {
        Err(Unresolved::Refused(Outcome::Configuration(why))) => sentences.push(why),
        _ => panic!("a variable that is no text"),
    }
    sentences
}

/// Users, passwords, certificates, keys.
fn credentials(job: &[&str]) -> Vec<String> {
    let none = Machine::default();
    let with = |file: &str, text: &str, words: &[&str]| {
        let machine = Machine::default().file(file, text);
        why(&machine, &[words, job].concat())
    };
    let readable = |file: &str, text: &str, words: &[&str]| {
        let machine = Machine::default().file_with_mode(file, text, 0o644);
        why(&machine, &[words, job].concat())
    };
    let interrupted = |words: &[&str]| why(&none, &[words, job].concat());
    let pem = |text: &str| with("/work/ca.pem", text, &["--cacert", "ca.pem"]);
    let key = |text: &str| {
        let machine = none.clone().file("/work/c.pem", CERTIFICATE);
        let words = ["--cert", "c.pem", "--key", "k.pem"];
        why(&machine.file("/work/k.pem", text), &[&words, job].concat())
    };
    vec![
        interrupted(&["--user", "alice"]),
        interrupted(&["--user", "alice:"]),
        interrupted(&["--user", "alice", "--password-file", "none"]),
        with(
            "/work/p",
            "\n",
            &["--user", "alice", "--password-file", "p"],
        ),
        with(
            "/work/p",
            "x\n",
            &["--user", "alice:y", "--password-file", "p"],
        ),
        readable(
            "/work/p",
            "x\n",
            &["--user", "alice", "--password-file", "p"],
        ),
        readable(SYSTEMS, "user = \"alice\"\npassword = \"x\"", &[]),
        interrupted(&["--cacert", "none.pem"]),
        pem("hello"),
        pem("\u{0}"),
        pem(KEY),
        pem("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        pem("-----BEGIN CERTIFICATE-----\nMIIB\n"),
        pem("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
        pem("-----END CERTIFICATE-----\n"),
        with("/work/c.pem", CERTIFICATE, &["--cert", "c.pem"]),
        key(CERTIFICATE),
        key("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"),
    ]
}
