//! Members of etcd that die, freeze, and come back with what they believed before.

use std::time::Duration;

use super::{Contest, ended_decently, endpoints_of, last_spoke_at, proxies, seconds};
use crate::harness::etcd::{Etcd, free_port};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::fault::Fault;
use crate::harness::leasehold::Run;
use crate::harness::network::Network;
use crate::harness::processes::Moment;
use crate::harness::proxy::Proxy;
use crate::harness::store::Store;

const TTL_S: u32 = 5;
const TTL: Duration = Duration::from_secs(TTL_S as u64);

#[test]
fn leader_killed() {
    let mut fault = Fault::of("leader killed");
    let mut etcd = Etcd::start_three();
    let old = etcd.wait_for_leader();
    let holder = etcd.run("job").ttl(TTL_S).shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").ttl(TTL_S).shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    let killed_at = Moment::now();
    etcd.members[old.index].stop();
    // Begun before anybody else leads.
    let starting = etcd.run("other").ttl(TTL_S).shell("echo ran").output();
    starting.assert_status(0).assert_stdout("ran\n");
    let new = etcd.wait_for_another_leader(old, &etcd.others(old.index));
    fault.injected(format!(
        "the leader of term {} got SIGKILL, and another leads in term {}",
        old.term, new.term
    ));
    let_time_pass_until(killed_at + TTL + TTL / 2);
    let holder = holder.wait();
    holder.assert_status(0);
    let waiter = waiter.wait();
    waiter.assert_status(0).assert_stdout("ran\n");
    ended_decently([&starting, &holder, &waiter]);
    etcd.store().assert_clean();
    fault.seen(format!(
        "the holder ran on for 1.5 TTL and ended with 0, then its waiter ran; a run begun in the election took {}",
        seconds(starting.duration())
    ));
}

