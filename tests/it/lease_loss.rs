//! Exclusion when things go wrong: the command is gone before its lease can expire, the status is 79, and the
//! next holder starts only afterwards.
//!
//! When a lease can expire is known here without asking leasehold: a proxy saw when it last began to speak to
//! etcd, no renewal was sent later, so `expires_at` is that moment plus the TTL, or earlier.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::harness::anatomy::command_of;
use crate::harness::etcd::{Etcd, free_port};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Output, Run, Running};
use crate::harness::processes::{Moment, Process};
use crate::harness::proxy::{Proxy, Way};
use crate::harness::store::Stored;

const TTL_S: u32 = 5;
const TTL: Duration = Duration::from_secs(TTL_S as u64);

/// Loss that etcd proves leaves no grace: the reaction has to come long before anything could expire.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn a_revoked_lease_kills_the_command_before_the_next_holder_starts() {
    let fault = Fault::of("lease revoked");
    proven_loss(fault, "lease-gone", |etcd, entry| {
        etcd.store().revoke(entry.lease);
    });
}

#[test]
fn a_deleted_key_kills_the_command_before_the_next_holder_starts() {
    let fault = Fault::of("own key deleted");
    proven_loss(fault, "key-deleted", |etcd, entry| {
        etcd.store().delete(&entry.key);
    });
}

#[test]
fn a_key_overwritten_without_a_lease_kills_the_command() {
    let fault = Fault::of("own key overwritten without a lease");
    proven_loss(fault, "key-overwritten", |etcd, entry| {
        etcd.store().put(&entry.key, "mine");
    });
}

#[test]
fn a_deleted_key_that_is_put_again_by_somebody_else_kills_the_command() {
    let mut held = Held::start(&["tree", "plain"]);
    let store = held.etcd.store();
    store.delete(&held.entry.key);
    store.put(&held.entry.key, "mine");
    held.wait().assert_status(79).assert_nobody_left();
    // What somebody else has put is theirs.
    assert_eq!(store.entries("job").len(), 1);
}

#[test]
fn a_stopped_etcd_has_the_command_gone_before_the_lease_can_expire() {
    let mut lost = Proxied::start(&["tree", "setsid"]);
    let sent_at = lost.wait_for_renewal();
    lost.held.etcd.only().stop();
    lost.assert_gone_in_time(sent_at, |etcd| etcd.only().restart());
}

#[test]
fn a_frozen_etcd_has_the_command_gone_before_the_lease_can_expire() {
    let lost = Proxied::start(&["tree", "double-fork"]);
    let sent_at = lost.wait_for_renewal();
    lost.held.etcd.members[0].pause();
    lost.assert_gone_in_time(sent_at, |etcd| etcd.only().resume());
}

#[test]
fn a_frozen_etcd_has_a_command_that_ignores_term_gone_before_the_lease_can_expire() {
    let lost = Proxied::start(&["tree", "daemon"]);
    let sent_at = lost.wait_for_renewal();
    lost.held.etcd.members[0].pause();
    lost.assert_gone_in_time(sent_at, |etcd| etcd.only().resume());
}

#[test]
fn a_network_that_swallows_everything_has_the_command_gone_before_the_lease_can_expire() {
    let fault = Fault::of("the network swallows everything");
    network_trouble(fault, Proxy::blackhole);
}

#[test]
fn a_network_that_swallows_only_answers_has_the_command_gone_in_time() {
    let fault = Fault::of("half-open: only answers are lost");
    network_trouble(fault, |proxy| proxy.hold(Way::ToClient));
}

#[test]
fn a_network_that_swallows_only_requests_has_the_command_gone_in_time() {
    let fault = Fault::of("half-open: only requests are lost");
    network_trouble(fault, |proxy| proxy.hold(Way::ToServer));
}

#[test]
fn a_network_that_breaks_connections_has_the_command_gone_in_time() {
    let fault = Fault::of("connections break, and new ones too");
    network_trouble(fault, Proxy::cut);
}

#[test]
fn a_command_that_ends_well_when_it_is_stopped_for_a_lost_lock_is_79_all_the_same() {
    let etcd = Etcd::start();
    let holder = etcd
        .run("job")
        .ttl(TTL_S)
        .shell("trap 'exit 0' TERM; sleep 1000 & echo ready; wait")
        .spawn();
    holder.expect_stdout("ready");
    etcd.members[0].pause();
    holder
        .wait_within(TTL + SOON)
        .assert_status(79)
        .assert_nobody_left();
}

