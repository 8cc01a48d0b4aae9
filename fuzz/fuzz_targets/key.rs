//! Keys below a lock can be anybody's: entries are told from the rest, and names and prefixes hold no surprises.
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
use lock::name::LockName;

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (prefix, name, key) = input;
    let Ok(prefix) = prefix.parse::<Prefix>() else {
        return;
    };
    let Ok(name) = name.parse::<LockName>() else {
        return;
    };
    let entries = prefix.entries(&name);
    if let Some(id) = Prefix::last_segment(&entries, key) {
        assert_eq!(format!("{entries}{id}").as_bytes(), key);
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
});
