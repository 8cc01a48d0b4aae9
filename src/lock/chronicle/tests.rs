//! Accounts of a few revisions, and what is told of them.

use super::*;
use crate::lock::limit::Limit;

fn entry(pid: i32, limit: Limit) -> Entry {
    Entry {
        limit,
        pid,
        reason: String::new(),
        ..Entry::sample()
    }
}

fn put(revision: i64, created: i64, place: Place, value: Vec<u8>) -> Change {
    let put = Put {
        create_revision: created,
        leased: true,
        value,
    };
    Change {
        revision,
        place,
        put: Some(put),
    }
}

fn gone(revision: i64, place: Place) -> Change {
    Change {
        revision,
        place,
        put: None,
    }
}

fn place_of(id: &str) -> Place {
    Place::Entry(id.to_owned())
}

fn marker(id: &str) -> Place {
    Place::Marker(id.to_owned())
}

/// Somebody of leasehold's queues.
fn queues(chronicle: &mut Chronicle, revision: i64, id: &str) -> Vec<Happening> {
    let value = entry(1, Limit::EXCLUSIVE).to_json();
    let changes = [
        put(revision, revision, place_of(id), value.clone()),
        put(revision, revision, marker(id), value),
    ];
    chronicle.take_in(revision, &changes)
}

fn whats(happened: &[Happening]) -> Vec<(usize, &What)> {
    happened.iter().map(|it| (it.run, &it.what)).collect()
}

#[test]
fn who_gives_the_lock_back_makes_room_for_the_next() {
    let mut chronicle = Chronicle::default();
    let first = queues(&mut chronicle, 2, "a");
    assert_eq!(whats(&first), [(0, &What::Queued), (0, &What::Held)]);
    let second = queues(&mut chronicle, 3, "b");
    assert_eq!(whats(&second), [(1, &What::Queued)]);
    let released = chronicle.take_in(4, &[gone(4, place_of("a")), gone(4, marker("a"))]);
    assert_eq!(
        whats(&released),
        [(0, &What::Gone(Way::Released)), (1, &What::Held)]
    );
    let held = Entry {
        held: Some("2026-11-22T03:01:00Z".to_owned()),
        ..entry(1, Limit::EXCLUSIVE)
    };
    let started = chronicle.take_in(5, &[put(5, 3, place_of("b"), held.to_json())]);
    assert_eq!(whats(&started), [(1, &What::Started)]);
    assert_eq!(chronicle.runs()[1].announced, Some(5));
    assert_eq!(chronicle.runs()[0].gone, Some(4));
}

#[test]
fn who_vanishes_counts_until_his_marker_is_gone() {
    let mut chronicle = Chronicle::default();
    queues(&mut chronicle, 2, "a");
    queues(&mut chronicle, 3, "b");
    let vanished = chronicle.take_in(4, &[gone(4, place_of("a"))]);
    assert_eq!(whats(&vanished), [(0, &What::Gone(Way::Vanished))]);
    assert!(!chronicle.is_over());
    let removed = chronicle.take_in(5, &[gone(5, marker("a"))]);
    assert_eq!(whats(&removed), [(1, &What::Held)]);
    chronicle.take_in(6, &[gone(6, place_of("b")), gone(6, marker("b"))]);
    assert!(chronicle.is_over());
}

#[test]
fn what_is_not_ours_is_told_as_far_as_it_is_known() {
    let mut chronicle = Chronicle::default();
    let foreign = chronicle.take_in(2, &[put(2, 2, place_of("f"), Vec::new())]);
    assert_eq!(whats(&foreign), [(0, &What::Queued), (0, &What::Held)]);
    let removed = chronicle.take_in(3, &[gone(3, place_of("f"))]);
    assert_eq!(whats(&removed), [(0, &What::Gone(Way::Removed))]);
    // And what was there before the account begins is gone for it.
    assert_eq!(chronicle.take_in(4, &[gone(4, place_of("x"))]), []);
}

