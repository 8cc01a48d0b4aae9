//! Scripts of events, and every pair of events in every phase. No clock, no process, no server.

// Somebody wants it.
mod breaking;
// A lock that is lost without killing.
mod on_loss;
// What follows the end of the tree.
mod parting;

use nix::errno::Errno;
use proptest::prelude::*;

use super::*;
use crate::lock::lease::margin;
use crate::lock::token::{ClusterId, LeaseId, Token};

const ENOENT: i32 = Errno::ENOENT as i32;
const EACCES: i32 = Errno::EACCES as i32;
const ESRCH: i32 = Errno::ESRCH as i32;
const ENOEXEC: i32 = Errno::ENOEXEC as i32;
const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(60);
const KILL_AFTER: Duration = Duration::from_secs(10);

/// A run under test, its clock, and what must hold of every run.
struct World {
    supervisor: Supervisor,
    now: Instant,
    /// Whether a process of the command may be alive.
    tree: bool,
    starts: usize,
    finished: Option<Outcome>,
    killed: bool,
    log: Vec<Action>,
}

fn plan() -> Plan {
    Plan {
        program: "report".to_owned(),
        lock_paths: vec!["/leasehold/job".to_owned()],
        enclosing: Vec::new(),
        kill_after: KILL_AFTER,
        wait: None,
        connect_timeout: 10 * SECOND,
        max_runtime: None,
        on_leftover: OnLeftover::Wait,
        on_loss: OnLoss::Kill,
        conflict_status: 75,
        hold_min: Duration::ZERO,
        once: false,
        record: false,
    }
}

fn place() -> Place {
    Place {
        token: Token::new(33).expect("positive"),
        lease: LeaseId::new(7).expect("positive"),
        cluster: ClusterId(0xc),
        key: "/leasehold/job/7".to_owned(),
    }
}

fn queue(place: usize) -> Queue {
    Queue {
        place,
        waiting: place,
        ..Queue::default()
    }
}

fn busy() -> Event {
    Event::Busy {
        queue: queue(1),
        cluster: ClusterId(0xc),
    }
}

fn trouble(kind: TroubleKind) -> Trouble {
    Trouble {
        kind,
        detail: "etcd does not answer".to_owned(),
    }
}

impl World {
    fn new(plan: Plan) -> Self {
        let now = Instant::from_nanos(1_000 * SECOND.as_nanos() as u64);
        let (supervisor, actions) = Supervisor::begin(plan, now);
        let mut world = Self {
            supervisor,
            now,
            tree: false,
            starts: 0,
            finished: None,
            killed: false,
            log: Vec::new(),
        };
        world.check(&actions);
        world
    }

    fn after(&mut self, pause: Duration) -> &mut Self {
        self.now = self.now + pause;
        self
    }

    /// One event, and all that must hold whatever the event.
    fn event(&mut self, event: Event) -> Vec<Action> {
        if matches!(event, Event::Empty | Event::NotStarted(_)) {
            self.tree = false;
        }
        let actions = self.supervisor.handle_event(self.now, event);
        self.check(&actions);
        actions
    }

    /// A request fails that was sent so long ago.
    fn failed(&mut self, after: Duration) -> Vec<Action> {
        self.event(Event::Failed {
            asked_at: self.now - after,
            trouble: trouble(TroubleKind::Unreachable),
        })
    }

