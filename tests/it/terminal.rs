//! At a terminal: one live line while waiting, and the keys of job control.

use nix::sys::signal::Signal;

use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::Run;
use crate::harness::processes::{of_the_command, with_environment};
use crate::harness::pty::Terminal;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::shell::in_foreground;

#[test]
fn a_waiter_shows_a_line_that_goes_away() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    let waiter = etcd.run("job").shell("echo ran");
    let mut terminal = Terminal::start(waiter.variable("TERM", "xterm").to_command());
    terminal.expect("waiting for job: 1st of 1, held by");
    holder.wait().assert_status(0);
    terminal.expect("ran\r\n");
    assert_eq!(terminal.wait().code(), Some(0));
}

#[test]
fn a_terminal_that_nothing_is_known_of_gets_plain_lines() {
    let etcd = Service::start();
    let holder = etcd.hold("job");
    for variables in [vec![], vec![("TERM", "dumb")]] {
        let mut waiter = etcd.run("job").shell("echo ran");
        for (name, value) in variables {
            waiter = waiter.variable(name, value);
        }
        let mut terminal = Terminal::start(waiter.to_command());
        terminal.expect("waiting for job: 1st of 1, held by");
        assert!(!terminal.unread().contains('\x1b'));
        terminal.press("\x03");
        let _ = terminal.wait();
    }
    holder.wait().assert_status(0);
}

#[test]
fn ctrl_c_while_waiting_gives_the_place_back() {
    let etcd = Service::start();
    let store = etcd.store();
    let holder = etcd.hold("job");
    let mut shell = shell(&etcd, &["bash", "--norc", "--noprofile", "-i"]);
    shell.press(&format!(
        "{}\r",
        etcd.run("job").command(["echo", "ran"]).typed()
    ));
    shell.expect("waiting for job");
    store.wait_for_entries("job", 2);
    shell.press("\x03");
    store.wait_for_entries("job", 1);
    shell.press("echo status $((1000 + $?))\r");
    shell.expect("status 1130\r\n");
    shell.press("exit 0\r");
    assert_eq!(shell.wait().code(), Some(0));
    holder.wait().assert_status(0);
    store.assert_clean();
}

#[test]
fn ctrl_c_ends_a_run_and_gives_the_lock_back() {
    let etcd = Service::start();
    let mut shell = shell(&etcd, &["bash", "--norc", "--noprofile", "-i"]);
    let run = etcd.run("job").probe(["tree", "plain"]).typed();
    for _ in 0..5 {
        shell.press(&format!("{run}\r"));
        shell.expect("ready\r\n");
        shell.press("\x03");
        shell.press("echo status $((1000 + $?))\r");
        shell.expect("status 1130\r\n");
        etcd.store().assert_clean();
    }
    shell.press("exit 0\r");
    assert_eq!(shell.wait().code(), Some(0));
}

#[test]
fn ctrl_c_reaches_the_command_once() {
    let etcd = Service::start();
    let mut shell = shell(&etcd, &["bash", "--norc", "--noprofile", "-i"]);
    let run = etcd.run("job").probe(["signals"]).typed();
    shell.press(&format!("{run}\r"));
    shell.expect("ready\r\n");
    shell.press("\x03");
    shell.expect("signal SIGINT\r\n");
    shell.press("\x1c");
    shell.expect("signal SIGQUIT\r\n");
    let seen = shell.unread();
    assert!(!seen.contains("SIGINT"), "{seen:?}");
    let run = of_the_command(with_environment(&etcd.exported()));
    assert_eq!(run.len(), 1, "the command");
    run[0].signal(Signal::SIGUSR2);
    shell.expect("signal SIGUSR2\r\n");
    shell.press("exit 0\r");
    assert_eq!(shell.wait().code(), Some(0));
    etcd.store().assert_clean();
}

#[test]
fn ctrl_z_and_fg_work_in_every_shell_and_the_lease_is_renewed_meanwhile() {
    for words in [
        vec!["bash", "--norc", "--noprofile", "-i"],
        vec!["zsh", "-f", "-i"],
        vec!["dash", "-i"],
        vec!["ksh", "-i"],
        vec!["fish", "--no-config", "-i"],
    ] {
        let etcd = Service::start();
        let mut shell = shell(&etcd, &words);
        let run = etcd
            .run("job")
            .shell("echo rea''dy; read line; echo \"got $line\"")
            .typed();
        let (run, script) = run.split_once("sh -c ").expect("a shell");
        shell.press(&format!("{run}sh -c '{}'\r", script.replace("''", "")));
        shell.expect("ready\r\n");
        shell.press("\x1a");
        // What is typed before the shell has its terminal back is typed to nobody.
        shell.expect_one_of(["topped", "uspended"]);
        shell.press("echo go''ing on\r");
        shell.expect("going on\r\n");
        assert_eq!(
            etcd.store().entries("job").len(),
            1,
            "{words:?}: still held"
        );
        shell.press("fg\r");
        shell.expect("leasehold");
        // ksh says so, drops what was typed (TCSAFLUSH), and gives its job the terminal then.
        eventually("the job is in the foreground", SOON, || {
            in_foreground(&etcd)
        });
        shell.press("hello\r");
        shell.expect("got hello\r\n");
        shell.press("exit\r");
        let _ = shell.wait();
        etcd.store().assert_clean();
    }
}

/// A shell with somebody typing at it.
fn shell(etcd: &Service, words: &[&str]) -> Terminal {
    let mut command = Run::program(words[0])
        .variable(etcd.variable().0, &etcd.variable().1)
        .variable("TERM", "xterm")
        .variable("PS1", "$ ")
        .all_arguments(&words[1..])
        .to_command();
    command.env("SHELL", words[0]);
    Terminal::start(command)
}

in_a_folder_too![
    a_waiter_shows_a_line_that_goes_away,
    a_terminal_that_nothing_is_known_of_gets_plain_lines,
    ctrl_c_while_waiting_gives_the_place_back,
    ctrl_c_ends_a_run_and_gives_the_lock_back,
    ctrl_c_reaches_the_command_once,
    ctrl_z_and_fg_work_in_every_shell_and_the_lease_is_renewed_meanwhile,
];
