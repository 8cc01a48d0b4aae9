//! F, the front: the pid that shell, cron and systemd know. It passes signals on, stops and continues with the
//! job, ends as the run ends, and guards the command against a manager that is dead or frozen.
//!
//! One thread, one loop, no tokio; whenever it wakes, it looks at the deadline first.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clock::{Alarm, Instant, now};
use crate::outcome::Ending;
use crate::process::backstop::Backstop;
use crate::process::kill::{
    Change, HELP_TIME, Killing, Spared, children, is_child, kill_all, reap,
};
use crate::process::link::{Link, Message, Reach, Received};
use crate::process::notes::{Note, Notes, Settled};
use crate::process::page::Phase;
use crate::process::signals::{self, Arrived, Signals};
use crate::process::terminal::Terminal;
use crate::process::tree::{Leftover, Process};
use crate::process::{Common, ManagerDeath, abilities, inherited, tree};

/// How long after the deadline F acts: long enough for M to have done it.
const PATIENCE: Duration = Duration::from_millis(75);
/// How often F looks whether there is a deadline by now, between its permission to start and the start.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long F kills before it asks whether those that are left can be killed at all.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// How long F kills others, that are only slow to die or fork as fast as they are killed. Nobody does it after F.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
/// How long F waits for W and M to go, where it does. M takes at most so long to give back the lease.
const SEE_OFF_TIME: Duration = Duration::from_secs(2);

/// How long M may take to show any sign of life when a signal asks the run to end and there is no deadline: long for
/// a M that other processes keep from the processor, short for a person at a terminal.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// How the guarding ended.
pub enum Verdict {
    /// M said so.
    Finished(Ending),
    /// The processes could not be made; nobody is left of them.
    NotSplit(io::Error),
    /// M died, let the deadline pass, or did not hear that the run shall end; F killed what was left.
    ManagerDied(ManagerDeath),
}

/// What F knows.
pub struct Front {
    common: Common,
    manager: Link,
    /// None once W is dead.
    witness: Option<Link>,
    signals: Signals,
    alarm: Alarm,
    backstop: Backstop,
    terminal: Option<Terminal>,
    /// Children that we had before, of the shell that executed us; and W.
    spared: Spared,
    /// Let a command start.
    ready: bool,
    /// Signals that were sent to us, and those that W got: to us alone, or to our whole group?
    notes: Notes,
    /// When a signal that ends a run without a command was passed to M, of which nothing has been heard since.
    asked_at: Option<Instant>,
    /// Somebody continued us in this turn of the loop.
    continued: bool,
    /// W could not be split, for this errno.
    refusal: Option<i32>,
}

impl Front {
    pub fn new(common: Common, manager: Link, witness: Link, spared: Spared) -> io::Result<Self> {
        inherited::release_descriptors()?;
        Ok(Self {
            common,
            manager,
            witness: Some(witness),
            signals: Signals::all()?,
            alarm: Alarm::new()?,
            backstop: Backstop::new(PATIENCE),
            terminal: Terminal::open(),
            spared,
            ready: false,
            notes: Notes::default(),
            asked_at: None,
            continued: false,
            refusal: None,
        })
    }

    /// Guards until the end of the run.
    pub fn guard(mut self) -> Verdict {
        let verdict = self.guard_to_the_end();
        if matches!(verdict, Verdict::Finished(_)) {
            self.see_off();
        }
        verdict
    }

    fn guard_to_the_end(&mut self) -> Verdict {
        loop {
            if let Some(verdict) = self.check_deadline().or_else(|| self.check_answer()) {
                return verdict;
            }
            self.alarm.set(self.next_look());
            self.wait();
            if let Some(verdict) = self.check_deadline() {
                return verdict;
            }
            self.continued = false;
            self.read_signals();
            self.read_witness();
            self.settle();
            if let Some(verdict) = self.read_manager() {
                return verdict;
            }
        }
    }

    fn check_deadline(&mut self) -> Option<Verdict> {
        if self.backstop.is_due(&self.common) {
            self.look_for_strangers();
        }
        let guards = [self.common.page.manager(), self.spared.helper.unwrap_or(0)];
        let strangers = &self.spared.strangers;
        let overdue = self.backstop.check(&self.common, strangers, &guards);
        overdue.then(|| self.take_over(true))
    }

