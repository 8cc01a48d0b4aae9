//! Messages on their way: late, lost, overtaken by others, held up by a link that is cut.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::simulation::cluster::Asked;
use crate::simulation::kernel::{self, Time};
use crate::simulation::mutants;
use crate::simulation::protocol::{Answer, Notice, Reply, Request};
use crate::simulation::random::Random;
use crate::simulation::scenario::{Network, Scenario};
use crate::simulation::trace;
use crate::simulation::world::{Occurrence, World};

pub struct Links {
    network: Network,
    /// From then on nothing is lost or very late.
    calm_from: Time,
    /// Until when the link of a host to a member is cut.
    cut_until: Vec<Vec<Time>>,
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

    fn fate(&self, random: &mut Random, host: usize, member: usize) -> Fate {
        let now = kernel::time();
        let Network {
            delay_max,
            late_percent,
            lost_percent,
        } = self.network;
        let delay = random.duration(Duration::from_micros(100), delay_max);
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
        if random.percent(lost_percent) {
            return match random.percent(50) {
                true => Fate::Breaks(now + random.millis(1, 1_000)),
                false => Fate::Vanishes,
            };
        }
        if random.percent(late_percent) {
            return Fate::Arrives(now + random.millis(50, 10_000));
        }
        Fate::Arrives(now + delay)
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
            request,
        };
        match self.links.fate(&mut self.random, host, member) {
            Fate::Arrives(at) => kernel::schedule(at, Occurrence::Arrival(asked)),
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
        match self.links.fate(&mut self.random, asked.host, asked.member) {
            Fate::Arrives(at) => kernel::schedule(at, Occurrence::Reply { asked, reply }),
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
        let heard = kernel::answer(asked.exchange, reply.clone());
        if heard {
            if let Reply::Answered(_, Answer::Granted { lease, ttl }) = &reply {
                self.checker
                    .granted(asked.host, asked.exchange, *lease, *ttl);
            }
            if let Reply::Answered(_, Answer::KeptAlive { lease, ttl: 1.. }) = &reply {
                let ttl = self.cluster.store.ttl(*lease).unwrap_or_default();
                self.checker
                    .kept_alive(asked.host, asked.exchange, *lease, ttl);
            }
            self.turn(asked.host);
        }
    }

    /// A request takes its place in the log.
    pub fn commit(&mut self, asked: Asked) {
        self.check_request(&asked);
        let request = asked.request.clone();
        let host = asked.host;
        let before = self.cluster.store.revision;
        self.cluster.commit(asked);
        self.check_places_since(before, host);
        self.trace.note(|| {
            format!(
                "etcd     has done {} of host {host}",
                trace::spoken(&request)
            )
        });
    }
}
