//! The model of the store against a real etcd: the same requests, sent by the same etcd-client, to both; every
//! answer has to be the same, down to the revisions, and so has what a watch tells of it all in the end.
//!
//! The requests are drawn from a seed: our own transactions as they are shipped, and any others.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use etcd_client::{
    Channel, Client, Compare, CompareOp, DeleteOptions, Error, EventType, GetOptions, KeyValue,
    LeaseGrantOptions, PutOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
};
use http::{Request as HttpRequest, Response as HttpResponse};
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service};

use super::{Messages, Once, Serving, refuse, respond, translate};
use crate::clock;
use crate::lock::admission::Marker;
use crate::lock::key::Prefix;
use crate::lock::limit::Limit;
use crate::lock::token::{LeaseId, Token};
use crate::service::etcd::deadline::reached;
use crate::service::etcd::transaction::{Guard, Keys};
use crate::simulation::protocol::{Answer, Header, Request};
use crate::simulation::random::Random;
use crate::simulation::store::Store;

const SEQUENCES: u64 = 40;
const REQUESTS: usize = 40;
/// A connection straight into a store.
#[derive(Clone)]
struct Direct(Arc<Mutex<Store>>);

impl Service<HttpRequest<Body>> for Direct {
    type Response = HttpResponse<Body>;
    type Error = BoxError;
    type Future = Serving;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Serving {
        let store = Arc::clone(&self.0);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let mut messages = Messages::new(body);
            let message = std::future::poll_fn(|context| messages.poll_next(context)).await;
            let request = translate::request(head.uri.path(), &message.expect("one message"))?;
            let mut store = store.lock().expect("one at a time");
            let answer = match request {
                Request::Get { keys, keys_only } => Ok(Answer::Got(store.list(&keys, keys_only))),
                Request::Delete { keys } => Ok(store.delete(&keys)),
                Request::Transact(transaction) => store.transact(&transaction),
                Request::Grant { lease, ttl } => store.grant(lease, ttl),
                Request::Revoke { lease } => store.revoke(lease),
                other => unreachable!("{other:?} is not replayed"),
            };
            let header = Header {
                revision: store.revision,
                ..Header::default()
            };
            Ok(match answer {
                Ok(answer) => {
                    let frame = translate::framed(header, answer);
                    respond(Body::new(Once(Some(frame.into()), false)))
                }
                Err(refusal) => refuse(refusal),
            })
        })
    }
}

/// A request as etcd-client takes it.
#[derive(Clone, Debug)]
enum Step {
    Grant(i64, i64),
    Revoke(i64),
    Get(String, Option<String>),
    Delete(String, Option<String>),
    Txn(Txn),
}

/// Sends one request, and says what came of it.
async fn send(client: &Client, step: &Step) -> String {
    let answer = match step {
        Step::Grant(id, ttl) => {
            let options = LeaseGrantOptions::new().with_id(*id);
            let granted = client.lease_client().grant(*ttl, Some(options)).await;
            granted.map(|granted| format!("lease {:x} ttl {}", granted.id(), granted.ttl()))
        }
        Step::Revoke(id) => {
            let revoked = client.lease_client().revoke(*id).await;
            revoked.map(|revoked| {
                let header = revoked.header().expect("always there");
                format!("revoked at {}", header.revision())
            })
        }
        Step::Get(key, end) => {
            let options = end.iter().fold(GetOptions::new(), |options, end| {
                options.with_range(end.as_str())
            });
            let got = client.kv_client().get(key.as_str(), Some(options)).await;
            got.map(|got| {
                let header = got.header().expect("always there");
                format!("{} at {}", spoken(got.kvs()), header.revision())
            })
        }
        Step::Delete(key, end) => {
            let options = end.iter().fold(DeleteOptions::new(), |options, end| {
                options.with_range(end.as_str())
            });
            let deleted = client.kv_client().delete(key.as_str(), Some(options)).await;
            deleted.map(|deleted| {
                let header = deleted.header().expect("always there");
                format!("{} deleted at {}", deleted.deleted(), header.revision())
            })
        }
        Step::Txn(txn) => client.kv_client().txn(txn.clone()).await.map(|response| {
            let answers = response
                .op_responses()
                .into_iter()
                .map(|answer| match answer {
                    TxnOpResponse::Get(got) => spoken(got.kvs()),
                    TxnOpResponse::Delete(deleted) => format!("{} deleted", deleted.deleted()),
                    TxnOpResponse::Put(_) => "put".to_owned(),
                    TxnOpResponse::Txn(_) => "txn".to_owned(),
                });
            let answers: Vec<String> = answers.collect();
            let header = response.header().expect("always there");
            format!(
                "{} {answers:?} at {}",
                response.succeeded(),
                header.revision()
            )
        }),
    };
    answer.unwrap_or_else(|error| match error {
        Error::GRpcStatus(status) => format!("{:?} {}", status.code(), status.message()),
        other => other.to_string(),
    })
}

