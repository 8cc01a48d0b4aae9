//! The trial of the simulator itself: which broken rule is found by which check, after how many histories.
//!
//! The tables stand in docs/correctness.md. The tests run their rows again, each the one history that finds the mutant;
//! `make mutants` draws histories from the first seed on, and writes them anew.

use super::checker::{Kind, Violation};
use super::modes::mixed;
use super::mutants::Mutant;
use super::page;
use super::policies::with_policies;
use super::regressions;
use super::scenario::Scenario;
use super::tests::variable;
use super::world::{Options, run};

/// How far a mutant is looked for.
const HISTORIES_MAX: u64 = 20_000;

/// For every check a mutant that it has to find, where no other check finds anything.
static FOUND_BY: &[(Kind, Mutant)] = &[
    (Kind::TwoCommands, Mutant::MarkerForgotten),
    (Kind::AliveAfterExpiry, Mutant::NoClockMargin),
    (Kind::ReleasedTooEarly, Mutant::ReleaseAtEnd),
    (Kind::TokenDoesNotGrow, Mutant::OldToken),
    (Kind::FencedWrite, Mutant::UnfencedWrite),
    (Kind::WrongOutcome, Mutant::LateEndIsSuccess),
    (Kind::NeverEnded, Mutant::GuardGoneIgnored),
    (Kind::LeftBehind, Mutant::LeaseNotRevoked),
    (Kind::CameBack, Mutant::SignForgotten),
    (Kind::LostForNothing, Mutant::NoRenewal),
    (Kind::NoReason, Mutant::GiveUpAtOnce),
    (Kind::EnqueuedToWait, Mutant::NonblockUnguarded),
    (Kind::ForeignRemoved, Mutant::ReleaseUnguarded),
    (Kind::KilledWithoutGrace, Mutant::NoGrace),
    (Kind::GuardHadToAct, Mutant::PublishedOnce),
    (Kind::StartedUnguarded, Mutant::StartUnguarded),
    (Kind::OutlivesGuard, Mutant::GuardGoneIgnored),
    (Kind::FreedTooEarly, Mutant::KeptOnOldLease),
    (Kind::DoneAgain, Mutant::RecordUnread),
    (Kind::RecordUntrue, Mutant::RecordUnguarded),
    (Kind::GoesRound, Mutant::TimersFireEarly),
];

/// What must hold, by which checks it is looked at, and broken rules that these have to find, all others switched off.
static INVARIANTS: &[(&str, &[Kind], &[Mutant])] = &[
    (
        "no two live commands under an exclusive lock, none more than the limits allow, outside the stated exceptions",
        &[Kind::TwoCommands],
        &[
            Mutant::PredecessorOnly,
            Mutant::ReplacedTrusted,
            Mutant::SharedIgnoresExclusive,
            Mutant::OwnLimitOnly,
            Mutant::VanishedIgnored,
        ],
    ),
    (
        "tokens grow from holder to holder",
        &[Kind::TokenDoesNotGrow],
        &[Mutant::OldToken],
    ),
    (
        "a command is gone by `expires_at`",
        &[
            Kind::AliveAfterExpiry,
            Kind::GuardHadToAct,
            Kind::OutlivesGuard,
            Kind::StartedUnguarded,
        ],
        &[
            Mutant::NoClockMargin,
            Mutant::PublishedOnce,
            Mutant::GuardGoneIgnored,
            Mutant::StartUnguarded,
        ],
    ),
    (
        "nothing is released before the tree is empty",
        &[Kind::ReleasedTooEarly, Kind::FreedTooEarly],
        &[Mutant::ReleaseAtEnd, Mutant::KeptOnOldLease],
    ),
    (
        "a fenced write of one who lost the lock fails, a holder's does not",
        &[Kind::FencedWrite],
        &[Mutant::UnfencedWrite],
    ),
    (
        "every waiter is served, or told, with a reason; and what is told is true",
        &[
            Kind::NeverEnded,
            Kind::WrongOutcome,
            Kind::NoReason,
            Kind::LostForNothing,
            Kind::EnqueuedToWait,
            Kind::DoneAgain,
            Kind::KilledWithoutGrace,
            Kind::RecordUntrue,
        ],
        &[
            Mutant::GiveUpAtOnce,
            Mutant::BusyThoughFree,
            Mutant::NonblockUnguarded,
            Mutant::RecordUnread,
            Mutant::NoGrace,
            Mutant::RecordFlatters,
        ],
    ),
    (
        "nothing of ours is left in etcd, nothing comes back, and what is not ours stays",
        &[Kind::LeftBehind, Kind::CameBack, Kind::ForeignRemoved],
        &[
            Mutant::LeaseNotRevoked,
            Mutant::SignForgotten,
            Mutant::ReleaseUnguarded,
            Mutant::SupersedeUnguarded,
        ],
    ),
    (
        "when the last fault is over, everybody ends: within the commands' times, and for each contender four TTLs, four lock delays and a minute",
        &[Kind::NeverEnded, Kind::GoesRound],
        &[Mutant::TimersFireEarly],
    ),
];

