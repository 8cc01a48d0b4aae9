//! The only writer to stderr, and to stdout for a subcommand's result. stdout belongs to the command.
//!
//! Everything that leasehold says goes through [`Screen::write`]: as a line `leasehold: ...` for people, or as
//! one JSON object per line. While it waits on a terminal there is one live line, redrawn every second.

// Asking for a password.
pub mod prompt;
// What a message says.
pub mod sentence;
// Tables for people.
pub mod table;
// The live line.
mod waiting;

use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use serde_json::json;

use crate::cli::LogFormat;
use crate::clock::{self, Instant};
use crate::config::Talk;
use crate::lock::name::LockName;
use crate::outcome::{Ending, Outcome};
use crate::supervisor::Message;
use sentence::Level;
use waiting::WaitingLine;

/// Where messages go, and which.
pub struct Screen {
    name: LockName,
    talk: Talk,
    live: Option<WaitingLine>,
    /// The last line found nobody who read it in time.
    unread: bool,
}

impl Screen {
    /// A screen for messages about one lock.
    pub const fn new(name: LockName, talk: Talk) -> Self {
        Self {
            name,
            talk,
            live: None,
            unread: false,
        }
    }

    /// Says what happens on the way.
    pub fn say(&mut self, message: &Message) {
        let level = sentence::level(message);
        if self.is_silent(level, matches!(message, Message::Waiting(_))) {
            return;
        }
        if let Message::Waiting(queue) = message
            && self.talk.format == LogFormat::Text
            && WaitingLine::can_be_drawn()
        {
            let line = WaitingLine::new(self.name.clone(), queue.clone());
            self.hide_waiting();
            line.draw(clock::wall());
            self.live = Some(line);
            return;
        }
        let text = sentence::sentence(message, &self.name, clock::wall());
        self.write(level, sentence::event_name(message), &text);
    }

    /// Says how the run ended, if its ending does not say it all.
    pub fn say_outcome(&mut self, outcome: &Outcome) {
        self.hide_waiting();
        let silent = (outcome.is_quiet() && self.talk.quiet)
            || (outcome.is_chosen_skip() && !self.talk.verbose);
        if let Some(text) = outcome.sentence(&self.name).filter(|_| !silent) {
            self.write(Level::Error, outcome.name(), &text);
        }
    }

    /// Says something that is no message of the supervisor's.
    pub fn note(&mut self, level: Level, event: &str, text: &str) {
        if !self.is_silent(level, false) {
            self.write(level, event, text);
        }
    }

    /// When the live line wants to be redrawn.
    pub fn redraw_at(&self, now: Instant) -> Option<Instant> {
        self.live.as_ref().map(|_| now + Duration::from_secs(1))
    }

    /// Redraws the live line: the time goes on.
    pub fn redraw(&self) {
        if let Some(line) = &self.live {
            line.draw(clock::wall());
        }
    }

    /// Takes the live line off the terminal.
    pub fn hide_waiting(&mut self) {
        if let Some(line) = self.live.take() {
            line.clear();
        }
    }

    fn is_silent(&self, level: Level, waiting: bool) -> bool {
        match level {
            Level::Debug => !self.talk.verbose,
            // A line on a terminal goes away again; one that cron mails does not.
            Level::Info if waiting => {
                self.talk.quiet
                    || (self.talk.skip_is_chosen
                        && !self.talk.verbose
                        && !WaitingLine::can_be_drawn())
            }
            Level::Info => false,
            Level::Warning | Level::Error => false,
        }
    }

    fn write(&mut self, level: Level, event: &str, text: &str) {
        self.hide_waiting();
        let line = match self.talk.format {
            LogFormat::Text => format!("leasehold: {text}"),
            LogFormat::Json => json_line(level, event, self.name.as_str(), text),
        };
        // Whoever did not read the last line in time is not waited for again.
        let patience_ms = if self.unread { 0 } else { PATIENCE_MS };
        self.unread = !write_line(&line, patience_ms);
    }
}

/// Says how a run ended that was never set up: its lock's name is whatever was typed.
pub fn complain_as(format: LogFormat, event: &str, lock: &str, text: &str) {
    match format {
        LogFormat::Text => complain(text),
        LogFormat::Json => {
            write_line(&json_line(Level::Error, event, lock, text), PATIENCE_MS);
        }
    }
}

fn json_line(level: Level, event: &str, lock: &str, text: &str) -> String {
    let line = json!({
        "time": clock::wall().to_string(),
        "level": level.name(),
        "event": event,
        "lock": lock,
        "message": text,
    });
    line.to_string()
}

/// Says something where no run is set up.
pub fn complain(text: &str) {
    write_line(&format!("leasehold: {text}"), PATIENCE_MS);
}

/// How long a message may wait for its reader. Less than the least margin before a lease expires
/// ([`crate::lock::lease::margin`]): a pager that is not looked at must not cost anybody the lock.
const PATIENCE_MS: u8 = 100;

/// One write per line, so that lines of several processes do not mix; nobody to tell when it fails, and
/// dropped where stderr does not take it. Says whether it took it.
fn write_line(line: &str, patience_ms: u8) -> bool {
    let writable = stderr_is_writable(patience_ms);
    if writable {
        let _ = stderr().write_all(format!("{line}\n").as_bytes());
    }
    writable
}

/// Whether a line can be written to stderr without waiting for whoever reads it (poll(2), pipe(7)).
fn stderr_is_writable(patience_ms: u8) -> bool {
    let stderr = stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    matches!(poll(&mut fds, patience_ms), Ok(1..))
}

#[expect(
    clippy::disallowed_methods,
    reason = "ui/ is the only writer to stderr"
)]
fn stderr() -> std::io::Stderr {
    std::io::stderr()
}

/// The system's reason, without Rust's "(os error 13)" and without the names of our temporary files.
pub fn system_error(error: &std::io::Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let number = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error);
        if let Some(number) = number {
            return nix::errno::Errno::from_raw(number).desc().to_owned();
        }
        cause = error.source();
    }
    error.to_string()
}

/// Writes a subcommand's result, and says how the program ends for it.
pub fn print(text: &str) -> Ending {
    match write_result(text) {
        Ok(()) => Ending::Status(0),
        // Whoever read it has gone; as without us, by the signal that says so.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ending::Signal(libc::SIGPIPE)
        }
        Err(error) => {
            complain(&format!("stdout: {}", system_error(&error)));
            Ending::Status(STDOUT_FAILED)
        }
    }
}

/// The exit status for a result that could not be written: EX_IOERR of sysexits(3).
const STDOUT_FAILED: u8 = 74;

#[expect(
    clippy::disallowed_methods,
    reason = "ui/ writes the results of subcommands"
)]
fn write_result(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
