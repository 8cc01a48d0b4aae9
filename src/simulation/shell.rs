//! What `run.rs` does, in the world: events in, actions out; and what the processes do with them.

use std::time::Duration;

use crate::clock::Instant;
use crate::lock::key::Prefix;
use crate::outcome::{Ended, Loss, Outcome};
use crate::simulation::checker::Kind;
use crate::simulation::host::{Said, name};
use crate::simulation::kernel;
use crate::simulation::machine::{Duty, Step, Tree};
use crate::simulation::mutants;
use crate::simulation::policies;
use crate::simulation::protocol::{Compare, Keys, Op, Relation, Target, Transaction};
use crate::simulation::sights::Sight;
use crate::simulation::world::{Occurrence, World};
use crate::supervisor::{Action, Event, Holder};

impl World {
    pub fn arrive(&mut self, host: usize) {
        self.trace.note(|| format!("host {host}   begins"));
        kernel::enter(host);
        let members = self.scenario.members.len();
        self.hosts[host].begin(members, mutants::connect_timeout(self.mutant));
        self.checker.arrived(host);
        let manager = self.hosts[host].manager.as_mut().expect("just begun");
        let first = manager.first_actions();
        self.perform_all(host, first);
        self.turn(host);
    }

    /// Something came that its service waits for.
    pub fn stir(&mut self, number: usize) {
        if let Some(manager) = self.hosts[number].manager.as_mut() {
            manager.is_stirred = true;
        }
        self.turn(number);
    }

    /// Lets the manager of a host go on until it waits.
    pub fn turn(&mut self, number: usize) {
        loop {
            let host = &mut self.hosts[number];
            if !host.machine.manager_runs() {
                host.deferred.push(Occurrence::Wake(number));
                return;
            }
            kernel::enter(number);
            host.machine.alive_at = Some(host.now());
            let Some(manager) = host.manager.as_mut() else {
                return;
            };
            manager.run_until_idle();
            if manager.is_done() {
                host.manager = None;
                self.trace.note(|| format!("host {number}   is gone"));
                return self.look_who_is_left();
            }
            let Some(event) = host.next_event() else {
                break;
            };
            self.take_in(number, event);
        }
        self.set_timer(number);
    }

    fn set_timer(&mut self, number: usize) {
        let late = self.random.millis(0, 5);
        let manager = self.hosts[number].manager.as_mut();
        if let Some(deadline) = manager.and_then(|manager| manager.new_deadline()) {
            let at = kernel::clock(number).when(deadline) + late;
            kernel::schedule(at, Occurrence::Wake(number));
        }
    }

    fn take_in(&mut self, number: usize, event: Event) {
        let now = self.hosts[number].now();
        let Some((now, event)) = mutants::event(self.mutant, &mut self.hosts[number], now, event)
        else {
            return;
        };
        if event != Event::Tick {
            self.trace.note(|| format!("host {number}   <- {event:?}"));
        }
        self.check_event(number, &event);
        self.note_event(number, &event);
        let host = &mut self.hosts[number];
        if matches!(event, Event::Empty | Event::NotStarted(_)) {
            host.machine.guarded = false;
        }
        let Some(manager) = host.manager.as_mut() else {
            return;
        };
        let actions = manager.supervisor.handle_event(now, event);
        self.perform_all(number, actions);
    }

    fn note_event(&mut self, number: usize, event: &Event) {
        let memory = &mut self.hosts[number].enqueued;
        match event {
            Event::Enqueued { .. } if std::mem::replace(memory, true) => {
                kernel::saw(Sight::QueuedAgain);
            }
            Event::Waiting(queue) => kernel::saw(match queue.holder {
                Holder::Vanished => Sight::WaitedLockDelay,
                Holder::Foreign { .. } => Sight::WaitedForForeign,
                _ => Sight::Waited,
            }),
            Event::NotStarted(_) => kernel::saw(Sight::NotExecuted),
            _ => {}
        }
    }

