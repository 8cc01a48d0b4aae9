//! Taking the lock from whoever has it, for `leasehold break`.
//!
//! - The one with this token is asked, and nobody else: the request carries the token and is put only while the
//!   entry is there. It hangs on a lease of its own that outlives the longest answer, and goes with it.
//! - Who answers stops by himself, and gives the lock back when nothing of his command is left. That is the way
//!   without a risk, so it is waited for: the TTL for an answer, then as long as the answer says.
//! - Who is dead, frozen or cut off does not renew either: mostly his lease ends before the time for his answer is
//!   over. That is no answer: his marker stays behind, and his command may run on until his machine notices.
//! - Who does not answer loses his lease. A leasehold that is frozen or cut off kills its command when its own clock
//!   says so, or when it finds its key gone; its marker stays, so leasehold's successors wait the lock delay. The
//!   command of an etcdctl runs on, so its entry is not touched unless that is asked for in so many words.
//! - An entry that `--hold-min` keeps has no command any more: its lease is ended at once.

use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, LeaseTimeToLiveOptions, PutOptions, Txn, TxnOp,
    TxnOpResponse,
};

use super::cluster::Cluster;
use super::lease;
use super::session::seconds_of;
use super::trouble::{Failure, Sign};
use super::watch::{Others, Watch};
use crate::clock;
use crate::lock::break_request::BreakRequest;
use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::token::LeaseId;
use crate::service::breaking::{First, RELEASE_SLACK, REQUEST_SLACK, STEP, TTL_GUESSED};
use crate::service::{BreakProgress, Breaking, Broken, InspectedEntry, Revocation};

/// How often it is looked without a hint.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the lease of an entry is ended that gets another one meanwhile.
const REVOKED_MAX: usize = 5;

/// Takes the lock from one that stands in the queue.
pub async fn take(
    cluster: &Cluster,
    prefix: &Prefix,
    wanted: &Breaking,
    target: &InspectedEntry,
    say: impl Fn(BreakProgress),
) -> Result<Broken, Failure> {
    let place = Place::of(prefix, &wanted.name, target);
    let entry = match wanted.first(target) {
        First::Ask(entry) => entry,
        First::Revoke(why) => return place.revoke(cluster, why).await,
        First::CannotBeAsked => return Ok(Broken::CannotBeAsked),
    };
    if target.lease.is_none() && !wanted.force {
        return Ok(Broken::CannotBeAsked);
    }
    let ttl = granted_ttl(cluster, target.lease).await?;
    // Also where nobody waits for an answer: the holder can say then who it was, and why.
    let Some(request) = Request::put(cluster, prefix, wanted, &place, ttl).await? else {
        return Ok(Broken::Gone);
    };
    if wanted.force {
        return place.revoke(cluster, Revocation::Forced).await;
    }
    say(BreakProgress::Asked(entry.who(), ttl));
    let waited = request.wait(cluster, &place, ttl, &say).await;
    if let Ok(Waited::Unanswered) = waited {
        // The request stays, as long as its lease: a holder that wakes up later reads it.
        return place.revoke(cluster, Revocation::Unanswered).await;
    }
    request.withdraw(cluster).await;
    match waited? {
        Waited::GaveBack => Ok(Broken::GaveBack),
        Waited::Kept => place.revoke(cluster, Revocation::Kept).await,
        Waited::Stays => Ok(Broken::Stays),
        Waited::Vanished | Waited::Unanswered => Ok(Broken::Vanished),
    }
}

async fn granted_ttl(cluster: &Cluster, lease: Option<i64>) -> Result<Duration, Failure> {
    let Some(lease) = lease else {
        return Ok(TTL_GUESSED);
    };
    let asked = cluster
        .call(clock::now() + STEP, |client| async move {
            client.lease_client().time_to_live(lease, None).await
        })
        .await?;
    Ok(seconds_of(asked.granted_ttl().max(1)))
}

