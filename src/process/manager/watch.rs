//! What M waits for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::clock::Timer;
use crate::process::kill::Killing;
use crate::process::link::{Link, Received};
use crate::process::manager::{Manager, State};
use crate::process::readiness::Readiness;
use crate::process::signals::Arrived;

/// What happened, as the descriptors tell it.
pub(super) enum Wake {
    Front(Received),
    /// Sent to us: a child has changed, or everybody got it.
    Signal(Arrived),
    Failure,
    WitnessGone,
    /// It is time for something.
    Time,
}

/// The descriptors, watched by tokio.
pub(super) struct Waits {
    front: Readiness<OwnedFd>,
    signals: Readiness<OwnedFd>,
    failure: Readiness<OwnedFd>,
    witness: Readiness<OwnedFd>,
    time: Timer,
}

impl Manager {
    pub(super) async fn wait(&mut self) -> Wake {
        if self.waits.is_none() {
            self.waits = Some(self.watch().expect("the kernel watches five descriptors"));
        }
        let round_at = self.killing.as_ref().map(Killing::round_at);
        let settle_at = self.notes.next();
        let next = [round_at, self.look_at, settle_at];
        let next = next.into_iter().flatten().min();
        let starting = matches!(self.state, State::Starting);
        let Self {
            front,
            witness,
            signals,
            failure,
            waits: Some(waits),
            ..
        } = self
        else {
            unreachable!("made above");
        };
        let next_message = || match front.as_ref().map(Link::receive) {
            None | Some(Received::Nothing) => None,
            Some(received) => Some(received),
        };
        tokio::select! {
            received = waits.front.read(|_| next_message()), if front.is_some() => {
                Wake::Front(received.unwrap_or(Received::End))
            }
            Ok(arrived) = waits.signals.read(|_| signals.next()) => Wake::Signal(arrived),
            _ = waits.failure.read(|_| is_readable(failure).then_some(())), if starting => Wake::Failure,
            _ = waits.witness.read(|fd| is_readable(fd).then_some(())), if witness.is_some() => {
                Wake::WitnessGone
            }
            () = waits.time.reached(next) => Wake::Time,
        }
    }

    fn watch(&self) -> io::Result<Waits> {
        let front = self.front.as_ref().map(Link::try_clone);
        let witness = self.witness.as_ref().map(OwnedFd::try_clone);
        let gone = || Err(io::Error::from_raw_os_error(libc::EBADF));
        Ok(Waits {
            front: Readiness::new(front.unwrap_or_else(gone)?)?,
            signals: Readiness::new(self.signals.try_clone()?)?,
            failure: Readiness::new(self.failure.as_fd().try_clone_to_owned()?)?,
            witness: Readiness::new(witness.unwrap_or_else(gone)?)?,
            time: Timer::new()?,
        })
    }
}

/// Whether a read would not wait: there is something, or the end.
fn is_readable(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    matches!(
        ppoll(
            &mut fds,
            Some(TimeSpec::from_duration(Duration::ZERO)),
            None
        ),
        Ok(1..)
    )
}
