//! The file that remembers the newest token, on disk, and the kernel lock beside it.
//!
//! - FILE is replaced as a whole: FILE.new is written and synced, renamed over FILE, and the folder is synced.
//!   Whenever the power fails, FILE holds the old line or the new one; and the new one is on the disk before
//!   COMMAND begins.
//! - FILE.lock is locked (flock(2)) by whoever runs, and never replaced or removed. Every process of a run, the
//!   command's included, holds it open, so that the kernel gives it back when the last of them is dead.
//!
//! Nothing of the user's is overwritten: a FILE, FILE.new or FILE.lock that does not begin as ours do is refused.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::config::inherited::shell_word;
use crate::lock::ratchet::{LINE_BEGINNING, LINE_BYTES_MAX, Seen};
use crate::lock::runner::{self, RunnerLine};
use crate::lock::token::Token;
use crate::process::preemption::{Guards, LockFile};
use crate::ui::system_error;

/// FILE and what is beside it. Errors are sentences for the user.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    folder: PathBuf,
}

/// The right to run, until it is given back or nobody holds it open.
pub struct RunLock {
    file: File,
}

/// Who runs, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Its token.
    pub token: Token,
    /// Its processes.
    pub guards: Guards,
}

impl StateFile {
    /// The file that a path means. Nothing is written yet.
    pub fn at(path: &Path) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("the state file {} {why}", path.display()));
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return wrong("is a folder; name a file");
        }
        // The command may change its folder, and a link stays a link.
        let path = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(_) if path.is_symlink() => return wrong("is a link to a file that is not there"),
            Err(_) => std::path::absolute(path)
                .map_err(|error| format!("the state file: {}", system_error(&error)))?,
        };
        let (Some(folder), Some(_)) = (path.parent(), path.file_name()) else {
            return wrong("is a folder; name a file");
        };
        if !folder.is_dir() {
            let folder = folder.display();
            return wrong(&format!("cannot be there: {folder} is no folder; make it"));
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => wrong("is a folder; name a file"),
            Ok(metadata) if !metadata.is_file() => wrong("is no regular file"),
            _ => Ok(Self {
                folder: folder.to_owned(),
                path,
            }),
        }
    }

    /// How it is named to people.
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// The command that makes it forget what it has seen.
    pub fn reset(&self) -> String {
        format!("rm {}", shell_word(&self.shown()))
    }

    /// The newest token that it has seen; none where there is no file yet.
    pub fn read(&self) -> Result<Option<Seen>, String> {
        let mut line = Vec::new();
        let read = File::open(&self.path).and_then(|file| {
            // One byte more shows that it is none of ours.
            file.take(LINE_BYTES_MAX as u64 + 1).read_to_end(&mut line)
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.trouble(&self.path, "cannot be read", &error)),
            Ok(_) => {}
        }
        Seen::parse(&line).map(Some).map_err(|why| {
            format!(
                "the state file {} cannot be believed: {why}. Nothing was run. To mend it: see to it that no holder with an old token is left, then remove it: {}",
                self.shown(),
                self.reset()
            )
        })
    }

    /// The right to run, if nobody has it.
    pub fn try_lock(&self) -> Result<Option<RunLock>, String> {
        let path = self.lock_path();
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)
                .map_err(|error| self.trouble(&path, "cannot be locked", &error))?;
            match is_ours(&file, runner::LINE_BEGINNING) {
                Ok(true) => {}
                Ok(false) => return Err(foreign(&path)),
                Err(error) => return Err(self.trouble(&path, "cannot be locked", &error)),
            }
            self.give_to_owner(&file)
                .map_err(|error| self.trouble(&path, "cannot be locked", &error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    return Err(self.trouble(&path, "cannot be locked", &error));
                }
            }
            // Somebody may have removed it before we locked it: then others lock another one.
            if is_at(&file, &path) {
                return Ok(Some(RunLock { file }));
            }
        }
    }

    /// Who runs, as the file of the lock says, and which file that is.
    pub fn runner(&self) -> Option<(Runner, LockFile)> {
        let mut line = Vec::new();
        let file = File::open(self.lock_path()).ok()?;
        let lock = LockFile::from(&file.metadata().ok()?);
        file.take(runner::LINE_BYTES_MAX as u64)
            .read_to_end(&mut line)
            .ok()?;
        let line = RunnerLine::parse(&line)?;
        let runner = Runner {
            token: line.token,
            guards: Guards::named(&line),
        };
        Some((runner, lock))
    }

    /// Remembers a token, durably, before it returns. Only whoever has the right to run may do it.
    ///
    /// Also one that is remembered already is written anew: whoever wrote it may have been killed before it was on
    /// the disk, and once fsync(2) has failed, a second one proves nothing (the kernel has given the pages up).
    pub fn raise(&self, _right: &RunLock, seen: Seen) -> Result<(), String> {
        let path = self.beside("new");
        let failed = |error| self.trouble(&self.path, "cannot be written", &error);
        let kept = fs::metadata(&self.path).ok();
        self.check_owner(kept.as_ref())?;
        self.remove_leftover(&path)?;
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| {
                if let Some(kept) = &kept {
                    self.give_to_owner(&file)?;
                    file.set_permissions(PermissionsExt::from_mode(kept.mode() & 0o777))?;
                }
                file.write_all(seen.to_line().as_bytes())?;
                file.sync_all()
            });
        if let Err(error) = written.and_then(|()| fs::rename(&path, &self.path)) {
            let _ = fs::remove_file(&path);
            return Err(failed(error));
        }
        self.sync_folder().map_err(failed)
    }

    /// Removes what a crash left of an earlier FILE.new, and nothing else.
    fn remove_leftover(&self, path: &Path) -> Result<(), String> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path);
        match opened.and_then(|file| is_ours(&file, LINE_BEGINNING)) {
            Ok(true) => fs::remove_file(path)
                .map_err(|error| self.trouble(path, "cannot be removed", &error)),
            Ok(false) => Err(foreign(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // A link.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Err(foreign(path)),
            Err(error) => Err(self.trouble(path, "cannot be read", &error)),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    /// The file of the lock.
    pub fn lock_path(&self) -> PathBuf {
        self.beside("lock")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }

    /// Replacing somebody else's file would make it ours, and shut its owner out.
    fn check_owner(&self, kept: Option<&Metadata>) -> Result<(), String> {
        match kept {
            Some(kept) if kept.uid() != geteuid().as_raw() && !geteuid().is_root() => Err(format!(
                "the state file {} belongs to another user (uid {}); run this as that user. Nothing was run",
                self.shown(),
                kept.uid()
            )),
            _ => Ok(()),
        }
    }

    /// What root makes beside another user's file is that user's.
    fn give_to_owner(&self, file: &File) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        match fs::metadata(&self.path) {
            Ok(kept) => fchown(file, Some(kept.uid()), Some(kept.gid())),
            Err(_) => Ok(()),
        }
    }

    fn trouble(&self, path: &Path, what: &str, error: &io::Error) -> String {
        let advice = match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => {
                let owner = fs::metadata(path).or_else(|_| fs::metadata(&self.folder));
                owner.map_or_else(
                    |_| String::new(),
                    |owner| format!("; it belongs to uid {}", owner.uid()),
                )
            }
            Some(libc::ENOSPC | libc::EDQUOT) => "; free some space".to_owned(),
            _ => String::new(),
        };
        let (path, error) = (path.display(), system_error(error));
        format!("the state file {path} {what}: {error}{advice}. Nothing was run")
    }
}

