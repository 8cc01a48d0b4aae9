//! The time of day as some processes see it.

use super::leasehold::Run;

/// Where Debian has this library of libfaketime. Not searched for: on a machine that was just started, a walk through
/// /usr/lib takes half a minute.
pub(crate) fn library(name: &str) -> Option<String> {
    ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/{name}"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
}

/// The wall clock of some processes: libfaketime tells them what the file says; CLOCK_BOOTTIME stays as it is, as it
/// does when somebody sets a machine's clock.
pub(crate) struct WallClock {
    folder: tempfile::TempDir,
    library: String,
}

impl WallClock {
    /// Nothing where libfaketime is missing.
    pub(crate) fn new() -> Option<Self> {
        let clock = Self {
            folder: tempfile::tempdir().expect("a folder"),
            library: library("libfaketimeMT.so.1")?,
        };
        clock.step(0);
        Some(clock)
    }

    fn file(&self) -> String {
        let path = self.folder.path().join("offset");
        path.to_str().expect("readable").to_owned()
    }

    /// Another time of day from now on.
    pub(crate) fn step(&self, by_s: i64) {
        let next = self.folder.path().join("next");
        std::fs::write(&next, format!("{by_s:+}\n")).expect("ours");
        std::fs::rename(next, self.file()).expect("ours");
    }

    pub(crate) fn of(&self, run: Run) -> Run {
        run.variable("LD_PRELOAD", &self.library)
            .variable("FAKETIME_TIMESTAMP_FILE", &self.file())
            .variable("FAKETIME_NO_CACHE", "1")
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}
