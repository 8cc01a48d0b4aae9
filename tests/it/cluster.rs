//! Several members: one in trouble never costs a run, and delays a start by a second at most. Endpoints of two
//! clusters are refused.

use std::time::Duration;

use crate::harness::etcd::{Etcd, Options, free_port, own_address};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Output, Run, Running};
use crate::harness::processes::Moment;
use crate::harness::proxy::{Proxy, Way};
use crate::harness::store::Stored;
use crate::harness::unreachable::Unreachable;

const TTL_S: u32 = 5;
const TTL: Duration = Duration::from_secs(TTL_S as u64);

/// A second of delay, and what a start takes on a machine that is busy with other tests.
const DELAYED_START: Duration = Duration::from_secs(2);

type MakeTrouble = fn(&Proxy);

/// What happens to a member, seen from its clients.
const TROUBLES: [(&str, MakeTrouble); 3] = [
    ("its connections are cut", Proxy::cut),
    ("it swallows everything", Proxy::blackhole),
    ("it answers after six seconds", |proxy| {
        proxy.delay(Duration::from_secs(3));
    }),
];

#[test]
fn a_start_is_delayed_by_a_second_at_most_whichever_member_is_in_trouble() {
    let etcd = Etcd::start_three();
    for (trouble, make_trouble) in TROUBLES {
        for troubled in 0..3 {
            let proxies = proxies(&etcd);
            make_trouble(&proxies[troubled]);
            let run = run_through(&proxies, "job").ttl(TTL_S);
            let output = run.shell("echo ran").output();
            assert_not_delayed(&output, &format!("of member {troubled} {trouble}"));
        }
    }
    etcd.store().assert_clean();
}

#[test]
fn a_start_is_delayed_by_a_second_at_most_by_a_member_that_is_frozen_or_dead() {
    let mut etcd = Etcd::start_three();
    for troubled in 0..3 {
        etcd.members[troubled].pause();
        wait_for_the_others(&etcd, troubled);
        let output = etcd.run("job").ttl(TTL_S).shell("echo ran").output();
        assert_not_delayed(&output, "frozen");
        etcd.members[troubled].resume();
        etcd.members[troubled].stop();
        wait_for_the_others(&etcd, troubled);
        let output = etcd.run("job").ttl(TTL_S).shell("echo ran").output();
        assert_not_delayed(&output, "dead");
        etcd.members[troubled].restart();
    }
    etcd.store().assert_clean();
}

