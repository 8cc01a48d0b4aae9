//! SIGKILL for one of leasehold's processes at a certain system call, as a debugger would do it: ptrace(2).
//!
//! The processes are counted by their forks: 0 is leasehold as it was executed, each of the others is a child of the
//! one before. Calls are counted from a process's birth, or those of the first one from its fork. Once a command has
//! been executed it is too late: then the run gets a TERM, so that it comes to an end as well.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe};

/// The stub, whose program the command's becomes.
const STUB: usize = 3;

/// From when the calls are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Birth,
    TheCommandsEnd,
}

/// Becomes COMMAND, after a debugger has been made for it: one that is no child, or it would be in its tree.
pub(crate) fn at(since: Since, generation: &str, call: &str, command: &[&str]) {
    let target = Target {
        since,
        generation: generation.parse().expect("a number"),
        call: call.parse().expect("a number"),
    };
    let own = Pid::this();
    let (ready, attached) = pipe().expect("a pipe");
    // SAFETY: this program has one thread.
    match unsafe { fork() }.expect("a process can be made") {
        ForkResult::Child => {
            // SAFETY: as above.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                drop(ready);
                target.strike(own, File::from(attached));
            }
            // SAFETY: ends the process without running anybody's exit handlers.
            unsafe { libc::_exit(0) };
        }
        ForkResult::Parent { child } => waitpid(child, None).expect("our own child"),
    };
    drop(attached);
    let answer = File::from(ready).read_exact(&mut [0]);
    answer.expect("ptrace is allowed here");
    let error = Command::new(command[0]).args(&command[1..]).exec();
    panic!("{command:?} cannot be executed: {error}");
}

struct Target {
    since: Since,
    generation: usize,
    call: usize,
}

impl Target {
    /// Whoever is still traced at its end is let go by the kernel.
    fn strike(self, front: Pid, mut attached: File) {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        if ptrace::seize(front, options).is_err() {
            return;
        }
        attached.write_all(b".").expect("it waits");
        drop(attached);
        let mut generations = HashMap::from([(front, 0)]);
        // Born before its parent's fork was heard of.
        let mut early = Vec::new();
        // The process, with its threads.
        let (mut struck, mut calls) = (Vec::new(), 0);
        let mut counting = self.since == Since::Birth;
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL)) {
            let Some(pid) = status.pid() else { continue };
            let mut signal = None;
            match status {
                WaitStatus::PtraceEvent(
                    _,
                    _,
                    event @ (libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_CLONE),
                ) => {
                    let child = ptrace::getevent(pid).expect("it is stopped");
                    let child = Pid::from_raw(child as i32);
                    let (parent, is_fork) = (generations[&pid], event == libc::PTRACE_EVENT_FORK);
                    // Or a thread.
                    generations.insert(child, parent + usize::from(is_fork));
                    if is_fork && self.generation == parent + 1 {
                        struck.push(child);
                    } else if is_fork && self.generation == 0 && parent == 0 {
                        struck.push(pid);
                    } else if !is_fork && struck.contains(&pid) {
                        struck.push(child);
                    }
                    if early.contains(&child) {
                        resume(child, &struck, None);
                    }
                }
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC)
                    if counting && generations.get(&pid) == Some(&STUB) =>
                {
                    kill(front, Signal::SIGTERM).expect("it waits for its command");
                    return;
                }
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_STOP)
                    if !generations.contains_key(&pid) =>
                {
                    early.push(pid);
                    continue;
                }
                WaitStatus::PtraceSyscall(_) if counting && is_entry(pid) => {
                    calls += 1;
                    if calls == self.call {
                        kill(pid, Signal::SIGKILL).expect("it is stopped");
                        wait_dead(&struck);
                        return;
                    }
                }
                WaitStatus::Stopped(_, sent) => signal = Some(sent),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                    counting |= generations.get(&pid) == Some(&STUB);
                    continue;
                }
                _ => {}
            }
            resume(pid, &struck, signal);
        }
    }
}

/// Waits until the first of these is dead, which it is not before all of its threads are.
fn wait_dead(struck: &[Pid]) {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL)) {
        let ended = matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
        match status.pid() {
            Some(dead) if ended && struck.first() == Some(&dead) => return,
            Some(other) if !ended => resume(other, &[], None),
            _ => {}
        }
    }
}

/// Lets it run: whoever is to be struck to its next system call. It may be dead.
fn resume(pid: Pid, struck: &[Pid], signal: Option<Signal>) {
    let _ = if struck.contains(&pid) {
        ptrace::syscall(pid, signal)
    } else {
        ptrace::cont(pid, signal)
    };
}

fn is_entry(pid: Pid) -> bool {
    ptrace::syscall_info(pid).is_ok_and(|info| info.op == libc::PTRACE_SYSCALL_INFO_ENTRY)
}
