//! One attempt at the lock: a lease of our own with the two keys that go with it. Grants, renews, revokes.
//!
//! - A lease counts from when the request was *sent*: the instant is taken in the moment before.
//! - Renewals are validated: see `keepalive`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use etcd_client::LeaseGrantOptions;
use tokio::sync::watch;

use super::cluster::Cluster;
use super::keepalive::{KeepAlive, Lost, OwnRead, Verdict};
use super::lease;
use super::member::Member;
use super::outstanding::Outstanding;
use super::transaction::Keys;
use super::trouble::{Failure, Sign};
use crate::clock::{self, Instant};
use crate::lock::token::{LeaseId, Token};
use crate::outcome::Loss;
use crate::service::Wanted;

/// One attempt at the lock.
pub struct Session {
    /// Chosen by us, so that a grant whose answer was lost can be found again.
    pub lease: LeaseId,
    /// The entries and the markers.
    pub keys: Keys,
    /// The TTL to ask for.
    ttl: Duration,
    /// When the lease was first asked for.
    asked_at: OnceLock<Instant>,
    stage: watch::Sender<Stage>,
    /// The last renewal's, with the member that it goes through.
    stream: Mutex<Option<(usize, KeepAlive)>>,
    lost: AtomicBool,
    admitted: AtomicBool,
    /// Of the requests that make its place.
    pub outstanding: Outstanding,
}

/// What of a session may be in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was sent.
    Untouched,
    /// Requests were sent, and not all of them answered.
    Attempted,
    /// The lease and both keys.
    Placed(Token),
    /// At most the lease; and whatever comes late.
    Emptied,
}

/// A lease as the server granted or renewed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// When the request was sent.
    pub sent_at: Instant,
    /// What the server granted.
    pub ttl: Duration,
}

/// What a reading of our entry shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is ours at this revision of the store.
    Ours {
        /// The store's revision of the reading.
        revision: i64,
    },
    /// It is not any more.
    Lost(Loss),
}

/// Why a renewal did not come to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRenewed {
    /// There is proof that it never will.
    Gone(Loss),
    /// This attempt failed.
    Failed(Failure),
}

impl From<Failure> for NotRenewed {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// How long it may take to find out which word describes a loss.
const WORDING_PATIENCE: Duration = Duration::from_millis(50);

impl Session {
    /// A session with a lease id that nobody else has.
    pub fn new(wanted: &Wanted) -> Result<Self, Failure> {
        let lease = new_lease_id()?;
        Ok(Self {
            lease,
            keys: Keys::new(&wanted.prefix, wanted.names(), lease),
            ttl: wanted.ttl,
            asked_at: OnceLock::new(),
            stage: watch::Sender::new(Stage::Untouched),
            stream: Mutex::new(None),
            lost: AtomicBool::new(false),
            admitted: AtomicBool::new(false),
            outstanding: Outstanding::default(),
        })
    }

    /// What of it may be in the store.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Whether more than an empty lease of it may be in the store.
    pub fn may_hold_a_place(&self) -> bool {
        matches!(self.stage(), Stage::Attempted | Stage::Placed(_))
    }

