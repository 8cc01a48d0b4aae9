//! A real etcd for one test: one member or three, on loopback, with a data folder of its own.
//!
//! Every test process has a loopback address of its own (127.x.y.z made of its pid), so ports never collide.
//! An etcd dies with its test: killed on drop, and by the kernel (PR_SET_PDEATHSIG) where the test is
//! killed. That signal comes at the death of the *thread* that started it, so start it in the test itself.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::certificates::Pair;
use super::eventually::{SOON, eventually};
use super::leasehold::{Run, Running};
use super::network::Place;
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
    free_port_at(own_address())
}

fn free_port_at(address: IpAddr) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST_PORT);
    SocketAddr::new(address, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whom a majority follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    /// Which of the members.
    pub(crate) index: usize,
    pub(crate) term: u64,
}

/// A cluster.
pub(crate) struct Etcd {
    pub(crate) members: Vec<Member>,
    ticks: Ticks,
    options: Options,
    root: Option<&'static str>,
}

/// What a cluster is started with beyond the usual.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// TLS on a second port of each member; on the first one it is spoken to without, behind leasehold's back.
    pub(crate) tls: Option<ServerTls>,
    /// More arguments of etcd.
    pub(crate) arguments: Vec<&'static str>,
}

/// What etcd speaks TLS with.
#[derive(Clone)]
pub(crate) struct ServerTls {
    pub(crate) pair: Pair,
    /// Whose clients it lets in; everybody where there is none.
    pub(crate) clients: Option<PathBuf>,
}

