//! Every fault that etcd, the network and the machine can have, for real: one file for each family of faults.
//!
//! docs/faults.md lists them all, with what can be relied on and the test that shows it: some of those are elsewhere,
//! beside the promise that they are about. `make chaos` runs all of them and prints one line for each fault.

use std::time::Duration;

use crate::harness::etcd::{Etcd, free_port};
use crate::harness::leasehold::{Output, Run, Running};
use crate::harness::processes::Moment;
use crate::harness::proxy::Proxy;
use crate::harness::store::Stored;

// Its members.
mod members;
// The network between members, and to them.
mod partitions;
// What it keeps.
mod store;
// Who may.
mod access;
// leasehold's own machine.
mod machine;
// Whoever dies, or is not answered, at any step.
mod steps;
// All of it at random.
mod soak;
// The table is true.
mod table;

/// A holder whose command is a tree of processes, and a successor that, once admitted, looks for them.
struct Contest {
    holder: Running,
    next: Running,
    entry: Stored,
}

impl Contest {
    /// Both stand in the queue. `run` gives a run of this lock.
    #[track_caller]
    fn start(etcd: &Etcd, name: &str, run: impl Fn(&str) -> Run) -> Self {
        let holder = run(name)
            .arguments(["-q"])
            .probe(["tree", "daemon"])
            .spawn();
        holder.expect_stdout("ready");
        let next = run(name).probe(["census", holder.cookie()]).spawn();
        let entry = etcd.store().wait_for_entries(name, 2)[0].clone();
        Self {
            holder,
            next,
            entry,
        }
    }

    /// The holder was lost, and the successor found nobody.
    #[track_caller]
    fn assert_handed_over(self, time: Duration) -> (Output, Output) {
        let next = self.next.wait_within(time);
        next.assert_status(0).assert_stdout("0 alive\n");
        let holder = self.holder.wait_within(time);
        holder.assert_lost().assert_nobody_left();
        ended_decently([&holder, &next]);
        (holder, next)
    }

    /// The holder is ended by somebody, and its successor is served.
    #[track_caller]
    fn assert_undisturbed(self, time: Duration) {
        let lost = self.holder.process.is_dead();
        self.holder.signal(nix::sys::signal::Signal::SIGTERM);
        for process in self.holder.command_processes() {
            process.signal(nix::sys::signal::Signal::SIGKILL);
        }
        let holder = self.holder.wait_within(time);
        assert!(!lost, "{}", holder.describe());
        assert_ne!(holder.status.code(), Some(79), "{}", holder.describe());
        let next = self.next.wait_within(time);
        next.assert_status(0).assert_stdout("0 alive\n");
        ended_decently([&holder, &next]);
    }
}

#[track_caller]
fn ended_decently<const N: usize>(outputs: [&Output; N]) {
    for output in outputs {
        crate::harness::fault::Fault::ended_decently(output);
    }
}

/// One proxy for each member.
fn proxies(etcd: &Etcd) -> Vec<Proxy> {
    let members = etcd.members.iter();
    members
        .map(|member| Proxy::start(free_port(), member.address()).expect("a free port"))
        .collect()
}

fn endpoints_of(proxies: &[Proxy]) -> String {
    let endpoints: Vec<String> = proxies.iter().map(Proxy::endpoint).collect();
    endpoints.join(",")
}

/// When the last conversation with any of the members began: no renewal was sent later.
fn last_spoke_at(proxies: &[Proxy]) -> Moment {
    let moments = proxies.iter().filter_map(Proxy::last_burst_started_at);
    moments.max().expect("there was a conversation")
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
