//! The admission rule, by example and against a model that is too simple to be wrong.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

const DELAY: Duration = Duration::from_secs(2);

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn slots(number: u32) -> Limit {
    Limit::Holders(NonZeroU32::new(number).expect("positive"))
}

fn entry(revision: i64) -> QueuedEntry {
    QueuedEntry {
        create_revision: revision,
        id: format!("{revision:x}"),
        leased: true,
    }
}

fn marker_of(revision: i64, limit: Limit) -> Marker {
    Marker {
        create_revision: revision,
        id: format!("{revision:x}"),
        limit,
        lock_delay: DELAY,
        replaceable: None,
    }
}

fn marker(revision: i64) -> Marker {
    marker_of(revision, Limit::EXCLUSIVE)
}

fn snapshot(entries: &[i64], markers: &[i64]) -> Snapshot {
    Snapshot {
        revision: 100,
        entries: entries.iter().copied().map(entry).collect(),
        markers: markers.iter().copied().map(marker).collect(),
    }
}

/// Entries of ours with these limits, the revision of each ten times its place.
fn queue(limits: &[Limit]) -> Snapshot {
    let places = || (1..).map(|place: i64| place * 10);
    Snapshot {
        revision: 1000,
        entries: places().take(limits.len()).map(entry).collect(),
        markers: places()
            .zip(limits)
            .map(|(revision, limit)| marker_of(revision, *limit))
            .collect(),
    }
}

fn own(revision: i64) -> Token {
    Token::new(revision).expect("positive")
}

fn standing(revision: i64, snapshot: &Snapshot) -> Standing {
    Vanished::default().standing(own(revision), snapshot, at(0))
}

fn behind(revisions: &[i64]) -> Standing {
    let obstacles = revisions.iter().copied().map(entry).map(Obstacle::Entry);
    Standing::Behind(obstacles.collect())
}

fn delayed(revision: i64, until: Instant) -> Standing {
    Standing::Behind(vec![Obstacle::Vanished {
        marker: marker(revision),
        until,
    }])
}

#[test]
fn the_oldest_entry_is_admitted_and_every_other_waits_for_the_one_before_it() {
    let queue = snapshot(&[9, 5, 7], &[5, 7, 9]);
    assert_eq!(standing(5, &queue), Standing::Admitted);
    assert_eq!(standing(7, &queue), behind(&[5]));
    assert_eq!(standing(9, &queue), behind(&[7]));
    assert_eq!(standing(8, &queue), Standing::NotQueued);
    assert_eq!(Line::of(&queue).holders(), 1);
}

#[test]
fn readers_share_and_wait_for_the_last_exclusive_one_ahead() {
    let (x, s) = (Limit::EXCLUSIVE, Limit::Unlimited);
    let readers = queue(&[s, s, s, x, s, x, s, s]);
    for revision in [10, 20, 30] {
        assert_eq!(standing(revision, &readers), Standing::Admitted);
    }
    assert_eq!(standing(40, &readers), behind(&[30]));
    assert_eq!(standing(50, &readers), behind(&[40]));
    assert_eq!(standing(60, &readers), behind(&[50]));
    // Both wait for the same one, and both can go when it goes.
    assert_eq!(standing(70, &readers), behind(&[60]));
    assert_eq!(standing(80, &readers), behind(&[60]));
    let line = Line::of(&readers);
    assert_eq!((line.holders(), line.limit()), (3, Some(s)));
}

#[test]
fn so_many_hold_slots_and_the_next_ones_wait_for_as_many_before_them() {
    let three = slots(3);
    let full = queue(&[three; 6]);
    for revision in [10, 20, 30] {
        assert_eq!(standing(revision, &full), Standing::Admitted);
    }
    assert_eq!(standing(40, &full), behind(&[30, 20, 10]));
    assert_eq!(standing(60, &full), behind(&[50, 40, 30]));
    let line = Line::of(&full);
    assert_eq!((line.holders(), line.limit()), (3, Some(three)));
}

