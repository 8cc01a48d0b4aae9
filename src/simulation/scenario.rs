//! One history, before it happens: the cluster, the contenders and their commands, the network, and what goes
//! wrong when. Drawn from a seed, printed when it fails, made smaller by `shrink.rs`.

use std::time::Duration;

use crate::lock::lease::{self, TTL_MAX};
use crate::lock::limit::Limit;
use crate::simulation::kernel::Time;
use crate::simulation::random::Random;
use crate::supervisor::OnLeftover;

/// The fastest and the slowest clock of a host or of a member: two of them differ by one per cent.
const RATE_PPM_MAX: u64 = 4_975;

/// What a history is about: which faults it may have, and so what it may ask for in return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing fails but that leases, entries and markers end which should not: the lock delay has to cover it.
    Betrayed,
    /// At most one member at a time is paused or cut off: nobody may notice.
    OneBadMember,
    /// Anything.
    Stormy,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub weather: Weather,
    /// Each member's clock.
    pub members: Vec<i64>,
    pub commit_max: Duration,
    pub lag_max: Duration,
    pub revokes_early: bool,
    pub grants_percent: i64,
    pub network: Network,
    pub hosts: Vec<HostPlan>,
    pub faults: Vec<Fault>,
}

#[derive(Clone, Copy, Debug)]
pub struct Network {
    pub delay_max: Duration,
    /// So many messages in a hundred are very late, so many never come.
    pub late_percent: u64,
    pub lost_percent: u64,
    /// So many come a second time, perhaps long after the first.
    pub copied_percent: u64,
}

/// One contender.
#[derive(Clone, Debug)]
pub struct HostPlan {
    pub arrives_at: Time,
    pub rate_ppm: i64,
    pub ttl: Duration,
    pub kill_after: Duration,
    pub lock_delay: Duration,
    pub wait: Option<Duration>,
    pub nonblock: bool,
    pub limit: Limit,
    pub max_runtime: Option<Duration>,
    pub on_leftover: OnLeftover,
    /// See `policies`.
    pub policy: Policy,
    pub command: CommandPlan,
}

/// What a run wants besides the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `--hold-min`
    pub hold_min: Duration,
    /// `--once`, with the same ID as all others.
    pub once: bool,
    /// `--queue latest`
    pub latest: bool,
    /// `--also`, with the same other lock as all others that want it.
    pub also: bool,
    /// `--record`
    pub record: bool,
}

/// What is run under the lock.
#[derive(Clone, Debug)]
pub struct CommandPlan {
    /// It cannot be executed.
    pub errno: Option<i32>,
    pub runs_for: Duration,
    /// What it starts lives so much longer.
    pub leftovers: Option<Duration>,
    /// It ends so long after TERM, or never.
    pub on_term: Option<Duration>,
    /// How long it takes to die of KILL.
    pub dying: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Time,
    pub lasts: Duration,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    PauseMember(usize),
    CutMember(usize),
    /// Between a host and one member, or all.
    CutLink(usize, Option<usize>),
    Suspend(usize),
    FreezeManager(usize),
    FreezeFront(usize),
    /// Ctrl-Z.
    StopFront(usize),
    KillManager(usize),
    KillFront(usize),
    KillWitness(usize),
    /// A signal that is for the run: it counts only while no command runs.
    Signal(usize),
    /// The lease of a host is revoked by nobody of ours.
    RevokeLease(usize),
    /// Its entry is deleted.
    DeleteEntry(usize),
    /// Its entry is overwritten without its lease.
    OverwriteEntry(usize),
    /// Its entry is deleted and put anew by somebody else, without a lease.
    ReplaceEntry(usize),
    /// All entries are deleted, also of those who do not know yet that they have one. Never drawn: see `regressions`.
    DeleteEntries,
    /// As soon as anything happens, what was before is forgotten.
    Compact,
    /// Somebody takes part in the queue by etcdctl.
    Foreign,
}