/// What came of the waiting.
enum Waited {
    /// The entry went together with its marker.
    GaveBack,
    /// The entry went, and its marker stays.
    Vanished,
    /// The command has ended, and the lock is kept for a while.
    Kept,
    /// It answered, and the entry is still there.
    Stays,
    /// Nothing happened.
    Unanswered,
}

/// Whose place it is.
struct Place {
    entry: String,
    marker: Option<String>,
    token: i64,
}

/// How it stands with it.
struct Standing {
    revision: i64,
    /// The entry, where it is still the same: its lease, and what it says.
    entry: Option<(i64, Option<Entry>)>,
    has_marker: bool,
    answer: Option<Duration>,
}

impl Place {
    fn of(prefix: &Prefix, name: &LockName, target: &InspectedEntry) -> Self {
        let id = target.key.strip_prefix(&prefix.entries(name));
        Self {
            entry: target.key.clone(),
            marker: id.map(|id| format!("{}{id}", prefix.markers(name))),
            token: target.token,
        }
    }

    fn is_there(&self) -> Compare {
        Compare::create_revision(self.entry.as_str(), CompareOp::Equal, self.token)
    }

    /// One linearizable reading; of the request with this key, if there is one.
    async fn look(&self, cluster: &Cluster, request: Option<&str>) -> Result<Standing, Failure> {
        let marker = self.marker.as_deref().unwrap_or(&self.entry);
        let keys_only = GetOptions::new().with_keys_only();
        let txn = Txn::new().and_then([
            TxnOp::get(self.entry.as_str(), None),
            TxnOp::get(marker, Some(keys_only)),
            TxnOp::get(request.unwrap_or(&self.entry), None),
        ]);
        let response = cluster.transact(&txn, clock::now() + STEP).await?;
        let revision = response.header().map_or(0, |header| header.revision());
        let reads = response.op_responses().into_iter();
        let mut found = reads.map(|read| match read {
            TxnOpResponse::Get(mut get) => get.take_kvs().pop(),
            _ => None,
        });
        let is_its = |kv: &KeyValue| kv.create_revision() == self.token;
        let entry = found.next().flatten().filter(is_its);
        let marker = found.next().flatten().filter(is_its);
        let answer = found.next().flatten().filter(|_| request.is_some());
        Ok(Standing {
            revision,
            entry: entry.map(|kv| (kv.lease(), Entry::parse(kv.value()))),
            has_marker: marker.is_some(),
            answer: answer.and_then(|kv| BreakRequest::parse(kv.value()).stops_within()),
        })
    }

    /// Ends the lease that the entry hangs on by now, or deletes it where it has none; unless it is gone by itself.
    ///
    /// A lease cannot be revoked on a condition, so the entry is looked at in the moment before and after: by
    /// `--hold-min` it may have got another one.
    async fn revoke(&self, cluster: &Cluster, why: Revocation) -> Result<Broken, Failure> {
        let mut with_it = None;
        for _ in 0..REVOKED_MAX {
            let Some((lease, entry)) = self.look(cluster, None).await?.entry else {
                return Ok(match with_it {
                    Some(with_it) => Broken::Revoked(why, with_it),
                    None => Broken::Gone,
                });
            };
            if lease == 0 {
                let txn = Txn::new()
                    .when([self.is_there()])
                    .and_then([TxnOp::delete(self.entry.as_str(), None)]);
                cluster.transact(&txn, clock::now() + STEP).await?;
                with_it = Some(Vec::new());
                continue;
            }
            let others = self.others_on(cluster, lease, entry.as_ref()).await;
            let revoked = cluster
                .call(clock::now() + STEP, |client| async move {
                    client.lease_client().revoke(lease).await.map(|_| ())
                })
                .await;
            match revoked {
                // It ran out in that moment, or an earlier attempt was carried out.
                Err(failure) if failure.sign != Sign::LeaseNotFound => return Err(failure),
                _ => with_it = Some(others),
            }
        }
        Ok(Broken::Stays)
    }

