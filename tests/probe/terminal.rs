//! Programs for somebody at a terminal.

use std::io::{self, Read};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use super::{ignore, say};

/// Reads only the signals named, so that the others stop, continue and end it as they do any program.
pub(crate) fn watch(names: &[&str]) {
    let mut set = SigSet::empty();
    for name in names {
        let name = format!("SIG{name}");
        set.add(name.parse::<Signal>().expect("a signal"));
    }
    set.thread_block().expect("a valid mask");
    say("ready");
    loop {
        let signal = set.wait().expect("a valid mask");
        say(&format!("signal {}", signal.as_str()));
    }
}

/// Reads one signal.
pub(crate) fn watch_once(name: &str) {
    let signal: Signal = format!("SIG{name}").parse().expect("a signal");
    let set = SigSet::from(signal);
    say("ready");
    say(&format!("signal {}", set.wait().expect("valid").as_str()));
}

/// As a program that does not want to be debugged: whatever signal it gets stops it, and its parent is told.
pub(crate) fn trace_me() {
    // SAFETY: PTRACE_TRACEME takes no argument.
    let result = unsafe { libc::ptrace(libc::PTRACE_TRACEME) };
    assert_eq!(result, 0, "nobody traces us");
    say("ready");
    let _ = raise(Signal::SIGTERM);
}

/// As an editor: without line editing, echo and keys of job control.
pub(crate) fn raw() {
    ignore(Signal::SIGTERM);
    let before = tcgetattr(io::stdin()).expect("a terminal");
    let mut modes = before.clone();
    cfmakeraw(&mut modes);
    tcsetattr(io::stdin(), SetArg::TCSADRAIN, &modes).expect("a terminal");
    say("raw\r");
    for key in io::stdin().lock().bytes() {
        if key.expect("the terminal is open") == b'q' {
            break;
        }
    }
    tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before).expect("a terminal");
}