fn spoken(kvs: &[KeyValue]) -> String {
    let spoken = kvs.iter().map(|kv| {
        format!(
            "{}={} c{} m{} v{} l{:x}",
            String::from_utf8_lossy(kv.key()),
            String::from_utf8_lossy(kv.value()),
            kv.create_revision(),
            kv.mod_revision(),
            kv.version(),
            kv.lease()
        )
    });
    spoken.collect::<Vec<_>>().join("; ")
}

/// Draws requests.
struct Drawn {
    random: Random,
    leases: [LeaseId; 3],
    revision: i64,
}

impl Drawn {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let leases = [(); 3].map(|()| LeaseId::from_random(random.bits()));
        Self {
            random,
            leases,
            revision: 1,
        }
    }

    fn keys(&self, lease: LeaseId) -> Keys {
        let names = ["job", "other"].map(|name| name.parse().expect("a name"));
        // One of the three wants two locks.
        let locks = if lease == self.leases[2] { 2 } else { 1 };
        Keys::new(&Prefix::default(), names.iter().take(locks), lease)
    }

    /// The next request, for the store as it is.
    fn step(&mut self, store: &Store) -> Step {
        self.revision = store.revision;
        let lease = self.random.pick(&self.leases);
        let keys = self.keys(lease);
        let end = Some("/leasehold/job0".to_owned());
        match self.random.below(12) {
            // Longer than this test: what the time does is not compared here.
            0 | 1 => Step::Grant(lease.get(), self.random.between(600, 900) as i64),
            2 => Step::Revoke(lease.get()),
            3 => Step::Delete(keys.locks[0].entry.clone(), None),
            4 => Step::Get("/leasehold/job/".to_owned(), end),
            5 if self.random.percent(30) => Step::Delete("/leasehold/job/".to_owned(), end),
            6..=8 => Step::Txn(self.own(&keys, lease, store)),
            _ => Step::Txn(self.any()),
        }
    }

    /// One of the transactions that are shipped.
    fn own(&mut self, keys: &Keys, lease: LeaseId, store: &Store) -> Txn {
        let created = store
            .one(keys.locks[0].entry.as_bytes())
            .map(|kv| kv.create_revision);
        let token = Token::new(created.unwrap_or(self.revision)).expect("positive");
        let marker = Marker {
            create_revision: created.unwrap_or(self.revision),
            id: lease.to_string(),
            limit: Limit::EXCLUSIVE,
            lock_delay: Duration::ZERO,
            replaceable: None,
        };
        let guard = match self.random.below(3) {
            0 => Guard::Idle,
            1 => Guard::UnchangedSince(self.revision - self.random.below(3) as i64),
            _ => Guard::Queue,
        };
        match self.random.below(6) {
            0 => keys.read(),
            1 => keys.locks[0].ranges.remove_marker(&marker),
            2 => keys.announce(token, lease, b"held"),
            3 if self.random.percent(50) => keys.keep_out(lease, self.random.pick(&self.leases)),
            3 => keys.release(token, self.random.percent(50).then_some(lease)),
            _ => keys.enqueue(lease, b"queued", guard),
        }
    }

    /// Any transaction.
    fn any(&mut self) -> Txn {
        let when: Vec<Compare> = (0..self.random.below(3)).map(|_| self.compare()).collect();
        let put = self.random.below(3) as u8;
        let leased = match self.random.below(3) {
            0 => PutOptions::new().with_lease(self.random.pick(&self.leases).get()),
            _ => PutOptions::new(),
        };
        let mut then = vec![TxnOp::put(key(put), vec![b'a' + put], Some(leased))];
        let get = GetOptions::new().with_range(key(9));
        then.push(TxnOp::get(key(0), Some(get.clone())));
        if self.random.percent(40) {
            let deleted = (put + 1) % 3;
            then.push(TxnOp::delete(key(deleted), None));
        }
        Txn::new()
            .when(when)
            .and_then(then)
            .or_else([TxnOp::get(key(0), Some(get)), TxnOp::delete(key(2), None)])
    }

    fn compare(&mut self) -> Compare {
        let ops = [
            CompareOp::Equal,
            CompareOp::Greater,
            CompareOp::Less,
            CompareOp::NotEqual,
        ];
        let op = self.random.pick(&ops);
        let at = key(self.random.below(3) as u8);
        let near = self.revision - self.random.below(6) as i64;
        let compare = match self.random.below(5) {
            0 => Compare::version(at, op, self.random.below(3) as i64),
            1 => Compare::create_revision(at, op, if near % 2 == 0 { 0 } else { near }),
            2 => Compare::mod_revision(at, op, near),
            3 => Compare::lease(at, op, 0),
            _ => Compare::value(at, op, "b"),
        };
        match self.random.percent(30) {
            true => compare.with_range(key(9)),
            false => compare,
        }
    }
}

