//! M, the manager, as the rest of the program sees it: it turns actions into processes and signals, and what
//! happens to them into events. Nothing is decided here.
//!
//! M lives in a session of its own, so no terminal can stop or end it, and the command's process group is
//! orphaned exactly when it would be without us (setpgid(2)). It is the command's parent, and the subreaper of
//! all that the command starts.
//!
//! birth.rs makes it, watch.rs waits, facts.rs makes events of what happened.

mod birth;
mod facts;
mod watch;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::{Pid, getpgid};

use crate::clock::{Instant, now};
use crate::outcome::Ending;
use crate::process::kill::{self, EAGER_ROUNDS, Killing, Spared};
use crate::process::link::{Link, Message};
use crate::process::manager::facts::LOOK_EVERY;
use crate::process::manager::watch::{Waits, Wake};
use crate::process::notes::Notes;
use crate::process::page::{Page, Phase};
use crate::process::preemption::Requests;
use crate::process::signals::{self, Signals};
use crate::process::tree::{self, Leftover};
use crate::process::{Common, Memo, inherited, stub};
use crate::supervisor::Event;

pub use birth::split;

/// How long [`Manager::kill`] keeps the event loop waiting before it goes on in the background.
const KILL_AT_ONCE: Duration = Duration::from_millis(5);
/// How long a stub that was killed may take to be reaped.
const REAP_STUB: Duration = Duration::from_millis(200);
/// How long [`Manager::finish`] kills what must not be there any more.
const FINISH_KILL: Duration = Duration::from_secs(1);

/// The processes, from where they are managed. Lives in the manager process.
pub struct Manager {
    common: Common,
    /// None once F is dead.
    front: Option<Link>,
    front_pidfd: Option<OwnedFd>,
    /// Ends when W dies; none once it has.
    witness: Option<OwnedFd>,
    witness_pidfd: Option<OwnedFd>,
    /// Children's, and whatever else is sent to us: it was sent to everybody one by one.
    signals: Signals,
    /// Signals that front and witness got, and those that we got.
    notes: Notes,
    command: i32,
    /// The signal that the command was stopped by, until it is continued.
    stopped: Option<i32>,
    state: State,
    /// Where the stub writes the errno when it cannot become the command; ends when it has.
    failure: File,
    /// The tree is being killed.
    killing: Option<Killing>,
    /// The command was killed, or what it left.
    killed: bool,
    /// When to look after a front that was asked whether a command may be started.
    look_at: Option<Instant>,
    /// It was told to be stopped, before a command runs.
    front_stopped: bool,
    events: VecDeque<Event>,
    /// Made by the first wait, inside a tokio runtime.
    waits: Option<Waits>,
}

/// How far the command is.
enum State {
    /// The stub waits at the other end of this pipe.
    Waiting(File),
    /// It was told to become the command.
    Starting,
    /// It is the command.
    Running,
    /// It was reaped; what it started may be left.
    Ended,
    /// The stub died and can become nothing.
    Lost,
    /// The stub could not become the command.
    NotStarted,
    /// Nobody is left.
    Empty,
}

// What the rest of the program asks for.
impl Manager {
    /// The next fact. Cancel safe. Must be awaited inside a tokio runtime with its I/O driver.
    pub async fn next(&mut self) -> Event {
        loop {
            // Called anew in every turn of the event loop, whatever woke it.
            self.common.page.alive(now());
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match self.wait().await {
                Wake::Front(received) => self.read_front(received),
                Wake::Signal(arrived) => self.note_own(arrived),
                Wake::Failure => self.read_failure(false),
                Wake::WitnessGone => {
                    self.witness = None;
                    self.events.push_back(Event::WitnessGone);
                }
                Wake::Time => self.take_time(),
            }
        }
    }

    /// Asks the front whether a command may be started; it cannot answer while it is stopped. Answered by
    /// `FrontReady`.
    pub fn prepare(&mut self) {
        self.tell_front(Message::Ready);
        self.look_at = Some(now() + LOOK_EVERY);
    }

    /// What other leaseholds ask of us, for who wants to hear it: to be called before the first [`Manager::next`].
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn requests(&mut self) -> io::Result<Requests> {
        self.signals = Signals::all_but_requests()?;
        Requests::new()
    }

    /// Notes what the front reports of the run if we die. To be called before [`Manager::start`].
    pub fn note(&self, memo: Memo) {
        self.common.page.note(memo);
    }

    /// Lets the stub become the command, with these variables in addition, unless it could only do so after `by`.
    /// Answered by `Started` or `NotStarted`.
    pub fn start(&mut self, environment: &[(OsString, OsString)], by: Option<Instant>) {
        if let Some(by) = by {
            self.common.page.start_by(by);
        }
        match std::mem::replace(&mut self.state, State::Starting) {
            State::Waiting(mut go) => {
                // Before the stub can act on it: the guards must never find a command in a phase without one.
                self.common.page.set_phase(Phase::Running);
                // A stub that died is reported when it is reaped.
                let _ = go.write_all(&stub::encode_environment(environment));
            }
            State::Lost => {
                self.state = State::NotStarted;
                self.events.push_back(Event::NotStarted(libc::ESRCH));
            }
            other => {
                debug_assert!(false, "started twice");
                self.state = other;
            }
        }
    }