#[test]
fn the_smallest_limit_among_oneself_and_all_ahead_decides() {
    // Whoever wants more slots than others gets no more than they allow, and they none because of it.
    let mixed = queue(&[slots(5), slots(2), slots(5), slots(5)]);
    assert_eq!(standing(20, &mixed), Standing::Admitted);
    assert_eq!(standing(30, &mixed), behind(&[20, 10]));
    assert_eq!(standing(40, &mixed), behind(&[30, 20]));
    assert_eq!(Line::of(&mixed).limit(), Some(slots(2)));
    // A reader behind slots takes one of them.
    let reader = queue(&[slots(2), Limit::Unlimited, Limit::Unlimited]);
    assert_eq!(standing(20, &reader), Standing::Admitted);
    assert_eq!(standing(30, &reader), behind(&[20, 10]));
}

#[test]
fn an_entry_that_is_not_understood_is_exclusive() {
    let mut foreign = queue(&[Limit::Unlimited, Limit::Unlimited, Limit::Unlimited]);
    // Without its marker, as etcdctl's; or with one that it was not put with.
    foreign.markers.remove(1);
    assert_eq!(standing(20, &foreign), behind(&[10]));
    assert_eq!(standing(30, &foreign), behind(&[20]));
    let other = Marker {
        create_revision: 19,
        ..marker_of(20, Limit::Unlimited)
    };
    foreign.markers.push(other.clone());
    let Standing::Behind(obstacles) = standing(20, &foreign) else {
        panic!("it is exclusive");
    };
    let of_another = Obstacle::Vanished {
        marker: other,
        until: at(2),
    };
    assert_eq!(obstacles, [of_another]);
}

#[test]
fn a_newcomer_sees_what_it_would_have_to_wait_for() {
    let newcomer =
        |limit, queue: &Snapshot| Vanished::default().standing_of_newcomer(limit, queue, at(0));
    let readers = queue(&[Limit::Unlimited; 2]);
    assert_eq!(newcomer(Limit::Unlimited, &readers), Standing::Admitted);
    assert_eq!(newcomer(slots(3), &readers), Standing::Admitted);
    assert_eq!(newcomer(slots(2), &readers), behind(&[20, 10]));
    assert_eq!(newcomer(Limit::EXCLUSIVE, &readers), behind(&[20]));
    assert_eq!(newcomer(Limit::EXCLUSIVE, &queue(&[])), Standing::Admitted);
    let waiting_writer = queue(&[Limit::Unlimited, Limit::EXCLUSIVE]);
    assert_eq!(newcomer(Limit::Unlimited, &waiting_writer), behind(&[20]));
}

#[test]
fn a_clean_release_costs_the_next_one_nothing_and_a_vanished_holder_its_delay() {
    let mut vanished = Vanished::default();
    assert_eq!(
        vanished.standing(own(7), &snapshot(&[7], &[7]), at(0)),
        Standing::Admitted
    );
    let left = snapshot(&[7], &[5, 7]);
    let delayed = delayed(5, at(3));
    assert_eq!(vanished.standing(own(7), &left, at(1)), delayed);
    assert!(vanished.removable(Some(own(7)), &left, at(2)).is_empty());
    // It counts from the first sight, however often it is looked at.
    assert_eq!(vanished.standing(own(7), &left, at(3)), delayed);
    assert_eq!(vanished.removable(Some(own(7)), &left, at(3)), [&marker(5)]);
}

/// Found by the simulator: the next one was admitted at once, and when that key went again it stood behind the marker.
#[test]
fn a_key_under_the_name_of_one_who_vanished_does_not_hide_it() {
    let mut vanished = Vanished::default();
    let mut replaced = snapshot(&[7], &[5, 7]);
    replaced.entries.push(QueuedEntry {
        create_revision: 8,
        ..entry(5)
    });
    assert_eq!(
        vanished.standing(own(7), &replaced, at(1)),
        delayed(5, at(3))
    );
    assert_eq!(
        vanished.removable(Some(own(7)), &replaced, at(3)),
        [&marker(5)]
    );
    let after = snapshot(&[7, 8], &[7]);
    assert_eq!(vanished.standing(own(7), &after, at(3)), Standing::Admitted);
    assert_eq!(vanished.standing(own(8), &after, at(3)), behind(&[7]));
}