/// The command has had its TERM: nobody knows any more what it does.
#[test]
fn an_etcd_that_comes_back_between_term_and_kill_does_not_save_the_command() {
    let etcd = Etcd::start();
    let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
    let holder = Run::new(&proxy.endpoint())
        .lock("job")
        .ttl(TTL_S)
        .shell("trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done")
        .spawn();
    holder.expect_stdout("ready");
    let command = command_of(&holder);
    proxy.cut();
    holder.expect_stdout("asked");
    assert!(!command.is_dead(), "it may clean up");
    proxy.mend();
    let holder = holder.wait_within(TTL);
    holder.assert_status(79).assert_nobody_left();
    // But the lock need not be left to its TTL.
    etcd.store().wait_for_entries("job", 0);
    etcd.store().assert_clean();
}

#[test]
fn an_outage_shorter_than_the_slack_costs_nothing() {
    let mut fault = Fault::of("outage shorter than the slack");
    for trouble in [Proxy::blackhole, Proxy::cut] {
        let mut survivor = Proxied::start(&["signals"]);
        let sent_at = survivor.wait_for_renewal();
        trouble(&survivor.proxy);
        // A renewal was due at TTL/4; TERM would come at 3.19 s.
        let_time_pass_until(sent_at + Duration::from_millis(2200));
        let spoke_in_vain = survivor.proxy.last_burst_started_at() > Some(sent_at);
        assert!(
            spoke_in_vain || survivor.proxy.refusals() > 0,
            "a renewal was tried"
        );
        survivor.proxy.mend();
        let_time_pass_until(sent_at + TTL);
        let holder = survivor.held.holder.take();
        let holder = holder.expect("not waited for yet");
        holder.signal(nix::sys::signal::Signal::SIGUSR2);
        holder
            .wait()
            .assert_status(0)
            .assert_stdout("ready\nsignal SIGUSR2\n");
        survivor.held.etcd.store().assert_clean();
    }
    fault.injected("2.2 s after a renewal nothing had come through, swallowed or cut, and one renewal had failed");
    fault.seen("alive a TTL of 5 s after that renewal, and 0");
}

#[test]
fn one_member_of_three_that_freezes_costs_nothing() {
    let mut fault = Fault::of("one of three frozen");
    for frozen in 0..3 {
        let etcd = Etcd::start_three();
        let holder = etcd.run("job").ttl(TTL_S).shell("echo ready; cat").spawn();
        holder.expect_stdout("ready");
        etcd.members[frozen].pause();
        let_time_pass_until(Moment::now() + TTL + TTL / 2);
        holder.wait().assert_status(0);
        etcd.members[frozen].resume();
        etcd.store().assert_clean();
    }
    fault.injected("each of three in turn stopped for 1.5 TTL");
    fault.seen("each time 0, and nothing left");
}

#[test]
fn an_etcd_that_is_gone_at_the_end_of_a_good_run_does_not_spoil_it() {
    let mut fault = Fault::of("etcd gone at the end of a good run");
    let mut etcd = Etcd::start();
    let holder = etcd.run("job").ttl(TTL_S).shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    etcd.only().stop();
    let output = holder.wait_within(SOON);
    output
        .assert_status(0)
        .assert_stderr_has(["could not be given back", "frees itself"])
        .assert_nobody_left();
    assert!(
        output.duration() < TTL + AT_ONCE,
        "a bounded wait: {output:?}"
    );
    fault.injected("the only member killed before the command ended");
    fault.seen(format!(
        "0 and a warning, {:?} after the start",
        output.duration()
    ));
}

/// Takes something away from a holder that has a successor in the queue.
fn proven_loss(mut fault: Fault, loss: &str, take: impl FnOnce(&Etcd, &Stored)) {
    let mut held = Held::start(&["tree", "daemon"]);
    let next = held.next().spawn();
    held.etcd.store().wait_for_entries("job", 2);
    let command = held.command();
    let lost_at = Moment::now();
    take(&held.etcd, &held.entry);
    let left = held.etcd.store().keys(&held.entry.key);
    assert!(left.iter().all(|stored| stored.lease != held.entry.lease));
    for process in &command {
        process.wait_dead(AT_ONCE);
    }
    let output = held.wait();
    output
        .assert_status(79)
        .assert_stderr_has(["job", "lock lost"])
        .assert_nobody_left();
    assert!(output.ended_at.since(lost_at) < AT_ONCE, "{output:?}");
    assert_eq!(held.report()["loss"], loss, "{}", held.report());
    assert_eq!(held.report()["outcome"], "lost");
    next.wait().assert_status(0).assert_stdout("0 alive\n");
    held.etcd.store().assert_clean();
    fault.injected("behind leasehold's back, under a running command with one in the queue");
    fault.seen(format!(
        "79 ({loss}) {:?} later; the next holder found nobody alive",
        output.ended_at.since(lost_at)
    ));
}

