//! A state file can hold anything. What is believed is exactly what we would have written.
#![no_main]

#[path = "../../src/clock.rs"]
#[allow(dead_code)]
mod clock;
#[path = "../../src/lock/mod.rs"]
#[allow(dead_code)]
mod lock;
#[allow(dead_code)]
#[path = "."]
mod process {
    #[path = "../../src/process/readiness.rs"]
    pub mod readiness;
}

use libfuzzer_sys::fuzz_target;
use lock::ratchet::Seen;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(seen) = Seen::parse(bytes) {
        assert_eq!(seen.to_line().as_bytes(), bytes);
    }
});