#[test]
fn a_vanished_waiter_never_held_the_lock_and_delays_nobody() {
    let mut vanished = Vanished::default();
    let queue = snapshot(&[5, 9], &[5, 7, 9]);
    assert_eq!(vanished.standing(own(9), &queue, at(0)), behind(&[5]));
    assert_eq!(
        vanished.removable(Some(own(9)), &queue, at(0)),
        [&marker(7)]
    );
}

#[test]
fn one_who_waited_out_nobody_elses_delay_never_held_the_lock() {
    let mut vanished = Vanished::default();
    let queue = snapshot(&[9], &[5, 7, 9]);
    assert_eq!(vanished.standing(own(9), &queue, at(0)), delayed(5, at(2)));
    assert_eq!(
        vanished.removable(Some(own(9)), &queue, at(0)),
        [&marker(7)]
    );
}

#[test]
fn the_delay_runs_while_others_are_still_ahead() {
    let mut vanished = Vanished::default();
    let queue = snapshot(&[7, 9], &[5, 7, 9]);
    vanished.standing(own(9), &queue, at(1));
    let later = snapshot(&[9], &[5, 9]);
    assert_eq!(vanished.standing(own(9), &later, at(2)), delayed(5, at(3)));
}

#[test]
fn a_marker_behind_us_is_not_our_business() {
    let queue = snapshot(&[5], &[5, 7]);
    let mut vanished = Vanished::default();
    assert_eq!(vanished.standing(own(5), &queue, at(0)), Standing::Admitted);
    assert!(vanished.removable(Some(own(5)), &queue, at(60)).is_empty());
}

#[test]
fn an_idle_lock_is_busy_while_a_vanished_holders_delay_lasts() {
    let mut vanished = Vanished::default();
    let newcomer = |vanished: &mut Vanished, queue: &Snapshot, now| {
        vanished.standing_of_newcomer(Limit::EXCLUSIVE, queue, now)
    };
    let idle = snapshot(&[], &[]);
    assert_eq!(newcomer(&mut vanished, &idle, at(0)), Standing::Admitted);
    let left = snapshot(&[], &[5]);
    assert_eq!(newcomer(&mut vanished, &left, at(4)), delayed(5, at(6)));
    assert_eq!(vanished.removable(None, &left, at(6)), [&marker(5)]);
}

#[test]
fn a_vanished_reader_is_in_no_readers_way_and_a_vanished_holder_keeps_its_slot() {
    let mut left = queue(&[Limit::Unlimited, Limit::Unlimited, Limit::EXCLUSIVE]);
    left.entries.remove(0);
    assert_eq!(standing(20, &left), Standing::Admitted);
    assert_eq!(standing(30, &left), behind(&[20]));
    let mut full = queue(&[slots(2); 4]);
    full.entries.remove(0);
    assert_eq!(standing(20, &full), Standing::Admitted);
    let Standing::Behind(obstacles) = standing(30, &full) else {
        panic!("both slots are taken");
    };
    assert!(matches!(obstacles[0], Obstacle::Entry(_)));
    assert!(matches!(obstacles[1], Obstacle::Vanished { .. }));
    assert_eq!(Line::of(&full).holders(), 1);
    // A third one of them was a waiter.
    full.entries.remove(1);
    let removable = Vanished::default();
    let removable = removable.clone().removable(None, &full, at(0)).len();
    assert_eq!(removable, 1);
}

/// The rule as product.md words it, for the entry at `index` of a queue of limits.
fn model_admits(limits: &[Limit], index: usize) -> bool {
    let smallest = limits[..=index].iter().min().expect("at least itself");
    match smallest {
        Limit::Unlimited => true,
        Limit::Holders(holders) => index < holders.get() as usize,
    }
}

