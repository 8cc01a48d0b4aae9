//! Each shell that is installed loads its script, and completes what a user types: options, names of locks,
//! and behind the name the command. `leasehold` in the shells' PATH is a stand-in for the names of locks and
//! the shipped binary for all else.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_leasehold");

/// A folder with the stand-in and the scripts as the binary prints them.
struct Shells {
    folder: tempfile::TempDir,
}

impl Shells {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shells = Self { folder };
        let stand_in = format!(
            "#!/bin/sh\n[ \"$1\" = complete-names ] || exec {BINARY} \"$@\"\n\
             echo \"$*\" >> {asked}\nprintf 'deploy/prod\\ndeploy/test\\nnight:ly\\n'\n",
            asked = shells.path("asked").display(),
        );
        let path = shells.write("bin/leasehold", &stand_in);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
        shells
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
        path
    }

    /// The script as the binary prints it.
    fn script(&self, shell: &str, name: &str) -> PathBuf {
        let printed = Command::new(BINARY)
            .args(["completions", shell])
            .output()
            .expect("leasehold runs");
        assert!(printed.status.success(), "{printed:?}");
        self.write(name, &String::from_utf8(printed.stdout).expect("text"))
    }

    /// What a shell prints for a script of its own.
    fn run(&self, shell: &str, arguments: &[&str], script: &str) -> String {
        let path = self.write("test-script", script);
        let output = self
            .command(shell)
            .args(arguments)
            .arg(path)
            .output()
            .expect("the shell runs");
        text_of(output)
    }

    fn command(&self, shell: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(shell);
        command
            .stdin(Stdio::null())
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.folder.path());
        command
    }

    /// The arguments with which names of locks were asked for.
    fn asked(&self) -> String {
        std::fs::read_to_string(self.path("asked")).unwrap_or_default()
    }
}

fn text_of(output: Output) -> String {
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaints}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Developers' machines have some of these shells; the gate installs all but PowerShell.
fn is_installed(shell: &str) -> bool {
    let found = Command::new(shell).arg("-c").arg("exit 0").output().is_ok();
    if !found {
        crate::harness::untested::not_allowed(&format!("{shell} is not installed"));
    }
    found
}