    fn check(&mut self, actions: &[Action]) {
        for action in actions {
            assert!(self.finished.is_none(), "{action:?} after the end");
            match action {
                Action::Start { .. } => {
                    self.tree = true;
                    self.starts += 1;
                    assert_eq!(self.starts, 1, "a command is started once");
                }
                Action::Release { .. } | Action::Keep { .. } | Action::Record { .. } => {
                    assert!(!self.tree, "given up while a process may live");
                }
                Action::Finish(outcome) => {
                    assert!(!self.tree, "finished while a process may live");
                    self.finished = Some(outcome.clone());
                }
                Action::Kill => self.killed = true,
                _ => {}
            }
            self.log.push(action.clone());
        }
        match self.supervisor.next_deadline() {
            Some(deadline) => {
                assert!(
                    deadline > self.now,
                    "a deadline in the past would spin: {:?}",
                    self.supervisor
                );
                assert!(self.finished.is_none(), "nothing is due after the end");
            }
            None => assert!(
                self.finished.is_some()
                    || self.supervisor.phase == Phase::Parked
                    // Nothing is left to renew, and only the command's end is waited for.
                    || (self.tree && self.supervisor.lost.is_some()),
                "nothing would ever wake {:?}",
                self.supervisor
            ),
        }
        let dead_by = self.supervisor.lease().map(Lease::kill_at);
        let kills = self.supervisor.plan.on_loss == OnLoss::Kill;
        if kills && self.tree && dead_by.is_some_and(|kill_at| kill_at <= self.now) {
            assert!(
                self.killed,
                "alive at {:?} without a KILL: {:?}",
                self.now, self.supervisor
            );
        }
    }

    fn enqueued(&mut self) -> Vec<Action> {
        let sent_at = self.now;
        self.event(Event::Enqueued {
            place: place(),
            sent_at,
            ttl: TTL,
        })
    }

    fn renewed(&mut self) -> Vec<Action> {
        let sent_at = self.now;
        self.event(Event::Renewed { sent_at, ttl: TTL })
    }

    fn waiting(&mut self) -> &mut Self {
        self.enqueued();
        self.event(Event::Waiting(queue(2)));
        self
    }

    fn preparing(&mut self) -> &mut Self {
        self.enqueued();
        self.event(Event::Admitted { read_revision: 40 });
        self
    }

    fn running(&mut self) -> &mut Self {
        self.preparing();
        self.event(Event::FrontReady);
        self.event(Event::Started);
        self
    }

    fn over_with(&mut self) -> Outcome {
        self.event(Event::Released);
        self.finished
            .clone()
            .expect("a run is over once its lock is released")
    }
}

fn ended(status: u8) -> Event {
    Event::Ended(Ended::Exited(status))
}

#[test]
fn an_uncontended_run_goes_straight_through() {
    let mut world = World::new(plan());
    world.enqueued();
    let admitted = world.event(Event::Admitted { read_revision: 40 });
    assert_eq!(admitted, [Action::Prepare]);
    let kill_at = world.now + TTL - margin(TTL);
    let ready = world.event(Event::FrontReady);
    assert_eq!(
        ready,
        [
            Action::HideWaiting,
            Action::Publish { kill_at },
            Action::Start { read_revision: 40 }
        ]
    );
    world.event(Event::Started);
    assert_eq!(world.event(ended(3)), []);
    let give_up_at = world.now + 10 * SECOND;
    assert_eq!(
        world.event(Event::Empty),
        [Action::HideWaiting, Action::Release { give_up_at }]
    );
    assert_eq!(world.over_with(), Outcome::Command(Ended::Exited(3)));
    assert!(
        !world.log.contains(&Action::Announce),
        "the entry says already since when it is held"
    );
}

#[test]
fn a_waiter_says_where_it_stands_when_that_changes_and_once_a_minute() {
    let mut world = World::new(plan());
    world.enqueued();
    let said = |actions: Vec<Action>| {
        actions
            .iter()
            .any(|action| matches!(action, Action::Say(_)))
    };
    assert!(said(world.event(Event::Waiting(queue(3)))));
    assert!(!said(world.event(Event::Waiting(queue(3)))));
    assert!(said(world.event(Event::Waiting(queue(2)))));
    for _ in 0..11 {
        world.after(5 * SECOND).renewed();
        assert!(!said(world.event(Event::Waiting(queue(2)))));
    }
    world.after(5 * SECOND);
    assert!(said(world.event(Event::Waiting(queue(2)))));
}

