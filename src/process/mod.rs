//! The processes around the command. (Being written.)
#![expect(unsafe_code, reason = "the only folder with unsafe code")]

pub mod readiness;