impl RunLock {
    /// Says who runs, for others who want to. Nothing depends on it but `--preempt`.
    pub fn sign(&self, runner: Runner) {
        let Runner { token, guards } = runner;
        let line = guards.line(token).to_string();
        // A torn one is none: it ends with a newline, and is as long as it says.
        let _ = self.file.set_len(0);
        let _ = self.file.write_all_at(line.as_bytes(), 0);
    }

    /// Lets the command inherit it, as flock(1) does: so it is also held by what the command leaves behind if
    /// everybody who watches the command is killed at once.
    pub fn share_with_command(&self) -> io::Result<()> {
        // Not close-on-exec, and never closed here: it is the command's.
        let _: i32 = nix::unistd::dup(&self.file)?.into_raw_fd();
        Ok(())
    }

    /// Gives the right to run back, whoever else holds it open.
    pub fn release(&self) {
        // A released lock is never the last thing a process does: what is left of it is a descriptor.
        let _ = self.file.unlock();
    }
}

/// Whether a file has what we write or, after a crash, the beginning of it.
fn is_ours(file: &File, beginning: &str) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut text = Vec::new();
    // One byte more shows that it is none of ours.
    file.take(LINE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut text)?;
    let begins = text.starts_with(beginning.as_bytes()) || beginning.as_bytes().starts_with(&text);
    Ok(begins && text.len() <= LINE_BYTES_MAX)
}

