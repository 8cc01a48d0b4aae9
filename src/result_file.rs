//! A file in which a run's ending is written down: the report, the metrics.
//!
//! Decisions:
//! - It is written beside the file and renamed over it, so that nobody reads half of one. Where that cannot
//!   be (it is a device, a pipe or a mount point such as a container's /dev/termination-log, or its folder
//!   cannot be written) it is written in place.
//! - Whether it can be written is found out before the lock is taken.
//! - What is kept of its earlier content is read and written by one run at a time: the old file is locked (flock(2))
//!   until the new one has its name. Whoever has locked an old file by then begins again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::poll::poll;

use crate::clock;

/// How long somebody who has the file locked is waited for. Longer than a full disk needs for a small file; a run
/// that ends must not wait for ever because of somebody who only holds the file.
const LOCKED_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether they are done.
const LOOK_EVERY_MS: u8 = 10;

/// More of the earlier content is not read: it is not ours.
const EARLIER_BYTES_MAX: u64 = 1 << 16;

/// For whoever watches the host, as far as the umask lets them.
const MODE: u32 = 0o644;

/// Where an ending is written down.
#[derive(Clone, Debug)]
pub struct ResultFile {
    path: PathBuf,
}

impl ResultFile {
    /// Checks that something can be written to `path`, without touching what is there.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(path: &Path) -> io::Result<Self> {
        // The process changes its folder later on.
        let path = std::path::absolute(path)?;
        if is_descriptor(&path) {
            // Ours are not the caller's any more when it is written.
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

    /// Writes this in place of what was there.
    ///
    /// # Errors
    /// When it cannot be written, neither beside nor in place.
    pub fn write(&self, content: &[u8]) -> io::Result<()> {
        if self.is_replaceable() {
            match self.replace(content) {
                Err(error) if is_not_the_way(&error) => {}
                result => return result,
            }
        }
        let mut file = self.in_place()?;
        // What is no regular file cannot be truncated, and need not be.
        let _ = file.set_len(0);
        file.write_all(content)
    }

    /// What is in it; empty where there is nothing that can be read.
    pub fn content(&self) -> String {
        let is_file = std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.is_file());
        let file = is_file.then(|| File::open(&self.path).ok()).flatten();
        file.as_ref().map(content_of).unwrap_or_default()
    }

    /// Writes what is made of the earlier content, which is empty where there is none that can be read.
    ///
    /// # Errors
    /// When it cannot be written, neither beside nor in place.
    pub fn rewrite(&self, make: impl FnOnce(&str) -> String) -> io::Result<()> {
        let locked = self.locked();
        let earlier = locked.as_deref().map(content_of).unwrap_or_default();
        self.write(make(&earlier).as_bytes())
    }

    /// The file that is there, locked; an empty one where there is none. Nothing where it cannot be locked or is
    /// no regular file.
    fn locked(&self) -> Option<Flock<File>> {
        if std::fs::metadata(&self.path).is_ok_and(|metadata| !metadata.is_file()) {
            return None;
        }
        let give_up_at = clock::now() + LOCKED_MAX;
        while clock::now() < give_up_at {
            let file = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.in_place().ok()?;
                    continue;
                }
                file => file.ok()?,
            };
            let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
                let _ = poll(&mut [], LOOK_EVERY_MS);
                continue;
            };
            if is_still_there(&file, &self.path) {
                return Some(file);
            }
        }
        None
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
            .prefix(".leasehold-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE))
            .tempfile_in(folder)
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let mut beside = self.beside()?;
        beside.write_all(content)?;
        beside.as_file().sync_all()?;
        beside.persist(&self.path)?;
        Ok(())
    }

    fn in_place(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
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

fn content_of(file: &File) -> String {
    let mut bytes = Vec::new();
    let _ = file.take(EARLIER_BYTES_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether this file has the name that it was opened by.
fn is_still_there(file: &File, path: &Path) -> bool {
    let number = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (opened, there) = (file.metadata(), std::fs::metadata(path));
    let numbers = (opened.as_ref().map(number), there.as_ref().map(number));
    matches!(numbers, (Ok(opened), Ok(there)) if opened == there)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"{\"command\": 3}\n";

    #[test]
    fn a_result_replaces_the_one_before_it_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("report.json");
        std::fs::write(
            &path,
            "something much longer than the report that comes in its place",
        )
        .expect("written");
        let file = ResultFile::check(&path).expect("writable");
        file.write(CONTENT).expect("written");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text.as_bytes(), CONTENT);
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            1
        );
    }

    #[test]
    fn what_is_no_regular_file_is_written_in_place() {
        let file = ResultFile::check(Path::new("/dev/null")).expect("writable");
        file.write(CONTENT).expect("written");
        assert!(!Path::new("/dev/null").is_file());
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "before").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        ResultFile::check(&link)
            .expect("writable")
            .write(CONTENT)
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
        assert!(ResultFile::check(Path::new("/nonexistent/report")).is_err());
        assert!(ResultFile::check(Path::new("/")).is_err());
        assert!(ResultFile::check(Path::new("/dev/full/x")).is_err());
        for descriptor in ["/dev/stdout", "/dev/stderr", "/dev/fd/5", "/proc/self/fd/1"] {
            assert!(
                ResultFile::check(Path::new(descriptor)).is_err(),
                "{descriptor}"
            );
        }
    }

    #[test]
    fn what_many_make_of_the_earlier_content_has_all_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("count");
        let counting = || {
            let file = ResultFile::check(&path).expect("writable");
            for _ in 0..5 {
                let count = |earlier: &str| (earlier.parse().unwrap_or(0) + 1).to_string();
                file.rewrite(count).expect("written");
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(counting);
            }
        });
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "15");
    }

    #[test]
    fn somebody_who_keeps_the_file_locked_is_not_waited_for_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let theirs = File::create(&path).expect("made");
        let _locked = Flock::lock(theirs, FlockArg::LockExclusive).expect("locked");
        let file = ResultFile::check(&path).expect("writable");
        file.rewrite(|_| "ours".to_owned()).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "ours");
    }
}
