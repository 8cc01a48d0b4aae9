//! The world: takes what is to happen next out of the queue, lets it happen, and has the invariants checked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::simulation::checker::{Checker, Kind, Violation};
use crate::simulation::cluster::{Asked, Cluster, Effect, Knobs};
use crate::simulation::host::Host;
use crate::simulation::kernel::{self, Clock, Kernel, Time};
use crate::simulation::machine::Step;
use crate::simulation::mutants::{self, Mutant};
use crate::simulation::network::Links;
use crate::simulation::protocol::{Header, Notice, Reply, Request};
use crate::simulation::random::Random;
use crate::simulation::scenario::{HostPlan, Scenario};
use crate::simulation::sights::{Sight, Sights};
use crate::simulation::trace::Trace;

/// Something that happens at an instant.
#[derive(Clone, Debug)]
pub enum Occurrence {
    // Asked for by the shipped code.
    Timer {
        host: usize,
        timer: u64,
    },
    Sent {
        host: usize,
        member: usize,
        exchange: u64,
        request: Request,
    },
    StreamClosed {
        member: usize,
        stream: u64,
    },

    // On the network.
    Arrival(Asked),
    Reply {
        asked: Asked,
        reply: Reply,
    },
    Notice {
        host: usize,
        stream: u64,
        notice: Notice,
    },

    // In the cluster.
    Commit(Asked),
    GiveUp(Asked),
    KeepAlive {
        asked: Asked,
        header: Header,
        leader: usize,
    },
    ExpiryTick,
    Expire {
        lease: i64,
        early: bool,
    },
    Election,
    Learn(usize),
    Applied(usize),

    // On the hosts.
    Arrive(usize),
    Wake(usize),
    Process {
        host: usize,
        step: Step,
    },
    Guard(usize),
    /// A command uses its token.
    Write {
        host: usize,
        token: i64,
        key: String,
    },

    // Trouble.
    Fault(usize),
    FaultEnds(usize),
    /// An invariant that depends on the time.
    Check,
    /// Nobody is left: what is in the store?
    Inspect,
}

/// What became of a history.
#[derive(Clone, Debug)]
pub struct Report {
    pub violation: Option<Violation>,
    pub trace: Vec<String>,
    pub steps: u64,
    pub lasted: Time,
    /// So many commands were run.
    pub commands: usize,
    /// So many of them at the same time, at the most.
    pub commands_at_once: usize,
    pub lost: usize,
    pub sights: Sights,
}

/// What has to be known to run a history again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub mutant: Option<Mutant>,
    pub traced: bool,
    /// The promises that are looked at; none is all of them.
    pub only: Option<&'static [Kind]>,
    /// The one that is not.
    pub except: Option<Kind>,
}

pub struct World {
    pub scenario: Scenario,
    pub cluster: Cluster,
    pub hosts: Vec<Host>,
    pub links: Links,
    pub checker: Checker,
    pub trace: Trace,
    pub random: Random,
    pub mutant: Option<Mutant>,
    pub steps: u64,
    /// Keys of contenders that somebody else has put anew.
    pub replaced: BTreeSet<String>,
    /// The exchanges of which a reply came.
    pub replied: BTreeSet<u64>,
    /// Which member each lease was first granted through.
    pub granted_by: BTreeMap<i64, usize>,
    /// Somebody records how it ended.
    pub is_recorded: bool,
}

/// How long after the others' leases the last contender comes, and how long after it the store is looked at.
const LAST_AFTER: Duration = Duration::from_secs(2);

/// Runs one history.
pub fn run(scenario: &Scenario, options: Options) -> Report {
    let rates = scenario.hosts.iter().map(|host| host.rate_ppm).chain([0]);
    let clocks = rates.enumerate().map(|(number, rate_ppm)| Clock {
        offset: Duration::from_secs(1_000 * (number as u64 + 1)),
        rate_ppm,
        missed: Duration::ZERO,
    });
    Kernel::install(scenario.seed, clocks.collect());
    kernel::fire_early(mutants::timers_fire_early(options.mutant));
    let mut world = World::new(scenario.clone(), options);
    world.begin();
    world.go_on();
    let report = world.report();
    drop(world);
    Kernel::remove();
    report
}

