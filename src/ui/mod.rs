//! The only writer to stderr, and to stdout for a subcommand's result. stdout belongs to the command.
//!
//! Everything that leasehold says goes through [`Screen::write`]: as a line `leasehold: ...` for people, or as
//! one JSON object per line. While it waits on a terminal there is one live line, redrawn every second.

// Asking for a password.
pub mod prompt;
// What a message says.
pub mod sentence;
// What `watch` shows.
pub mod live;
// Tables for people.
pub mod table;
// Pictures of what happened.
pub mod timeline;
// The live line.
mod waiting;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::{SFlag, fstat};
use serde_json::json;

use crate::cli::LogFormat;
use crate::clock::{self, Instant};
use crate::config::Talk;
use crate::lock::name::LockName;
use crate::outcome::{Ending, Outcome};
use crate::supervisor::Message;
use sentence::{Level, Note};
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
        let silent = (outcome.is_skip() && self.talk.quiet)
            || (outcome.is_chosen_skip() && !self.talk.verbose);
        if let Some(text) = outcome.sentence(&self.name).filter(|_| !silent) {
            self.write(Level::Error, outcome.name(), &text);
        }
    }

    /// Says something that is no message of the supervisor's.
    pub fn note(&mut self, note: &Note) {
        let level = note.level();
        if !self.is_silent(level, false) {
            let text = note.sentence(self.name.as_str());
            self.write(level, note.name(), &text);
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
pub fn refuse_as(format: LogFormat, outcome: &Outcome, lock: &str, text: &str) {
    complain_as(format, outcome.name(), lock, text);
}

/// Says something beside that.
pub fn note_as(format: LogFormat, note: &Note, lock: &str) {
    complain_as(format, note.name(), lock, &note.sentence(lock));
}

fn complain_as(format: LogFormat, event: &str, lock: &str, text: &str) {
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
    let give_up_at = clock::now() + Duration::from_millis(patience_ms.into());
    let line = format!("{line}\n");
    let mut rest = line.as_bytes();
    let mut unblocked = unblocked();
    while !rest.is_empty() {
        let patience = give_up_at.since(clock::now()).as_millis();
        if !stderr_is_writable(patience.try_into().unwrap_or(patience_ms)) {
            return false;
        }
        let Some(stderr) = &mut unblocked else {
            let _ = inherited().write_all(rest);
            return true;
        };
        match stderr.write(rest) {
            // A terminal takes as much as there is room for.
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock && clock::now() < give_up_at => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
    true
}

/// stderr, where it is a terminal or a pipe, through a description of our own: writing to it never waits, although poll(2)
/// says that there is room where it is not enough, and a terminal can be stopped in between. The inherited
/// description is the command's as well.
fn unblocked() -> Option<File> {
    let kind = fstat(inherited()).ok()?.st_mode & SFlag::S_IFMT.bits();
    let may_wait = kind == SFlag::S_IFCHR.bits() || kind == SFlag::S_IFIFO.bits();
    may_wait.then_some(())?;
    File::options()
        .write(true)
        .custom_flags(OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits())
        .open("/proc/self/fd/2")
        .ok()
}

/// Whether a line can be written to stderr without waiting for whoever reads it (poll(2), pipe(7)).
fn stderr_is_writable(patience_ms: u8) -> bool {
    let stderr = inherited();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    matches!(poll(&mut fds, patience_ms), Ok(1..))
}

#[expect(
    clippy::disallowed_methods,
    reason = "ui/ is the only writer to stderr"
)]
fn inherited() -> std::io::Stderr {
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

/// What stdout can show: nothing is assumed of what is no terminal. NO_COLOR (no-color.org) and TERM=dumb are heeded.
pub fn look() -> table::Look {
    table::Look {
        width: size().map(|(width, _)| width),
        colours: anstream::AutoStream::choice(&stdout()) != anstream::ColorChoice::Never,
    }
}

/// How many columns and rows stdout has, where it is a terminal.
fn size() -> Option<(usize, usize)> {
    let (width, height) = terminal_size::terminal_size_of(stdout())?;
    Some((usize::from(width.0), usize::from(height.0)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "ui/ writes the results of subcommands"
)]
fn stdout() -> std::io::Stdout {
    std::io::stdout()
}

/// Writes a subcommand's result, and says how the program ends for it.
pub fn print(text: &str) -> Ending {
    match write_result(text) {
        Ok(()) => Ending::Status(0),
        // Whoever read it has gone; as without us, by the signal that says so.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ending::Signal(libc::SIGPIPE),
        Err(error) => {
            complain(&format!("stdout: {}", system_error(&error)));
            Ending::Status(WRITING_FAILED)
        }
    }
}

/// The exit status for a result that could not be written: EX_IOERR of sysexits(3).
pub const WRITING_FAILED: u8 = 74;

fn write_result(text: &str) -> std::io::Result<()> {
    let mut stdout = stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
