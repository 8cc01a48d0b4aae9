//! Trees that grow while they are killed, and limits of processes that are reached.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::anatomy::{Own, is_root};
use crate::harness::etcd::Etcd;
use crate::harness::eventually::SOON;
use crate::harness::leasehold::Run;
use crate::harness::processes::Moment;
use crate::harness::untested;

#[test]
fn where_no_process_can_be_made_no_cgroup_of_ours_is_left() {
    let etcd = Etcd::start();
    let Some(group) = PidsGroup::make() else {
        return untested::not_allowed("no cgroup that limits processes can be made");
    };
    // The front, the witness, the manager, the stub that becomes the command.
    for limit in 1..=4 {
        group.limit(limit);
        let running = etcd
            .run("job")
            .command(["true"])
            .wrapped(["sh", "-c", &group.enter(), "sh"])
            .spawn();
        let leaf = format!("leasehold-{}", running.pid());
        let output = running.wait();
        output.assert_status(if limit < 4 { 69 } else { 0 });
        output.assert_nobody_left();
        let left = cgroups_named(&leaf);
        assert!(left.is_empty(), "limit {limit}: {left:?}");
    }
    etcd.store().assert_clean();
}

fn cgroups_named(name: &str) -> Vec<String> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(|root| format!("{root}/{name}"))
        .filter(|folder| Path::new(folder).exists())
        .collect()
}

/// A cgroup with a limit of processes, gone with the test.
struct PidsGroup(String);

impl PidsGroup {
    fn make() -> Option<Self> {
        ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
            .into_iter()
            .find_map(|root| {
                let folder = format!("{root}/leasehold-test-pids-{}", std::process::id());
                fs::create_dir(&folder).ok()?;
                let group = Self(folder);
                let limits = Path::new(&group.0).join("pids.max").exists();
                limits.then_some(group)
            })
    }

    fn limit(&self, processes: usize) {
        fs::write(format!("{}/pids.max", self.0), processes.to_string()).expect("root may");
    }

    fn enter(&self) -> String {
        format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.0)
    }
}

impl Drop for PidsGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_fork_bomb_within_a_limit_of_processes_dies_in_time() {
    let etcd = Etcd::start();
    if !is_root() {
        return untested::not_allowed(
            "only root can limit the processes of a user whom nobody else is",
        );
    }
    // At the end of its time, and with the front.
    let bomb = |options: &[&str], words: &[&str]| -> Run {
        etcd.run("job")
            .all_arguments(options)
            .all_probe(words)
            .wrapped(["prlimit", "--nproc=300"])
            .unprivileged()
    };
    bomb(&["--max-runtime", "1", "-k", "0.2"], &["fork-bomb"])
        .output()
        .assert_status(124)
        .assert_nobody_left();
    let running = bomb(&["--lock-delay", "0", "-q"], &["fork-bomb"]).spawn();
    running.expect_stdout("ready");
    let own = Own::of(&running);
    let struck_at = Moment::now();
    own.front.signal(Signal::SIGKILL);
    // It goes when the tree is dead and the lock given back.
    let took = own.manager.wait_dead(SOON).since(struck_at);
    println!("dead after {took:?}");
    running.wait().assert_signal(9).assert_nobody_left();
    etcd.store().assert_clean();
}

#[test]
fn a_chain_of_forks_that_nobody_can_look_at_dies_in_time_whoever_kills_it() {
    let etcd = Etcd::start();
    for words in [&["fork-chain"][..], &["fork-chain", "sessions"]] {
        for index in 0..3 {
            let lock = format!("{}/{index}", words.len());
            let running = etcd
                .run(&lock)
                .arguments(["-q", "--lock-delay", "0", "--ttl", "3"])
                .all_probe(words)
                .spawn();
            running.expect_stdout("ready");
            let own = Own::of(&running);
            let struck_at = Moment::now();
            [&own.front, &own.witness, &own.manager][index].signal(Signal::SIGKILL);
            let output = running.wait();
            output.assert_nobody_left();
            println!("{words:?}, {index}: {:?}", Moment::now().since(struck_at));
        }
        etcd.run("job")
            .arguments(["--max-runtime", "0.3", "-k", "0.1"])
            .all_probe(words)
            .output()
            .assert_status(124)
            .assert_nobody_left();
    }
}
