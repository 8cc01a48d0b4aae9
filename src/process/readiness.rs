//! Waiting for a descriptor in tokio: signalfd, timerfd, pidfd, socket.
//!
//! tokio's `AsyncFd::register` is unsafe since 1.54 because it wants a promise about descriptors; this is
//! the one place that makes it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that tokio tells us about when it can be read.
#[derive(Debug)]
pub struct Readiness<T: AsFd> {
    fd: AsyncFd<Owner<T>>,
}

#[derive(Debug)]
struct Owner<T>(T);

impl<T: AsFd> AsRawFd for Owner<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl<T: AsFd + Into<OwnedFd>> Readiness<T> {
    /// Takes a non-blocking descriptor. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses to watch it.
    pub fn new(owner: T) -> io::Result<Self> {
        // SAFETY: `T: Into<OwnedFd>` owns one descriptor, which is open and the same until it is dropped or
        // converted, and it is never taken out of the `AsyncFd`.
        let fd = unsafe { AsyncFd::register_with_interest(Owner(owner), Interest::READABLE) }
            .map_err(io::Error::from)?;
        Ok(Self { fd })
    }

    /// The descriptor's owner.
    pub fn get(&self) -> &T {
        &self.fd.get_ref().0
    }

    /// Waits until `read` gives something: it returns `None` where it would block. Cancel safe.
    pub async fn read<R>(&self, mut read: impl FnMut(&T) -> Option<R>) -> io::Result<R> {
        loop {
            let mut ready = self.fd.readable().await?;
            if let Some(result) = read(self.get()) {
                return Ok(result);
            }
            ready.clear_ready();
        }
    }
}