#[test]
fn requests_notes_and_records_find_their_run() {
    let mut chronicle = Chronicle::default();
    queues(&mut chronicle, 2, "a");
    queues(&mut chronicle, 3, "b");
    let by = entry(9, Limit::EXCLUSIVE).to_json();
    let superseded = [
        gone(4, place_of("b")),
        gone(4, marker("b")),
        put(4, 4, Place::Note(3), by),
    ];
    let taken = chronicle.take_in(4, &superseded);
    let way = Way::Superseded("deploy@build7".to_owned());
    assert_eq!(whats(&taken), [(1, &What::Gone(way))]);
    let asked = chronicle.take_in(5, &[put(5, 5, Place::BreakRequest(2), b"{}".to_vec())]);
    let who = "somebody unknown".to_owned();
    assert_eq!(whats(&asked), [(0, &What::BreakAsked(who))]);
    let nobody = [put(6, 6, Place::BreakRequest(77), b"{}".to_vec())];
    assert_eq!(chronicle.take_in(6, &nobody), []);
}

#[test]
fn a_long_queue_and_many_readers_are_admitted_as_the_rule_says() {
    let mut chronicle = Chronicle::default();
    for number in 0..100_i64 {
        let id = format!("{number:x}");
        let value = entry(1, Limit::Unlimited).to_json();
        let revision = number + 2;
        let changes = [
            put(revision, revision, place_of(&id), value.clone()),
            put(revision, revision, marker(&id), value),
        ];
        chronicle.take_in(revision, &changes);
    }
    assert!(
        chronicle
            .runs()
            .iter()
            .all(|run| run.admitted == Some(run.token))
    );
    queues(&mut chronicle, 200, "ffff");
    assert_eq!(chronicle.runs()[100].admitted, None);
}

#[test]
fn who_wants_several_locks_is_next_until_he_says_that_he_runs() {
    let mut chronicle = Chronicle::default();
    let several = Entry {
        locks: vec!["a".to_owned(), "b".to_owned()],
        ..entry(1, Limit::EXCLUSIVE)
    };
    let queued = chronicle.take_in(2, &[put(2, 2, place_of("a"), several.to_json())]);
    assert_eq!(whats(&queued), [(0, &What::Queued), (0, &What::Reserved)]);
    let running = Entry {
        held: Some("2026-11-22T03:01:00Z".to_owned()),
        ..several
    };
    let started = chronicle.take_in(3, &[put(3, 2, place_of("a"), running.to_json())]);
    assert_eq!(whats(&started), [(0, &What::Held), (0, &What::Started)]);
}

#[test]
fn every_event_is_documented() {
    let page = include_str!("../../../docs/operating.md");
    let text = String::new;
    let events = [
        What::Queued,
        What::Reserved,
        What::Held,
        What::Started,
        What::Kept(text()),
        What::BreakAsked(text()),
        What::BreakAnswered(0),
        What::Recorded(text(), 0),
        What::Gone(Way::Released),
        What::Gone(Way::Vanished),
        What::Gone(Way::Superseded(text())),
        What::Gone(Way::KeptLongEnough),
        What::Gone(Way::Removed),
    ];
    for event in events {
        let row = format!("| `{}` |", event.name());
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn who_is_gone_is_forgotten_and_who_is_there_is_not() {
    let mut chronicle = Chronicle::default();
    queues(&mut chronicle, 2, "a");
    for number in 0..KEPT_MAX as i64 {
        let (revision, id) = (3 + 2 * number, format!("{number:x}f"));
        queues(&mut chronicle, revision, &id);
        let left = [
            gone(revision + 1, place_of(&id)),
            gone(revision + 1, marker(&id)),
        ];
        chronicle.take_in(revision + 1, &left);
        chronicle.forget_most();
    }
    assert!(chronicle.runs().len() < KEPT_MAX);
    assert_eq!(chronicle.runs()[0].id, "a");
    let released = chronicle.take_in(9999, &[gone(9999, place_of("a")), gone(9999, marker("a"))]);
    assert_eq!(whats(&released), [(0, &What::Gone(Way::Released))]);
}
