//! Renewals that can be believed.
//!
//! A keepalive that succeeded proves nothing (a deposed leader answers it with success: seen on etcd 3.4 and
//! 3.5). It counts when a linearizable read through the same member, afterwards and in the same raft term,
//! shows our key with our create_revision and our lease: then that member's leader was still the leader after
//! it had renewed.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Error, GetOptions, KeyValue, LeaseKeepAliveStream, LeaseKeeper, ResponseHeader, Txn,
    TxnOp, TxnOpResponse,
};

use super::deadline::reached;
use super::reading::OwnKey;
use super::session::{Granted, seconds_of};
use super::transaction::Keys;
use crate::clock;
use crate::lock::token::{LeaseId, Token};
use crate::outcome::Loss;

/// The pause before a keepalive is repeated that was answered in an election.
const ELECTION_PAUSE: Duration = Duration::from_millis(20);

/// An open keepalive stream. Its replies come in the order of its requests, so a stream with a request that
/// was not answered must be dropped.
pub struct KeepAlive {
    client: Arc<Client>,
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

/// A linearizable read of our own keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRead {
    /// What stands under each of them.
    own: Vec<Option<OwnKey>>,
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
    pub async fn open(client: Arc<Client>, lease: i64) -> Result<Self, Error> {
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
        keys: &Keys,
        token: Token,
        lease: LeaseId,
    ) -> Result<Verdict, Error> {
        loop {
            let reply = self.exchange().await?;
            let read = OwnRead::of(&self.client, keys).await?;
            if let Some(verdict) = judge(&reply, &read, token, lease) {
                return Ok(verdict);
            }
            reached(clock::now() + ELECTION_PAUSE).await;
        }
    }
}

impl OwnRead {
    /// Reads what stands under our entries' keys, all at one revision.
    pub async fn of(client: &Client, keys: &Keys) -> Result<Self, Error> {
        let options = || Some(GetOptions::new().with_keys_only());
        let mut kv = client.kv_client();
        let (header, own) = if let [only] = &keys.locks[..] {
            let mut response = kv.get(only.entry.as_str(), options()).await?;
            (response.take_header(), vec![own_key(response.kvs())])
        } else {
            // A transaction that only reads is as linearizable as a read (etcd: server/etcdserver/v3_server.go).
            let gets: Vec<TxnOp> = keys
                .entries()
                .map(|key| TxnOp::get(key, options()))
                .collect();
            let mut response = kv.txn(Txn::new().and_then(gets)).await?;
            let header = response.take_header();
            let own = |answer| match answer {
                TxnOpResponse::Get(get) => own_key(get.kvs()),
                _ => None,
            };
            let answers = response.op_responses().into_iter();
            (header, answers.map(own).collect())
        };
        Ok(Self {
            own,
            revision: header.as_ref().map_or(0, ResponseHeader::revision),
            raft_term: header.as_ref().map_or(0, ResponseHeader::raft_term),
            member: header.as_ref().map_or(0, ResponseHeader::member_id),
        })
    }

    /// How what we had is ours no more, if it is not: a missing key before one that somebody put anew.
    pub fn lost(&self, token: Token, lease: LeaseId) -> Option<Lost> {
        let is_missing = |own: &Option<OwnKey>| own.is_none();
        if self.own.is_empty() || self.own.iter().any(is_missing) {
            return Some(Lost::Missing);
        }
        let mut own = self.own.iter().flatten();
        own.any(|own| !own.is(token, lease))
            .then_some(Lost::Overwritten)
    }
}

/// How a key of ours is ours no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is not there.
    Missing,
    /// It is there, but not as we put it.
    Overwritten,
}

fn own_key(kvs: &[KeyValue]) -> Option<OwnKey> {
    kvs.first().map(|kv| OwnKey {
        create_revision: kv.create_revision(),
        lease: kv.lease(),
    })
}

/// What a keepalive's reply and the read after it prove; nothing where it has to be done again.
fn judge(reply: &Reply, read: &OwnRead, token: Token, lease: LeaseId) -> Option<Verdict> {
    match read.lost(token, lease) {
        Some(Lost::Missing) if reply.granted.ttl.is_zero() => Some(Verdict::Gone(Loss::LeaseGone)),
        Some(Lost::Missing) => Some(Verdict::Gone(Loss::KeyDeleted)),
        Some(Lost::Overwritten) => Some(Verdict::Gone(Loss::KeyOverwritten)),
        None => {
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
        judged_each(ttl, terms, vec![own])
    }

    fn judged_each(ttl: i64, terms: (u64, u64), own: Vec<Option<OwnKey>>) -> Option<Verdict> {
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
            let gone = Some(Verdict::Gone(loss));
            assert_eq!(judged(ttl, (4, 5), own), gone);
            // Of several locks, one is enough.
            assert_eq!(judged_each(ttl, (4, 4), vec![Some(OWN), own]), gone);
            assert_eq!(judged_each(ttl, (4, 4), vec![own, Some(OWN)]), gone);
        }
        let kept = judged_each(30, (4, 4), vec![Some(OWN); 3]);
        assert!(matches!(kept, Some(Verdict::Renewed(_))));
        let none = judged_each(30, (4, 4), Vec::new());
        assert_eq!(none, Some(Verdict::Gone(Loss::KeyDeleted)));
    }
}
