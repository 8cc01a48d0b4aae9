//! What a test reads from and does to etcd, behind leasehold's back.
//!
//! Blocking: a test reads from top to bottom. It has its own client, so that a defect of the product's
//! client cannot hide itself.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{
    Client, CompactionOptions, ConnectOptions, EventType, GetOptions, KeyValue,
    LeaseKeepAliveStream, LeaseKeeper, PutOptions, SortOrder, SortTarget, Txn, TxnOp, WatchOptions,
};
use tokio::runtime::Runtime;

use super::eventually::{SOON, eventually};

/// An answer of a healthy etcd takes milliseconds; the rest is for busy machines.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A client.
pub(crate) struct Store {
    runtime: Runtime,
    client: Client,
}

/// One key as it stands in the store.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) create_revision: i64,
    /// How often it was put since it was created.
    pub(crate) version: i64,
    /// 0 without a lease.
    pub(crate) lease: i64,
}

impl Stored {
    /// What a run leaves for its TTL where a request of its own may still come late (src/service/etcd/release.rs): on a
    /// busy machine any run may have to.
    pub(crate) fn is_sign(&self) -> bool {
        self.key.starts_with("/leasehold/~run/") && self.key.ends_with('~')
    }
}

/// All but the signs among them.
pub(super) fn without_signs(mut keys: Vec<Stored>) -> Vec<Stored> {
    keys.retain(|kv| !kv.is_sign());
    keys
}

/// Waits until `entries`, those of the lock `name`, are `count`, and returns them.
#[track_caller]
pub(super) fn wait_for_entries(
    name: &str,
    count: usize,
    entries: impl Fn() -> Vec<Stored>,
) -> Vec<Stored> {
    let what = format!("{count} entries in the queue of {name}");
    eventually(what, SOON, || match entries() {
        entries if entries.len() == count => Ok(entries),
        entries => Err(format!("{entries:?}")),
    })
}

/// Waits until there are neither keys nor leases any more.
#[track_caller]
pub(super) fn assert_nothing_left(look: impl Fn() -> (Vec<Stored>, Vec<i64>)) {
    eventually("no key and no lease is left", SOON, || match look() {
        (keys, leases) if keys.is_empty() && leases.is_empty() => Ok(()),
        (keys, leases) => Err(format!("keys {keys:?}, leases {leases:x?}")),
    });
}

/// Renewals of a lease by hand.
pub(crate) struct KeepAlive<'a> {
    store: &'a Store,
    keeper: LeaseKeeper,
    replies: LeaseKeepAliveStream,
}

