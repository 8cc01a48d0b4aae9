//! `leasehold run` inside the manager process: the one event loop. It turns the world into events, asks the
//! supervisor, and performs what it says; it decides nothing.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::account::{self, Files};
use crate::clock::{self, Timer};
use crate::commands::outcome_of;
use crate::config::RunConfig;
use crate::environment::environment;
use crate::lock::token::{ClusterId, LeaseId, Token};
use crate::memory::{Began, Legacy};
use crate::outcome::{Ending, Loss, Outcome};
use crate::process::{Invocation, Manager, ManagerDeath, Memo, abilities};
use crate::service::{Connection, Service};
use crate::supervisor::{Action, Event, History, Place, Supervisor};
use crate::ui::sentence::{self, Note};
use crate::ui::{Screen, system_error};

/// How long the manager lives on to revoke a lease that nothing hangs on any more.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs the command under the lock, and says how this process has to end. Returns in the front process and
/// in the manager.
pub fn run(config: RunConfig) -> Ending {
    let files = match account::checked_files(&config) {
        Ok(files) => files,
        Err(ending) => return ending,
    };
    let connection = Connection::from(&config.connection);
    let (life, pledge) = match connection.begin() {
        Ok(begun) => begun.split(),
        Err(trouble) => return account::refuse(&config, &files, &outcome_of(trouble)),
    };
    let invocation = Invocation {
        argv: config.argv.clone(),
        kill_signal: config.kill_signal,
        pledge,
    };
    let began = begin();
    let manage = |manager: Manager| {
        let service = |events| Service::new(&connection, life, config.wanted.clone(), events);
        manage(&config, &files, began, manager, service);
    };
    let manager_died = |death: ManagerDeath| manager_died(&config, &files, began, &death);
    match crate::process::supervise(invocation, manage, manager_died) {
        Ok(ending) => ending,
        Err(error) => {
            let why = format!(
                "the processes around the command cannot be made: {}",
                system_error(&error)
            );
            account::refuse(&config, &files, &Outcome::Unavailable(why))
        }
    }
}

/// The front's account of a run whose manager died; the tree is dead, the lock is left to its TTL.
fn manager_died(config: &RunConfig, files: &Files, began: Began, death: &ManagerDeath) -> Ending {
    let outcome = match (death.started, death.overdue) {
        (false, _) => Outcome::HelperKilled("manager"),
        (true, false) => Outcome::Lost(Loss::ManagerDied),
        (true, true) => Outcome::Lost(Loss::ManagerFrozen),
    };
    if death.keeps_pledge || !death.survivors.is_empty() {
        let name = config.wanted.name.clone();
        let survivors = sentence::leftovers(&death.survivors);
        let note = match death.keeps_pledge {
            true => Note::KeptForSurvivors(survivors),
            false => Note::LostToSurvivors(survivors),
        };
        Screen::new(name, config.talk).note(&note);
    }
    let history = match death.started {
        true => remembered(config, death),
        false => History::default(),
    };
    account::conclude(config, files, began, &history, death.started, &outcome)
}

/// What is known of a run whose manager died after it had started the command.
fn remembered(config: &RunConfig, death: &ManagerDeath) -> History {
    let memo = &death.memo;
    let place = |token, lease| Place {
        token,
        lease,
        cluster: ClusterId(memo.cluster),
        key: config.wanted.prefix.entry(&config.wanted.name, lease),
    };
    let started_at = Some(memo.started_at);
    History {
        place: Token::new(memo.token)
            .zip(LeaseId::new(memo.lease))
            .map(|(token, lease)| place(token, lease)),
        // It was started at once.
        admitted_at: started_at,
        started_at,
        command: death.ended,
        empty_at: Some(clock::now()),
        ..History::default()
    }
}

fn begin() -> Began {
    Began {
        at: clock::now(),
        wall: clock::wall(),
    }
}

/// The manager process's whole life.
fn manage(
    config: &RunConfig,
    files: &Files,
    began: Began,
    manager: Manager,
    service: impl FnOnce(mpsc::UnboundedSender<Event>) -> Service,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .expect("a manager without an event loop is as good as dead; its front takes over");
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let (events_in, events) = mpsc::unbounded_channel();
        let looping = Loop {
            config,
            files,
            began,
            manager,
            service: service(events_in),
            screen: Screen::new(config.wanted.name.clone(), config.talk),
        };
        looping.until_finished(events).await;
    });
}