/// The histories in which a mutant of [`FOUND_BY`] or [`INVARIANTS`] can show.
fn histories_for(mutant: Mutant) -> Histories {
    if Mutant::OF_POLICIES.contains(&mutant) {
        with_policies
    } else if Mutant::OF_MODES.contains(&mutant) {
        mixed
    } else {
        Scenario::draw
    }
}

/// A family of histories: one for each seed.
type Histories = fn(u64) -> Scenario;

/// The first history from `seeds` in which it is found, by these checks or by any.
fn found(
    histories: Histories,
    mutant: Mutant,
    only: Option<&'static [Kind]>,
    mut seeds: impl Iterator<Item = u64>,
) -> Option<(u64, Violation)> {
    let options = Options {
        mutant: Some(mutant),
        only,
        ..Options::default()
    };
    seeds.find_map(|seed| Some((seed, run(&histories(seed), options).violation?)))
}

/// The first history from `seeds` in which it is found by this check, and by no other where this one is switched off.
fn found_alone(
    kind: &'static Kind,
    mutant: Mutant,
    mut seeds: impl Iterator<Item = u64>,
) -> Option<u64> {
    let histories = histories_for(mutant);
    let without = Options {
        mutant: Some(mutant),
        except: Some(*kind),
        ..Options::default()
    };
    let only = Some(std::slice::from_ref(kind));
    seeds.find(|seed| {
        found(histories, mutant, only, std::iter::once(*seed)).is_some()
            && run(&histories(*seed), without).violation.is_none()
    })
}

fn every_one_is_found(table: &str, mutants: &[Mutant], histories: fn(Mutant) -> Histories) {
    if variable("COUNT").is_some() {
        let rows = mutants.iter().map(|mutant| {
            let (seed, violation) = found(histories(*mutant), *mutant, None, 0..HISTORIES_MAX)
                .unwrap_or_else(|| panic!("{mutant:?} survives {HISTORIES_MAX} histories"));
            let (after, kind) = (seed + 1, violation.kind);
            [
                format!("`{mutant:?}`"),
                after.to_string(),
                format!("`{kind:?}`"),
            ]
        });
        let head = [
            "broken rule",
            "found after so many histories",
            "by the check",
        ];
        return page::write_table(table, head, &rows.collect::<Vec<_>>());
    }
    let rows = page::table(table);
    assert_eq!(rows.len(), mutants.len(), "one row for each: make mutants");
    for (row, mutant) in rows.iter().zip(mutants) {
        let seeds = std::iter::once(seed_of(row));
        let violation = found(histories(*mutant), *mutant, None, seeds);
        let by = violation.map(|(_, violation)| format!("{:?}", violation.kind));
        assert_eq!(
            row[0],
            format!("{mutant:?}"),
            "in their order: make mutants"
        );
        assert_eq!(
            by.as_deref(),
            Some(row[2]),
            "{row:?} is not so any more: make mutants"
        );
    }
}

/// The last of the histories of a row.
fn seed_of(row: &[&str]) -> u64 {
    let after: u64 = row[1].parse().expect("a number");
    after - 1
}

#[test]
fn every_mutant_is_found() {
    every_one_is_found("mutants", Mutant::ALL, |_| Scenario::draw);
}

#[test]
fn every_mutant_of_the_modes_is_found() {
    every_one_is_found("mutants of the modes", Mutant::OF_MODES, |_| mixed);
}

#[test]
fn every_mutant_of_the_policies_is_found() {
    every_one_is_found("mutants of the policies", Mutant::OF_POLICIES, |_| {
        with_policies
    });
}

/// What only chance of a kind finds that is hardly ever drawn.
#[test]
fn every_mutant_of_a_regression_is_found() {
    let histories = |mutant| match mutant {
        Mutant::RetireForgotten => regressions::only_those_who_must_not_wait,
        _ => regressions::lease_taken_meanwhile as Histories,
    };
    every_one_is_found("mutants of regressions", Mutant::OF_REGRESSIONS, histories);
}