    /// Without a command there is no deadline that would end a run whose M is frozen.
    fn check_answer(&mut self) -> Option<Verdict> {
        let asked_at = self.asked_at?;
        if self.runs_command() || self.common.page.has_lived_since(asked_at) {
            self.asked_at = None;
            return None;
        }
        if now() < asked_at + ANSWER_TIME {
            return None;
        }
        // By itself, since what was let live outside the lock is not killed.
        self.kill_manager();
        Some(self.take_over(true))
    }

    fn runs_command(&self) -> bool {
        matches!(self.common.page.phase(), Phase::Running | Phase::Leftovers)
    }

    fn kill_manager(&self) {
        let manager = Process::read(self.common.page.manager());
        // A child of W's or, once W is dead, of ours: so the pid means nobody else.
        let parents = [self.spared.helper, Some(self.common.front)];
        if let Some(manager) = manager.filter(|found| parents.contains(&Some(found.parent))) {
            let _ = manager.signal(libc::SIGKILL);
        }
    }

    /// While W lives, orphans of the tree go to it or to M: whoever else is our child now was a child of the shell
    /// that executed us, or an orphan of one, and none of ours to kill. On its way out, already no parent and not yet a
    /// zombie, W does not live.
    fn look_for_strangers(&mut self) {
        let Some(witness) = self.spared.helper else {
            return;
        };
        let mut strangers = children();
        strangers.retain(|&child| child != witness);
        // Asked last: it lived when they were listed.
        if Process::read(witness).is_some_and(|witness| !witness.is_exiting()) {
            self.spared.strangers = strangers;
        }
    }

    fn reap(&mut self) {
        reap(|pid, change| {
            if let Change::Ended(_) = change {
                self.spared.forget(pid);
            }
        });
    }

    fn continue_witness(&self) {
        if let Some(witness) = self.spared.helper
            && is_child(witness)
        {
            let _ = signals::send(witness, libc::SIGCONT);
        }
    }

