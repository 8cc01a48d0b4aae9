//! One attempt at the lock: a lease of our own with the two keys that go with it. Grants, renews, revokes.
//!
//! - A lease counts from when the request was *sent*: the instant is taken in the moment before.
//! - A keepalive that succeeded proves nothing (a deposed leader answers it with success: seen on etcd 3.4
//!   and 3.5). It counts when a linearizable read through the same member, afterwards and in the same raft
//!   term, shows our key with our create_revision and our lease: then that member's leader was still the
//!   leader after it had renewed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{
    Client, Error, GetOptions, LeaseGrantOptions, LeaseKeepAliveStream, LeaseKeeper,
};

use super::cluster::Cluster;
use super::deadline::reached;
use super::transaction::{Keys, OwnKey};
use super::trouble::{Failure, Sign};
use crate::clock::{self, Instant};
use crate::lock::token::{LeaseId, Token};
use crate::outcome::Loss;
use crate::service::Wanted;

/// The pause before a keepalive is repeated that was answered in an election.
const ELECTION_PAUSE: Duration = Duration::from_millis(20);

/// One attempt at the lock.
pub struct Session {
    /// Chosen by us, so that a grant whose answer was lost can be found again.
    pub lease: LeaseId,
    /// The entry and the marker.
    pub keys: Keys,
    stage: Mutex<Stage>,
    stream: Mutex<Option<KeepAlive>>,
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
    /// At most the lease.
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

impl Session {
    /// A session with a lease id that nobody else has.
    pub fn new(wanted: &Wanted) -> Result<Self, Failure> {
        let bits = getrandom::u64().map_err(|error| {
            Failure::refused(format!("the system gives no random numbers: {error}"))
        })?;
        let lease = LeaseId::from_random(bits);
        Ok(Self {
            lease,
            keys: Keys::new(&wanted.prefix, &wanted.name, lease),
            stage: Mutex::new(Stage::Untouched),
            stream: Mutex::new(None),
        })
    }

    /// What of it may be in the store.
    pub fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what may be in the store from now on.
    pub fn set_stage(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Gets the lease. A grant whose answer was lost is found again and renewed, so that it counts from then.
    pub async fn grant(
        &self,
        cluster: &Cluster,
        ttl: Duration,
        give_up_at: Instant,
    ) -> Result<Granted, Failure> {
        let id = self.lease.get();
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let granted = cluster
            .call(give_up_at, |client| async move {
                let options = LeaseGrantOptions::new().with_id(id);
                let sent_at = clock::now();
                let response = client.lease_client().grant(seconds, Some(options)).await?;
                let ttl = seconds_of(response.ttl());
                Ok(Granted { sent_at, ttl })
            })
            .await;
        match granted {
            Err(failure) if failure.sign == Sign::LeaseExists => {
                cluster
                    .call(give_up_at, |client| async move {
                        let reply = KeepAlive::open(client, id).await?.exchange().await?;
                        Ok(reply.granted)
                    })
                    .await
            }
            granted => granted,
        }
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
                match self.loss(cluster, token, give_up_at).await? {
                    Some(_) => Err(NotRenewed::Gone(Loss::LeaseGone)),
                    None => Err(NotRenewed::Failed(failure)),
                }
            }
            result => result,
        }
    }

    async fn renew_once(
        &self,
        cluster: &Cluster,
        token: Token,
        give_up_at: Instant,
    ) -> Result<Granted, NotRenewed> {
        let kept = self.take_stream();
        if let Some(mut stream) = kept {
            let exchange = stream.validated(self, token);
            match cluster.member()?.bounded(give_up_at, exchange).await {
                Ok(verdict) => return self.conclude(stream, verdict),
                // The member was restarted or the connection cut: a new one may be had at once.
                Err(failure) if failure.may_pass() && !failure.silent => {}
                Err(failure) => {
                    cluster.prefer_next();
                    return Err(failure.into());
                }
            }
        }
        let id = self.lease.get();
        let opened = cluster
            .member()?
            .call(give_up_at, |client| async move {
                let mut stream = KeepAlive::open(client, id).await?;
                let verdict = stream.validated(self, token).await?;
                Ok((stream, verdict))
            })
            .await;
        match opened {
            Ok((stream, verdict)) => self.conclude(stream, verdict),
            Err(failure) => {
                cluster.prefer_next();
                Err(failure.into())
            }
        }
    }

    fn conclude(&self, stream: KeepAlive, verdict: Verdict) -> Result<Granted, NotRenewed> {
        match verdict {
            Verdict::Renewed(granted) => {
                *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
                Ok(granted)
            }
            Verdict::Gone(loss) => Err(NotRenewed::Gone(loss)),
        }
    }

