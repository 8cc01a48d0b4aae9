//! docs/faults.md is true: every row names a test that there is, and that tests this fault.

use std::collections::HashSet;
use std::fs;

use crate::harness::fault::rows;

#[test]
fn every_row_of_the_table_is_shown_by_the_test_it_names() {
    let rows = rows();
    assert!(rows.len() > 40, "{} rows", rows.len());
    let names: HashSet<&str> = rows.iter().map(|row| row.fault).collect();
    assert_eq!(names.len(), rows.len(), "no name twice");
    for row in rows {
        let (module, function) = row.test.rsplit_once("::").expect("module::function");
        let path = format!(
            "{}/tests/it/{}.rs",
            env!("CARGO_MANIFEST_DIR"),
            module.replace("::", "/")
        );
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let is_test = source.contains(&format!("#[test]\nfn {function}()"));
        assert!(is_test, "{path} has no test {function}");
        let named = format!("\"{}\"", row.fault);
        assert!(source.contains(&named), "{path} does not try {named}");
    }
}

#[test]
fn every_line_of_a_table_is_a_row() {
    let document = include_str!("../../../docs/faults.md");
    let lines = document.lines().filter(|line| line.starts_with("| "));
    let headings = document
        .matches("| fault | what you can rely on | shown by |")
        .count();
    assert_eq!(lines.count(), rows().len() + headings);
}
