//! What may stand in a config.toml, and how mistakes are told.

use super::*;

fn mistakes(text: &str) -> String {
    Machine::default().file(SYSTEMS, text).refusal(&[])
}

#[test]
fn values_are_written_as_people_would() {
    let text = "
        endpoints = [\"a:1\", \"b:2\"]
        connect_timeout = 2.5
        ttl = \"90s\"
        kill_after = 5
        kill_signal = \"INT\"
        wait = \"5m\"
        max_runtime = \"2h\"
        lock_delay = 1_0
        on_leftover = \"kill\"
        reason = \"why\"
        conflict_exit_code = 0
    ";
    let config = Machine::default().file(SYSTEMS, text).job();
    assert_eq!(config.connection.cluster().endpoints.len(), 2);
    let plan = &config.plan;
    assert_eq!(plan.connect_timeout, Duration::from_millis(2500));
    assert_eq!(config.wanted.ttl.as_secs(), 90);
    assert_eq!(plan.kill_after.as_secs(), 5);
    assert_eq!(config.kill_signal, 2);
    assert_eq!(plan.wait, Some(Duration::from_secs(300)));
    assert_eq!(plan.max_runtime, Some(Duration::from_secs(7200)));
    assert_eq!(config.wanted.entry.lock_delay_ms, 10_000);
    assert_eq!(plan.on_leftover, crate::supervisor::OnLeftover::Kill);
    assert_eq!(config.wanted.entry.reason, "why");
    assert_eq!(plan.conflict_status, 0);
}

#[test]
fn every_setting_for_files_is_understood_at_the_top_and_only_those_of_run_in_a_table() {
    use crate::config::kind::Kind;
    use crate::config::setting::{Scope, in_files};
    for setting in in_files() {
        let value = match setting.kind {
            Kind::Endpoints => "\"a:1\"",
            Kind::Prefix => "\"/x/\"",
            Kind::Duration => "60",
            Kind::Status | Kind::Slots => "7",
            Kind::Signal => "\"INT\"",
            Kind::OnLeftover => "\"wait\"",
            Kind::OnLoss => "\"warn\"",
            Kind::Queue => "\"latest\"",
            Kind::Flag | Kind::Folder => "true",
            Kind::Path | Kind::Text | Kind::ServerName | Kind::User | Kind::Password => "\"x\"",
        };
        let parse = |text: String| {
            let content = Content {
                bytes: Secret::new(text),
                access: None,
            };
            file::ConfigFile::parse(Path::new("f"), &content).map(drop)
        };
        let key = setting.key;
        assert_eq!(parse(format!("{key} = {value}")), Ok(()));
        let in_table = parse(format!("[lock.a]\n{key} = {value}"));
        match setting.scope {
            Scope::Run => assert_eq!(in_table, Ok(())),
            Scope::Connection => {
                let why = in_table.expect_err(key).join("");
                assert!(
                    why.contains("f:2: ") && why.contains("same for all locks"),
                    "{why}"
                );
            }
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let cases = [
        ("tll = 3", "did you mean ttl?"),
        (
            "\n\nendpoint = \"a\"",
            ":3: \"endpoint\" is no setting; did you mean endpoints?",
        ),
        ("kill-after = 3", "did you mean kill_after?"),
        ("[locks.a]\nttl = 3", "did you mean lock?"),
        (
            "[lock.a]\nonleftover = 3",
            ":2: \"onleftover\" is no setting; did you mean on_leftover?",
        ),
        ("[lock.a.b]\nttl = 3", "stands in quotes: [lock.\"a.b\"]"),
        ("LEASEHOLD_TOKEN = 3", "\"LEASEHOLD_TOKEN\" is no setting"),
    ];
    for (text, part) in cases {
        let why = mistakes(text);
        assert!(
            why.starts_with(SYSTEMS) && why.contains(part),
            "{text}: {why}"
        );
    }
    let why = mistakes("zzz = 3");
    assert!(!why.contains("did you mean"), "{why}");
}

#[test]
fn a_wrong_type_or_value_is_refused_with_file_line_key_and_reason() {
    let cases = [
        (
            "ttl = true",
            ":1: ttl has to be a string such as \"90s\", or a number of seconds, not a boolean",
        ),
        ("\nttl = \"soon\"", ":2: ttl: \"soon\" is no duration"),
        ("ttl = -3", "\"-3\" is no duration"),
        ("ttl = inf", "is no duration"),
        ("ttl = 1979-05-27", "not a datetime"),
        ("conflict_exit_code = \"75\"", "a number from 0 to 255"),
        ("conflict_exit_code = 256", "\"256\" is no exit status"),
        ("kill_signal = \"NOPE\"", "is no signal"),
        ("on_leftover = \"stop\"", "write wait, kill or leave"),
        ("endpoints = [1]", "a list of strings"),
        ("endpoints = []", "no endpoint is given"),
        ("endpoints = \"http://a/b\"", "no path"),
        ("prefix = \"a b\"", "the prefix"),
        ("reason = [\"a\"]", "has to be a string, not an array"),
        ("user = \":x\"", "name is missing"),
        ("cacert = \"\"", "cannot be empty"),
        ("lock = 3", "[lock.\"deploy/prod\"]"),
        ("[lock]\nttl = 3", "[lock.\"deploy/prod\"]"),
        ("[lock.\"a b\"]", "cannot contain ' '"),
        ("[lock.\"*\"]", "at the top"),
        ("[lock.\"a*\"]", "cannot contain '*'"),
        ("ttl = 3\nttl = 4", ":2: duplicate key ttl"),
        ("ttl 3", ":1: "),
    ];
    for (text, part) in cases {
        let why = mistakes(text);
        assert!(
            why.starts_with(SYSTEMS) && why.contains(part),
            "{text}: {why}"
        );
    }
}

#[test]
fn mistakes_show_although_something_stronger_is_said() {
    let machine = Machine::default().file(SYSTEMS, "ttl = \"soon\"");
    assert!(machine.refusal(&["--ttl", "60"]).contains("soon"));
}

#[test]
fn all_mistakes_are_found_and_the_first_one_says_how_to_see_the_others() {
    let why = mistakes("ttl = \"soon\"\nwait = true\nzzz = 3");
    assert!(
        why.ends_with("(and 2 more: leasehold config check)"),
        "{why}"
    );
}

#[test]
fn settings_that_do_not_fit_together_name_their_place() {
    let why = mistakes("kill_after = 40");
    assert!(
        why.contains("--kill-after") && why.contains(SYSTEMS),
        "{why}"
    );
    let why = mistakes("ttl = 301");
    assert!(
        why.contains("--ttl can be at most") && why.contains(SYSTEMS),
        "{why}"
    );
    let why = mistakes("lock_delay = \"1h\"");
    assert!(
        why.contains("--lock-delay") && why.contains(SYSTEMS),
        "{why}"
    );
    let machine = Machine::default().file(SYSTEMS, "kill_after = 40");
    assert!(machine.run(&["--ttl", "200", "job", "cmd"]).is_ok());
}

#[test]
fn waiting_no_time_is_not_waiting_in_a_file_too() {
    assert!(
        Machine::default()
            .file(SYSTEMS, "wait = 0")
            .job()
            .wanted
            .nonblock
    );
}

#[test]
fn what_cannot_be_read_is_refused_and_what_is_not_there_is_not_missed() {
    let state = |state: FileState| Machine::default().state(SYSTEMS, state);
    assert!(state(FileState::Absent).run(&["job", "cmd"]).is_ok());
    for (found, part) in [
        (FileState::Folder, "it is a folder"),
        (FileState::TooBig, "more than 1 MiB"),
        (
            FileState::Unreadable("Permission denied".to_owned()),
            "Permission denied",
        ),
    ] {
        let why = state(found).refusal(&[]);
        assert!(why.contains(part) && why.contains(SYSTEMS), "{why}");
    }
}

#[test]
fn hostile_content_is_refused_in_peace() {
    let nested = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let inline = format!("a = {}1{}", "{a=".repeat(100_000), "}".repeat(100_000));
    let dotted = format!("{}a = 1", "a.".repeat(400_000));
    let header = format!("[{}a]", "a.".repeat(400_000));
    let quoted = format!("{}a = 1", "\"a\".".repeat(200_000));
    let inner = format!("a = {{ {}a = 1 }}", "a . ".repeat(200_000));
    let long_key = format!("{} = 1", "a".repeat(1_000_000));
    for text in [nested, inline, dotted, header, quoted, inner, long_key] {
        let start: String = text.chars().take(20).collect();
        let why = mistakes(&text);
        assert!(why.len() < 400, "{start}: {} bytes", why.len());
    }
    let access = Some(Access {
        mode: 0o600,
        uid: 0,
    });
    let bytes = Secret::new(vec![b't', 0xff, 0xfe]);
    let machine = Machine::default().state(SYSTEMS, FileState::Read(Content { bytes, access }));
    assert!(machine.refusal(&[]).contains("not UTF-8"));
    let bytes = Secret::new(vec![0xff, 0xfe, b't', 0]);
    let machine = Machine::default().state(SYSTEMS, FileState::Read(Content { bytes, access }));
    assert!(machine.refusal(&[]).contains("it is UTF-16"));
    let why = mistakes("\"a\\u001b[2J\" = 1");
    assert!(!why.contains('\u{1b}'), "{why}");
}

#[test]
fn a_long_name_with_many_dots_is_no_deep_nesting() {
    let name = "a.".repeat(127);
    let text = format!("[lock.\"{name}\"]\nttl = 20\n");
    let config = Machine::default().file(SYSTEMS, &text);
    let config = config.run(&[&name, "cmd"]).expect("accepted");
    assert_eq!(config.wanted.ttl.as_secs(), 20);
}

proptest::proptest! {
    #[test]
    fn no_content_makes_the_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let content = Content { bytes: Secret::new(bytes), access: None };
        let _ = file::ConfigFile::parse(Path::new("f"), &content);
    }

    #[test]
    fn nor_does_any_text_of_tomls_characters(text in "[a-z\\[\\]{}=\"'.,# \n0-9]{0,80}") {
        let content = Content { bytes: Secret::new(text), access: None };
        let _ = file::ConfigFile::parse(Path::new("f"), &content);
    }
}
