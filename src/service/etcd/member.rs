//! One endpoint: its connection, made when it is first needed, and the only place where a call is bounded in
//! time.
//!
//! - One client per endpoint: etcd-client's own balancing picks endpoints at random and ejects none.
//! - The connection is made before a request is sent over it, so that "nothing was sent" can be told from
//!   "no answer".
//! - After a call that was not answered the connection is not used again: behind a firewall that forgot it,
//!   or a machine that is gone, TCP would go on trying for a quarter of an hour. Streams that are open over it
//!   keep it alive for themselves.
//! - No HTTP/2 keepalive: etcd closes connections that ping more often than every 5 s
//!   (etcd: server/embed/config.go, MinTime), and our own deadlines notice silence anyway.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, Error};
use tokio::sync::Mutex;
use tonic::transport::Endpoint;

use super::deadline::within;
use super::trouble::{Failure, Sign};
use crate::clock::{self, Instant};

/// How long one address may take to accept a connection; shared among the addresses of a host name
/// (hyper-util: client/legacy/connect/http.rs), so that a dead first one does not hide the others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One endpoint.
pub struct Member {
    address: String,
    uri: String,
    connection: Mutex<Option<Connection>>,
    connections: AtomicU64,
}

#[derive(Clone)]
struct Connection {
    number: u64,
    client: Client,
}

impl Member {
    /// The member at an endpoint as the user wrote it: `host:port` or `http://host:port`.
    pub fn new(endpoint: &str) -> Self {
        let uri = match endpoint.contains("://") {
            true => endpoint.to_owned(),
            false => format!("http://{endpoint}"),
        };
        let address = uri.split_once("://").map_or(endpoint, |(_, rest)| rest);
        Self {
            address: address.trim_end_matches('/').to_owned(),
            uri,
            connection: Mutex::new(None),
            connections: AtomicU64::new(0),
        }
    }

    /// How it is named to people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and waits for the answer, connecting first where necessary.
    pub async fn call<T, Answer>(
        &self,
        give_up_at: Instant,
        request: impl FnOnce(Client) -> Answer,
    ) -> Result<T, Failure>
    where
        Answer: Future<Output = Result<T, Error>>,
    {
        let connection = self.connected(give_up_at).await?;
        let result = self.bounded(give_up_at, request(connection.client)).await;
        if let Err(failure) = &result
            && failure.is_of_the_connection()
        {
            self.disconnect_if(|number| number == connection.number);
        }
        result
    }

    /// What an exchange over an open stream of this member comes to.
    pub async fn bounded<T>(
        &self,
        give_up_at: Instant,
        exchange: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let started_at = clock::now();
        match within(give_up_at, exchange).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(Failure::of(&self.address, &error)),
            None => {
                let waited = clock::now().since(started_at);
                Err(Failure::unanswered(&self.address, Sign::Ambiguous, waited))
            }
        }
    }

    async fn connected(&self, give_up_at: Instant) -> Result<Connection, Failure> {
        if let Ok(slot) = self.connection.try_lock()
            && let Some(connection) = &*slot
        {
            return Ok(connection.clone());
        }
        let started_at = clock::now();
        within(give_up_at, self.connect()).await.unwrap_or_else(|| {
            let waited = clock::now().since(started_at);
            Err(Failure::unanswered(&self.address, Sign::NotSent, waited))
        })
    }

    /// Whoever comes first connects; the others wait for that connection.
    async fn connect(&self) -> Result<Connection, Failure> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let endpoint = self.endpoint()?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Failure::unconnected(&self.address, &error))?;
        // A member that knows no leader says so at once, and ends streams when it loses it.
        let options = ConnectOptions::new().with_require_leader(true);
        let client = Client::from_channel(Channel::Tonic(channel), Some(options))
            .await
            .map_err(|error| Failure::of(&self.address, &error))?;
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(slot.insert(Connection { number, client }).clone())
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        if self.uri.starts_with("https://") {
            return Err(Failure::refused(format!(
                "https is not supported yet: {}",
                self.uri
            )));
        }
        let endpoint = Endpoint::from_shared(self.uri.clone())
            .ok()
            .filter(|endpoint| endpoint.uri().port_u16().is_some())
            .ok_or_else(|| Failure::no_endpoint(&self.address))?;
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT))
    }

    /// Does not use the present connection any more.
    pub fn disconnect(&self) {
        self.disconnect_if(|_| true);
    }

    fn disconnect_if(&self, is_meant: impl Fn(u64) -> bool) {
        // Where it is locked, somebody is replacing it already.
        if let Ok(mut slot) = self.connection.try_lock()
            && slot
                .as_ref()
                .is_some_and(|current| is_meant(current.number))
        {
            *slot = None;
        }
    }
}
