//! M, the manager, as the rest of the program sees it: it turns actions into processes and signals, and what
//! happens to them into events. Nothing is decided here.
//!
//! M lives in a session of its own, so no terminal can stop or end it, and the command's process group is
//! orphaned exactly when it would be without us (setpgid(2)). It is the command's parent, and the subreaper of
//! all that the command starts.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getpgid, pipe2, setsid};

use crate::clock::{Instant, Timer, now};
use crate::outcome::{Ended, Ending};
use crate::process::kill::{self, Change, EAGER_ROUNDS, Killing, Left, Spared};
use crate::process::link::{Link, Message, Reach, Received};
use crate::process::page::{Page, Phase};
use crate::process::readiness::Readiness;
use crate::process::signals::{self, Signals};
use crate::process::tree::{self, Leftover};
use crate::process::{Common, Fork, fork, inherited, leave, stub};
use crate::supervisor::Event;

/// How long [`Manager::kill`] keeps the event loop waiting before it goes on in the background.
const KILL_AT_ONCE: Duration = Duration::from_millis(5);
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
    children: Signals,
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
    front_gone_told: bool,
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

/// What happened, as the descriptors tell it.
enum Wake {
    Front(Received),
    Children,
    Failure,
    WitnessGone,
    Round,
}

/// The descriptors, watched by tokio.
struct Waits {
    front: Readiness<OwnedFd>,
    children: Readiness<OwnedFd>,
    failure: Readiness<OwnedFd>,
    witness: Readiness<OwnedFd>,
    round: Timer,
}

/// Becomes the manager, after forking the stub.
pub fn split(common: Common, front: Link, witness: OwnedFd) -> Manager {
    match make(common, &front, &witness) {
        Ok(parts) => parts.into_manager(front, witness),
        Err(error) => {
            front.send(Message::NotSplit(error.raw_os_error().unwrap_or(libc::EIO)));
            leave(1)
        }
    }
}

/// What [`make`] gives.
struct Parts {
    common: Common,
    command: i32,
    go: File,
    failure: File,
    children: Signals,
}

fn make(common: Common, front: &Link, witness: &OwnedFd) -> io::Result<Parts> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let manager = std::process::id() as i32;
    let (go_read, go_write) = pipe2(OFlag::O_CLOEXEC)?;
    let (failure_read, failure_write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let command = match fork()? {
        Fork::Parent(command) => command,
        Fork::Child => {
            close_in_stub(front, witness);
            drop((go_write, failure_read));
            stub::run(&common, manager, go_read, failure_write)
        }
    };
    // Only now: the stub stays in the session of the terminal.
    setsid()?;
    crate::process::title::set(c"lock-manager");
    let mut common = common;
    common.leaf = common.leaf.take().filter(|leaf| leaf.adopt(command));
    inherited::release_descriptors()?;
    Ok(Parts {
        common,
        command,
        go: go_write.into(),
        failure: failure_read.into(),
        children: Signals::children()?,
    })
}

/// The stub must not hold the sockets: their end is how the others learn that M is dead. It has only borrowed
/// them, and never returns to their owner.
fn close_in_stub(front: &Link, witness: &OwnedFd) {
    use std::os::fd::AsRawFd;
    for fd in [front.as_fd().as_raw_fd(), witness.as_raw_fd()] {
        // SAFETY: in this process nobody uses or closes them after this: it executes the command or exits.
        unsafe { libc::close(fd) };
    }
}

impl Parts {
    fn into_manager(self, front: Link, witness: OwnedFd) -> Manager {
        Manager {
            front_pidfd: tree::pidfd_open(self.common.front).ok(),
            common: self.common,
            front: Some(front),
            witness: Some(witness),
            witness_pidfd: tree::pidfd_open(nix::unistd::getppid().as_raw()).ok(),
            children: self.children,
            command: self.command,
            stopped: None,
            state: State::Waiting(self.go),
            failure: self.failure,
            killing: None,
            killed: false,
            front_gone_told: false,
            events: VecDeque::new(),
            waits: None,
        }
    }
}

