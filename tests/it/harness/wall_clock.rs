//! The time of day as some processes see it.

use super::leasehold::Run;

/// The wall clock of some processes: libfaketime tells them what the file says; CLOCK_BOOTTIME stays as it is, as it
/// does when somebody sets a machine's clock.
pub(crate) struct WallClock {
    folder: tempfile::TempDir,
    library: String,
}

impl WallClock {
    /// Nothing where libfaketime is missing.
    pub(crate) fn new() -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
        let mut candidates = folders.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
        let library = candidates.find(|path| path.exists())?;
        let clock = Self {
            folder: tempfile::tempdir().expect("a folder"),
            library: library.to_str()?.to_owned(),
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
