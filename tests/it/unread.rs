//! Nobody reads what leasehold says: that costs messages, never the lock or the time to stop the command.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe;
use tempfile::tempdir;

use crate::harness::captured::Captured;
use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::pty::Terminal;

/// Stopped while it waits, as by Ctrl-S or in a window that is frozen: it gets the lock, runs, and gives it back.
#[test]
fn a_terminal_that_is_stopped_costs_a_waiter_nothing() {
    let etcd = Etcd::start();
    for on_loss in ["kill", "warn"] {
        let holder = etcd.hold("job");
        let folder = tempdir().expect("a folder");
        let ran = folder.path().join("ran");
        let run = etcd.run("job").ttl(3).arguments(["--on-loss", on_loss]);
        let run = run.shell(&format!(": >{}; sleep 4", ran.display()));
        let mut command = run.to_command();
        command.env("TERM", "xterm");
        let mut terminal = Terminal::start(command);
        terminal.expect("waiting for");
        terminal.press("\x13");
        holder.wait().assert_status(0);
        eventually("the command runs", SOON, || {
            ran.exists().then_some(()).ok_or("not yet")
        });
        // Longer than its lease lives without being renewed.
        eventually("the lock is given back", SOON, || {
            let left = etcd.store().keys("/leasehold/job/").len();
            if left == 0 { Ok(()) } else { Err(left) }
        });
        terminal.press("\x11");
        assert_eq!(terminal.wait().code(), Some(0), "--on-loss {on_loss}");
    }
    etcd.store().assert_clean();
}

/// The end of a pipe that takes nothing any more, and the end that nobody reads.
fn full_pipe() -> (File, File) {
    let (unread, full) = pipe().expect("a pipe");
    fcntl(&full, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
    let mut full = File::from(full);
    while full.write(&[b'.'; 4096]).is_ok() {}
    fcntl(&full, FcntlArg::F_SETFL(OFlag::empty())).expect("a flag");
    (full, File::from(unread))
}

#[test]
fn a_stderr_that_nobody_reads_delays_neither_the_command_nor_its_end() {
    let mut etcd = Etcd::start();
    let (full, _unread) = full_pipe();
    let report = tempfile::NamedTempFile::new().expect("a file");
    let run = etcd.run("job").arguments(["-v", "--connect-timeout", "2"]);
    let run = run.ttl(4).report(report.path()).probe(["tree", "plain"]);
    let mut command = run.to_command();
    command.stderr(Stdio::from(full)).stdout(Stdio::piped());
    let mut child = command.spawn().expect("leasehold");
    let stdout = Captured::from(child.stdout.take().expect("piped"));
    let ready = stdout.wait_for("ready", 0, SOON);
    assert!(ready.is_some(), "the command is ready");
    etcd.only().stop();
    let status = eventually("the run ends", SOON, || {
        child.try_wait().expect("a child").ok_or("it runs")
    });
    assert_eq!(status.code(), Some(79));
    let report = std::fs::read_to_string(report.path()).expect("a report");
    assert!(report.contains("\"loss\":\"not-renewed\""), "{report}");
}
