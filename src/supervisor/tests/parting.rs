//! What follows the end of the tree: recording, keeping, releasing.

use super::*;

const HOLD: Duration = Duration::from_secs(30);

/// A run whose command ended with this status and left nobody, and what was done about it.
fn ended_with(plan: Plan, status: u8) -> (World, Vec<Action>) {
    let mut world = World::new(plan);
    world.running().event(ended(status));
    let actions = world.event(Event::Empty);
    (world, actions)
}

fn once() -> Plan {
    Plan {
        once: true,
        ..plan()
    }
}

fn holding() -> Plan {
    Plan {
        hold_min: HOLD,
        ..plan()
    }
}

fn is_given_up(actions: &[Action]) -> bool {
    let given_up = |action: &Action| matches!(action, Action::Release { .. } | Action::Keep { .. });
    actions.iter().any(given_up)
}

#[test]
fn a_success_is_written_down_before_the_lock_is_given_back_and_until_kill_at() {
    let (mut world, actions) = ended_with(once(), 0);
    let give_up_at = world.supervisor.lease().expect("held").kill_at();
    let outcome = Outcome::Command(Ended::Exited(0));
    assert_eq!(
        actions,
        [Action::Record {
            give_up_at,
            outcome: outcome.clone()
        }]
    );
    assert_eq!(world.renewed(), [], "it is renewed no more");
    let actions = world.event(Event::Recorded);
    assert!(is_given_up(&actions), "{actions:?}");
    assert_eq!(world.over_with(), outcome);
}

#[test]
fn a_success_that_is_not_written_down_is_not_to_be_trusted() {
    type Failing = fn(&mut World) -> Vec<Action>;
    let failures: [(&str, Failing); 3] = [
        ("etcd does not answer", |world| {
            world.event(Event::NotRecorded(trouble(TroubleKind::Unreachable)))
        }),
        ("no answer in time", |world| {
            world.after(TTL).event(Event::Tick)
        }),
        ("stopped by signal 2", |world| {
            world.event(Event::Signal(2));
            world.after(2 * SECOND).event(Event::Signal(2))
        }),
    ];
    for (why, failing) in failures {
        let (mut world, _) = ended_with(once(), 0);
        let actions = failing(&mut world);
        assert!(is_given_up(&actions), "{actions:?}");
        let outcome = world.over_with();
        assert_eq!(outcome, Outcome::NotRecorded(why.to_owned()));
        assert_eq!(outcome.exit_status(), 79);
    }
}

#[test]
fn what_failed_is_nothing_to_remember_unless_every_run_is() {
    let (_, actions) = ended_with(once(), 1);
    assert!(is_given_up(&actions), "{actions:?}");
    let every = Plan {
        record: true,
        ..plan()
    };
    let (mut world, actions) = ended_with(every, 1);
    assert!(
        matches!(actions[..], [Action::Record { .. }]),
        "{actions:?}"
    );
    // That it could not be written down is said, and changes nothing.
    let not_recorded = trouble(TroubleKind::Refused);
    let actions = world.event(Event::NotRecorded(not_recorded.clone()));
    let said = Action::Say(Message::NotRecorded(not_recorded));
    assert!(
        actions.contains(&said) && is_given_up(&actions),
        "{actions:?}"
    );
    assert_eq!(world.over_with(), Outcome::Command(Ended::Exited(1)));
}

#[test]
fn what_is_done_already_or_superseded_does_not_run() {
    let mut world = World::new(once());
    world.enqueued();
    world.event(Event::AlreadyDone("by a@b".to_owned()));
    let outcome = world.over_with();
    assert_eq!((outcome.exit_status(), world.starts), (0, 0));
    let mut world = World::new(plan());
    world.waiting().event(Event::Superseded(None));
    assert_eq!(world.over_with().exit_status(), 76);
    // Also where that is found out before it queues again.
    let mut world = World::new(plan());
    world.waiting().event(Event::Gone(Loss::KeyDeleted));
    world.event(Event::Superseded(None));
    assert_eq!(world.over_with().exit_status(), 76);
}

#[test]
fn the_lock_is_kept_from_acquisition_on_whatever_the_command_ended_with() {
    let mut world = World::new(holding());
    let until = world.running().now + HOLD;
    world.after(10 * SECOND).event(ended(3));
    let actions = world.event(Event::Empty);
    let give_up_at = world.now + 10 * SECOND;
    assert_eq!(actions, [Action::Keep { give_up_at, until }]);
    assert_eq!(world.over_with(), Outcome::Command(Ended::Exited(3)));

    let mut world = World::new(holding());
    world.running().after(15 * SECOND).event(Event::Tick);
    world.renewed();
    world.after(15 * SECOND).event(ended(0));
    let actions = world.event(Event::Empty);
    assert!(
        matches!(actions[..], [_, Action::Release { .. }]),
        "{actions:?}"
    );
}

#[test]
fn a_lost_lock_or_a_command_that_never_ran_keeps_nothing() {
    let mut world = World::new(holding());
    world.running().event(Event::Gone(Loss::LeaseGone));
    let actions = world.event(Event::Empty);
    assert!(
        matches!(actions[..], [_, Action::Release { .. }]),
        "{actions:?}"
    );
    let mut world = World::new(holding());
    world.preparing().event(Event::FrontReady);
    let actions = world.event(Event::NotStarted(ENOENT));
    assert!(
        matches!(actions[..], [_, Action::Release { .. }]),
        "{actions:?}"
    );
}

#[test]
fn a_lock_that_could_not_be_kept_is_said_and_not_given_back() {
    let (mut world, _) = ended_with(holding(), 0);
    let trouble = trouble(TroubleKind::Unreachable);
    let actions = world.event(Event::NotReleased(trouble.clone()));
    assert!(actions.contains(&Action::Say(Message::NotKept(trouble))));
    assert!(!is_given_up(&actions), "{actions:?}");
    assert_eq!(world.finished, Some(Outcome::Command(Ended::Exited(0))));
}
