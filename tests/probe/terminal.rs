//! Programs for somebody at a terminal.

use std::io::{self, Read};

use nix::sys::signal::{SigSet, Signal};
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
