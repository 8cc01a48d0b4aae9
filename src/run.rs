//! `leasehold run` inside the manager process: the one event loop. It turns the world into events, asks the
//! supervisor, and performs what it says; it decides nothing.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cli::RunArgs;
use crate::clock::{self, Timer};
use crate::config::RunConfig;
use crate::environment::environment;
use crate::lock::name::LockName;
use crate::lock::token::{ClusterId, LeaseId, Token};
use crate::memory::{self, Began};
use crate::outcome::{Ending, Loss, Outcome};
use crate::process::{Invocation, Manager, ManagerDeath, Memo, abilities};
use crate::report::{Report, ReportFile};
use crate::service::etcd::{Connection, Etcd};
use crate::supervisor::{Action, Event, History, Place, Supervisor};
use crate::ui::sentence::{self, Level};
use crate::ui::{self, Screen, system_error};

/// How long the manager lives on to revoke a lease that nothing hangs on any more.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs the command under the lock, and says how this process has to end. Returns in the front process and
/// in the manager.
pub fn run(config: RunConfig) -> Ending {
    let report = match config.report.as_deref().map(checked_report).transpose() {
        Ok(report) => report,
        Err(outcome) => return refuse(&config, &outcome),
    };
    let invocation = Invocation {
        argv: config.argv.clone(),
        kill_signal: config.kill_signal,
    };
    let began = begin();
    let manage = |manager: Manager| manage(&config, report.as_ref(), began, manager);
    let manager_died = |death: ManagerDeath| manager_died(&config, report.as_ref(), began, &death);
    match crate::process::supervise(invocation, manage, manager_died) {
        Ok(ending) => ending,
        Err(error) => {
            let why = format!(
                "the processes around the command cannot be made: {}",
                system_error(&error)
            );
            refuse(&config, &Outcome::Unavailable(why))
        }
    }
}

/// The front's account of a run whose manager died; the tree is dead, the lock is left to its TTL.
fn manager_died(
    config: &RunConfig,
    report: Option<&ReportFile>,
    began: Began,
    death: &ManagerDeath,
) -> Ending {
    let outcome = match (death.started, death.overdue) {
        (false, _) => Outcome::HelperKilled("manager"),
        (true, false) => Outcome::Lost(Loss::ManagerDied),
        (true, true) => Outcome::Lost(Loss::ManagerFrozen),
    };
    if !death.survivors.is_empty() {
        let name = config.wanted.name.clone();
        let text = format!(
            "{name}: cannot be killed and run on although the lock is lost: {}; end them by hand",
            sentence::leftovers(&death.survivors)
        );
        Screen::new(name, config.talk).note(Level::Error, "survivors", &text);
    }
    let history = match death.started {
        true => remembered(config, death),
        false => History::default(),
    };
    conclude(config, report, began, &history, death.started, &outcome)
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

fn checked_report(path: &Path) -> Result<ReportFile, Outcome> {
    ReportFile::check(path).map_err(|error| {
        Outcome::Usage(format!(
            "the report {} cannot be written: {}",
            path.display(),
            system_error(&error)
        ))
    })
}

/// An ending for what was typed or configured: it is said and reported like any other, so that no older
/// report is taken for this run's.
pub fn refuse_typed(args: &RunArgs, outcome: &Outcome) -> Ending {
    let lock = args
        .words
        .first()
        .map(|name| name.to_string_lossy().into_owned());
    let lock = lock.unwrap_or_default();
    let message = match outcome {
        Outcome::Usage(why) | Outcome::Configuration(why) => why.clone(),
        other => other.name().to_owned(),
    };
    ui::complain_as(args.log_format, outcome.name(), &lock, &message);
    let file = args.report.as_deref().map(ReportFile::check);
    if let Some(Ok(file)) = file {
        let report = Report::not_run(lock, outcome, clock::wall(), message);
        if let Err(error) = file.write(&report) {
            let why = system_error(&error);
            ui::complain(&format!("the report could not be written: {why}"));
        }
    }
    outcome.ending()
}

/// An ending before anything began.
fn refuse(config: &RunConfig, outcome: &Outcome) -> Ending {
    Screen::new(config.wanted.name.clone(), config.talk).say_outcome(outcome);
    outcome.ending()
}

/// The manager process's whole life.
fn manage(config: &RunConfig, report: Option<&ReportFile>, began: Began, manager: Manager) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .expect("a manager without an event loop is as good as dead; its front takes over");
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let (events_in, events) = mpsc::unbounded_channel();
        let connection = Connection::from(&config.connection);
        let looping = Loop {
            config,
            report,
            began,
            manager,
            service: Etcd::new(&connection, config.wanted.clone(), events_in),
            screen: Screen::new(config.wanted.name.clone(), config.talk),
        };
        looping.until_finished(events).await;
    });
}

