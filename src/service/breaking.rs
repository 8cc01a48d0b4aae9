//! Taking the lock from whoever has it, as far as it is the same in a cluster and in a folder.

use std::time::Duration;

use super::{Breaking, InspectedEntry, Revocation};
use crate::clock;
use crate::lock::break_request::BreakRequest;
use crate::lock::entry::Entry;

/// How much longer the request lives than an answer may take.
pub const REQUEST_SLACK: Duration = Duration::from_secs(30);

/// How much longer than the answer says is waited for the release.
pub const RELEASE_SLACK: Duration = Duration::from_secs(5);

/// How long one step may take.
pub const STEP: Duration = Duration::from_secs(10);

/// The TTL of what says none.
pub const TTL_GUESSED: Duration = Duration::from_secs(60);

/// What is done first with the one who is to lose it.
pub enum First<'target> {
    /// It is asked, whoever it is.
    Ask(&'target Entry),
    /// Its lease is revoked without a word.
    Revoke(Revocation),
    /// Nothing: nobody there would understand the question.
    CannotBeAsked,
}

impl Breaking {
    /// By what the one with the token says of itself.
    pub fn first<'target>(&self, target: &'target InspectedEntry) -> First<'target> {
        match &target.entry {
            Some(entry) if entry.held_until.is_some() => First::Revoke(Revocation::Kept),
            Some(entry) => First::Ask(entry),
            None if self.force => First::Revoke(Revocation::Foreign),
            None => First::CannotBeAsked,
        }
    }

    /// The question, now.
    pub fn request(&self) -> BreakRequest {
        BreakRequest {
            v: BreakRequest::VERSION,
            by: self.by.clone(),
            reason: self.reason.clone(),
            asked: clock::wall().to_string(),
            stops_within_ms: None,
        }
    }
}