    /// Notes what may be in the store from now on.
    pub fn set_stage(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Waits until it is known whether there is a place.
    pub async fn attempted(&self) {
        let mut stage = self.stage.subscribe();
        // It cannot be closed: its sender is ours.
        let _ = stage.wait_for(|stage| *stage != Stage::Attempted).await;
    }

    /// Whether the loss of it is news: the watch and a renewal can both find it, and it is reported once.
    pub fn is_first_loss(&self) -> bool {
        !self.lost.swap(true, Ordering::Relaxed)
    }

    /// Whether the loss of it was found.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Notes that a reading has admitted us.
    pub fn set_admitted(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }

    /// Whether a reading has admitted us: from then on nobody can take the place away.
    pub fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Gets the lease. A grant whose answer was lost is found again.
    ///
    /// It counts from the session's first request, whichever was answered. One that was sent again after the lease
    /// had run out made a new lease of the same name, while an entry that was seen meanwhile hung on the old one.
    /// And a keepalive alone proves no renewal. Validated renewals make it count anew: they read the entry.
    pub async fn grant(&self, cluster: &Cluster, give_up_at: Instant) -> Result<Granted, Failure> {
        let id = self.lease.get();
        let sent_at = *self.asked_at.get_or_init(clock::now);
        let seconds = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let granted = cluster
            .call(give_up_at, |client| async move {
                let options = LeaseGrantOptions::new().with_id(id);
                let mut leases = client.lease_client();
                let granting = leases.grant(seconds, Some(options));
                let response = self.outstanding.follow(granting).await?;
                let ttl = seconds_of(response.ttl());
                Ok(Granted { sent_at, ttl })
            })
            .await;
        match granted {
            Err(failure) if failure.sign == Sign::LeaseExists => {
                let renewed = cluster
                    .call(give_up_at, |client| async move {
                        let reply = KeepAlive::open(client, id).await?.exchange().await?;
                        Ok(reply.granted)
                    })
                    .await;
                // Only the TTL is taken from the answer. Whatever comes of it, the lease is there.
                renewed
                    .map(|renewed| Granted { sent_at, ..renewed })
                    .map_err(Failure::with_effect)
            }
            granted => granted,
        }
    }

    /// Another lease, as long as the session's, for the sign that keeps out what comes late.
    pub async fn lease_for_sign(
        &self,
        cluster: &Cluster,
        give_up_at: Instant,
    ) -> Result<LeaseId, Failure> {
        let granted = lease::grant_any(cluster, self.ttl, give_up_at).await;
        granted.map(|(lease, _)| lease)
    }

    /// Renews the lease and validates it.
    pub async fn renew(
        &self,
        cluster: &Cluster,
        token: Token,
        give_up_at: Instant,
    ) -> Result<Granted, NotRenewed> {
        match self.renew_once(cluster, token, give_up_at).await {
            Err(NotRenewed::Failed(failure)) if failure.sign == Sign::LeaseNotFound => {
                match self.check(cluster, token, give_up_at).await? {
                    Checked::Lost(_) => Err(NotRenewed::Gone(Loss::LeaseGone)),
                    Checked::Ours { .. } => Err(NotRenewed::Failed(failure)),
                }
            }
            result => result,
        }
    }

    /// Each attempt goes through one member, over its kept stream where there is one; a member that is slow to
    /// answer is overtaken by the next.
    async fn renew_once(
        &self,
        cluster: &Cluster,
        token: Token,
        give_up_at: Instant,
    ) -> Result<Granted, NotRenewed> {
        let kept = self.stream().as_ref().map(|(index, _)| *index);
        let renewed = cluster.through_any(kept, give_up_at, |index, member, ends| {
            self.renew_through(index, member, token, ends)
        });
        let (index, stream, verdict) = renewed.await?;
        match verdict {
            Verdict::Renewed(granted) => {
                *self.stream() = Some((index, stream));
                Ok(granted)
            }
            Verdict::Gone(loss) => Err(NotRenewed::Gone(loss)),
        }
    }

    async fn renew_through(
        &self,
        index: usize,
        member: &Member,
        token: Token,
        give_up_at: Instant,
    ) -> Result<(usize, KeepAlive, Verdict), Failure> {
        let keys = &self.keys;
        if let Some(mut stream) = self.take_stream_of(index) {
            let exchange = stream.validated(keys, token, self.lease);
            match member.bounded(give_up_at, exchange).await {
                Ok(verdict) => return Ok((index, stream, verdict)),
                // Nothing came back, so nothing would over the same connection.
                Err(failure) if failure.silent => {
                    member.disconnect();
                    return Err(failure);
                }
                // The member was restarted, the connection cut, the login forgotten: a new stream may do.
                Err(failure) if failure.may_pass() || failure.sign == Sign::TokenRejected => {}
                Err(failure) => return Err(failure),
            }
        }
        let id = self.lease.get();
        member
            .call(give_up_at, |client| async move {
                let mut stream = KeepAlive::open(client, id).await?;
                let verdict = stream.validated(keys, token, self.lease).await?;
                Ok((index, stream, verdict))
            })
            .await
    }

    fn stream(&self) -> MutexGuard<'_, Option<(usize, KeepAlive)>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream with a request that was not answered is of no use any more, so it is taken out while it is used.
    fn take_stream_of(&self, index: usize) -> Option<KeepAlive> {
        let mut stream = self.stream();
        let is_of_it = stream.as_ref().is_some_and(|(member, _)| *member == index);
        stream.take_if(|_| is_of_it).map(|(_, stream)| stream)
    }

    /// Reads linearizably whether our entry is still ours.
    pub async fn check(
        &self,
        cluster: &Cluster,
        token: Token,
        give_up_at: Instant,
    ) -> Result<Checked, Failure> {
        let keys = &self.keys;
        let read = cluster
            .call(give_up_at, |client| async move {
                OwnRead::of(&client, keys).await
            })
            .await?;
        Ok(match read.lost(token, self.lease) {
            None => Checked::Ours {
                revision: read.revision,
            },
            Some(Lost::Overwritten) => Checked::Lost(Loss::KeyOverwritten),
            Some(Lost::Missing) => Checked::Lost(self.loss_of_missing_key(cluster).await),
        })
    }

    /// Our key is gone; whether with the lease or without is only a matter of words, and not worth a wait: what
    /// runs under the lock lives on meanwhile.
    pub async fn loss_of_missing_key(&self, cluster: &Cluster) -> Loss {
        let id = self.lease.get();
        let remaining = cluster
            .call(clock::now() + WORDING_PATIENCE, |client| async move {
                let response = client.lease_client().time_to_live(id, None).await?;
                Ok(response.ttl())
            })
            .await;
        match remaining {
            Ok(seconds) if seconds <= 0 => Loss::LeaseGone,
            _ => Loss::KeyDeleted,
        }
    }

    /// Ends the lease, and with it whatever hangs on it.
    pub async fn revoke(&self, cluster: &Cluster, give_up_at: Instant) -> Result<(), Failure> {
        let id = self.lease.get();
        let revoked = cluster
            .call(give_up_at, |client| async move {
                client.lease_client().revoke(id).await.map(|_| ())
            })
            .await;
        match revoked {
            Err(failure) if failure.sign == Sign::LeaseNotFound => Ok(()),
            revoked => revoked,
        }
    }
}

/// A lease id that nobody else has.
pub fn new_lease_id() -> Result<LeaseId, Failure> {
    #[cfg(test)]
    if let Some(bits) = crate::simulation::kernel::random_bits() {
        return Ok(LeaseId::from_random(bits));
    }
    let bits = getrandom::u64().map_err(|error| {
        Failure::refused(format!("the system gives no random numbers: {error}"))
    })?;
    Ok(LeaseId::from_random(bits))
}

/// A TTL as etcd gives it; zero or less where there is no lease.
pub fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}