#[test]
fn bash_loads_its_script_and_completes() {
    let shells = Shells::new();
    let script = shells.script("bash", "leasehold.bash");
    let checked = shells.command("bash").arg("-n").arg(&script).output();
    text_of(checked.expect("bash runs"));
    let said = shells.run(
        "bash",
        &["--norc", "-u"],
        r#"
        source leasehold.bash
        complete -p leasehold
        try() {
            COMP_LINE=$1 COMP_POINT=${#1}
            shift
            COMP_WORDS=("$@") COMP_CWORD=$(( $# - 1 )) COMPREPLY=()
            _leasehold_or_names leasehold "${@: -1}" "${@: -2:1}" 2>/dev/null
            echo "$COMP_LINE: ${COMPREPLY[*]}"
        }
        try 'leasehold run --wa' leasehold run --wa
        try 'leasehold run dep' leasehold run dep
        try 'leasehold run -w 3 dep' leasehold run -w 3 dep
        try 'leasehold run -nw 3 dep' leasehold run -nw 3 dep
        try 'leasehold run --ttl=60 dep' leasehold run --ttl = 60 dep
        try 'leasehold run night:l' leasehold run night : l
        try 'leasehold run --on-leftover k' leasehold run --on-leftover k
        try 'leasehold run night:ly tes' leasehold run night : ly tes
        try 'leasehold run job -- tes' leasehold run job -- tes
        try 'leasehold status dep' leasehold status dep
        try 'leasehold st' leasehold st
        "#,
    );
    for line in [
        "-F _leasehold_or_names leasehold",
        "run --wa: --wait",
        "run dep: deploy/prod deploy/test",
        "run -w 3 dep: deploy/prod deploy/test",
        "run -nw 3 dep: deploy/prod deploy/test",
        "run --ttl=60 dep: deploy/prod deploy/test",
        "run night:l: ly",
        "status dep: deploy/prod deploy/test",
        "leasehold st: status",
    ] {
        assert!(
            said.lines().any(|said| said.ends_with(line)),
            "{line}\n{said}"
        );
    }
    for command in ["run night:ly tes: test", "run job -- tes: test"] {
        assert!(said.contains(command), "{command}\n{said}");
    }
    assert!(
        shells.asked().contains("complete-names run --ttl=60\n"),
        "{}",
        shells.asked()
    );
}

#[test]
fn zsh_loads_its_script_and_completes() {
    if !is_installed("zsh") {
        return;
    }
    let shells = Shells::new();
    shells.script("zsh", "functions/_leasehold");
    // A second zsh in a pseudo-terminal, where TAB is typed; a marker tells that the line is complete.
    let said = shells.run(
        "zsh",
        &["-f"],
        r#"
        zmodload zsh/zpty
        zpty inner zsh -f -i
        # Reads until the marker comes; zsh ends the read when the inner one ends.
        until_marker() { zpty -r -m inner REPLY "*$1*"; }
        zpty -w inner 'PS1= fpath=($PWD/functions $fpath); autoload -U compinit; compinit -u -D'
        zpty -w inner 'say() { print -r -- "<$BUFFER>"; zle kill-buffer; }; zle -N say; bindkey "^X" say; bindkey -r "^[" '
        zpty -w inner 'print LO""ADED $_comps[leasehold]'
        until_marker 'LOADED _leasehold'
        for line in 'leasehold run --wai' 'leasehold run -w 3 ni' 'leasehold run -nw 3 ni' \
            'leasehold run --ttl=60 ni' 'leasehold run --on-leftover k' 'leasehold run night:ly fals' \
            'leasehold run job -- fals' 'leasehold status ni' 'leasehold stat'; do
            zpty -w -n inner "$line"$'\t\x18'
            until_marker '>'
            print -r -- "${REPLY#*<}"
        done
        zpty -d inner
        "#,
    );
    for line in [
        "leasehold run --wait",
        "leasehold run -w 3 night:ly ",
        "leasehold run -nw 3 night:ly ",
        "leasehold run --ttl=60 night:ly ",
        "leasehold run --on-leftover kill ",
        "leasehold run night:ly false ",
        "leasehold run job -- false ",
        "leasehold status night:ly ",
        "leasehold status ",
    ] {
        assert!(
            said.contains(&format!("<{line}")) || said.contains(line),
            "{line}\n{said}"
        );
    }
    assert!(
        shells.asked().contains("complete-names run --ttl=60\n"),
        "{}",
        shells.asked()
    );
}

#[test]
fn fish_loads_its_script_and_completes() {
    if !is_installed("fish") {
        return;
    }
    let shells = Shells::new();
    shells.script("fish", "leasehold.fish");
    let said = shells.run(
        "fish",
        &["--no-config"],
        r#"
        source leasehold.fish
        for line in 'leasehold run --wa' 'leasehold run dep' 'leasehold run -w 3 dep' 'leasehold run -nw 3 dep' \
            'leasehold run --ttl=60 dep' 'leasehold run --on-leftover k' 'leasehold run night:ly fals' \
            'leasehold run job -- fals' 'leasehold status dep' 'leasehold completions po'
            echo "$line: "(complete -C $line | string replace -r '\t.*' '' | string join ' ')
        end
        "#,
    );
    for line in [
        "run --wa: --wait",
        "run dep: deploy/prod deploy/test",
        "run -w 3 dep: deploy/prod deploy/test",
        "run -nw 3 dep: deploy/prod deploy/test",
        "run --ttl=60 dep: deploy/prod deploy/test",
        "run --on-leftover k: kill",
        "run night:ly fals: false",
        "run job -- fals: false",
        "status dep: deploy/prod deploy/test",
        "completions po: powershell",
    ] {
        assert!(
            said.lines().any(|said| said.ends_with(line)),
            "{line}\n{said}"
        );
    }
    assert!(
        shells.asked().contains("complete-names run --ttl=60\n"),
        "{}",
        shells.asked()
    );
}

#[test]
fn elvish_understands_its_script() {
    if !is_installed("elvish") {
        return;
    }
    let shells = Shells::new();
    let script = shells.script("elvish", "leasehold.elv");
    let script = std::fs::read_to_string(script).expect("readable");
    // Without a terminal elvish has no module `edit:`; this has what is used of it.
    let completer = script.replace("edit:completion:arg-completer", "completer");
    let completer = completer.replace("edit:complex-candidate", "candidate");
    let completer = completer.replace("edit:complete-sudo", "put");
    let said = shells.run(
        "elvish",
        &["-norc"],
        &format!(
            r#"
            var completer = [&]
            fn candidate {{|text &display=''| put $text }}
            {completer}
            fn attempt {{|@words| echo (str:join ' ' $words)':' ($completer[leasehold] $@words) }}
            attempt leasehold run dep
            attempt leasehold run -w 3 dep
            attempt leasehold run -nw 3 dep
            attempt leasehold run --ttl=60 dep
            attempt leasehold run job -- fals
            attempt leasehold run job ls /etc
            attempt leasehold status dep
            "#
        ),
    );
    let names = "deploy/prod deploy/test night:ly";
    for (line, completed) in [
        ("run dep", names),
        ("run -w 3 dep", names),
        ("run -nw 3 dep", names),
        ("run --ttl=60", names),
        ("job -- fals", "sudo fals"),
        ("job ls /etc", "sudo ls /etc"),
        ("status", names),
    ] {
        let found = said
            .lines()
            .any(|said| said.contains(line) && said.ends_with(completed));
        assert!(found, "{line}\n{said}");
    }
    assert!(
        shells.asked().contains("complete-names run --ttl=60\n"),
        "{}",
        shells.asked()
    );
}

#[test]
fn powershell_understands_its_script() {
    if !is_installed("pwsh") {
        return;
    }
    let shells = Shells::new();
    shells.script("powershell", "leasehold.ps1");
    let said = shells.run(
        "pwsh",
        &["-NoProfile", "-File"],
        ". ./leasehold.ps1; (TabExpansion2 'leasehold run --wa' 18).CompletionMatches.CompletionText",
    );
    assert!(said.contains("--wait"), "{said}");
}

#[test]
fn the_manual_page_is_printed_and_understood() {
    let page = Command::new(BINARY).arg("man").output().expect("it runs");
    let page = text_of(page);
    assert!(page.contains("\n.TH LEASEHOLD 1 "));
    if !is_installed("mandoc") {
        return;
    }
    let shells = Shells::new();
    let path = shells.write("leasehold.1", &page);
    let lint = shells
        .command("mandoc")
        .args(["-T", "lint", "-W", "error"])
        .arg(path)
        .output()
        .expect("mandoc runs");
    assert_eq!(String::from_utf8_lossy(&lint.stdout), "");
}
