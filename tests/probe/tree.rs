//! Trees of processes that are hard to find or hard to end. When all of a tree stands, `ready` is printed;
//! then everybody stays for ever.
//!
//! Shapes: `plain`, `term-proof`, `setsid`, `double-fork`, `daemon` (double fork, setsid, TERM-proof,
//! descriptors closed), `stopped`, `wide:N`, `deep:N`, `orphans` (the first process ends, its children stay).

use std::fs::File;
use std::io::{Read, Write};

use nix::sys::signal::{Signal, raise};
use nix::unistd::{ForkResult, fork, pause, pipe, setsid};

use super::{ignore, say};

pub(crate) fn stand(shape: &str) {
    let (kind, count) = shape.split_once(':').unwrap_or((shape, "1"));
    let count: usize = count.parse().expect("a number");
    let (read, write) = pipe().expect("a pipe");
    let standing = Standing(File::from(write));
    match kind {
        "plain" | "orphans" => child(|| standing.stay()),
        "term-proof" => child(|| {
            ignore_all();
            standing.stay();
        }),
        "setsid" => child(|| {
            setsid().expect("not a leader");
            standing.stay();
        }),
        "double-fork" => child(|| child(|| standing.stay())),
        "daemon" => child(|| {
            setsid().expect("not a leader");
            ignore_all();
            child(|| {
                close_standard_descriptors();
                standing.stay();
            });
        }),
        "stopped" => child(|| {
            standing.report();
            loop {
                raise(Signal::SIGSTOP).expect("a signal to oneself");
            }
        }),
        "wide" => (0..count).for_each(|_| child(|| standing.stay())),
        "deep" => deep(count, &standing),
        _ => panic!("see the shapes in tests/probe/tree.rs; got {shape}"),
    }
    let reports = if kind == "wide" { count } else { 1 };
    File::from(read)
        .read_exact(&mut vec![0; reports])
        .expect("everybody reports");
    say("ready");
    if kind != "orphans" {
        stay();
    }
}

/// Forks as fast as it can, and so does every child; says `ready` once no more can be made. In sessions of their own
/// each has its own share of the processor (sched(7), autogroup), as much as whoever kills them.
pub(crate) fn bomb(sessions: bool) -> ! {
    let mut said = false;
    loop {
        // SAFETY: this program has one thread.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { .. }) => {}
            Ok(ForkResult::Child) => {
                said = true;
                if sessions {
                    setsid().expect("not a leader");
                }
            }
            Err(_) if said => {}
            Err(_) => {
                said = true;
                say("ready");
            }
        }
    }
}

/// Nobody lives long enough to be looked at: forks and ends, and so does the child. Says `ready` on its way, and goes
/// on for a time that no test needs.
pub(crate) fn chain(sessions: bool) {
    for link in 0..10_000_000_u32 {
        if link == 1000 {
            say("ready");
        }
        // SAFETY: this program has one thread.
        match unsafe { fork() } {
            // SAFETY: ends the process without running anybody's exit handlers.
            Ok(ForkResult::Parent { .. }) => unsafe { libc::_exit(0) },
            Ok(ForkResult::Child) if sessions => {
                let _ = setsid();
            }
            Ok(ForkResult::Child) | Err(_) => {}
        }
    }
}

/// How the last processes of a tree tell the first one that they are there.
struct Standing(File);

impl Standing {
    fn report(&self) {
        (&self.0).write_all(b".").expect("the first one reads");
    }

    fn stay(&self) -> ! {
        self.report();
        stay()
    }
}

/// Each is the parent of the next.
fn deep(left: usize, standing: &Standing) {
    child(|| {
        if left <= 1 {
            standing.stay();
        }
        deep(left - 1, standing);
        stay();
    });
}

/// Runs `life` in a child process that never returns from it.
fn child(life: impl FnOnce()) {
    // SAFETY: this program has one thread when it makes trees.
    match unsafe { fork() }.expect("a process can be made") {
        ForkResult::Parent { .. } => {}
        ForkResult::Child => {
            life();
            // SAFETY: ends the process without running anybody's exit handlers.
            unsafe { libc::_exit(0) };
        }
    }
}

fn stay() -> ! {
    loop {
        pause();
    }
}

fn ignore_all() {
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        ignore(signal);
    }
}

fn close_standard_descriptors() {
    for descriptor in 0..3 {
        // SAFETY: nothing in this process uses them any more.
        unsafe { libc::close(descriptor) };
    }
}