fn network_trouble(mut fault: Fault, trouble: impl FnOnce(&Proxy)) {
    let lost = Proxied::start(&["tree", "term-proof"]);
    let sent_at = lost.wait_for_renewal();
    trouble(&lost.proxy);
    fault.injected("the proxy does so right after a renewal; the next ones fail until TERM comes");
    let spare = lost.assert_gone_in_time(sent_at, |_| ());
    fault.seen(format!(
        "dead {spare:?} before the lease could expire, 79 (not-renewed); the next holder found nobody alive"
    ));
}

/// A holder whose command is a tree of the helper program.
struct Held {
    etcd: Etcd,
    folder: TempDir,
    holder: Option<Running>,
    cookie: String,
    entry: Stored,
}

impl Held {
    /// Against what ends a lease before its time, the successor's patience is the only help.
    fn start(tree: &[&'static str]) -> Self {
        let etcd = Etcd::start();
        let endpoint = etcd.endpoints();
        Self::start_at(etcd, &endpoint, "2s", tree)
    }

    fn start_at(etcd: Etcd, endpoint: &str, lock_delay: &str, tree: &[&'static str]) -> Self {
        let folder = tempdir().expect("a folder");
        let holder = Run::new(endpoint)
            .lock("job")
            .ttl(TTL_S)
            .arguments(["--lock-delay", lock_delay, "--connect-timeout", "2"])
            .report(&folder.path().join("report"))
            .all_probe(tree)
            .spawn();
        holder.expect_stdout("ready");
        let entry = etcd.store().entries("job")[0].clone();
        Self {
            cookie: holder.cookie().to_owned(),
            holder: Some(holder),
            etcd,
            folder,
            entry,
        }
    }

    /// All processes of the command.
    fn command(&self) -> Vec<Process> {
        let command = self.holder.as_ref().expect("it runs").command_processes();
        assert!(!command.is_empty());
        command
    }

    /// A successor that looks whether anybody of the holder's command is alive.
    fn next(&self) -> Run {
        self.etcd.run("job").probe(["census", &self.cookie])
    }

    fn wait(&mut self) -> Output {
        let holder = self.holder.take().expect("not waited for yet");
        holder.wait_within(SOON)
    }

    fn report(&self) -> Value {
        read_json(&self.folder.path().join("report"))
    }
}

/// A holder that speaks to etcd through a proxy.
struct Proxied {
    held: Held,
    proxy: Proxy,
}

impl Proxied {
    fn start(tree: &[&'static str]) -> Self {
        let etcd = Etcd::start();
        let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
        let endpoint = proxy.endpoint();
        Self {
            // Everything else holds without a lock delay.
            held: Held::start_at(etcd, &endpoint, "0", tree),
            proxy,
        }
    }

    /// Waits until a renewal has just been answered; returns when it was sent, or an earlier moment.
    fn wait_for_renewal(&self) -> Moment {
        self.proxy.wait_for_quiet_after_next_burst(TTL)
    }

    /// The command is gone before the lease can expire, and the next holder finds nobody.
    /// By how much in time is returned.
    fn assert_gone_in_time(mut self, sent_at: Moment, heal: impl FnOnce(&mut Etcd)) -> Duration {
        let expires_at = sent_at + TTL;
        for process in self.held.command() {
            process.wait_dead(expires_at.since(Moment::now()));
        }
        let spare = expires_at.since(Moment::now());
        let output = self.held.wait();
        output
            .assert_status(79)
            .assert_stderr_has(["job", "lock lost", "renewed in time"])
            .assert_nobody_left();
        assert_eq!(self.held.report()["loss"], "not-renewed");
        heal(&mut self.held.etcd);
        self.proxy.mend();
        let next = self.held.next().output();
        next.assert_status(0).assert_stdout("0 alive\n");
        eventually("the entries are gone", SOON, || {
            let left = self.held.etcd.store().keys("/leasehold/");
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        });
        spare
    }
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a report was written");
    serde_json::from_str(&text).expect("one JSON object")
}