fn limits() -> impl Strategy<Value = Limit> {
    prop_oneof![
        3 => Just(Limit::EXCLUSIVE),
        3 => Just(Limit::Unlimited),
        4 => (2_u32..5).prop_map(slots),
    ]
}

/// What becomes of one contender after the other, in the order of the list.
#[derive(Clone, Copy, Debug)]
enum Step {
    Come(Limit),
    Leave(prop::sample::Index),
    Vanish(prop::sample::Index),
    /// The same, and somebody else puts a key under its name.
    Replace(prop::sample::Index),
    DelayIsOver,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => limits().prop_map(Step::Come),
        3 => any::<prop::sample::Index>().prop_map(Step::Leave),
        1 => any::<prop::sample::Index>().prop_map(Step::Vanish),
        1 => any::<prop::sample::Index>().prop_map(Step::Replace),
        1 => Just(Step::DelayIsOver),
    ];
    prop::collection::vec(step, 1..40)
}

/// Whether it was put with this entry.
fn is_of(marker: &Marker, entry: &QueuedEntry) -> bool {
    marker.id == entry.id && marker.create_revision == entry.create_revision
}

fn is_admitted(revision: i64, snapshot: &Snapshot) -> bool {
    standing(revision, snapshot) == Standing::Admitted
}

