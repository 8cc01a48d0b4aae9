//! Notices at once that somebody takes the folder away from its holder: renames or removes it, or the store in it, or
//! unmounts what it is on. Whoever comes next would make another store in its place, and find nobody in it.
//!
//! The watch is never closed: that waits for the kernel to have nobody look at it any more, 6 ms, and the manager, which
//! makes one in its life, is about to end.
//!
//! It is a hint, and the look that follows says what is so. What happens to a folder further up is not seen here, nor
//! anything where no more watches are to be had (`fs.inotify.max_user_instances`): then the holder's next look finds it.

use std::mem::ManuallyDrop;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::folder::Folder;
use crate::process::readiness::Readiness;

/// The watch over a folder, where there is one.
pub struct Removal(Option<ManuallyDrop<Readiness<Inotify>>>);

impl Removal {
    /// Begins to watch. Inside a tokio runtime.
    pub fn of(folder: &Folder) -> Self {
        let begun = || {
            let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
            let watch = Inotify::init(flags)?;
            let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
            // That it is unmounted is told anyway (inotify(7), IN_UNMOUNT).
            watch.add_watch(&folder.path, gone | AddWatchFlags::IN_ONLYDIR)?;
            watch.add_watch(&folder.store(), gone | AddWatchFlags::IN_ATTRIB)?;
            Readiness::new(watch).map(ManuallyDrop::new)
        };
        Self(begun().ok())
    }

    /// Waits until something of the kind happens. Cancel safe.
    pub async fn noticed(&self) {
        if let Some(watch) = &self.0
            && let Ok(Ok(())) = watch.read(events).await
        {
            return;
        }
        // Nobody tells: the next look has to find it.
        std::future::pending().await
    }
}

/// Takes what happened out of the queue: nothing where nothing did.
fn events(watch: &Inotify) -> Option<Result<(), Errno>> {
    match watch.read_events() {
        Err(Errno::EAGAIN | Errno::EINTR) => None,
        read => Some(read.map(drop)),
    }
}
