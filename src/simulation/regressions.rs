//! Histories that once broke a promise, and others of their kind: each is kept, since what it tries was mended.

use std::time::Duration;

use super::modes::mixed;
use super::policies::with_policies;
use super::scenario::{Fault, FaultKind, Scenario, Weather};
use super::sights::Sight;
use super::tests::assert_kept;
use super::world::{Options, run};

/// Found by the simulator: a member that did not know yet that it leads no more also did not know the lease, and
/// its word ended the run.
#[test]
fn a_run_that_queues_during_an_election_gets_its_place() {
    for seed in 0..150 {
        let mut scenario = Scenario::quiet(vec![Fault {
            at: Duration::from_secs(5),
            lasts: Duration::from_millis(1_000 + seed * 37 % 1_100),
            kind: FaultKind::PauseMember(0),
        }]);
        scenario.seed = seed;
        scenario.members = vec![0; 3];
        scenario.network.delay_max = Duration::from_millis(1);
        scenario.commit_max = Duration::from_millis(1);
        scenario.hosts.truncate(1);
        scenario.hosts[0].arrives_at = Duration::from_millis(5_050);
        scenario.hosts[0].command.runs_for = Duration::from_millis(1);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}

/// Found by the simulator: a grant that was sent again after the lease had run out made a new lease of the same
/// name, and the place of the old one was taken for a place on the new one.
#[test]
fn a_place_on_a_lease_that_ran_out_is_not_believed_on_the_next() {
    for seed in 0..100 {
        let mut scenario = Scenario::quiet(vec![Fault {
            at: Duration::from_millis(1_500),
            lasts: Duration::from_secs(8),
            kind: FaultKind::FreezeManager(0),
        }]);
        scenario.seed = seed;
        scenario.weather = Weather::Stormy;
        scenario.network.late_percent = 25;
        scenario.network.lost_percent = 10;
        for host in &mut scenario.hosts {
            host.ttl = Duration::from_secs(5);
            host.command.runs_for = Duration::from_millis(10);
        }
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}

/// Found by the simulator: the place that was being given up was forgotten when the run was stopped meanwhile,
/// and its marker made the next contender wait out a lock delay.
#[test]
fn a_run_that_is_stopped_while_it_queues_again_leaves_nothing() {
    for after_ms in 0..60 {
        let fault = |at, kind| Fault {
            at,
            lasts: Duration::ZERO,
            kind,
        };
        let at = Duration::from_secs(5);
        let scenario = Scenario::quiet(vec![
            fault(at, FaultKind::RevokeLease(1)),
            fault(at + Duration::from_millis(after_ms), FaultKind::Signal(1)),
        ]);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}

/// Grant and entry are under way through a member that is paused, another one is overtaken by them, and the lease is revoked
/// by somebody. The member goes on when the run has given its place back, or is about to.
pub fn lease_taken_meanwhile(seed: u64) -> Scenario {
    let paused = |at_ms: u64, until_ms: u64| Fault {
        at: Duration::from_millis(at_ms),
        lasts: Duration::from_millis(until_ms - at_ms),
        kind: FaultKind::PauseMember(0),
    };
    let mut scenario = Scenario::quiet(vec![
        // Others lead from then on.
        paused(1_000, 4_000),
        paused(8_600 + seed % 25, 9_500 + seed * 37 % 1_000),
        Fault {
            at: Duration::from_millis(9_400),
            lasts: Duration::from_secs(12),
            kind: FaultKind::RevokeLease(0),
        },
    ]);
    scenario.seed = seed;
    scenario.weather = Weather::Stormy;
    scenario.members = vec![0; 3];
    scenario.network.late_percent = 5;
    scenario.hosts.truncate(1);
    scenario.hosts[0].arrives_at = Duration::from_millis(8_600);
    scenario
}

/// Somebody vanishes who held the lock, and after it only those come who must not wait.
pub fn only_those_who_must_not_wait(seed: u64) -> Scenario {
    let mut scenario = Scenario::quiet(vec![Fault {
        at: Duration::from_millis(2_000 + seed * 37 % 1_000),
        lasts: Duration::ZERO,
        kind: FaultKind::KillManager(0),
    }]);
    scenario.seed = seed;
    scenario.hosts[0].lock_delay = Duration::from_secs(2);
    let mut hosts = vec![scenario.hosts[0].clone(); 4];
    for (number, host) in hosts.iter_mut().enumerate().skip(1) {
        host.nonblock = true;
        host.arrives_at = Duration::from_secs(20 * number as u64);
        host.command.runs_for = Duration::from_millis(10);
    }
    scenario.hosts = hosts;
    scenario
}

/// Nobody of them waits out the lock delay of whoever vanished, and still the lock is not busy for ever.
#[test]
fn a_lock_that_nobody_waits_for_does_not_stay_busy() {
    for seed in 0..20 {
        let scenario = only_those_who_must_not_wait(seed);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
        assert!(
            report.sights.times(Sight::Busy) > 0,
            "nobody met the one who vanished"
        );
    }
}

/// Found by the simulator: the place was called given back before there was a sign that keeps out what was under way, or
/// the sign was to hang on a lease made anew under the name of the one that was gone; and grant and entry came.
#[test]
fn what_was_given_back_does_not_come_back_where_the_lease_was_taken() {
    for seed in 0..200 {
        let scenario = lease_taken_meanwhile(seed);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}

/// The history of a seed with policies, as it was drawn before anybody recorded how it ended.
fn unrecorded(seed: u64) -> Scenario {
    let mut scenario = with_policies(seed);
    for host in &mut scenario.hosts {
        host.policy.record = false;
    }
    scenario
}

/// Found by the simulator, as they were drawn: an entry that somebody overwrote stayed when the lease was gone that the sign
/// was to hang on; and one that somebody deleted, and a request that was overtaken put anew, stayed on its lease.
#[test]
fn what_others_did_to_the_entry_does_not_keep_it_from_being_given_back() {
    for seed in [5_000_044_618, 5_000_110_418] {
        let scenario = Scenario::draw(seed);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}

/// Found by the simulator: of two locks one entry was gone with its lease, and the other one, which somebody had overwritten
/// without a lease, stayed.
#[test]
fn of_several_locks_an_entry_that_was_overwritten_is_given_back() {
    let scenario = unrecorded(7_000_002_163);
    let report = run(&scenario, Options::default());
    assert_kept(&scenario, Options::default(), &report);
}

/// Found by the simulator: somebody deleted a holder's entry and put another key under its name, the next one was admitted
/// without the lock delay; and when that key went, the marker stood before it, and a newer waiter took its place away.
#[test]
fn whoever_runs_is_not_replaced_when_a_key_goes_that_hid_a_vanished_one() {
    let scenario = unrecorded(9_000_012_265);
    let report = run(&scenario, Options::default());
    assert_kept(&scenario, Options::default(), &report);
}

/// Found by the simulator: with `--once` it took three seconds to read whether it was done already, nobody looked at the
/// entry meanwhile, which was gone, and the command was started on the reading from before.
#[test]
fn whoever_reads_a_record_for_long_still_has_its_place_when_it_starts() {
    let scenario = with_policies(11_000_003_810);
    let report = run(&scenario, Options::default());
    assert_kept(&scenario, Options::default(), &report);
}

/// The grant's answer is lost, so that it is asked for again, while that of the entry has come; the entry is deleted
/// meanwhile, and the next one waits the lock delay and runs. Whoever had the entry must not start on what it read then.
#[test]
fn whoever_waits_long_for_its_grant_still_has_its_place_when_it_starts() {
    for seed in 400..420 {
        let mut scenario = Scenario::quiet(vec![Fault {
            at: Duration::from_millis(100),
            lasts: Duration::from_secs(20),
            kind: FaultKind::DeleteEntries,
        }]);
        scenario.seed = seed;
        scenario.weather = Weather::Stormy;
        scenario.network.lost_percent = 15;
        scenario.hosts[0].lock_delay = Duration::from_secs(2);
        scenario.hosts[1].arrives_at = Duration::from_millis(150);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
    }
}

/// Found by the simulator, and a fault of its own: a leader that was deposed ended a lease before its time that had been given
/// back, and what its sign kept out came.
#[test]
fn what_a_sign_kept_out_until_its_lease_was_ended_early_is_not_ours() {
    let scenario = mixed(13_000_080_921);
    let report = run(&scenario, Options::default());
    assert_kept(&scenario, Options::default(), &report);
    assert!(report.sights.times(Sight::CameBackLate) > 0);
}

/// Found by the simulator, and a fault of its own: a request that had been refused was sent again by somebody in between,
/// and carried out when even the last contender was gone.
#[test]
fn what_was_refused_and_is_sent_again_by_others_is_not_ours() {
    for family in [Scenario::draw, mixed, unrecorded] {
        let scenario = family(1_795_841_817_084_513);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
        assert!(report.sights.times(Sight::RequestTwice) > 0);
    }
}

/// Found by the simulator, and a fault of its own: grant and entry came a second time, sent by somebody in between, when
/// even the last contender was gone. Nobody of ours can do anything about that.
#[test]
fn what_others_send_again_when_everybody_has_left_is_not_ours() {
    let mut came_back = 0;
    for seed in 0..100 {
        let mut scenario = Scenario::quiet(vec![Fault {
            at: Duration::ZERO,
            lasts: Duration::from_secs(3),
            kind: FaultKind::Compact,
        }]);
        scenario.seed = seed;
        scenario.weather = Weather::Stormy;
        scenario.network.copied_percent = 40;
        scenario.hosts.truncate(1);
        scenario.hosts[0].ttl = Duration::from_secs(5);
        scenario.hosts[0].command.runs_for = Duration::from_millis(10);
        let report = run(&scenario, Options::default());
        assert_kept(&scenario, Options::default(), &report);
        came_back += report.sights.times(Sight::CameBackByOthers);
        came_back += report.sights.times(Sight::CameBackLate);
    }
    assert!(came_back > 0, "nothing came back");
}