impl World {
    pub fn new(scenario: Scenario, options: Options) -> Self {
        let mut random = Random::new(scenario.seed ^ 0x5eed);
        let knobs = Knobs {
            commit_max: scenario.commit_max,
            lag_max: scenario.lag_max,
            revokes_early: scenario.revokes_early,
            grants_percent: scenario.grants_percent,
        };
        let hosts = scenario.hosts.iter().cloned().enumerate();
        Self {
            cluster: Cluster::new(&scenario.members, knobs, Random::new(random.bits())),
            hosts: hosts
                .map(|(number, plan)| Host::new(number, plan))
                .collect(),
            links: Links::new(&scenario),
            checker: Checker::new(&scenario, options),
            trace: Trace::new(options.traced),
            random,
            mutant: options.mutant,
            steps: 0,
            replaced: BTreeSet::new(),
            replied: BTreeSet::new(),
            granted_by: BTreeMap::new(),
            is_recorded: scenario.hosts.iter().any(|host| host.policy.record),
            scenario,
        }
    }

    fn begin(&mut self) {
        let rates = || self.scenario.hosts.iter().map(|host| host.rate_ppm);
        let servers = self.scenario.members.iter().copied();
        let (fastest, slowest) = (rates().max(), rates().chain(servers).min());
        if fastest.unwrap_or(0) - slowest.unwrap_or(0) >= 9_000 {
            kernel::saw(Sight::ClocksApart);
        }
        for (number, host) in self.hosts.iter().enumerate() {
            kernel::schedule(host.plan.arrives_at, Occurrence::Arrive(number));
        }
        for (number, fault) in self.scenario.faults.iter().enumerate() {
            kernel::schedule(fault.at, Occurrence::Fault(number));
        }
    }

    fn go_on(&mut self) {
        let bound = self.scenario.bound();
        while self.checker.violation.is_none() {
            let Some(what) = kernel::next() else {
                self.checker.never_ended();
                break;
            };
            if matches!(*what, Occurrence::Inspect) {
                self.inspect();
                break;
            }
            if kernel::time() > bound {
                self.checker.never_ended();
                break;
            }
            self.steps += 1;
            self.happen(what);
            if let Some(text) = kernel::circle() {
                self.checker.violated(Kind::GoesRound, text);
                break;
            }
            self.settle_effects();
            self.checker.check();
        }
    }

    /// The host that this has to wait for, since it, or its manager, does not go on.
    fn held_up(&self, what: &Occurrence) -> Option<usize> {
        let (host, is_of_manager) = match what {
            Occurrence::Timer { host, .. }
            | Occurrence::Wake(host)
            | Occurrence::Notice { host, .. }
            | Occurrence::Reply {
                asked: Asked { host, .. },
                ..
            } => (*host, true),
            Occurrence::Process { host, .. }
            | Occurrence::Guard(host)
            | Occurrence::Write { host, .. } => (*host, false),
            _ => return None,
        };
        let machine = &self.hosts[host].machine;
        let goes_on = match is_of_manager {
            true => machine.manager_runs(),
            false => !machine.is_suspended(),
        };
        (!goes_on).then_some(host)
    }

    pub fn happen(&mut self, what: Box<Occurrence>) {
        if let Some(host) = self.held_up(&what) {
            return self.hosts[host].deferred.push(*what);
        }
        match *what {
            Occurrence::Timer { host, timer } => {
                if kernel::fire(timer) {
                    self.stir(host);
                }
            }
            Occurrence::Sent {
                host,
                member,
                exchange,
                request,
            } => {
                self.send(host, member, exchange, request);
            }
            Occurrence::Reply { asked, reply } => self.receive(asked, reply),
            Occurrence::Notice {
                host,
                stream,
                notice,
            } => {
                if kernel::notify(stream, notice) {
                    self.stir(host);
                }
            }
            Occurrence::Arrive(host) => self.arrive(host),
            Occurrence::Wake(host) => self.turn(host),
            Occurrence::Process { host, step } => self.step(host, step),
            Occurrence::Guard(host) => self.guard(host),
            Occurrence::Write { host, token, key } => self.write(host, token, &key),
            Occurrence::Fault(number) => self.fault(number),
            Occurrence::FaultEnds(number) => self.fault_ends(number),
            Occurrence::Check | Occurrence::Inspect => {}
            of_cluster => self.happen_in_cluster(of_cluster),
        }
    }

