//! Nobody reads what leasehold says: that costs messages, never the lock or the time to stop the command.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe;

use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually};

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
    let mut ready = [0; 5];
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut ready).expect("the command is ready");
    etcd.only().stop();
    let status = eventually("the run ends", SOON, || {
        child.try_wait().expect("a child").ok_or("it runs")
    });
    assert_eq!(status.code(), Some(79));
    let report = std::fs::read_to_string(report.path()).expect("a report");
    assert!(report.contains("\"loss\":\"not-renewed\""), "{report}");
}
