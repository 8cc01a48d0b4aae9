//! The processes around a command, as `process/` has them: the front, the witness, and the tree. What each of
//! them does, and when, is from process/mod.rs, front.rs, witness.rs and page.rs.

use std::time::Duration;

use crate::clock::Instant;
use crate::outcome::Ended;
use crate::simulation::kernel::{self, Time};
use crate::simulation::scenario::CommandPlan;
use crate::simulation::sights::Sight;
use crate::simulation::world::Occurrence;
use crate::supervisor::Event;

/// As in front.rs and witness.rs.
const FRONT_PATIENCE: Duration = Duration::from_millis(75);
const WITNESS_PATIENCE: Duration = Duration::from_millis(150);
/// As in page.rs.
const SIGN_OF_LIFE: Duration = Duration::from_millis(150);
const SILENCE: Duration = Duration::from_millis(300);

/// A tree that takes longer than this to die is a slow one.
const SLOW: Duration = Duration::from_millis(300);

/// How late a process wakes that was stopped.
const WAKING: Duration = Duration::from_millis(20);

/// What may come of a tree by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The stub becomes the command, or cannot.
    Executed,
    /// The command ends by itself.
    CommandEnds,
    /// What it left ends by itself.
    LeftoversEnd,
    /// It ends because of TERM.
    Termed,
    /// It is dead.
    Killed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tree {
    #[default]
    None,
    /// Processes are alive: the command, or what it left.
    Alive {
        command: bool,
    },
    Gone,
    /// It lives outside the lock.
    Left,
}

/// Who acts when the manager does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    Front,
    Witness,
}

/// What they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    Nothing,
    LookAgain(Instant),
    KillTree(Guard),
    KillManager(Guard),
}

pub struct Machine {
    plan: CommandPlan,
    pub tree: Tree,
    /// The stub has become the command.
    executed: bool,
    /// How the command ended by itself.
    pub ended: Option<Ended>,
    /// The shared page: when the tree has to be dead.
    pub kill_at: Option<Instant>,
    /// The manager is at work, killing.
    pub killing: bool,
    /// So many things that stop all of it: suspends.
    pub suspended: u32,
    /// So many things that stop the manager.
    pub frozen: u32,
    /// Since when nothing of that is the case.
    pub runs_since: Time,
    /// There is a tree to look after, as far as the shared page says.
    pub guarded: bool,
    /// The guards are killing the tree.
    pub guards_kill: bool,
    /// When the manager last did anything.
    pub alive_at: Option<Instant>,
    pub witness_alive: bool,
    pub front_alive: bool,
    pub front_frozen: u32,
    pub front_stopped: u32,
    /// The front was asked whether a command may be started, and could not answer yet.
    pub asked: bool,
}

impl Machine {
    pub const fn new(plan: CommandPlan) -> Self {
        Self {
            plan,
            tree: Tree::None,
            executed: false,
            ended: None,
            kill_at: None,
            killing: false,
            suspended: 0,
            frozen: 0,
            runs_since: Time::ZERO,
            guarded: false,
            guards_kill: false,
            alive_at: None,
            witness_alive: true,
            front_alive: true,
            front_frozen: 0,
            front_stopped: 0,
            asked: false,
        }
    }

    pub const fn is_suspended(&self) -> bool {
        self.suspended > 0
    }

    pub const fn manager_runs(&self) -> bool {
        self.suspended == 0 && self.frozen == 0
    }

    /// Whether the manager has had the time to do what was due.
    pub fn manager_ran(&self) -> bool {
        self.manager_runs() && kernel::time() > self.runs_since + WAKING
    }

    pub const fn front_answers(&self) -> bool {
        self.front_alive && self.front_frozen == 0 && self.front_stopped == 0 && self.suspended == 0
    }

    pub const fn is_alive(&self) -> bool {
        matches!(self.tree, Tree::Alive { .. })
    }

    fn schedule(&self, host: usize, step: Step, after: Duration) {
        kernel::schedule(kernel::time() + after, Occurrence::Process { host, step });
    }

