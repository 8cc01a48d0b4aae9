//! A request that the holder give the lock up, and its answer: what `leasehold break` puts into the store.
//!
//! The key carries the token, so a request is for one holder and no other; its lease is short, so one that nobody
//! answers is soon gone. Like an entry's value it is foreign text: bounded and made harmless where it is parsed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lock::entry::harmless;

/// The version of this format that this program writes, and the newest it understands.
const VERSION: u32 = 1;

/// A larger value is not parsed: ours have a few hundred bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Somebody wants the lock free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakRequest {
    /// The version of this format.
    pub v: u32,
    /// Who asks: `user@host`.
    pub by: String,
    /// `--reason`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When, RFC 3339, by that host's wall clock.
    pub asked: String,
    /// The holder's answer: it will have stopped within so many milliseconds of giving it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops_within_ms: Option<u64>,
}

impl BreakRequest {
    /// The version written into [`BreakRequest::v`].
    pub const VERSION: u32 = VERSION;

    /// The value to store.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }

    /// What a stored value says. One that is not understood is a request all the same: its key says whose it is.
    pub fn parse(value: &[u8]) -> Self {
        let parsed = match value.len() <= VALUE_BYTES_MAX {
            true => serde_json::from_slice::<Self>(value).ok(),
            false => None,
        };
        let mut request = parsed
            .filter(|request| request.v <= VERSION)
            .unwrap_or_else(|| Self {
                v: VERSION,
                by: "somebody unknown".to_owned(),
                reason: String::new(),
                asked: String::new(),
                stops_within_ms: None,
            });
        for text in [&mut request.by, &mut request.reason, &mut request.asked] {
            *text = harmless(text);
        }
        request
    }

    /// Who asks and why, in a few words.
    pub fn who(&self) -> String {
        match self.reason.as_str() {
            "" => self.by.clone(),
            reason => format!("{} (\"{reason}\")", self.by),
        }
    }

    /// The same with the holder's answer.
    #[must_use]
    pub fn answered(&self, within: Duration) -> Self {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        Self {
            stops_within_ms: Some(within_ms),
            ..self.clone()
        }
    }

    /// How soon after its answer the holder will have stopped, if it has answered.
    pub fn stops_within(&self) -> Option<Duration> {
        self.stops_within_ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_hostile_text_is_harmless() {
        let request = BreakRequest {
            v: 1,
            by: "ops@bastion".to_owned(),
            reason: "stuck".to_owned(),
            asked: "2026-11-22T03:00:00Z".to_owned(),
            stops_within_ms: None,
        };
        let answered = request.answered(Duration::from_secs(10));
        assert_eq!(BreakRequest::parse(&answered.to_json()), answered);
        assert_eq!(answered.stops_within(), Some(Duration::from_secs(10)));
        assert_eq!(answered.who(), "ops@bastion (\"stuck\")");
        let hostile = BreakRequest {
            by: "\u{1b}[2J".to_owned(),
            ..request
        };
        assert_eq!(BreakRequest::parse(&hostile.to_json()).by, "\\u{1b}[2J");
    }

    #[test]
    fn one_that_is_not_understood_is_a_request_all_the_same() {
        for value in [b"".as_slice(), b"{}", b"\xff", b"{\"v\":2,\"by\":\"a\"}"] {
            assert_eq!(BreakRequest::parse(value).by, "somebody unknown");
        }
    }
}
