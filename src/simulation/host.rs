//! One contender: the manager process with the shipped supervisor and the shipped service on etcd, and what is
//! around it. The event loop is that of `run.rs`: what the processes report first, then the timer, then the
//! service.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::clock::{self, Instant};
use crate::config::endpoint::Endpoint;
use crate::config::tls::Tls;
use crate::lock::entry::{Entry, QueuePolicy};
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::token::{LeaseId, Token};
use crate::memory::{Began, Legacy};
use crate::service::etcd::{Connection, Etcd};
use crate::service::{self, Wanted};
use crate::simulation::kernel;
use crate::simulation::machine::Machine;
use crate::simulation::mutants::Memory;
use crate::simulation::policies;
use crate::simulation::scenario::HostPlan;
use crate::simulation::world::Occurrence;
use crate::supervisor::{Action, Event, OnLoss, Plan, Supervisor};

/// The lock that everybody wants.
pub const LOCK: &str = "job";

/// As in run.rs.
const FAREWELL: Duration = Duration::from_secs(2);

/// One contender.
pub struct Host {
    pub number: usize,
    pub plan: HostPlan,
    /// The manager process, while it lives.
    pub manager: Option<Manager>,
    pub machine: Machine,
    pub memory: Memory,
    /// It had a place before.
    pub enqueued: bool,
    /// What its times count from.
    began: Began,
    /// What the process layer reports.
    pub inbox: VecDeque<Event>,
    /// What is to happen once the host, or its manager, goes on.
    pub deferred: Vec<Occurrence>,
}

/// What a run writes into the store at its end, beyond what the service knows.
pub enum Said {
    Nothing,
    Entry(Entry),
    Memory(service::Memory),
}

/// The manager process.
pub struct Manager {
    runtime: Runtime,
    etcd: Option<Etcd>,
    events: UnboundedReceiver<Event>,
    pub supervisor: Supervisor,
    first: Vec<Action>,
    farewell: Option<JoinHandle<()>>,
    wake_at: Option<Instant>,
    /// Something has happened since its service waited.
    pub is_stirred: bool,
}

impl Host {
    pub fn new(number: usize, plan: HostPlan) -> Self {
        Self {
            number,
            machine: Machine::new(plan.command.clone()),
            plan,
            memory: Memory::default(),
            enqueued: false,
            began: Began {
                at: Instant::from_nanos(0),
                wall: Timestamp::UNIX_EPOCH,
            },
            manager: None,
            inbox: VecDeque::new(),
            deferred: Vec::new(),
        }
    }

    /// The run begins.
    pub fn begin(&mut self, members: usize, connect_timeout: Duration) {
        self.began = Began {
            at: self.now(),
            wall: clock::wall(),
        };
        let endpoints = (0..members).map(|member| {
            // Hosts prefer different members.
            let url = format!("http://member{}:2379", (member + self.number) % members);
            Endpoint::parse(&url, false).expect("an endpoint")
        });
        let connection = Connection {
            endpoints: endpoints.collect(),
            tls: Tls::default(),
            login: None,
        };
        let (sender, events) = tokio::sync::mpsc::unbounded_channel();
        let etcd = Etcd::new(&connection, self.wanted(), sender);
        let (supervisor, first) =
            Supervisor::begin(self.supervisor_plan(connect_timeout), self.now());
        self.manager = Some(Manager {
            runtime: runtime(),
            etcd: Some(etcd),
            events,
            supervisor,
            first,
            farewell: None,
            wake_at: None,
            is_stirred: true,
        });
    }

