//! Leases as those have them who take themselves for the leader.

use std::time::Duration;

use crate::simulation::cluster::{Asked, Cluster, EXPIRY_TICK, Effect, Kept, Member};
use crate::simulation::kernel;
use crate::simulation::protocol::{Answer, Header, Refusal, Reply, Request};
use crate::simulation::world::Occurrence;

impl Cluster {
    pub(super) fn forward_keepalive(&mut self, asked: Asked) {
        let header = self.header(asked.member);
        let leader = self.members[asked.member].leader;
        let is_cut = leader != Some(asked.member) && self.members[asked.member].is_cut();
        match leader {
            // Until somebody leads, or for ever: the client gives up before.
            None => self.reply(asked, Reply::Refused(Refusal::NoLeader)),
            Some(_) if is_cut => {}
            Some(leader) => {
                let at =
                    kernel::time() + self.random.duration(Duration::ZERO, self.knobs.commit_max);
                kernel::schedule(
                    at,
                    Occurrence::KeepAlive {
                        asked,
                        header,
                        leader,
                    },
                );
            }
        }
    }

    /// A keepalive at him who was taken for the leader.
    pub fn keep_alive(&mut self, asked: Asked, header: Header, leader: usize) {
        let again = |at, asked| {
            kernel::schedule(
                at,
                Occurrence::KeepAlive {
                    asked,
                    header,
                    leader,
                },
            )
        };
        let now = kernel::time();
        let Request::KeepAlive { lease } = *asked.request else {
            unreachable!("only keepalives come here");
        };
        let member = &mut self.members[leader];
        // Waits in his buffers, or for him to be reached again.
        if member.is_paused() || (member.is_cut() && asked.member != leader) {
            return self.held.push((asked, header, leader));
        }
        if member.leader != Some(leader) {
            return self.reply(asked, Reply::Refused(Refusal::NotPrimary));
        }
        let clock = member.clock(now);
        // Who does not know that it leads no more does not know either what became of the lease.
        let Some(kept) = member.lessor.get_mut(&lease) else {
            let answer = Answer::KeptAlive { lease, ttl: 0 };
            return self.reply(asked, Reply::Answered(header, answer));
        };
        if kept.expiry <= clock {
            // Waits for the revocation, or for its own demotion (server/lease/lessor.go, Renew).
            return again(now + Duration::from_millis(50), asked);
        }
        let ttl = kept.ttl;
        kept.expiry = clock + Duration::from_secs(ttl as u64);
        let truly = !member.deposed;
        self.effects.push(Effect::Renewed {
            asked: asked.clone(),
            lease,
            truly,
        });
        let answer = Answer::KeptAlive { lease, ttl };
        self.reply(asked, Reply::Answered(header, answer));
    }

    /// From the leader's lessor, whoever he is, in whole seconds; -1 where there is no such lease.
    pub(super) fn remaining(&self, member: usize, lease: i64) -> i64 {
        let Some(leader) = self.members[member].leader else {
            return -1;
        };
        let leader = &self.members[leader];
        leader.lessor.get(&lease).map_or(-1, |kept| {
            kept.expiry
                .saturating_sub(leader.clock(kernel::time()))
                .as_secs() as i64
        })
    }

    pub(super) fn grant(&mut self, leader: usize, lease: i64, ttl: i64) -> Result<Answer, Refusal> {
        let granted = self.store.grant(lease, ttl)?;
        let member = &mut self.members[leader];
        let expiry = member.clock(kernel::time()) + Duration::from_secs(ttl as u64);
        member.lessor.insert(lease, Kept { expiry, ttl });
        self.tick_on();
        Ok(granted)
    }

    pub(super) fn tick_on(&mut self) {
        let leading = |(number, member): &(usize, &Member)| member.leader == Some(*number);
        let members = self.members.iter().enumerate().filter(leading);
        let due = members.filter_map(|(_, member)| {
            let left = member.lessor.values().map(|kept| kept.expiry).min()?;
            Some(left.saturating_sub(member.clock(kernel::time())))
        });
        let Some(due) = due.min() else { return };
        // The ticks at which nothing has expired need not happen.
        let ticks = due.as_millis() / EXPIRY_TICK.as_millis() + 1;
        let at = kernel::time() + EXPIRY_TICK * ticks as u32;
        if self.next_tick.is_none_or(|next| at < next) {
            self.next_tick = Some(at);
            kernel::schedule(at, Occurrence::ExpiryTick);
        }
    }

    /// Everybody who takes himself for the leader looks for leases that have expired.
    pub fn expiry_tick(&mut self) {
        self.next_tick = None;
        for number in 0..self.members.len() {
            let member = &self.members[number];
            if member.is_paused() || member.is_cut() || member.leader != Some(number) {
                continue;
            }
            let (clock, deposed) = (member.clock(kernel::time()), member.deposed);
            let expired: Vec<i64> = member
                .lessor
                .iter()
                .filter(|(_, kept)| kept.expiry <= clock)
                .map(|(lease, _)| *lease)
                .collect();
            for lease in expired {
                if !deposed || self.knobs.revokes_early {
                    let at = self.commit_time();
                    kernel::schedule(
                        at,
                        Occurrence::Expire {
                            lease,
                            early: deposed,
                        },
                    );
                }
            }
        }
        self.tick_on();
    }

    /// A revocation that nobody of ours asked for is committed.
    pub fn expire(&mut self, lease: i64, early: bool) {
        let Some(leader) = self.leader.filter(|leader| self.can_serve(*leader)) else {
            // Found again by the next tick that can do something about it.
            return;
        };
        let clock = self.members[leader].clock(kernel::time());
        let lives = |kept: &Kept| kept.expiry > clock;
        if !early && self.members[leader].lessor.get(&lease).is_some_and(lives) {
            // Found by one leader, and renewed by the next.
            return;
        }
        let early = self.members[leader].lessor.get(&lease).is_some_and(lives);
        if self.store.revoke(lease).is_ok() {
            self.members[leader].lessor.remove(&lease);
            self.effects.push(Effect::LeaseEnded { lease, early });
            self.tell_watches();
        }
    }
}
