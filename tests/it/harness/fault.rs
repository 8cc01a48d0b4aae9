//! One line for every fault: injected, expected, seen. `make chaos` prints them.
//!
//! docs/faults.md is the one list: a fault's name and what a user can rely on are read from its tables, so a line
//! cannot expect something else than the documentation says. What was injected and what was seen is told by the
//! test while it goes, from what it has observed; a test that tells neither fails.

use std::fs;
use std::path::PathBuf;

use super::decency;
use super::leasehold::Output;
use super::untested::not_allowed;

/// Where lines are left for `make chaos`; nowhere without it.
const LINES_VARIABLE: &str = "LEASEHOLD_TEST_FAULTS";

const DOCUMENT: &str = include_str!("../../../docs/faults.md");

/// One row of docs/faults.md.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) fault: &'static str,
    pub(crate) expected: &'static str,
    /// The test that shows it: `module::function`.
    pub(crate) test: &'static str,
}

/// All rows: lines of the form `| fault | expected | `test` |`.
pub(crate) fn rows() -> Vec<Row> {
    let cells = |line: &'static str| -> Option<Row> {
        let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let [fault, expected, test] = inner.split(" | ").collect::<Vec<_>>()[..] else {
            return None;
        };
        let test = test.strip_prefix('`')?.strip_suffix('`')?;
        Some(Row {
            fault,
            expected,
            test,
        })
    };
    DOCUMENT.lines().filter_map(cells).collect()
}

/// A fault while it is tried.
#[must_use = "say what was injected and what was seen"]
pub(crate) struct Fault {
    row: Row,
    injected: Vec<String>,
    seen: Vec<String>,
    skipped: Option<&'static str>,
}

impl Fault {
    /// The fault of this name in docs/faults.md.
    #[track_caller]
    pub(crate) fn of(name: &str) -> Self {
        let row = rows().into_iter().find(|row| row.fault == name);
        let row = row.unwrap_or_else(|| panic!("docs/faults.md has no fault {name:?}"));
        decency::ask_for();
        Self {
            row,
            injected: Vec::new(),
            seen: Vec::new(),
            skipped: None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.row.fault
    }

    /// What was done, told when its effect was observed.
    pub(crate) fn injected(&mut self, effect: impl Into<String>) {
        self.injected.push(effect.into());
    }

    /// What came of it, told when it was asserted.
    pub(crate) fn seen(&mut self, observation: impl Into<String>) {
        self.seen.push(observation.into());
    }

    /// It cannot be tried on this machine, by these rights.
    pub(crate) fn skip(mut self, reason: &'static str) {
        not_allowed(reason);
        self.skipped = Some(reason);
    }

    /// No ending of a run is a defect. The rest is looked at wherever a run ends: see decency.rs.
    #[track_caller]
    pub(crate) fn ended_decently(output: &Output) {
        assert_ne!(output.status.code(), Some(70), "{}", output.describe());
    }

    fn line(&self) -> String {
        let injected = self.injected.join("; ");
        let seen = if std::thread::panicking() {
            format!("FAILED: see {}", self.row.test)
        } else if let Some(reason) = self.skipped {
            format!("skipped: {reason}")
        } else {
            self.seen.join("; ")
        };
        format!(
            "{} | injected: {injected} | expected: {} | seen: {seen}",
            self.row.fault, self.row.expected
        )
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let line = self.line();
        eprintln!("{line}");
        if let Some(folder) = std::env::var_os(LINES_VARIABLE) {
            let path = PathBuf::from(folder).join(self.row.fault.replace([' ', '/'], "-"));
            fs::write(path, format!("{line}\n")).expect("the folder of the lines is there");
        }
        if !std::thread::panicking() && self.skipped.is_none() {
            assert!(!self.injected.is_empty(), "nothing was injected: {line}");
            assert!(!self.seen.is_empty(), "nothing was seen: {line}");
        }
    }
}
