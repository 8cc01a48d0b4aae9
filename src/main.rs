//! leasehold (being laid out).
#![expect(dead_code, unused_imports, reason = "the skeleton is being filled")]

mod clock;
mod lock;
mod outcome;
mod process;
mod service;
mod supervisor;

fn main() {}
