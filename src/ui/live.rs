//! The live view of `watch`: drawn from the terminal's upper left corner on, over and over.
//!
//! Nothing about the terminal is changed that would have to be set right again: no other screen, no hidden cursor, no
//! raw keys. So Ctrl-C ends it like any program, and a terminal that is resized is drawn anew at its new size.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use unicode_width::UnicodeWidthChar;

use crate::lock::chronicle::{Run, Way, What};
use crate::lock::entry::Entry;
use crate::lock::limit::Limit;
use crate::lock::name::LockName;
use crate::outcome::Ending;
use crate::service::Witnessed;
use crate::ui::sentence;
use crate::ui::table::{Look, render};

/// Go to the upper left corner; forget the rest of a line; forget all below.
const HOME: &str = "\u{1b}[H";
const REST_OF_LINE: &str = "\u{1b}[K";
const ALL_BELOW: &str = "\u{1b}[J";

/// How many of the last events are shown.
const RECENT: usize = 8;

/// The terminal.
pub struct Live {
    size: (usize, usize),
    look: Look,
}

impl Live {
    /// Nothing where stdout is no terminal, or one that cannot move its cursor.
    pub fn on_this_terminal() -> Option<Self> {
        let term = std::env::var_os("TERM").filter(|term| !term.is_empty() && term != "dumb");
        term.and_then(|_| super::size()).map(|size| Self {
            size,
            look: super::look(),
        })
    }

    /// Whether it was resized since it was drawn on.
    pub fn has_other_size(&self) -> bool {
        super::size().is_some_and(|size| size != self.size)
    }

    /// How many lines it has room for; the last row stays free for the cursor: what is printed behind it would move
    /// everything up.
    pub fn room(&self) -> usize {
        super::size()
            .map_or(self.size.1, |(_, height)| height)
            .saturating_sub(1)
    }

    /// What it can show.
    pub fn look(&self) -> Look {
        let width = super::size().map(|(width, _)| width);
        Look { width, ..self.look }
    }

    /// Draws as much of it as there is room for.
    pub fn draw(&mut self, lines: &[String]) -> Ending {
        if let Some(size) = super::size() {
            self.size = size;
        }
        let width = self.size.0;
        let mut text = HOME.to_owned();
        for line in lines.iter().take(self.room()) {
            text.push_str(&cut(line, width));
            text.push_str(REST_OF_LINE);
            text.push('\n');
        }
        text.push_str(ALL_BELOW);
        super::print(&text)
    }
}

/// As much of a line as fits; escape sequences take no room.
fn cut(line: &str, width: usize) -> String {
    let mut shown = String::new();
    let mut left = width;
    let mut in_sequence = false;
    for character in line.chars() {
        in_sequence = in_sequence || character == '\u{1b}';
        if in_sequence {
            shown.push(character);
            in_sequence = !character.is_ascii_alphabetic();
            continue;
        }
        let columns = character.width().unwrap_or(0);
        if columns > left {
            // Whatever was switched on is switched off behind it.
            left = 0;
            continue;
        }
        left -= columns;
        shown.push(character);
    }
    shown
}

/// What is shown.
pub struct View {
    name: Option<LockName>,
    locks: BTreeMap<LockName, BTreeMap<(i64, String), Run>>,
    recent: VecDeque<String>,
    trouble: Option<String>,
    is_here_already: bool,
    has_changed: bool,
    drawn_at: Option<Timestamp>,
}

impl View {
    /// Of one lock, or of all.
    pub const fn new(name: Option<LockName>) -> Self {
        Self {
            name,
            locks: BTreeMap::new(),
            recent: VecDeque::new(),
            trouble: None,
            is_here_already: true,
            has_changed: true,
            drawn_at: None,
        }
    }

    /// Takes in what was witnessed at `wall`.
    pub fn take_in(&mut self, witnessed: &Witnessed<'_>, wall: Timestamp) {
        match witnessed {
            Witnessed::From(..) => {
                self.locks.clear();
                self.is_here_already = true;
            }
            Witnessed::Happened {
                name, run, what, ..
            } => self.happened(name, run, what, wall),
            Witnessed::Unreachable(why) => self.trouble = Some(why.clone()),
            Witnessed::Reached => self.trouble = None,
            Witnessed::Quiet => {
                self.is_here_already = false;
                return;
            }
        }
        self.has_changed = true;
    }

    fn happened(&mut self, name: &LockName, run: &Run, what: &What, wall: Timestamp) {
        let place = (run.token, run.id.clone());
        let queue = self.locks.entry(name.clone()).or_default();
        match what {
            What::Gone(_) => {
                queue.remove(&place);
            }
            What::Recorded(..) if !queue.contains_key(&place) => {}
            _ => {
                queue.insert(place, run.clone());
            }
        }
        if queue.is_empty() {
            self.locks.remove(name);
        }
        if self.is_here_already {
            return;
        }
        let lock = match &self.name {
            Some(_) => String::new(),
            None => format!("{name} "),
        };
        let time = wall.strftime("%H:%M:%S");
        self.recent
            .push_front(format!("{time} {lock}{}", told(run, what)));
        self.recent.truncate(RECENT);
    }

    /// Whether there is something new to draw, or a second has passed.
    pub fn is_due(&mut self, wall: Timestamp) -> bool {
        // A batch of changes is drawn once, when it is over.
        let settled = self.has_changed && !self.is_here_already || self.trouble.is_some();
        let second = self
            .drawn_at
            .is_none_or(|at| at.as_second() != wall.as_second());
        if !settled && !second {
            return false;
        }
        self.has_changed = false;
        self.drawn_at = Some(wall);
        true
    }

