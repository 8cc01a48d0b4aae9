//! Messages on their way: late, lost, overtaken by others, held up by a link that is cut.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::simulation::cluster::Asked;
use crate::simulation::kernel::{self, Time};
use crate::simulation::mutants;
use crate::simulation::protocol::{Answer, Notice, Reply, Request};
use crate::simulation::random::Random;
use crate::simulation::scenario::{Network, Scenario};
use crate::simulation::sights::Sight;
use crate::simulation::trace;
use crate::simulation::world::{Occurrence, World};

pub struct Links {
    network: Network,
    /// From then on nothing is lost or very late.
    calm_from: Time,
    /// Until when the link of a host to a member is cut.
    cut_until: Vec<Vec<Time>>,
    /// When the last message of a host with a member arrives.
    last_arrival: Vec<Vec<Time>>,
    last_notice: BTreeMap<u64, Time>,
}

/// What becomes of a message.
enum Fate {
    Arrives(Time),
    /// The connection breaks, and its owner learns of it then.
    Breaks(Time),
    /// Nobody ever hears of it again.
    Vanishes,
}

impl Links {
    pub fn new(scenario: &Scenario) -> Self {
        let (hosts, members) = (scenario.hosts.len(), scenario.members.len());
        Self {
            network: scenario.network,
            calm_from: scenario.faults_end(),
            // One host more: see `World::everybody_left`.
            cut_until: vec![vec![Duration::ZERO; members]; hosts + 1],
            last_arrival: vec![vec![Duration::ZERO; members]; hosts + 1],
            last_notice: BTreeMap::new(),
        }
    }

    pub fn cut(&mut self, host: usize, member: Option<usize>, until: Time) {
        for (number, link) in self.cut_until[host].iter_mut().enumerate() {
            if member.is_none_or(|member| member == number) {
                *link = until.max(*link);
            }
        }
    }

    /// Whatever comes over one stream comes in order.
    fn in_order(&mut self, stream: u64, at: Time) -> Time {
        let last = self.last_notice.entry(stream).or_default();
        *last = at.max(*last);
        *last
    }

    fn fate(&mut self, random: &mut Random, host: usize, member: usize) -> Fate {
        let fate = self.draw_fate(random, host, member);
        match fate {
            Fate::Arrives(at) => {
                let last = &mut self.last_arrival[host][member];
                if at < *last {
                    kernel::saw(Sight::Reordered);
                }
                *last = at.max(*last);
            }
            Fate::Breaks(_) => kernel::saw(Sight::ConnectionBroken),
            Fate::Vanishes => kernel::saw(Sight::MessageLost),
        }
        fate
    }

    fn draw_fate(&self, random: &mut Random, host: usize, member: usize) -> Fate {
        let now = kernel::time();
        let network = self.network;
        let delay = random.duration(Duration::from_micros(100), network.delay_max);
        let cut_until = self.cut_until[host][member];
        if cut_until > now {
            // TCP sends again what was not acknowledged; or gives up; or is cut off without a word.
            return match random.below(3) {
                0 => Fate::Arrives(cut_until + delay + random.millis(0, 200)),
                1 => Fate::Breaks(now + random.millis(1, 3_000)),
                _ => Fate::Vanishes,
            };
        }
        if now >= self.calm_from {
            return Fate::Arrives(now + delay);
        }
        if random.percent(network.lost_percent) {
            return match random.percent(50) {
                true => Fate::Breaks(now + random.millis(1, 1_000)),
                false => Fate::Vanishes,
            };
        }
        if random.percent(network.late_percent) {
            kernel::saw(Sight::MessageLate);
            return Fate::Arrives(now + random.millis(50, 10_000));
        }
        Fate::Arrives(now + delay)
    }

    /// When a message comes a second time: what somebody in between sent again, perhaps long after.
    fn copy(&self, random: &mut Random) -> Option<Time> {
        let now = kernel::time();
        let copied = now < self.calm_from && random.percent(self.network.copied_percent);
        copied.then(|| now + random.millis(1, 20_000))
    }
}

impl World {
    pub fn send(&mut self, host: usize, member: usize, exchange: u64, mut request: Request) {
        mutants::request(self.mutant, &self.hosts[host], &mut request);
        let member = mutants::member(self.mutant, host, member, self.scenario.members.len());
        self.trace.note(|| {
            format!(
                "host {host}   => member {member}: {}",
                trace::spoken(&request)
            )
        });
        self.checker.sent(host, exchange, &request);
        let asked = Asked {
            host,
            member,
            exchange,
            request: Rc::new(request),
        };
        match self.links.fate(&mut self.random, host, member) {
            Fate::Arrives(at) => {
                if let Some(again_at) = self.links.copy(&mut self.random) {
                    kernel::schedule(again_at, Occurrence::Arrival(asked.clone()));
                }
                kernel::schedule(at, Occurrence::Arrival(asked));
            }
            Fate::Breaks(at) => {
                kernel::schedule(
                    at,
                    Occurrence::Reply {
                        asked,
                        reply: Reply::Broken,
                    },
                );
            }
            Fate::Vanishes => {}
        }
    }

