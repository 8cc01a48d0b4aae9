//! Transactions that only the holder of a lock can make: guarded by the create_revision of every one of its
//! keys. Whoever lost the lock cannot write, not even before its successor did.
//!
//! A reply can be lost while the transaction is carried out, and one that was sent through a member that is
//! frozen can be carried out much later. So each write also changes a mark of the holder's own, which hangs on its
//! lease, and is guarded by the revision of the mark's last change, read before: however often it is sent, it is
//! done at most once, and once any later write of the holder is done, none of it can come any more. It is guarded
//! by the revision of its key's last change as well, so that the key's history can be read for what became of it.
//!
//! And when a write is refused only in a repetition, the mark says whether it was done before: each write puts a
//! random word into it, so the mark's first change since that reading is ours or it is not. Where the mark is gone
//! with its lease, the key's first change is ours if the mark had that word and changed with it. A value proves
//! nothing: somebody else can write the same. Where the history cannot tell, nothing is claimed.

use std::sync::atomic::{AtomicU32, Ordering};

use etcd_client::{
    Compare, CompareOp, GetOptions, GetResponse, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse,
    TxnResponse,
};

use super::cluster::Cluster;
use super::trouble::{Failure, Sign};
use super::{Connection, transaction};
use crate::clock::Instant;
use crate::lock::token::{ClusterId, LeaseId, Token};
use crate::supervisor::{Trouble, TroubleKind};

/// How often a write begins anew because others change the same key, or write with the same token, and how many
/// changes a key's history is followed back. More means that the key is fought over without any lock.
const ROUNDS_MAX: usize = 100;

/// Who claims to hold a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose token it is.
    pub cluster: ClusterId,
    /// The fencing token.
    pub token: Token,
    /// The lease that carries the locks' keys.
    pub lease: LeaseId,
    /// The key of each lock; at least one.
    pub keys: Vec<String>,
    /// The holder's own mark.
    pub mark: String,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'value> {
    Put(&'value [u8]),
    Delete,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// The lock was held at that moment, and what was to be done is done.
    Done,
    /// The lock is not, or no longer, held with this token; nothing was done.
    Stale,
    /// This cluster is another one; nothing was done.
    OtherCluster(ClusterId),
    /// Nothing was done, for this reason.
    NotDone(Trouble),
    /// Whether it was done is not known, for this reason.
    Unknown(Trouble),
}

/// Whether the claim still holds, read linearizably.
pub async fn check(connection: &Connection, claim: &Claim, give_up_at: Instant) -> Fenced {
    let cluster = Cluster::new(connection, format!("read {}", claim.keys.join(" and ")));
    let look = claim.owned().and_then(claim.looks()).or_else(claim.looks());
    match cluster.transact(&look, give_up_at).await {
        Ok(answer) => match claim.refused(&answer) {
            Some(refusal) => refusal,
            None => Fenced::Done,
        },
        Err(failure) => Fenced::NotDone(failure.into()),
    }
}

/// Puts or deletes a key, if the claim holds at that moment.
pub async fn write(
    connection: &Connection,
    claim: &Claim,
    key: &[u8],
    write: Write<'_>,
    give_up_at: Instant,
) -> Fenced {
    let word = match getrandom::u64() {
        Ok(bits) => format!("{bits:016x}"),
        Err(error) => {
            return Fenced::NotDone(Trouble {
                kind: TroubleKind::Refused,
                detail: format!("the system gives no random numbers: {error}"),
            });
        }
    };
    let cluster = Cluster::new(
        connection,
        format!("read and write {}", claim.keys.join(" and ")),
    );
    let fenced = FencedWrite {
        cluster: &cluster,
        claim,
        key,
        write,
        word,
        give_up_at,
    };
    for _ in 0..ROUNDS_MAX {
        match fenced.attempt().await {
            Attempt::Over(result) => return result,
            Attempt::Refused => {}
        }
    }
    Fenced::NotDone(Trouble {
        kind: TroubleKind::Refused,
        detail: format!(
            "others wrote {ROUNDS_MAX} times while it was to be written: it is fought over"
        ),
    })
}

impl Claim {
    /// A transaction that does something only for the holder.
    fn owned(&self) -> Txn {
        Txn::new().when(self.compares())
    }

    fn compares(&self) -> Vec<Compare> {
        let (token, lease) = (self.token.get(), self.lease.get());
        // A lock that is only kept (`--hold-min`) hangs on another lease: nobody runs under it any more.
        let ours = |key: &String| {
            [
                Compare::create_revision(key.as_str(), CompareOp::Equal, token),
                Compare::lease(key.as_str(), CompareOp::Equal, lease),
            ]
        };
        self.keys.iter().flat_map(ours).collect()
    }

    /// Reads the locks' keys. Never left out: etcd takes a transaction without any operation for a
    /// serializable one and answers it from whatever the member knows (etcd:
    /// server/etcdserver/txn/txn.go, IsTxnSerializable).
    fn looks(&self) -> Vec<TxnOp> {
        let keys_only = || Some(GetOptions::new().with_keys_only());
        self.keys
            .iter()
            .map(|key| TxnOp::get(key.as_str(), keys_only()))
            .collect()
    }