fn foreign(path: &Path) -> String {
    let path = path.display();
    format!(
        "{path} is no file of leasehold fence, which would overwrite it: name another FILE with --state, or move {path} away. Nothing was run"
    )
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => identity(ours) == identity(there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::token::ClusterId;

    fn seen(token: i64) -> Seen {
        Seen {
            cluster: Some(ClusterId(0xcafe)),
            token: Token::new(token).expect("positive"),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("one").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_token_is_remembered_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StateFile::at(&folder.path().join("state")).expect("possible");
        assert_eq!(file.read(), Ok(None));
        let right = file.try_lock().expect("possible").expect("free");
        for token in [33, 34] {
            file.raise(&right, seen(token)).expect("written");
            assert_eq!(file.read(), Ok(Some(seen(token))));
        }
        assert_eq!(names(folder.path()), ["state", "state.lock"]);
    }

    #[test]
    fn one_at_a_time_until_it_is_given_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StateFile::at(&folder.path().join("state")).expect("possible");
        let right = file.try_lock().expect("possible").expect("free");
        assert!(file.try_lock().expect("possible").is_none());
        right.release();
        assert!(file.try_lock().expect("possible").is_some());
    }

    #[test]
    fn a_link_stays_a_link_and_a_mode_stays_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, seen(1).to_line()).expect("written");
        fs::set_permissions(&target, PermissionsExt::from_mode(0o640)).expect("ours");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        let file = StateFile::at(&link).expect("possible");
        let right = file.try_lock().expect("possible").expect("free");
        file.raise(&right, seen(2)).expect("written");
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(&target).expect("there").mode() & 0o777, 0o640);
        assert_eq!(file.read(), Ok(Some(seen(2))));
    }

    #[test]
    fn what_cannot_be_a_state_file_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).expect("linked");
        let cases = [
            (folder.path().to_owned(), "is a folder"),
            (folder.path().join("missing/"), "is a folder"),
            (folder.path().join("missing/state"), "is no folder"),
            ("/dev/null".into(), "no regular file"),
            (dangling, "link to a file that is not there"),
        ];
        for (path, why) in cases {
            let refusal = StateFile::at(&path).expect_err(why);
            assert!(refusal.contains(why), "{refusal}");
        }
        let corrupt = folder.path().join("corrupt");
        fs::write(&corrupt, "leasehold-fence 1 cafe 34 0").expect("written");
        let refusal = StateFile::at(&corrupt).expect("possible").read();
        let refusal = refusal.expect_err("corrupt");
        assert!(
            refusal.contains("rm ") && refusal.contains("checksum"),
            "{refusal}"
        );
    }
}
