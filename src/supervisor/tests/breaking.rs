//! `leasehold break`: what is answered, and what becomes of the run.

use super::*;

fn asked() -> Event {
    Event::BreakAsked("ops@b".to_owned())
}

fn answer(actions: &[Action]) -> Option<Duration> {
    actions.iter().find_map(|action| match action {
        Action::AnswerBreak { within } => Some(*within),
        _ => None,
    })
}

fn broken() -> Outcome {
    Outcome::Lost(Loss::Broken("ops@b".to_owned()))
}

#[test]
fn a_holder_answers_with_its_grace_and_is_stopped_before_anything_is_released() {
    for on_loss in [OnLoss::Kill, OnLoss::Warn] {
        let mut world = World::new(Plan { on_loss, ..plan() });
        let actions = world.running().event(asked());
        assert_eq!(answer(&actions), Some(KILL_AFTER + SECOND));
        assert!(actions.contains(&Action::Stop), "{actions:?}");
        // Somebody else asks too, while it stops: he is answered with what is left.
        let again = world.after(4 * SECOND).event(asked());
        assert_eq!(answer(&again), Some(KILL_AFTER - 3 * SECOND));
        world.event(Event::Ended(Ended::Signaled(15)));
        let released = world.event(Event::Empty);
        assert!(
            matches!(released[..], [.., Action::Release { .. }]),
            "{released:?}"
        );
        world.event(Event::Released);
        assert_eq!(world.over_with(), broken());
    }
}

#[test]
fn a_waiter_gives_its_place_up_and_its_command_is_not_run() {
    let mut world = World::new(plan());
    let actions = world.waiting().event(asked());
    assert_eq!(answer(&actions), Some(SECOND));
    world.event(Event::Released);
    assert_eq!(world.over_with(), Outcome::Broken("ops@b".to_owned()));
    assert_eq!(world.starts, 0);
}

#[test]
fn what_the_command_left_is_stopped_and_its_own_ending_stays() {
    let mut world = World::new(plan());
    world.running().event(Event::Ended(Ended::Exited(3)));
    let actions = world.event(asked());
    assert!(actions.contains(&Action::Stop), "{actions:?}");
    world.event(Event::Empty);
    world.event(Event::Released);
    assert_eq!(world.over_with(), Outcome::Command(Ended::Exited(3)));
}

#[test]
fn who_took_the_lease_away_is_said_also_when_that_is_heard_last() {
    for late in [false, true] {
        let mut world = World::new(plan());
        world.running().event(Event::Gone(Loss::LeaseGone));
        if late {
            world.event(Event::Empty);
        }
        world.event(asked());
        if !late {
            world.event(Event::Empty);
        }
        world.event(Event::Released);
        assert_eq!(world.over_with(), broken());
    }
}
