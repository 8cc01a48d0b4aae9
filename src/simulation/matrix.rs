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

/// For every check a mutant that it has to find alone.
const FOUND_BY: &[(Kind, Mutant)] = &[
    (Kind::TwoCommands, Mutant::MarkerForgotten),
    (Kind::AliveAfterExpiry, Mutant::NoClockMargin),
    (Kind::ReleasedTooEarly, Mutant::ReleaseAtEnd),
    (Kind::TokenDoesNotGrow, Mutant::OldToken),
    (Kind::FencedWrite, Mutant::UnfencedWrite),
    (Kind::WrongOutcome, Mutant::LateEndIsSuccess),
    (Kind::NeverEnded, Mutant::GuardGoneIgnored),
    (Kind::LeftBehind, Mutant::MarkerKept),
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

/// The histories in which a mutant of [`FOUND_BY`] can show.
fn histories_for(mutant: Mutant) -> Histories {
    match Mutant::OF_POLICIES.contains(&mutant) {
        true => with_policies,
        false => Scenario::draw,
    }
}

/// A family of histories: one for each seed.
type Histories = fn(u64) -> Scenario;

/// The first history from `seeds` in which it is found, by this check alone or by any.
fn found(
    histories: Histories,
    mutant: Mutant,
    only: Option<Kind>,
    mut seeds: impl Iterator<Item = u64>,
) -> Option<(u64, Violation)> {
    let options = Options {
        mutant: Some(mutant),
        only,
        ..Options::default()
    };
    seeds.find_map(|seed| Some((seed, run(&histories(seed), options).violation?)))
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

/// A check that finds no mutant when all others are switched off may be one that cannot fail.
#[test]
fn every_check_finds_a_mutant_by_itself() {
    let kinds: Vec<Kind> = FOUND_BY.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, Kind::ALL, "one for each check");
    if variable("COUNT").is_some() {
        let rows = FOUND_BY.iter().map(|(kind, mutant)| {
            let (seed, _) = found(
                histories_for(*mutant),
                *mutant,
                Some(*kind),
                0..HISTORIES_MAX,
            )
            .unwrap_or_else(|| panic!("{kind:?} does not find {mutant:?}"));
            [
                format!("`{kind:?}`"),
                (seed + 1).to_string(),
                format!("`{mutant:?}`"),
            ]
        });
        let head = ["check", "finds after so many histories", "the broken rule"];
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
        let violation = found(histories_for(*mutant), *mutant, Some(*kind), seeds);
        assert!(
            violation.is_some(),
            "{row:?} is not so any more: make mutants"
        );
    }
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