#[test]
fn a_holder_that_had_to_wait_tells_the_others_since_when_it_holds() {
    let mut world = World::new(plan());
    world.waiting().event(Event::Admitted { read_revision: 40 });
    world.event(Event::FrontReady);
    assert!(world.event(Event::Started).contains(&Action::Announce));
}

#[test]
fn a_busy_lock_ends_a_run_that_does_not_wait() {
    let mut world = World::new(Plan {
        conflict_status: 3,
        hold_min: Duration::ZERO,
        once: false,
        record: false,
        ..plan()
    });
    world.event(busy());
    assert_eq!(world.finished.map(|outcome| outcome.exit_status()), Some(3));
}

#[test]
fn waiting_in_vain_is_busy_and_never_having_reached_anybody_is_unavailable() {
    let impatient = || Plan {
        wait: Some(3 * SECOND),
        ..plan()
    };
    let mut world = World::new(impatient());
    world.waiting().after(3 * SECOND).event(Event::Tick);
    assert!(matches!(
        world.over_with(),
        Outcome::Busy { status: 75, .. }
    ));

    let mut world = World::new(impatient());
    world.after(3 * SECOND).event(Event::Tick);
    assert!(matches!(world.finished, Some(Outcome::Unavailable(_))));
}

#[test]
fn the_wait_goes_on_counting_when_the_place_is_lost() {
    let mut world = World::new(Plan {
        wait: Some(20 * SECOND),
        ..plan()
    });
    world.waiting().after(15 * SECOND);
    let actions = world.event(Event::Gone(Loss::KeyDeleted));
    let give_up_at = world.now + 5 * SECOND;
    assert!(
        actions.contains(&Action::Enqueue { give_up_at }),
        "{actions:?}"
    );
    world.waiting().after(5 * SECOND).event(Event::Tick);
    assert!(matches!(world.over_with(), Outcome::Busy { .. }));
}

#[test]
fn a_service_that_refuses_or_stays_away_ends_the_attempt() {
    for (kind, status) in [
        (TroubleKind::Denied, 77),
        (TroubleKind::Refused, 69),
        (TroubleKind::Misconfigured, 78),
    ] {
        let mut world = World::new(plan());
        world.event(Event::NotEnqueued(trouble(kind)));
        assert_eq!(world.over_with().exit_status(), status);
    }
    // Nobody answered, so there is nothing to give back and nobody to wait for.
    let mut world = World::new(plan());
    world.event(Event::NotEnqueued(trouble(TroubleKind::Unreachable)));
    assert_eq!(
        world.finished.map(|outcome| outcome.exit_status()),
        Some(69)
    );
}

#[test]
fn a_waiter_gives_up_once_the_service_was_unreachable_for_the_connect_timeout() {
    let mut world = World::new(plan());
    world.waiting();
    world.failed(SECOND);
    world.after(8 * SECOND).failed(2 * SECOND);
    world.event(Event::Waiting(queue(2)));
    // The renewal that fails now was asked for before that answer.
    world.failed(5 * SECOND);
    world.after(9 * SECOND).event(Event::Tick);
    assert_eq!(
        world.supervisor.phase,
        Phase::Waiting,
        "one answer in between counts"
    );
    world.after(SECOND).event(Event::Tick);
    assert_eq!(world.over_with().exit_status(), 69);
}

#[test]
fn the_service_is_unreachable_since_the_request_that_it_did_not_answer() {
    let mut world = World::new(plan());
    world.waiting().after(7 * SECOND);
    world.failed(2 * SECOND);
    assert_eq!(
        world.supervisor.next_deadline(),
        Some(world.now + 8 * SECOND)
    );
    let mut impatient = plan();
    impatient.connect_timeout = SECOND;
    let mut world = World::new(impatient);
    world.waiting().after(7 * SECOND).failed(2 * SECOND);
    assert_eq!(world.over_with().exit_status(), 69);
}

