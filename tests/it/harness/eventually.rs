//! The only poll of the tests, and the only sleep: everything that can be read, waited for or received is.

use std::fmt::Display;
use std::thread;
use std::time::Duration;

use super::processes::Moment;

/// How long a test waits for something that should happen at once: generous, since it only matters when a
/// test fails.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Short enough not to be felt, long enough not to starve what is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` gives something and returns it.
///
/// # Panics
/// When the time is up; the message is made of `what` and the last answer of `condition`.
#[track_caller]
pub(crate) fn eventually<T, E: Display>(
    what: impl Display,
    time: Duration,
    mut condition: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Moment::now() + time;
    loop {
        match condition() {
            Ok(result) => return result,
            Err(state) if Moment::now() >= deadline => {
                panic!("{what}: not within {time:?}; last seen: {state}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Lets time pass: for tests of what happens, or does not, when a deadline goes by. Not for waiting for
/// somebody to be ready.
pub(crate) fn let_time_pass_until(moment: Moment) {
    thread::sleep(moment.since(Moment::now()));
}
