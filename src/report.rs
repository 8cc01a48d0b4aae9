//! The report: the outcome of a run as one JSON object in a file, for scripts that need more than a status.
//!
//! Decisions:
//! - It is written beside the file and renamed over it, so that nobody reads half of one. Where that cannot
//!   be (FILE is a device, a pipe or a mount point such as a container's /dev/termination-log, or its folder
//!   cannot be written) it is written in place.
//! - Whether it can be written is found out before the lock is taken.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::outcome::{Ended, Loss, Outcome};

/// The report's content. Field names and values are stable; fields may be added.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this format.
    pub version: u32,
    /// The lock.
    pub lock: String,
    /// The lock and all that were wanted with it.
    pub locks: Vec<String>,
    /// [`Outcome::name`].
    pub outcome: &'static str,
    /// The exit status that a shell shows.
    pub status: u8,
    /// Whether the command was executed.
    pub ran: bool,
    /// How the command itself ended.
    pub command: Option<Ended>,
    /// [`Loss::name`], where the lock was lost.
    pub loss: Option<&'static str>,
    /// The fencing token.
    pub token: Option<i64>,
    /// The lease's id in hex.
    pub lease: Option<String>,
    /// The cluster's id in hex.
    pub cluster: Option<String>,
    /// When the run began, RFC 3339.
    pub queued_at: String,
    /// When the command was executed.
    pub started_at: Option<String>,
    /// When the run was over.
    pub ended_at: String,
    /// From the run's begin until the lock was acquired, or until it gave up.
    pub waited_ms: u64,
    /// From then until no process was left.
    pub held_ms: Option<u64>,
    /// The sentence on stderr.
    pub message: Option<String>,
}

impl Report {
    /// The version written into [`Report::version`].
    pub const VERSION: u32 = 1;

    /// The report of a run that was refused before it began.
    pub fn not_run(lock: String, outcome: &Outcome, wall: Timestamp, message: String) -> Self {
        Self {
            version: Self::VERSION,
            locks: vec![lock.clone()],
            lock,
            outcome: outcome.name(),
            status: outcome.exit_status(),
            ran: false,
            command: None,
            loss: None,
            token: None,
            lease: None,
            cluster: None,
            queued_at: wall.to_string(),
            started_at: None,
            ended_at: wall.to_string(),
            waited_ms: 0,
            held_ms: None,
            message: Some(message),
        }
    }

    /// The name of the loss in an outcome.
    pub const fn loss_of(outcome: &Outcome) -> Option<&'static str> {
        match outcome {
            Outcome::Lost(loss) | Outcome::RanOn(loss) => Some(Loss::name(loss)),
            _ => None,
        }
    }
}

/// Where a report goes.
#[derive(Clone, Debug)]
pub struct ReportFile {
    path: PathBuf,
}

impl ReportFile {
    /// Checks that a report can be written to `path`, without touching what is there.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(path: &Path) -> io::Result<Self> {
        // The process changes its folder later on.
        let path = std::path::absolute(path)?;
        if is_descriptor(&path) {
            // Ours are not the caller's any more when the report is written.
            let why = "it is a descriptor; name a file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if path.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let file = Self { path };
        if file.is_replaceable()
            && let Ok(mut beside) = file.beside()
        {
            // A full disk shows only when something is written.
            beside.write_all(&[b' '; 4096])?;
            beside.as_file().sync_all()?;
            return Ok(file);
        }
        if file.path.exists() {
            // Opening a pipe would wait for its reader, or end what the reader reads.
            nix::unistd::access(&file.path, nix::unistd::AccessFlags::W_OK)?;
            return Ok(file);
        }
        file.in_place().map(|_| file)
    }

    /// Writes the report.
    ///
    /// # Errors
    /// When it cannot be written, neither beside nor in place.
    pub fn write(&self, report: &Report) -> io::Result<()> {
        let mut json = serde_json::to_vec(report)?;
        json.push(b'\n');
        if self.is_replaceable() {
            match self.replace(&json) {
                Err(error) if is_not_the_way(&error) => {}
                result => return result,
            }
        }
        let mut file = self.in_place()?;
        // What is no regular file cannot be truncated, and need not be.
        let _ = file.set_len(0);
        file.write_all(&json)
    }

    fn is_replaceable(&self) -> bool {
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata.is_file(),
            Err(_) => true,
        }
    }

    fn beside(&self) -> io::Result<tempfile::NamedTempFile> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        tempfile::Builder::new()
            .prefix(".leasehold-report-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)
    }

    fn replace(&self, json: &[u8]) -> io::Result<()> {
        let mut beside = self.beside()?;
        beside.write_all(json)?;
        beside.as_file().sync_all()?;
        beside.persist(&self.path)?;
        Ok(())
    }

    fn in_place(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            // A pipe without a reader is an error, not a reason to wait for ever (open(2)).
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.path)
    }
}

/// Whether a file can be written in place although it cannot be replaced: its folder is not ours to write, or
/// it is a mount point (rename(2)).
fn is_not_the_way(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(
        error.kind(),
        PermissionDenied | ReadOnlyFilesystem | ResourceBusy
    )
}

/// Whether the path names one of the process's open descriptors (proc_pid_fd(5)).
fn is_descriptor(path: &Path) -> bool {
    let of_a_process = |path: &str| {
        path.strip_prefix("/proc/")
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(_, rest)| rest.starts_with("fd/"))
    };
    path.to_str().is_some_and(|path| {
        let device = path.strip_prefix("/dev/").unwrap_or_default();
        matches!(device, "stdin" | "stdout" | "stderr")
            || device.starts_with("fd/")
            || of_a_process(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            version: Report::VERSION,
            lock: "a".to_owned(),
            locks: vec!["a".to_owned()],
            outcome: "exited",
            status: 3,
            ran: true,
            command: Some(Ended::Exited(3)),
            loss: None,
            token: Some(7),
            lease: None,
            cluster: None,
            queued_at: String::new(),
            started_at: None,
            ended_at: String::new(),
            waited_ms: 0,
            held_ms: None,
            message: None,
        }
    }

    #[test]
    fn a_report_replaces_the_one_before_it_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("report.json");
        std::fs::write(
            &path,
            "something much longer than the report that comes in its place",
        )
        .expect("written");
        let file = ReportFile::check(&path).expect("writable");
        file.write(&report()).expect("written");
        let text = std::fs::read_to_string(&path).expect("readable");
        let read: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(read["command"]["exited"], 3);
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            1
        );
    }

    #[test]
    fn what_is_no_regular_file_is_written_in_place() {
        let file = ReportFile::check(Path::new("/dev/null")).expect("writable");
        file.write(&report()).expect("written");
        assert!(!Path::new("/dev/null").is_file());
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "before").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        ReportFile::check(&link)
            .expect("writable")
            .write(&report())
            .expect("written");
        assert!(link.is_symlink());
        assert!(
            std::fs::read_to_string(&target)
                .expect("readable")
                .starts_with('{')
        );
    }

    #[test]
    fn what_cannot_be_written_is_found_out_before() {
        assert!(ReportFile::check(Path::new("/nonexistent/report")).is_err());
        assert!(ReportFile::check(Path::new("/")).is_err());
        assert!(ReportFile::check(Path::new("/dev/full/x")).is_err());
        for descriptor in ["/dev/stdout", "/dev/stderr", "/dev/fd/5", "/proc/self/fd/1"] {
            assert!(
                ReportFile::check(Path::new(descriptor)).is_err(),
                "{descriptor}"
            );
        }
    }
}
