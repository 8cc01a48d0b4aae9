//! Networks that fall apart: members and clients on hosts of their own, and a router between them that swallows what it
//! is told to, without a word to anybody.

use std::time::Duration;

use super::{ended_decently, seconds};
use crate::harness::etcd::{Etcd, Leader};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Output, Run, Running, probe};
use crate::harness::network::Network;
use crate::harness::processes::Moment;
use crate::harness::store::Store;

const TTL_S: u32 = 5;
const TTL: Duration = Duration::from_secs(TTL_S as u64);

/// Hosts 0, 1 and 2 have a member each; on these are clients.
const HERE: usize = 3;
const THERE: usize = 4;

/// Three members and two hosts for clients.
struct Site {
    network: Network,
    etcd: Etcd,
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Result<Self, &'static str> {
        let network = Network::start(5)?;
        let places: Vec<_> = (0..3).map(|host| network.place(host)).collect();
        Ok(Self {
            etcd: Etcd::start_at(&places, Default::default()),
            network,
            folder: tempfile::tempdir().expect("a folder"),
        })
    }

    /// `leasehold run job` on one of the hosts, with all members as endpoints.
    fn run(&self, host: usize) -> Run {
        self.etcd
            .run("job")
            .ttl(TTL_S)
            .wrapped_by(&self.network.place(host).enter)
    }

    /// A holder on a host that writes down when it was last alive.
    fn hold(&self, host: usize) -> Ticking {
        self.hold_lock("job", host)
    }

    fn hold_lock(&self, lock: &str, host: usize) -> Ticking {
        let file = self.folder.path().join(format!("ticks-{lock}-{host}"));
        let path = file.to_str().expect("readable").to_owned();
        let running = self
            .etcd
            .run(lock)
            .ttl(TTL_S)
            .wrapped_by(&self.network.place(host).enter)
            .arguments(["-q"])
            .probe(["ticks", &path])
            .spawn();
        running.expect_stdout("ready");
        Ticking { running, path }
    }

    /// Says when it began, and runs.
    fn successor(&self, host: usize) -> Running {
        self.run(host)
            .arguments(["-q"])
            .shell(&format!("{} now", probe()))
            .spawn()
    }

    /// A client behind the router's back: it sees what these members see.
    fn store_of(&self, members: &[usize]) -> Store {
        let endpoints = members.iter();
        Store::connect(
            endpoints
                .map(|index| self.etcd.members[*index].endpoint())
                .collect(),
        )
    }

    fn followers(&self, leader: Leader) -> Vec<usize> {
        self.etcd.others(leader.index)
    }
}

/// Sets the stage for a fault; none where that is not allowed.
fn stage(fault: &str) -> Option<(Fault, Site)> {
    let fault = Fault::of(fault);
    match Site::start() {
        Ok(site) => Some((fault, site)),
        Err(reason) => {
            fault.skip(reason);
            None
        }
    }
}

struct Ticking {
    running: Running,
    path: String,
}

impl Ticking {
    fn last_tick(&self) -> Moment {
        let text = std::fs::read_to_string(&self.path).expect("written");
        // The last line may be torn by the kill.
        let (whole, _) = text.rsplit_once('\n').expect("it has ticked");
        Moment::parse(whole.lines().last().expect("a line"))
    }

    /// It was lost, and its successor began later than it was last alive: by how much.
    #[track_caller]
    fn assert_before(self, next: &Output) -> Duration {
        next.assert_status(0);
        let last = self.last_tick();
        let began = Moment::parse(&next.stdout);
        assert!(last < began, "{last:?} should be before {began:?}");
        let holder = self.running.wait_within(SOON);
        holder.assert_lost().assert_nobody_left();
        ended_decently([&holder, next]);
        began.since(last)
    }

    #[track_caller]
    fn assert_alive(&self) {
        let now = Moment::now();
        eventually("it ticks", SOON, || match self.last_tick() {
            tick if tick > now => Ok(()),
            tick => Err(format!("{tick:?}\n{}", self.running.stderr())),
        });
    }

    #[track_caller]
    fn end(self) {
        let is_over = self.running.process.is_dead();
        assert!(!is_over, "{}", self.running.wait().describe());
        self.running.signal(nix::sys::signal::Signal::SIGTERM);
        let output = self.running.wait_within(SOON);
        output.assert_signal(15).assert_nobody_left();
        ended_decently([&output]);
    }
}

#[test]
fn a_holder_is_cut_off() {
    let Some((mut fault, site)) =
        stage("the holder's host cut off from all members, without a word")
    else {
        return;
    };
    let holder = site.hold(HERE);
    let next = site.successor(THERE);
    let store = site.etcd.store();
    store.wait_for_entries("job", 2);
    site.network.part(&[HERE], &[0, 1, 2]);
    let parted_at = Moment::now();
    for member in 0..3 {
        assert!(!site.network.reaches(HERE, member), "parted");
        assert!(site.network.reaches(THERE, member), "the other is not");
    }
    fault.injected("the router swallows everything between the holder's host and three members");
    let next = next.wait_within(SOON);
    let gap = holder.assert_before(&next);
    site.network.heal();
    store.assert_clean();
    fault.seen(format!(
        "79; the next holder, on another host, began {} after the first was last alive, {} after the cut",
        seconds(gap),
        seconds(next.ended_at.since(parted_at)),
    ));
}

