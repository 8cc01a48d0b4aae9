//! As a service of systemd's, as far as this can be shown without it: the unit of the documentation is understood, and
//! what passes sockets passes them to the command.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;

use crate::harness::etcd::{Etcd, free_port};
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::binary;
use crate::harness::shell::installed;
use crate::harness::untested;

const PAGE: &str = include_str!("../../docs/processes.md");

#[test]
fn the_unit_of_the_documentation_is_understood() {
    if !installed("systemd-analyze") {
        return untested::missing("systemd-analyze");
    }
    let (_, section) = PAGE.split_once("\n## systemd\n").expect("a section");
    let (_, unit) = section.split_once("```ini\n").expect("a unit");
    let (unit, _) = unit.split_once("```").expect("its end");
    // What it starts has to be there.
    let unit = unit
        .replace("/usr/bin/leasehold", binary())
        .replace("/usr/local/bin/import", "/bin/true");
    let folder = tempfile::tempdir().expect("a folder");
    // With each type that the page speaks of.
    for kind in ["exec", "oneshot", "notify"] {
        let more = match kind {
            "notify" => "NotifyAccess=all\nWatchdogSec=30\nDelegate=yes\nOOMPolicy=continue\n",
            _ => "",
        };
        let unit = unit.replace("Type=exec", &format!("Type={kind}")) + more;
        let path = folder.path().join(format!("{kind}.service"));
        fs::write(&path, &unit).expect("written");
        let output = Command::new("systemd-analyze")
            .arg("verify")
            .arg(&path)
            .output()
            .expect("it is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{unit}\n{said}");
    }
}

#[test]
fn sockets_that_are_passed_on_reach_the_command() {
    if !installed("systemd-socket-activate") {
        return untested::missing("systemd-socket-activate");
    }
    let etcd = Etcd::start();
    let address = free_port();
    let endpoints = format!("LEASEHOLD_ENDPOINTS={}", etcd.endpoints());
    let running = etcd
        .run("job")
        .probe(["greet"])
        .wrapped([
            "systemd-socket-activate",
            "-l",
            &address.to_string(),
            "-E",
            &endpoints,
            "-E",
            "TEST_COOKIE",
        ])
        .spawn();
    let mut stream = eventually("somebody listens", SOON, || TcpStream::connect(address));
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it greets");
    assert_eq!(text, "hello from the command\n");
    running.wait().assert_status(0).assert_nobody_left();
    etcd.store().assert_clean();
}
