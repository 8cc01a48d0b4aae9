//! `leasehold run NAME` and `etcdctl lock /leasehold/NAME` exclude one another, both ways.

use tempfile::tempdir;

use crate::harness::etcd::Etcd;
use crate::harness::leasehold::probe;
use crate::harness::processes::Moment;
use crate::harness::together::in_threads;

#[test]
fn etcdctl_waits_for_leasehold() {
    let etcd = Etcd::start();
    let holder = etcd.hold("job");
    let etcdctl = etcd
        .etcdctl(["lock", "/leasehold/job", "--", &probe(), "now"])
        .spawn();
    etcd.store().wait_for_entries("job", 2);
    let freed_at = Moment::now();
    holder.wait().assert_status(0);
    let output = etcdctl.wait();
    output.assert_status(0);
    assert!(Moment::parse(&output.stdout) > freed_at);
}

#[test]
fn leasehold_waits_for_etcdctl() {
    let etcd = Etcd::start();
    // etcdctl gives its command no stdin, so this one waits for a file to be written.
    let folder = tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    let script = format!("echo ready; read line <{}", fifo.display());
    let etcdctl = etcd
        .etcdctl(["lock", "/leasehold/job", "--", "sh", "-c", &script])
        .spawn();
    etcdctl.expect_stdout("ready");
    etcd.run("job")
        .arguments(["-n"])
        .shell("echo ran")
        .output()
        .assert_status(75)
        .assert_stdout("")
        .assert_stderr_has(["busy", "not leasehold's"]);
    let waiter = etcd.run("job").probe(["now"]).spawn();
    waiter.expect_stderr("waiting for job");
    let freed_at = Moment::now();
    std::fs::write(&fifo, "go\n").expect("it reads");
    etcdctl.wait().assert_status(0);
    let output = waiter.wait();
    output.assert_status(0);
    assert!(Moment::parse(&output.stdout) > freed_at);
    etcd.store().assert_clean();
}

#[test]
fn a_mixed_fleet_never_overlaps_and_the_common_number_grows() {
    let etcd = Etcd::start();
    let folder = tempdir().expect("a folder");
    let log = folder.path().join("log");
    let log = log.to_str().expect("readable");
    in_threads(6, 0..60, |number: i32| {
        let run = if number % 2 == 0 {
            etcd.run("job").arguments(["-q"]).probe(["witness", log])
        } else {
            etcd.etcdctl(["lock", "/leasehold/job", "--", &probe(), "witness", log])
        };
        run.output().assert_status(0);
    });
    let log = std::fs::read_to_string(log).expect("written");
    let revisions: Vec<i64> = log
        .lines()
        .map(|line| {
            line.split(' ')
                .nth(2)
                .expect("a field")
                .parse()
                .expect("a revision")
        })
        .collect();
    assert_eq!(revisions.len(), 60);
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
}