    pub fn send_reply(&mut self, asked: Asked, reply: Reply) {
        let changed = !matches!(
            *asked.request,
            Request::Connect | Request::Get { .. } | Request::TimeToLive { .. }
        );
        let lost = || {
            if changed && matches!(reply, Reply::Answered(..)) {
                kernel::saw(Sight::ReplyLost);
            }
        };
        match self.links.fate(&mut self.random, asked.host, asked.member) {
            Fate::Arrives(at) => {
                if let Some(again_at) = self.links.copy(&mut self.random) {
                    let (asked, reply) = (asked.clone(), reply.clone());
                    kernel::schedule(again_at, Occurrence::Reply { asked, reply });
                }
                kernel::schedule(at, Occurrence::Reply { asked, reply });
            }
            Fate::Breaks(at) => {
                lost();
                let reply = Reply::Broken;
                kernel::schedule(at, Occurrence::Reply { asked, reply });
            }
            Fate::Vanishes => lost(),
        }
    }

    pub fn send_notice(&mut self, (host, member): (usize, usize), stream: u64, notice: Notice) {
        match self.links.fate(&mut self.random, host, member) {
            Fate::Arrives(at) => {
                let at = self.links.in_order(stream, at);
                kernel::schedule(
                    at,
                    Occurrence::Notice {
                        host,
                        stream,
                        notice,
                    },
                );
            }
            Fate::Breaks(at) => {
                let notice = Notice::Broken;
                kernel::schedule(
                    at,
                    Occurrence::Notice {
                        host,
                        stream,
                        notice,
                    },
                );
            }
            Fate::Vanishes => {}
        }
    }

    pub fn receive(&mut self, asked: Asked, mut reply: Reply) {
        mutants::reply(
            self.mutant,
            &mut self.hosts[asked.host],
            &asked.request,
            &mut reply,
        );
        self.trace.note(|| {
            let (host, member) = (asked.host, asked.member);
            let (answer, what) = (trace::spoken_reply(&reply), trace::spoken(&asked.request));
            format!("host {host}   <= member {member}: {answer} to {what}")
        });
        let kept = match reply {
            Reply::Answered(_, Answer::Granted { lease, ttl }) => Some((lease, ttl)),
            Reply::Answered(_, Answer::KeptAlive { lease, ttl: 1.. }) => {
                Some((lease, self.cluster.store.ttl(lease).unwrap_or_default()))
            }
            _ => None,
        };
        let heard = kernel::answer(asked.exchange, reply);
        if !self.replied.insert(asked.exchange) {
            kernel::saw(Sight::ReplyTwice);
        }
        if heard {
            if let Some((lease, ttl)) = kept {
                self.checker
                    .kept_alive(asked.host, asked.exchange, lease, ttl);
            }
            self.stir(asked.host);
        }
    }

    /// A request takes its place in the log, if it can.
    pub fn commit(&mut self, asked: Asked) {
        if !self.cluster.can_serve(asked.member) {
            return self.cluster.commit(asked);
        }
        self.check_request(&asked);
        self.look_at_repetition(&asked);
        self.trace.note(|| {
            let (host, what) = (asked.host, trace::spoken(&asked.request));
            format!("etcd     has done {what} of host {host}")
        });
        self.cluster.commit(asked);
    }

    /// Is this carried out again, or by another member too, or when nobody wants it any more?
    fn look_at_repetition(&mut self, asked: &Asked) {
        let changes = match &*asked.request {
            Request::Grant { lease, .. } => {
                let by = self.granted_by.entry(*lease).or_insert(asked.member);
                if *by != asked.member {
                    kernel::saw(Sight::HedgedTwice);
                }
                true
            }
            Request::Transact(transaction) => !transaction.only_reads(),
            Request::Delete { .. } | Request::Revoke { .. } => true,
            _ => false,
        };
        if changes && self.cluster.has_settled(asked.exchange) {
            kernel::saw(Sight::RequestTwice);
            self.checker.sent_again_by_others(&asked.request);
        }
        if changes && self.hosts[asked.host].manager.is_none() {
            kernel::saw(Sight::RequestAfterItsRun);
        }
    }
}