#[test]
fn a_signal_before_the_command_runs_gives_the_place_back() {
    let mut world = World::new(plan());
    world.event(Event::Signal(15));
    assert_eq!(world.over_with(), Outcome::Interrupted(15));
    let mut world = World::new(plan());
    world.waiting().event(Event::Signal(2));
    assert_eq!(world.over_with(), Outcome::Interrupted(2));
    let mut world = World::new(plan());
    world.preparing().event(Event::Signal(1));
    assert_eq!(
        world.event(Event::FrontReady),
        [],
        "nothing starts any more"
    );
    assert_eq!(world.over_with(), Outcome::Interrupted(1));
}

#[test]
fn the_lease_is_renewed_at_a_quarter_of_the_ttl_and_again_until_it_succeeds() {
    let mut world = World::new(plan());
    world.running();
    assert_eq!(world.after(14 * SECOND).event(Event::Tick), []);
    assert_eq!(world.supervisor.next_deadline(), Some(world.now + SECOND));
    world.after(SECOND);
    let renew = Action::Renew {
        give_up_at: world.now + 5 * SECOND,
    };
    assert_eq!(world.event(Event::Tick), [renew]);
    assert_eq!(world.event(Event::Tick), [], "one attempt at a time");
    world.failed(SECOND);
    let again = world.after(SECOND).event(Event::Tick);
    assert!(matches!(again[..], [Action::Renew { .. }]), "{again:?}");
    let kill_at = world.now + TTL - margin(TTL);
    let renewed = world.renewed();
    assert!(
        renewed.contains(&Action::Publish { kill_at }),
        "{renewed:?}"
    );
    assert_eq!(
        world.supervisor.next_deadline(),
        Some(world.now + 15 * SECOND)
    );
}

#[test]
fn an_attempt_that_is_never_answered_counts_as_failed() {
    let mut world = World::new(plan());
    world.running().after(15 * SECOND).event(Event::Tick);
    world.after(6 * SECOND).event(Event::Tick);
    let again = world.after(SECOND).event(Event::Tick);
    assert!(matches!(again[..], [Action::Renew { .. }]), "{again:?}");
}

#[test]
fn a_lease_that_runs_out_ends_the_command_with_term_then_kill() {
    let mut world = World::new(plan());
    world.running();
    let lease = *world.supervisor.lease().expect("held");
    world.now = lease.stop_at();
    let stopping = world.event(Event::Tick);
    assert!(
        stopping.contains(&Action::Stop) && !stopping.contains(&Action::Kill),
        "{stopping:?}"
    );
    assert!(world.supervisor.next_deadline() <= Some(lease.kill_at()));
    world.now = lease.kill_at();
    assert!(world.event(Event::Tick).contains(&Action::Kill));
    world.event(Event::Ended(Ended::Signaled(9)));
    let released = world.event(Event::Empty);
    let give_up_at = lease.expires_at();
    assert!(
        released.contains(&Action::Release { give_up_at }),
        "{released:?}"
    );
    assert_eq!(world.over_with().exit_status(), 79);
}

#[test]
fn a_renewal_that_comes_too_late_does_not_revive_a_command_that_had_its_term() {
    let mut world = World::new(plan());
    world.running();
    let lease = *world.supervisor.lease().expect("held");
    world.now = lease.stop_at();
    world.event(Event::Tick);
    world.renewed();
    world.now = lease.kill_at();
    assert!(world.event(Event::Tick).contains(&Action::Kill));
    world.event(ended(0));
    world.event(Event::Empty);
    assert_eq!(world.over_with().exit_status(), 79);
}

#[test]
fn an_end_that_is_seen_at_stop_at_is_a_loss_and_one_just_before_it_is_not() {
    for (early, status) in [(Duration::from_nanos(1), 0), (Duration::ZERO, 79)] {
        let mut world = World::new(plan());
        world.running();
        world.now = world.supervisor.lease().expect("held").stop_at() - early;
        world.event(ended(0));
        world.event(Event::Empty);
        assert_eq!(world.over_with().exit_status(), status);
    }
}

