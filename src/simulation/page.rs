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
    let mutants = Mutant::every().map(|mutant| format!("{mutant:?}"));
    let kinds = Kind::ALL.iter().map(|kind| format!("{kind:?}"));
    let known: Vec<String> = mutants.chain(kinds).collect();
    for name in &known {
        assert!(
            PAGE.contains(&format!("`{name}`")),
            "it says nothing of {name}"
        );
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources(&root.join("src")) + &sources(&root.join("tests"));
    let is_name = |text: &&str| {
        let mut letters = text.chars();
        !text.is_empty() && letters.all(|it| it.is_ascii_alphanumeric() || it == '_' || it == ':')
    };
    for quoted in PAGE.split('`').skip(1).step_by(2).filter(is_name) {
        let last = quoted.rsplit("::").next().unwrap_or(quoted);
        let exists = if last.matches('_').count() > 1 {
            sources.contains(&format!("fn {last}("))
        } else if last.starts_with(|first: char| first.is_ascii_uppercase()) && last.len() > 4 {
            known.iter().any(|name| name == last) || sources.contains(quoted)
        } else {
            true
        };
        assert!(
            exists,
            "docs/correctness.md names {quoted}, and there is none"
        );
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