impl HostPlan {
    /// The contender that comes when all others are gone.
    pub fn last() -> Self {
        Self {
            arrives_at: Duration::ZERO,
            rate_ppm: 0,
            ttl: Duration::from_secs(10),
            kill_after: Duration::ZERO,
            lock_delay: Duration::ZERO,
            wait: None,
            nonblock: false,
            limit: Limit::EXCLUSIVE,
            max_runtime: None,
            on_leftover: OnLeftover::Wait,
            policy: Policy::default(),
            command: CommandPlan {
                errno: None,
                runs_for: Duration::from_millis(100),
                leftovers: None,
                on_term: None,
                dying: Duration::ZERO,
            },
        }
    }
}

impl Fault {
    pub fn ends_at(&self) -> Time {
        self.at + self.lasts
    }
}

impl Scenario {
    /// Two contenders and a healthy cluster.
    pub fn quiet(faults: Vec<Fault>) -> Self {
        let mut holder = HostPlan::last();
        holder.command.runs_for = Duration::from_secs(30);
        let waiter = HostPlan {
            arrives_at: Duration::from_secs(1),
            ..HostPlan::last()
        };
        Self {
            seed: 1,
            weather: Weather::Betrayed,
            members: vec![0],
            commit_max: Duration::from_millis(5),
            lag_max: Duration::from_millis(1),
            revokes_early: false,
            grants_percent: 100,
            network: Network {
                delay_max: Duration::from_millis(5),
                late_percent: 0,
                lost_percent: 0,
                copied_percent: 0,
            },
            hosts: vec![holder, waiter],
            faults,
        }
    }

