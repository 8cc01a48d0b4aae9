//! The processes around the command. (stub)
#![expect(unsafe_code, reason = "the only folder with unsafe code")]

pub mod readiness;
use crate::{clock::Instant, outcome::Ending, supervisor::Event};
use std::ffi::OsString;
pub struct Invocation {
    pub argv: Vec<OsString>,
    pub kill_signal: i32,
}
pub struct ManagerDeath {
    pub started: bool,
}
pub struct Manager {}
pub fn abilities() -> Vec<String> {
    vec![]
}
pub fn die_of(signal: i32) -> i32 {
    128 + signal
}
pub fn supervise(
    _: Invocation,
    manage: impl FnOnce(Manager),
    _: impl FnOnce(ManagerDeath) -> Ending,
) -> std::io::Result<Ending> {
    manage(Manager {});
    Ok(Ending::Status(0))
}
impl Manager {
    pub async fn next(&mut self) -> Event {
        std::future::pending().await
    }
    pub fn prepare(&mut self) {}
    pub fn start(&mut self, _: &[(OsString, OsString)]) {}
    pub fn publish(&mut self, _: Instant) {}
    pub fn stop(&mut self) {}
    pub fn kill(&mut self) {}
    pub fn leave(&mut self) {}
    pub fn leftovers(&self) -> Vec<String> {
        vec![]
    }
    pub fn finish(&mut self, _: Ending) {}
}
