//! Taking the lock from whoever has it, for `leasehold break`: the same steps as with etcd (etcd/breaking.rs says why),
//! each of them one transaction.
//!
//! - Whoever has it is asked, has its TTL to answer, and then as long as the answer says.
//! - Who does not answer loses its keys, and the marker stays: successors wait the lock delay. Its manager is rung, and
//!   stops its command if it can; one that is stopped is killed by its front, at the deadline.

use std::time::Duration;

use super::desk::Desk;
use super::store::{Result as Done, Transaction};
use crate::clock;
use crate::lock::break_request::BreakRequest;
use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::service::breaking::{First, RELEASE_SLACK, REQUEST_SLACK, STEP, TTL_GUESSED};
use crate::service::deadline::reached;
use crate::service::{BreakProgress, Breaking, Broken, InspectedEntry, Revocation};
use crate::supervisor::Trouble;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whose place it is, and where the request stands.
#[derive(Clone, Debug)]
struct Target {
    entry: String,
    marker: String,
    request: String,
    token: i64,
}

/// How it stands with it.
enum Standing {
    /// The entry is gone, with its marker or without it.
    Gone { vanished: bool },
    /// The command has ended, and the lock is kept for a while.
    Kept,
    /// It is there; how soon it will have stopped, if it has answered.
    There(Option<Duration>),
}

/// Takes the lock from one that stands in the queue.
pub async fn take(
    desk: &Desk,
    prefix: &Prefix,
    wanted: &Breaking,
    found: &InspectedEntry,
    say: impl Fn(BreakProgress),
) -> Result<Broken, Trouble> {
    let id = found.key.strip_prefix(&prefix.entries(&wanted.name));
    let target = Target {
        entry: found.key.clone(),
        marker: format!("{}{}", prefix.markers(&wanted.name), id.unwrap_or_default()),
        request: prefix.break_request(&wanted.name, found.token),
        token: found.token,
    };
    let entry = match wanted.first(found) {
        First::Ask(entry) => entry,
        First::Revoke(why) => return target.revoke(desk, why).await,
        First::CannotBeAsked => return Ok(Broken::CannotBeAsked),
    };
    // Also where nobody waits for an answer: the holder can say then who it was, and why.
    let Some(ttl) = target.ask(desk, wanted).await? else {
        return Ok(Broken::Gone);
    };
    if wanted.force {
        return target.revoke(desk, Revocation::Forced).await;
    }
    say(BreakProgress::Asked(entry.who(), ttl));
    target.wait(desk, ttl, say).await
}

impl Target {
    fn is_there(&self, txn: &Transaction<'_>) -> Done<bool> {
        let found = txn.get(&self.entry)?;
        Ok(found.is_some_and(|kv| kv.create_revision == self.token))
    }

    /// Puts the request, unless the entry is gone: how long the answer may take.
    async fn ask(&self, desk: &Desk, wanted: &Breaking) -> Result<Option<Duration>, Trouble> {
        let value = wanted.request();
        let target = self.clone();
        let put = desk.ask(clock::now() + STEP, move |txn| {
            if !target.is_there(txn)? {
                return Ok(None);
            }
            let lease = txn.get(&target.entry)?.map_or(0, |kv| kv.lease);
            let ttl = txn.ttl(lease)?.unwrap_or(TTL_GUESSED);
            let on = txn.lease_for(ttl * 2 + REQUEST_SLACK)?;
            txn.put(&target.request, &value.to_json(), Some(on))?;
            Ok(Some(ttl))
        });
        put.await
    }

    async fn look(&self, desk: &Desk) -> Result<Standing, Trouble> {
        let target = self.clone();
        let looked = desk.ask(clock::now() + STEP, move |txn| {
            if !target.is_there(txn)? {
                let vanished = txn
                    .get(&target.marker)?
                    .is_some_and(|kv| kv.create_revision == target.token);
                return Ok(Standing::Gone { vanished });
            }
            let entry = txn
                .get(&target.entry)?
                .and_then(|kv| Entry::parse(&kv.value));
            if entry.is_some_and(|entry| entry.held_until.is_some()) {
                return Ok(Standing::Kept);
            }
            let request = txn.get(&target.request)?;
            Ok(Standing::There(request.and_then(|kv| {
                BreakRequest::parse(&kv.value).stops_within()
            })))
        });
        looked.await
    }

    /// Waits for the answer, and for the release.
    async fn wait(
        &self,
        desk: &Desk,
        ttl: Duration,
        say: impl Fn(BreakProgress),
    ) -> Result<Broken, Trouble> {
        let mut give_up_at = clock::now() + ttl;
        let mut answered = false;
        loop {
            let standing = self.look(desk).await?;
            let now = clock::now();
            match standing {
                Standing::Gone { vanished } => {
                    self.withdraw(desk).await?;
                    return Ok(match vanished {
                        true => Broken::Vanished,
                        false => Broken::GaveBack,
                    });
                }
                Standing::Kept => {
                    self.withdraw(desk).await?;
                    return self.revoke(desk, Revocation::Kept).await;
                }
                Standing::There(Some(within)) if !answered => {
                    answered = true;
                    // It is not believed for ever: kill-after is less than the TTL.
                    give_up_at = now + within.min(ttl) + RELEASE_SLACK;
                    say(BreakProgress::Answered(within));
                }
                Standing::There(_) if give_up_at <= now && answered => {
                    self.withdraw(desk).await?;
                    return Ok(Broken::Stays);
                }
                // The request stays, as long as its lease: a holder that wakes up later reads it.
                Standing::There(_) if give_up_at <= now => {
                    return self.revoke(desk, Revocation::Unanswered).await;
                }
                Standing::There(_) => {}
            }
            reached(give_up_at.min(now + LOOK_EVERY)).await;
        }
    }

    async fn withdraw(&self, desk: &Desk) -> Result<(), Trouble> {
        let request = self.request.clone();
        desk.ask(clock::now() + STEP, move |txn| txn.delete(&request))
            .await
    }

    /// Ends the lease that the entry hangs on, or deletes it where it has none; unless it is gone by itself.
    async fn revoke(&self, desk: &Desk, why: Revocation) -> Result<Broken, Trouble> {
        let target = self.clone();
        let revoked = desk.ask(clock::now() + STEP, move |txn| {
            if !target.is_there(txn)? {
                return Ok(None);
            }
            let lease = txn.get(&target.entry)?.map_or(0, |kv| kv.lease);
            if lease == 0 {
                txn.delete(&target.entry)?;
                return Ok(Some(Vec::new()));
            }
            let mut with_it = txn.end(lease)?;
            with_it.retain(|key| *key != target.entry && *key != target.marker);
            Ok(Some(with_it))
        });
        Ok(match revoked.await? {
            Some(with_it) => Broken::Revoked(why, with_it),
            None => Broken::Gone,
        })
    }
}
