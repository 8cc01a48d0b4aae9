//! How M comes to be: a fork of W that forks the stub.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::{pipe2, setsid};

use crate::process::link::{Link, Message};
use crate::process::manager::{Manager, State};
use crate::process::notes::Notes;
use crate::process::signals::Signals;
use crate::process::{Common, Fork, abilities, fork, inherited, leave, stub, tree};

/// Descriptors that M opens later, now that it has let go of the command's: pidfds, tokio's and the timers' of the event loop, what it waits for, a socket for
/// each of some members, a file to read or two.
const DESCRIPTORS: usize = 20;

/// Becomes the manager, after forking the stub. The witness is given by its pid and a pipe that ends with it.
pub fn split(common: Common, front: Link, witness: (i32, OwnedFd)) -> Manager {
    match make(common, &front, &witness.1) {
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
    signals: Signals,
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
    if let Some(leaf) = common.leaf.take_if(|leaf| !leaf.adopt(command)) {
        leaf.remove();
    }
    inherited::release_descriptors()?;
    let signals = Signals::all()?;
    // Refused now, it does not fail in the middle of a run.
    abilities::require_descriptors(DESCRIPTORS)?;
    Ok(Parts {
        common,
        command,
        go: go_write.into(),
        failure: failure_read.into(),
        signals,
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
    fn into_manager(self, front: Link, (witness_pid, witness): (i32, OwnedFd)) -> Manager {
        let witness_pidfd = tree::pidfd_open(witness_pid).ok();
        // Asked last: it lived when the descriptor was opened, or else the pid may mean anybody.
        let its_child = nix::unistd::getppid().as_raw() == witness_pid;
        Manager {
            front_pidfd: front.pidfd_of_other(self.common.front),
            common: self.common,
            front: Some(front),
            witness: Some(witness),
            witness_pidfd: witness_pidfd.filter(|_| its_child),
            signals: self.signals,
            notes: Notes::default(),
            command: self.command,
            stopped: None,
            state: State::Waiting(self.go),
            failure: self.failure,
            killing: None,
            killed: false,
            look_at: None,
            front_stopped: false,
            events: VecDeque::new(),
            waits: None,
        }
    }
}
