//! What people run at a terminal under leasehold: a pager, an editor, a shell; and terminals that go away.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, assert_dead_within, is_root};
use crate::harness::eventually::{SOON, eventually};
use crate::harness::processes::Moment;
use crate::harness::pty::Terminal;
use crate::harness::service::{Service, in_a_folder_too};
use crate::harness::shell::{
    Shell, all, in_every_shell, installed, is_in_foreground, sleeper, the_commands, typed,
};
use crate::harness::untested;

/// Not in libc: asm-generic/ioctls.h.
const TIOCVHANGUP: libc::c_ulong = 0x5437;

#[test]
fn a_pager_behind_it_has_the_terminal() {
    if !installed("less") {
        untested::missing("less");
        return;
    }
    let etcd = Service::start();
    in_every_shell(&etcd, |mut shell| {
        let run = etcd.run("job").command(["seq", "100000"]);
        shell.enter(&format!("{} | less", typed(&run)));
        shell.expect("\n20");
        shell.terminal.press("G");
        shell.expect("100000");
        shell.terminal.press("q");
        shell.expect_prompt();
        // Left early, the command gets SIGPIPE as it would without us.
        shell.enter(&format!("{} | less", typed(&run)));
        shell.expect("\n20");
        shell.terminal.press("q");
        shell.expect_prompt();
        shell.exit();
        etcd.store().assert_clean();
    });
}

#[test]
fn an_editor_edits() {
    if !installed("vim") {
        untested::missing("vim");
        return;
    }
    let etcd = Service::start();
    let folder = tempfile::tempdir().expect("a folder");
    in_every_shell(&etcd, |mut shell| {
        let file = folder.path().join(shell.name);
        let file = file.to_str().expect("readable");
        let run = etcd.run("job").command(["vim", "-u", "NONE", "-N", file]);
        shell.enter(&typed(&run));
        shell.expect("[New]");
        shell.terminal.press("ihello\x1b");
        // It suspends its whole group by itself, with the terminal's modes put back.
        shell.terminal.press("\x1a");
        shell.expect_stopped();
        shell.enter("fg");
        shell.expect("hello");
        shell.terminal.press("A world\x1b:wq\r");
        shell.expect_status(0);
        let text = std::fs::read_to_string(file).expect("written");
        assert_eq!(text, "hello world\n", "{}", shell.name);
        shell.exit();
        etcd.store().assert_clean();
    });
}

#[test]
fn a_terminal_left_raw_by_a_command_that_was_killed_is_repaired() {
    let etcd = Service::start();
    // dash puts nothing back itself.
    let mut shell = Shell::dash(&etcd);
    let run = etcd
        .run("job")
        .arguments(["--max-runtime", "0.5", "-k", "0.2"])
        .probe(["raw"]);
    shell.enter(&typed(&run));
    shell.expect("raw");
    shell.expect("--max-runtime was reached");
    // In raw mode Enter is no end of a line.
    shell.expect_status(124);
    shell.enter("stty -a");
    shell.expect(" icanon");
    shell.expect(" echo ");
    shell.exit();
    etcd.store().assert_clean();
}

