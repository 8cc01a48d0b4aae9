//! Members that are paused, cut off and healed; and who leads then.

use std::time::Duration;

use crate::simulation::cluster::{Cluster, ELECTION_TIMEOUT, Kept};
use crate::simulation::kernel;
use crate::simulation::sights::Sight;
use crate::simulation::world::Occurrence;

impl Cluster {
    pub fn pause(&mut self, member: usize) {
        self.members[member].paused += 1;
        self.leader_in_trouble(member);
    }

    pub fn resume(&mut self, member: usize) {
        self.members[member].paused -= 1;
        if self.members[member].is_paused() {
            return;
        }
        let is_deposed = self.members[member].leader == Some(member) && self.leader != Some(member);
        let state = &mut self.members[member];
        state.deposed = is_deposed;
        let mut backlog = std::mem::take(&mut state.backlog);
        if is_deposed {
            // It takes a moment to learn of it, in which it is as it was.
            let window = self.random.millis(1, 300);
            kernel::schedule(kernel::time() + window, Occurrence::Learn(member));
            self.expiry_tick_at_once(member);
        } else {
            self.learn(member);
        }
        for asked in backlog.drain(..) {
            self.ask(asked);
        }
        self.retry_stuck();
        self.tell_watches();
    }

    /// Its ticker fires at once when it resumes.
    pub(super) fn expiry_tick_at_once(&mut self, member: usize) {
        if self.knobs.revokes_early && self.random.percent(70) {
            let clock = self.members[member].clock(kernel::time());
            let lessor = &self.members[member].lessor;
            let expired: Vec<i64> = lessor
                .iter()
                .filter(|(_, kept)| kept.expiry <= clock)
                .map(|(lease, _)| *lease)
                .collect();
            for lease in expired {
                let at = self.commit_time();
                kernel::schedule(at, Occurrence::Expire { lease, early: true });
            }
        }
    }

    pub fn cut(&mut self, member: usize) {
        if self.members.len() == 1 {
            return;
        }
        self.members[member].cut += 1;
        if self.members[member].leader == Some(member) {
            // CheckQuorum: within two election timeouts.
            let window = self.random.duration(ELECTION_TIMEOUT, 2 * ELECTION_TIMEOUT);
            kernel::schedule(kernel::time() + window, Occurrence::Learn(member));
        }
        self.leader_in_trouble(member);
    }

    pub fn heal(&mut self, member: usize) {
        if self.members.len() == 1 {
            return;
        }
        self.members[member].cut -= 1;
        self.learn(member);
        self.retry_stuck();
        self.tell_watches();
    }

    pub(super) fn leader_in_trouble(&mut self, member: usize) {
        if self.leader == Some(member) {
            let soon = self.random.duration(ELECTION_TIMEOUT, 2 * ELECTION_TIMEOUT);
            kernel::schedule(kernel::time() + soon, Occurrence::Election);
        }
    }

    /// A follower has heard nothing from the leader for too long.
    pub fn election(&mut self) {
        if self.leader.is_some_and(|leader| self.connected(leader)) {
            return;
        }
        let candidates: Vec<usize> = (0..self.members.len())
            .filter(|member| self.connected(*member))
            .collect();
        if candidates.len() * 2 <= self.members.len() {
            let again = self.random.duration(ELECTION_TIMEOUT, 2 * ELECTION_TIMEOUT);
            kernel::schedule(kernel::time() + again, Occurrence::Election);
            return;
        }
        kernel::saw(Sight::Election);
        let elected = self.random.pick(&candidates);
        self.term += 1;
        self.leader = Some(elected);
        let leases: Vec<(i64, i64)> = self.store.leases().collect();
        let member = &mut self.members[elected];
        let clock = member.clock(kernel::time());
        let promoted = |ttl: i64| Kept {
            expiry: clock + ELECTION_TIMEOUT + Duration::from_secs(ttl as u64),
            ttl,
        };
        member.lessor = leases
            .into_iter()
            .map(|(lease, ttl)| (lease, promoted(ttl)))
            .collect();
        self.learn(elected);
        for other in candidates {
            let late = self.random.millis(0, 200);
            kernel::schedule(kernel::time() + late, Occurrence::Learn(other));
        }
        self.tick_on();
        self.retry_stuck();
    }

    /// A member learns who leads; he who led before and does not any more forgets his leases.
    pub fn learn(&mut self, member: usize) {
        if self.members[member].is_paused() {
            return;
        }
        let reaches = !self.members[member].is_cut();
        if !reaches && self.leader == Some(member) {
            // It has stepped down, and nobody else leads yet.
            self.leader = None;
        }
        let (term, leader) = (self.term, self.leader);
        let state = &mut self.members[member];
        if reaches {
            state.term = term;
            state.leader = leader;
        } else if state.leader == Some(member) {
            state.leader = None;
        }
        if state.leader != Some(member) {
            state.lessor.clear();
        }
        state.deposed = false;
    }

    pub(super) fn retry_stuck(&mut self) {
        for (asked, header, leader) in std::mem::take(&mut self.held) {
            let what = Occurrence::KeepAlive {
                asked,
                header,
                leader,
            };
            kernel::schedule(kernel::time(), what);
        }
        for asked in std::mem::take(&mut self.stuck) {
            if self.can_serve(asked.member) {
                let at = self.commit_time();
                kernel::schedule(at, Occurrence::Commit(asked));
            } else {
                self.stuck.push(asked);
            }
        }
    }
}