    /// When there is something to do even if nobody says anything.
    fn next_look(&self) -> Option<Instant> {
        let guard_at = self.backstop.next_look(&self.common);
        // Until there is a command: M tells nobody when it starts one, and sets the deadline before that, if
        // there is one.
        let waits = self.ready && guard_at.is_none() && !self.common.page.started();
        let look_at = waits.then(|| now() + LOOK_EVERY);
        let settle_at = self.notes.next();
        let answer_at = self.asked_at.map(|at| at + ANSWER_TIME);
        [guard_at, look_at, settle_at, answer_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn wait(&self) {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.alarm.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.manager.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(witness) = &self.witness {
            fds.push(PollFd::new(witness.as_fd(), PollFlags::POLLIN));
        }
        let _ = poll(&mut fds, PollTimeout::NONE);
    }

    fn read_manager(&mut self) -> Option<Verdict> {
        loop {
            match self.manager.receive() {
                Received::Message(Message::Finish { ending, killed }) => {
                    let killed = killed || self.backstop.has_killed();
                    if killed && let Some(terminal) = &self.terminal {
                        terminal.repair();
                    }
                    return Some(Verdict::Finished(ending));
                }
                Received::Message(Message::Ready) => self.get_ready(),
                Received::Message(Message::CommandStopped { signal, group }) => {
                    // Without a terminal nobody watches for stopped jobs.
                    if self.continued {
                        // Old news, if we were stopped along with the command and it was continued along with us.
                        self.manager.send(Message::StillStopped);
                    } else if let Some(terminal) = &mut self.terminal {
                        terminal.stop_like(signal, group);
                        return None;
                    }
                }
                Received::Message(Message::NotSplit(errno)) => {
                    return Some(self.not_split(errno));
                }
                Received::Message(_) => {}
                Received::Nothing => return None,
                Received::End => {
                    // What W said before it went, taking M's end of the socket along.
                    self.read_witness();
                    return Some(self.manager_ended());
                }
            }
        }
    }

    fn manager_ended(&mut self) -> Verdict {
        match (self.refusal, self.common.page.ending()) {
            (Some(errno), _) => self.not_split(errno),
            (None, Some(ending)) => Verdict::Finished(ending),
            (None, None) => self.take_over(false),
        }
    }

    /// Allows the start, now that F and W will look after the command.
    fn get_ready(&mut self) {
        self.ready = true;
        if let Some(terminal) = &mut self.terminal {
            terminal.remember();
        }
        if let Some(witness) = &self.witness {
            witness.send(Message::Watch);
        }
        self.manager.send(Message::Go);
    }

    fn read_signals(&mut self) {
        while let Some(arrived) = self.signals.next() {
            self.take(arrived);
        }
    }

    fn take(&mut self, arrived: Arrived) {
        let Arrived { signal, sender, .. } = arrived;
        self.continued |= signal == libc::SIGCONT;
        if signal == libc::SIGCONT {
            // W may have been stopped together with us, and continued it is nobody's business but ours.
            self.continue_witness();
        }
        if signal == libc::SIGCHLD {
            self.reap();
            self.look_for_strangers();
        } else if sender == std::process::id() as i32 {
            // Our own, as the SIGPIPE of a message that nobody reads.
        } else if signal == libc::SIGCONT && sender == self.common.page.manager() {
            // M woke us because the command was continued.
        } else if signals::stops(signal) && self.common.page.phase() != Phase::Running {
            self.stop_alone(signal);
        } else if arrived.from_terminal && !is_for_leader(signal) {
            self.pass(arrived.note(), Reach::Terminal);
        } else if arrived.from_terminal || arrived.from_kernel || self.witness.is_none() {
            self.pass(arrived.note(), Reach::Front);
        } else if self.notes.got(arrived.note()) {
            self.pass(arrived.note(), Reach::Group);
        }
    }

    fn pass(&mut self, note: Note, reach: Reach) {
        let ends = signals::terminates(note.signal) && !self.common.inherited.ignores(note.signal);
        if ends && !self.runs_command() {
            // The first one counts: whoever asks again is impatient.
            self.asked_at.get_or_insert_with(now);
        }
        self.manager.send(Message::Signal { note, reach });
    }

    /// Stops while there is no command that could. M goes on waiting in the queue for us.
    fn stop_alone(&mut self, signal: i32) {
        if self.common.inherited.ignores(signal) {
            return;
        }
        self.manager.send(Message::FrontStopped);
        signals::stop_self(signal);
        self.manager.send(Message::FrontContinued);
    }

    fn read_witness(&mut self) {
        while let Some(witness) = &self.witness {
            match witness.receive() {
                // Our own, which continues W along with us.
                Received::Message(Message::Seen(note)) if note.sender == self.common.front => {}
                Received::Message(Message::Seen(note)) => {
                    let settled = self.notes.other_got(note);
                    self.pass_all(settled);
                }
                // W has told of everything it got: what it has not told of was for us alone.
                Received::Message(Message::Answer(number)) => {
                    let settled = self.notes.answered(number);
                    self.pass_all(settled);
                }
                Received::Message(Message::NotSplit(errno)) => self.refusal = Some(errno),
                Received::Message(_) => {}
                Received::Nothing => return,
                // M sees it as well, and has the tree killed.
                Received::End => self.witness = None,
            }
        }
    }

    fn pass_all(&mut self, settled: impl IntoIterator<Item = Settled>) {
        for Settled { note, both } in settled {
            let reach = if both { Reach::Group } else { Reach::Front };
            self.pass(note, reach);
        }
    }

    /// Asks W about signals that it has had time to tell of, and stops waiting for an answer in the end.
    fn settle(&mut self) {
        let now = now();
        let Some(witness) = &self.witness else {
            let settled = self.notes.close();
            return self.pass_all(settled);
        };
        let question = self.notes.ask(now, tree::is_at_work);
        if let Some(question) = question {
            witness.send(Message::Ask(question));
        }
        let settled = self.notes.give_up(now);
        self.pass_all(settled);
    }

    /// M is dead, or has let the deadline pass in silence: kills everybody below us, W and M as well. Except what
    /// was let live outside the lock: that is nobody's to kill.
    fn take_over(&mut self, overdue: bool) -> Verdict {
        // Taken first: M and W may set it on their way out.
        let (started, ended) = (self.common.page.started(), self.common.page.ended());
        let left_alone = self.common.page.phase() == Phase::Empty;
        // An orphan of a job of the shell that executed us comes without a SIGCHLD.
        self.look_for_strangers();
        let gone = left_alone || self.kill_tree();
        if gone {
            self.common.redeem();
        }
        let leaf = self.common.leaf.as_ref();
        if let Some(leaf) = leaf {
            leaf.remove();
        }
        if started && let Some(terminal) = &self.terminal {
            terminal.repair();
        }
        let survivors = match gone {
            true => Vec::new(),
            false => self.left(),
        };
        Verdict::ManagerDied(ManagerDeath {
            started,
            memo: self.common.page.memo(),
            ended,
            overdue,
            survivors,
            keeps_pledge: !gone && self.common.pledge.is_some() && self.has_witness(),
        })
    }

    /// Kills everybody below us; whether nobody is left. If somebody is, there is a reason why they cannot be killed.
    fn kill_tree(&mut self) -> bool {
        let begun = now();
        // With a pledge W is left to reap the tree, and to keep the pledge after us if that takes too long.
        if self.common.pledge.is_some() {
            self.spared.helper_stays = true;
            self.continue_witness();
        }
        let mut killing = Killing::begin();
        let mut patience = match self.spared.helper_stays {
            true => HELP_TIME,
            false => LOOK_AFTER,
        };
        loop {
            let (leaf, spared) = (self.common.leaf.as_ref(), &mut self.spared);
            if kill_all(&mut killing, leaf, spared, &self.signals, patience) {
                return true;
            }
            patience = LOOK_AFTER;
            let left = self.left();
            if left.is_empty() && self.spared.helper_stays && self.witness_is_frozen() {
                self.spared.helper_stays = false;
                continue;
            }
            let tried = now().since(begun);
            if is_hopeless(&left) && tried >= LOOK_AFTER || tried >= GIVE_UP_AFTER {
                return false;
            }
        }
    }

    /// Whether it is stopped, or leaves the dead unreaped. That nobody is to be seen says nothing: who cannot be killed
    /// may be hidden from us (proc(5), hidepid), and then W has to keep the pledge for it.
    fn witness_is_frozen(&self) -> bool {
        self.spared.helper.is_some_and(|witness| {
            let is_its_dead = |process: &Process| process.parent == witness && process.is_dead();
            tree::is_stopped(witness) || tree::snapshot().iter().any(is_its_dead)
        })
    }

    /// Who of the tree is left.
    fn left(&self) -> Vec<Leftover> {
        let mut left = tree::leftovers(&self.spared.strangers);
        left.retain(|process| Some(process.pid) != self.spared.helper);
        left
    }

    fn has_witness(&self) -> bool {
        self.spared.helper.is_some_and(|witness| {
            let is_exiting = Process::read(witness).is_some_and(|witness| witness.is_exiting());
            is_child(witness) && !is_exiting
        })
    }

    /// In a container, reaps W and M, which are about to go. Whoever adopts them there may never reap: they would
    /// stay as zombies, a pair for each run. And if we are its PID 1, M dies with us before it has given back
    /// the lease (pid_namespaces(7)). Elsewhere nobody has to wait for them.
    fn see_off(&mut self) {
        if !abilities::in_a_container() {
            return;
        }
        let until = now() + SEE_OFF_TIME;
        let ours = [self.spared.helper.unwrap_or(0), self.common.page.manager()];
        self.alarm.set(Some(until));
        loop {
            reap(|_, _| {});
            // M becomes our child when W, its parent, is dead.
            if !ours.into_iter().any(is_child) || now() >= until {
                return;
            }
            let mut fds = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.alarm.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut fds, PollTimeout::NONE);
            while let Some(arrived) = self.signals.next() {
                if signals::terminates(arrived.signal) {
                    return;
                }
            }
        }
    }

    fn not_split(&mut self, errno: i32) -> Verdict {
        self.take_over(false);
        Verdict::NotSplit(io::Error::from_raw_os_error(errno))
    }
}

/// Whether there is a reason for each why it outlives SIGKILL: not for one that was only forked a moment ago.
fn is_hopeless(left: &[Leftover]) -> bool {
    left.iter().all(|process| process.obstacle.is_some())
}

/// When a terminal hangs up, the kernel tells only the leader of its session, and continues it
/// (drivers/tty/tty_jobctrl.c, tty_signal_session_leader). Started as one, as under `ssh -t`, we stand in the
/// command's place.
fn is_for_leader(signal: i32) -> bool {
    matches!(signal, libc::SIGHUP | libc::SIGCONT)
        && nix::unistd::getsid(None) == Ok(nix::unistd::getpid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tree::Obstacle;

    #[test]
    fn who_forks_as_fast_as_it_is_killed_is_not_given_up() {
        let left = |obstacle| Leftover {
            pid: 7,
            comm: "bomb".to_owned(),
            state: 'R',
            obstacle,
        };
        let stuck = left(Some(Obstacle::Uninterruptible));
        assert!(is_hopeless(std::slice::from_ref(&stuck)));
        assert!(!is_hopeless(&[stuck, left(None)]));
    }
}
