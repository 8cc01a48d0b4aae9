//! Renewals that can be believed.
//!
//! A keepalive that succeeded proves nothing (a deposed leader answers it with success: seen on etcd 3.4 and
//! 3.5). It counts when a linearizable read through the same member, afterwards and in the same raft term,
//! shows our key with our create_revision and our lease: then that member's leader was still the leader after
//! it had renewed.

use std::time::Duration;

use etcd_client::{Client, Error, GetOptions, LeaseKeepAliveStream, LeaseKeeper};

use super::deadline::reached;
use super::reading::OwnKey;
use super::session::{Granted, seconds_of};
use crate::clock;
use crate::lock::token::{LeaseId, Token};
use crate::outcome::Loss;

/// The pause before a keepalive is repeated that was answered in an election.
const ELECTION_PAUSE: Duration = Duration::from_millis(20);

/// An open keepalive stream. Its replies come in the order of its requests, so a stream with a request that
/// was not answered must be dropped.
pub struct KeepAlive {
    client: Client,
    keeper: LeaseKeeper,
    replies: LeaseKeepAliveStream,
}

/// One keepalive's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What it grants, if it can be believed.
    pub granted: Granted,
    /// Read by the member before it renewed.
    raft_term: u64,
    member: u64,
}

/// A linearizable read of our own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnRead {
    /// What stands under it.
    pub own: Option<OwnKey>,
    /// The store's revision of the reading.
    pub revision: i64,
    raft_term: u64,
    member: u64,
}

/// What a renewal and the read after it prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The lease was renewed, by who could.
    Renewed(Granted),
    /// Our entry is not ours any more.
    Gone(Loss),
}

impl KeepAlive {
    /// Opens a stream. etcd-client keeps the first reply for itself, without TTL and term: it counts for
    /// nothing.
    pub async fn open(client: Client, lease: i64) -> Result<Self, Error> {
        let (keeper, replies) = client.lease_client().keep_alive(lease).await?;
        Ok(Self {
            client,
            keeper,
            replies,
        })
    }

    /// Sends one keepalive and waits for its reply, which proves nothing yet.
    pub async fn exchange(&mut self) -> Result<Reply, Error> {
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
    pub async fn validated(
        &mut self,
        key: &str,
        token: Token,
        lease: LeaseId,
    ) -> Result<Verdict, Error> {
        loop {
            let reply = self.exchange().await?;
            let read = OwnRead::of(&mut self.client, key).await?;
            if let Some(verdict) = judge(&reply, &read, token, lease) {
                return Ok(verdict);
            }
            reached(clock::now() + ELECTION_PAUSE).await;
        }
    }
}

impl OwnRead {
    /// Reads what stands under our entry's key.
    pub async fn of(client: &mut Client, key: &str) -> Result<Self, Error> {
        let response = client
            .get(key, Some(GetOptions::new().with_keys_only()))
            .await?;
        Ok(Self {
            own: response.kvs().first().map(|kv| OwnKey {
                create_revision: kv.create_revision(),
                lease: kv.lease(),
            }),
            revision: response.header().map_or(0, |header| header.revision()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;

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
            revision: 20,
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
