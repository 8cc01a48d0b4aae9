//! A picture of who waited and who held a lock, one row for each run: as text, and as SVG. Pure.

use jiff::Timestamp;

use crate::lock::entry::Entry;
use crate::lock::retold::{Retold, State};
use crate::ui::sentence::second;
use crate::ui::table::Look;
use unicode_width::UnicodeWidthStr;

/// The narrowest bar that shows anything, and the width where the reader's is not known.
const BAR_MIN: usize = 10;
const WIDTH: usize = 80;

/// One part of a row: from when until when, as shares of the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    from: f64,
    until: f64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Waited,
    Held,
    /// It may have held it; it had ended by the end of this.
    Perhaps,
}

impl Kind {
    const fn character(self) -> char {
        match self {
            Self::Waited => '.',
            Self::Held => '#',
            Self::Perhaps => '?',
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Waited => "#c9ced6",
            Self::Held => "#2f6fb0",
            Self::Perhaps => "#9cc0e0",
        }
    }
}

/// The time that all of it takes.
struct Frame {
    from: Timestamp,
    until: Timestamp,
}

impl Frame {
    fn of(runs: &[Retold<'_>], now: Timestamp) -> Option<Self> {
        let is_present = runs.iter().any(|run| run.state() != State::Gone);
        let times = runs
            .iter()
            .flat_map(|run| [run.queued, run.held, run.ended, run.ended_by])
            .flatten();
        let times: Vec<Timestamp> = times.chain(is_present.then_some(now)).collect();
        let (from, until) = (times.iter().min()?, times.iter().max()?);
        Some(Self {
            from: *from,
            until: *until,
        })
    }

    fn share(&self, at: Timestamp) -> f64 {
        let whole = self.until.duration_since(self.from).as_secs_f64();
        let part = at.duration_since(self.from).as_secs_f64();
        if whole > 0.0 {
            (part / whole).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    fn parts(&self, run: &Retold<'_>, now: Timestamp) -> Vec<Part> {
        let is_here = run.state() != State::Gone;
        let end = run.ended.or(is_here.then_some(now));
        let mut parts = Vec::new();
        let mut part = |from: Option<Timestamp>, until: Option<Timestamp>, kind| {
            if let (Some(from), Some(until)) = (from, until) {
                // Clocks that differ, or were set, make no negative time.
                let (from, until) = (self.share(from), self.share(until.max(from)));
                parts.push(Part { from, until, kind });
            }
        };
        match run.held {
            Some(held) => {
                part(run.queued, Some(held), Kind::Waited);
                part(Some(held), end, Kind::Held);
                part(
                    Some(held),
                    run.ended_by.filter(|_| end.is_none()),
                    Kind::Perhaps,
                );
                if end.is_none() && run.ended_by.is_none() {
                    part(Some(held), Some(held), Kind::Perhaps);
                }
            }
            None => part(run.queued, end.or(run.ended_by), Kind::Waited),
        }
        parts
    }
}

/// Who it is, beside his row.
fn label(run: &Retold<'_>) -> String {
    let token = run.run.token;
    format!("{token} {}", Entry::owner(run.run.entry.as_ref()))
}

/// The picture in characters: `.` waited, `#` held, `?` perhaps held.
pub fn text(look: Look, runs: &[Retold<'_>], now: Timestamp) -> String {
    let Some(frame) = Frame::of(runs, now) else {
        return String::new();
    };
    let width = look.width.unwrap_or(WIDTH);
    let labels: Vec<String> = runs.iter().map(label).collect();
    let widest = labels.iter().map(|label| label.width()).max().unwrap_or(0);
    let widest = widest.min(width.saturating_sub(BAR_MIN + 1).max(4));
    let bar = width.saturating_sub(widest + 1).max(1);
    let mut text = String::new();
    for (run, label) in runs.iter().zip(labels) {
        let mut row = vec![' '; bar];
        for part in frame.parts(run, now) {
            let column = |share: f64| ((share * bar as f64) as usize).min(bar - 1);
            for place in &mut row[column(part.from)..=column(part.until)] {
                *place = part.kind.character();
            }
        }
        let row: String = row.into_iter().collect();
        text.push_str(&format!("{} {}\n", fit(&label, widest), row.trim_end()));
    }
    let (from, until) = (second(frame.from), second(frame.until));
    text.push_str(&format!(
        "{from} to {until}: . waited, # held, ? perhaps held\n"
    ));
    text
}

/// Cut, or filled up, to so many columns.
fn fit(label: &str, width: usize) -> String {
    let mut shown = String::new();
    for character in label.chars() {
        if shown.width() + character.to_string().width() > width {
            break;
        }
        shown.push(character);
    }
    let filled = width.saturating_sub(shown.width());
    format!("{shown}{}", " ".repeat(filled))
}

const ROW: usize = 22;
const LEFT: usize = 240;
const BAR: usize = 720;

/// The picture as SVG 1.1, for a report.
pub fn svg(lock: &str, runs: &[Retold<'_>], now: Timestamp) -> String {
    let (width, height) = (LEFT + BAR + 20, ROW * (runs.len() + 3));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escaped(lock)
    );
    let mut say = |x: usize, row: usize, anchor: &str, text: &str| {
        let y = ROW * row + 15;
        svg.push_str(&format!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>\n",
            escaped(text)
        ));
    };
    say(10, 0, "start", &format!("lock {lock}"));
    let Some(frame) = Frame::of(runs, now) else {
        say(10, 1, "start", "nothing is known of it");
        svg.push_str("</svg>\n");
        return svg;
    };
    for (index, run) in runs.iter().enumerate() {
        say(LEFT - 10, index + 1, "end", &fit(&label(run), 34));
    }
    say(LEFT, runs.len() + 1, "start", &second(frame.from));
    say(LEFT + BAR, runs.len() + 1, "end", &second(frame.until));
    for (index, run) in runs.iter().enumerate() {
        let y = ROW * (index + 1) + 3;
        for part in frame.parts(run, now) {
            let x = LEFT as f64 + part.from * BAR as f64;
            let width = ((part.until - part.from) * BAR as f64).max(2.0);
            let (colour, height) = (part.kind.colour(), ROW - 6);
            let how = escaped(&run.how());
            svg.push_str(&format!(
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"><title>{how}</title></rect>\n"
            ));
        }
    }
    for (index, (kind, word)) in [
        (Kind::Waited, "waited"),
        (Kind::Held, "held"),
        (Kind::Perhaps, "perhaps held"),
    ]
    .into_iter()
    .enumerate()
    {
        let (x, y) = (LEFT + 110 * index, ROW * (runs.len() + 2) + 4);
        let colour = kind.colour();
        svg.push_str(&format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\n<text x=\"{}\" y=\"{}\">{word}</text>\n",
            x + 18,
            y + 11
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Text of other hosts in XML 1.0: what is no character there has been escaped where it was parsed.
fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        match character {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            '"' => shown.push_str("&quot;"),
            // XML 1.0, 2.2: neither of these is a character.
            '\u{fffe}' | '\u{ffff}' => shown.push('\u{fffd}'),
            other => shown.push(other),
        }
    }
    shown
}
