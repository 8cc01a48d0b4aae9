//! The value of a key is another host's text: bounded and harmless right where it is parsed.
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
use lock::entry::{self, Entry, LOCK_DELAY_MAX};

fuzz_target!(|bytes: &[u8]| {
    assert!(entry::lock_delay(bytes) <= LOCK_DELAY_MAX);
    if let Some(entry) = Entry::parse(bytes) {
        for text in [&entry.host, &entry.user, &entry.program, &entry.reason] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
        assert!(Entry::parse(&entry.to_json()).is_some());
    }
});