/// Raft's own rule makes the leader that was frozen answer with success: while nobody tells it of another term, and for
/// an election timeout more, it leads in its own eyes.
#[test]
fn leader_frozen_and_resumed_with_a_keepalive_in_flight() {
    // Renewed every 3 s; TERM would come 8.3 s after the last renewal.
    const TTL_S: u32 = 12;
    const TTL: Duration = Duration::from_secs(TTL_S as u64);
    /// Less than the time of an attempt.
    const IN_FLIGHT: Duration = Duration::from_millis(700);
    let mut fault =
        Fault::of("leader frozen past the election, resumed with a keepalive in flight");
    let network = match Network::start(3) {
        Ok(network) => network,
        Err(reason) => return fault.skip(reason),
    };
    let places: Vec<_> = (0..3).map(|host| network.place(host)).collect();
    let etcd = Etcd::start_at(&places, Default::default());
    let old = etcd.wait_for_leader();
    let others = etcd.others(old.index);
    // Both know the old leader only, so that their keepalives go there.
    let proxy = Proxy::start(free_port(), etcd.members[old.index].address()).expect("a free port");
    let holder = Run::new(&proxy.endpoint())
        .lock("job")
        .ttl(TTL_S)
        .arguments(["--lock-delay", "0"])
        .probe(["tree", "daemon"])
        .spawn();
    holder.expect_stdout("ready");
    let tree = holder.command_processes();
    let deposed = Store::connect(vec![etcd.members[old.index].endpoint()]);
    let by_hand = deposed.grant(Duration::from_secs(30));
    let mut keepalive = deposed.keep_alive(by_hand);

    let sent_at = proxy.wait_for_quiet_after_next_burst(TTL);
    etcd.members[old.index].pause();
    network.part(&[old.index], &others);
    assert!(!network.reaches(old.index, others[0]), "parted");
    keepalive.send();
    let new = etcd.wait_for_another_leader(old, &others);
    let elected_at = Moment::now();
    // So that a renewal by the deposed one can be told from a real one, in whole seconds.
    let_time_pass_until(elected_at + Duration::from_millis(2500));
    eventually(
        "a keepalive of leasehold's is in flight",
        TTL,
        || match proxy.last_burst_started_at() {
            Some(at) if at > sent_at && Moment::now().since(at) < IN_FLIGHT => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    etcd.members[old.index].resume();
    let (ttl, term) = keepalive
        .answer(Duration::from_secs(2))
        .expect("it answers");
    assert_eq!((ttl, term), (30, old.term), "success, in its own term");
    let majority = Store::connect(vec![etcd.members[new.index].endpoint()]);
    let (_, left) = majority.time_to_live(by_hand);
    assert!(left <= 28, "the lease was not renewed: {left} s are left");
    fault.injected(format!(
        "frozen in term {}, another leads in term {}; resumed, the old one answered a keepalive by hand with success (TTL \
         30) while {left} s were left",
        old.term, new.term
    ));
    let expires_at = sent_at + TTL;
    for process in &tree {
        process.wait_dead(expires_at.since(Moment::now()));
    }
    let spare = expires_at.since(Moment::now());
    let output = holder.wait_within(SOON);
    output.assert_lost().assert_nobody_left();
    ended_decently([&output]);
    network.heal();
    fault.seen(format!(
        "the stale answer counted for nothing: the tree was dead {} before the last real renewal ran out; 79",
        seconds(spare)
    ));
}

#[test]
fn leader_frozen_and_resumed_so_that_it_revokes_a_live_lease() {
    // An election takes a second or two, and at 5 s what is left then is too little on a busy machine.
    const TTL_S: u32 = 8;
    const TTL: Duration = Duration::from_secs(TTL_S as u64);
    const LOCKS: usize = 6;
    // Whether it gets to it before it hears that it leads no more is a matter of chance, and the line says how it came
    // out. What a revocation does is shown for certain where somebody else revokes the lease (lease_loss.rs).
    const ROUNDS_MAX: usize = 6;
    let mut fault =
        Fault::of("leader frozen for longer than the TTL, then resumed: it revokes live leases");
    let etcd = Etcd::start_three();
    let store = etcd.store();
    let (mut revoked, mut spared) = (0, 0);
    for round in 1..=ROUNDS_MAX {
        let old = etcd.wait_for_leader();
        let contests: Vec<Contest> = (0..LOCKS)
            .map(|index| {
                let name = format!("job/{round}/{index}");
                Contest::start(&etcd, &name, |name| etcd.run(name).ttl(TTL_S))
            })
            .collect();
        etcd.members[old.index].pause();
        let frozen_at = Moment::now();
        let new = etcd.wait_for_another_leader(old, &etcd.others(old.index));
        // By the frozen one's clock every lease has run out then.
        let_time_pass_until(frozen_at + TTL + TTL / 4);
        for contest in &contests {
            assert!(!contest.holder.process.is_dead(), "renewed by the others");
        }
        etcd.members[old.index].resume();
        let resumed_at = Moment::now();
        // It looks every half second; what it finds takes a commit.
        let_time_pass_until(resumed_at + Duration::from_secs(2));
        for contest in contests {
            let is_there = store.keys(&contest.entry.key).len() == 1;
            if is_there {
                spared += 1;
                contest.assert_undisturbed(SOON);
            } else {
                revoked += 1;
                let (_, next) = contest.assert_handed_over(SOON);
                assert!(next.ended_at > resumed_at);
            }
        }
        eprintln!(
            "round {round}: term {} -> {}, {revoked} revoked",
            old.term, new.term
        );
        if revoked > 0 {
            fault.injected(format!(
                "frozen for {} with TTL {TTL_S} s and resumed: {revoked} of {} leases that others had renewed were \
                 revoked (round {round})",
                seconds(resumed_at.since(frozen_at)),
                revoked + spared,
            ));
            break;
        }
    }
    if revoked == 0 {
        fault.injected(format!(
            "frozen for longer than the TTL of {TTL_S} s and resumed {ROUNDS_MAX} times: chance let it revoke none of \
             {spared} leases"
        ));
    }
    store.assert_clean();
    fault.seen(format!(
        "{revoked} holders killed with 79, and each successor found nobody alive; {spared} others undisturbed"
    ));
}

#[test]
fn one_of_three_down() {
    let mut fault = Fault::of("one of three down");
    let mut etcd = Etcd::start_three();
    for down in 0..3 {
        let holder = etcd.run("job").ttl(TTL_S).shell("echo ready; cat").spawn();
        holder.expect_stdout("ready");
        etcd.members[down].stop();
        std::net::TcpStream::connect(etcd.members[down].address()).expect_err("nobody listens");
        let_time_pass_until(Moment::now() + TTL + TTL / 2);
        let output = etcd.run("other").ttl(TTL_S).shell("echo ran").output();
        output.assert_status(0).assert_stdout("ran\n");
        let holder = holder.wait();
        holder.assert_status(0);
        ended_decently([&output, &holder]);
        etcd.members[down].restart();
    }
    etcd.store().assert_clean();
    fault.injected("each of the three in turn refused connections for 1.5 TTL");
    fault.seen("three holders ended with 0, and runs begun meanwhile ran");
}

#[test]
fn all_down_and_back_in_time() {
    let mut fault = Fault::of("all members down, then back in time");
    const TTL_S: u32 = 15;
    let mut etcd = Etcd::start_three();
    let proxies = proxies(&etcd);
    let holder = Run::new(&endpoints_of(&proxies))
        .lock("job")
        .ttl(TTL_S)
        .arguments(["-k", "1"])
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let waiter = etcd
        .run("job")
        .ttl(TTL_S)
        .arguments(["--connect-timeout", "20"])
        .shell("echo ran")
        .spawn();
    waiter.expect_stderr("waiting");
    etcd.stop_all();
    let down_at = Moment::now();
    let spoke_at = last_spoke_at(&proxies);
    // TERM would come at TTL - 0.9 s - 1 s = 13.1 s after the last renewal, which was due every 3.75 s.
    let_time_pass_until(down_at + Duration::from_millis(4500));
    let silence = Moment::now().since(spoke_at);
    assert!(
        silence > Duration::from_secs(u64::from(TTL_S)) / 4,
        "a renewal was due"
    );
    for member in &etcd.members {
        std::net::TcpStream::connect(member.address()).expect_err("nobody listens");
    }
    etcd.restart_all();
    let outage = Moment::now().since(down_at);
    fault.injected(format!(
        "all three killed, and started again on the same data after {} with TTL {TTL_S} s; a renewal was due meanwhile",
        seconds(outage)
    ));
    let_time_pass_until(down_at + Duration::from_secs(u64::from(TTL_S)));
    let holder = holder.wait();
    holder.assert_status(0);
    let waiter = waiter.wait();
    waiter.assert_status(0).assert_stdout("ran\n");
    ended_decently([&holder, &waiter]);
    etcd.store().assert_clean();
    fault
        .seen("the holder ran on past its TTL and ended with 0, then its waiter ran; nothing left");
}

#[test]
fn all_down_for_good() {
    let mut fault = Fault::of("all members down for good");
    let mut etcd = Etcd::start_three();
    let proxies = proxies(&etcd);
    let (direct, proxied) = (etcd.endpoints(), endpoints_of(&proxies));
    let run = |endpoints: &str| {
        Run::new(endpoints)
            .lock("job")
            .ttl(TTL_S)
            .arguments(["--connect-timeout", "2"])
    };
    let holder = run(&proxied).probe(["tree", "daemon"]).spawn();
    holder.expect_stdout("ready");
    let waiter = run(&direct).shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    let tree = holder.command_processes();
    etcd.stop_all();
    let down_at = Moment::now();
    // What is sent later than this is answered by nobody.
    let expires_at = last_spoke_at(&proxies) + TTL;
    for member in &etcd.members {
        std::net::TcpStream::connect(member.address()).expect_err("nobody listens");
    }
    fault.injected("all three killed, connections refused");
    for process in &tree {
        process.wait_dead(expires_at.since(Moment::now()));
    }
    let spare = expires_at.since(Moment::now());
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(69).assert_stdout("");
    let holder = holder.wait_within(SOON);
    holder.assert_lost().assert_nobody_left();
    let late = run(&direct).shell("echo ran").output();
    late.assert_status(69).assert_stdout("");
    ended_decently([&holder, &waiter, &late]);
    fault.seen(format!(
        "the tree dead {} before its lease could expire, 79 after {}; a waiter 69 after {}, a new run 69 after {}",
        seconds(spare),
        seconds(holder.ended_at.since(down_at)),
        seconds(waiter.ended_at.since(down_at)),
        seconds(late.duration()),
    ));
}