    pub fn start(&mut self, host: usize) {
        self.tree = Tree::Alive { command: true };
        self.guarded = true;
        self.schedule(host, Step::Executed, Duration::from_micros(500));
    }

    pub fn term(&self, host: usize) {
        if self.is_alive()
            && let Some(after) = self.plan.on_term
        {
            self.schedule(host, Step::Termed, after);
        }
    }

    pub fn kill(&self, host: usize) {
        if self.is_alive() {
            self.schedule(host, Step::Killed, self.plan.dying);
        }
    }

    /// What the manager sees when this happens.
    pub fn step(&mut self, host: usize, step: Step) -> Vec<Event> {
        let Tree::Alive { command } = self.tree else {
            return Vec::new();
        };
        match step {
            Step::Executed => match self.plan.errno {
                Some(errno) => {
                    self.tree = Tree::Gone;
                    vec![Event::NotStarted(errno)]
                }
                None => {
                    self.executed = true;
                    self.schedule(host, Step::CommandEnds, self.plan.runs_for);
                    vec![Event::Started]
                }
            },
            Step::CommandEnds if command => {
                let ended = Ended::Exited(0);
                self.ended = Some(ended);
                match self.plan.leftovers {
                    Some(after) => {
                        kernel::saw(Sight::Leftovers);
                        self.tree = Tree::Alive { command: false };
                        self.schedule(host, Step::LeftoversEnd, after);
                        vec![Event::Ended(ended)]
                    }
                    None => {
                        self.tree = Tree::Gone;
                        vec![Event::Ended(ended), Event::Empty]
                    }
                }
            }
            Step::CommandEnds => Vec::new(),
            Step::LeftoversEnd => {
                self.tree = Tree::Gone;
                vec![Event::Empty]
            }
            Step::Termed => {
                kernel::saw(Sight::EndedByTerm);
                self.dead(command, libc::SIGTERM)
            }
            Step::Killed => {
                if self.plan.dying > SLOW {
                    kernel::saw(Sight::SlowDeath);
                }
                self.dead(command, libc::SIGKILL)
            }
        }
    }

    fn dead(&mut self, command: bool, signal: i32) -> Vec<Event> {
        self.tree = Tree::Gone;
        self.killing = false;
        // Killed between its last instruction as a stub and its first as the command.
        let started = (!self.executed).then_some(Event::Started);
        let ended = command.then_some(Event::Ended(Ended::Signaled(signal)));
        started
            .into_iter()
            .chain(ended)
            .chain([Event::Empty])
            .collect()
    }

    /// The instants at which the guards look.
    pub fn guards_look_at(&self) -> Vec<Instant> {
        let at = |patience| self.kill_at.map(|at| at + patience);
        [at(FRONT_PATIENCE), at(WITNESS_PATIENCE)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// What the guards have to do, as in process/backstop.rs: kill the tree in the manager's place, and the
    /// manager as well if nothing is heard of it for a while longer.
    pub fn duty(&self, now: Instant) -> Duty {
        let (true, Some(kill_at)) = (self.guarded, self.kill_at) else {
            return Duty::Nothing;
        };
        let front = self.front_alive && self.front_frozen == 0;
        let (guard, due_at) = if front && now >= kill_at + FRONT_PATIENCE {
            (Guard::Front, kill_at + FRONT_PATIENCE)
        } else if self.witness_alive && now >= kill_at + WITNESS_PATIENCE {
            (Guard::Witness, kill_at + WITNESS_PATIENCE)
        } else {
            return Duty::Nothing;
        };
        if self.killing && self.frozen == 0 {
            return Duty::LookAgain(now + SIGN_OF_LIFE);
        }
        let heard_at = self.alive_at.map_or(due_at, |at| at.max(due_at));
        if now >= heard_at + SILENCE {
            return Duty::KillManager(guard);
        }
        match self.guards_kill {
            true => Duty::LookAgain(heard_at + SILENCE),
            false => Duty::KillTree(guard),
        }
    }
}