#[test]
fn a_member_whose_host_is_gone_delays_no_start_and_costs_no_run() {
    let etcd = Etcd::start_three();
    // Nobody answers there, not even that nobody is there.
    let gone = Unreachable::start(free_port());
    let gone = gone.address.to_string();
    let gone = gone.as_str();
    let alive = [etcd.members[1].endpoint(), etcd.members[2].endpoint()];
    for at in 0..3 {
        let mut endpoints: Vec<&str> = alive.iter().map(String::as_str).collect();
        endpoints.insert(at, gone);
        let run = Run::new(&endpoints.join(",")).lock("job").ttl(TTL_S);
        assert_not_delayed(&run.shell("echo ran").output(), "its host is gone");
    }
    // A second one is lost while the lock is held.
    let proxy = Proxy::start(free_port(), etcd.members[1].address()).expect("a free port");
    let endpoints = format!("{gone},{},{}", proxy.endpoint(), alive[1]);
    let holder = Run::new(&endpoints).lock("job").ttl(TTL_S);
    let holder = holder.shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    proxy.blackhole();
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    holder.wait().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn a_run_outlives_any_member_that_is_frozen() {
    let etcd = Etcd::start_three();
    for troubled in 0..3 {
        let holder = etcd.run("job").ttl(TTL_S).shell("echo ready; cat").spawn();
        holder.expect_stdout("ready");
        etcd.members[troubled].pause();
        let_time_pass_until(Moment::now() + TTL + TTL / 2);
        holder.wait().assert_status(0).assert_silent();
        etcd.members[troubled].resume();
    }
    etcd.store().assert_clean();
}

#[test]
fn of_five_members_two_may_be_in_trouble() {
    let mut etcd = Etcd::start_as(5, Options::default());
    let run = |etcd: &Etcd| etcd.run("job").ttl(TTL_S);
    let holder = run(&etcd).shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    etcd.members[0].pause();
    etcd.members[1].stop();
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    holder.wait().assert_status(0).assert_silent();
    let output = run(&etcd).shell("echo ran").output();
    assert_not_delayed(&output, "one frozen, one dead");
    etcd.members[0].resume();
    etcd.members[1].restart();
    etcd.store().assert_clean();
}

#[test]
fn a_member_without_a_vote_is_passed_over() {
    let mut fault = Fault::of("a learner among the endpoints");
    let mut etcd = Etcd::start();
    etcd.add_learner();
    let (member, learner) = (etcd.members[0].endpoint(), etcd.members[1].endpoint());
    for endpoints in [
        format!("{learner},{member}"),
        format!("{member},{learner}"),
        format!("{learner},{learner},{member}"),
    ] {
        let run = || Run::new(&endpoints).lock("job").ttl(TTL_S);
        let output = run().shell("echo ran").output();
        assert_not_delayed(&output, "a learner");
    }
    // A waiter reads through the next member again and again, and has to hear of the release all the same.
    let run = || {
        let run = Run::new(&format!("{learner},{member}")).lock("job");
        run.ttl(TTL_S)
    };
    let holder = run().shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = run().shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    let_time_pass_until(Moment::now() + TTL);
    holder.wait().assert_status(0);
    waiter.wait().assert_status(0).assert_stdout("ran\n");
    let only = Run::new(&learner)
        .lock("job")
        .arguments(["--connect-timeout", "1"])
        .shell("echo ran")
        .output();
    only.assert_status(69).assert_stderr_has(["learner"]);
    fault.injected(
        "first, last or twice among the endpoints; alone it is refused as a learner (69)",
    );
    fault.seen("runs ran without delay, and a waiter that reads through it in turn was served");
}

/// A renewal takes three round trips at first, and a quarter of the TTL is all the time it has.
#[test]
fn a_slow_network_costs_no_run() {
    const TTL_S: u32 = 10;
    let etcd = Etcd::start_three();
    let held: Vec<(Vec<Proxy>, Running)> = [1, 3]
        .into_iter()
        .map(|members| {
            let proxies = proxies(&etcd);
            for proxy in &proxies {
                proxy.delay(Duration::from_millis(200));
            }
            let holder = run_through(&proxies[..members], &format!("job/{members}"))
                .ttl(TTL_S)
                .shell("echo ready; cat")
                .spawn();
            holder.expect_stdout("ready");
            (proxies, holder)
        })
        .collect();
    let ttl = Duration::from_secs(u64::from(TTL_S));
    let_time_pass_until(Moment::now() + ttl + ttl / 4);
    for (_proxies, holder) in held {
        holder.wait().assert_status(0).assert_silent();
    }
    etcd.store().assert_clean();
}

#[test]
fn a_run_outlives_the_trouble_of_any_one_member() {
    let mut fault = Fault::of("one of three unreachable, silent or slow");
    let etcd = Etcd::start_three();
    let held: Vec<(String, Vec<Proxy>, Running)> = TROUBLES
        .into_iter()
        .flat_map(|(trouble, make_trouble)| (0..3).map(move |index| (trouble, make_trouble, index)))
        .enumerate()
        .map(|(number, (trouble, make_trouble, troubled))| {
            let proxies = proxies(&etcd);
            let holder = run_through(&proxies, &format!("job/{number}"))
                .ttl(TTL_S)
                .shell("echo ready; cat")
                .spawn();
            holder.expect_stdout("ready");
            make_trouble(&proxies[troubled]);
            (format!("of member {troubled} {trouble}"), proxies, holder)
        })
        .collect();
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    let count = held.len();
    for (trouble, _proxies, holder) in held {
        let output = holder.wait();
        assert_eq!(output.status.code(), Some(0), "{trouble}: {output:?}");
    }
    fault.injected(
        "each of three in turn: connections cut, everything swallowed, six seconds for an answer",
    );
    fault.seen(format!("{count} holders held for 1.5 TTL and ended with 0"));
    etcd.store().assert_clean();
}

/// The nearest member is asked for lease and entry and says nothing, another one is asked and answers, the run ends;
/// then the first one does what it was asked for.
#[test]
fn what_is_carried_out_late_takes_no_place_for_a_run_that_is_over() {
    // A late entry that overtakes its late lease does no harm: four in ten.
    const TIMES: usize = 3;
    let etcd = Etcd::start_three();
    let store = etcd.store();
    let mut names = (0..TIMES * 3).map(|number| format!("job/{number}"));
    let mut times = 0;
    while times < TIMES {
        // Where everything here gets no processor for long, it does not come to what is to be looked at.
        let name = names.next().expect("the nearest member is asked first");
        let proxies = proxies(&etcd);
        let Some(asked_before) = run_while_the_nearest_member_holds_back(&etcd, &proxies, &name)
        else {
            continue;
        };
        times += 1;
        proxies[0].mend();
        eventually("what was held is carried out", SOON, || {
            let asked = asked(&etcd);
            match asked
                .iter()
                .zip(&asked_before)
                .all(|(now, before)| now > before)
            {
                true => Ok(()),
                false => Err(format!("{asked_before:?}, now {asked:?}")),
            }
        });
        assert_only_signs_are_left(&etcd);
        let next = etcd.run(&name).ttl(TTL_S).arguments(["-n"]);
        let next = next.shell("echo ran").output();
        next.assert_status(0).assert_stdout("ran\n");
    }
    // What keeps late requests out lives as long as the leases would have.
    store.assert_empty();
}

/// Gives how much every member was asked so far, if there is something that is still to be done.
fn run_while_the_nearest_member_holds_back(
    etcd: &Etcd,
    proxies: &[Proxy],
    name: &str,
) -> Option<[u64; 2]> {
    for proxy in &proxies[1..] {
        proxy.delay(Duration::from_millis(200));
    }
    let met = || {
        etcd.metric(
            "grpc_server_handled_total",
            "grpc_method=\"LeaseTimeToLive\"",
        )
    };
    let met_before = met();
    let run = run_through(proxies, name).ttl(TTL_S).shell("echo ran");
    let run = run.spawn();
    eventually("the nearest member is met", SOON, || {
        let met = met();
        if met > met_before { Ok(()) } else { Err(met) }
    });
    // It is asked when the others have had the time to introduce themselves.
    proxies[0].hold(Way::ToServer);
    proxies[0].wait_for_quiet_after_next_burst(SOON);
    proxies[0].deafen();
    run.wait().assert_status(0).assert_stdout("ran\n");
    let asked = asked(etcd);
    let signs = etcd.store().keys(&format!("/leasehold/~run/{name}/"));
    assert_only_signs_are_left(etcd);
    (!signs.is_empty()).then_some(asked)
}

fn asked(etcd: &Etcd) -> [u64; 2] {
    ["LeaseGrant", "Txn"].map(|method| {
        let label = format!("grpc_method=\"{method}\"");
        etcd.metric("grpc_server_handled_total", &label)
    })
}

#[track_caller]
fn assert_only_signs_are_left(etcd: &Etcd) {
    let keys = etcd.store().keys("/leasehold/");
    assert!(keys.iter().all(Stored::is_sign), "{keys:?}");
}

#[test]
fn a_rolling_restart_costs_neither_the_holder_nor_the_waiter_anything() {
    let mut fault = Fault::of("rolling restart of all three");
    let mut etcd = Etcd::start_three();
    let holder = etcd.run("job").ttl(TTL_S).shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").ttl(TTL_S).shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    for index in 0..3 {
        etcd.members[index].stop();
        let_time_pass_until(Moment::now() + TTL / 2);
        etcd.members[index].restart();
    }
    holder.wait().assert_status(0);
    let output = waiter.wait();
    output.assert_status(0).assert_stdout("ran\n");
    assert!(!output.stderr.contains("again"), "{output:?}");
    etcd.store().assert_clean();
    fault.injected("each of three killed, half a TTL later started again");
    fault.seen("the holder ended with 0, the waiter ran without queueing again");
}

