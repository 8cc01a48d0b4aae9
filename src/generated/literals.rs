//! The texts that stand in the program: what is said and was not made a sample of is found here.

use std::fs;
use std::path::{Path, PathBuf};

/// Texts of fewer words are names and parts.
const WORDS_MIN: usize = 3;

/// What is not said on stderr, or is compared elsewhere: `--help` and its tables, the metrics, and what tests are made of.
const NOT_SAID: [&str; 10] = [
    "src/cli.rs",
    "src/cli/",
    "src/config/setting.rs",
    "src/environment.rs",
    "src/generated/",
    "src/metrics.rs",
    "src/outcome.rs",
    "src/service/etcd/sentences.rs",
    "src/service/etcd/simulated/",
    "src/simulation/",
];

/// What a text is for, where it is for developers: by what stands right before it.
const FOR_DEVELOPERS: [&str; 4] = ["expect(", "reason = ", "unreachable!(", "panic!("];

/// How a text begins that SQLite is told.
const SQL: [&str; 7] = [
    "CREATE ", "DELETE ", "EXCEPT ", "INSERT ", "PRAGMA ", "SELECT ", "UPDATE ",
];

/// The sentences of each source file, as they stand there; with the paths in order.
pub(super) fn sentences() -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    files.sort();
    let of_file = |path: PathBuf| {
        let name = path.strip_prefix(root).ok()?.to_str()?.to_owned();
        let is_said = !NOT_SAID.iter().any(|not| name.starts_with(not));
        let is_test = name.contains("/tests");
        let text = fs::read_to_string(&path).expect("readable");
        let code = text.split("#[cfg(test)]\nmod tests").next()?.to_owned();
        (is_said && !is_test).then(|| (name, of_code(&code)))
    };
    files.into_iter().filter_map(of_file).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The sentences in a piece of Rust.
fn of_code(code: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut before = String::new();
    let mut rest = code;
    while let Some(next) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        }
        if let Some(length) = character(rest) {
            rest = &rest[length..];
            continue;
        }
        if next == '"' {
            let length = text_length(&rest[1..]);
            let text = rest[1..=length].replace("\\\"", "\"");
            let is_for_users = !FOR_DEVELOPERS
                .iter()
                .any(|word| before.trim_end().ends_with(word.trim_end()));
            let is_sql = SQL.iter().any(|word| text.starts_with(word));
            let is_sentence =
                text.split_whitespace().count() >= WORDS_MIN && !text.contains('\n') && !is_sql;
            if is_for_users && is_sentence {
                sentences.push(text);
            }
            rest = &rest[length + 2..];
            before.clear();
            continue;
        }
        before.push(next);
        rest = &rest[next.len_utf8()..];
    }
    sentences
}

/// The length of a character such as `'"'`, if one begins here and it is no lifetime.
fn character(code: &str) -> Option<usize> {
    let inner = code.strip_prefix('\'')?;
    let length = match inner.strip_prefix('\\') {
        Some(escaped) => 1 + escaped.find('\'')?.max(1),
        None => inner.chars().next()?.len_utf8(),
    };
    inner[length..].starts_with('\'').then_some(length + 2)
}

/// How many bytes there are before the quote that ends a text.
fn text_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.find(|c: char| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    end.expect("a text has an end")
}

/// Whether a line says this: what stands in braces can be anything.
pub(super) fn is_said_by(line: &str, sentence: &str) -> bool {
    let mut rest = line;
    for piece in pieces(sentence) {
        let Some(at) = rest.find(piece.as_str()) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    true
}

/// What stands between the braces.
fn pieces(sentence: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut depth = 0_usize;
    for c in sentence.chars() {
        match (c, depth) {
            ('{', _) => {
                depth += 1;
                pieces.push(String::new());
            }
            ('}', 1..) => depth -= 1,
            (c, 0) => pieces.last_mut().expect("one").push(c),
            _ => {}
        }
    }
    pieces
}

#[test]
fn sentences_are_found_in_code_and_only_those_for_users() {
    let code = r#"
        // "not a word of this"
        say("one two three", 'a', '"', '\'', &'x str);
        x.expect("it cannot be so"); y("two words"); z("a \"b\" {c:?} d"); q("SELECT it FROM there");
    "#;
    assert_eq!(of_code(code), ["one two three", "a \"b\" {c:?} d"]);
    assert!(is_said_by("x: a \"b\" 42 d", "a \"b\" {c:?} d"));
    assert!(!is_said_by("a \"b\" 42", "a \"b\" {c:?} d"));
}
