//! The life of one run: a file whose kernel lock is held through one open file description by every process that
//! watches the command's tree. While one of them lives, or none has let it go, the run's lease lives.
//!
//! - The front makes it before it forks, so that all of them share it (flock(2): "a lock ... is associated with an open
//!   file description").
//! - It is locked before it has its name, so nobody ever sees a run that is about to live as one that is dead.
//! - Its time is its owner's last sign of life. Only for one that waits does it matter: see store.rs.
//! - Whoever waits for its end asks for a shared lock: several may wait, and none keeps the others waiting.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::mpsc::UnboundedSender;

use super::folder::{Folder, open_private, remove};
use crate::clock::{self, Instant};
use crate::lock::token::LeaseId;
use crate::supervisor::{Trouble, TroubleKind};

/// A thread that waits for a lock needs next to nothing.
const STACK: usize = 64 * 1024;

/// How often it is tried again.
const TRIES: usize = 5;

/// How many of those that ended without being buried are removed by the next one that begins.
const SWEPT_MAX: usize = 64;

/// The life of this run.
#[derive(Debug)]
pub struct Life {
    lease: LeaseId,
    lock: OwnedFd,
}

impl Life {
    /// Begins one in this folder, which is made where it is missing. Before any fork.
    ///
    /// # Errors
    /// Why the folder cannot be used.
    pub fn begin(folder: &Folder) -> Result<Self, Trouble> {
        folder.enter()?;
        sweep(folder);
        let mut tries = 0;
        loop {
            let lease = new_lease()?;
            tries += 1;
            match Self::born(folder, lease) {
                Ok(lock) => return Ok(Self { lease, lock }),
                // Swept away before it was locked, or the name is taken.
                Err(_) if tries < TRIES => {}
                Err(error) => return Err(folder.trouble("cannot be written to", &error)),
            }
        }
    }

    fn born(folder: &Folder, lease: LeaseId) -> io::Result<OwnedFd> {
        let unborn = folder.unborn_lease(lease);
        let file = open_private(&unborn)?;
        file.try_lock()?;
        set_sign(&file)?;
        let named = fs::hard_link(&unborn, folder.lease(lease));
        remove(&unborn);
        named?;
        Ok(file.into())
    }

    /// Which lease it is.
    pub const fn lease(&self) -> LeaseId {
        self.lease
    }

    /// The descriptor that has to stay open: in every process that watches the tree.
    pub fn into_fd(self) -> OwnedFd {
        self.lock
    }
}

/// An id that no other run has.
pub fn new_lease() -> Result<LeaseId, Trouble> {
    let bits = getrandom::u64().map_err(|error| Trouble {
        kind: TroubleKind::Refused,
        detail: format!("the system gives no random numbers: {error}"),
    })?;
    Ok(LeaseId::from_random(bits))
}

/// Whether the lease of a run lives.
pub fn is_alive(folder: &Folder, lease: LeaseId) -> io::Result<bool> {
    let file = match File::open(folder.lease(lease)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Gives a sign of life: those who wait have to, now and then.
pub fn sign(folder: &Folder, lease: LeaseId) -> io::Result<()> {
    set_sign(&File::open(folder.lease(lease))?)
}

/// When the owner of a lease gave its last sign of life; nothing where nobody can say.
pub fn last_sign(folder: &Folder, lease: LeaseId) -> Option<Instant> {
    let found = fs::metadata(folder.lease(lease)).and_then(|found| found.modified());
    let since_boot = found.ok()?.duration_since(UNIX_EPOCH).ok()?;
    let nanos = u64::try_from(since_boot.as_nanos()).ok()?;
    Some(Instant::from_nanos(nanos))
}

/// In the file's time stands the time since the boot, after which no lease lives on: nobody can set that clock. It costs
/// no space on the disk, and nobody waits for it.
fn set_sign(life: &File) -> io::Result<()> {
    let now = Duration::from_nanos(clock::now().as_nanos());
    life.set_modified(UNIX_EPOCH + now)
}

/// What came of waiting for the end of a lease.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Whose.
    pub lease: LeaseId,
    /// Whether it has ended: otherwise its file could not be opened or locked, and nobody can say.
    pub is_certain: bool,
}

/// Tells `ended` when the lease of a run has ended: the kernel wakes whoever waits for its lock. A thread of its own,
/// which nobody can call back; it ends with the lease or with this process.
pub fn wait_for_end(
    folder: &Folder,
    lease: LeaseId,
    ended: UnboundedSender<End>,
) -> io::Result<()> {
    let path = folder.lease(lease);
    let wait = move || {
        // Nobody listens any more when the run is over.
        let _ = ended.send(End {
            lease,
            is_certain: has_ended(&path).is_ok(),
        });
    };
    thread::Builder::new()
        .name("wait-for-end".to_owned())
        .stack_size(STACK)
        .spawn(wait)?;
    Ok(())
}

/// Waits until it has.
fn has_ended(life: &Path) -> io::Result<()> {
    let file = match File::open(life) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    loop {
        match file.lock_shared() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

/// Removes the files of runs that ended before they had a place, or in the moment of their birth.
fn sweep(folder: &Folder) {
    let Ok(files) = fs::read_dir(folder.leases()) else {
        return;
    };
    for file in files.take(SWEPT_MAX).flatten() {
        let path = file.path();
        let unlocked = File::open(&path).is_ok_and(|open| open.try_lock_shared().is_ok());
        if unlocked {
            remove(&path);
            remove(&folder.bells().join(file.file_name()));
        }
    }
}

/// Removes what an ended run left in the folder, beside the store.
pub fn bury(folder: &Folder, lease: LeaseId) {
    remove(&folder.bell(lease));
    remove(&folder.lease(lease));
}