    /// What has to be true of an event, seen from outside.
    fn check_event(&mut self, number: usize, event: &Event) {
        let host = &self.hosts[number];
        let Some(manager) = host.manager.as_ref() else {
            return;
        };
        let lease = manager.supervisor.lease().copied();
        match event {
            Event::Gone(loss) => {
                if let Some((token, lease)) = host.place() {
                    let key = Prefix::default().entry(&name(), lease);
                    let kept = self.cluster.entry(&key).is_some_and(|kv| {
                        kv.create_revision == token.get() && kv.lease == lease.get()
                    });
                    // What was overwritten, our own late announcement may put back.
                    if kept && !self.checker.is_tampered(number) {
                        let text =
                            format!("host {number} is told {loss:?}, but its entry is there");
                        self.checker.violated(Kind::WrongOutcome, text);
                    }
                }
                self.checker.told_of_loss(number);
            }
            Event::Enqueued { .. }
            | Event::Waiting(_)
            | Event::Admitted { .. }
            | Event::Renewed { .. } => self.checker.heard(number),
            Event::Busy { .. } => {
                let orphans = self.cluster.orphans();
                self.checker.met_orphans(orphans);
            }
            Event::Empty => {
                let in_time = lease.is_some_and(|lease| lease.stop_at() > host.now());
                self.checker.tree_was_seen_to_end(number, in_time);
            }
            Event::Ended(_) => {
                let late = lease.is_some_and(|lease| lease.stop_at() <= host.now());
                self.checker.end_seen(number, late);
            }
            Event::FrontGone | Event::WitnessGone | Event::Signal(_) => {
                self.checker.may_kill_at_once(number);
            }
            Event::Recorded if host.plan.policy.record && !host.plan.policy.once => {
                let token = host.place().map(|(token, _)| token.get());
                self.checker.told_of_record(number, token);
            }
            Event::Released if self.checker.has_kept(number) => {}
            Event::Released => {
                if let Some((token, lease)) = host.place() {
                    let (prefix, name) = (Prefix::default(), name());
                    let keys = [prefix.entry(&name, lease), prefix.marker(&name, lease)];
                    let is_ours = |key: &&String| {
                        let kv = self.cluster.entry(key);
                        kv.is_some_and(|kv| kv.create_revision == token.get())
                    };
                    let left: Vec<String> = keys.iter().filter(is_ours).cloned().collect();
                    self.checker.released(number, lease.get(), keys, &left);
                    self.look_at_entries();
                }
            }
            _ => {}
        }
    }

    fn perform_all(&mut self, number: usize, actions: Vec<Action>) {
        for action in actions {
            for action in mutants::action(self.mutant, &mut self.hosts[number], action) {
                self.perform(number, action);
            }
        }
    }

    fn perform(&mut self, number: usize, action: Action) {
        self.trace.note(|| format!("host {number}   -> {action:?}"));
        kernel::enter(number);
        let host = &self.hosts[number];
        match &action {
            Action::Enqueue { .. } => self.checker.gives_up(number, false),
            Action::Release { .. } => {
                self.checker.gives_up(number, true);
                self.checker.releases(number, host.machine.is_alive());
            }
            Action::Record { .. } => {
                self.checker.releases(number, host.machine.is_alive());
            }
            Action::Keep { until, .. } => {
                self.checker.releases(number, host.machine.is_alive());
                self.checker.keeps(number, until.since(host.now()));
            }
            _ => {}
        }
        let said = match &action {
            Action::Record { .. } | Action::Keep { .. } => host.said(&action),
            _ => Said::Nothing,
        };
        let Some(manager) = self.hosts[number].manager.as_mut() else {
            return;
        };
        let Some(action) = manager.perform(action, said) else {
            return;
        };
        match action {
            Action::Prepare => self.prepare(number),
            Action::Start { .. } => self.start(number),
            Action::Publish { kill_at } => self.publish(number, kill_at),
            Action::Stop => {
                let host = &self.hosts[number];
                let until = host.now() + host.plan.kill_after;
                let until = host.kill_at().map_or(until, |at| at.min(until));
                self.checker.termed(number, until);
                host.machine.term(number);
            }
            Action::Kill => self.kill(number),
            Action::Leave => {
                kernel::saw(Sight::LivedOutside);
                self.hosts[number].machine.tree = Tree::Left;
                self.checker.tree_is_gone(number);
                self.tell(number, Event::Empty);
            }
            Action::Finish(outcome) => self.finish(number, &outcome),
            _ => {}
        }
    }

    /// The process layer reports something, a moment later.
    pub fn tell(&mut self, number: usize, event: Event) {
        let host = &mut self.hosts[number];
        host.inbox.push_back(event);
        let late = self.random.millis(0, 2);
        kernel::schedule(kernel::time() + late, Occurrence::Wake(number));
    }

    fn prepare(&mut self, number: usize) {
        let machine = &mut self.hosts[number].machine;
        machine.asked = true;
        self.front_answers(number);
    }

    pub fn front_answers(&mut self, number: usize) {
        let machine = &mut self.hosts[number].machine;
        if machine.asked && machine.front_answers() {
            machine.asked = false;
            self.checker.front_stands_by(number);
            self.tell(number, Event::FrontReady);
        }
    }

    fn start(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.machine.start(number);
        let Some((token, lease)) = host.place() else {
            return;
        };
        self.checker.started(number, token, lease);
        let policy = host.plan.policy;
        let is_done = self.cluster.store.one(policies::once_key().as_bytes());
        if policy.once && is_done.is_some() {
            let text = format!("host {number} does what is done already");
            self.checker.violated(Kind::DoneAgain, text);
        }
        // The command uses its token: now and then, and what it sent may be long under way.
        let key = Prefix::default().entry(&name(), lease);
        for _ in 0..self.random.between(1, 4) {
            let after = self.random.duration(Duration::ZERO, host.plan.ttl * 2);
            let (token, key) = (token.get(), key.clone());
            let what = Occurrence::Write {
                host: number,
                token,
                key,
            };
            kernel::schedule(kernel::time() + after, what);
        }
        self.look_at_entries();
    }