/// Everything that the event loop touches.
struct Loop<'run> {
    config: &'run RunConfig,
    files: &'run Files,
    began: Began,
    manager: Manager,
    service: Service,
    screen: Screen,
}

impl Loop<'_> {
    async fn until_finished(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        let mut timer = Timer::new().expect("a manager without a timer must not hold a lock");
        self.say_settings();
        let (mut supervisor, mut actions) =
            Supervisor::begin(self.config.plan.clone(), self.began.at);
        let mut redraw_at = None;
        loop {
            for action in std::mem::take(&mut actions) {
                if let Action::Finish(outcome) = action {
                    return self.finish(supervisor.history(), &outcome).await;
                }
                self.perform(&supervisor, action);
            }
            let now = clock::now();
            if redraw_at.is_none_or(|at| at <= now) {
                self.screen.redraw();
                redraw_at = self.screen.redraw_at(now);
            }
            let deadline = supervisor
                .next_deadline()
                .into_iter()
                .chain(redraw_at)
                .min();
            let event = tokio::select! {
                biased;
                event = self.manager.next() => event,
                () = timer.reached(deadline) => Event::Tick,
                Some(event) = events.recv() => event,
            };
            actions = supervisor.handle_event(clock::now(), event);
        }
    }

    const fn legacy(&self) -> Legacy<'_> {
        Legacy {
            wanted: &self.config.wanted,
            once_keep: self.config.once_keep,
            record: self.config.plan.record,
            began: self.began,
        }
    }

    fn perform(&mut self, supervisor: &Supervisor, action: Action) {
        match action {
            Action::Enqueue { give_up_at } => self.service.enqueue(give_up_at),
            Action::Renew { give_up_at } => self.service.renew(give_up_at),
            Action::Announce => self.service.announce(),
            Action::AnswerBreak { within } => self.service.answer_break(within),
            Action::Release { give_up_at } => self.service.release(give_up_at),
            Action::Keep { give_up_at, until } => {
                let history = supervisor.history();
                let entry = self.legacy().kept_entry(history, until);
                self.service.keep(entry, until, give_up_at);
            }
            Action::Record {
                give_up_at,
                outcome,
            } => {
                let history = supervisor.history();
                let memory = self.legacy().memory(history, &outcome);
                self.service.record(memory, give_up_at);
            }
            Action::Prepare => self.manager.prepare(),
            Action::Start { read_revision } => {
                let place = supervisor.history().place.as_ref();
                let place = place.expect("only a run with a place is admitted");
                self.manager.note(Memo {
                    token: place.token.get(),
                    lease: place.lease.get(),
                    cluster: place.cluster.0,
                    started_at: clock::now(),
                });
                let environment = environment(self.config, place, read_revision);
                self.manager.start(&environment, supervisor.start_by());
            }
            Action::Publish { kill_at } => self.manager.publish(kill_at),
            Action::Stop => self.manager.stop(),
            Action::Kill => self.manager.kill(),
            Action::Leave => self.manager.leave(),
            Action::NameLeftovers { killed } => self.name_leftovers(killed),
            Action::Say(message) => self.screen.say(&message),
            Action::HideWaiting => self.screen.hide_waiting(),
            Action::Finish(_) => unreachable!("the loop ends with it"),
        }
    }

    fn say_settings(&mut self) {
        let connection = &self.config.connection;
        for shown in &connection.shown {
            let (key, source) = (shown.setting.key, &shown.source);
            let text = format!("{key}: {} ({source})", shown.text());
            self.screen.note(&Note::Setting(text));
        }
        for remark in connection.remarks() {
            self.screen.note(&Note::Remark(remark));
        }
        for ability in abilities::abilities() {
            self.screen.note(&Note::Ability(ability.text));
        }
    }

    fn name_leftovers(&mut self, killed: bool) {
        let leftovers = self.manager.leftovers();
        if leftovers.is_empty() {
            return;
        }
        let names = sentence::leftovers(&leftovers);
        self.screen.note(&match killed {
            true => Note::KeptForSurvivors(names),
            false => Note::Leftovers(names),
        });
    }

    async fn finish(mut self, history: &History, outcome: &Outcome) {
        self.screen.hide_waiting();
        let ran = history.started_at.is_some() || history.command.is_some();
        let ending = account::conclude(self.config, self.files, self.began, history, ran, outcome);
        self.manager.finish(ending);
        self.service.farewell(clock::now() + FAREWELL).await;
    }
}
