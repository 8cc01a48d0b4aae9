//! The terminal as the front sees it. The command shares the front's process group, as under sudo without a
//! pseudo-terminal, so the terminal and the shell treat both as one job, and there is little to do: stop when
//! the command stops, and repair what a killed command left behind.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

use crate::process::signals;

/// The controlling terminal.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
    /// Its modes before the command ran, if it was ours to look at.
    modes: Option<Termios>,
}

impl Terminal {
    /// Opens it, if this process has one.
    pub fn open() -> Option<Self> {
        let tty = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open("/dev/tty")
            .ok()?;
        Some(Self { tty, modes: None })
    }

    /// Remembers the modes, if we are in the foreground: in the background they are somebody else's.
    pub fn remember(&mut self) {
        if self.modes.is_none() && self.is_ours() {
            self.modes = tcgetattr(&self.tty).ok();
        }
    }

    /// Stops this process as the command, a member of process group `group`, was stopped; returns when
    /// somebody continues it.
    pub fn stop_like(&mut self, signal: i32, group: i32) {
        let before = tcgetpgrp(&self.tty).ok();
        signals::stop_self(if signals::stops(signal) {
            signal
        } else {
            // SIGSTOP; or any other, if the command lets itself be traced by its parent (ptrace(2), PTRACE_TRACEME):
            // it is stopped before it gets it, and we would die of it.
            libc::SIGSTOP
        });
        // `fg` gave the terminal to our group. A command with a group of its own (a shell) had it before, so
        // it gets it back. Never any other group: started in the background, that would be our shell's, and
        // the job would stop at once (a trap in sudo's way of doing this).
        let own = getpgrp();
        let group = Pid::from_raw(group);
        if group != own && before == Some(group) && self.is_ours() {
            let _ = tcsetpgrp(&self.tty, group);
        }
        self.remember();
    }

    /// Repairs what a killed command left: raw modes, and a foreground group that is dead.
    pub fn repair(&self) {
        let Ok(foreground) = tcgetpgrp(&self.tty) else {
            return;
        };
        if foreground != getpgrp() {
            // Zero stands for a group that our pid namespace does not show.
            if foreground.as_raw() <= 1 {
                return;
            }
            // Signal 0 only asks whether the group exists (kill(2)).
            let dead = signals::send(-foreground.as_raw(), 0)
                .is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH));
            if !dead || tcsetpgrp(&self.tty, getpgrp()).is_err() {
                return;
            }
        }
        if let Some(modes) = &self.modes {
            // At once: somebody else may be writing to a terminal that is stopped (Ctrl-S) or that nobody reads, and
            // waiting for the end of that has no end. What was typed is not dropped.
            let _ = tcsetattr(&self.tty, SetArg::TCSANOW, modes);
        }
    }

    fn is_ours(&self) -> bool {
        tcgetpgrp(&self.tty) == Ok(getpgrp())
    }
}
