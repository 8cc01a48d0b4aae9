//! Coincidences that chance alone would bring about too rarely: faults in an order that some rule is there for.
//! Each is only the opening; everything else of the history stays as it was drawn.

use std::time::Duration;

use crate::lock::lease::margin;
use crate::simulation::random::Random;
use crate::simulation::scenario::{Fault, FaultKind, Scenario};

impl Scenario {
    /// Lets one of them happen.
    pub fn draw_plot(&mut self, random: &mut Random) {
        if random.percent(50) {
            self.faults.clear();
        }
        // The one that comes first is likely to get the lock at once.
        let first = (0..self.hosts.len()).min_by_key(|host| self.hosts[*host].arrives_at);
        let host = first.expect("somebody comes");
        match random.below(5) {
            0 => self.deposed_leader_then_cut(random),
            1 => self.ready_when_it_is_too_late(random, host),
            2 => self.end_seen_too_late(random, host),
            3 => self.suspended_then_cut(random, host),
            _ => self.manager_frozen_for_long(random, host),
        }
    }

    fn plot(&mut self, at: Duration, lasts: Duration, kind: FaultKind) {
        self.faults.push(Fault { at, lasts, kind });
    }

    /// A keepalive waits in a paused leader, which answers it with success when it was deposed; and then the
    /// holder is cut off. It reaches no other member, or one of those would answer before.
    fn deposed_leader_then_cut(&mut self, random: &mut Random) {
        // Host 0 prefers member 0, which leads at the start. A lease long enough for an election.
        let ttl = Duration::from_secs(60);
        let plan = &mut self.hosts[0];
        plan.ttl = ttl;
        plan.arrives_at = Duration::ZERO;
        plan.wait = None;
        plan.max_runtime = None;
        plan.command.runs_for = ttl * 4;
        let renewed_at = ttl / 4 * random.below(3) as u32;
        let paused_at = renewed_at + random.duration(Duration::from_millis(200), ttl / 16);
        let resumed_at = renewed_at + ttl / 4 + random.millis(10, 4_000);
        self.plot(paused_at, resumed_at - paused_at, FaultKind::PauseMember(0));
        for other in 1..self.members.len() {
            let link = FaultKind::CutLink(0, Some(other));
            self.plot(Duration::from_millis(300), ttl * 4, link);
        }
        let cut_at = resumed_at + random.millis(20, 300);
        self.plot(cut_at, ttl * 2, FaultKind::CutLink(0, None));
    }

    /// The front says that it stands by while the manager is frozen, and the lease runs out before it reads that.
    fn ready_when_it_is_too_late(&mut self, random: &mut Random, host: usize) {
        let (ttl, at) = (self.hosts[host].ttl, self.hosts[host].arrives_at);
        self.plot(
            at,
            random.millis(1_500, 3_000),
            FaultKind::FreezeFront(host),
        );
        let frozen_at = at + random.millis(500, 1_400);
        let kind = match random.percent(50) {
            true => FaultKind::FreezeManager(host),
            false => FaultKind::Suspend(host),
        };
        let lasts = random.duration(ttl, ttl * 2);
        self.plot(frozen_at, lasts, kind);
    }

    /// The command ends while the manager is frozen, which sees it between the time to stop and the time to kill.
    fn end_seen_too_late(&mut self, random: &mut Random, host: usize) {
        let plan = &self.hosts[host];
        let (ttl, at) = (plan.ttl, plan.arrives_at);
        let renewals = random.below(4) as u32;
        let frozen_at = at + ttl / 4 * renewals + ttl / 12;
        let stop_to_thaw = random.duration(Duration::ZERO, plan.kill_after);
        let stop_at = at + ttl / 4 * renewals + ttl - margin(ttl) - plan.kill_after;
        let thawed_at = stop_at + stop_to_thaw;
        self.plot(
            frozen_at,
            thawed_at.saturating_sub(frozen_at),
            FaultKind::FreezeManager(host),
        );
        let ends_after = random.duration(frozen_at - at, thawed_at.max(frozen_at) - at);
        self.hosts[host].command.runs_for = ends_after;
    }

    /// The machine sleeps for a part of the lease, and cannot renew it when it wakes.
    fn suspended_then_cut(&mut self, random: &mut Random, host: usize) {
        let (ttl, at) = (self.hosts[host].ttl, self.hosts[host].arrives_at);
        self.hosts[host].command.runs_for = ttl * 4;
        let suspended_at = at + random.duration(Duration::from_millis(500), ttl);
        let lasts = random.duration(ttl / 4, ttl);
        self.plot(suspended_at, lasts, FaultKind::Suspend(host));
        self.plot(
            suspended_at,
            lasts + ttl * 2,
            FaultKind::CutLink(host, None),
        );
    }

    /// Only front and witness are left to look at the deadline.
    fn manager_frozen_for_long(&mut self, random: &mut Random, host: usize) {
        let (ttl, at) = (self.hosts[host].ttl, self.hosts[host].arrives_at);
        self.hosts[host].command.runs_for = ttl * 4;
        let frozen_at = at + random.duration(Duration::from_millis(500), ttl);
        self.plot(frozen_at, ttl * 2, FaultKind::FreezeManager(host));
        if random.percent(30) {
            self.plot(frozen_at, ttl * 2, FaultKind::FreezeFront(host));
        }
    }
}