    pub fn now(&self) -> Instant {
        kernel::host_now(self.number)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            name: name(),
            also: self.also(),
            prefix: Prefix::default(),
            ttl: self.plan.ttl,
            nonblock: self.plan.nonblock,
            entry: self.entry(),
            once: self.plan.policy.once.then(policies::once_id),
        }
    }

    fn also(&self) -> Vec<LockName> {
        let other = self.plan.policy.also.then(policies::other);
        other.into_iter().collect()
    }

    /// What it says of itself.
    pub fn entry(&self) -> Entry {
        Entry {
            v: Entry::VERSION,
            limit: self.plan.limit,
            host: format!("host{}", self.number),
            user: "simulation".to_owned(),
            pid: self.number as i32,
            program: "report".to_owned(),
            reason: String::new(),
            queued: "2026-11-22T03:00:00Z".to_owned(),
            held: None,
            held_until: None,
            queue: match self.plan.policy.latest {
                true => QueuePolicy::Latest,
                false => QueuePolicy::Fifo,
            },
            locks: match self.also()[..] {
                [] => Vec::new(),
                [..] => vec![LOCK.to_owned(), policies::other().to_string()],
            },
            lock_delay_ms: self.plan.lock_delay.as_millis() as u64,
        }
    }

    fn supervisor_plan(&self, connect_timeout: Duration) -> Plan {
        Plan {
            program: "report".to_owned(),
            lock_paths: vec![format!("{}{LOCK}", Prefix::default())],
            enclosing: Vec::new(),
            kill_after: self.plan.kill_after,
            wait: self.plan.wait,
            connect_timeout,
            max_runtime: self.plan.max_runtime,
            on_leftover: self.plan.on_leftover,
            on_loss: OnLoss::Kill,
            conflict_status: 75,
            hold_min: self.plan.policy.hold_min,
            once: self.plan.policy.once,
            record: self.plan.policy.record,
        }
    }

    /// What it writes into the store at its end, with this action.
    pub fn said(&self, action: &Action) -> Said {
        let Some(manager) = &self.manager else {
            return Said::Nothing;
        };
        let history = manager.supervisor.history();
        let wanted = self.wanted();
        let legacy = Legacy {
            wanted: &wanted,
            once_keep: policies::KEEP,
            record: self.plan.policy.record,
            began: self.began,
        };
        match action {
            Action::Record { outcome, .. } => Said::Memory(legacy.memory(history, outcome)),
            Action::Keep { until, .. } => Said::Entry(legacy.kept_entry(history, *until)),
            _ => Said::Nothing,
        }
    }

    /// The token and the lease of the place that the run has, or had last.
    pub fn place(&self) -> Option<(Token, LeaseId)> {
        let place = self.manager.as_ref()?.supervisor.history().place.as_ref()?;
        Some((place.token, place.lease))
    }

    /// When the supervisor believes that the tree has to be dead.
    pub fn kill_at(&self) -> Option<Instant> {
        let lease = self.manager.as_ref()?.supervisor.lease()?;
        Some(lease.kill_at())
    }

    /// The next event for the supervisor, in the order in which run.rs takes them.
    pub fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.inbox.pop_front() {
            return Some(event);
        }
        let now = self.now();
        let manager = self.manager.as_mut()?;
        if manager
            .supervisor
            .next_deadline()
            .is_some_and(|at| at <= now)
        {
            return Some(Event::Tick);
        }
        manager.events.try_recv().ok()
    }
}

pub fn name() -> LockName {
    LOCK.parse().expect("a name")
}

impl Manager {
    /// What the supervisor wants done before anything has happened.
    pub fn first_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.first)
    }

    /// Has the service do what is for it; everything else comes back.
    pub fn perform(&mut self, action: Action, said: Said) -> Option<Action> {
        let _context = self.runtime.enter();
        let etcd = self.etcd.as_mut()?;
        match (action, said) {
            (Action::Enqueue { give_up_at }, _) => etcd.enqueue(give_up_at),
            (Action::Renew { give_up_at }, _) => etcd.renew(give_up_at),
            (Action::Announce, _) => etcd.announce(),
            (Action::AnswerBreak { within }, _) => etcd.answer_break(within),
            (Action::Release { give_up_at }, _) => etcd.release(give_up_at),
            (Action::Keep { give_up_at, until }, Said::Entry(entry)) => {
                etcd.keep(entry, until, give_up_at);
            }
            (Action::Record { give_up_at, .. }, Said::Memory(memory)) => {
                etcd.record(memory, give_up_at);
            }
            (other, _) => return Some(other),
        }
        self.is_stirred = true;
        None
    }

    /// The run is over; what nobody waits for goes on for a moment.
    pub fn say_farewell(&mut self, now: Instant) {
        if let Some(etcd) = self.etcd.take() {
            let farewell = etcd.farewell(now + FAREWELL);
            self.farewell = Some(self.runtime.spawn(farewell));
            self.is_stirred = true;
        }
    }

    /// Whether it has nothing more to do.
    pub fn is_done(&self) -> bool {
        self.farewell.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Runs the service until it waits for something.
    pub fn run_until_idle(&mut self) {
        if std::mem::take(&mut self.is_stirred) {
            run_until_idle(&self.runtime);
        }
    }

    /// The deadline for which the timer has to be set anew.
    pub fn new_deadline(&mut self) -> Option<Instant> {
        let deadline = self.supervisor.next_deadline();
        if self.wake_at == deadline {
            return None;
        }
        self.wake_at = deadline;
        deadline
    }
}

thread_local! {
    static IDLER: RefCell<Option<Waker>> = const { RefCell::new(None) };
    static IS_IDLE: Cell<bool> = const { Cell::new(false) };
}

/// A runtime without a driver: all it waits for is in the kernel. When it has nothing to do, it says so.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .on_thread_park(|| {
            if let Some(idler) = IDLER.take() {
                IS_IDLE.set(true);
                idler.wake();
            }
        })
        .build()
        .expect("a runtime without threads and descriptors")
}

/// Runs what is there until all of it waits.
pub fn run_until_idle(runtime: &Runtime) {
    runtime.block_on(Idle { waited: false });
}

/// Done when all tasks of the runtime wait.
struct Idle {
    waited: bool,
}

impl Future for Idle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.waited && IS_IDLE.get() {
            return Poll::Ready(());
        }
        self.waited = true;
        IS_IDLE.set(false);
        IDLER.set(Some(context.waker().clone()));
        Poll::Pending
    }
}