proptest! {
    #[test]
    fn it_is_the_rule_as_it_is_worded(limits in prop::collection::vec(limits(), 1..12)) {
        let queue = queue(&limits);
        let model: Vec<bool> = (0..limits.len()).map(|index| model_admits(&limits, index)).collect();
        for (index, admitted) in model.iter().enumerate() {
            let revision = queue.entries[index].create_revision;
            prop_assert_eq!(is_admitted(revision, &queue), *admitted, "{}", index);
        }
        let holders = model.iter().filter(|admitted| **admitted).count();
        prop_assert!(model[..holders].iter().all(|admitted| *admitted), "the holders are the oldest");
        let line = Line::of(&queue);
        prop_assert_eq!(line.holders(), holders);
        let limit = *limits[..holders].iter().min().expect("the oldest holds it");
        prop_assert_eq!(line.limit(), Some(limit));
        prop_assert!(limit.admits(holders - 1), "more than one of them allows");
        // Nobody waits who could hold it with all who do.
        if let Some(next) = limits.get(holders) {
            prop_assert!(!next.min(&limit).admits(holders));
        }
    }

    #[test]
    fn whoever_goes_but_those_in_the_way_admits_nobody(
        limits in prop::collection::vec(limits(), 1..9),
        gone in any::<u16>(),
    ) {
        let full = queue(&limits);
        for (index, entry) in full.entries.iter().enumerate() {
            let Standing::Behind(obstacles) = standing(entry.create_revision, &full) else {
                continue;
            };
            let in_the_way = |other: &QueuedEntry| obstacles.contains(&Obstacle::Entry(other.clone()));
            let smallest = limits[..=index].iter().min().expect("at least itself");
            prop_assert!(!smallest.admits(obstacles.len()) && smallest.admits(obstacles.len() - 1));
            let mut less = full.clone();
            let mut place = 0;
            less.entries.retain(|other| {
                place += 1;
                let goes = gone & (1 << place) != 0 && other.create_revision != entry.create_revision;
                in_the_way(other) || !goes
            });
            less.markers.retain(|marker| less.entries.iter().any(|entry| entry.id == marker.id));
            prop_assert!(!is_admitted(entry.create_revision, &less));
        }
    }

    #[test]
    fn whoever_could_be_replaced_waits_and_for_the_same_ones(
        limits in prop::collection::vec(limits(), 1..9),
        own in 1_usize..9,
    ) {
        let queue = queue(&limits);
        let own = own.min(limits.len()) - 1;
        let own = Token::new(queue.entries[own].create_revision).expect("positive");
        let line = Line::of(&queue);
        let found: Vec<(i64, Standing)> = line
            .waiting_ahead_of(own)
            .map(|(entry, claimants)| {
                let blocking = claimants.into_iter().map(|claimant| match claimant {
                    Claimant::Present(entry) => Obstacle::Entry(entry.clone()),
                    Claimant::Vanished(_) => unreachable!("nobody has vanished"),
                });
                (entry.create_revision, Standing::Behind(blocking.collect()))
            })
            .collect();
        let waiting: Vec<(i64, Standing)> = queue
            .entries
            .iter()
            .map(|entry| entry.create_revision)
            .filter(|revision| *revision < own.get() && !is_admitted(*revision, &queue))
            .map(|revision| (revision, standing(revision, &queue)))
            .collect();
        prop_assert_eq!(found, waiting);
    }

    #[test]
    fn a_newcomer_stands_where_it_will_stand(limits in prop::collection::vec(limits(), 1..9)) {
        let (last, before) = limits.split_last().expect("at least one");
        let seen = Vanished::default().standing_of_newcomer(*last, &queue(before), at(0));
        let revision = limits.len() as i64 * 10;
        prop_assert_eq!(seen, standing(revision, &queue(&limits)));
    }

    #[test]
    fn no_history_lets_more_hold_it_than_each_of_them_allows(steps in steps()) {
        let mut now = Snapshot::default();
        // Whoever was admitted and may still run: until it leaves, or until its delay is over.
        let mut running: Vec<(i64, Limit)> = Vec::new();
        for step in steps {
            now.revision += 1;
            match step {
                Step::Come(limit) => {
                    now.entries.push(entry(now.revision));
                    now.markers.push(marker_of(now.revision, limit));
                }
                Step::Leave(index) if !now.entries.is_empty() => {
                    let gone = now.entries.remove(index.index(now.entries.len()));
                    now.markers.retain(|marker| !is_of(marker, &gone));
                    running.retain(|(revision, _)| *revision != gone.create_revision);
                }
                Step::Vanish(index) | Step::Replace(index) if !now.entries.is_empty() => {
                    let gone = now.entries.remove(index.index(now.entries.len()));
                    if !now.markers.iter().any(|marker| is_of(marker, &gone)) {
                        // Somebody else's, who asks nobody to wait.
                        running.retain(|(revision, _)| *revision != gone.create_revision);
                    }
                    if matches!(step, Step::Replace(_)) {
                        now.entries.push(QueuedEntry {
                            create_revision: now.revision,
                            ..gone
                        });
                    }
                }
                Step::DelayIsOver => {
                    let orphans: Vec<i64> = Line::of(&now)
                        .vanished()
                        .map(|marker| marker.create_revision)
                        .collect();
                    now.markers.retain(|marker| !orphans.contains(&marker.create_revision));
                    running.retain(|(revision, _)| !orphans.contains(revision));
                }
                Step::Leave(_) | Step::Vanish(_) | Step::Replace(_) => {}
            }
            // Everybody looks, and whoever looks removes what nobody has to wait for.
            let removable: Vec<Marker> = Vanished::default()
                .removable(None, &now, at(0))
                .into_iter()
                .cloned()
                .collect();
            for marker in &removable {
                let ran = running.iter().any(|(revision, _)| *revision == marker.create_revision);
                prop_assert!(!ran, "a holder's delay was skipped");
            }
            now.markers.retain(|marker| !removable.contains(marker));
            for entry in &now.entries {
                let own = now.markers.iter().find(|marker| is_of(marker, entry));
                let limit = own.map_or(Limit::EXCLUSIVE, |marker| marker.limit);
                let one = (entry.create_revision, limit);
                match is_admitted(entry.create_revision, &now) {
                    true if !running.contains(&one) => running.push(one),
                    true => {}
                    false => prop_assert!(!running.contains(&one), "once admitted, always admitted"),
                }
            }
            let strictest = running.iter().map(|(_, limit)| *limit).min();
            if let Some(strictest) = strictest {
                prop_assert!(strictest.admits(running.len() - 1), "{:?}", running);
            }
            let orphans = Line::of(&now).vanished().count();
            prop_assert!(orphans > 0 || now.entries.is_empty() || !running.is_empty(), "nobody runs");
        }
    }
}
