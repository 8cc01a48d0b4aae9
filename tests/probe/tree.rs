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
