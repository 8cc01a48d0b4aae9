//! tests/sentences.txt: every sentence that a user may meet on stderr, to be read as a whole. It has to say what happened,
//! to which lock, and what to do. What has variants is made of a sample of each; what is only a text in the sources is
//! found there, so that nothing is forgotten.

use std::fmt::Display;

use super::{compare, literals, samples};
use crate::config;
use crate::lock::name::LockName;
use crate::service::etcd;
use crate::ui::sentence;

/// One part of the page: a heading, and its sentences.
struct Part {
    heading: &'static str,
    sentences: Vec<String>,
}

fn part(heading: &'static str, sentences: impl IntoIterator<Item = impl Display>) -> Part {
    Part {
        heading,
        sentences: sentences.into_iter().map(|text| text.to_string()).collect(),
    }
}

fn lock() -> LockName {
    "deploy/prod".parse().expect("a name")
}

fn parts() -> Vec<Part> {
    let (lock, wall) = (lock(), "2026-11-22T03:03:24Z".parse().expect("a time"));
    let messages = samples::messages();
    let messages = messages.iter();
    let outcomes = samples::outcomes();
    let outcomes = outcomes.iter();
    vec![
        part(
            "run: on its way",
            messages.map(|message| sentence::sentence(message, &lock, wall)),
        ),
        part(
            "run: beside that",
            samples::notes()
                .iter()
                .map(|note| note.sentence(lock.as_str())),
        ),
        part(
            "run: its end",
            outcomes.filter_map(|outcome| outcome.sentence(&lock)),
        ),
        part("why a lock is lost", samples::losses()),
        part("who stands in the way", samples::holders()),
        part("etcd and the network", etcd::sentences::troubles()),
        part("TLS", etcd::sentences::tls()),
        part("what is typed", config::tests::sentences::typed()),
        part(
            "variables and files",
            config::tests::sentences::configured(),
        ),
    ]
}

/// What stands in the sources and in none of the parts, by file; what is put in stands in braces.
fn others(page: &str) -> String {
    let mut others = String::new();
    for (file, sentences) in literals::sentences() {
        let is_new = |sentence: &&String| {
            !page
                .lines()
                .any(|line| literals::is_said_by(line, sentence))
        };
        let new: Vec<&String> = sentences.iter().filter(is_new).collect();
        if !new.is_empty() {
            others.push_str(&format!("### {file}\n\n"));
            new.iter()
                .for_each(|sentence| others.push_str(&format!("{sentence}\n")));
            others.push('\n');
        }
    }
    others
}

#[test]
fn every_sentence_is_the_one_that_was_read() {
    let mut page = String::new();
    for Part { heading, sentences } in parts() {
        assert!(!sentences.is_empty(), "{heading}");
        page.push_str(&format!("## {heading}\n\n"));
        for sentence in sentences {
            assert!(!sentence.contains('\n'), "{sentence:?} is one line");
            let escaped = |c: char| match c.is_control() {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            };
            page.extend(sentence.chars().map(escaped).chain(["\n".to_owned()]));
        }
        page.push('\n');
    }
    let others = others(&page);
    page.push_str("## others, as they stand in the sources\n\n");
    page.push_str(&others);
    compare("tests/sentences.txt", &page);
}
