//! What facts come to.

use std::time::Duration;

use super::*;
use crate::lock::token::ClusterId;
use crate::service::checkup::{ClockDifference, MemberCheck, MemberState, Pace, RangeKind};

/// The names of all checks, as documented.
const CHECKS: &[&str] = &[
    "settings",
    "endpoint",
    "alarm",
    "version",
    "certificate",
    "clock",
    "pace",
    "cluster",
    "login",
    "permission",
    "ttl",
    "machine",
];

const NOW: &str = "2026-11-27T18:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn trouble(kind: TroubleKind, detail: &str) -> Trouble {
    let detail = detail.to_owned();
    Trouble { kind, detail }
}

fn state() -> MemberState {
    MemberState {
        version: "3.5.30".to_owned(),
        cluster: ClusterId(0xcafe),
        leads: false,
        is_learner: false,
        errors: Vec::new(),
    }
}

fn pace(commit_ms: u64, ttl_min: u64) -> Pace {
    Pace {
        read: Duration::from_millis(1),
        commit: Duration::from_millis(commit_ms),
        ttl_min: Duration::from_secs(ttl_min),
    }
}

fn member(address: &str) -> MemberCheck {
    MemberCheck {
        address: address.to_owned(),
        state: Ok(state()),
        certificate_ends: None,
        clock: None,
        pace: Some(Ok(pace(2, 2))),
    }
}

fn checkup(members: Vec<MemberCheck>) -> Checkup {
    let allowed = |kind| RangeCheck {
        kind,
        allowed: Ok(()),
    };
    Checkup {
        members,
        service: ServiceCheck::Tried {
            user: None,
            is_logged_in: false,
            ranges: RangeKind::ALL.map(allowed).to_vec(),
        },
        own_certificate_ends: None,
    }
}

fn judged(checkup: &Checkup) -> Vec<Finding> {
    let circumstances = Circumstances {
        remarks: &[],
        abilities: &[],
        lock: Some("job"),
        now: at(NOW),
    };
    let findings = findings(checkup, &circumstances);
    for finding in &findings {
        assert!(CHECKS.contains(&finding.check), "{finding:?}");
        assert!(
            !finding.message.is_empty() && !finding.message.contains('\n'),
            "{finding:?}"
        );
    }
    findings
}

/// The verdicts on this check, with the whole's exit status.
fn verdicts(checkup: &Checkup, check: &str) -> (Vec<&'static str>, u8) {
    let findings = judged(checkup);
    let of_check = findings.iter().filter(|finding| finding.check == check);
    let verdicts = of_check.map(|finding| finding.verdict.name()).collect();
    (verdicts, status(&findings))
}

#[test]
fn a_cluster_that_is_well_has_nothing_but_good_findings() {
    let findings = judged(&checkup(vec![member("a:1"), member("b:1"), member("c:1")]));
    let checks: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
    let each = ["endpoint", "pace"];
    let whole = ["cluster", "permission", "ttl"];
    assert_eq!(checks, [&each[..], &each, &each, &whole].concat());
    assert!(
        findings
            .iter()
            .all(|finding| finding.verdict == Verdict::Ok)
    );
    assert_eq!(status(&findings), 0);
}

#[test]
fn one_endpoint_of_several_that_is_of_no_use_is_a_warning_and_all_are_a_failure() {
    for (kind, wanted) in [
        (TroubleKind::Unreachable, 69),
        (TroubleKind::Refused, 69),
        (TroubleKind::Denied, 77),
        (TroubleKind::Misconfigured, 78),
    ] {
        let dead = || MemberCheck {
            state: Err(trouble(kind, "no")),
            pace: None,
            ..member("b:1")
        };
        let one = checkup(vec![member("a:1"), dead()]);
        assert_eq!(verdicts(&one, "endpoint"), (vec!["ok", "warning"], 0));
        let mut all = checkup(vec![dead(), dead()]);
        all.service = ServiceCheck::NotTried;
        assert_eq!(verdicts(&all, "endpoint"), (vec!["failure"; 2], wanted));
    }
}

#[test]
fn what_a_member_says_against_itself_counts() {
    let saying = |error: &str| {
        let mut member = member("a:1");
        if let Ok(state) = &mut member.state {
            state.errors = vec![error.to_owned()];
        }
        checkup(vec![member])
    };
    for alarm in ["memberID:42 alarm:NOSPACE ", "memberID:42 alarm:CORRUPT "] {
        assert_eq!(verdicts(&saying(alarm), "alarm"), (vec!["failure"], 69));
    }
    let other = saying("\u{1b}[2J something else");
    assert_eq!(verdicts(&other, "alarm"), (vec!["warning"], 0));
    let findings = judged(&other);
    assert!(
        findings
            .iter()
            .all(|finding| !finding.message.contains('\u{1b}'))
    );
}

