//! What happened, and the events that it is.

use std::io::Read;
use std::time::Duration;

use crate::clock::now;
use crate::outcome::Ended;
use crate::process::kill::{self, Change, Left, Spared};
use crate::process::link::{Message, Reach, Received};
use crate::process::manager::{Manager, State};
use crate::process::notes::{Note, Settled};
use crate::process::page::Phase;
use crate::process::signals::{self, Arrived};
use crate::process::tree;
use crate::supervisor::Event;

/// How often M looks whether a front that does not answer is stopped. SIGSTOP gives it no time to say so.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Manager {
    pub(super) fn take_time(&mut self) {
        if self.killing.is_some() {
            self.kill_round();
        }
        if self.look_at.is_some_and(|at| now() >= at) {
            self.look_at = Some(now() + LOOK_EVERY);
            if tree::is_stopped(self.common.front) {
                self.note_front(Event::FrontStopped);
            }
        }
        self.pass_what_we_have_not_got();
    }

    /// Tells that the front was stopped, or goes on, if that is news and no command runs that would be, too.
    pub(super) fn note_front(&mut self, event: Event) {
        let stopped = event == Event::FrontStopped;
        if self.front_stopped != stopped && !self.common.page.started() {
            self.front_stopped = stopped;
            self.events.push_back(event);
        }
    }

    pub(super) fn read_front(&mut self, received: Received) {
        match received {
            Received::Message(Message::Go) => {
                self.look_at = None;
                self.note_front(Event::FrontContinued);
                self.events.push_back(Event::FrontReady);
            }
            Received::Message(Message::Signal { note, reach }) => self.take_signal(note, reach),
            Received::Message(Message::FrontStopped) => self.note_front(Event::FrontStopped),
            Received::Message(Message::FrontContinued) => self.note_front(Event::FrontContinued),
            Received::Message(Message::StillStopped) => {
                self.read_children();
                self.tell_stopped();
            }
            Received::Message(_) | Received::Nothing => {}
            Received::End => {
                self.front = None;
                self.look_at = None;
                self.events.push_back(Event::FrontGone);
            }
        }
    }

    /// Passes on what was meant for the command and did not reach it; the rest is for the supervisor while
    /// there is no command.
    fn take_signal(&mut self, note: Note, reach: Reach) {
        let Note { signal, sender, .. } = note;
        // A command that is dead already must not swallow it.
        self.read_children();
        if !matches!(self.state, State::Starting | State::Running) {
            if signals::terminates(signal) && !self.common.inherited.ignores(signal) {
                self.events.push_back(Event::Signal(signal));
            }
            return;
        }
        // What the command sends to its own surroundings is not for itself, as in sudo.
        if sender == self.command {
            return;
        }
        match reach {
            Reach::Front => self.pass(signal),
            // In a group of its own the command has not got what was sent to the front's group. It has if this was
            // sent to everybody one by one: then we get it as well.
            Reach::Group if self.command_group() != self.front_group() => {
                self.notes.got(note);
            }
            // Sent to those whom the terminal concerns, whatever their group.
            Reach::Group | Reach::Terminal => {}
        }
    }

    /// Takes what was sent to this process.
    pub(super) fn note_own(&mut self, arrived: Arrived) {
        if arrived.signal == libc::SIGCHLD {
            self.read_children();
        } else if !arrived.from_kernel && !arrived.from_terminal {
            // The command has its own copy.
            self.notes.other_got(arrived.note());
        }
    }

    /// Passes on what was sent to the front's group only: we would have got it by now.
    fn pass_what_we_have_not_got(&mut self) {
        if self.notes.next().is_none() {
            return;
        }
        while let Some(arrived) = self.signals.next() {
            self.note_own(arrived);
        }
        for Settled { note, both } in self.notes.known(now(), tree::is_at_work) {
            if !both && matches!(self.state, State::Starting | State::Running) {
                self.pass(note.signal);
            }
        }
    }

    fn pass(&self, signal: i32) {
        let group = self.command_group();
        // A shell with a group of its own was stopped with all of it.
        let whole_group = signal == libc::SIGCONT && group > 1 && group != self.front_group();
        let target = if whole_group { -group } else { self.command };
        let _ = signals::send(target, signal);
    }

    pub(super) fn read_children(&mut self) {
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

    pub(super) fn tell_stopped(&self) {
        if let Some(signal) = self.stopped
            && matches!(self.state, State::Starting | State::Running)
        {
            let group = self.command_group();
            self.tell_front(Message::CommandStopped { signal, group });
        }
    }

    pub(super) fn command_ended(&mut self, ended: Ended) {
        if matches!(self.state, State::Starting) {
            self.read_failure(true);
        }
        match self.state {
            State::Waiting(_) => {
                self.state = State::Lost;
                self.events.push_back(Event::StubGone);
            }
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

    /// Reads how the start went, if it is known. `reaped`: the stub is gone already.
    pub(super) fn read_failure(&mut self, reaped: bool) {
        let mut errno = [0; 4];
        match self.failure.read(&mut errno) {
            // Closed by exec, or by the stub's death, of which more is heard when it is reaped.
            Ok(0) => {
                self.state = State::Running;
                self.events.push_back(Event::Started);
            }
            Ok(_) => {
                // It has nothing more to do than to exit; nobody may be left when the failure is known.
                if !reaped {
                    self.reap_stub();
                }
                self.state = State::NotStarted;
                self.common.page.set_phase(Phase::Waiting);
                self.events
                    .push_back(Event::NotStarted(i32::from_ne_bytes(errno)));
            }
            Err(_) => {}
        }
    }

    pub(super) fn become_empty(&mut self) {
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

    pub(super) fn kill_round(&mut self) {
        // A round that cannot look at anybody (no descriptor is left) must not hold the other guards off.
        if kill::can_look() {
            self.common.page.killing(now());
        }
        // It needs no look: it is our child until it is reaped.
        if matches!(self.state, State::Starting | State::Running) {
            let _ = signals::send(self.command, libc::SIGKILL);
        }
        if let Some(killing) = &mut self.killing {
            killing.round(self.common.leaf.as_ref(), &Spared::default());
        }
        self.read_children();
    }
}