    /// Whether an answer came from another cluster or says that the lock is not ours. Its first readings are
    /// those of [`Claim::looks`].
    fn refused(&self, answer: &TxnResponse) -> Option<Fenced> {
        let cluster = transaction::cluster(answer);
        if cluster != self.cluster {
            return Some(Fenced::OtherCluster(cluster));
        }
        let gets = gets(answer);
        let ours = |index: usize| {
            let kv = gets.get(index).and_then(|get| get.kvs().first());
            kv.is_some_and(|kv| {
                kv.create_revision() == self.token.get() && kv.lease() == self.lease.get()
            })
        };
        let held = (0..self.keys.len()).all(ours);
        (!held).then_some(Fenced::Stale)
    }
}

/// What becomes of one round.
enum Attempt {
    Over(Fenced),
    /// Somebody else wrote in between; nothing was done, and nothing that was sent can be done any more.
    Refused,
}

/// A key as it was, or is: all zeroes where it is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    create_revision: i64,
    mod_revision: i64,
    /// How often it was put since it was created.
    version: i64,
}

impl Standing {
    const fn is_there(self) -> bool {
        self.create_revision != 0
    }

    fn of(kv: Option<&KeyValue>) -> Self {
        kv.map_or_else(Self::default, |kv| Self {
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
            version: kv.version(),
        })
    }
}

/// One write and all that it needs.
struct FencedWrite<'write> {
    cluster: &'write Cluster,
    claim: &'write Claim,
    key: &'write [u8],
    write: Write<'write>,
    /// What the mark says once it is done; nobody else writes the same.
    word: String,
    give_up_at: Instant,
}

