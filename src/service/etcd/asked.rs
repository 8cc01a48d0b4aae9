//! Whether somebody wants the lock from us (`leasehold break`), and the answer that he gets.
//!
//! - A stream of its own: a role that may not read these keys must not cost the watch over our own. Then nobody is
//!   listened to, and whoever breaks the lock gets no answer.
//! - As everywhere the watch is a hint, so the keys are read from time to time without one: an answer is due within
//!   the TTL.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};

use super::cluster::Cluster;
use super::deadline::reached;
use super::trouble::{Failure, Sign};
use super::watch::{Hint, Others, Watch};
use crate::clock::{self, Instant};
use crate::lock::break_request::BreakRequest;
use crate::lock::token::Token;

/// Most runs that need not wait are over by then, and nobody has had the time to ask.
const BEGIN_AFTER: Duration = Duration::from_millis(100);

/// How often the keys are read without a hint: a quarter of the TTL, between these.
const POLL_MIN: Duration = Duration::from_secs(1);
const POLL_MAX: Duration = Duration::from_secs(15);

/// How long one reading may take.
const READING_PATIENCE: Duration = Duration::from_secs(2);

/// The pause after a reading or a watch that failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// A request, and where it stands.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The key.
    pub key: String,
    /// What it says.
    pub request: BreakRequest,
}

/// Listens for requests.
pub struct Listener {
    /// The keys, one for each lock, where they would be put.
    keys: Vec<String>,
    poll: Duration,
    /// From where a watch has to tell: up to here the keys have been read.
    from: i64,
    watch: Option<Watch>,
    /// What has been heard: which key, and which of its revisions.
    heard: Option<(String, i64)>,
}

impl Listener {
    /// Listens for whoever wants the place with this token.
    pub fn new(keys: Vec<String>, token: Token, ttl: Duration) -> Self {
        Self {
            keys,
            poll: (ttl / 4).clamp(POLL_MIN, POLL_MAX),
            // Nobody can have asked for it before it was there.
            from: token.get(),
            watch: None,
            heard: None,
        }
    }

    /// The next request that nobody has answered: also one by somebody else for whom we end already wants an answer,
    /// for who gets none takes the lease away. Nothing where we may not read them.
    pub async fn next(&mut self, cluster: &Cluster) -> Option<Asked> {
        reached(clock::now() + BEGIN_AFTER).await;
        loop {
            let wake_at = clock::now() + self.poll;
            if self.watch.is_none() {
                let own = self.keys.iter().map(String::as_str).collect();
                let others = Others::default();
                let opened = Watch::open(cluster, own, &others, self.from, wake_at).await;
                self.watch = opened.ok();
            }
            let hint = match &mut self.watch {
                Some(open) => open.hint(cluster, wake_at).await,
                None => Hint::Broken,
            };
            match hint {
                Hint::Changed | Hint::Silent => {}
                Hint::Doubtful | Hint::Broken => {
                    self.watch = None;
                    reached(clock::now() + TROUBLE_PAUSE).await;
                }
            }
            match self.read(cluster, clock::now() + READING_PATIENCE).await {
                Ok(Some(asked)) => return Some(asked),
                Ok(None) => {}
                Err(failure) if failure.sign == Sign::NotPermitted => return None,
                Err(_) => reached(clock::now() + TROUBLE_PAUSE).await,
            }
        }
    }

    /// One that stands there now, and that was not heard yet.
    pub async fn read(
        &mut self,
        cluster: &Cluster,
        give_up_at: Instant,
    ) -> Result<Option<Asked>, Failure> {
        let keys = self.keys.iter();
        let gets: Vec<TxnOp> = keys.map(|key| TxnOp::get(key.as_str(), None)).collect();
        let give_up_at = give_up_at.min(clock::now() + READING_PATIENCE);
        let answer = cluster
            .transact(&Txn::new().and_then(gets), give_up_at)
            .await?;
        if let Some(header) = answer.header() {
            self.from = header.revision();
        }
        for (read, key) in answer.op_responses().into_iter().zip(&self.keys) {
            let TxnOpResponse::Get(get) = read else {
                continue;
            };
            let Some(kv) = get.kvs().first() else {
                continue;
            };
            let heard = (key.clone(), kv.mod_revision());
            let request = BreakRequest::parse(kv.value());
            if request.stops_within_ms.is_none() && self.heard.as_ref() != Some(&heard) {
                self.heard = Some(heard);
                let key = key.clone();
                return Ok(Some(Asked { key, request }));
            }
        }
        Ok(None)
    }
}

/// Answers: nothing of our command will run so long from now. Unless nobody waits for it any more.
pub async fn answer(
    cluster: &Cluster,
    asked: &Asked,
    within: Duration,
    give_up_at: Instant,
) -> Result<(), Failure> {
    let key = asked.key.as_str();
    let as_it_hangs = PutOptions::new().with_ignore_lease();
    let value = asked.request.answered(within).to_json();
    let txn = Txn::new()
        .when([Compare::create_revision(key, CompareOp::Greater, 0)])
        .and_then([TxnOp::put(key, value, Some(as_it_hangs))]);
    cluster.transact(&txn, give_up_at).await.map(|_| ())
}
