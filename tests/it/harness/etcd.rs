//! A real etcd for one test: one member or three, on loopback, with a data folder of its own.
//!
//! Every test process has a loopback address of its own (127.x.y.z made of its pid), so ports never collide.
//! An etcd dies with its test: killed on drop, and by the kernel (PR_SET_PDEATHSIG) where the test is
//! killed. That signal comes at the death of the *thread* that started it, so start it in the test itself.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::eventually::{SOON, eventually};
use super::leasehold::{Run, Running};
use super::processes::Process;
use super::store::Store;

/// Which etcd is tried: a path or a name. Any version of the v3 API will do.
const ETCD_VARIABLE: &str = "LEASEHOLD_TEST_ETCD";
const ETCDCTL_VARIABLE: &str = "LEASEHOLD_TEST_ETCDCTL";

/// Outside the range of ephemeral ports.
const FIRST_PORT: u16 = 20_000;

/// This test process' own loopback address.
pub(crate) fn own_address() -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // Pids have 22 bits at most; from 127.64 on nobody else listens.
    IpAddr::V4(Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low))
}

/// A port on this process' own address that was not given to anybody else.
pub(crate) fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST_PORT);
    SocketAddr::new(own_address(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A cluster.
pub(crate) struct Etcd {
    pub(crate) members: Vec<Member>,
}

/// One process of a cluster.
pub(crate) struct Member {
    client: SocketAddr,
    peer: SocketAddr,
    name: String,
    cluster: String,
    child: Option<Child>,
    folder: TempDir,
    ticks: Ticks,
}

/// How long an etcd takes to elect a leader; it starts no faster.
#[derive(Clone, Copy)]
struct Ticks {
    heartbeat_ms: u32,
    election_ms: u32,
}

impl Etcd {
    /// One member, ready.
    pub(crate) fn start() -> Self {
        // One member has nobody to disagree with, so short ticks only make it start fast (100 ms).
        Self::start_with(
            1,
            Ticks {
                heartbeat_ms: 10,
                election_ms: 100,
            },
        )
    }

    /// Three members, ready.
    pub(crate) fn start_three() -> Self {
        // Longer than what a busy machine with two cores can hold up a heartbeat.
        Self::start_with(
            3,
            Ticks {
                heartbeat_ms: 50,
                election_ms: 500,
            },
        )
    }

    fn start_with(count: usize, ticks: Ticks) -> Self {
        let addresses: Vec<(SocketAddr, SocketAddr)> =
            (0..count).map(|_| (free_port(), free_port())).collect();
        let cluster = addresses
            .iter()
            .enumerate()
            .map(|(index, (_, peer))| format!("m{index}=http://{peer}"))
            .collect::<Vec<String>>()
            .join(",");
        let members = addresses
            .iter()
            .enumerate()
            .map(|(index, (client, peer))| Member {
                client: *client,
                peer: *peer,
                name: format!("m{index}"),
                cluster: cluster.clone(),
                child: None,
                folder: TempDir::with_prefix("leasehold-etcd-").expect("a temporary folder"),
                ticks,
            })
            .collect();
        let mut etcd = Self { members };
        for member in &mut etcd.members {
            member.spawn();
        }
        for member in &mut etcd.members {
            member.wait_ready();
        }
        etcd
    }

    /// The member, where there is only one.
    pub(crate) fn only(&mut self) -> &mut Member {
        assert_eq!(self.members.len(), 1, "a cluster of one");
        &mut self.members[0]
    }

    /// As in `--endpoints`.
    pub(crate) fn endpoints(&self) -> String {
        let endpoints: Vec<String> = self.members.iter().map(Member::endpoint).collect();
        endpoints.join(",")
    }

    /// A client to look into the store and to disturb it.
    pub(crate) fn store(&self) -> Store {
        Store::connect(self.members.iter().map(Member::endpoint).collect())
    }

    /// `leasehold run NAME` against this cluster.
    pub(crate) fn run(&self, name: &str) -> Run {
        Run::new(&self.endpoints()).lock(name)
    }

    /// Somebody who holds the lock `name` until it is waited for (its stdin ends) or dropped.
    #[track_caller]
    pub(crate) fn hold(&self, name: &str) -> Running {
        let holder = self.run(name).shell("echo ready; cat").spawn();
        holder.expect_stdout("ready");
        holder
    }

    /// `leasehold` with these arguments against this cluster.
    pub(crate) fn leasehold<const N: usize>(&self, arguments: [&str; N]) -> Run {
        Run::new(&self.endpoints()).arguments(arguments)
    }

    /// etcdctl with these arguments, as a command under test.
    pub(crate) fn etcdctl<const N: usize>(&self, arguments: [&str; N]) -> Run {
        Run::program(&etcdctl_path())
            .variable("ETCDCTL_API", "3")
            .variable("ETCDCTL_ENDPOINTS", &self.endpoints())
            .arguments(arguments)
    }
}

impl Member {
    /// `127.x.y.z:port`.
    pub(crate) fn endpoint(&self) -> String {
        self.client.to_string()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.client
    }

    /// Freezes it: connections stay open and nothing answers.
    pub(crate) fn pause(&self) {
        self.process().signal(Signal::SIGSTOP);
        let pid = self.pid();
        eventually("etcd is stopped", SOON, || {
            let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The state follows the name, which is in parentheses: proc(5).
            let state = status.rsplit(") ").next().unwrap_or_default().to_owned();
            if state.starts_with('T') {
                Ok(())
            } else {
                Err(state)
            }
        });
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.process().signal(Signal::SIGCONT);
    }

    /// Kills it: its ports refuse connections from now on.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
        }
    }

    /// Starts it again with the same data and the same ports, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.spawn();
        self.wait_ready();
    }

    fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("the member runs");
        i32::try_from(child.id()).expect("a pid")
    }

    fn process(&self) -> Process {
        Process::open(self.pid()).expect("the member runs")
    }

    fn spawn(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the folder is ours");
        let client = format!("http://{}", self.client);
        let peer = format!("http://{}", self.peer);
        let mut command = Command::new(etcd_path());
        command
            .env_clear()
            // Debian for other machines than amd64 refuses to start without it.
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
            .args(["--name", &self.name, "--log-level", "warn"])
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster])
            .args(["--heartbeat-interval", &self.ticks.heartbeat_ms.to_string()])
            .args(["--election-timeout", &self.ticks.election_ms.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        die_with_this_thread(&mut command);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", etcd_path()));
        self.child = Some(child);
    }

    /// Ready means: a linearizable read is answered.
    fn wait_ready(&mut self) {
        let store = Store::connect(vec![self.endpoint()]);
        let log = self.log_path();
        let child = self.child.as_mut().expect("just started");
        eventually("etcd answers", SOON, || {
            if let Ok(Some(status)) = child.try_wait() {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("etcd ended at once with {status}:\n{log}");
            }
            store.is_ready()
        });
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nothing to do about an error here, and a second panic would hide the first.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log_path()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(10).collect();
            eprintln!("-- the last lines of etcd {}, newest first:", self.name);
            for line in tail {
                eprintln!("{line}");
            }
        }
    }
}

/// Has the kernel kill what is started when the thread that starts it is gone.
pub(crate) fn die_with_this_thread(command: &mut Command) {
    // SAFETY: between fork and exec only one async-signal-safe system call is made.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        });
    }
}

fn etcd_path() -> String {
    std::env::var(ETCD_VARIABLE).unwrap_or_else(|_| "etcd".to_owned())
}

fn etcdctl_path() -> String {
    std::env::var(ETCDCTL_VARIABLE).unwrap_or_else(|_| "etcdctl".to_owned())
}