impl FencedWrite<'_> {
    async fn attempt(&self) -> Attempt {
        let (before, mark) = match self.read().await {
            Ok(Reading::Held { key, mark }) => (key, mark),
            Ok(Reading::Refused(refusal)) => return Attempt::Over(refusal),
            Err(failure) => return Attempt::Over(Fenced::NotDone(failure.into())),
        };
        // Also where there is nothing to delete: an earlier put of ours may be under way, and the mark keeps it out.
        let sent = AtomicU32::new(0);
        match self.send(before, mark, &sent).await {
            Ok(answer) if answer.succeeded() => Attempt::Over(Fenced::Done),
            // The only one that was sent was refused, so none was carried out.
            Ok(_) if sent.load(Ordering::Relaxed) == 1 => Attempt::Refused,
            Ok(_) => self.resolve(before, mark, None).await,
            Err(failure) if sent.load(Ordering::Relaxed) == 0 => {
                Attempt::Over(Fenced::NotDone(failure.into()))
            }
            // A definite answer to the only one that was sent. Without space it may be done all the same.
            Err(failure) if sent.load(Ordering::Relaxed) == 1 => match failure.sign {
                Sign::Answered | Sign::NotPermitted | Sign::TokenRejected => {
                    Attempt::Over(Fenced::NotDone(failure.into()))
                }
                // The lock's keys are gone with it.
                Sign::LeaseNotFound => Attempt::Over(Fenced::Stale),
                Sign::NoSpace => self.resolve(before, mark, Some(failure)).await,
                _ => Attempt::Over(Fenced::Unknown(failure.into())),
            },
            Err(failure) => Attempt::Over(Fenced::Unknown(failure.into())),
        }
    }

    /// Reads the locks' keys, the key itself and the mark at one revision.
    async fn read(&self) -> Result<Reading, Failure> {
        let mut looks = self.claim.looks();
        let keys_only = GetOptions::new().with_keys_only();
        looks.push(TxnOp::get(self.key, Some(keys_only.clone())));
        looks.push(TxnOp::get(self.claim.mark.as_str(), Some(keys_only)));
        let txn = self.claim.owned().and_then(looks.clone()).or_else(looks);
        let answer = self.cluster.transact(&txn, self.give_up_at).await?;
        if let Some(refusal) = self.claim.refused(&answer) {
            return Ok(Reading::Refused(refusal));
        }
        let gets = gets(&answer);
        let standing = |index: usize| {
            let kv = gets.get(self.claim.keys.len() + index);
            Standing::of(kv.and_then(|get| get.kvs().first()))
        };
        Ok(Reading::Held {
            key: standing(0),
            mark: standing(1),
        })
    }

    /// Sends the guarded write, again where it is not answered, and counts how often it left.
    async fn send(
        &self,
        before: Standing,
        mark: Standing,
        sent: &AtomicU32,
    ) -> Result<TxnResponse, Failure> {
        let unchanged = |key: &[u8], standing: Standing| {
            Compare::mod_revision(key, CompareOp::Equal, standing.mod_revision)
        };
        let mut when = self.claim.compares();
        when.push(unchanged(self.key, before));
        let write = match self.write {
            Write::Put(value) => TxnOp::put(self.key, value, None),
            Write::Delete => TxnOp::delete(self.key, None),
        };
        let own = self.claim.mark.as_str();
        when.push(unchanged(own.as_bytes(), mark));
        let leased = PutOptions::new().with_lease(self.claim.lease.get());
        let txn = Txn::new()
            .when(when)
            .and_then([write, TxnOp::put(own, self.word.as_str(), Some(leased))]);
        self.cluster
            .call(self.give_up_at, |client| {
                // There is a connection by now: from here on it may be carried out.
                sent.fetch_add(1, Ordering::Relaxed);
                let (mut kv, txn) = (client.kv_client(), txn.clone());
                async move { kv.txn(txn).await }
            })
            .await
    }

    /// Finds out by reading what became of writes whose reply was lost; `failure` is the definite answer to the
    /// only one, where there is one.
    async fn resolve(&self, before: Standing, mark: Standing, failure: Option<Failure>) -> Attempt {
        let unknown = |detail: String| {
            let kind = TroubleKind::Unreachable;
            Attempt::Over(Fenced::Unknown(Trouble { kind, detail }))
        };
        let reading = match self.read().await {
            Ok(reading) => reading,
            Err(failure) => return unknown(failure.trouble.detail),
        };
        let ours = match self.is_ours(before, mark, failure.is_some()).await {
            Ok(ours) => ours,
            Err(failure) => return unknown(failure.trouble.detail),
        };
        match (ours, failure, reading) {
            (Some(true), _, _) => Attempt::Over(Fenced::Done),
            (Some(false), Some(failure), _) => Attempt::Over(Fenced::NotDone(failure.into())),
            (Some(false), None, Reading::Held { .. }) => Attempt::Refused,
            (Some(false), None, Reading::Refused(refusal)) => Attempt::Over(refusal),
            (None, _, _) => unknown(
                "the reply was lost, and the key's history does not show whose the next change was"
                    .to_owned(),
            ),
        }
    }

    /// Whether what was sent was done, if the histories of the mark and of the key still show it; `is_only`: none
    /// of it is under way any more.
    async fn is_ours(
        &self,
        before: Standing,
        mark: Standing,
        is_only: bool,
    ) -> Result<Option<bool>, Failure> {
        let own = self.claim.mark.as_bytes();
        if let Some(now) = self.get(own, None).await? {
            if now.mod_revision() == mark.mod_revision {
                return Ok(Some(false));
            }
            let first = self.first_change(own, mark, now).await;
            return Ok(first.map(|first| self.is_word(&first)));
        }
        let now = self.get(self.key, None).await?;
        let unchanged = Standing::of(now.as_ref()).mod_revision == before.mod_revision;
        // A key that was not there and is not there may have been, in between.
        if unchanged && (before.is_there() || is_only) {
            return Ok(Some(false));
        }
        let Some(now) = now else { return Ok(None) };
        let same_life = now.create_revision() == before.create_revision;
        if before.is_there() && !same_life {
            return Ok(None);
        }
        // That the key lives on since shows that it was not deleted.
        if self.write == Write::Delete {
            return Ok(Some(false));
        }
        let Some(change) = self.first_change(self.key, before, now).await else {
            return Ok(None);
        };
        let revision = change.mod_revision();
        let Ok(then) = self.get(own, Some(revision)).await else {
            return Ok(None);
        };
        let with_it = then.filter(|then| then.mod_revision() == revision && self.is_word(then));
        Ok(match with_it {
            Some(_) => Some(true),
            // Where there was nothing before, the key may have had another life in between.
            None => before.is_there().then_some(false),
        })
    }

    fn is_word(&self, mark: &KeyValue) -> bool {
        mark.value() == self.word.as_bytes()
    }

    /// The first change of a key after `before`, if its history still shows it.
    async fn first_change(&self, key: &[u8], before: Standing, now: KeyValue) -> Option<KeyValue> {
        let mut change = now;
        for _ in 0..ROUNDS_MAX {
            let same_life = change.create_revision() == before.create_revision;
            if before.is_there() && !same_life {
                return None;
            }
            // All zeroes where it was not there, so that the first change is the one that makes it.
            if change.version() == before.version + 1 {
                return Some(change);
            }
            let revision = change.mod_revision() - 1;
            change = self.get(key, Some(revision)).await.ok()??;
        }
        None
    }

    /// A key now, or as it was at a revision.
    async fn get(&self, key: &[u8], revision: Option<i64>) -> Result<Option<KeyValue>, Failure> {
        let at = GetOptions::new().with_revision(revision.unwrap_or(0));
        let txn = Txn::new().and_then([TxnOp::get(key, Some(at))]);
        let answer = self.cluster.transact(&txn, self.give_up_at).await?;
        Ok(gets(&answer).pop().and_then(|mut get| get.take_kvs().pop()))
    }
}

/// What a reading shows.
enum Reading {
    /// The lock is held with our token; how the key and the mark stand.
    Held {
        key: Standing,
        mark: Standing,
    },
    Refused(Fenced),
}

fn gets(answer: &TxnResponse) -> Vec<GetResponse> {
    let get = |response| match response {
        TxnOpResponse::Get(get) => Some(get),
        _ => None,
    };
    answer.op_responses().into_iter().filter_map(get).collect()
}