    /// What else goes with a lease: the other locks of the run (`--also`), and whatever a program hung on it.
    async fn others_on(&self, cluster: &Cluster, lease: i64, entry: Option<&Entry>) -> Vec<String> {
        let attached = cluster
            .call(clock::now() + STEP, |client| async move {
                let options = LeaseTimeToLiveOptions::new().with_keys();
                let mut leases = client.lease_client();
                let answer = leases.time_to_live(lease, Some(options)).await?;
                let keys = answer.keys().iter();
                Ok(keys
                    .map(|key| String::from_utf8_lossy(key).into_owned())
                    .collect::<Vec<String>>())
            })
            .await;
        match attached {
            Ok(mut keys) => {
                keys.retain(|key| *key != self.entry && Some(key) != self.marker.as_ref());
                keys.sort();
                keys
            }
            // For people only: what the entry says of itself has to do.
            Err(_) => entry.map(|entry| entry.locks.clone()).unwrap_or_default(),
        }
    }
}

/// A request that stands in the store.
struct Request {
    key: String,
    lease: LeaseId,
}

impl Request {
    /// Puts it, unless the entry is gone.
    async fn put(
        cluster: &Cluster,
        prefix: &Prefix,
        wanted: &Breaking,
        place: &Place,
        ttl: Duration,
    ) -> Result<Option<Self>, Failure> {
        // An answer may come at the end of the TTL, and give the longest grace, which is less than a TTL.
        let lives = ttl * 2 + REQUEST_SLACK;
        let lease = lease::grant_new(cluster, lives, clock::now() + STEP).await?;
        let key = prefix.break_request(&wanted.name, place.token);
        let value = wanted.request();
        let leased = PutOptions::new().with_lease(lease.get());
        let txn = Txn::new().when([place.is_there()]).and_then([TxnOp::put(
            key.as_str(),
            value.to_json(),
            Some(leased),
        )]);
        let put = cluster.transact(&txn, clock::now() + STEP).await;
        let request = Self { key, lease };
        match put {
            Ok(answer) if answer.succeeded() => Ok(Some(request)),
            Ok(_) => {
                request.withdraw(cluster).await;
                Ok(None)
            }
            Err(failure) => {
                request.withdraw(cluster).await;
                Err(failure)
            }
        }
    }

    /// Waits for the answer, and for the release.
    async fn wait(
        &self,
        cluster: &Cluster,
        place: &Place,
        ttl: Duration,
        say: &impl Fn(BreakProgress),
    ) -> Result<Waited, Failure> {
        let mut give_up_at = clock::now() + ttl;
        let mut answered = false;
        let mut watch: Option<Watch> = None;
        loop {
            let standing = place.look(cluster, Some(&self.key)).await?;
            match &standing.entry {
                None if standing.has_marker => return Ok(Waited::Vanished),
                None => return Ok(Waited::GaveBack),
                Some((_, Some(entry))) if entry.held_until.is_some() => return Ok(Waited::Kept),
                Some(_) => {}
            }
            let now = clock::now();
            if let (false, Some(within)) = (answered, standing.answer) {
                answered = true;
                // It is not believed for ever: kill-after is less than the TTL.
                give_up_at = now + within.min(ttl) + RELEASE_SLACK;
                say(BreakProgress::Answered(within));
            }
            if give_up_at <= now {
                return Ok(match answered {
                    true => Waited::Stays,
                    false => Waited::Unanswered,
                });
            }
            let wake_at = give_up_at.min(now + LOOK_EVERY);
            if !watch.as_ref().is_some_and(|open| open.is_trusted(cluster)) {
                let keys = vec![self.key.as_str(), place.entry.as_str()];
                let others = Others::default();
                let from = standing.revision;
                let opened = Watch::open(cluster, keys, &others, from, wake_at).await;
                watch = opened.ok();
            }
            match &mut watch {
                Some(open) => {
                    open.hint(cluster, wake_at).await;
                }
                None => super::deadline::reached(wake_at).await,
            }
        }
    }

    /// Takes it back, with its lease.
    async fn withdraw(&self, cluster: &Cluster) {
        lease::revoke_unused(cluster, self.lease, clock::now() + STEP).await;
    }
}
