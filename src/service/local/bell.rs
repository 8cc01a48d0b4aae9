//! Waking another run's manager: a FIFO that it reads. A byte in it means that it is time to look, and nothing else.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::folder::{Folder, remove};
use crate::lock::token::LeaseId;
use crate::process::readiness::Readiness;

/// The bell of this run.
#[derive(Debug)]
pub struct Bell(Readiness<OwnedFd>);

impl Bell {
    /// Hangs it up. Inside a tokio runtime.
    pub fn hang(folder: &Folder, lease: LeaseId) -> io::Result<Self> {
        let path = folder.bell(lease);
        remove(&path);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // For writing too: so it never ends, whoever comes and goes (fifo(7)).
        let fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(&path)?;
        Ok(Self(Readiness::new(fifo.into())?))
    }

    /// Waits until it was rung. Cancel safe: a ring is for whoever waits next.
    pub async fn rung(&self) {
        let rung = self.0.read(|fifo| {
            let mut file = std::fs::File::from(fifo.try_clone().ok()?);
            let mut bytes = [0; 512];
            match file.read(&mut bytes) {
                Err(error)
                    if Errno::from_raw(error.raw_os_error().unwrap_or(0)) == Errno::EAGAIN =>
                {
                    None
                }
                _ => Some(()),
            }
        });
        // An error means that the reactor is gone: then nothing waits any more either.
        let _ = rung.await;
    }
}

/// Rings somebody's. Who is dead does not hear it; who has many rings unheard needs no more of them.
pub fn ring(folder: &Folder, lease: LeaseId) {
    let bell = OpenOptions::new()
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open(folder.bell(lease));
    if let Ok(mut bell) = bell {
        let _ = bell.write_all(b"!");
    }
}