#[test]
fn learners_old_versions_and_clusters_are_told() {
    let with = |change: fn(&mut MemberState)| {
        let mut changed = member("b:1");
        if let Ok(state) = &mut changed.state {
            change(state);
        }
        checkup(vec![member("a:1"), changed])
    };
    let learner = with(|state| state.is_learner = true);
    assert_eq!(verdicts(&learner, "endpoint"), (vec!["ok", "warning"], 0));
    for (version, warned) in [
        ("3.4.41", true),
        ("3.4.42", false),
        ("3.5.27", true),
        ("3.5.28", false),
        ("3.6.8", true),
        ("3.6.9", false),
        ("3.7.0", false),
        ("a.b", false),
        ("", false),
    ] {
        let mut old = with(|_| {});
        if let Ok(state) = &mut old.members[1].state {
            state.version = version.to_owned();
        }
        let wanted = if warned { vec!["warning"] } else { Vec::new() };
        assert_eq!(verdicts(&old, "version"), (wanted, 0), "{version}");
    }
    let mut two = with(|state| state.cluster = ClusterId(1));
    two.service = ServiceCheck::NotTried;
    assert_eq!(verdicts(&two, "cluster"), (vec!["failure"], 78));
}

#[test]
fn certificates_are_told_before_they_end() {
    for (ends, verdict) in [
        ("2026-12-11T17:59:59Z", "warning"),
        ("2026-12-11T18:00:01Z", "ok"),
        ("2026-11-27T17:00:00Z", "warning"),
    ] {
        let mut one = checkup(vec![member("a:1")]);
        one.members[0].certificate_ends = Some(at(ends));
        assert_eq!(verdicts(&one, "certificate"), (vec![verdict], 0), "{ends}");
        let mut own = checkup(vec![member("a:1")]);
        own.own_certificate_ends = Some(at(ends));
        assert_eq!(verdicts(&own, "certificate"), (vec![verdict], 0), "{ends}");
    }
}

#[test]
fn clocks_are_compared_only_as_exactly_as_can_be() {
    for (least_ms, most_ms, verdict, said) in [
        (-400, 610, "ok", "agrees with ours"),
        (1_900, 2_910, "ok", "2.4 s ahead of"),
        (2_001, 3_010, "warning", "2.5 s ahead of"),
        (-3_010, -2_001, "warning", "2.5 s behind"),
        (-2_500, -1_500, "ok", "2.0 s behind"),
    ] {
        let mut one = checkup(vec![member("a:1")]);
        one.members[0].clock = Some(ClockDifference { least_ms, most_ms });
        assert_eq!(verdicts(&one, "clock"), (vec![verdict], 0), "{said}");
        let findings = judged(&one);
        let clock = findings.iter().find(|finding| finding.check == "clock");
        let message = &clock.expect("one").message;
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn what_is_not_permitted_is_a_failure_only_where_no_run_works_without_it() {
    for kind in RangeKind::ALL {
        let mut one = checkup(vec![member("a:1")]);
        if let ServiceCheck::Tried { ranges, .. } = &mut one.service {
            for range in ranges.iter_mut().filter(|range| range.kind == kind) {
                range.allowed = Err(trouble(TroubleKind::Denied, "no"));
            }
        }
        let wanted = match kind.needed_for() {
            None => (vec!["failure"], 77),
            Some(_) => (vec!["warning"], 0),
        };
        assert_eq!(verdicts(&one, "permission"), wanted, "{kind:?}");
    }
    let mut refused = checkup(vec![member("a:1")]);
    refused.service = ServiceCheck::Unusable(trouble(TroubleKind::Denied, "no"));
    assert_eq!(verdicts(&refused, "login"), (vec!["failure"], 77));
    refused.service = ServiceCheck::Unusable(trouble(TroubleKind::Unreachable, "no leader"));
    assert_eq!(verdicts(&refused, "cluster"), (vec!["ok", "failure"], 69));
}

#[test]
fn the_ttl_follows_from_the_election_timeout_and_the_slowest_answer() {
    let advice = |paces: &[(u64, u64)]| {
        let members = paces.iter().map(|(commit_ms, ttl_min)| MemberCheck {
            pace: Some(Ok(pace(*commit_ms, *ttl_min))),
            ..member("a:1")
        });
        Advice::of(&checkup(members.collect()))
    };
    let usual = advice(&[(2, 2), (3, 2)]).expect("measured").expect("fits");
    // 3 x 1.33 s + 4 x 3 ms.
    assert!(
        usual.outage > Duration::from_millis(4_011) && usual.outage < Duration::from_millis(4_013)
    );
    assert_eq!(usual.ttl, Duration::from_secs(60));
    assert_eq!(usual.kill_after, Duration::from_secs(10));
    assert_eq!(usual.ttl_min, Duration::from_secs(10));
    let slow = advice(&[(2, 2), (9_000, 2)])
        .expect("measured")
        .expect("fits");
    assert!(slow.ttl > Duration::from_secs(60) && slow.ttl == slow.ttl_min);
    assert!(advice(&[(90_000, 2)]).expect("measured").is_err());
    assert!(advice(&[]).is_none());
}

#[test]
fn what_a_machine_lacks_is_a_failure_only_where_nothing_runs_without_it() {
    for (has, is_required, verdict) in [
        (true, true, Verdict::Ok),
        (true, false, Verdict::Ok),
        (false, false, Verdict::Warning),
        (false, true, Verdict::Failure(69)),
    ] {
        let text = "x".to_owned();
        let ability = Ability {
            has,
            is_required,
            text,
        };
        assert_eq!(machine(&ability).verdict, verdict);
    }
}
