//! `--on-loss warn`: a lost lock is said and reported, and the command is let alone.

use super::*;

fn warn() -> Plan {
    Plan {
        on_loss: OnLoss::Warn,
        ..plan()
    }
}

fn stops(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Stop | Action::Kill | Action::Publish { .. }))
}

fn says(actions: &[Action], loss: &Loss) -> bool {
    actions.contains(&Action::Say(Message::RunningOn(loss.clone())))
}

fn not_renewed() -> Loss {
    Loss::NotRenewed("no renewal succeeded".to_owned())
}

#[test]
fn nobody_is_told_a_deadline() {
    let mut world = World::new(warn());
    world.running().after(15 * SECOND).event(Event::Tick);
    world.renewed();
    assert!(!stops(&world.log), "{:?}", world.log);
}

#[test]
fn a_lock_that_is_proved_lost_is_said_once_and_the_command_runs_to_its_end() {
    for loss in [Loss::LeaseGone, Loss::KeyDeleted, Loss::KeyOverwritten] {
        let mut world = World::new(warn());
        let said = world.running().event(Event::Gone(loss.clone()));
        assert!(says(&said, &loss), "{said:?}");
        assert_eq!(world.event(Event::Gone(Loss::LeaseGone)), [], "once");
        assert_eq!(world.after(10 * TTL).event(Event::Tick), []);
        world.event(ended(0));
        world.event(Event::Empty);
        assert!(!stops(&world.log), "{:?}", world.log);
        let outcome = world.over_with();
        assert_eq!(outcome, Outcome::RanOn(loss));
        assert_eq!(outcome.exit_status(), 79);
    }
}

#[test]
fn a_lease_that_runs_out_is_said_and_renewing_goes_on() {
    let mut world = World::new(warn());
    world.running();
    world.now = world.supervisor.lease().expect("held").stop_at();
    let actions = world.event(Event::Tick);
    assert!(says(&actions, &not_renewed()), "{actions:?}");
    let renewing = world.after(TTL).event(Event::Tick);
    assert!(!stops(&world.log), "{:?}", world.log);
    let attempts = |actions: &[Action]| {
        actions
            .iter()
            .any(|action| matches!(action, Action::Renew { .. }))
    };
    assert!(attempts(&renewing) || attempts(&actions), "{renewing:?}");
    world.event(ended(0));
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::RanOn(not_renewed()));
}

#[test]
fn a_renewal_that_succeeds_late_shows_that_nothing_was_lost() {
    let mut world = World::new(warn());
    world.running();
    world.now = world.supervisor.lease().expect("held").stop_at();
    world.event(Event::Tick);
    world.renewed();
    world.event(ended(3));
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::Command(Ended::Exited(3)));
}

#[test]
fn proof_replaces_fear_and_no_late_answer_undoes_it() {
    let mut world = World::new(warn());
    world.running();
    world.now = world.supervisor.lease().expect("held").stop_at();
    world.event(Event::Tick);
    let said = world.event(Event::Gone(Loss::LeaseGone));
    assert!(says(&said, &Loss::LeaseGone), "{said:?}");
    world.renewed();
    world.event(ended(0));
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::RanOn(Loss::LeaseGone));
}

#[test]
fn an_end_that_is_seen_too_late_is_a_loss_all_the_same() {
    let mut world = World::new(warn());
    world.running();
    world.now = world.supervisor.lease().expect("held").stop_at();
    world.event(ended(0));
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::RanOn(not_renewed()));
}

#[test]
fn a_run_that_takes_too_long_is_stopped_with_its_whole_grace_and_a_loss_wins() {
    let mut world = World::new(Plan {
        max_runtime: Some(2 * TTL),
        ..warn()
    });
    world.running().event(Event::Gone(Loss::KeyDeleted));
    assert!(
        world
            .after(2 * TTL)
            .event(Event::Tick)
            .contains(&Action::Stop)
    );
    let kill_at = world.now + KILL_AFTER;
    assert_eq!(world.supervisor.next_deadline(), Some(kill_at));
    world.event(Event::Ended(Ended::Signaled(15)));
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::Lost(Loss::KeyDeleted));
}

#[test]
fn the_death_of_the_front_still_kills() {
    let mut world = World::new(warn());
    assert_eq!(world.running().event(Event::FrontGone), [Action::Kill]);
}
