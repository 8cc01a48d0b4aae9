//! What this process was given by whoever started it: read once, at the start.

use std::collections::BTreeMap;

use nix::unistd::{User, gethostname, getpid, getuid};

use crate::clock;
use crate::config::Inherited;

/// Reads variables, host, user and pid.
pub fn inherited() -> Inherited {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let variables: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
    let uid = getuid();
    // Without an entry in the password database, as in many containers, the number has to do.
    let user = User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name);
    Inherited {
        variables,
        host: gethostname().map_or_else(
            |_| "unknown".to_owned(),
            |host| host.to_string_lossy().into_owned(),
        ),
        user,
        pid: getpid().as_raw(),
        wall: clock::wall().to_string(),
    }
}