#[test]
fn proven_loss_kills_at_once() {
    for loss in [Loss::LeaseGone, Loss::KeyDeleted, Loss::KeyOverwritten] {
        let mut world = World::new(plan());
        world.running();
        let actions = world.event(Event::Gone(loss.clone()));
        assert_eq!(actions, [Action::Kill]);
        world.event(Event::Ended(Ended::Signaled(9)));
        world.event(Event::Empty);
        assert_eq!(world.over_with(), Outcome::Lost(loss));
    }
}

#[test]
fn an_outage_after_a_good_end_costs_a_bounded_wait_and_nothing_else() {
    let mut world = World::new(plan());
    world.running().event(ended(0));
    world.event(Event::Empty);
    world.after(11 * SECOND).event(Event::Tick);
    assert_eq!(world.finished, Some(Outcome::Command(Ended::Exited(0))));
    assert!(
        world
            .log
            .iter()
            .any(|action| matches!(action, Action::Say(Message::NotReleased(_))))
    );
}

#[test]
fn a_run_that_takes_too_long_is_stopped_and_loss_wins_over_that() {
    let limited = || Plan {
        max_runtime: Some(5 * SECOND),
        ..plan()
    };
    let mut world = World::new(limited());
    world.running();
    assert!(
        world
            .after(5 * SECOND)
            .event(Event::Tick)
            .contains(&Action::Stop)
    );
    world.event(Event::Ended(Ended::Signaled(15)));
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::MaxRuntime);

    let mut world = World::new(limited());
    world.running().after(5 * SECOND).event(Event::Tick);
    world.event(Event::Gone(Loss::LeaseGone));
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::Lost(Loss::LeaseGone));
}

#[test]
fn the_run_time_counts_from_acquisition_and_includes_left_over_processes() {
    let mut world = World::new(Plan {
        max_runtime: Some(5 * SECOND),
        ..plan()
    });
    world
        .waiting()
        .after(14 * SECOND)
        .event(Event::Admitted { read_revision: 1 });
    world.event(Event::FrontReady);
    world.event(Event::Started);
    world.after(4 * SECOND).event(ended(0));
    assert!(
        world
            .after(SECOND)
            .event(Event::Tick)
            .contains(&Action::Stop)
    );
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::MaxRuntime);
}

#[test]
fn what_outlives_the_command_is_waited_for_stopped_or_left() {
    let mut world = World::new(plan());
    world.running().event(ended(4));
    let named = world.after(SECOND).event(Event::Tick);
    assert_eq!(named, [Action::NameLeftovers { killed: false }]);
    assert_eq!(
        world.after(SECOND).event(Event::Tick),
        [],
        "and again only after a minute"
    );
    world.event(Event::Empty);
    assert_eq!(world.over_with().exit_status(), 4);

    let mut world = World::new(Plan {
        on_leftover: OnLeftover::Kill,
        ..plan()
    });
    assert!(world.running().event(ended(4)).contains(&Action::Stop));
    assert!(
        world
            .after(KILL_AFTER)
            .event(Event::Tick)
            .contains(&Action::Kill)
    );
    world.event(Event::Empty);
    assert_eq!(world.over_with().exit_status(), 4);

    let mut world = World::new(Plan {
        on_leftover: OnLeftover::Leave,
        ..plan()
    });
    assert!(world.running().event(ended(4)).contains(&Action::Leave));
    world.event(Event::Empty);
    assert_eq!(world.over_with().exit_status(), 4);
}

#[test]
fn a_signal_while_leftovers_live_stops_them_and_a_second_one_kills_them() {
    let mut world = World::new(plan());
    world.running().event(ended(0));
    world.after(SECOND);
    assert!(world.event(Event::Signal(2)).contains(&Action::Stop));
    assert!(world.event(Event::Signal(2)).contains(&Action::Kill));
    world.event(Event::Empty);
    assert_eq!(world.over_with().exit_status(), 0);
}

