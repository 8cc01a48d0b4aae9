//! Managers that are late, that are frozen, or that never come to an end: all let the deadline pass. And managers that
//! crash.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::anatomy::{Own, assert_dead_within, children, freeze};
use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::Running;
use crate::harness::processes::Process;
use crate::harness::untested;

/// A tree that is hard to kill, under a lease that is short.
struct Stage {
    folder: TempDir,
    running: Running,
    tree: Vec<Process>,
    own: Own,
}

impl Stage {
    fn set(etcd: &Etcd) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let running = etcd
            .run("job")
            .report(&folder.path().join("report"))
            .arguments(["--ttl", "3", "--lock-delay", "0"])
            .probe(["tree", "daemon"])
            .spawn();
        running.expect_stdout("ready");
        let (tree, own) = (running.command_processes(), Own::of(&running));
        Self {
            folder,
            running,
            tree,
            own,
        }
    }

    /// The manager dies by somebody's hand, and its tree did before.
    fn assert_manager_dies_after_its_tree(self) {
        self.own.manager.wait_dead(SOON);
        assert!(
            self.tree.iter().all(Process::is_dead),
            "the tree should be dead first"
        );
        assert_eq!(self.loss(), "manager-frozen");
    }

    /// What the report says of the loss, when all is over.
    fn loss(self) -> String {
        let output = self.running.wait();
        output.assert_status(79).assert_nobody_left();
        let text = fs::read_to_string(self.folder.path().join("report")).expect("a report");
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        report["loss"].as_str().unwrap_or_default().to_owned()
    }
}

#[test]
fn a_manager_that_was_only_late_finds_its_tree_dead_and_gives_the_lock_back() {
    let etcd = Etcd::start();
    let stage = Stage::set(&etcd);
    freeze(&stage.own.manager);
    // By the front, after the deadline.
    for process in &stage.tree {
        process.wait_dead(SOON);
    }
    assert!(!stage.own.manager.is_dead(), "it may only be late");
    stage.own.manager.signal(Signal::SIGCONT);
    assert_ne!(stage.loss(), "manager-frozen");
    etcd.store().assert_clean();
}

#[test]
fn a_manager_that_stays_silent_is_killed_after_its_tree() {
    let etcd = Etcd::start();
    let stage = Stage::set(&etcd);
    freeze(&stage.own.manager);
    stage.assert_manager_dies_after_its_tree();
}

/// A panic of the release build is an abort(3), and so is this: no code of the manager's runs any more. A signal would
/// not do, since the manager blocks those that it is sent.
#[test]
fn a_manager_that_crashes_takes_its_tree_along_and_the_front_says_so() {
    let etcd = Etcd::start();
    let stage = Stage::set(&etcd);
    if !patch(stage.own.manager.pid, NO_INSTRUCTION) {
        return untested::not_allowed("nobody may change a process here, or not on this processor");
    }
    assert_dead_within(&stage.tree, Duration::from_secs(1));
    assert_eq!(stage.loss(), "manager-died");
}

/// As a defect would: all the processor time that there is, and no answer.
#[test]
fn a_manager_in_an_endless_loop_is_killed_after_its_tree() {
    let etcd = Etcd::start();
    let stage = Stage::set(&etcd);
    if !patch(stage.own.manager.pid, JUMP_TO_ITSELF) {
        return untested::not_allowed("nobody may change a process here, or not on this processor");
    }
    stage.assert_manager_dies_after_its_tree();
}

/// Of the x86-64: `jmp .` and `ud2`.
const JUMP_TO_ITSELF: u16 = 0xfeeb;
const NO_INSTRUCTION: u16 = 0x0b0f;

/// Makes this instruction the next one of a process, as a debugger does: ptrace(2).
#[cfg(target_arch = "x86_64")]
fn patch(pid: i32, instruction: u16) -> bool {
    let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::uninit();
    // SAFETY: the kernel writes one struct of registers, and the rest happens in the other process.
    unsafe {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        if libc::ptrace(libc::PTRACE_ATTACH, pid, nothing, nothing) != 0 {
            return false;
        }
        let stopped = libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
        assert_eq!(stopped, pid);
        let read = libc::ptrace(libc::PTRACE_GETREGS, pid, nothing, registers.as_mut_ptr());
        assert_eq!(read, 0);
        // A system call may be begun anew: two bytes before.
        let at = (registers.assume_init().rip - 2) as *mut libc::c_void;
        let word = libc::ptrace(libc::PTRACE_PEEKTEXT, pid, at, nothing);
        let twice = i64::from(instruction) << 16 | i64::from(instruction);
        let word = (word & !0xffff_ffff) | twice;
        let written = libc::ptrace(libc::PTRACE_POKETEXT, pid, at, word);
        assert_eq!(written, 0);
        libc::ptrace(libc::PTRACE_DETACH, pid, nothing, nothing) == 0
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn patch(_pid: i32, _instruction: u16) -> bool {
    false
}

/// How long a run without a command may take to end when nobody hears that it shall.
const UNHEARD: Duration = Duration::from_secs(10);

#[test]
fn a_waiter_whose_manager_is_frozen_ends_when_it_is_told_to() {
    let etcd = Etcd::start();
    let holder = etcd.hold("job");
    for unprivileged in [false, true] {
        let run = etcd.run("job").ttl(3).shell("echo ran");
        let waiter = match unprivileged {
            true => run.unprivileged().spawn(),
            false => run.spawn(),
        };
        etcd.store().wait_for_entries("job", 2);
        let own = Own::of(&waiter);
        freeze(&own.manager);
        waiter.signal(Signal::SIGTERM);
        let output = waiter.wait_within(UNHEARD);
        output
            .assert_status(70)
            .assert_stdout("")
            .assert_stderr_has(["manager", "was killed before the command ran"])
            .assert_nobody_left();
        assert!(own.manager.is_dead() && own.witness.is_dead());
        // Its place frees itself.
        etcd.store().wait_for_entries("job", 1);
    }
    holder.wait().assert_status(0);
    // Whoever comes after them clears up behind them.
    etcd.run("job").command(["true"]).output().assert_status(0);
    etcd.store().assert_clean();
}

#[test]
fn a_run_whose_manager_is_frozen_while_it_gives_the_lock_back_ends_when_it_is_told_to() {
    let mut etcd = Etcd::start();
    let run = etcd.run("job").arguments(["--lock-delay", "0"]).ttl(3);
    let mut running = run.shell("echo ready; read line").spawn();
    running.expect_stdout("ready");
    let own = Own::of(&running);
    // So that the lock cannot be given back.
    etcd.only().pause();
    running.close_stdin();
    eventually("the manager waits for etcd", SOON, || {
        match &children(own.manager.pid)[..] {
            [] => Ok(()),
            left => Err(format!("{left:?}")),
        }
    });
    freeze(&own.manager);
    running.signal(Signal::SIGTERM);
    let output = running.wait_within(UNHEARD);
    output.assert_status(79).assert_nobody_left();
    assert!(own.manager.is_dead() && own.witness.is_dead());
    etcd.only().resume();
    // The lease runs out.
    etcd.run("job").command(["true"]).output().assert_status(0);
    etcd.store().assert_clean();
}
