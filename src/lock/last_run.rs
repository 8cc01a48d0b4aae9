//! How the last run under a lock ended: what `--record` keeps in etcd, one key for each lock.
//!
//! It is for people, like an entry's value: nothing is decided by it. The key's own revisions are the history.

use serde::{Deserialize, Serialize};

use crate::lock::entry::harmless;

/// The version of this format that this program writes, and the newest it understands.
const VERSION: u32 = 1;

/// A larger value is not parsed: ours have a few hundred bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The version of this format.
    pub v: u32,
    /// Its token.
    pub token: i64,
    /// The machine's host name.
    pub host: String,
    /// The login name.
    pub user: String,
    /// The command's file name, without its arguments.
    pub program: String,
    /// `--reason`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The outcome's stable name, as in the report.
    pub outcome: String,
    /// The exit status that a shell shows.
    pub status: u8,
    /// When the lock was acquired, RFC 3339, by that host's wall clock.
    pub acquired: String,
    /// When no process was left.
    pub ended: String,
    /// How long it had queued, in milliseconds.
    pub waited_ms: u64,
    /// How long it had the lock.
    pub held_ms: u64,
}

impl LastRun {
    /// The version written into [`LastRun::v`].
    pub const VERSION: u32 = VERSION;

    /// The value to store.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }

    /// What a stored value says; nothing where it is not ours, or not of a version we understand.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let mut run: Self = serde_json::from_slice(value).ok()?;
        let texts = [
            &mut run.host,
            &mut run.user,
            &mut run.program,
            &mut run.reason,
            &mut run.outcome,
            &mut run.acquired,
            &mut run.ended,
        ];
        for text in texts {
            *text = harmless(text);
        }
        (run.v <= VERSION).then_some(run)
    }
}