    /// The history of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let weather = match random.below(10) {
            0..=2 => Weather::Betrayed,
            3 => Weather::OneBadMember,
            _ => Weather::Stormy,
        };
        let members = match weather {
            Weather::OneBadMember => 3,
            _ => random.pick(&[1, 3, 3]),
        };
        // Most are small, and many are tried; some are large, since not everything shows in small ones.
        let is_small = random.percent(75);
        let hosts_max = if is_small { 2 } else { 4 };
        let hosts = random.between(1 + u64::from(weather == Weather::Betrayed), hosts_max) as usize;
        let mut scenario = Self {
            seed,
            weather,
            members: (0..members).map(|_| rate(&mut random)).collect(),
            commit_max: random.millis(1, 30),
            lag_max: random.millis(0, 200),
            revokes_early: weather == Weather::Stormy && random.percent(30),
            grants_percent: match weather {
                Weather::Stormy if random.percent(15) => 50,
                _ => 100,
            },
            network: network(&mut random, weather),
            hosts: Vec::new(),
            faults: Vec::new(),
        };
        // Times are drawn as parts of it, so that faults meet what they are meant for.
        let ttls: &[u64] = match (weather, is_small) {
            (Weather::OneBadMember, true) => &[15],
            (Weather::OneBadMember, false) => &[15, 20, 30, 60],
            (Weather::Betrayed, true) => &[8, 8, 15],
            (Weather::Betrayed, false) => &[8, 15, 30, 30],
            (Weather::Stormy, true) => &[5, 6, 8, 10],
            (Weather::Stormy, false) => &[5, 6, 8, 10, 15, 20, 30],
        };
        let ttl = Duration::from_secs(random.pick(ttls));
        for _ in 0..hosts {
            let host = scenario.host(&mut random, ttl);
            scenario.hosts.push(host);
        }
        let faults_max = if is_small { 4 } else { 8 };
        scenario.draw_faults(&mut random, ttl, faults_max);
        if weather == Weather::Stormy && random.percent(50) {
            scenario.draw_plot(&mut random);
        }
        scenario.spare_guards();
        scenario.draw_dying(&mut random);
        scenario
    }

    fn host(&self, random: &mut Random, ttl: Duration) -> HostPlan {
        let stormy = self.weather == Weather::Stormy;
        // In whole seconds, as the server has it.
        let granted = Duration::from_secs(ttl.as_secs() * self.grants_percent as u64 / 100);
        let kill_after = match random.below(3) {
            0 => Duration::ZERO,
            1 => lease::default_kill_after(ttl),
            _ => random.duration(Duration::ZERO, ttl / 3),
        };
        let fits = |kill_after: &Duration| lease::check(granted.min(TTL_MAX), *kill_after).is_ok();
        let kill_after = Some(kill_after).filter(fits).unwrap_or_default();
        HostPlan {
            arrives_at: random.duration(Duration::ZERO, ttl),
            rate_ppm: rate(random),
            ttl,
            kill_after,
            lock_delay: match self.weather {
                Weather::Betrayed => random.millis(1_200, 3_000),
                _ => random.pick(&[Duration::ZERO, Duration::from_secs(2)]),
            },
            wait: random
                .percent(25)
                .then(|| random.duration(Duration::ZERO, ttl * 3)),
            nonblock: random.percent(15),
            // See `modes`.
            limit: Limit::EXCLUSIVE,
            max_runtime: random
                .percent(15)
                .then(|| random.duration(Duration::ZERO, ttl * 2)),
            on_leftover: random.pick(&[
                OnLeftover::Wait,
                OnLeftover::Wait,
                OnLeftover::Kill,
                OnLeftover::Leave,
            ]),
            policy: Policy::default(),
            command: CommandPlan {
                errno: (stormy && random.percent(5)).then_some(2),
                runs_for: match random.below(4) {
                    0 => random.millis(1, 500),
                    1 => random.duration(ttl, ttl * 3),
                    _ => random.duration(Duration::ZERO, ttl),
                },
                leftovers: random
                    .percent(25)
                    .then(|| random.duration(Duration::ZERO, ttl)),
                on_term: random
                    .percent(60)
                    .then(|| random.duration(Duration::ZERO, kill_after * 2)),
                // Drawn when it is known what else may be slow.
                dying: Duration::ZERO,
            },
        }
    }

    /// One fault of the processes at a time: a manager that is frozen needs a guard that is alive, and two that
    /// are frozen need the third.
    fn spare_guards(&mut self) {
        let freezes = |fault: &Fault| matches!(fault.kind, FaultKind::FreezeManager(_));
        if self.faults.iter().any(freezes) {
            self.faults
                .retain(|fault| !matches!(fault.kind, FaultKind::KillWitness(_)));
        }
    }

    /// From the time to kill until nobody is left: at most the part of the margin that is kept for it, less the
    /// time in which whoever does it wakes.
    fn draw_dying(&mut self, random: &mut Random) {
        let freezes = |fault: &Fault| matches!(fault.kind, FaultKind::FreezeManager(_));
        // The guards act later than the manager: 75 ms, 150 ms, and a sign of life of 150 ms.
        let waking = match self.faults.iter().any(freezes) {
            true => Duration::from_millis(250),
            false => Duration::from_millis(20),
        };
        for host in &mut self.hosts {
            let granted = host.ttl * self.grants_percent as u32 / 100;
            let max = (granted / 20).max(Duration::from_millis(500)) - waking;
            // One that is betrayed has to be dead within its successors' lock delay.
            let max = match self.weather {
                Weather::Betrayed => max.min(Duration::from_millis(500)),
                _ => max,
            };
            host.command.dying = match random.percent(50) {
                true => max,
                false => random.duration(Duration::ZERO, max),
            };
        }
    }

    fn draw_faults(&mut self, random: &mut Random, ttl: Duration, faults_max: u64) {
        let kinds = self.possible_faults(random);
        if kinds.is_empty() {
            return;
        }
        let mut at = Duration::ZERO;
        for _ in 0..random.between(1, faults_max) {
            at += random.duration(Duration::ZERO, ttl);
            let lasts = match random.below(3) {
                0 => random.millis(1, 2_000),
                1 => random.duration(Duration::ZERO, ttl),
                _ => random.duration(ttl / 2, ttl * 2),
            };
            let kind = random.pick(&kinds);
            self.faults.push(Fault { at, lasts, kind });
            if self.weather == Weather::OneBadMember {
                // The next one begins when this one is over, and everybody has caught up.
                at += lasts + ttl;
            }
        }
    }

    /// The kinds of faults of this history: some of them, so that each is also met without the others.
    fn possible_faults(&self, random: &mut Random) -> Vec<FaultKind> {
        let host = |random: &mut Random| random.below(self.hosts.len() as u64) as usize;
        let member = |random: &mut Random| random.below(self.members.len() as u64) as usize;
        let of_members = [
            FaultKind::PauseMember(member(random)),
            FaultKind::CutMember(member(random)),
        ];
        match self.weather {
            Weather::OneBadMember => of_members.to_vec(),
            Weather::Betrayed => (0..self.hosts.len())
                .flat_map(|host| {
                    [
                        FaultKind::RevokeLease(host),
                        FaultKind::DeleteEntry(host),
                        FaultKind::OverwriteEntry(host),
                        FaultKind::ReplaceEntry(host),
                        FaultKind::Signal(host),
                    ]
                })
                .chain([FaultKind::Compact, FaultKind::Foreign])
                .filter(|_| random.percent(50))
                .collect(),
            Weather::Stormy => {
                let (one, other) = (host(random), host(random));
                let mut kinds = of_members.to_vec();
                kinds.extend([
                    FaultKind::PauseMember(member(random)),
                    FaultKind::PauseMember(0),
                    FaultKind::CutMember(member(random)),
                    FaultKind::CutLink(one, None),
                    FaultKind::CutLink(other, Some(member(random))),
                    FaultKind::Suspend(host(random)),
                    FaultKind::FreezeManager(host(random)),
                    FaultKind::FreezeFront(host(random)),
                    FaultKind::StopFront(host(random)),
                    FaultKind::KillManager(host(random)),
                    FaultKind::KillFront(host(random)),
                    FaultKind::KillWitness(host(random)),
                    FaultKind::Signal(host(random)),
                    FaultKind::RevokeLease(host(random)),
                    FaultKind::DeleteEntry(host(random)),
                    FaultKind::OverwriteEntry(host(random)),
                    FaultKind::ReplaceEntry(host(random)),
                    FaultKind::Compact,
                    FaultKind::Foreign,
                ]);
                kinds.retain(|_| random.percent(35));
                kinds
            }
        }
    }

    /// When the last fault is over.
    pub fn faults_end(&self) -> Time {
        self.faults
            .iter()
            .map(Fault::ends_at)
            .max()
            .unwrap_or_default()
    }

    /// When everybody must have ended: generous, for it is only to tell late from never.
    pub fn bound(&self) -> Time {
        let arrived = self.hosts.iter().map(|host| host.arrives_at).max();
        let start = self.faults_end().max(arrived.unwrap_or_default());
        let per_host = |host: &HostPlan| {
            let command = host.command.runs_for + host.command.leftovers.unwrap_or_default();
            command + host.kill_after + host.ttl * 4 + host.lock_delay * 4 + Duration::from_secs(60)
        };
        start + self.hosts.iter().map(per_host).sum::<Duration>()
    }
}

fn rate(random: &mut Random) -> i64 {
    let max = RATE_PPM_MAX as i64;
    match random.below(4) {
        0 => max,
        1 => -max,
        2 => 0,
        _ => random.between(0, 2 * RATE_PPM_MAX) as i64 - max,
    }
}

fn network(random: &mut Random, weather: Weather) -> Network {
    let stormy = weather == Weather::Stormy;
    Network {
        delay_max: match random.below(3) {
            0 if stormy => random.millis(1, 100),
            _ => random.millis(1, 10),
        },
        late_percent: if stormy {
            random.pick(&[0, 0, 2, 10])
        } else {
            0
        },
        lost_percent: if stormy {
            random.pick(&[0, 0, 2, 10])
        } else {
            0
        },
        copied_percent: if stormy {
            random.pick(&[0, 0, 2, 10])
        } else {
            0
        },
    }
}