    /// The lines to draw, in so much room: what does not fit of the queue is counted, so that the last events are seen.
    pub fn lines(&self, wall: Timestamp, look: Look, room: usize) -> Vec<String> {
        let waiting: usize = self
            .locks
            .values()
            .map(|queue| queue.values().filter(|it| it.admitted.is_none()).count())
            .sum();
        let waits = sentence::waits(waiting);
        let what = self
            .name
            .as_ref()
            .map_or_else(|| "all locks".to_owned(), ToString::to_string);
        let now = sentence::second(wall);
        let mut text = format!("{what} at {now}{waits} (Ctrl-C ends)\n");
        if let Some(why) = &self.trouble {
            text.push_str(&format!("not up to date: {why}\n"));
        }
        text.push('\n');
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let table = match &self.name {
            Some(name) => self.queue(name, wall, look),
            None => self.all(wall, look),
        };
        let table: Vec<&str> = table.lines().collect();
        let events = self.recent.len().min(room / 3);
        let room = room.saturating_sub(lines.len() + events + 1).max(2);
        lines.extend(table.iter().take(room).map(|line| (*line).to_owned()));
        if let more @ 1.. = table.len().saturating_sub(room) {
            lines.push(format!("and {more} more lines"));
        } else if events > 0 {
            lines.push(String::new());
        }
        lines.extend(self.recent.iter().take(events).cloned());
        lines
    }

    fn queue(&self, name: &LockName, wall: Timestamp, look: Look) -> String {
        let Some(queue) = self.locks.get(name) else {
            return "free\n".to_owned();
        };
        let mut waiting = 0;
        let rows: Vec<[String; 6]> = queue
            .values()
            .map(|run| {
                let place = match run.admitted {
                    Some(_) if run.has_it_for_certain() => "holds it".to_owned(),
                    Some(_) => "next".to_owned(),
                    None => {
                        waiting += 1;
                        format!("{waiting}.")
                    }
                };
                let (who, since) = (who(run), since(run, wall));
                let known = run.entry.as_ref();
                let program = known.map(|it| it.program.clone()).unwrap_or_default();
                let reason = known.map(|it| it.reason.clone()).unwrap_or_default();
                [place, who, since, program, run.token.to_string(), reason]
            })
            .collect();
        render(
            look,
            ["", "WHO", "FOR", "PROGRAM", "TOKEN", "REASON"],
            &rows,
        )
    }

    fn all(&self, wall: Timestamp, look: Look) -> String {
        let rows: Vec<[String; 5]> = self
            .locks
            .iter()
            .map(|(name, queue)| {
                let holders: Vec<&Run> =
                    queue.values().filter(|it| it.admitted.is_some()).collect();
                let waiting = match queue.len() - holders.len() {
                    0 => String::new(),
                    waiting => waiting.to_string(),
                };
                let (who, since) = match &holders[..] {
                    [] => (String::new(), String::new()),
                    [only] => (who(only), since(only, wall)),
                    [first, others @ ..] => {
                        let limit = first.entry.as_ref().map(|entry| entry.limit);
                        let share = match limit {
                            Some(Limit::Unlimited) => " share it",
                            _ => "",
                        };
                        let who = format!("{} and {} more{share}", who(first), others.len());
                        (who, since(first, wall))
                    }
                };
                let reason = holders.first().and_then(|it| it.entry.as_ref());
                let reason = reason.map(|it| it.reason.clone()).unwrap_or_default();
                [name.to_string(), who, since, waiting, reason]
            })
            .collect();
        match rows.is_empty() {
            true => "no lock is held\n".to_owned(),
            false => render(look, ["LOCK", "HOLDER", "FOR", "WAITING", "REASON"], &rows),
        }
    }
}

fn who(run: &Run) -> String {
    Entry::owner(run.entry.as_ref())
}

fn since(run: &Run, wall: Timestamp) -> String {
    let since = run.entry.as_ref().map(|entry| entry.since());
    since
        .and_then(|since| sentence::elapsed(since, wall))
        .unwrap_or_default()
}

/// What happened, in a few words: first what, since the end of a line may not be seen.
fn told(run: &Run, what: &What) -> String {
    let what = match what {
        What::Queued => "queues".to_owned(),
        What::Reserved => "is next, and wants other locks too".to_owned(),
        What::Held => "has the lock".to_owned(),
        What::Started => "runs its command".to_owned(),
        What::Kept(until) => format!("keeps it until {until}"),
        What::BreakAsked(by) => format!("asked for it by {by}"),
        What::BreakAnswered(within) => format!("stops within {within} ms"),
        What::Recorded(outcome, status) => format!("ended: {outcome}, status {status}"),
        What::Gone(way) => match (way, run.admitted.is_some()) {
            (Way::Released, true) => "gave it back".to_owned(),
            (Way::Released, false) => "left the queue".to_owned(),
            (Way::Vanished, _) => "vanished".to_owned(),
            (Way::Superseded(by), _) => format!("superseded by {by}"),
            (Way::KeptLongEnough, _) => "has kept it long enough".to_owned(),
            (Way::Removed, _) => "gone".to_owned(),
        },
    };
    format!("{what}: {} (token {})", who(run), run.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_the_terminal_ends_and_what_was_switched_on_is_switched_off() {
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("\u{7530}\u{7530}b", 3), "\u{7530}");
        assert_eq!(cut("\u{1b}[1mabc\u{1b}[0m", 2), "\u{1b}[1mab\u{1b}[0m");
    }
}