    fn publish(&mut self, number: usize, kill_at: Instant) {
        let machine = &mut self.hosts[number].machine;
        machine.kill_at = Some(kill_at);
        for at in machine.guards_look_at() {
            let at = kernel::clock(number).when(at);
            kernel::schedule(at, Occurrence::Guard(number));
        }
    }

    fn kill(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let overdue = host.kill_at().is_some_and(|at| at <= host.now());
        self.checker.kills(number, host.now(), overdue);
        host.machine.killing = true;
        match host.machine.is_alive() {
            true => host.machine.kill(number),
            // Told again, or told for the first time: nobody is left.
            false => self.tell(number, Event::Empty),
        }
    }

    fn finish(&mut self, number: usize, outcome: &Outcome) {
        let host = &mut self.hosts[number];
        let alive = host.machine.is_alive();
        let ended = host.machine.ended;
        let is_remembered = self.cluster.store.one(policies::once_key().as_bytes());
        let says_so = match outcome {
            Outcome::AlreadyDone(_) => true,
            Outcome::Command(Ended::Exited(0)) => host.plan.policy.once,
            _ => false,
        };
        if says_so && is_remembered.is_none() {
            let text = format!("host {number} says {outcome:?}, and nothing is remembered");
            self.checker.violated(Kind::WrongOutcome, text);
        }
        self.checker.finished(number, outcome, alive, ended);
        let now = host.now();
        if let Some(manager) = host.manager.as_mut() {
            manager.say_farewell(now);
        }
    }

    /// Something happens to the tree of a host by itself.
    pub fn step(&mut self, number: usize, step: Step) {
        let machine = &mut self.hosts[number].machine;
        let was_alive = machine.is_alive();
        let events = machine.step(number, step);
        let is_alive = machine.is_alive();
        if was_alive && !is_alive {
            self.trace
                .note(|| format!("host {number}   nobody is left of its tree ({step:?})"));
            self.checker.tree_is_gone(number);
        } else if !events.is_empty() {
            self.trace.note(|| format!("host {number}   {step:?}"));
        }
        for event in events {
            self.tell(number, event);
        }
        self.look_who_is_left();
    }

    /// Front and witness look at the deadline.
    pub fn guard(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.manager.is_none() {
            return;
        }
        match host.machine.duty(host.now()) {
            Duty::Nothing => {}
            Duty::LookAgain(again) => {
                let at = kernel::clock(number).when(again);
                kernel::schedule(at, Occurrence::Guard(number));
            }
            Duty::KillTree(guard) => {
                kernel::saw(Sight::GuardKilledTree);
                host.machine.guards_kill = true;
                host.machine.kill(number);
                let ran = host.machine.manager_ran() && host.machine.is_alive();
                kernel::schedule(kernel::time(), Occurrence::Guard(number));
                self.trace
                    .note(|| format!("host {number}   the {guard:?} kills the tree"));
                if ran {
                    let text = format!("host {number}: the manager ran and let the deadline pass");
                    self.checker.violated(Kind::GuardHadToAct, text);
                }
            }
            Duty::KillManager(guard) => {
                kernel::saw(Sight::GuardKilledManager);
                self.trace
                    .note(|| format!("host {number}   the {guard:?} kills the manager"));
                self.manager_is_dead(number, Loss::ManagerFrozen);
            }
        }
    }

    /// The manager is dead, and whoever is left of front and witness kills the rest.
    pub fn manager_is_dead(&mut self, number: usize, loss: Loss) {
        kernel::enter(number);
        let host = &mut self.hosts[number];
        if host.manager.take().is_none() {
            return;
        }
        let started = host.machine.tree != Tree::None;
        host.machine.kill(number);
        let outcome = match started {
            true => Outcome::Lost(loss),
            false => Outcome::HelperKilled("manager"),
        };
        self.checker.reported_by_front(number, &outcome);
        self.look_who_is_left();
    }

    /// A command uses its token for a transaction in etcd, as `fence put` does.
    pub fn write(&mut self, number: usize, token: i64, key: &str) {
        let entry = Keys {
            key: key.as_bytes().to_vec(),
            end: Vec::new(),
        };
        let transaction = Transaction {
            when: vec![Compare {
                keys: entry,
                relation: Relation::Equal,
                target: Target::Create(token),
            }]
            .into_iter()
            .filter(|_| mutants::compares_token(self.mutant))
            .collect(),
            then: vec![Op::Put {
                key: b"/resource".to_vec(),
                value: token.to_string().into_bytes(),
                lease: 0,
                ignore_value: false,
            }],
            otherwise: Vec::new(),
        };
        let succeeded = self.cluster.write(&transaction);
        self.trace.note(|| {
            let how = if succeeded { "succeeds" } else { "is refused" };
            format!("host {number}   a write with token {token} {how}")
        });
        self.checker.wrote(number, token, succeeded);
    }

    pub fn look_who_is_left(&mut self) {
        let nobody = self.hosts.iter().all(|host| {
            self.checker.has_arrived(host.number)
                && host.manager.is_none()
                && !host.machine.is_alive()
        });
        if nobody {
            self.everybody_left();
        }
    }
}
