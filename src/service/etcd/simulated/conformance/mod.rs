//! The model against a real etcd: the same requests, sent by the same etcd-client, to both; every answer has to be the
//! same, down to the revisions, and so has what a watch tells of it all. The model answers through the same simulated
//! connection, network and cluster as contenders have in a history.
//!
//! Where time matters, both are waited for: until what is to happen can be seen.

// What is drawn from seeds.
mod requests;
// What the time does.
mod leases;
// What is forgotten.
mod compaction;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::{
    Client, CompactionOptions, DeleteOptions, Error, EventType, GetOptions, KeyValue,
    LeaseGrantOptions, LeaseTimeToLiveOptions, Txn, TxnOpResponse, TxnResponse, WatchOptions,
    WatchResponse, WatchStream,
};
use tokio::runtime::Runtime;

use crate::clock;
use crate::service::etcd::deadline::{reached, within};
use crate::simulation::visit::Visit;

/// How long whatever is waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request as etcd-client takes it.
#[derive(Clone, Debug)]
enum Step {
    Grant(i64, i64),
    Revoke(i64),
    Get(String, Option<String>),
    Delete(String, Option<String>),
    /// At a revision.
    GetAt(String, String, i64),
    Txn(Txn),
    /// One keepalive, over a stream of its own.
    KeepAlive(i64),
    TimeToLive(i64),
    Compact(i64),
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
            read(client, key, options).await
        }
        Step::GetAt(key, end, revision) => {
            let options = GetOptions::new().with_range(end.as_str());
            let options = options.with_revision(*revision);
            read(client, key, options).await
        }
        Step::KeepAlive(id) => kept_alive(client, *id).await,
        Step::TimeToLive(id) => time_to_live(client, *id).await.map(|left| left.spoken),
        Step::Compact(revision) => {
            // Until it is really forgotten.
            let options = CompactionOptions::new().with_physical();
            let compacted = client.kv_client().compact(*revision, Some(options)).await;
            compacted.map(|compacted| {
                let header = compacted.header().expect("always there");
                format!("compacted at {}", header.revision())
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
        Step::Txn(txn) => {
            let response = client.kv_client().txn(txn.clone()).await;
            response.map(|response| transacted(&response))
        }
    };
    answer.unwrap_or_else(|error| match error {
        Error::GRpcStatus(status) => format!("{:?} {}", status.code(), status.message()),
        other => other.to_string(),
    })
}

async fn read(client: &Client, key: &str, options: GetOptions) -> Result<String, Error> {
    let got = client.kv_client().get(key, Some(options)).await?;
    let header = got.header().expect("always there");
    Ok(format!("{} at {}", spoken(got.kvs()), header.revision()))
}

fn transacted(response: &TxnResponse) -> String {
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
    let revision = response.header().expect("always there").revision();
    format!("{} {answers:?} at {revision}", response.succeeded())
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

async fn kept_alive(client: &Client, id: i64) -> Result<String, Error> {
    // etcd-client keeps the first answer for itself.
    let (mut keeper, mut replies) = client.lease_client().keep_alive(id).await?;
    keeper.keep_alive().await?;
    let reply = replies.message().await?;
    Ok(reply.map_or_else(
        || "the stream ended".to_owned(),
        |reply| {
            let header = reply.header().expect("always there");
            let (id, ttl) = (reply.id(), reply.ttl());
            format!("lease {id:x} kept for {ttl} at {}", header.revision())
        },
    ))
}

/// What a lease has left to live.
struct Left {
    ttl: i64,
    spoken: String,
}

async fn time_to_live(client: &Client, id: i64) -> Result<Left, Error> {
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let left = client
        .lease_client()
        .time_to_live(id, Some(options))
        .await?;
    let (ttl, granted) = (left.ttl(), left.granted_ttl());
    let lives = match ttl {
        -1 => "is not there".to_owned(),
        // Whole seconds, and never quite all of them.
        0.. if ttl < granted => "lives".to_owned(),
        odd => format!("has {odd} s left"),
    };
    let keys = left.keys().iter();
    let mut keys: Vec<_> = keys.map(|key| String::from_utf8_lossy(key)).collect();
    // etcd names them in any order.
    keys.sort();
    let revision = left.header().expect("always there").revision();
    let spoken = format!("lease {id:x} of {granted} s {lives}: {keys:?} at {revision}");
    Ok(Left { ttl, spoken })
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

/// What a watch tells.
struct Changes {
    stream: WatchStream,
    /// Of the answer that was read last.
    heard: Vec<(i64, String)>,
}

impl Changes {
    async fn of(client: &Client, key: impl Into<Vec<u8>>, options: Option<WatchOptions>) -> Self {
        let watching = client.watch_client().watch(key, options).await;
        Self {
            stream: watching.expect("a watch"),
            heard: Vec::new(),
        }
    }

    async fn next(&mut self) -> WatchResponse {
        let heard = within(clock::now() + PATIENCE, self.stream.message()).await;
        let heard = heard.expect("something is told").expect("etcd lives");
        heard.expect("the stream goes on")
    }

    /// Everything up to this revision, of which there has to be a change.
    async fn until(&mut self, revision: i64) -> Vec<String> {
        while self.heard.last().is_none_or(|(last, _)| *last < revision) {
            let response = self.next().await;
            let changes = response.events().iter().map(|event| {
                let kv = event.kv().expect("always there");
                let what = match event.event_type() {
                    EventType::Delete => "deleted",
                    EventType::Put => "put",
                };
                let (key, at) = (String::from_utf8_lossy(kv.key()), kv.mod_revision());
                (at, format!("{key} {what} at {at}"))
            });
            self.heard.extend(changes);
        }
        std::mem::take(&mut self.heard)
            .into_iter()
            .map(|(_, change)| change)
            .collect()
    }

    /// What it was told before any change, or instead.
    async fn beginning(&mut self) -> String {
        let response = self.next().await;
        let (created, canceled) = (response.created(), response.canceled());
        let compacted = response.compact_revision();
        format!("created {created}, cancelled {canceled}, compacted {compacted}")
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A client of the simulated cluster.
async fn simulated() -> Client {
    let channel = super::connect("member0:2379").await;
    let channel = channel.expect("a simulation runs").expect("it answers");
    let client = Client::from_channel(channel, None).await;
    client.expect("no login")
}

/// What somebody does, and writes down what came of it.
struct Script {
    client: Client,
    told: Vec<String>,
}

impl Script {
    const fn new(client: Client) -> Self {
        let told = Vec::new();
        Self { client, told }
    }

    async fn does(&mut self, step: Step) {
        let answer = send(&self.client, &step).await;
        self.told.push(format!("{step:?}: {answer}"));
    }

    /// What has to be so in both is written down without its numbers, which are not the same.
    fn sees(&mut self, what: &str, is_so: bool) {
        self.told.push(format!("{what}: {is_so}"));
        assert!(is_so, "{:#?}", self.told);
    }
}

/// Does the same in both.
fn is_the_same_in_both<T: Future<Output = Script> + Send + 'static>(script: fn(Script) -> T) {
    let server = Real::start();
    let expected = runtime().block_on(async {
        let client = server.client().await;
        script(Script::new(client)).await.told
    });
    let mut visit = Visit::begin(1);
    let client = visit.run(simulated());
    let told = visit.run(script(Script::new(client))).told;
    assert_eq!(told, expected);
}