    fn happen_in_cluster(&mut self, what: Occurrence) {
        match what {
            Occurrence::StreamClosed { member, stream } => {
                self.cluster.close_stream(member, stream);
            }
            Occurrence::Arrival(asked) => self.cluster.ask(asked),
            Occurrence::Commit(asked) => self.commit(asked),
            Occurrence::GiveUp(asked) => self.cluster.give_up(&asked),
            Occurrence::KeepAlive {
                asked,
                header,
                leader,
            } => {
                self.cluster.keep_alive(asked, header, leader);
            }
            Occurrence::ExpiryTick => self.cluster.expiry_tick(),
            Occurrence::Expire { lease, early } => {
                self.cluster.expire(lease, early);
                let lived =
                    |effect: &Effect| matches!(effect, Effect::LeaseEnded { early: true, .. });
                if self.cluster.effects.iter().any(lived) {
                    kernel::saw(Sight::LiveLeaseRevoked);
                }
            }
            Occurrence::Election => self.cluster.election(),
            Occurrence::Learn(member) => self.cluster.learn(member),
            Occurrence::Applied(member) => self.cluster.applied(member),
            other => unreachable!("{other:?} does not happen in the cluster"),
        }
    }

    /// What the cluster did becomes known, where it does.
    pub fn settle_effects(&mut self) {
        if self.cluster.effects.is_empty() {
            return;
        }
        for effect in std::mem::take(&mut self.cluster.effects) {
            match effect {
                Effect::Reply { asked, reply } => self.send_reply(asked, reply),
                Effect::Notice {
                    host,
                    member,
                    stream,
                    notice,
                } => {
                    self.send_notice((host, member), stream, notice);
                }
                Effect::LeaseEnded { lease, early } => {
                    self.trace.note(|| {
                        let why = if early {
                            "although it lives"
                        } else {
                            "its time is over"
                        };
                        format!("etcd     ends lease {lease:x}: {why}")
                    });
                    match early {
                        true => self.checker.ended_early(lease),
                        false => kernel::saw(Sight::LeaseExpired),
                    }
                    self.look_at_entries();
                }
                Effect::Changed => {
                    self.look_at_entries();
                    self.look_at_replaced();
                    self.look_at_records();
                }
                Effect::Renewed {
                    asked,
                    lease,
                    truly,
                } => {
                    self.checker.renewed_by_leader(asked.exchange, truly);
                    if !truly {
                        kernel::saw(Sight::DeposedAnswered);
                    }
                    self.trace.note(|| {
                        let by = if truly {
                            ""
                        } else {
                            " by a leader that is none any more"
                        };
                        format!("etcd     renews lease {lease:x}{by}")
                    });
                }
            }
        }
    }

    /// Nobody runs any more. When all leases have run out, one more contender has to get the lock; then
    /// nothing may be left.
    pub fn everybody_left(&mut self) {
        let longest = self.scenario.hosts.iter().map(|host| host.ttl).max();
        let later = longest.unwrap_or_default() * 2 + LAST_AFTER;
        let at = kernel::time().max(self.scenario.faults_end()) + later;
        if self.hosts.len() > self.scenario.hosts.len() {
            if let Some(lease) = self.checker.last_lease()
                && self.cluster.store.has_lease(lease.get())
                && self.cluster.store.keys_of(lease.get()).is_empty()
            {
                self.checker.leases_left_behind(lease);
            }
            return kernel::schedule(at, Occurrence::Inspect);
        }
        self.operator_looks();
        let mut last = HostPlan::last();
        // It clears away after whoever vanished, under every lock.
        last.policy.also = self.scenario.hosts.iter().any(|host| host.policy.also);
        let number = self.hosts.len();
        self.hosts.push(Host::new(number, last));
        kernel::schedule(at, Occurrence::Arrive(number));
    }

    fn inspect(&mut self) {
        let left = self.cluster.left("/leasehold/");
        self.checker.left_behind(&left);
    }

    fn report(&mut self) -> Report {
        Report {
            violation: self.checker.violation.clone(),
            trace: std::mem::take(&mut self.trace).lines(),
            steps: self.steps,
            lasted: kernel::time(),
            commands: self.checker.commands,
            commands_at_once: self.checker.commands_at_once,
            lost: self.checker.lost,
            sights: kernel::sights(),
        }
    }
}
