//! W, the witness. It sleeps until something is wrong, and helps F to tell whom a signal was meant for.
//!
//! It is the parent of the manager and stays in the command's process group. So it sees what F cannot: a signal
//! that it got as well went to the whole group, and the command has it already. And when F and M are both
//! dead or frozen, the tree is below it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::clock::{Alarm, now};
use crate::process::backstop::Backstop;
use crate::process::kill::{Killing, Left, Spared, kill_all, reap};
use crate::process::link::{Link, Message, Received};
use crate::process::manager::{self, Manager};
use crate::process::page::Phase;
use crate::process::signals::{Arrived, Signals};
use crate::process::{Common, Fork, fork, inherited, leave, tree};

/// How long after the deadline W acts: after F, which acts after M.
const PATIENCE: Duration = Duration::from_millis(150);
/// How often W looks whether there is a deadline by now, between the permission to start and the start.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long W kills before it gives up on processes that cannot be killed. Nobody is left to tell.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// Becomes the witness, after forking the manager: returns in the manager only.
pub fn split(common: Common, front: Link, manager_to_front: Link) -> Manager {
    if let Err(error) = prepare() {
        refuse(&front, &error);
    }
    // M reads the end of this pipe when W dies: nobody ever writes.
    let (alive_read, alive_write) = match pipe2(OFlag::O_CLOEXEC) {
        Ok(pipe) => pipe,
        Err(error) => refuse(&front, &error.into()),
    };
    let witness = std::process::id() as i32;
    match fork() {
        Err(error) => refuse(&front, &error),
        Ok(Fork::Child) => {
            drop((front, alive_write));
            manager::split(common, manager_to_front, (witness, alive_read))
        }
        Ok(Fork::Parent(manager)) => {
            drop((manager_to_front, alive_read));
            common.page.set_manager(manager);
            watch(common, front, manager, alive_write)
        }
    }
}

fn prepare() -> std::io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

fn refuse(front: &Link, error: &std::io::Error) -> ! {
    front.send(Message::NotSplit(error.raw_os_error().unwrap_or(libc::EIO)));
    leave(1)
}

/// What W knows.
struct Witness {
    common: Common,
    front: Option<Link>,
    /// To wake F when it is frozen and everything is over.
    front_pidfd: Option<OwnedFd>,
    manager: i32,
    signals: Signals,
    alarm: Alarm,
    backstop: Backstop,
    /// F has let a command start, so there is, or will be, a deadline.
    watching: bool,
}

fn watch(common: Common, front: Link, manager: i32, _alive: OwnedFd) -> ! {
    crate::process::title::set(c"lock-witness");
    let front_pidfd = front.pidfd_of_other(common.front);
    let made = inherited::release_descriptors().and_then(|()| Ok((Signals::all()?, Alarm::new()?)));
    inherited::release_stderr();
    let Ok((signals, alarm)) = made else {
        // M notices, and F through it.
        leave(1);
    };
    let mut witness = Witness {
        common,
        front: Some(front),
        front_pidfd,
        manager,
        signals,
        alarm,
        backstop: Backstop::new(PATIENCE),
        watching: false,
    };
    loop {
        witness.turn();
    }
}

impl Witness {
    fn turn(&mut self) {
        self.check_deadline();
        // M can be late in setting a deadline, or the first.
        let look_at = self.watching && self.common.page.phase() != Phase::Empty;
        self.alarm.set(
            self.backstop
                .next_look(&self.common)
                .or_else(|| look_at.then(|| now() + LOOK_EVERY)),
        );
        self.wait();
        self.check_deadline();
        self.read_signals();
        self.read_front();
    }

    fn check_deadline(&mut self) {
        if self.backstop.is_due(&self.common) {
            step_aside();
        }
        if self.backstop.check(&self.common, &[], &[self.manager]) {
            self.take_over();
        }
    }

    fn wait(&self) {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.alarm.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(front) = &self.front {
            fds.push(PollFd::new(front.as_fd(), PollFlags::POLLIN));
        }
        let _ = poll(&mut fds, PollTimeout::NONE);
    }

    fn read_signals(&mut self) {
        while let Some(arrived) = self.signals.next() {
            if arrived.signal == libc::SIGCHLD {
                self.read_children();
            } else {
                self.report(arrived);
            }
        }
    }

    fn report(&self, arrived: Arrived) {
        if let Some(front) = &self.front
            && !arrived.from_terminal
            && !arrived.from_kernel
        {
            front.send(Message::Seen(arrived.note()));
        }
    }

    fn read_children(&mut self) {
        let mut manager_died = false;
        let manager = self.manager;
        let left = reap(|pid, change| {
            manager_died |=
                pid == manager && matches!(change, crate::process::kill::Change::Ended(_));
        });
        if manager_died || left == Left::Nobody {
            if self.common.page.ending().is_some() {
                leave(0);
            }
            self.take_over();
        }
    }

    fn read_front(&mut self) {
        while let Some(front) = &self.front {
            match front.receive() {
                Received::Message(Message::Watch) => self.watching = true,
                Received::Message(Message::Ask(number)) => {
                    self.read_signals();
                    if let Some(front) = &self.front {
                        front.send(Message::Answer(number));
                    }
                }
                Received::Message(_) => {}
                Received::Nothing => return,
                Received::End => {
                    if self.common.page.ending().is_some() {
                        leave(0);
                    }
                    // M kills the tree; we stay until it is done.
                    self.front = None;
                    self.watching = true;
                }
            }
        }
    }

    /// M is dead, or has let the deadline pass in silence: kills it and the tree, everybody below us.
    fn take_over(&mut self) -> ! {
        step_aside();
        let leaf = self.common.leaf.as_ref();
        // Unless what is left was let live outside the lock.
        let mut spared = Spared::default();
        let left_alone = self.common.page.phase() == Phase::Empty;
        // Whoever has the pledge keeps it for whoever lives on.
        let patience = match self.common.pledge {
            Some(_) => Duration::MAX,
            None => GIVE_UP_AFTER,
        };
        let mut killing = Killing::begin();
        if left_alone || kill_all(&mut killing, leaf, &mut spared, &self.signals, patience) {
            self.common.redeem();
        }
        if let Some(leaf) = leaf {
            leaf.remove();
        }
        // F tells the user, if it is alive; it may be stopped.
        if let Some(front) = &self.front_pidfd {
            let _ = tree::pidfd_send_signal(front, libc::SIGCONT);
        }
        leave(0)
    }
}

/// Leaves the tree's session. The scheduler gives each session a share of its own (sched(7), autogroup): in that
/// of a fork bomb we would get no time. The group does not need us any more when the tree is being killed.
fn step_aside() {
    // Fails, harmlessly, the second time.
    let _ = nix::unistd::setsid();
}
