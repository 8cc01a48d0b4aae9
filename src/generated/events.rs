//! The table of events in docs/monitoring.md: every name that `--log-format json` can emit, and no other.

use super::{compare, samples};
use crate::outcome::Outcome;
use crate::ui::sentence::{Level, event_name, level, sentence};

const PAGE: &str = include_str!("../../docs/monitoring.md");
const BEGIN: &str = "<!-- events: generated from src/ui/sentence.rs and src/outcome.rs -->\n";
const END: &str = "<!-- end of events -->";

const LOCK: &str = "deploy/prod";

fn row(name: &str, level: Level, text: &str) -> String {
    let text = text.replace('|', "\\|").replace('<', "&lt;");
    format!("| `{name}` | {} | {text} |\n", level.name())
}

/// One row for each name, with the first sample's sentence.
fn rows() -> Vec<String> {
    let name = LOCK.parse().expect("a name");
    let wall = "2026-11-22T03:03:24Z".parse().expect("a time");
    let messages = samples::messages();
    let messages = messages.iter().map(|message| {
        let text = sentence(message, &name, wall);
        (event_name(message), level(message), text)
    });
    let notes = samples::notes();
    let notes = notes
        .iter()
        .map(|note| (note.name(), note.level(), note.sentence(LOCK)));
    let outcomes = samples::outcomes();
    let outcomes = outcomes.iter().filter_map(|outcome| {
        let is_of_run = Outcome::NAMES_OF_RUN.contains(&outcome.name());
        let text = outcome.sentence(&name).filter(|_| is_of_run)?;
        Some((outcome.name(), Level::Error, text))
    });
    let mut seen = Vec::new();
    let all = messages.chain(notes).chain(outcomes);
    let first = all.filter(|(name, level, _)| {
        let is_new = !seen.contains(&(*name, level.name()));
        seen.push((*name, level.name()));
        is_new
    });
    first
        .map(|(name, level, text)| row(name, level, &text))
        .collect()
}

#[test]
fn the_page_has_every_event() {
    let begin = PAGE.find(BEGIN).expect("the begin is marked") + BEGIN.len();
    let end = PAGE.find(END).expect("the end is marked");
    let wanted = format!(
        "{}\n| event | level | an example of its message |\n|---|---|---|\n{}\n{}",
        &PAGE[..begin],
        rows().concat(),
        &PAGE[end..]
    );
    compare("docs/monitoring.md", &wanted);
}