#[test]
fn the_signal_that_ended_the_command_is_not_taken_for_impatience() {
    let mut world = World::new(plan());
    world.running().event(Event::Ended(Ended::Signaled(2)));
    assert_eq!(world.event(Event::Signal(2)), []);
    world.event(Event::Empty);
    assert_eq!(world.event(Event::Signal(2)), []);
    // Who waits for a release that takes its time may give up.
    world.after(SECOND).event(Event::Signal(2));
    assert_eq!(world.finished, Some(Outcome::Command(Ended::Signaled(2))));
}

#[test]
fn survivors_of_a_kill_are_named_and_nothing_is_released() {
    let mut world = World::new(plan());
    world.running().event(Event::FrontGone);
    let named = world.after(2 * SECOND).event(Event::Tick);
    assert!(
        named.contains(&Action::NameLeftovers { killed: true }),
        "{named:?}"
    );
    world.after(13 * SECOND);
    let renewing = world.event(Event::Tick);
    assert!(
        renewing
            .iter()
            .any(|action| matches!(action, Action::Renew { .. })),
        "{renewing:?}"
    );
    assert!(world.finished.is_none());
}

#[test]
fn a_command_that_cannot_be_executed_gives_the_lock_back() {
    for (errno, status) in [(ENOENT, 127), (EACCES, 126), (ENOEXEC, 126)] {
        let mut world = World::new(plan());
        world.preparing().event(Event::FrontReady);
        world.event(Event::NotStarted(errno));
        assert_eq!(world.over_with().exit_status(), status);
    }
}

#[test]
fn the_death_of_a_guard_kills_the_tree_and_gives_the_lock_back() {
    let mut world = World::new(plan());
    assert_eq!(world.running().event(Event::FrontGone), [Action::Kill]);
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::FrontKilled);
    let mut world = World::new(plan());
    assert_eq!(world.running().event(Event::WitnessGone), [Action::Kill]);
    world.event(Event::Empty);
    assert_eq!(world.over_with(), Outcome::Lost(Loss::WitnessDied));
    let mut world = World::new(plan());
    world.waiting().event(Event::FrontGone);
    assert_eq!(world.over_with(), Outcome::FrontKilled);
}

#[test]
fn a_waiter_whose_stub_was_killed_gives_its_place_back_at_once() {
    let mut world = World::new(plan());
    world.waiting().event(Event::StubGone);
    assert_eq!(world.over_with(), Outcome::HelperKilled("stub"));
    // In the moment in which it is told to start, that is the answer.
    let mut world = World::new(plan());
    world.preparing().event(Event::FrontReady);
    assert_eq!(world.event(Event::StubGone), []);
    world.event(Event::NotStarted(ESRCH));
    assert_eq!(world.over_with().exit_status(), 126);
}

/// Found by the simulator: such a run parked for ever, with nobody left to wake it.
#[test]
fn a_run_that_is_to_end_while_it_gives_up_its_place_ends_and_does_not_park() {
    for (event, outcome) in [
        (Event::FrontGone, Outcome::FrontKilled),
        (Event::WitnessGone, Outcome::HelperKilled("witness")),
        (Event::StubGone, Outcome::HelperKilled("stub")),
        (Event::Signal(15), Outcome::Interrupted(15)),
    ] {
        let mut world = World::new(plan());
        world.waiting().event(Event::FrontStopped);
        world.after(60 * SECOND).event(Event::Tick);
        world.event(event);
        assert_eq!(world.over_with(), outcome);
    }
}

#[test]
fn a_waiter_stopped_for_longer_than_its_ttl_queues_again_when_it_goes_on() {
    let mut world = World::new(plan());
    world.waiting().event(Event::FrontStopped);
    for _ in 0..3 {
        world.after(15 * SECOND).renewed();
    }
    let given_up = world.after(15 * SECOND).event(Event::Tick);
    assert!(
        given_up
            .iter()
            .any(|action| matches!(action, Action::Release { .. })),
        "{given_up:?}"
    );
    world.event(Event::Released);
    assert_eq!(world.supervisor.phase, Phase::Parked);
    let again = world.after(1000 * SECOND).event(Event::FrontContinued);
    assert!(
        again
            .iter()
            .any(|action| matches!(action, Action::Enqueue { .. })),
        "{again:?}"
    );
}

