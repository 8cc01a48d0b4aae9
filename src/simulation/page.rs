//! What docs/correctness.md says of the simulator. Its tables are made by `make mutants` and tried by the tests, row by
//! row; and every name on it is the name of something.

use std::fs;
use std::path::Path;

use super::checker::Kind;
use super::mutants::Mutant;

const PAGE: &str = include_str!("../../docs/correctness.md");

/// Where a table begins on the page, and where it ends.
fn marks(table: &str) -> [String; 2] {
    [
        format!("<!-- made by `make mutants`: {table} -->\n"),
        format!("<!-- so much for {table} -->"),
    ]
}

/// The rows of a table of the page, cell by cell, without its head.
pub fn table(table: &str) -> Vec<Vec<&'static str>> {
    let [begin, end] = marks(table);
    let (_, rest) = PAGE.split_once(&begin).expect("it begins on the page");
    let (rows, _) = rest.split_once(&end).expect("it ends on the page");
    let cells = |row: &'static str| row.trim_matches('|').split('|');
    let rows = rows.trim().lines().skip(2);
    rows.map(|row| {
        cells(row)
            .map(|cell| cell.trim().trim_matches('`'))
            .collect()
    })
    .collect()
}

/// Puts a table onto the page, in the place of the one that is there.
pub fn write_table(table: &str, head: [&str; 3], rows: &[[String; 3]]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/correctness.md");
    let page = fs::read_to_string(&path).expect("the page");
    let [begin, end] = marks(table);
    let (before, rest) = page.split_once(&begin).expect("it begins on the page");
    let (_, after) = rest.split_once(&end).expect("it ends on the page");
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rows: String = rows.iter().map(|row| line(row)).collect();
    let head = line(&head.map(str::to_owned));
    let text = format!("{before}{begin}{head}|---|---|---|\n{rows}{end}{after}");
    fs::write(path, text).expect("the page can be written");
}

/// A test that moved or a check that was renamed would leave the page without what stands behind it.
#[test]
fn what_the_page_names_exists() {
    let mutants: Vec<String> = Mutant::every().map(|it| format!("{it:?}")).collect();
    let kinds = Kind::ALL.iter().map(|kind| format!("{kind:?}"));
    for name in mutants.iter().cloned().chain(kinds) {
        assert!(
            PAGE.contains(&format!("`{name}`")),
            "it says nothing of {name}"
        );
    }
    let count = format!("**Mutants**: {} rules are broken", mutants.len());
    assert!(PAGE.contains(&count), "{count}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = Known {
        sources: sources(&root.join("src")) + &sources(&root.join("tests")),
        makefile: fs::read_to_string(root.join("Makefile")).expect("the Makefile"),
        root,
    };
    // Without what is indented or fenced: what people type is tried elsewhere.
    let prose = PAGE.split("```").step_by(2);
    let quoted = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    let unknown: Vec<&str> = quoted.filter(|name| !known.has(name)).collect();
    assert!(unknown.is_empty(), "there is no {unknown:?}");
}

struct Known<'root> {
    root: &'root Path,
    sources: String,
    makefile: String,
}

impl Known<'_> {
    fn has(&self, quoted: &str) -> bool {
        if let Some(target) = quoted.strip_prefix("make ") {
            let target = target.split(' ').next().unwrap_or_default();
            return self.makefile.contains(&format!("\n{target}:"));
        }
        if quoted.contains('/') {
            return self.root.join(quoted).exists();
        }
        if quoted.ends_with(".rs") {
            return self.root.join("src").join(quoted).exists()
                || self.root.join("src/simulation").join(quoted).exists();
        }
        let is_word = |text: &str| {
            let mut letters = text.chars();
            letters.all(|it| it.is_ascii_alphanumeric() || it == '_')
        };
        // An option, a formula, an output.
        let (path, name) = quoted.rsplit_once("::").unwrap_or(("", quoted));
        let (name, is_cut) = match name.strip_suffix('…') {
            Some(name) => (name, true),
            None => (name, false),
        };
        if !is_word(name) || !path.split("::").all(is_word) {
            return true;
        }
        let is_test = name.matches('_').count() > 1 && name.starts_with(char::is_lowercase);
        let named = if is_test {
            format!("fn {name}{}", if is_cut { "" } else { "(" })
        } else {
            name.to_owned()
        };
        self.sources.contains(&named) && self.sources.contains(path)
    }
}

fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("the sources");
    let texts = entries.map(|entry| {
        let path = entry.expect("a file").path();
        match path.is_dir() {
            true => sources(&path),
            false => fs::read_to_string(&path).unwrap_or_default(),
        }
    });
    texts.collect()
}
