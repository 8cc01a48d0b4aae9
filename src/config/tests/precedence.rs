//! Command line > environment > file > default, one pair of sources at a time.

use super::*;

/// Every source of the endpoints, the strongest first: how it says `name`, and what it is called.
const SOURCES: [&str; 6] = [
    "command line",
    "LEASEHOLD_ENDPOINTS",
    "ETCDCTL_ENDPOINTS",
    USERS,
    SYSTEMS,
    "default",
];

fn endpoint_from(sources: &[&str]) -> (String, String) {
    let mut machine = Machine::default().at_home();
    let mut words = Vec::new();
    for source in sources {
        machine = match *source {
            "command line" => {
                words = vec!["--endpoints", "command line:1"];
                machine
            }
            "default" => machine,
            variable if variable.ends_with("ENDPOINTS") => machine.variable(variable, "b:2"),
            file => machine.file(file, "endpoints = \"c:3\""),
        };
    }
    if !words.is_empty() {
        words = vec!["--endpoints", "a:1"];
    }
    let config = machine
        .run(&[words.as_slice(), &["job", "cmd"]].concat())
        .expect("accepted");
    (
        config.connection.cluster().endpoints[0].url().to_owned(),
        source_of(&config, "endpoints"),
    )
}

#[test]
fn of_any_two_sources_the_stronger_one_is_believed() {
    let says = |source: &str| match source {
        "command line" => "http://a:1",
        "default" => "http://127.0.0.1:2379",
        variable if variable.ends_with("ENDPOINTS") => "http://b:2",
        _ => "http://c:3",
    };
    for (index, stronger) in SOURCES.iter().enumerate() {
        for weaker in &SOURCES[index + 1..] {
            let (url, source) = endpoint_from(&[stronger, weaker]);
            assert_eq!((url.as_str(), source.as_str()), (says(stronger), *stronger));
        }
    }
}

#[test]
fn all_sources_together_give_the_command_line() {
    let (_, source) = endpoint_from(&SOURCES);
    assert_eq!(source, "command line");
}

#[test]
fn for_a_setting_of_run_the_locks_table_stands_between_the_command_line_and_the_top() {
    let top = "ttl = 20\n";
    let table = "ttl = 20\n[lock.job]\nttl = 30\n";
    let ttl = |users: &str, systems: &str, words: &[&str]| {
        let machine = Machine::default()
            .at_home()
            .file(USERS, users)
            .file(SYSTEMS, systems);
        let words = [words, &["job", "cmd"]].concat();
        let config = machine.run(&words).expect("accepted");
        (config.wanted.ttl.as_secs(), source_of(&config, "ttl"))
    };
    let users_table = format!("{USERS} [lock.\"job\"]");
    let systems_table = format!("{SYSTEMS} [lock.\"job\"]");
    assert_eq!(
        ttl(table, table, &["--ttl", "40"]),
        (40, "command line".to_owned())
    );
    assert_eq!(ttl(table, top, &[]), (30, users_table));
    assert_eq!(ttl(top, table, &[]), (20, USERS.to_owned()));
    assert_eq!(ttl("", table, &[]), (30, systems_table));
    assert_eq!(ttl("", top, &[]), (20, SYSTEMS.to_owned()));
    assert_eq!(ttl("", "", &[]), (60, "default".to_owned()));
}

#[test]
fn the_closest_table_is_believed_and_the_others_fill_its_gaps() {
    let text = "
        ttl = 20
        reason = \"top\"
        [lock.\"deploy/*\"]
        ttl = 30
        max_runtime = 1000
        [lock.\"deploy/eu/*\"]
        ttl = 40
        [lock.\"deploy/eu/prod\"]
        ttl = 50
    ";
    let machine = Machine::default().file(SYSTEMS, text);
    let ttl = |name: &str| {
        let config = machine.run(&[name, "cmd"]).expect("accepted");
        assert_eq!(config.wanted.entry.reason, "top");
        let limited = config.plan.max_runtime.is_some();
        (config.wanted.ttl.as_secs(), limited)
    };
    assert_eq!(ttl("deploy/eu/prod"), (50, true));
    assert_eq!(ttl("deploy/eu/test"), (40, true));
    assert_eq!(ttl("deploy/us/prod"), (30, true));
    assert_eq!(ttl("deploy"), (20, false));
    assert_eq!(ttl("deploys/x"), (20, false));
}

#[test]
fn an_empty_variable_is_not_set() {
    let machine = Machine::default()
        .variable("LEASEHOLD_ENDPOINTS", "")
        .variable("ETCDCTL_ENDPOINTS", "b:2");
    assert_eq!(source_of(&machine.job(), "endpoints"), "ETCDCTL_ENDPOINTS");
}

#[test]
fn a_named_configuration_stands_in_place_of_the_users_and_the_systems() {
    let machine = Machine::default()
        .at_home()
        .file(USERS, "prefix = \"/users/\"")
        .file(SYSTEMS, "ttl = 20")
        .file("/work/mine.toml", "lock_delay = 5")
        .file("/other.toml", "lock_delay = 6");
    let config = machine
        .run(&["--config", "mine.toml", "job", "cmd"])
        .expect("accepted");
    assert_eq!(config.wanted.prefix.to_string(), "/leasehold/");
    assert_eq!(config.wanted.ttl.as_secs(), 60);
    assert_eq!(config.wanted.entry.lock_delay_ms, 5000);
    let machine = machine.variable("LEASEHOLD_CONFIG", "/other.toml");
    assert_eq!(machine.job().wanted.entry.lock_delay_ms, 6000);
    let why = machine.refusal(&["--config", "none.toml"]);
    assert!(
        why.contains("/work/none.toml") && why.contains("no such file"),
        "{why}"
    );
}

#[test]
fn the_users_folder_is_found_without_home() {
    let text = "ttl = 20";
    let path = "/home/u/.config/leasehold/config.toml";
    let machine = Machine::default().file(path, text);
    let ttl = |machine: &Machine, home: Option<&str>| {
        let config = machine.resolve(|inherited| {
            let args = crate::cli::ConnectionArgs::default();
            let mut inherited = inherited.clone();
            inherited.home = home.map(Into::into);
            let layers = Layers::gather(&[&args.typed], None, &inherited)?;
            Ok(RunSettings::resolve(&layers)?.ttl.as_secs())
        });
        config.expect("accepted")
    };
    assert_eq!(ttl(&machine, None), 60, "cron without any folder");
    assert_eq!(ttl(&machine, Some("/home/u")), 20, "the password database");
    let elsewhere = machine.clone().variable("HOME", "/home/other");
    assert_eq!(ttl(&elsewhere, Some("/home/u")), 60, "HOME is believed");
    let relative = machine.clone().variable("XDG_CONFIG_HOME", "relative");
    assert_eq!(ttl(&relative, Some("/home/u")), 20, "as XDG has it");
    let xdg = Machine::default()
        .file("/xdg/leasehold/config.toml", text)
        .variable("HOME", "/home/u")
        .variable("XDG_CONFIG_HOME", "/xdg");
    assert_eq!(ttl(&xdg, None), 20);
}
