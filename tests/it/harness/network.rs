//! Hosts on a network of their own: network namespaces around a router, which is the namespace of the test's own
//! thread. What the router swallows, nobody is told of: no RST, no ICMP, as behind a broken switch.
//!
//! Nothing of the machine's own network is touched, and all of it is gone with the test.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;

use super::anatomy::is_root;
use super::etcd::die_with_this_thread;
use super::eventually::{SOON, eventually};

/// The network; dropped with the test's thread.
pub(crate) struct Network {
    hosts: Vec<Host>,
}

/// One host.
struct Host {
    /// Keeps the namespace.
    keeper: Child,
    address: Ipv4Addr,
}

/// Where a program runs: its address, and what goes before its command line.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) address: IpAddr,
    pub(crate) enter: Vec<String>,
}

impl Network {
    /// So many hosts, or why not. The calling thread, and all it starts from now on, is at the router.
    pub(crate) fn start(count: usize) -> Result<Self, &'static str> {
        if !is_root() {
            return Err("needs root");
        }
        // SAFETY: unshare(2) takes an integer and touches no memory; only this thread moves.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            eprintln!("unshare: {}", Errno::last());
            return Err("needs the right to make network namespaces");
        }
        ip("link set lo up");
        // Everybody sees there the settings of the namespace they are in.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a namespace of our own");
        let hosts = (0..count).map(Host::start).collect();
        Ok(Self { hosts })
    }

    /// A host as a place to start programs at.
    pub(crate) fn place(&self, host: usize) -> Place {
        let keeper = self.hosts[host].keeper.id();
        let namespace = format!("--net=/proc/{keeper}/ns/net");
        Place {
            address: self.hosts[host].address.into(),
            enter: vec!["nsenter".to_owned(), namespace, "--".to_owned()],
        }
    }

    /// From now on nothing that `from` sends arrives at `to`.
    pub(crate) fn swallow(&self, from: usize, to: usize) {
        ip(&format!("rule add {}", self.rule(from, to)));
    }

    /// Nothing goes between these hosts and those, either way.
    pub(crate) fn part(&self, these: &[usize], those: &[usize]) {
        for this in these {
            for that in those {
                self.swallow(*this, *that);
                self.swallow(*that, *this);
            }
        }
    }

    /// Everything is delivered again.
    pub(crate) fn heal(&self) {
        for from in 0..self.hosts.len() {
            for to in 0..self.hosts.len() {
                let rule = format!("rule del {}", self.rule(from, to));
                while run_ip(&rule) {}
            }
        }
    }

    /// Whether a packet gets from one host to the other and back.
    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        let place = self.place(from);
        let script = format!("exec 3<>/dev/tcp/{}/{PORT}", self.hosts[to].address);
        let status = Command::new(&place.enter[0])
            .args(&place.enter[1..])
            .args(["timeout", "0.5", "bash", "-c", &script])
            .stderr(Stdio::piped())
            .output()
            .expect("nsenter is there");
        // A port that nobody listens on answers with a refusal: the packet went both ways.
        let text = String::from_utf8_lossy(&status.stderr).into_owned();
        status.status.success() || text.contains("refused")
    }

    fn rule(&self, from: usize, to: usize) -> String {
        let (from, to) = (self.hosts[from].address, self.hosts[to].address);
        format!("from {from} to {to} blackhole")
    }
}

/// A port that nobody listens on.
const PORT: u16 = 9;

impl Host {
    fn start(index: usize) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "infinity"]);
        die_with_this_thread(&mut command);
        let keeper = command.spawn().expect("unshare is there");
        let pid = keeper.id();
        let own = std::fs::read_link("/proc/thread-self/ns/net").expect("ours");
        eventually("a namespace is made", SOON, || {
            match std::fs::read_link(format!("/proc/{pid}/ns/net")) {
                Ok(other) if other != own => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        // Two addresses each: .1 is the router's end, .2 the host's.
        let network = format!("10.77.{index}");
        ip(&format!(
            "link add v{index} type veth peer name e0 netns {pid}"
        ));
        ip(&format!("addr add {network}.1/24 dev v{index}"));
        ip(&format!("link set v{index} up"));
        let inside = format!(
            "ip link set lo up && ip addr add {network}.2/24 dev e0 && ip link set e0 up && ip route add default via {network}.1"
        );
        let namespace = format!("--net=/proc/{pid}/ns/net");
        let status = Command::new("nsenter")
            .args([&namespace, "sh", "-c", &inside])
            .status()
            .expect("nsenter is there");
        assert!(status.success(), "{inside}: {status}");
        let address = Ipv4Addr::new(10, 77, u8::try_from(index).expect("few hosts"), 2);
        Self { keeper, address }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The namespace lives as long as somebody is in it; with it goes the pair of devices.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

#[track_caller]
fn ip(arguments: &str) {
    assert!(run_ip(arguments), "ip {arguments}");
}

fn run_ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("iproute2 is installed");
    output.status.success()
}