#[test]
fn one_direction_is_lost() {
    let Some((mut fault, site)) =
        stage("one direction lost between the holder's host and all members")
    else {
        return;
    };
    let mut gaps = Vec::new();
    for to_members in [true, false] {
        let holder = site.hold(HERE);
        let next = site.successor(THERE);
        site.etcd.store().wait_for_entries("job", 2);
        for member in 0..3 {
            match to_members {
                true => site.network.swallow(HERE, member),
                false => site.network.swallow(member, HERE),
            }
            assert!(!site.network.reaches(HERE, member), "nothing comes back");
        }
        let next = next.wait_within(SOON);
        gaps.push(seconds(holder.assert_before(&next)));
        site.network.heal();
    }
    site.etcd.store().assert_clean();
    fault.injected("only requests are swallowed; then only replies");
    fault.seen(format!(
        "79 each time; the next holder began {} after the first was last alive",
        gaps.join(" and ")
    ));
}

#[test]
fn the_leader_is_parted_from_the_others_with_the_holder_on_its_side() {
    let Some((mut fault, site)) = stage("leader and holder on one side, the majority on the other")
    else {
        return;
    };
    let old = site.etcd.wait_for_leader();
    let followers = site.followers(old);
    let holder = site.hold(HERE);
    let next = site.successor(THERE);
    site.etcd.store().wait_for_entries("job", 2);
    site.network
        .part(&[HERE, old.index], &[followers[0], followers[1], THERE]);
    assert!(
        site.network.reaches(HERE, old.index),
        "its side holds together"
    );
    let new = site.etcd.wait_for_another_leader(old, &followers);
    fault.injected(format!(
        "the leader of term {} and the holder parted from the rest, where another leads in term {}",
        old.term, new.term
    ));
    let next = next.wait_within(SOON);
    let gap = holder.assert_before(&next);
    site.network.heal();
    site.store_of(&followers).assert_clean();
    fault.seen(format!(
        "79; the next holder, on the majority's side, began {} after the first was last alive",
        seconds(gap)
    ));
}

#[test]
fn the_leader_is_parted_from_the_others_and_the_holder_reaches_all() {
    let Some((mut fault, site)) =
        stage("leader parted from the other members, the holder reaches all")
    else {
        return;
    };
    let old = site.etcd.wait_for_leader();
    let followers = site.followers(old);
    let holder = site.hold(HERE);
    site.network.part(&[old.index], &followers);
    let new = site.etcd.wait_for_another_leader(old, &followers);
    let parted_at = Moment::now();
    fault.injected(format!(
        "the leader of term {} parted from the two others, who elected another in term {}",
        old.term, new.term
    ));
    let starting = site.run(THERE).arguments(["-n"]).shell("echo ran").output();
    starting.assert_status(75).assert_stdout("");
    let_time_pass_until(parted_at + TTL + TTL / 2);
    holder.assert_alive();
    site.network.heal();
    holder.end();
    site.store_of(&followers).assert_clean();
    fault.seen("the holder lived on for 1.5 TTL and gave its lock back; another run was told that it is busy");
}

#[test]
fn no_member_reaches_another() {
    let Some((mut fault, site)) = stage("no member reaches another: no quorum anywhere") else {
        return;
    };
    let holder = site.hold(HERE);
    let tree = holder.running.command_processes();
    site.network.part(&[0], &[1, 2]);
    site.network.part(&[1], &[2]);
    let parted_at = Moment::now();
    eventually("nobody leads", SOON, || match site.etcd.leader() {
        Ok(leader) => Err(format!("{leader:?}")),
        Err(_) => Ok(()),
    });
    fault.injected("all three parted from one another, nobody leads");
    let starting = site
        .run(THERE)
        .arguments(["--connect-timeout", "2"])
        .shell("echo ran")
        .output();
    starting.assert_status(69).assert_stdout("");
    // Renewed in the last term of a leader at the latest: that ended an election timeout (0.5 s) or two after.
    for process in &tree {
        process.wait_dead((parted_at + TTL + Duration::from_secs(1)).since(Moment::now()));
    }
    let output = holder.running.wait_within(SOON);
    output.assert_lost().assert_nobody_left();
    ended_decently([&starting, &output]);
    site.network.heal();
    site.etcd.wait_for_leader();
    let next = site.run(THERE).shell("echo ran").output();
    next.assert_status(0).assert_stdout("ran\n");
    site.etcd.store().assert_clean();
    fault.seen(format!(
        "79 after {}; a run begun meanwhile 69; healed, the next one ran after {}",
        seconds(output.ended_at.since(parted_at)),
        seconds(next.duration())
    ));
}

/// How long the network is away and back, together.
const PERIOD: Duration = Duration::from_secs(1);

/// How many hold a lock while it comes and goes.
const HOLDERS: u32 = 5;

#[test]
fn the_network_flaps() {
    let Some((mut fault, site)) = stage("the network comes and goes") else {
        return;
    };
    // They renew at other moments of a flap each: a first packet that is lost and comes again after a second meets the
    // network as it was, and one holder of three was lost to that.
    let began_at = Moment::now();
    let holders: Vec<_> = (0..HOLDERS)
        .map(|number| {
            let_time_pass_until(began_at + PERIOD / HOLDERS * number);
            site.hold_lock(&format!("job-{number}"), HERE)
        })
        .collect();
    let mut flaps = 0;
    let until = Moment::now() + TTL * 3;
    while Moment::now() < until {
        let parted_at = Moment::now();
        site.network.part(&[HERE], &[0, 1, 2]);
        assert!(!site.network.reaches(HERE, flaps % 3), "parted");
        let_time_pass_until(parted_at + Duration::from_millis(700));
        site.network.heal();
        let_time_pass_until(parted_at + PERIOD);
        flaps += 1;
    }
    fault.injected(format!(
        "{flaps} times 0.7 s without any member and 0.3 s with, for 3 TTL, to {HOLDERS} holders who renew at other moments each"
    ));
    holders.iter().for_each(Ticking::assert_alive);
    holders.into_iter().for_each(Ticking::end);
    site.etcd.store().assert_clean();
    fault.seen("all holders lived on and gave their locks back");
}
