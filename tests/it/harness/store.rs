//! What a test reads from and does to etcd, behind leasehold's back.
//!
//! Blocking: a test reads from top to bottom. It has its own client, so that a defect of the product's
//! client cannot hide itself.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, EventType, GetOptions, KeyValue, PutOptions, SortOrder, SortTarget,
    Txn, TxnOp, WatchOptions,
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
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer within a second".to_owned()),
            }
        })
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
        self.keys(&format!("/leasehold/~run/{name}/"))
    }

    /// Waits until `count` entries stand in the queue, and returns them.
    #[track_caller]
    pub(crate) fn wait_for_entries(&self, name: &str, count: usize) -> Vec<Stored> {
        eventually(
            format!("{count} entries in the queue of {name}"),
            SOON,
            || {
                let entries = self.entries(name);
                if entries.len() == count {
                    Ok(entries)
                } else {
                    Err(format!("{entries:?}"))
                }
            },
        )
    }

    /// The ids of all living leases.
    pub(crate) fn leases(&self) -> Vec<i64> {
        let response = self.read(
            "lease list",
            |mut client| async move { client.leases().await },
        );
        response.leases().iter().map(|lease| lease.id()).collect()
    }

    /// Nothing of ours is left: no key below the prefix, no lease. A lease is given back last and in the
    /// background, so this waits a little.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        eventually("no key and no lease is left", SOON, || {
            let keys: Vec<String> = self
                .keys("/leasehold/")
                .into_iter()
                .map(|kv| kv.key)
                .collect();
            let leases = self.leases();
            if keys.is_empty() && leases.is_empty() {
                Ok(())
            } else {
                Err(format!("keys {keys:?}, leases {leases:x?}"))
            }
        });
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