/// One process of a cluster.
pub(crate) struct Member {
    client: SocketAddr,
    secure: SocketAddr,
    peer: SocketAddr,
    name: String,
    cluster: String,
    is_new: bool,
    child: Option<Child>,
    folder: TempDir,
    ticks: Ticks,
    options: Options,
    /// What goes before its command line: the way into a network namespace.
    enter: Vec<String>,
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
        Self::start_as(1, Options::default())
    }

    /// Three members, ready.
    pub(crate) fn start_three() -> Self {
        Self::start_as(3, Options::default())
    }

    /// So many members, ready.
    pub(crate) fn start_as(count: usize, options: Options) -> Self {
        let here = Place {
            address: own_address(),
            enter: Vec::new(),
        };
        Self::start_at(&vec![here; count], options)
    }

    /// A member at each of these places, ready.
    pub(crate) fn start_at(places: &[Place], options: Options) -> Self {
        let count = places.len();
        let ticks = match count {
            // One member has nobody to disagree with, so short ticks only make it start fast (100 ms).
            1 => Ticks {
                heartbeat_ms: 10,
                election_ms: 100,
            },
            // Longer than what a busy machine with two cores can hold up a heartbeat.
            _ => Ticks {
                heartbeat_ms: 50,
                election_ms: 500,
            },
        };
        let names = (0..count).map(|index| format!("m{index}"));
        let mut members: Vec<Member> = names
            .zip(places)
            .map(|(name, place)| Member::new(name, ticks, &options, place))
            .collect();
        let cluster = members
            .iter()
            .map(|member| format!("{}=http://{}", member.name, member.peer))
            .collect::<Vec<String>>()
            .join(",");
        for member in &mut members {
            member.cluster.clone_from(&cluster);
            member.spawn();
        }
        for member in &mut members {
            member.wait_ready();
        }
        Self {
            members,
            ticks,
            options,
            root: None,
        }
    }

    /// Adds a member that has no vote; it is the last of the members.
    pub(crate) fn add_learner(&mut self) {
        let here = Place {
            address: own_address(),
            enter: Vec::new(),
        };
        let mut member = Member::new("learner".to_owned(), self.ticks, &self.options, &here);
        let peer = format!("--peer-urls=http://{}", member.peer);
        self.etcdctl(["member", "add", "learner", "--learner", &peer])
            .output()
            .assert_status(0);
        let first = &self.members[0].cluster;
        member.cluster = format!("{first},learner=http://{}", member.peer);
        member.is_new = true;
        member.spawn();
        let store = Store::connect(vec![member.endpoint()]);
        eventually("the learner answers", SOON, || store.is_learner_ready());
        self.members.push(member);
    }

    /// Has users from now on: `root`, with this password, and nobody else.
    pub(crate) fn enable_users(&mut self, password: &'static str) {
        let root = format!("root:{password}");
        for line in [
            ["user", "add", &root].as_slice(),
            &["user", "grant-role", "root", "root"],
            &["auth", "enable"],
        ] {
            let output = self.etcdctl([]).all_arguments(line).output();
            output.assert_status(0);
        }
        self.root = Some(password);
    }

    /// Whom those members who answer follow, as they say at this moment.
    pub(crate) fn leader(&self) -> Result<Leader, String> {
        let all: Vec<usize> = (0..self.members.len()).collect();
        self.leader_of(&all)
    }

    /// The same, asking only these members.
    pub(crate) fn leader_of(&self, asked: &[usize]) -> Result<Leader, String> {
        let leading = |index: usize| -> Result<Leader, String> {
            let member = &self.members[index];
            if member.child.is_none() {
                return Err(format!("{} is down", member.name));
            }
            let store = Store::connect(vec![member.endpoint()]);
            match store.leads()? {
                (true, term) => Ok(Leader { index, term }),
                (false, term) => Err(format!("{} follows in term {term}", member.name)),
            }
        };
        let answers: Vec<Result<Leader, String>> =
            asked.iter().map(|index| leading(*index)).collect();
        let newest = answers.iter().flatten().max_by_key(|leader| leader.term);
        newest.copied().ok_or_else(|| format!("{answers:?}"))
    }

    /// Waits for a leader.
    #[track_caller]
    pub(crate) fn wait_for_leader(&self) -> Leader {
        eventually("there is a leader", SOON, || self.leader())
    }

    /// Waits until these members follow another leader than this one.
    #[track_caller]
    pub(crate) fn wait_for_another_leader(&self, old: Leader, asked: &[usize]) -> Leader {
        eventually("another leader is elected", SOON, || {
            match self.leader_of(asked)? {
                leader if leader.term > old.term && leader.index != old.index => Ok(leader),
                leader => Err(format!("{leader:?}")),
            }
        })
    }

    /// All members but this one.
    pub(crate) fn others(&self, but: usize) -> Vec<usize> {
        (0..self.members.len())
            .filter(|index| *index != but)
            .collect()
    }

    /// All members are killed, one right after the other.
    pub(crate) fn stop_all(&mut self) {
        for member in &mut self.members {
            member.stop();
        }
    }

    /// Starts all members again, at once, and waits until they answer.
    pub(crate) fn restart_all(&mut self) {
        for member in &mut self.members {
            member.stop();
            member.spawn();
        }
        for member in &mut self.members {
            member.wait_ready();
        }
    }

    /// What all members together say of a metric: the sum of its lines that have `label` in them.
    pub(crate) fn metric(&self, name: &str, label: &str) -> u64 {
        let of = |member: &Member| -> f64 {
            let text = member.metrics();
            let lines = text.lines();
            lines
                .filter(|line| line.starts_with(name) && line.contains(label))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        self.members.iter().map(of).sum::<f64>() as u64
    }

    /// As in `--endpoints`, with TLS.
    pub(crate) fn secure_endpoints(&self) -> String {
        let endpoints: Vec<String> = self.members.iter().map(Member::secure_endpoint).collect();
        endpoints.join(",")
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
        let endpoints = self.members.iter().map(Member::endpoint).collect();
        match self.root {
            Some(password) => Store::connect_as(endpoints, "root", password),
            None => Store::connect(endpoints),
        }
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
        let run = Run::program(&etcdctl_path())
            .variable("ETCDCTL_API", "3")
            .variable("ETCDCTL_ENDPOINTS", &self.endpoints())
            .arguments(arguments);
        match self.root {
            Some(password) => run.variable("ETCDCTL_USER", &format!("root:{password}")),
            None => run,
        }
    }
}

