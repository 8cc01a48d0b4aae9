//! The domain: what a lock is, who is admitted, when a lease may be believed. Pure: nothing here awaits,
//! reads a clock, prints, or touches a file, socket or process.

// What the user names.
pub mod name;
// Where it stands in the store.
pub mod key;
// What a contender says about itself there.
pub mod entry;
// What is done once, and who did it.
pub mod once;
// How the last run under it ended.
pub mod last_run;
// What happened under it.
pub mod chronicle;
// And as people tell of it.
pub mod retold;
// Who wants it free, and what the holder answers.
pub mod break_request;
// Who may run.
pub mod admission;
// Whom a newer waiter replaces.
pub mod latest;
// How many may hold it together.
pub mod limit;
// How long the lock may be believed.
pub mod lease;
// The numbers a resource checks.
pub mod token;
// All of them in one string.
pub mod sequencer;
// What a resource that is a machine or a folder remembers of them.
pub mod ratchet;
// And who runs for it.
pub mod runner;
// What has to hold whatever is parsed here.
#[cfg(test)]
mod properties;
