//! What this process was given from outside: read here, and understood by [`crate::config`], which says what
//! it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{User, geteuid, gethostname, getpid, getuid};

use crate::clock;
use crate::config::inherited::{
    Access, Content, FILE_BYTES_MAX, FileState, Inherited, Need, NotTyped, Unresolved,
};
use crate::config::secret::Secret;
use crate::outcome::Outcome;
use crate::ui::prompt;

/// How long a pipe is waited for that somebody else has to write into: as long as a cluster is, by default.
const PIPE_PATIENCE: Duration = Duration::from_secs(10);

/// Reads variables, host, user and pid.
pub fn inherited() -> Inherited {
    let mut variables = BTreeMap::new();
    let mut garbled = BTreeSet::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                variables.insert(name, value);
            }
            Err(_) => {
                garbled.insert(name);
            }
        }
    }
    let uid = getuid();
    // Without an entry in the password database, as in many containers, the number has to do.
    let user = User::from_uid(uid).ok().flatten();
    Inherited {
        variables,
        garbled,
        host: gethostname().map_or_else(
            |_| "unknown".to_owned(),
            |host| host.to_string_lossy().into_owned(),
        ),
        user: user
            .as_ref()
            .map_or_else(|| uid.to_string(), |user| user.name.clone()),
        uid: geteuid().as_raw(),
        pid: getpid().as_raw(),
        wall: clock::wall().to_string(),
        home: user.map(|user| user.dir),
        folder: std::env::current_dir().unwrap_or_default(),
        files: BTreeMap::new(),
        typed_password: None,
    }
}

/// Decides with `resolve`, getting from outside what it asks for. Nothing is asked for twice, so this ends.
///
/// # Errors
/// How the program has to end.
pub fn resolved<T>(
    inherited: &Inherited,
    resolve: impl Fn(&Inherited) -> Result<T, Unresolved>,
) -> Result<T, Outcome> {
    let mut inherited = inherited.clone();
    loop {
        match resolve(&inherited) {
            Ok(resolved) => return Ok(resolved),
            Err(Unresolved::Refused(outcome)) => return Err(outcome),
            Err(Unresolved::Needs(Need::File(path))) => {
                let state = read(&path);
                inherited.files.insert(path, state);
            }
            Err(Unresolved::Needs(Need::Password(user))) => {
                inherited.typed_password = Some(prompt::password(&user));
            }
        }
    }
}

/// The same for a caller that must not ask anybody anything.
///
/// # Errors
/// How the program has to end.
pub fn resolved_silently<T>(
    inherited: &Inherited,
    resolve: impl Fn(&Inherited) -> Result<T, Unresolved>,
) -> Result<T, Outcome> {
    let mut inherited = inherited.clone();
    inherited.typed_password = Some(Err(NotTyped::NoTerminal));
    resolved(&inherited, resolve)
}

fn read(path: &Path) -> FileState {
    use std::io::ErrorKind;
    match content(path, PIPE_PATIENCE) {
        Ok(state) => state,
        // A folder that is a file holds no other file.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            FileState::Absent
        }
        Err(error) => FileState::Unreadable(crate::ui::system_error(&error)),
    }
}

/// A pipe may have nobody at its other end, or somebody who writes nothing: neither may keep cron's job from ever
/// ending. No thread reads it: processes are made later, while there is one thread.
fn content(path: &Path, patience: Duration) -> std::io::Result<FileState> {
    let mut file = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(FileState::Folder);
    }
    let give_up_at = clock::now() + patience;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    // /dev/zero ends here too.
    while bytes.len() as u64 <= FILE_BYTES_MAX {
        if !is_readable_by(&file, give_up_at)? {
            let late = format!("nothing came out of it within {patience:?}");
            return Ok(FileState::Unreadable(late));
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Ok(FileState::TooBig);
    }
    let access = metadata.is_file().then(|| Access {
        mode: metadata.mode(),
        uid: metadata.uid(),
    });
    Ok(FileState::Read(Content {
        bytes: Secret::new(bytes),
        access,
    }))
}

/// Waits until a read gives something or the end. A pipe that nobody has opened to write gives neither (fifo(7)).
fn is_readable_by(file: &std::fs::File, give_up_at: clock::Instant) -> std::io::Result<bool> {
    let left = give_up_at.since(clock::now());
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    Ok(poll(&mut fds, left)? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_file_is_told_from_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("written");
        let FileState::Read(content) = read(&file) else {
            panic!("it can be read");
        };
        assert_eq!(content.bytes.reveal(), b"x");
        assert_eq!(content.access.expect("a regular file").mode & 0o400, 0o400);
        assert_eq!(read(folder.path()), FileState::Folder);
        assert_eq!(read(&folder.path().join("none")), FileState::Absent);
        assert_eq!(read(&file.join("below")), FileState::Absent);
        assert_eq!(read(Path::new("/dev/zero")), FileState::TooBig);
        let FileState::Read(nothing) = read(Path::new("/dev/null")) else {
            panic!("it can be read");
        };
        assert_eq!(nothing.access, None, "who may read a device says nothing");
    }

    #[test]
    fn a_pipe_is_read_to_its_end_but_nobody_is_waited_for_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = |name: &str| {
            let pipe = folder.path().join(name);
            let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
            nix::unistd::mkfifo(&pipe, mode).expect("made");
            pipe
        };
        let late = content(&pipe("nobodys"), Duration::from_millis(50)).expect("an answer");
        assert_eq!(
            late,
            FileState::Unreadable("nothing came out of it within 50ms".to_owned())
        );
        let pipe = pipe("somebodys");
        let path = pipe.clone();
        let writer = std::thread::spawn(move || std::fs::write(path, "x"));
        let FileState::Read(content) = read(&pipe) else {
            panic!("it can be read");
        };
        writer.join().expect("it ends").expect("written");
        assert_eq!((content.bytes.reveal(), content.access), (&b"x"[..], None));
    }

    #[test]
    fn what_is_needed_is_got_and_nothing_else_is_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "x").expect("written");
        let resolve = |inherited: &Inherited| inherited.file(&path).cloned();
        let state = resolved_silently(&Inherited::default(), resolve).expect("resolved");
        assert!(matches!(state, FileState::Read(_)), "{state:?}");
    }
}
