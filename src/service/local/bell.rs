//! Waking another run's manager: a FIFO that it reads. A byte in it means that it is time to look, and nothing else.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
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

    /// Waits until it was rung; for ever where it cannot be heard. Cancel safe: a ring is for whoever waits next.
    pub async fn rung(&self) {
        if let Ok(Ok(_)) = self.0.read(rings).await {
            return;
        }
        // Whoever waits here looks now and then anyway.
        std::future::pending().await
    }
}

/// Takes the rings out of the bell: nothing where there is none.
fn rings(fifo: &OwnedFd) -> Option<nix::Result<usize>> {
    let mut bytes = [0; 512];
    match nix::unistd::read(fifo, &mut bytes) {
        Err(Errno::EAGAIN | Errno::EINTR) => None,
        read => Some(read),
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::service::deadline::within;

    #[tokio::test]
    async fn a_bell_that_cannot_be_read_does_not_ring_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("no-fifo");
        // Always ready, and never to be read.
        let listener = UnixListener::bind(&path).expect("a socket");
        listener.set_nonblocking(true).expect("ours");
        let _caller = UnixStream::connect(&path).expect("a caller");
        let bell = Bell(Readiness::new(listener.into()).expect("a reactor"));
        let soon = clock::now() + Duration::from_millis(50);
        assert_eq!(within(soon, bell.rung()).await, None);
    }
}