/// Everything that the event loop touches.
struct Loop<'run> {
    config: &'run RunConfig,
    report: Option<&'run ReportFile>,
    began: Began,
    manager: Manager,
    service: Etcd,
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

    fn perform(&mut self, supervisor: &Supervisor, action: Action) {
        match action {
            Action::Enqueue { give_up_at } => self.service.enqueue(give_up_at),
            Action::Renew { give_up_at } => self.service.renew(give_up_at),
            Action::Announce => self.service.announce(),
            Action::Release { give_up_at } => self.service.release(give_up_at),
            Action::Keep { give_up_at, until } => {
                let history = supervisor.history();
                let entry = memory::kept_entry(self.config, self.began, history, until);
                self.service.keep(entry, until, give_up_at);
            }
            Action::Record {
                give_up_at,
                outcome,
            } => {
                let history = supervisor.history();
                let memory = memory::memory(self.config, self.began, history, &outcome);
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
                self.manager
                    .start(&environment(self.config, place, read_revision));
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
            self.screen.note(Level::Debug, "setting", &text);
        }
        for remark in connection.remarks() {
            self.screen.note(Level::Debug, "remark", &remark);
        }
        for ability in abilities::abilities() {
            self.screen.note(Level::Debug, "ability", &ability);
        }
    }

    fn name_leftovers(&mut self, killed: bool) {
        let leftovers = self.manager.leftovers();
        if leftovers.is_empty() {
            return;
        }
        let name = &self.config.wanted.name;
        let names = sentence::leftovers(&leftovers);
        let (event, text) = if killed {
            let text =
                format!("{name}: cannot be killed, so the lock is kept: {names}; end them by hand");
            ("survivors", text)
        } else {
            (
                "leftovers",
                format!("{name}: the command has ended, but these it started run on: {names}"),
            )
        };
        self.screen.note(Level::Warning, event, &text);
    }

    async fn finish(mut self, history: &History, outcome: &Outcome) {
        self.screen.hide_waiting();
        let ran = history.started_at.is_some() || history.command.is_some();
        let ending = conclude(self.config, self.report, self.began, history, ran, outcome);
        self.manager.finish(ending);
        self.service.farewell(clock::now() + FAREWELL).await;
    }
}

/// Says how the run ended and writes the report.
fn conclude(
    config: &RunConfig,
    report: Option<&ReportFile>,
    began: Began,
    history: &History,
    ran: bool,
    outcome: &Outcome,
) -> Ending {
    let name = &config.wanted.name;
    let mut screen = Screen::new(name.clone(), config.talk);
    screen.say_outcome(outcome);
    if let Some(file) = report {
        let now = clock::now();
        let place = history.place.as_ref();
        let admitted_at = history.admitted_at;
        let report = Report {
            version: Report::VERSION,
            lock: name.to_string(),
            locks: config.wanted.names().map(LockName::to_string).collect(),
            outcome: outcome.name(),
            status: outcome.exit_status(),
            ran,
            command: history.command,
            loss: Report::loss_of(outcome),
            token: place.map(|place| place.token.get()),
            lease: place.map(|place| place.lease.to_string()),
            cluster: place.map(|place| place.cluster.to_string()),
            queued_at: began.wall.to_string(),
            started_at: history.started_at.map(|at| began.wall_at(at)),
            ended_at: began.wall_at(now),
            waited_ms: admitted_at.unwrap_or(now).since(began.at).as_millis() as u64,
            held_ms: admitted_at.map(|at| {
                let until = history.empty_at.unwrap_or(now);
                until.since(at).as_millis() as u64
            }),
            message: outcome.sentence(name),
        };
        if let Err(error) = file.write(&report) {
            let text = format!(
                "{name}: the report could not be written: {}",
                system_error(&error)
            );
            screen.note(Level::Error, "report-not-written", &text);
        }
    }
    outcome.ending()
}
