//! What the process was given from outside, as data: variables, files, an answer from the terminal. Whoever
//! decides here asks for what it needs ([`Need`]); src/inherited.rs gets it and asks again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::secret::Secret;
use crate::outcome::Outcome;

/// What this process was given by whoever started it.
#[derive(Clone, Default)]
pub struct Inherited {
    /// The variables whose names and values are text; no other is ours.
    pub variables: BTreeMap<String, String>,
    /// The variables whose values are no text.
    pub garbled: BTreeSet<String>,
    /// The machine's name.
    pub host: String,
    /// The login name, or the uid.
    pub user: String,
    /// The effective uid.
    pub uid: u32,
    /// The pid that shell, cron or systemd know.
    pub pid: i32,
    /// Now, for people: RFC 3339.
    pub wall: String,
    /// The user's folder as the password database knows it: cron and systemd may leave HOME unset.
    pub home: Option<PathBuf>,
    /// What relative paths are relative to.
    pub folder: PathBuf,
    /// The files that were asked for so far.
    pub files: BTreeMap<PathBuf, FileState>,
    /// What was typed when the password was asked for.
    pub typed_password: Option<Result<Secret, NotTyped>>,
}

/// Variables may hold passwords, so only their names are shown.
impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inherited")
            .field("variables", &self.variables.keys())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Why no password was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTyped {
    /// There is no terminal to ask on.
    NoTerminal,
    /// This signal's key was typed in its place.
    Signal(i32),
}

/// What became of reading a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// There is none.
    Absent,
    /// It is a folder.
    Folder,
    /// It has more than [`FILE_BYTES_MAX`].
    TooBig,
    /// The system refuses, with this reason.
    Unreadable(String),
    /// Here it is.
    Read(Content),
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// All of it; it may be a secret.
    pub bytes: Secret,
    /// Who may read it; none for pipes and devices.
    pub access: Option<Access>,
}

/// Who owns a regular file and who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
}

/// The biggest file that is read: the system's certificate bundles have less than half of it.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Something from outside that a decision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// This file, an absolute path.
    File(PathBuf),
    /// The password of this user, asked for on the terminal.
    Password(String),
}

/// Why there is no configuration (yet).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Get this and ask again.
    Needs(Need),
    /// It is refused, with the ending of the program.
    Refused(Outcome),
}

impl From<Outcome> for Unresolved {
    fn from(outcome: Outcome) -> Self {
        Self::Refused(outcome)
    }
}

impl Inherited {
    /// A variable's value; an empty one counts as not set, as for etcdctl.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// What became of reading this file.
    ///
    /// # Errors
    /// [`Unresolved::Needs`] where nobody has read it yet.
    pub fn file(&self, path: &Path) -> Result<&FileState, Unresolved> {
        self.files
            .get(path)
            .ok_or_else(|| Unresolved::Needs(Need::File(path.to_owned())))
    }
}

impl FileState {
    /// What was read, for a file that has to be there.
    ///
    /// # Errors
    /// Why it cannot be used, to follow the file's name.
    pub fn content(&self) -> Result<&Content, String> {
        match self {
            Self::Read(content) => Ok(content),
            Self::Absent => Err("there is no such file".to_owned()),
            Self::Folder => Err("it is a folder, not a file".to_owned()),
            Self::TooBig => Err(format!(
                "it has more than {} MiB, so it is not what it should be",
                FILE_BYTES_MAX / 1024 / 1024
            )),
            Self::Unreadable(why) => Err(format!("it cannot be read: {why}")),
        }
    }
}

impl Content {
    /// The text in it, without the byte order mark that some editors put before it.
    ///
    /// # Errors
    /// Why it is none, to follow the file's name.
    pub fn text(&self) -> Result<&str, &'static str> {
        let bytes = self.bytes.reveal();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err("it is UTF-16; save it as UTF-8");
        }
        std::str::from_utf8(bytes).map_err(|_| "it is no text (not UTF-8)")
    }

    /// Whether people other than its owner can read it. As for libpq's keys, root's file may be shared with
    /// one group (0640): that is how services are given a secret that they cannot change.
    ///
    /// # Errors
    /// What to do, to follow the file's name.
    pub fn check_secrecy(&self, path: &Path) -> Result<(), String> {
        let Some(Access { mode, uid }) = self.access else {
            return Ok(());
        };
        let (tolerable, wanted) = if uid == 0 {
            (0o640, "640")
        } else {
            (0o600, "600")
        };
        // The owner's own bits are nobody else's business.
        if mode & 0o077 & !tolerable == 0 {
            return Ok(());
        }
        let path = shell_word(&path.to_string_lossy());
        Err(format!(
            "it holds a secret and others can read it (mode {:04o}); run: chmod {wanted} {path}",
            mode & 0o7777
        ))
    }
}

/// The text as one word of a POSIX shell.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if text.chars().all(plain) && !text.is_empty() {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_roots_group_may_read_a_secret() {
        let check = |mode, uid| {
            let content = Content {
                bytes: Secret::new("x"),
                access: Some(Access { mode, uid }),
            };
            content.check_secrecy(Path::new("/etc/x y"))
        };
        for (mode, uid) in [(0o600, 7), (0o400, 7), (0o700, 7), (0o640, 0), (0o440, 0)] {
            assert_eq!(check(mode, uid), Ok(()), "{mode:o} {uid}");
        }
        for (mode, uid) in [(0o644, 7), (0o640, 7), (0o604, 0), (0o660, 0), (0o610, 7)] {
            let why = check(mode, uid).expect_err("refused");
            assert!(why.contains("run: chmod 6"), "{why}");
            assert!(why.ends_with("'/etc/x y'"), "{why}");
        }
    }

    #[test]
    fn what_was_inherited_does_not_show_its_secrets() {
        let mut inherited = Inherited::default();
        let name = "LEASEHOLD_PASSWORD".to_owned();
        inherited.variables.insert(name, "s3cret".to_owned());
        let content = Content {
            bytes: Secret::new("s3cret"),
            access: None,
        };
        inherited
            .files
            .insert(PathBuf::from("/x"), FileState::Read(content));
        let shown = format!("{inherited:?}");
        assert!(
            shown.contains("LEASEHOLD_PASSWORD") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}
