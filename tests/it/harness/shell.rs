//! An interactive shell on a terminal, with somebody typing at it.

use std::path::Path;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::eventually::{SOON, eventually};
use super::leasehold::Run;
use super::processes::{Process, of_the_command, with_environment};
use super::pty::Terminal;
use super::service::Service;
use super::untested;

/// The shells, as somebody without configuration starts them.
const SHELLS: [&[&str]; 5] = [
    &["bash", "--norc", "--noprofile", "-i"],
    &["zsh", "-f", "-i"],
    &["dash", "-i"],
    &["ksh", "-i"],
    &["fish", "--no-config", "-i"],
];

/// A shell that was started.
pub(crate) struct Shell {
    pub(crate) terminal: Terminal,
    pub(crate) name: &'static str,
    /// The device, for whoever wants to do something to the terminal.
    pub(crate) device: String,
    /// For its history.
    _home: TempDir,
}

/// Does `work` in every shell that is installed, one after the other.
pub(crate) fn in_every_shell(etcd: &Service, work: impl Fn(Shell)) {
    for words in SHELLS {
        if installed(words[0]) {
            eprintln!("-- {}", words[0]);
            work(Shell::start(etcd, words));
        } else {
            untested::missing(words[0]);
        }
    }
}

/// Whether a program is in PATH.
pub(crate) fn installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).exists())
    })
}

impl Shell {
    pub(crate) fn bash(etcd: &Service) -> Self {
        Self::start(etcd, SHELLS[0])
    }

    pub(crate) fn dash(etcd: &Service) -> Self {
        Self::start(etcd, SHELLS[2])
    }

    fn start(etcd: &Service, words: &[&'static str]) -> Self {
        let (name, value) = etcd.variable();
        let mut command = Run::program(words[0])
            .variable(name, &value)
            .variable("TERM", "xterm")
            .variable("PS1", "$ ")
            .all_arguments(&words[1..])
            .to_command();
        let home = tempfile::tempdir().expect("a folder");
        command.env("SHELL", words[0]).env("HOME", home.path());
        let mut shell = Self {
            terminal: Terminal::start(command),
            name: words[0],
            device: String::new(),
            _home: home,
        };
        // The marks are in pieces in what is typed, which appears as well.
        shell.enter("tty | sed 's/^/dev''ice:/; s/$/:end/'");
        shell.terminal.expect("device:");
        shell.device = shell.until(":end");
        if shell.name == "fish" {
            shell.enter("function fish_prompt; printf '%s ' \\$; end");
        }
        shell.expect_prompt();
        shell
    }

    /// Types a line.
    pub(crate) fn enter(&mut self, line: &str) {
        self.terminal.press(&format!("{line}\r"));
    }

    /// Runs a command line in the foreground, waits for it to be `ready`.
    #[track_caller]
    pub(crate) fn start_job(&mut self, run: &Run) {
        self.enter(&typed(run));
        self.expect("ready\r\n");
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        self.terminal.expect(text);
    }

    /// Waits until the shell has noticed that a job was stopped.
    #[track_caller]
    pub(crate) fn expect_stopped(&mut self) {
        // bash, dash and fish: Stopped, stopped; zsh and ksh: suspended.
        self.terminal.expect_one_of(["topped", "uspended"]);
        self.expect_prompt();
    }

    /// Waits until the shell reads commands again: what is typed before is typed to nobody.
    #[track_caller]
    pub(crate) fn expect_prompt(&mut self) {
        self.expect("$ ");
    }

    /// Waits for the prompt, and asks the shell for the status of the last command.
    #[track_caller]
    pub(crate) fn expect_status(&mut self, status: i32) {
        self.expect_prompt();
        let variable = if self.name == "fish" { "$status" } else { "$?" };
        self.enter(&format!("echo stat''us={variable}."));
        self.expect("status=");
        assert_eq!(self.until("."), status.to_string(), "{}", self.name);
    }

    /// The same for a signal that the last command has died of.
    #[track_caller]
    pub(crate) fn expect_signal(&mut self, signal: Signal) {
        // ksh tells them from statuses.
        let base = if self.name == "ksh" { 256 } else { 128 };
        self.expect_status(base + signal as i32);
    }

    /// What appears before `end`.
    #[track_caller]
    fn until(&mut self, end: &str) -> String {
        let text = eventually(format!("{end:?} appears"), SOON, || {
            let text = self.terminal.unread();
            if text.contains(end) {
                Ok(text)
            } else {
                Err(text)
            }
        });
        self.terminal.expect(end);
        text.split(end).next().unwrap_or_default().to_owned()
    }

    /// Leaves the shell, whatever jobs it has.
    pub(crate) fn exit(self) {
        drop(self.terminal);
    }
}

/// A command line as it is typed: quoted where a shell needs it.
pub(crate) fn typed(run: &Run) -> String {
    let command = run.to_command();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted: Vec<String> = words
        .map(|word| {
            let word = word.to_str().expect("readable");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._:-=,".contains(&byte);
            if word.bytes().all(plain) && !word.is_empty() {
                word.to_owned()
            } else {
                assert!(!word.contains('\''), "{word}");
                format!("'{word}'")
            }
        })
        .collect();
    quoted.join(" ")
}

/// Everybody whom a shell on this etcd has started: the shell, leasehold's processes, the command.
pub(crate) fn all(etcd: &Service) -> Vec<Process> {
    let (name, value) = etcd.variable();
    let mut all = with_environment(&format!("{name}={value}"));
    all.extend(the_commands(etcd));
    all
}

/// The command's processes: they have the endpoints as leasehold exports them.
pub(crate) fn the_commands(etcd: &Service) -> Vec<Process> {
    of_the_command(with_environment(&etcd.exported()))
}

/// A command that says `ready` and stays until a signal ends it.
pub(crate) fn sleeper(etcd: &Service) -> Run {
    etcd.run("job").probe(["watch", "USR1"])
}

/// Whether the terminal's keys go to the command.
pub(crate) fn in_foreground(etcd: &Service) -> Result<(), String> {
    is_in_foreground(the_commands(etcd), "")
}

/// Whether the terminal's keys go to a process of this name among them.
pub(crate) fn is_in_foreground(processes: Vec<Process>, program: &str) -> Result<(), String> {
    let stats: Vec<String> = processes.iter().map(stat).collect();
    let found = stats.iter().any(|stat| {
        // After the name: state, parent, group, session, terminal, foreground group (proc_pid_stat(5)).
        let rest = stat.rsplit(") ").next().unwrap_or_default();
        let fields: Vec<&str> = rest.split(' ').collect();
        stat.contains(&format!("({program}")) && fields.get(2) == fields.get(5) && fields.len() > 5
    });
    if found { Ok(()) } else { Err(stats.concat()) }
}

pub(crate) fn stat(process: &Process) -> String {
    std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default()
}
