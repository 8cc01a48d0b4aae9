//! The folder that holds the locks of one machine, and who may use it.
//!
//! ```text
//! DIR/gate             locked by whoever reads or changes the store
//! DIR/store.db         SQLite: the keys, their revisions, what changed (store.rs)
//! DIR/leases/ID        one for each run, locked as long as its tree may live (life.rs)
//! DIR/bells/ID         one for each run: a FIFO that wakes its manager (bell.rs)
//! ```
//! Kernel locks of another machine's processes are not seen on every network file system, and some answer a lock
//! without taking it: those are refused by name, and every folder has to show that a lock of its own excludes.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{FsType, statfs};
use nix::unistd::geteuid;

use crate::lock::token::LeaseId;
use crate::supervisor::{Trouble, TroubleKind};
use crate::ui::system_error;

/// File systems of several machines (linux/magic.h, and those that are not in it): a lock taken here need not be seen
/// there, and the machine that dies takes no lock with it.
const NETWORKED: [(u32, &str); 15] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x00C3_6400, "Ceph"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x7461_636F, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x1983_0326, "BeeGFS"),
    (0x786F_4256, "vboxsf"),
    // sshfs, ceph-fuse, gluster, virtiofs: what stands behind it cannot be told.
    (0x6573_5546, "FUSE"),
];

/// Where the locks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Absolute.
    pub path: PathBuf,
}

impl Folder {
    /// Makes it where it is missing, and looks whether kernel locks work in it.
    ///
    /// # Errors
    /// What is in the way, with the sentence for the user.
    pub fn enter(&self) -> Result<(), Trouble> {
        self.make(&self.path)?;
        self.refuse_foreign()?;
        self.refuse_networked()?;
        for path in [&self.leases(), &self.bells()] {
            self.make(path)?;
        }
        self.try_a_lock()
    }

    fn make(&self, path: &Path) -> Result<(), Trouble> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| self.trouble("cannot be made", &error))
    }

    /// What is made in it belongs to whoever makes it and is for nobody else: root's files would be in the way of its owner.
    fn refuse_foreign(&self) -> Result<(), Trouble> {
        let found = fs::metadata(&self.path);
        let owner = found
            .map_err(|error| self.trouble("cannot be looked at", &error))?
            .uid();
        let user = geteuid().as_raw();
        if owner == user {
            return Ok(());
        }
        Err(Trouble {
            // Somebody else has to run it, as where the kernel does not let us in.
            kind: TroubleKind::Denied,
            detail: format!(
                "the lock folder {} belongs to the user with the id {owner}, and this is {user}; give a folder of this user's with --local=DIR, or run as its owner",
                self.shown()
            ),
        })
    }

    /// The file whose lock is held for each reading and change of the store.
    pub fn gate(&self) -> PathBuf {
        self.path.join("gate")
    }

    /// The database.
    pub fn store(&self) -> PathBuf {
        self.path.join("store.db")
    }

    /// Where the lives are.
    pub fn leases(&self) -> PathBuf {
        self.path.join("leases")
    }

    /// Where the bells are.
    pub fn bells(&self) -> PathBuf {
        self.path.join("bells")
    }

    /// The file that is locked as long as this lease lives.
    pub fn lease(&self, lease: LeaseId) -> PathBuf {
        self.leases().join(lease.to_string())
    }

    /// The FIFO that wakes the owner of this lease.
    pub fn bell(&self, lease: LeaseId) -> PathBuf {
        self.bells().join(lease.to_string())
    }

    /// A file for a lease that is not locked yet.
    pub fn unborn_lease(&self, lease: LeaseId) -> PathBuf {
        self.leases().join(format!("{lease}.new"))
    }

    /// Whether there is no store in it any more, or no such folder.
    pub fn has_no_store(&self) -> bool {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        fs::metadata(self.store()).is_err_and(|error| absent.contains(&error.kind()))
    }

    fn refuse_networked(&self) -> Result<(), Trouble> {
        let found = statfs(&self.path);
        let found = found.map_err(|errno| self.trouble("cannot be looked at", &errno.into()))?;
        let FsType(magic) = found.filesystem_type();
        match networked(magic as u32) {
            Some(name) => Err(self.unusable(&format!(
                "is on {name}, where a lock does not end with its machine; give a folder on a disk of this machine, or use etcd"
            ))),
            None => Ok(()),
        }
    }

    /// Two descriptors of one file: the second must not get what the first has.
    fn try_a_lock(&self) -> Result<(), Trouble> {
        let path = self.path.join("trial");
        let open = || {
            let opened = open_private(&path);
            opened.map_err(|error| self.trouble("cannot be written to", &error))
        };
        let (one, other) = (open()?, open()?);
        let no_locks = |error: &io::Error| self.trouble("has no locks", error);
        match one.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(no_locks(&error)),
            // Somebody else tries it just now, and that shows it too.
            Err(TryLockError::WouldBlock) => return Ok(()),
        }
        match other.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(no_locks(&error)),
            Ok(()) => Err(self.unusable(
                "is on a file system that gives one lock to two; give a folder on a disk of this machine",
            )),
        }
    }

    /// That the folder cannot be used, and what to do.
    pub fn unusable(&self, why: &str) -> Trouble {
        Trouble {
            kind: TroubleKind::Misconfigured,
            detail: format!("the lock folder {} {why}", self.shown()),
        }
    }

    /// That the folder cannot be used just now.
    pub fn refused(&self, why: &str) -> Trouble {
        Trouble {
            kind: TroubleKind::Refused,
            detail: format!("the lock folder {} {why}", self.shown()),
        }
    }

    /// That one's turn did not come.
    pub fn busy(&self) -> Trouble {
        Trouble {
            kind: TroubleKind::Unreachable,
            detail: format!(
                "the lock folder {} is in use by another leasehold that does not go on; is one of them stopped?",
                self.shown()
            ),
        }
    }

    /// What an error in it means.
    pub fn trouble(&self, what: &str, error: &io::Error) -> Trouble {
        let kind = match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EACCES | Errno::EPERM | Errno::EROFS => TroubleKind::Denied,
            Errno::ENOTDIR | Errno::EEXIST | Errno::ELOOP | Errno::ENAMETOOLONG | Errno::EISDIR => {
                TroubleKind::Misconfigured
            }
            _ => TroubleKind::Refused,
        };
        Trouble {
            kind,
            detail: format!(
                "the lock folder {} {what}: {}",
                self.shown(),
                system_error(error)
            ),
        }
    }

    /// For people.
    pub fn shown(&self) -> std::path::Display<'_> {
        self.path.display()
    }
}

/// The name of a file system of several machines that has this number.
fn networked(magic: u32) -> Option<&'static str> {
    let known = NETWORKED.iter().find(|(number, _)| *number == magic);
    known.map(|(_, name)| *name)
}

/// Opens a file that only its owner may read, and makes it where it is missing.
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Removes a file that is of no use any more; that it stays hurts nobody.
pub fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_several_machines_are_known_by_their_number_and_those_of_one_are_not() {
        assert_eq!(networked(0x6969), Some("NFS"));
        assert_eq!(networked(0x6573_5546), Some("FUSE"));
        assert_eq!(networked(0xFF53_4D42), Some("CIFS"));
        // ext4, tmpfs, btrfs, xfs, overlayfs, zfs.
        for magic in [
            0xEF53,
            0x0102_1994,
            0x9123_683E,
            0x5846_5342,
            0x794C_7630,
            0x2FC1_2FC1,
        ] {
            assert_eq!(networked(magic), None);
        }
    }
}
