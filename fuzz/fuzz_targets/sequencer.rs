//! A sequencer comes from another host. Whatever it says, it is refused or read as it would be written.
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
use lock::key::Prefix;
use lock::sequencer::Sequencer;

fuzz_target!(|text: &str| {
    if let Ok(sequencer) = text.parse::<Sequencer>() {
        assert!(!sequencer.names.is_empty());
        let again: Sequencer = sequencer.to_string().parse().expect("it was one");
        assert_eq!(again, sequencer);
        for key in sequencer.keys(&Prefix::default()) {
            assert!(key.starts_with("/leasehold/"));
        }
    }
});
