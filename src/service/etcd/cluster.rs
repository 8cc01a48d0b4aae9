//! The members of one cluster: which of them to ask, and for how long.
//!
//! Every request of this folder can be repeated: it does the same once or twice. So a request that was not
//! answered is sent again, to the next member, until its time is up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, Error, ResponseHeader, Txn, TxnResponse};

use super::deadline::reached;
use super::member::Member;
use super::trouble::{Failure, Sign};
use crate::clock::{self, Instant};
use crate::lock::token::ClusterId;

/// How long the first attempt may take; each further round over the members gets twice as much, so that a
/// dead member costs a second and a slow cluster is not hammered.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);

/// The pause after a failed attempt; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The largest answer that is read. A queue's keys are some hundred bytes each, but the values and the number
/// of keys below a lock are other people's; etcd itself takes requests up to 1.5 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The members of one cluster.
pub struct Cluster {
    members: Vec<Member>,
    preferred: AtomicUsize,
    failures: AtomicUsize,
    id: OnceLock<ClusterId>,
}

impl Cluster {
    /// The cluster behind these endpoints; nothing is sent yet.
    pub fn new(endpoints: &[String]) -> Self {
        Self {
            members: endpoints
                .iter()
                .map(|endpoint| Member::new(endpoint))
                .collect(),
            preferred: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            id: OnceLock::new(),
        }
    }

    /// The member to ask first.
    pub fn member(&self) -> Result<&Member, Failure> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        self.members
            .get(preferred % self.members.len().max(1))
            .ok_or_else(|| Failure::refused("no endpoint of etcd is given".to_owned()))
    }

    /// Asks another member from now on, where there is one.
    pub fn prefer_next(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }

    /// How many attempts have failed so far: where it grows, an open stream may be dead without a word.
    pub fn failures(&self) -> usize {
        self.failures.load(Ordering::Relaxed)
    }

    /// Makes sure that there is a connection.
    pub async fn connect(&self, give_up_at: Instant) -> Result<(), Failure> {
        self.call(give_up_at, |_| async { Ok(()) }).await
    }

    /// Sends a request, that can be repeated, until it is answered.
    pub async fn call<T, Answer>(
        &self,
        give_up_at: Instant,
        request: impl Fn(Client) -> Answer,
    ) -> Result<T, Failure>
    where
        Answer: Future<Output = Result<T, Error>>,
    {
        let asked_at = clock::now();
        let mut attempt = 0;
        let mut pause = PAUSE_MIN;
        let mut ambiguous = false;
        loop {
            let round = attempt / self.members.len().max(1);
            let patience = FIRST_ATTEMPT * 2_u32.pow(round.min(6) as u32);
            let attempt_ends = give_up_at.min(clock::now() + patience);
            let member = self.member()?;
            let mut failure = match member.call(attempt_ends, &request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            failure.after_ambiguity = ambiguous;
            ambiguous |= failure.sign == Sign::Ambiguous;
            if !failure.may_pass() {
                return Err(failure);
            }
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.prefer_next();
            let now = clock::now();
            let remaining = give_up_at.since(now);
            if remaining < PAUSE_MIN {
                // The last attempt may have been a short one: what people need is the whole time.
                return Err(failure.over(member.address(), now.since(asked_at)));
            }
            // At the end of the time too there is a last attempt.
            reached(now + pause.min(remaining / 2)).await;
            attempt += 1;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Sends a transaction, that can be repeated, until it is answered. Also reads are transactions: they
    /// are linearizable and see one revision.
    pub async fn transact(&self, txn: &Txn, give_up_at: Instant) -> Result<TxnResponse, Failure> {
        let response = self
            .call(give_up_at, |client| {
                let mut kv = client
                    .kv_client()
                    .max_decoding_message_size(ANSWER_BYTES_MAX);
                let txn = txn.clone();
                async move { kv.txn(txn).await }
            })
            .await?;
        self.check_cluster(response.header())?;
        Ok(response)
    }

    /// Deletes one key, as it is.
    pub async fn delete(&self, key: &str, give_up_at: Instant) -> Result<(), Failure> {
        self.call(give_up_at, |mut client| async move {
            client.delete(key, None).await.map(|_| ())
        })
        .await
    }

    /// Tokens of two clusters cannot be compared, so endpoints of two clusters cannot be one lock service.
    pub fn check_cluster(&self, header: Option<&ResponseHeader>) -> Result<(), Failure> {
        let Some(header) = header else {
            return Ok(());
        };
        let answered = ClusterId(header.cluster_id());
        let first = *self.id.get_or_init(|| answered);
        if first == answered {
            return Ok(());
        }
        let address = self.member()?.address();
        Err(Failure::refused(format!(
            "etcd at {address} is of cluster {answered}, but the lock is in cluster {first}: endpoints of two clusters cannot be mixed"
        )))
    }
}