/// What waits for the end of what is being written (tcdrain(3), TCSADRAIN) waits for ever there.
#[test]
fn a_terminal_that_is_stopped_while_somebody_writes_to_it_is_repaired_at_once() {
    let etcd = Service::start();
    let mut terminal = Terminal::start(sleeper(&etcd).to_command());
    terminal.expect("ready\r\n");
    let own = Own::among(all(&etcd));
    let device = format!("/proc/{}/fd/2", own.front.pid);
    let mut device = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(device)
        .expect("its terminal");
    terminal.press("\x13");
    let written = Arc::new(AtomicUsize::new(0));
    let writing = Arc::clone(&written);
    // It hangs for as long as the terminal is there.
    std::thread::spawn(move || {
        while device.write_all(b".").is_ok() {
            writing.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut seen = (0, Moment::now());
    eventually("the terminal takes nothing more", SOON, || {
        let written = written.load(Ordering::Relaxed);
        if written != seen.0 {
            seen = (written, Moment::now());
        }
        let still = Moment::now().since(seen.1) > Duration::from_millis(200);
        if still { Ok(()) } else { Err(written) }
    });
    own.manager.signal(Signal::SIGKILL);
    own.front.wait_dead(SOON);
    assert_eq!(terminal.wait().code(), Some(79));
}

#[test]
fn a_shell_inside_has_its_own_jobs_and_can_suspend_itself() {
    let etcd = Service::start();
    in_every_shell(&etcd, |mut shell| {
        let run = etcd.run("job").command([
            "env",
            "PS1=\\s-inner> ",
            "bash",
            "--norc",
            "--noprofile",
            "-i",
        ]);
        shell.enter(&typed(&run));
        shell.expect("bash-inner> ");
        shell.enter("sleep 1000");
        eventually("the inner job runs", SOON, || {
            is_in_foreground(the_commands(&etcd), "sleep")
        });
        shell.terminal.press("\x1a");
        shell.expect("topped");
        shell.expect("bash-inner> ");
        shell.enter("fg");
        eventually("the inner job goes on", SOON, || {
            is_in_foreground(the_commands(&etcd), "sleep")
        });
        shell.terminal.press("\x03");
        shell.expect("bash-inner> ");
        shell.enter("suspend");
        shell.expect_stopped();
        shell.enter("fg");
        eventually("the inner shell has the terminal", SOON, || {
            is_in_foreground(the_commands(&etcd), "bash")
        });
        shell.enter("echo back in''side; exit 6");
        shell.expect("back inside\r\n");
        shell.expect_status(if shell.name == "fish" { 0 } else { 6 });
        shell.exit();
        etcd.store().assert_clean();
    });
}

#[test]
fn a_terminal_that_hangs_up_ends_the_command_and_frees_the_lock() {
    let etcd = Service::start();
    in_every_shell(&etcd, |mut shell| {
        shell.start_job(&sleeper(&etcd));
        let command = the_commands(&etcd);
        // The terminal goes with its session's leader: the foreground job gets SIGHUP.
        shell.exit();
        assert_dead_within(&command, SOON);
        etcd.store().assert_clean();
    });
}

#[test]
fn a_new_size_of_the_window_is_told_once() {
    let etcd = Service::start();
    let mut shell = Shell::bash(&etcd);
    shell.start_job(&etcd.run("job").probe(["watch", "WINCH", "USR1"]));
    for rows in ["30", "40", "50"] {
        let status = Command::new("stty")
            .args(["-F", &shell.device, "rows", rows])
            .status();
        assert!(status.expect("stty").success());
        shell.expect("signal SIGWINCH\r\n");
    }
    the_commands(&etcd)[0].signal(Signal::SIGUSR1);
    shell.expect("signal SIGUSR1\r\n");
    let seen = shell.terminal.screen_text();
    assert_eq!(seen.matches("signal SIGWINCH").count(), 3, "{seen}");
    shell.exit();
}

#[test]
fn a_command_that_is_traced_by_its_parent_is_a_stopped_job_whatever_signal_it_gets() {
    let etcd = Service::start();
    let mut shell = Shell::bash(&etcd);
    shell.enter(&typed(&etcd.run("job").probe(["trace-me"])));
    shell.expect("ready\r\n");
    shell.expect_stopped();
    the_commands(&etcd)[0].signal(Signal::SIGKILL);
    shell.enter("fg");
    shell.expect_prompt();
    shell.enter("echo status $?");
    shell.expect("status 137\r\n");
    shell.exit();
    etcd.store().assert_clean();
}

#[test]
fn without_a_shell_ctrl_z_does_nothing_since_nobody_could_continue() {
    let etcd = Service::start();
    let run = etcd
        .run("job")
        .shell("echo ready; read line; echo got $line; exit 5");
    let mut terminal = Terminal::start(run.to_command());
    terminal.expect("ready\r\n");
    terminal.press("\x1a");
    terminal.press("hello\r");
    terminal.expect("got hello\r\n");
    assert_eq!(terminal.wait().code(), Some(5));
    etcd.store().assert_clean();
}

#[test]
fn a_terminal_that_hangs_up_on_a_run_without_a_shell_ends_it() {
    if !is_root() {
        untested::not_allowed("only root can make a terminal hang up");
        return;
    }
    let etcd = Service::start();
    // As under `ssh -t host leasehold ...`: the kernel tells the session's leader only.
    let mut terminal = Terminal::start(sleeper(&etcd).to_command());
    terminal.expect("ready\r\n");
    let command = the_commands(&etcd);
    let front = Own::among(all(&etcd)).front;
    let device = std::fs::File::open(format!("/proc/{}/fd/2", front.pid)).expect("its terminal");
    // SAFETY: TIOCVHANGUP takes no argument (ioctl_tty(2)).
    let result = unsafe { libc::ioctl(device.as_raw_fd(), TIOCVHANGUP) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    assert_dead_within(&command, SOON);
    assert_eq!(terminal.wait().signal(), Some(1));
    etcd.store().assert_clean();
}

in_a_folder_too![
    a_pager_behind_it_has_the_terminal,
    an_editor_edits,
    a_terminal_left_raw_by_a_command_that_was_killed_is_repaired,
    a_shell_inside_has_its_own_jobs_and_can_suspend_itself,
    a_terminal_that_hangs_up_ends_the_command_and_frees_the_lock,
    a_new_size_of_the_window_is_told_once,
    a_command_that_is_traced_by_its_parent_is_a_stopped_job_whatever_signal_it_gets,
    without_a_shell_ctrl_z_does_nothing_since_nobody_could_continue,
    a_terminal_that_hangs_up_on_a_run_without_a_shell_ends_it,
];
