//! Trees whose processes were made in ways that hide them from those who count children. When all of one stands,
//! `ready` is printed; then everybody stays for ever.
//!
//! Shapes: `nested-subreaper`, `clone-parent` (the new process is its maker's sibling), `no-exit-signal` (a plain waitpid
//! does not see it), `vfork` (the maker sleeps until the child is gone), `traced`, `pid-namespace`, `no-environment`,
//! `no-first-thread`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{Signal, raise};
use nix::unistd::{ForkResult, fork, pause, pipe, setsid};

use super::{ignore, say};

pub(crate) fn stand(shape: &str) -> ! {
    let (read, write) = pipe().expect("a pipe");
    let mut report = File::from(write);
    let mut stay = move || {
        ignore(Signal::SIGTERM);
        report.write_all(b".").expect("the first one reads");
        loop {
            pause();
        }
    };
    match shape {
        "nested-subreaper" => child(|| {
            nix::sys::prctl::set_child_subreaper(true).expect("Linux 3.4");
            child(|| child(&mut stay));
            loop {
                pause();
            }
        }),
        "clone-parent" => cloned(libc::CLONE_PARENT | libc::SIGCHLD, &mut stay),
        "no-exit-signal" => cloned(0, &mut stay),
        "vfork" => child(|| cloned(libc::CLONE_VFORK | libc::SIGCHLD, &mut stay)),
        "traced" => child(|| {
            child(|| {
                // SAFETY: PTRACE_TRACEME takes no argument.
                unsafe { libc::ptrace(libc::PTRACE_TRACEME) };
                // Stopped from now on, since its tracer never looks.
                let _ = raise(Signal::SIGUSR1);
            });
            stay();
        }),
        "pid-namespace" => child(|| {
            // Others than root need a user namespace for it.
            // SAFETY: unshare(2) touches no memory.
            let made = unsafe {
                libc::unshare(libc::CLONE_NEWPID) == 0
                    || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) == 0
            };
            assert!(made, "a pid namespace");
            // PID 1 there, and so deaf to whatever it has no handler for.
            child(|| {
                child(&mut stay);
                loop {
                    pause();
                }
            });
            loop {
                pause();
            }
        }),
        "no-environment" => child(|| {
            setsid().expect("not a leader");
            child(|| {
                let error = Command::new("sleep").arg("1000").env_clear().exec();
                panic!("sleep: {error}");
            });
            stay();
        }),
        "no-first-thread" => child(|| in_second_thread(&mut stay)),
        _ => panic!("see the shapes in tests/probe/odd.rs; got {shape}"),
    }
    File::from(read)
        .read_exact(&mut [0])
        .expect("somebody reports");
    say("ready");
    loop {
        pause();
    }
}

fn child(mut life: impl FnMut()) {
    // SAFETY: this program has one thread when it makes trees.
    if let ForkResult::Child = unsafe { fork() }.expect("a process can be made") {
        life();
        // SAFETY: ends the process without running anybody's exit handlers.
        unsafe { libc::_exit(0) };
    }
}

/// As `child`, by clone(2) itself: memory is copied, as by fork(2).
fn cloned(flags: i32, mut life: impl FnMut()) {
    // SAFETY: without CLONE_VM the child has its own copy of everything, and this program has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    assert!(pid >= 0, "{}", std::io::Error::last_os_error());
    if pid == 0 {
        life();
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
}

/// Goes on in a second thread when the first one has ended, so that it looks like a zombie.
pub(crate) fn in_second_thread(mut life: impl FnMut() + Send) -> ! {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let looks_dead = || {
                let status = std::fs::read_to_string("/proc/self/status").expect("ours");
                status.contains("State:\tZ")
            };
            while !looks_dead() {
                std::thread::yield_now();
            }
            life();
            // SAFETY: ends the process without running anybody's exit handlers.
            unsafe { libc::_exit(0) };
        });
        // SAFETY: ends this thread only; nothing of its stack goes away before the process does.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    unreachable!("this thread has ended")
}
