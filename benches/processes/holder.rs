//! A run whose command is a tree that is hard to kill.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::eventually::{SOON, eventually};
use crate::processes::{Moment, Process, describe, of_the_command, with_environment};
use crate::store::{Store, Stored};

pub(crate) const TTL: Duration = Duration::from_secs(3);

/// What is measured, and where.
pub(crate) struct Setup {
    pub(crate) leasehold: String,
    pub(crate) probe: String,
    pub(crate) endpoint: String,
}

/// One of leasehold's processes.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    Front = 0,
    Witness = 1,
    Manager = 2,
}

/// Their names.
const NAMES: [&str; 3] = ["leasehold", "lock-witness", "lock-manager"];

pub(crate) struct Holder {
    lock: String,
    child: Child,
    own: Vec<Process>,
    tree: Vec<Process>,
    began_at: Moment,
}

impl Holder {
    /// Starts one, and returns when its tree stands: 14 processes that ignore TERM, have left the session, were
    /// forked twice, are stopped.
    pub(crate) fn start(setup: &Setup) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let lock = format!("measure/{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let cookie = format!("{}-{lock}", std::process::id());
        let shapes = ["daemon", "setsid", "double-fork", "stopped"];
        let trees: Vec<String> = shapes
            .iter()
            .map(|shape| format!("{} tree {shape} &", setup.probe))
            .collect();
        let began_at = Moment::now();
        let mut child = Command::new(&setup.leasehold)
            .args(["run", "-q", "--lock-delay", "0"])
            .args(["--ttl", &TTL.as_secs().to_string()])
            .args(["--endpoints", &setup.endpoint, &lock, "--", "sh", "-c"])
            .arg(format!("{} wait", trees.join(" ")))
            .env("MEASURE_COOKIE", &cookie)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Everybody dies here; nobody wants to read it.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("leasehold starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let ready = stdout.lines().take(shapes.len()).map_while(Result::ok);
        assert_eq!(ready.count(), shapes.len(), "every tree stands");
        let all = || with_environment(&format!("MEASURE_COOKIE={cookie}"));
        let tree = of_the_command(all());
        let mut own = all();
        own.retain(|process| NAMES.contains(&name(process).as_str()));
        own.sort_by_key(|process| NAMES.iter().position(|known| name(process) == *known));
        assert_eq!(own.len(), NAMES.len());
        Self {
            lock,
            child,
            own,
            tree,
            began_at,
        }
    }

    /// Before its lease began.
    pub(crate) const fn began_at(&self) -> Moment {
        self.began_at
    }

    /// Its key in etcd.
    pub(crate) fn key(&self, store: &Store) -> Stored {
        store.entries(&self.lock).remove(0)
    }

    pub(crate) fn own(&self) -> &[Process] {
        &self.own
    }

    pub(crate) fn kill(&self, who: Who) {
        self.own[who as usize].signal(Signal::SIGKILL);
    }

    /// As killall(1) does it.
    pub(crate) fn kill_named(&self) {
        for process in &self.own {
            if name(process) == NAMES[0] {
                process.signal(Signal::SIGKILL);
            }
        }
    }

    pub(crate) fn kill_group(&self) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        killpg(group, Signal::SIGKILL).expect("our own group");
    }

    pub(crate) fn freeze(&self, who: Who) {
        let process = &self.own[who as usize];
        process.signal(Signal::SIGSTOP);
        eventually("it is stopped", SOON, || {
            let state = describe(process.pid);
            if state.contains("[T") {
                Ok(())
            } else {
                Err(state)
            }
        });
    }

    /// When the last process of the tree was seen dead.
    pub(crate) fn wait_tree_dead(&self) -> Moment {
        let deaths = self.tree.iter().map(|process| process.wait_dead(SOON));
        deaths.max().expect("a tree")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The next one must not share the machine with this one.
        for process in &self.own {
            process.signal(Signal::SIGCONT);
            if !process.ended_within(SOON) {
                process.signal(Signal::SIGKILL);
            }
        }
        let _ = self.child.wait();
    }
}

fn name(process: &Process) -> String {
    let comm = fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default();
    comm.trim_end().to_owned()
}