#[test]
fn a_lock_held_by_an_enclosing_run_is_refused() {
    let enclosing = vec!["c:/leasehold/job".to_owned()];
    let mut world = World::new(Plan {
        enclosing,
        ..plan()
    });
    world.enqueued();
    assert_eq!(world.over_with().exit_status(), 64);
    let enclosing = vec!["c:/leasehold/job".to_owned()];
    let mut world = World::new(Plan {
        enclosing,
        ..plan()
    });
    world.event(busy());
    assert_eq!(
        world.finished.map(|outcome| outcome.exit_status()),
        Some(64)
    );
    // The same name in another cluster is another lock.
    let enclosing = vec!["d:/leasehold/job".to_owned()];
    let mut world = World::new(Plan {
        enclosing,
        ..plan()
    });
    world.running();
}

#[test]
fn no_command_starts_on_a_lease_that_is_about_to_run_out() {
    let mut world = World::new(plan());
    world.preparing().after(30 * SECOND);
    let stale = world.event(Event::FrontReady);
    assert!(
        !stale
            .iter()
            .any(|action| matches!(action, Action::Start { .. })),
        "{stale:?}"
    );
    let renewed = world.renewed();
    assert!(
        renewed
            .iter()
            .any(|action| matches!(action, Action::Start { .. })),
        "{renewed:?}"
    );
}

/// Every event there is; the times are what the run under test makes of them.
fn every_event(now: Instant) -> Vec<Event> {
    vec![
        Event::Enqueued {
            place: place(),
            sent_at: now,
            ttl: TTL,
        },
        Event::Waiting(queue(1)),
        Event::Admitted { read_revision: 40 },
        busy(),
        Event::AlreadyDone("by a@b".to_owned()),
        Event::Superseded(None),
        Event::BreakAsked("ops@b".to_owned()),
        Event::NotEnqueued(trouble(TroubleKind::Unreachable)),
        Event::NotEnqueued(trouble(TroubleKind::Denied)),
        Event::Renewed {
            sent_at: now,
            ttl: TTL,
        },
        Event::Failed {
            asked_at: now,
            trouble: trouble(TroubleKind::Unreachable),
        },
        Event::Failed {
            asked_at: now,
            trouble: trouble(TroubleKind::Denied),
        },
        Event::Gone(Loss::KeyDeleted),
        Event::Gone(Loss::LeaseGone),
        Event::Released,
        Event::NotReleased(trouble(TroubleKind::Unreachable)),
        Event::Recorded,
        Event::NotRecorded(trouble(TroubleKind::Unreachable)),
        Event::FrontReady,
        Event::Started,
        Event::NotStarted(ENOENT),
        Event::Ended(Ended::Exited(0)),
        Event::Empty,
        Event::FrontStopped,
        Event::FrontContinued,
        Event::FrontGone,
        Event::WitnessGone,
        Event::StubGone,
        Event::Signal(15),
        Event::Tick,
    ]
}

/// What the processes can report: nothing starts, ends or empties that is not there.
fn is_possible(world: &World, event: &Event) -> bool {
    match event {
        Event::Started | Event::NotStarted(_) => {
            world.tree && world.supervisor.history().started_at.is_none()
        }
        Event::StubGone => world.starts == 0,
        Event::Ended(_) => world.tree && world.supervisor.history().command.is_none(),
        Event::Empty => {
            world.supervisor.history().command.is_some() || (world.starts == 1 && !world.tree)
        }
        _ => true,
    }
}