    fn take_stream(&self) -> Option<KeepAlive> {
        self.stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Reads linearizably whether our entry is still ours; what became of it, if it is not.
    pub async fn loss(
        &self,
        cluster: &Cluster,
        token: Token,
        give_up_at: Instant,
    ) -> Result<Option<Loss>, Failure> {
        let key = self.keys.entry.as_str();
        let own = cluster
            .call(give_up_at, |mut client| async move {
                Ok(OwnRead::of(&mut client, key).await?.own)
            })
            .await?;
        match own {
            Some(own) if own.is(token, self.lease) => Ok(None),
            Some(_) => Ok(Some(Loss::KeyOverwritten)),
            None => Ok(Some(self.loss_of_missing_key(cluster, give_up_at).await)),
        }
    }

    /// Our key is gone; whether with the lease or without is only a matter of words.
    pub async fn loss_of_missing_key(&self, cluster: &Cluster, give_up_at: Instant) -> Loss {
        let id = self.lease.get();
        let remaining = cluster
            .call(give_up_at, |client| async move {
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

/// An open keepalive stream. Its replies come in the order of its requests, so a stream with a request that
/// was not answered must be dropped.
struct KeepAlive {
    client: Client,
    keeper: LeaseKeeper,
    replies: LeaseKeepAliveStream,
}

/// One keepalive's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reply {
    granted: Granted,
    /// Read by the member before it renewed.
    raft_term: u64,
    member: u64,
}

/// A linearizable read of our own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OwnRead {
    own: Option<OwnKey>,
    raft_term: u64,
    member: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Renewed(Granted),
    Gone(Loss),
}

impl KeepAlive {
    /// Opens a stream. etcd-client keeps the first reply for itself, without TTL and term: it counts for
    /// nothing.
    async fn open(client: Client, lease: i64) -> Result<Self, Error> {
        let (keeper, replies) = client.lease_client().keep_alive(lease).await?;
        Ok(Self {
            client,
            keeper,
            replies,
        })
    }

    async fn exchange(&mut self) -> Result<Reply, Error> {
        let sent_at = clock::now();
        self.keeper.keep_alive().await?;
        let Some(reply) = self.replies.message().await? else {
            let text = "the member ended the keepalive stream";
            return Err(Error::LeaseKeepAliveError(text.to_owned()));
        };
        let ttl = seconds_of(reply.ttl());
        Ok(Reply {
            granted: Granted { sent_at, ttl },
            raft_term: reply.header().map_or(0, |header| header.raft_term()),
            member: reply.header().map_or(0, |header| header.member_id()),
        })
    }

    /// Renews until one renewal can be believed, or cannot be any more. The caller bounds it.
    async fn validated(&mut self, session: &Session, token: Token) -> Result<Verdict, Error> {
        loop {
            let reply = self.exchange().await?;
            let read = OwnRead::of(&mut self.client, &session.keys.entry).await?;
            if let Some(verdict) = judge(&reply, &read, token, session.lease) {
                return Ok(verdict);
            }
            reached(clock::now() + ELECTION_PAUSE).await;
        }
    }
}

impl OwnRead {
    async fn of(client: &mut Client, key: &str) -> Result<Self, Error> {
        let response = client
            .get(key, Some(GetOptions::new().with_keys_only()))
            .await?;
        Ok(Self {
            own: response.kvs().first().map(|kv| OwnKey {
                create_revision: kv.create_revision(),
                lease: kv.lease(),
            }),
            raft_term: response.header().map_or(0, |header| header.raft_term()),
            member: response.header().map_or(0, |header| header.member_id()),
        })
    }
}

/// What a keepalive's reply and the read after it prove; nothing where it has to be done again.
fn judge(reply: &Reply, read: &OwnRead, token: Token, lease: LeaseId) -> Option<Verdict> {
    match read.own {
        None if reply.granted.ttl.is_zero() => Some(Verdict::Gone(Loss::LeaseGone)),
        None => Some(Verdict::Gone(Loss::KeyDeleted)),
        Some(own) if !own.is(token, lease) => Some(Verdict::Gone(Loss::KeyOverwritten)),
        Some(_) => {
            let same_member = reply.member == read.member && reply.raft_term == read.raft_term;
            (same_member && !reply.granted.ttl.is_zero()).then_some(Verdict::Renewed(reply.granted))
        }
    }
}

fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: OwnKey = OwnKey {
        create_revision: 9,
        lease: 0x1f,
    };

    fn judged(ttl: i64, terms: (u64, u64), own: Option<OwnKey>) -> Option<Verdict> {
        let reply = Reply {
            granted: Granted {
                sent_at: Instant::from_nanos(1),
                ttl: seconds_of(ttl),
            },
            raft_term: terms.0,
            member: 1,
        };
        let read = OwnRead {
            own,
            raft_term: terms.1,
            member: 1,
        };
        let token = Token::new(9).expect("positive");
        judge(&reply, &read, token, LeaseId::new(0x1f).expect("positive"))
    }

    #[test]
    fn a_renewal_counts_only_in_one_raft_term_with_our_key_in_place() {
        assert_eq!(
            judged(30, (4, 4), Some(OWN)),
            Some(Verdict::Renewed(Granted {
                sent_at: Instant::from_nanos(1),
                ttl: Duration::from_secs(30)
            }))
        );
        assert_eq!(judged(30, (4, 5), Some(OWN)), None, "an election between");
        assert_eq!(judged(0, (4, 4), Some(OWN)), None, "a lease being granted");
    }

    #[test]
    fn a_linearizable_read_without_our_key_is_proof_in_any_term() {
        let detached = OwnKey { lease: 0, ..OWN };
        let anew = OwnKey {
            create_revision: 10,
            ..OWN
        };
        for (ttl, own, loss) in [
            (0, None, Loss::LeaseGone),
            (30, None, Loss::KeyDeleted),
            (30, Some(detached), Loss::KeyOverwritten),
            (30, Some(anew), Loss::KeyOverwritten),
        ] {
            assert_eq!(judged(ttl, (4, 5), own), Some(Verdict::Gone(loss)));
        }
    }
}
