//! See src/lock/properties.rs.
#![no_main]

#[path = "../../src/clock.rs"]
#[allow(dead_code)]
mod clock;
#[path = "../../src/lock/mod.rs"]
#[allow(dead_code)]
mod lock;
#[path = "../../src/lock/properties.rs"]
#[allow(dead_code)]
mod properties;
#[allow(dead_code)]
#[path = "."]
mod process {
    #[path = "../../src/process/readiness.rs"]
    pub mod readiness;
}

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| properties::runner_line(bytes));
