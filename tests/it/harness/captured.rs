//! What a program writes, read by a thread while it runs: whole, and waited for without polling.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::processes::Moment;

/// One stream, read to its end.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

impl Captured {
    /// Starts reading.
    pub(crate) fn from(mut stream: impl Read + Send + 'static) -> Self {
        let captured = Self::default();
        let shared = Arc::clone(&captured.0);
        thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            loop {
                // A terminal whose last user is gone answers with an error, not with an end: pty(7).
                let count = stream.read(&mut buffer).unwrap_or(0);
                let mut state = shared.state.lock().expect("nobody panics with it");
                state.bytes.extend_from_slice(&buffer[..count]);
                state.ended = count == 0;
                shared.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        captured
    }

    /// What came so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.state().bytes).into_owned()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// Waits for the end of the stream: nobody has it open for writing any more.
    pub(crate) fn wait_end(&self, time: Duration) -> bool {
        self.wait(time, |state| state.ended.then_some(())).is_some()
    }

    /// Waits until `text` comes after the first `skip` bytes; returns the position behind it.
    pub(crate) fn wait_for(&self, text: &str, skip: usize, time: Duration) -> Option<usize> {
        let found = |state: &State| {
            let rest = state.bytes.get(skip..)?;
            let at = rest
                .windows(text.len())
                .position(|window| window == text.as_bytes())?;
            Some(skip + at + text.len())
        };
        self.wait(time, found)
    }

    fn wait<T>(&self, time: Duration, found: impl Fn(&State) -> Option<T>) -> Option<T> {
        let deadline = Moment::now() + time;
        let mut state = self.state();
        loop {
            if let Some(result) = found(&state) {
                return Some(result);
            }
            let left = deadline.since(Moment::now());
            if left.is_zero() || state.ended {
                return None;
            }
            (state, _) = self
                .0
                .changed
                .wait_timeout(state, left)
                .expect("nobody panics with it");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panics with it")
    }
}