// What the rest of the program asks for.
impl Manager {
    /// The next fact. Cancel safe. Must be awaited inside a tokio runtime with its I/O driver.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match self.wait().await {
                Wake::Front(received) => self.read_front(received),
                Wake::Children => self.read_children(),
                Wake::Failure => self.read_failure(),
                Wake::WitnessGone => {
                    self.witness = None;
                    self.tell_front_gone();
                }
                Wake::Round => self.kill_round(),
            }
        }
    }

    /// Asks the front whether a command may be started; it cannot answer while it is stopped. Answered by
    /// `FrontReady`.
    pub fn prepare(&mut self) {
        self.tell_front(Message::Ready);
    }

    /// Lets the stub become the command, with these variables in addition. Answered by `Started` or
    /// `NotStarted`.
    pub fn start(&mut self, environment: &[(OsString, OsString)]) {
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

// How it is done.
impl Manager {
    pub(super) fn page(&self) -> &'static Page {
        self.common.page
    }

    async fn wait(&mut self) -> Wake {
        if self.waits.is_none() {
            self.waits = Some(self.watch().expect("the kernel watches five descriptors"));
        }
        let next_round = self.killing.as_ref().map(Killing::round_at);
        let starting = matches!(self.state, State::Starting);
        let Self {
            front,
            witness,
            children,
            failure,
            waits: Some(waits),
            ..
        } = self
        else {
            unreachable!("made above");
        };
        let next_message = || match front.as_ref().map(Link::receive) {
            None | Some(Received::Nothing) => None,
            Some(received) => Some(received),
        };
        tokio::select! {
            received = waits.front.read(|_| next_message()), if front.is_some() => {
                Wake::Front(received.unwrap_or(Received::End))
            }
            _ = waits.children.read(|_| children.next()) => Wake::Children,
            _ = waits.failure.read(|_| is_readable(failure).then_some(())), if starting => Wake::Failure,
            _ = waits.witness.read(|fd| is_readable(fd).then_some(())), if witness.is_some() => {
                Wake::WitnessGone
            }
            () = waits.round.reached(next_round) => Wake::Round,
        }
    }

    fn watch(&self) -> io::Result<Waits> {
        let front = self.front.as_ref().map(Link::try_clone);
        let witness = self.witness.as_ref().map(OwnedFd::try_clone);
        let gone = || Err(io::Error::from_raw_os_error(libc::EBADF));
        Ok(Waits {
            front: Readiness::new(front.unwrap_or_else(gone)?)?,
            children: Readiness::new(self.children.try_clone()?)?,
            failure: Readiness::new(self.failure.as_fd().try_clone_to_owned()?)?,
            witness: Readiness::new(witness.unwrap_or_else(gone)?)?,
            round: Timer::new()?,
        })
    }

    fn read_front(&mut self, received: Received) {
        match received {
            Received::Message(Message::Go) => self.events.push_back(Event::FrontReady),
            Received::Message(Message::Signal {
                signal,
                sender,
                reach,
            }) => self.take_signal(signal, sender, reach),
            Received::Message(Message::FrontStopped) if !self.common.page.started() => {
                self.events.push_back(Event::FrontStopped);
            }
            Received::Message(Message::FrontContinued) if !self.common.page.started() => {
                self.events.push_back(Event::FrontContinued);
            }
            Received::Message(Message::StillStopped) => {
                self.read_children();
                self.tell_stopped();
            }
            Received::Message(_) | Received::Nothing => {}
            Received::End => {
                self.front = None;
                self.tell_front_gone();
            }
        }
    }

    /// Passes on what was meant for the command and did not reach it; the rest is for the supervisor while
    /// there is no command.
    fn take_signal(&mut self, signal: i32, sender: i32, reach: Reach) {
        // A command that is dead already must not swallow it.
        self.read_children();
        if !matches!(self.state, State::Starting | State::Running) {
            if signals::terminates(signal) && !self.common.inherited.ignores(signal) {
                self.events.push_back(Event::Signal(signal));
            }
            return;
        }
        let group = self.command_group();
        let reached = match reach {
            Reach::Front => false,
            Reach::Group => group == self.front_group(),
            // Sent to those whom the terminal concerns, whatever their group.
            Reach::Terminal => true,
        };
        // What the command sends to its own surroundings is not for itself, as in sudo.
        if reached || sender == self.command {
            return;
        }
        // A shell with a group of its own was stopped with all of it.
        let whole_group = signal == libc::SIGCONT && group > 1 && group != self.front_group();
        let target = if whole_group { -group } else { self.command };
        let _ = signals::send(target, signal);
    }

    fn read_children(&mut self) {
        let command = self.command;
        let mut changes = Vec::new();
        let left = kill::reap(|pid, change| {
            if pid == command {
                changes.push(change);
            }
        });
        for change in changes {
            match change {
                Change::Ended(ended) => self.command_ended(ended),
                Change::Stopped(signal) => {
                    self.stopped = Some(signal);
                    self.tell_stopped();
                }
                Change::Continued => {
                    self.stopped = None;
                    self.continue_front();
                }
            }
        }
        if left == Left::Nobody && (matches!(self.state, State::Ended) || self.killing.is_some()) {
            self.become_empty();
        }
    }

    fn tell_stopped(&self) {
        if let Some(signal) = self.stopped
            && matches!(self.state, State::Starting | State::Running)
        {
            let group = self.command_group();
            self.tell_front(Message::CommandStopped { signal, group });
        }
    }

    fn command_ended(&mut self, ended: Ended) {
        if matches!(self.state, State::Starting) {
            self.read_failure();
        }
        match self.state {
            State::Waiting(_) => self.state = State::Lost,
            State::NotStarted | State::Lost => {}
            _ => {
                if matches!(self.state, State::Starting) {
                    // It died between its last instruction as a stub and the command's first.
                    self.events.push_back(Event::Started);
                }
                self.state = State::Ended;
                self.common.page.set_ended(ended);
                self.common.page.set_phase(Phase::Leftovers);
                self.events.push_back(Event::Ended(ended));
            }
        }
    }

    /// Reads how the start went, if it is known.
    fn read_failure(&mut self) {
        let mut errno = [0; 4];
        match self.failure.read(&mut errno) {
            // Closed by exec, or by the stub's death, of which more is heard when it is reaped.
            Ok(0) => {
                self.state = State::Running;
                self.events.push_back(Event::Started);
            }
            Ok(_) => {
                // It has nothing more to do than to exit; nobody may be left when the failure is known.
                self.reap_stub();
                self.state = State::NotStarted;
                self.common.page.set_phase(Phase::Waiting);
                self.events
                    .push_back(Event::NotStarted(i32::from_ne_bytes(errno)));
            }
            Err(_) => {}
        }
    }

    fn become_empty(&mut self) {
        if matches!(self.state, State::Empty) {
            return;
        }
        self.state = State::Empty;
        self.killing = None;
        if self.common.page.started() {
            self.common.page.set_phase(Phase::Empty);
        }
        self.events.push_back(Event::Empty);
    }

    fn kill_round(&mut self) {
        self.common.page.killing(now());
        if let Some(killing) = &mut self.killing {
            killing.round(self.common.leaf.as_ref(), &Spared::default());
        }
        self.read_children();
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
            kill::kill_all(leaf, &Spared::default(), &self.children, FINISH_KILL);
        }
    }

    /// Kills and reaps the stub: a child of ours until it is reaped.
    fn reap_stub(&mut self) {
        let _ = signals::send(self.command, libc::SIGKILL);
        let _ = nix::sys::wait::waitpid(Pid::from_raw(self.command), None);
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

    fn tell_front_gone(&mut self) {
        if !self.front_gone_told {
            self.front_gone_told = true;
            self.events.push_back(Event::FrontGone);
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

    fn wait_for_child(&self, pause: Duration) {
        let mut fds = [PollFd::new(self.children.as_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(pause)), None);
        while self.children.next().is_some() {}
    }
}

/// Whether a read would not wait: there is something, or the end.
fn is_readable(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    matches!(
        ppoll(
            &mut fds,
            Some(TimeSpec::from_duration(Duration::ZERO)),
            None
        ),
        Ok(1..)
    )
}