impl KeepAlive<'_> {
    /// Sends one, and lets it be on its way.
    pub(crate) fn send(&mut self) {
        let sent = self.store.runtime.block_on(async {
            self.keeper.keep_alive().await?;
            // Sending is another task's: it has its turn now.
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            Ok::<(), etcd_client::Error>(())
        });
        sent.expect("the stream stands");
    }

    /// The TTL in seconds and the raft term of the next answer; why there is none.
    pub(crate) fn answer(&mut self, time: Duration) -> Result<(i64, u64), String> {
        let answer = self
            .store
            .runtime
            .block_on(async { tokio::time::timeout(time, self.replies.message()).await });
        match answer {
            Ok(Ok(Some(reply))) => {
                let term = reply.header().map_or(0, |header| header.raft_term());
                Ok((reply.ttl(), term))
            }
            Ok(Ok(None)) => Err("the stream ended".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }
}

impl From<&KeyValue> for Stored {
    fn from(kv: &KeyValue) -> Self {
        Self {
            key: String::from_utf8_lossy(kv.key()).into_owned(),
            value: kv.value().to_vec(),
            create_revision: kv.create_revision(),
            version: kv.version(),
            lease: kv.lease(),
        }
    }
}

impl Store {
    pub(crate) fn connect(endpoints: Vec<String>) -> Self {
        Self::connect_with(endpoints, None)
    }

    /// As a user; the cluster has to answer.
    pub(crate) fn connect_as(endpoints: Vec<String>, user: &str, password: &str) -> Self {
        Self::connect_with(
            endpoints,
            Some(ConnectOptions::new().with_user(user, password)),
        )
    }

    fn connect_with(endpoints: Vec<String>, options: Option<ConnectOptions>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime
            .block_on(Client::connect(endpoints, options))
            .expect("connects lazily");
        Self { runtime, client }
    }

    /// Whether the member answers as one that has no vote, but a leader.
    pub(crate) fn is_learner_ready(&self) -> Result<(), String> {
        let mut client = self.client.clone();
        self.runtime.block_on(async {
            match tokio::time::timeout(Duration::from_secs(1), client.status()).await {
                Ok(Ok(status)) if status.is_learner() && status.leader() != 0 => Ok(()),
                Ok(Ok(status)) => Err(format!("{status:?}")),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer within a second".to_owned()),
            }
        })
    }

    /// Whether a linearizable read is answered within a short time.
    pub(crate) fn is_ready(&self) -> Result<(), String> {
        let mut client = self.client.clone();
        self.runtime.block_on(async {
            match tokio::time::timeout(Duration::from_secs(1), client.get("ready?", None)).await {
                Ok(Ok(_)) => Ok(()),
                // It asks who we are, so it is there.
                Ok(Err(error)) if error.to_string().contains("user name is empty") => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer within a second".to_owned()),
            }
        })
    }

    /// Whether the member leads, as it believes itself, and in which term.
    pub(crate) fn leads(&self) -> Result<(bool, u64), String> {
        let mut client = self.client.clone();
        self.runtime.block_on(async {
            match tokio::time::timeout(Duration::from_millis(500), client.status()).await {
                Ok(Ok(status)) => {
                    let own = status.header().map_or(0, |header| header.member_id());
                    Ok((status.leader() == own, status.raft_term()))
                }
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            }
        })
    }

    /// The store's revision now.
    pub(crate) fn revision(&self) -> i64 {
        let response = self.read("get", |mut client| async move {
            client.get("revision?", None).await
        });
        response.header().expect("every answer has one").revision()
    }

    /// Forgets everything before this revision.
    pub(crate) fn compact(&self, revision: i64) {
        let options = CompactionOptions::new().with_physical();
        let mut client = self.client.clone();
        self.answer("compact", async move {
            client.compact(revision, Some(options)).await
        });
    }

    /// Why what stood under a key at an old revision cannot be read; nothing where it can.
    pub(crate) fn trouble_at(&self, key: &str, revision: i64) -> Option<String> {
        let options = GetOptions::new().with_revision(revision);
        let mut client = self.client.clone();
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(ANSWER_TIME, client.get(key, Some(options))).await
        });
        answer
            .expect("answered")
            .err()
            .map(|error| error.to_string())
    }

    /// Puts so many keys `PREFIX0`, `PREFIX1`, ..., a hundred at a time: more a transaction may not.
    pub(crate) fn put_many(&self, prefix: &str, count: usize) {
        self.put_each(count, |number| format!("{prefix}{number}"));
    }

    /// The same for keys of another form.
    pub(crate) fn put_each(&self, count: usize, key: impl Fn(usize) -> String) {
        let keys: Vec<usize> = (0..count).collect();
        for some in keys.chunks(100) {
            let puts: Vec<TxnOp> = some
                .iter()
                .map(|number| TxnOp::put(key(*number), "foreign", None))
                .collect();
            let mut client = self.client.clone();
            self.answer(
                "txn",
                async move { client.txn(Txn::new().and_then(puts)).await },
            );
        }
    }

    /// Whether a transaction that only reads is answered.
    pub(crate) fn answers_transactions(&self) -> bool {
        let mut client = self.client.clone();
        let read = Txn::new().and_then([TxnOp::get("transactions?", None)]);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(ANSWER_TIME, client.txn(read)).await });
        answer.expect("answered").is_ok()
    }

    /// Puts a key, if the store takes it; what it says where it does not.
    pub(crate) fn try_put(&self, key: &str, value: Vec<u8>) -> Result<(), String> {
        let mut client = self.client.clone();
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(ANSWER_TIME, client.put(key, value, None)).await
        });
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// The values that a key ever had, oldest first.
    pub(crate) fn versions(&self, key: &str) -> Vec<Vec<u8>> {
        let mut client = self.client.clone();
        self.answer("watch", async move {
            let last = client.get(key, None).await?;
            let Some(last) = last.kvs().first().map(KeyValue::mod_revision) else {
                return Ok(Vec::new());
            };
            let options = WatchOptions::new().with_start_revision(1);
            let mut stream = client.watch(key, Some(options)).await?;
            let mut versions = Vec::new();
            while let Some(response) = stream.message().await? {
                for kv in response.events().iter().filter_map(|event| event.kv()) {
                    versions.push(kv.value().to_vec());
                    if kv.mod_revision() >= last {
                        return Ok(versions);
                    }
                }
            }
            panic!("the watch ended early: was the store compacted?");
        })
    }

    /// A keepalive stream over which a request can be sent and not waited for.
    pub(crate) fn keep_alive(&self, lease: i64) -> KeepAlive<'_> {
        let mut client = self.client.clone();
        let (keeper, replies) = self.answer("lease keepalive", async move {
            client.lease_keep_alive(lease).await
        });
        KeepAlive {
            store: self,
            keeper,
            replies,
        }
    }

    /// The keys that begin with `prefix`, oldest first.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<Stored> {
        let options = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Ascend);
        let response = self.read("get", |mut client| {
            let (prefix, options) = (prefix.to_owned(), options.clone());
            async move { client.get(prefix, Some(options)).await }
        });
        response.kvs().iter().map(Stored::from).collect()
    }

    /// The entries of a lock, the holder first.
    pub(crate) fn entries(&self, name: &str) -> Vec<Stored> {
        self.keys(&format!("/leasehold/{name}/"))
    }

    /// The run markers of a lock.
    pub(crate) fn markers(&self, name: &str) -> Vec<Stored> {
        without_signs(self.keys(&format!("/leasehold/~run/{name}/")))
    }

    /// Waits until `count` entries stand in the queue, and returns them.
    #[track_caller]
    pub(crate) fn wait_for_entries(&self, name: &str, count: usize) -> Vec<Stored> {
        wait_for_entries(name, count, || self.entries(name))
    }

    /// The ids of all living leases but those that signs hang on.
    pub(crate) fn leases(&self) -> Vec<i64> {
        let mut leases = self.all_leases();
        let signs = self.keys("/leasehold/~run/");
        leases.retain(|lease| !signs.iter().any(|kv| kv.is_sign() && kv.lease == *lease));
        leases
    }

    fn all_leases(&self) -> Vec<i64> {
        let response = self.read(
            "lease list",
            |mut client| async move { client.leases().await },
        );
        response.leases().iter().map(|lease| lease.id()).collect()
    }

    /// Nothing of ours is left but signs: no other key below the prefix, no other lease. A lease is given back last and
    /// in the background, so this waits a little.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_nothing_left(|| (without_signs(self.keys("/leasehold/")), self.leases()));
    }

    /// Not even a sign is left: within the time of the longest TTL.
    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        assert_nothing_left(|| (self.keys("/leasehold/"), self.all_leases()));
    }

    /// Puts a key that hangs on no lease.
    pub(crate) fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        let (mut client, value) = (self.client.clone(), value.into());
        self.answer("put", async move { client.put(key, value, None).await });
    }

    /// Grants a lease that nobody renews.
    pub(crate) fn grant(&self, ttl: Duration) -> i64 {
        let seconds = i64::try_from(ttl.as_secs()).expect("a short time");
        let mut client = self.client.clone();
        let response = self.answer("lease grant", async move {
            client.lease_grant(seconds, None).await
        });
        response.id()
    }

    /// Puts a key that hangs on a lease.
    pub(crate) fn put_leased(&self, key: &str, value: impl Into<Vec<u8>>, lease: i64) {
        let options = PutOptions::new().with_lease(lease);
        let (mut client, value) = (self.client.clone(), value.into());
        self.answer(
            "put",
            async move { client.put(key, value, Some(options)).await },
        );
    }

    /// Puts keys that hang on a lease, at one revision, which it returns.
    pub(crate) fn put_together<const N: usize>(&self, keys: [&str; N], lease: i64) -> i64 {
        let leased = || Some(PutOptions::new().with_lease(lease));
        let puts = keys.map(|key| TxnOp::put(key, "", leased()));
        let mut client = self.client.clone();
        let answer = self.answer(
            "txn",
            async move { client.txn(Txn::new().and_then(puts)).await },
        );
        answer.header().expect("every answer has one").revision()
    }

    /// Puts two keys that hang on no lease, at one revision.
    pub(crate) fn put_both(&self, keys: [&str; 2], value: &str) {
        let puts = keys.map(|key| TxnOp::put(key, value, None));
        let mut client = self.client.clone();
        self.answer(
            "txn",
            async move { client.txn(Txn::new().and_then(puts)).await },
        );
    }

    pub(crate) fn delete(&self, key: &str) {
        let mut client = self.client.clone();
        self.answer("delete", async move { client.delete(key, None).await });
    }

    pub(crate) fn revoke(&self, lease: i64) {
        let mut client = self.client.clone();
        self.answer(
            "lease revoke",
            async move { client.lease_revoke(lease).await },
        );
    }

    /// Revokes a lease that may be gone already.
    pub(crate) fn try_revoke(&self, lease: i64) {
        let mut client = self.client.clone();
        let revoked = self.runtime.block_on(async {
            tokio::time::timeout(ANSWER_TIME, client.lease_revoke(lease)).await
        });
        if let Ok(Err(error)) = revoked {
            assert!(error.to_string().contains("not found"), "{error}");
        }
    }

    /// The lease's id and what the server says of its TTL in seconds: granted, and left (-1: gone).
    pub(crate) fn time_to_live(&self, lease: i64) -> (i64, i64) {
        let mut client = self.client.clone();
        let response = self.answer("lease timetolive", async move {
            client.lease_time_to_live(lease, None).await
        });
        (response.granted_ttl(), response.ttl())
    }

    /// The cluster's id.
    pub(crate) fn cluster(&self) -> u64 {
        let mut client = self.client.clone();
        let response = self.answer("get", async move { client.get("cluster?", None).await });
        response
            .header()
            .expect("every answer has one")
            .cluster_id()
    }

    /// The create_revision of every key below `prefix` that was ever put: etcd keeps its history.
    pub(crate) fn history(&self, prefix: &str) -> BTreeMap<String, i64> {
        // Events come in order: after the end mark's own, nothing older is missing. (A progress answer
        // would not do: it can overtake events of a watch that is not synced yet, etcd#15220.)
        let end = format!("{prefix}~end");
        self.put(&end, "");
        let mut client = self.client.clone();
        let seen = self.answer("watch", async move {
            let options = WatchOptions::new().with_prefix().with_start_revision(1);
            let mut stream = client.watch(prefix, Some(options)).await?;
            let mut seen = BTreeMap::new();
            while let Some(response) = stream.message().await? {
                for event in response.events() {
                    if let (EventType::Put, Some(kv)) = (event.event_type(), event.kv()) {
                        seen.insert(Stored::from(kv).key, kv.create_revision());
                    }
                }
                if seen.remove(&end).is_some() {
                    break;
                }
            }
            Ok(seen)
        });
        self.delete(&format!("{prefix}~end"));
        seen
    }

    /// Asks until the cluster can answer: in an election it cannot.
    #[track_caller]
    fn read<T, F>(&self, what: &str, ask: impl Fn(Client) -> F) -> T
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        eventually(what, SOON, || {
            let call = ask(self.client.clone());
            let answer = self
                .runtime
                .block_on(async { tokio::time::timeout(ANSWER_TIME, call).await });
            match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {ANSWER_TIME:?}")),
            }
        })
    }

    #[track_caller]
    fn answer<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> T {
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(ANSWER_TIME, call).await });
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => panic!("{what}: {error}"),
            Err(_) => panic!("{what}: no answer within {ANSWER_TIME:?}"),
        }
    }
}