impl Member {
    fn new(name: String, ticks: Ticks, options: &Options, place: &Place) -> Self {
        Self {
            client: free_port_at(place.address),
            secure: free_port_at(place.address),
            peer: free_port_at(place.address),
            name,
            cluster: String::new(),
            is_new: false,
            child: None,
            folder: TempDir::with_prefix("leasehold-etcd-").expect("a temporary folder"),
            ticks,
            options: options.clone(),
            enter: place.enter.clone(),
        }
    }

    /// `https://127.x.y.z:port`.
    pub(crate) fn secure_endpoint(&self) -> String {
        format!("https://{}", self.secure)
    }

    pub(crate) fn secure_address(&self) -> SocketAddr {
        self.secure
    }

    /// Other TLS from now on; only when it is not running.
    pub(crate) fn set_tls(&mut self, tls: ServerTls) {
        assert!(self.child.is_none(), "it is stopped");
        self.options.tls = Some(tls);
    }

    fn metrics(&self) -> String {
        let mut connection = TcpStream::connect(self.client).expect("it runs");
        connection
            .set_read_timeout(Some(SOON))
            .expect("longer than nothing");
        write!(connection, "GET /metrics HTTP/1.0\r\n\r\n").expect("it listens");
        let mut text = String::new();
        connection.read_to_string(&mut text).expect("text");
        text
    }

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

    /// Where it keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Takes this copy of a store in place of its own; only when it is not running.
    pub(crate) fn restore(&self, snapshot: &Path) {
        assert!(self.child.is_none(), "it is stopped");
        fs::remove_dir_all(self.data()).expect("ours");
        let peer = format!("http://{}", self.peer);
        Run::program(&etcdctl_path())
            .variable("ETCDCTL_API", "3")
            .arguments(["snapshot", "restore"])
            .arguments([snapshot.to_str().expect("readable")])
            .arguments(["--name", &self.name])
            .arguments(["--initial-cluster", &self.cluster])
            .arguments(["--initial-advertise-peer-urls", &peer])
            .arguments(["--data-dir", self.data().to_str().expect("readable")])
            .output()
            .assert_status(0);
    }

    pub(crate) fn pid(&self) -> i32 {
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
        let mut client = format!("http://{}", self.client);
        let mut more: Vec<OsString> = self.options.arguments.iter().map(Into::into).collect();
        if let Some(tls) = &self.options.tls {
            client = format!("{client},{}", self.secure_endpoint());
            more.extend(["--cert-file".into(), tls.pair.cert.clone().into()]);
            more.extend(["--key-file".into(), tls.pair.key.clone().into()]);
            if let Some(authority) = &tls.clients {
                more.extend(["--client-cert-auth".into(), "--trusted-ca-file".into()]);
                more.push(authority.into());
            }
        }
        let peer = format!("http://{}", self.peer);
        let state = if self.is_new { "existing" } else { "new" };
        let path = etcd_path();
        let words: Vec<&String> = self.enter.iter().chain([&path]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            // Debian for other machines than amd64 refuses to start without it.
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
            .args(["--name", &self.name, "--log-level", "warn"])
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster])
            .args(["--initial-cluster-state", state])
            .args(["--heartbeat-interval", &self.ticks.heartbeat_ms.to_string()])
            .args(["--election-timeout", &self.ticks.election_ms.to_string()])
            .args(more)
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

/// Which version of etcd is tried: `3.4.23`.
pub(crate) fn etcd_version() -> String {
    let output = Command::new(etcd_path())
        .arg("--version")
        .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
        .output()
        .expect("etcd is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("etcd Version: "));
    version
        .unwrap_or_else(|| panic!("no version in {text:?}"))
        .to_owned()
}

fn etcdctl_path() -> String {
    std::env::var(ETCDCTL_VARIABLE).unwrap_or_else(|_| "etcdctl".to_owned())
}