fn key(number: u8) -> String {
    format!("/any/{number}")
}

/// A real etcd that lives as long as this.
struct Real {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        // It holds nothing but this test's data.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    #[expect(clippy::disallowed_methods, reason = "a server, and nobody reaps here")]
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [client, peer] = [(); 2].map(|()| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            format!("http://{}", listener.local_addr().expect("bound"))
        });
        // As in tests/it: another version of it.
        let binary = std::env::var_os("LEASEHOLD_TEST_ETCD").unwrap_or_else(|| "etcd".into());
        let child = Command::new(binary)
            .arg("--data-dir")
            .arg(folder.path())
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed: scripts/setup.sh test");
        Self {
            child,
            url: client,
            _folder: folder,
        }
    }

    async fn client(&self) -> Client {
        for _ in 0..400 {
            let client = Client::connect([self.url.as_str()], None).await;
            if let Ok(client) = client
                && client.kv_client().get("ready", None).await.is_ok()
            {
                return client;
            }
            reached(clock::now() + Duration::from_millis(50)).await;
        }
        panic!("etcd does not answer at {}", self.url);
    }
}

/// What a watch tells of everything since the first revision, up to this one.
async fn watched(client: &Client, revision: i64) -> Vec<String> {
    let everything = WatchOptions::new().with_start_revision(2).with_from_key();
    let mut stream = client
        .watch_client()
        .watch([0], Some(everything))
        .await
        .expect("a watch");
    let mut told = Vec::new();
    loop {
        let response = stream.message().await.expect("etcd lives");
        for event in response.iter().flat_map(|response| response.events()) {
            let kv = event.kv().expect("always there");
            if kv.mod_revision() > revision {
                return told;
            }
            let deleted = event.event_type() == EventType::Delete;
            told.push(change(deleted, kv.key(), kv.mod_revision()));
        }
    }
}

fn change(deleted: bool, key: &[u8], revision: i64) -> String {
    let what = if deleted { "deleted" } else { "put" };
    format!("{} {what} at {revision}", String::from_utf8_lossy(key))
}

#[test]
fn the_model_answers_as_etcd_does() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let server = Real::start();
        let real = server.client().await;
        let store = Arc::new(Mutex::new(Store::default()));
        let direct = BoxCloneSyncService::new(Direct(Arc::clone(&store)));
        let model = Client::from_channel(Channel::Custom(direct), None).await;
        let model = model.expect("no login");
        for seed in 0..SEQUENCES {
            let mut drawn = Drawn::new(seed);
            for number in 0..REQUESTS {
                let step = drawn.step(&store.lock().expect("one at a time"));
                let expected = send(&real, &step).await;
                let answered = send(&model, &step).await;
                assert_eq!(
                    answered, expected,
                    "seed {seed}, request {number}: {step:?}"
                );
            }
        }
        let revision = store.lock().expect("one at a time").revision;
        assert!(revision > 300, "too little was written: {revision}");
        // What follows is only to end the watch.
        let last = Step::Txn(Txn::new().and_then([TxnOp::put("/last", "", None)]));
        send(&real, &last).await;
        let told = watched(&real, revision).await;
        let store = store.lock().expect("one at a time");
        let changes = store.changes_since(1).iter();
        let model: Vec<String> = changes
            .map(|it| change(it.deleted, &it.kv.key, it.kv.mod_revision))
            .collect();
        assert_eq!(model, told);
    });
}
