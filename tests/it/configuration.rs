//! Settings from real files, as the shipped binary sees them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::harness::pty::Terminal;

/// A home folder; nothing else of the machine is seen but /etc.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
        path
    }

    fn config(&self, text: &str) -> PathBuf {
        self.file(".config/leasehold/config.toml", text, 0o644)
    }

    /// Runs leasehold in its own session, so without a terminal to ask on.
    fn leasehold(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new("setsid")
            .arg("--wait")
            .arg(env!("CARGO_BIN_EXE_leasehold"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.0.path())
            .envs(variables.iter().copied())
            .current_dir(self.0.path())
            .output()
            .expect("leasehold runs")
    }
}

fn status(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn config_show_tells_every_setting_and_where_it_came_from_but_no_secret() {
    let home = Home::new();
    let path = home.config("ttl = 90\nuser = \"me\"\n[lock.\"a/*\"]\nttl = 30\n");
    let variables = [
        ("LEASEHOLD_PASSWORD", "s3cret"),
        ("ETCDCTL_ENDPOINTS", "b:2"),
    ];
    let shown = home.leasehold(&["config", "show", "--prefix", "/x", "a/b"], &variables);
    assert_eq!(status(&shown), Some(0), "{}", stderr(&shown));
    let table = stdout(&shown);
    let row = |key: &str| -> Vec<String> {
        let row = table
            .lines()
            .find(|line| line.split(' ').next() == Some(key));
        let cells = row.expect("a row").split("  ").map(str::trim);
        cells
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(row("prefix"), ["prefix", "/x", "command line"]);
    assert_eq!(row("endpoints"), ["endpoints", "b:2", "ETCDCTL_ENDPOINTS"]);
    assert_eq!(row("password"), ["password", "set", "LEASEHOLD_PASSWORD"]);
    assert_eq!(
        row("ttl")[1..],
        [
            "30".to_owned(),
            format!("{} [lock.\"a/*\"]", path.display())
        ]
    );
    assert_eq!(row("lock_delay"), ["lock_delay", "2s", "default"]);
    let shown = home.leasehold(&["config", "show", "--json"], &variables);
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(json["version"], 1);
    assert_eq!(json["files"][0], path.display().to_string());
    let settings = json["settings"].as_array().expect("a list");
    let setting = |name: &str| settings.iter().find(|setting| setting["name"] == name);
    let password = setting("password").expect("a setting");
    assert_eq!(password["set"], true);
    assert_eq!(password["value"], serde_json::Value::Null);
    assert_eq!(setting("ttl").expect("a setting")["value"], "90");
    assert!(!(table + &stdout(&shown)).contains("s3cret"));
}

#[test]
fn config_check_finds_every_mistake_of_every_file() {
    let home = Home::new();
    assert_eq!(status(&home.leasehold(&["config", "check"], &[])), Some(0));
    let path = home.config("tll = 1\nttl = true\n[lock.a]\nprefix = \"/x/\"\n");
    let checked = home.leasehold(&["config", "check"], &[]);
    assert_eq!(status(&checked), Some(78));
    let path = path.display();
    let wanted = format!(
        "leasehold: {path}:1: \"tll\" is no setting; did you mean ttl?\n\
         leasehold: {path}:2: ttl has to be a string such as \"90s\", or a number of seconds, not a boolean\n\
         leasehold: {path}:4: prefix is the same for all locks; put it above the first table\n"
    );
    assert_eq!(stderr(&checked), wanted);
}

#[test]
fn config_check_finds_what_does_not_fit_together_for_a_single_lock() {
    let home = Home::new();
    home.config("ttl = 60\n[lock.\"a/*\"]\nkill_after = 50\n");
    let checked = home.leasehold(&["config", "check"], &[]);
    assert_eq!(status(&checked), Some(78));
    assert!(
        stderr(&checked).contains("--kill-after"),
        "{}",
        stderr(&checked)
    );
}

#[test]
fn config_check_remarks_what_may_be_meant_otherwise() {
    let home = Home::new();
    let variables = [("LEASEHOLD_ENDPOINT", "a:1"), ("LEASEHOLD_USER", "me")];
    let checked = home.leasehold(&["config", "check"], &variables);
    assert_eq!(status(&checked), Some(0));
    let said = stderr(&checked);
    assert!(said.contains("did you mean LEASEHOLD_ENDPOINTS?"), "{said}");
    assert!(said.contains("me has no password"), "{said}");
}

#[test]
fn a_run_is_refused_with_78_for_every_file_that_cannot_be_used() {
    let home = Home::new();
    let open = home.file("open", "p", 0o644);
    let half = home.file("half.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n", 0o644);
    let big = home.file("big.toml", &"# much\n".repeat(200_000), 0o644);
    let text = home.file("text.toml", "this is no TOML\n", 0o644);
    let binary = home.file("binary.toml", "", 0o644);
    std::fs::write(&binary, [0xff, 0x80]).expect("written");
    let folder = home.0.path();
    for (option, path, part) in [
        ("--config", &text, "text.toml:1: "),
        ("--config", &binary, "not UTF-8"),
        ("--config", &big, "more than 1 MiB"),
        ("--config", &folder.to_owned(), "it is a folder"),
        ("--config", &folder.join("none"), "no such file"),
        ("--cacert", &half, "cut off in the middle"),
        ("--cacert", &folder.to_owned(), "it is a folder"),
        ("--cacert", &folder.join("none"), "no such file"),
        ("--password-file", &open, "chmod 6"),
        ("--password-file", &folder.join("none"), "no such file"),
    ] {
        let path = path.display().to_string();
        let run = home.leasehold(&["run", "--user", "me", option, &path, "job", "true"], &[]);
        let said = stderr(&run);
        assert_eq!(status(&run), Some(78), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(&path) && said.contains(part), "{said}");
    }
}

#[test]
fn without_a_terminal_a_missing_password_is_refused_with_the_ways_to_give_it() {
    let home = Home::new();
    let run = home.leasehold(&["run", "--user", "me", "job", "true"], &[]);
    assert_eq!(status(&run), Some(78));
    assert!(stderr(&run).contains("--password-file"), "{}", stderr(&run));
}

#[test]
fn on_a_terminal_the_password_is_asked_for_and_not_shown() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    // Nobody listens there: what comes after the password does not matter here.
    command
        .args([
            "run",
            "--user",
            "me",
            "--endpoints",
            "127.0.0.1:1",
            "--connect-timeout",
            "0.1",
        ])
        .args(["job", "true"])
        .env_clear();
    let mut terminal = Terminal::start(command);
    terminal.expect("leasehold: password of me");
    terminal.press("s3cret\r");
    // Nothing stands between.
    terminal.expect(" for etcd: \r\nleasehold: job: ");
    assert_eq!(terminal.wait().code(), Some(69));
}

#[test]
fn ctrl_c_at_the_question_ends_by_its_signal_and_the_terminal_shows_again_what_is_typed() {
    let mut command = Command::new("bash");
    command
        .args(["--norc", "--noprofile", "-i"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LEASEHOLD", env!("CARGO_BIN_EXE_leasehold"));
    let mut shell = Terminal::start(command);
    shell.press("$LEASEHOLD run --user me job true\r");
    shell.expect("for etcd: ");
    shell.press("s3cr\x03");
    shell.press("echo status $((1000 + $?)) $(stty -a | grep -ow -- -echo)end\r");
    shell.expect("status 1130 end\r\n");
    shell.press("exit 0\r");
    assert_eq!(shell.wait().code(), Some(0));
}

#[test]
fn a_variable_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let output = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(["run", "job", "true"])
        .env(
            "LEASEHOLD_CACERT",
            std::ffi::OsStr::from_bytes(&[0x2f, 0xff]),
        )
        .output()
        .expect("leasehold runs");
    assert_eq!(status(&output), Some(78));
    assert!(
        stderr(&output).contains("LEASEHOLD_CACERT"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn cron_needs_no_home_and_no_other_variable() {
    let home = Home::new();
    let path = home.config("ttl = 90\n").display().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(["config", "show", "--json", "--config", &path])
        .env_clear()
        .output()
        .expect("leasehold runs");
    assert_eq!(status(&output), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains(&path));
}

#[test]
fn names_are_completed_in_silence_whatever_happens() {
    let home = Home::new();
    for words in [
        ["run", "--endpoints", "a b"].as_slice(),
        &["run", "--user", "me"],
        &["run", "--cacert", "/none"],
        &["nonsense"],
        &[],
    ] {
        let output = home.leasehold(&[&["complete-names"], words].concat(), &[]);
        assert_eq!(stderr(&output), "", "{words:?}");
        assert_eq!(stdout(&output), "", "{words:?}");
    }
}