    /// Lets every guard know when the tree has to be dead.
    pub fn publish(&mut self, kill_at: Instant) {
        self.common.page.publish(kill_at);
    }

    /// Asks every process of the tree to end, and lets those that are stopped hear it.
    pub fn stop(&mut self) {
        if self.is_alive() {
            tree::signal_all(&[self.common.kill_signal, libc::SIGCONT]);
            // Nobody was found: the command itself needs no look, it is our child until it is reaped.
            if !kill::can_look() && !matches!(self.state, State::Ended) {
                let _ = signals::send(self.command, self.common.kill_signal);
                let _ = signals::send(self.command, libc::SIGCONT);
            }
        }
    }

    /// Kills every process of the tree, and goes on in [`Manager::next`] until nobody is left. Answered by
    /// `Empty`.
    pub fn kill(&mut self) {
        if matches!(self.state, State::Empty) {
            if !self.events.contains(&Event::Empty) {
                self.events.push_back(Event::Empty);
            }
            return;
        }
        self.killed |= self.is_alive();
        self.killing.get_or_insert_with(Killing::begin);
        let give_way_at = now() + KILL_AT_ONCE;
        for _ in 0..EAGER_ROUNDS {
            self.kill_round();
            if self.killing.is_none() || now() >= give_way_at {
                return;
            }
            self.wait_for_child(Duration::from_micros(100));
        }
    }

    /// Lets what is left of the tree live outside the lock. Answered by `Empty`.
    pub fn leave(&mut self) {
        if let Some(leaf) = &self.common.leaf {
            leaf.release();
        }
        self.become_empty();
    }

    /// Who is left of the tree, to name them to the user.
    pub fn leftovers(&self) -> Vec<Leftover> {
        tree::leftovers(&[])
    }

    /// Tells the front how to end, which it does at once. Afterwards nobody guards anything, and this process
    /// holds nothing that others wait for; it may live on for a moment to tidy up.
    pub fn finish(&mut self, ending: Ending) {
        self.dismiss();
        if let Some(leaf) = &self.common.leaf {
            leaf.remove();
        }
        self.common.page.set_ending(ending);
        // It would go by itself, but not if it is frozen.
        if let (Some(_), Some(witness)) = (&self.witness, &self.witness_pidfd) {
            let _ = tree::pidfd_send_signal(witness, libc::SIGKILL);
        }
        // It may be stopped together with the job.
        self.continue_front();
        let killed = self.killed;
        self.tell_front(Message::Finish { ending, killed });
        inherited::release_stderr();
    }
}

// The hands.
impl Manager {
    pub(in crate::process) fn page(&self) -> &'static Page {
        self.common.page
    }

    /// Sees to it that nobody is left when the guards go.
    fn dismiss(&mut self) {
        if matches!(self.state, State::Waiting(_)) {
            self.reap_stub();
            self.state = State::Lost;
        }
        if self.is_alive() {
            debug_assert!(false, "finished while the command's tree was alive");
            let leaf = self.common.leaf.as_ref();
            let (mut killing, mut spared) = (Killing::begin(), Spared::default());
            kill::kill_all(&mut killing, leaf, &mut spared, &self.signals, FINISH_KILL);
        }
    }

    /// Kills and reaps the stub: a child of ours until it is reaped. A debugger that holds it gets its end first,
    /// and may keep it (ptrace(2)); it can do no harm any more.
    fn reap_stub(&mut self) {
        let _ = signals::send(self.command, libc::SIGKILL);
        let give_up_at = now() + REAP_STUB;
        while kill::is_child(self.command) && now() < give_up_at {
            let stub = Pid::from_raw(self.command);
            match nix::sys::wait::waitpid(stub, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => self.wait_for_child(Duration::from_millis(1)),
                _ => return,
            }
        }
    }

    /// Whether processes of the tree may be alive.
    const fn is_alive(&self) -> bool {
        matches!(self.state, State::Starting | State::Running | State::Ended)
    }

    fn tell_front(&self, message: Message) {
        if let Some(front) = &self.front {
            front.send(message);
        }
    }

    fn continue_front(&self) {
        match (&self.front, &self.front_pidfd) {
            (Some(_), Some(pidfd)) => {
                let _ = tree::pidfd_send_signal(pidfd, libc::SIGCONT);
            }
            (Some(_), None) if self.common.front > 1 => {
                let _ = signals::send(self.common.front, libc::SIGCONT);
            }
            _ => {}
        }
    }

    fn command_group(&self) -> i32 {
        getpgid(Some(Pid::from_raw(self.command))).map_or(0, Pid::as_raw)
    }

    /// Asked anew each time: a shell may move a job right after it has started it.
    fn front_group(&self) -> i32 {
        getpgid(Some(Pid::from_raw(self.common.front)))
            .map_or(self.common.inherited.group, Pid::as_raw)
    }

    fn wait_for_child(&mut self, pause: Duration) {
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(pause)), None);
        // The children are reaped in the next round; nothing is passed on to what is being killed.
        while self.signals.next().is_some() {}
    }
}
