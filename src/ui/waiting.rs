//! The live waiting line on a terminal.

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use crate::lock::name::LockName;
use crate::supervisor::Queue;
use crate::ui::sentence;

/// One line that says where we stand, redrawn in place.
pub(super) struct WaitingLine {
    bar: ProgressBar,
    name: LockName,
    queue: Queue,
}

impl WaitingLine {
    /// Whether stderr is a terminal that can redraw a line (not so with TERM=dumb).
    pub(super) fn can_be_drawn() -> bool {
        !ProgressDrawTarget::stderr().is_hidden()
    }

    /// A line, not drawn yet.
    pub(super) fn new(name: LockName, queue: Queue) -> Self {
        let bar = ProgressBar::with_draw_target(None, target());
        // wide_msg: one line however narrow the terminal is.
        let style = ProgressStyle::with_template("leasehold: {wide_msg}");
        bar.set_style(style.expect("a constant template"));
        Self { bar, name, queue }
    }

    /// Draws it as of now.
    pub(super) fn draw(&self, wall: Timestamp) {
        if !super::stderr_is_writable(0) {
            return;
        }
        self.bar
            .set_message(sentence::waiting(&self.name, &self.queue, wall));
        self.bar.tick();
    }

    /// Takes it off the terminal.
    pub(super) fn clear(self) {
        if !super::stderr_is_writable(0) {
            // A bar that goes takes its line away as well.
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        self.bar.finish_and_clear();
    }
}

/// The terminal, through a description that never waits: it may be stopped (Ctrl-S), or nobody may read it.
fn target() -> ProgressDrawTarget {
    let both = super::unblocked().and_then(|file| Some((file.try_clone().ok()?, file)));
    match both {
        Some((read, write)) => {
            ProgressDrawTarget::term(Term::read_write_pair(read, write), REDRAWS_PER_SECOND)
        }
        None => ProgressDrawTarget::stderr(),
    }
}

/// As many as indicatif takes.
const REDRAWS_PER_SECOND: u8 = 20;