type Setup = (&'static str, fn(&mut World));

/// One way into every phase.
const PHASES: &[Setup] = &[
    ("enqueueing", |_| {}),
    ("waiting", |world| {
        world.waiting();
    }),
    ("parked", |world| {
        world.waiting().event(Event::FrontStopped);
        world.after(TTL).event(Event::Tick);
        world.event(Event::Released);
    }),
    ("preparing", |world| {
        world.preparing();
    }),
    ("starting", |world| {
        world.preparing().event(Event::FrontReady);
    }),
    ("running", |world| {
        world.running();
    }),
    ("draining", |world| {
        world.running().event(Event::Ended(Ended::Exited(0)));
    }),
    ("stopping", |world| {
        world.running();
        world.now = world.supervisor.lease().expect("held").stop_at();
        world.event(Event::Tick);
    }),
    ("killing", |world| {
        world.running().event(Event::Gone(Loss::LeaseGone));
    }),
    ("recording", |world| {
        world.supervisor.plan.once = true;
        world.running().event(Event::Ended(Ended::Exited(0)));
        world.event(Event::Empty);
    }),
    ("keeping", |world| {
        world.supervisor.plan.hold_min = 100 * TTL;
        world.running().event(Event::Ended(Ended::Exited(0)));
        world.event(Event::Empty);
    }),
    ("releasing", |world| {
        world.running().event(Event::Ended(Ended::Exited(0)));
        world.event(Event::Empty);
    }),
    ("done", |world| {
        world.event(busy());
    }),
];

#[test]
fn every_pair_of_events_in_every_phase_keeps_the_rules() {
    let pauses = [Duration::ZERO, SECOND, KILL_AFTER, TTL, 10 * TTL];
    let kinds = every_event(Instant::from_nanos(0)).len();
    for (phase, enter) in PHASES {
        for (first, second) in
            (0..kinds).flat_map(|first| (0..kinds).map(move |second| (first, second)))
        {
            for (pause, on_loss) in pauses
                .into_iter()
                .flat_map(|pause| [(pause, OnLoss::Kill), (pause, OnLoss::Warn)])
            {
                let mut world = World::new(Plan {
                    wait: Some(100 * TTL),
                    on_loss,
                    ..plan()
                });
                enter(&mut world);
                for index in [first, second] {
                    let event = every_event(world.now).swap_remove(index);
                    if is_possible(&world, &event) {
                        world.event(event);
                    }
                    world.after(pause);
                    world.event(Event::Tick);
                }
                assert!(world.starts <= 1, "{phase}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_history_keeps_the_rules_and_ends_once_everything_answers(
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..20_000), 0..80),
        hold_min in prop::sample::select(vec![0_u64, 5, 500]),
        (once, record) in any::<(bool, bool)>(),
        max_runtime in prop::option::of(1_u64..100),
        leftover in 0_usize..3,
        warn in any::<bool>(),
    ) {
        let on_leftover = [OnLeftover::Wait, OnLeftover::Kill, OnLeftover::Leave][leftover];
        let on_loss = if warn { OnLoss::Warn } else { OnLoss::Kill };
        let max_runtime = max_runtime.map(Duration::from_secs);
        let hold_min = Duration::from_secs(hold_min);
        let mut world = World::new(Plan {
            max_runtime, on_leftover, on_loss, hold_min, once, record, ..plan()
        });
        for (index, pause_ms) in steps {
            world.after(Duration::from_millis(pause_ms));
            let mut events = every_event(world.now);
            let event = events.swap_remove(index.index(events.len()));
            if is_possible(&world, &event) {
                world.event(event);
            }
        }
        // From here on everything answers, the command ends, and the front is interrupted.
        for _ in 0..6 {
            for event in [
                Event::FrontContinued,
                Event::Signal(15),
                Event::NotStarted(ENOENT),
                Event::Ended(Ended::Signaled(15)),
                Event::Empty,
                Event::Recorded,
                Event::Released,
            ] {
                if is_possible(&world, &event) && world.finished.is_none() {
                    world.event(event);
                }
            }
        }
        prop_assert!(world.finished.is_some(), "{:?}", world.supervisor);
    }
}