#[test]
fn endpoints_of_two_clusters_are_refused_before_anything_is_written() {
    let mut fault = Fault::of("endpoints of two clusters");
    let (one, other) = (Etcd::start(), Etcd::start());
    let (a, b) = (one.endpoints(), other.endpoints());
    for endpoints in [
        format!("{a},{b}"),
        format!("{b},{a}"),
        format!("{a},{a},{b}"),
    ] {
        let run = Run::new(&endpoints).lock("job").shell("echo ran").output();
        run.assert_status(78).assert_stdout("").assert_stderr_has([
            "cluster",
            &a,
            &b,
            "endpoints of one",
        ]);
        let status = Run::new(&endpoints).arguments(["status", "job"]).output();
        status.assert_status(78).assert_stderr_has(["cluster"]);
    }
    for etcd in [&one, &other] {
        assert_eq!(etcd.store().history("/leasehold/"), [].into());
    }
    fault.injected("members of both among the endpoints, in three orders");
    fault.seen("78 each time, and neither store has ever had a key of ours");
}

#[test]
fn a_second_cluster_that_shows_itself_later_is_never_written_to() {
    let (one, other) = (Etcd::start(), Etcd::start());
    let proxies: Vec<Proxy> = [&one, &other]
        .map(|etcd| Proxy::start(free_port(), etcd.members[0].address()).expect("a free port"))
        .into();
    proxies[1].cut();
    let holder = run_through(&proxies, "job")
        .ttl(TTL_S)
        .shell("echo ready; exec sleep 1000")
        .spawn();
    holder.expect_stdout("ready");
    proxies[1].mend();
    proxies[0].blackhole();
    let output = holder.wait_within(TTL + SOON);
    output.assert_status(79).assert_nobody_left();
    assert_eq!(other.store().history("/leasehold/"), [].into());
    proxies[0].mend();
    // What was swallowed is carried out now, at the latest by the end of the lease.
    eventually("nothing is left", SOON, || {
        let left = one.store().entries("job");
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

#[test]
fn when_no_member_can_be_used_the_sentence_says_what_each_one_did() {
    let mut etcd = Etcd::start_three();
    etcd.members[0].stop();
    etcd.members[1].pause();
    let output = etcd
        .run("job")
        .arguments(["--connect-timeout", "2"])
        .shell("echo ran")
        .output();
    output
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr_has(["not run", "refused", "no connection"]);
    for member in &etcd.members {
        output.assert_stderr_has([member.endpoint().as_str()]);
    }
    let waited = output.duration();
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    etcd.members[1].resume();
}

#[test]
fn a_name_whose_first_addresses_are_dead_is_reached_at_the_next() {
    let mut etcd = Etcd::start();
    let alive = etcd.only().address();
    // Addresses of this test's own on which the same port is closed, or swallows everything.
    let own = own_address().to_string();
    let (network, _) = own.rsplit_once('.').expect("four numbers");
    let dead = format!("{network}.0:{}", alive.port());
    let _swallowing = Unreachable::start(dead.parse().expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = folder.path().join("hosts");
    for dead in [format!("{network}.0"), "127.0.0.2".to_owned()] {
        std::fs::write(
            &hosts,
            format!("{dead} etcd.test\n{} etcd.test\n", alive.ip()),
        )
        .expect("written");
        let bind = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
        let output = Run::new(&format!("etcd.test:{}", alive.port()))
            .arguments(["run", "--connect-timeout", "5", "job", "echo", "ran"])
            .wrapped(["unshare", "-rm", "sh", "-c", &bind, "sh"])
            .output();
        output.assert_status(0).assert_stdout("ran\n");
        assert!(output.duration() < DELAYED_START, "{output:?}");
    }
    etcd.store().assert_clean();
}

#[test]
fn names_of_locks_in_use_are_read_from_the_cluster() {
    let etcd = Etcd::start();
    let _one = etcd.hold("deploy/prod");
    let _other = etcd.hold("night:ly");
    let names = etcd.leasehold(["complete-names", "--", "run"]).output();
    names
        .assert_status(0)
        .assert_stdout("deploy/prod\nnight:ly\n");
}

fn assert_not_delayed(output: &Output, trouble: &str) {
    assert_eq!(output.status.code(), Some(0), "{trouble}: {output:?}");
    assert_eq!(output.stdout, "ran\n", "{trouble}: {output:?}");
    assert_eq!(output.stderr, "", "{trouble}: {output:?}");
    let took = output.duration();
    assert!(took < DELAYED_START, "{trouble}: {took:?}");
}

/// One proxy for each member.
fn proxies(etcd: &Etcd) -> Vec<Proxy> {
    let members = etcd.members.iter();
    members
        .map(|member| Proxy::start(free_port(), member.address()).expect("a free port"))
        .collect()
}

fn run_through(proxies: &[Proxy], name: &str) -> Run {
    let endpoints: Vec<String> = proxies.iter().map(Proxy::endpoint).collect();
    Run::new(&endpoints.join(",")).lock(name)
}

/// Where the leader was taken away, the others elect one first.
fn wait_for_the_others(etcd: &Etcd, but: usize) {
    use crate::harness::store::Store;
    for (index, member) in etcd.members.iter().enumerate() {
        if index != but {
            let store = Store::connect(vec![member.endpoint()]);
            eventually("the others have a leader", SOON, || store.is_ready());
        }
    }
}