/// A check that finds no mutant which all others miss may be one that cannot fail, or that nobody needs.
#[test]
fn every_check_finds_a_mutant_by_itself() {
    let kinds: Vec<Kind> = FOUND_BY.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, Kind::ALL, "one for each check");
    if variable("COUNT").is_some() {
        let rows = FOUND_BY.iter().map(|(kind, mutant)| {
            let seed = found_alone(kind, *mutant, 0..HISTORIES_MAX)
                .unwrap_or_else(|| panic!("{kind:?} does not find {mutant:?} alone"));
            [
                format!("`{kind:?}`"),
                (seed + 1).to_string(),
                format!("`{mutant:?}`"),
            ]
        });
        let head = [
            "check",
            "alone finds after so many histories",
            "the broken rule",
        ];
        return page::write_table("checks", head, &rows.collect::<Vec<_>>());
    }
    let rows = page::table("checks");
    assert_eq!(
        rows.len(),
        Kind::ALL.len(),
        "one row for each: make mutants"
    );
    for (row, (kind, mutant)) in rows.iter().zip(FOUND_BY) {
        let named = [format!("{kind:?}"), format!("{mutant:?}")];
        assert_eq!([row[0], row[2]], named, "as in FOUND_BY: make mutants");
        let seeds = std::iter::once(seed_of(row));
        let found = found_alone(kind, *mutant, seeds);
        assert!(found.is_some(), "{row:?} is not so any more: make mutants");
    }
}

/// What the page says of each invariant.
#[test]
fn the_checks_of_every_invariant_find_its_mutants() {
    if variable("COUNT").is_some() {
        let rows = INVARIANTS.iter().map(|(holds, kinds, mutants)| {
            let found = mutants.iter().map(|mutant| {
                let found = found(
                    histories_for(*mutant),
                    *mutant,
                    Some(kinds),
                    0..HISTORIES_MAX,
                );
                let (seed, _) = found.unwrap_or_else(|| panic!("{mutant:?}: {holds}"));
                format!("`{mutant:?}` {}", seed + 1)
            });
            let found: Vec<String> = found.collect();
            [(*holds).to_owned(), listed(kinds), found.join(", ")]
        });
        let head = [
            "what must hold",
            "checks",
            "broken rules that they find, all others switched off, after so many histories",
        ];
        return page::write_table("invariants", head, &rows.collect::<Vec<_>>());
    }
    let rows = page::table("invariants");
    assert_eq!(
        rows.len(),
        INVARIANTS.len(),
        "one row for each: make mutants"
    );
    for (row, (holds, kinds, mutants)) in rows.iter().zip(INVARIANTS) {
        let listed = listed(kinds);
        let named = [holds, listed.as_str()].map(|cell| cell.trim_matches('`'));
        assert_eq!([row[0], row[1]], named, "make mutants");
        let cells: Vec<&str> = row[2].split(", ").collect();
        assert_eq!(cells.len(), mutants.len(), "{holds}: make mutants");
        for (cell, mutant) in cells.iter().zip(*mutants) {
            let (name, after) = cell.rsplit_once(' ').expect("a name and a number");
            assert_eq!(name.trim_matches('`'), format!("{mutant:?}"), "{holds}");
            let seeds = std::iter::once(after.parse::<u64>().expect("a number") - 1);
            let found = found(histories_for(*mutant), *mutant, Some(kinds), seeds);
            assert!(found.is_some(), "{cell} is not so any more: make mutants");
        }
    }
}

fn listed(kinds: &[Kind]) -> String {
    let kinds = kinds.iter().map(|kind| format!("`{kind:?}`"));
    kinds.collect::<Vec<_>>().join(", ")
}

/// What is recorded is for people, and decides nothing: nobody else would notice.
#[test]
fn no_other_check_finds_a_record_that_is_not_true() {
    for mutant in [
        Mutant::RecordFlatters,
        Mutant::RecordForgotten,
        Mutant::RecordUnguarded,
    ] {
        let options = Options {
            mutant: Some(mutant),
            except: Some(Kind::RecordUntrue),
            ..Options::default()
        };
        for seed in 0..40 {
            let violation = run(&with_policies(seed), options).violation;
            assert_eq!(violation, None, "{mutant:?}, seed {seed}");
        }
    }
}

/// A mutant, and the seed of a large history that finds it.
pub fn known() -> (Mutant, u64) {
    let is_large = |seed: &u64| Scenario::draw(*seed).hosts.len() > 2;
    let seeds = (0..HISTORIES_MAX).filter(is_large);
    let mutant = Mutant::LateEndIsSuccess;
    let (seed, _) = found(Scenario::draw, mutant, None, seeds).expect("it is found");
    (mutant, seed)
}
