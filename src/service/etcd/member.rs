//! One endpoint: its connection, made when it is first needed, and the only place where a call is bounded in
//! time.
//!
//! - One client per endpoint: etcd-client's own balancing picks endpoints at random and ejects none.
//! - The connection is made before a request is sent over it, so that "nothing was sent" can be told from
//!   "no answer". Over each new one the member is met first, where there are others: it says whether it is of
//!   the same cluster, has a leader and is no learner, and a frozen one says nothing.
//! - After a call that was not answered the connection is not used again: behind a firewall that forgot it,
//!   or a machine that is gone, TCP would go on trying for a quarter of an hour. Streams that are open over it
//!   keep it alive for themselves.
//! - No HTTP/2 keepalive: etcd closes connections that ping more often than every 5 s
//!   (etcd: server/embed/config.go, MinTime), and our own deadlines notice silence anyway.

use std::error::Error as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, Error, ResponseHeader};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tonic::transport::Endpoint;

use super::deadline::{reached, within};
use super::dial::{ConnectionOver, Target, dial};
use super::login::{self, Login};
use super::session::new_lease_id;
use super::tls::{self, Tls};
use super::trouble::{Failure, Sign};
use crate::clock::{self, Instant};
use crate::config::endpoint;
use crate::lock::token::ClusterId;
use crate::supervisor::TroubleKind;

/// How long a member may hash a password before it is asked whether it lives.
const HASHING_PATIENCE: Duration = Duration::from_secs(1);

/// How long it may take to say so, at least. A core that hashes a hundred passwords takes its time, and it has
/// only just been met.
const SIGN_OF_LIFE_PATIENCE: Duration = Duration::from_secs(5);

/// The same for a token that is asked for again while a lock is held: the lease does not wait.
const SIGN_OF_LIFE_PATIENCE_MIN: Duration = Duration::from_millis(300);

/// The pause before a member is asked whether it has heard of our token.
const TOKEN_PAUSE: Duration = Duration::from_millis(30);

/// How long a login may take.
const LOGIN_PATIENCE: Duration = Duration::from_secs(60);

/// How long a member that was of no use is asked only after the others.
const DISTRUST: Duration = Duration::from_secs(10);

/// What all members of a cluster share.
pub struct Common {
    /// What is spoken with those that speak TLS.
    pub tls: Option<Tls>,
    /// Who logs in.
    pub login: Option<Login>,
    /// The cluster, and which member it was heard of from.
    pub id: OnceLock<(ClusterId, String)>,
    /// Whether there are several members, so that they have to be compared.
    pub has_several: bool,
}

/// One endpoint.
pub struct Member {
    target: Target,
    url: String,
    is_tls: bool,
    common: Arc<Common>,
    connection: Mutex<Option<Connection>>,
    connections: AtomicU64,
    has_answered: AtomicBool,
    /// When it was last of no use, in nanoseconds since boot; 0 when it was of use since.
    distrusted_at: AtomicU64,
}

#[derive(Clone)]
struct Connection {
    number: u64,
    /// Large, and cloned for every request.
    client: Arc<Client>,
    is_met: Arc<AtomicBool>,
}

impl Member {
    /// The member at an endpoint.
    pub fn new(endpoint: &endpoint::Endpoint, common: &Arc<Common>) -> Result<Self, Failure> {
        let url = endpoint.url();
        let address = url.split_once("://").map_or(url, |(_, address)| address);
        Ok(Self {
            target: Target::parse(address).ok_or_else(|| Failure::no_endpoint(address))?,
            url: url.to_owned(),
            is_tls: endpoint.is_tls(),
            common: Arc::clone(common),
            connection: Mutex::new(None),
            connections: AtomicU64::new(0),
            has_answered: AtomicBool::new(false),
            distrusted_at: AtomicU64::new(0),
        })
    }

    /// Where it is.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// What is spoken with it.
    pub fn tls(&self) -> Option<&Tls> {
        self.common.tls.as_ref().filter(|_| self.is_tls)
    }

    /// How it is named to people.
    pub fn address(&self) -> &str {
        &self.target.address
    }

    /// Notes whether it was of use.
    pub fn trust(&self, is_good: bool) {
        let at = if is_good { 0 } else { clock::now().as_nanos() };
        self.distrusted_at.store(at, Ordering::Relaxed);
    }

    /// Whether others should be asked before it.
    pub fn is_distrusted(&self, now: Instant) -> bool {
        let at = self.distrusted_at.load(Ordering::Relaxed);
        at != 0 && now.since(Instant::from_nanos(at)) < DISTRUST
    }

    /// Sends a request and waits for the answer, connecting first where necessary.
    pub async fn call<T, Answer>(
        &self,
        give_up_at: Instant,
        request: impl Fn(Arc<Client>) -> Answer,
    ) -> Result<T, Failure>
    where
        Answer: Future<Output = Result<T, Error>>,
    {
        let connection = self.ready(give_up_at).await?;
        let first = self.send(&connection, give_up_at, &request).await;
        match first {
            // It was closed while nobody used it: nothing was sent.
            Err(failure) if failure.sign == Sign::NotSent && !failure.silent => {
                let connection = self.ready(give_up_at).await?;
                self.send(&connection, give_up_at, &request).await
            }
            result => result,
        }
    }

    async fn send<T, Answer>(
        &self,
        connection: &Connection,
        give_up_at: Instant,
        request: impl Fn(Arc<Client>) -> Answer,
    ) -> Result<T, Failure>
    where
        Answer: Future<Output = Result<T, Error>>,
    {
        // In a box: it is large, and would be moved several times.
        let exchange = Box::pin(request(Arc::clone(&connection.client)));
        let result = self.bounded(give_up_at, exchange).await;
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
            Some(Ok(answer)) => {
                self.has_answered.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Some(Err(error)) => Err(self.failure(&error)),
            None => {
                let waited = clock::now().since(started_at);
                Err(Failure::unanswered(self.address(), Sign::Ambiguous, waited))
            }
        }
    }

    fn failure(&self, error: &Error) -> Failure {
        let refused = match (&self.common.tls, error) {
            (Some(tls), Error::GRpcStatus(status)) => {
                tls::cause(status).map(|cause| tls.explain(self.address(), cause))
            }
            _ => None,
        };
        let failure = refused.unwrap_or_else(|| Failure::of(self.address(), error));
        // etcd hangs up on whoever does not speak TLS to it.
        let may_want_tls = !self.is_tls && !self.has_answered.load(Ordering::Relaxed);
        let is_broken = matches!(error, Error::GRpcStatus(status) if status.source().is_some());
        match may_want_tls && is_broken && failure.sign == Sign::Ambiguous {
            true => failure.adding("if it speaks TLS, write https:// before it"),
            false => failure,
        }
    }

    /// Connects, where there is no connection.
    pub async fn connect(&self, give_up_at: Instant) -> Result<(), Failure> {
        self.ready(give_up_at).await.map(|_| ())
    }

    async fn ready(&self, give_up_at: Instant) -> Result<Connection, Failure> {
        let started_at = clock::now();
        let ready = async {
            let connection = self.connected().await?;
            // A member that speaks to users only could not be met before there was one.
            if self.common.has_several
                && !connection.is_met.load(Ordering::Relaxed)
                && self.has_token()
            {
                let met = Box::pin(self.meet(&connection)).await;
                met.inspect_err(|_| self.disconnect_if(|number| number == connection.number))?;
            }
            Ok(connection)
        };
        let ready = within(give_up_at, ready).await.unwrap_or_else(|| {
            let waited = clock::now().since(started_at);
            Err(Failure::unanswered(self.address(), Sign::NotSent, waited))
        });
        ready.map_err(|failure| match failure.sign {
            Sign::AnotherCluster => failure,
            _ => failure.before_request(),
        })
    }

    /// Whoever comes first connects; the others wait for that connection.
    async fn connected(&self) -> Result<Connection, Failure> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        // In a box: it is large, and most requests find a connection.
        let connection = Box::pin(self.new_connection()).await?;
        Ok(slot.insert(connection).clone())
    }

    async fn new_connection(&self) -> Result<Connection, Failure> {
        let channel = self.new_channel().await?;
        // A member that knows no leader says so at once, and ends streams when it loses it.
        let options = ConnectOptions::new().with_require_leader(true);
        let client = Client::from_channel(channel, Some(options)).await;
        let connection = Connection {
            number: self.connections.fetch_add(1, Ordering::Relaxed),
            client: Arc::new(client.map_err(|error| self.failure(&error))?),
            is_met: Arc::new(AtomicBool::new(false)),
        };
        if self.common.has_several {
            self.meet(&connection).await?;
        }
        Ok(connection)
    }

    async fn new_channel(&self) -> Result<Channel, Failure> {
        #[cfg(test)]
        if let Some(simulated) = super::simulated::connect(self.address()).await {
            let refused = Failure::unanswered(self.address(), Sign::NotSent, Duration::ZERO);
            return simulated.ok_or(refused);
        }
        let mut stream = Some(TokioIo::new(dial(&self.target, self.tls()).await?));
        // What tonic is given is used up with its end: a new one is made here, and met.
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().ok_or(ConnectionOver);
            async move { stream }
        });
        let endpoint = Endpoint::from_shared(self.url.clone());
        let endpoint = endpoint.map_err(|_| Failure::no_endpoint(self.address()))?;
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| self.failure(&Error::TransportError(error)))?;
        Ok(match &self.common.login {
            Some(login) => login.token.carried_by(channel),
            None => Channel::Tonic(channel),
        })
    }

    /// Asks for a lease that nobody has: this needs no permission, writes nothing, and every member answers it
    /// that has a leader and is none or no longer a learner, with the cluster it is of.
    async fn meet(&self, connection: &Connection) -> Result<(), Failure> {
        let nobodys = new_lease_id()?.get();
        let mut leases = connection.client.lease_client();
        match leases.time_to_live(nobodys, None).await {
            Ok(response) => {
                self.has_answered.store(true, Ordering::Relaxed);
                self.check_cluster(response.header())?;
                connection.is_met.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                let failure = self.failure(&error);
                // It lives, and wants to know who we are first.
                let asks_who = failure.sign == Sign::TokenRejected && self.common.login.is_some();
                if asks_who { Ok(()) } else { Err(failure) }
            }
        }
    }

    /// Whether it is connected and wanted to know first who we are, so that it is not known of which cluster it is.
    pub fn asked_who_we_are(&self) -> bool {
        let is_unmet = |current: &Connection| !current.is_met.load(Ordering::Relaxed);
        let slot = self.connection.try_lock();
        slot.is_ok_and(|slot| slot.as_ref().is_some_and(is_unmet))
    }

    /// Meets it as the user that we are by now. It may be of the same cluster and not have heard yet of our token; one
    /// of another cluster never will, and answers only a login of its own.
    pub async fn meet_as_user(
        self: &Arc<Self>,
        heard_by: Instant,
        give_up_at: Instant,
    ) -> Result<(), Failure> {
        let patience = heard_by.since(clock::now());
        let connection = self.ready(heard_by).await?;
        while !connection.is_met.load(Ordering::Relaxed) {
            if heard_by <= clock::now() {
                return Arc::clone(self).authenticate(give_up_at).await;
            }
            reached(clock::now() + TOKEN_PAUSE).await;
            let met = within(clock::now() + patience, self.meet(&connection)).await;
            met.unwrap_or_else(|| {
                Err(Failure::unanswered(self.address(), Sign::NotSent, patience))
            })?;
        }
        Ok(())
    }

    fn has_token(&self) -> bool {
        let login = self.common.login.as_ref();
        login.is_some_and(|login| login.token.is_there())
    }

    /// Tokens of two clusters cannot be compared, so endpoints of two clusters cannot be one lock service.
    pub fn check_cluster(&self, header: Option<&ResponseHeader>) -> Result<(), Failure> {
        let Some(header) = header else {
            return Ok(());
        };
        let answered = ClusterId(header.cluster_id());
        let address = self.address();
        let (known, known_from) = self
            .common
            .id
            .get_or_init(|| (answered, address.to_owned()));
        if *known == answered {
            return Ok(());
        }
        let failure = Failure::lasting(
            TroubleKind::Misconfigured,
            format!(
                "etcd at {known_from} is cluster {known}, and etcd at {address} is cluster {answered}: a lock cannot be in two clusters; give the endpoints of one"
            ),
        );
        Err(Failure {
            sign: Sign::AnotherCluster,
            ..failure
        })
    }

    /// Gets a token. Hashing takes long on a busy member, which is no reason to have another one do it too;
    /// only one that does not live is given up early. Who asks first would like to have it by `wanted_by`.
    pub async fn authenticate(self: Arc<Self>, wanted_by: Instant) -> Result<(), Failure> {
        let Some(login) = &self.common.login else {
            return Ok(());
        };
        let asked_at = clock::now();
        let remaining = wanted_by.since(asked_at);
        let is_again = login.token.number() > 0;
        let (hashing, sign_of_life) = match is_again {
            false => (HASHING_PATIENCE, SIGN_OF_LIFE_PATIENCE.max(remaining / 2)),
            true => (
                HASHING_PATIENCE.min(remaining / 4),
                (remaining / 4).clamp(SIGN_OF_LIFE_PATIENCE_MIN, SIGN_OF_LIFE_PATIENCE),
            ),
        };
        let give_up_at = (asked_at + LOGIN_PATIENCE).max(wanted_by);
        let mut asking = pin!(self.call(give_up_at, |client| async move {
            let mut auth = client.auth_client();
            auth.authenticate(login.user.clone(), login.password.clone())
                .await
        }));
        let answer = loop {
            if let Some(answer) = within(clock::now() + hashing, &mut asking).await {
                break answer?;
            }
            // While many start, only others could be asked in its place; while a lock is held, its connection may be dead.
            if self.common.has_several || is_again {
                tokio::select! {
                    biased;
                    answer = &mut asking => break answer?,
                    alive = self.is_alive(clock::now() + sign_of_life) => alive?,
                }
            }
        };
        self.check_cluster(answer.header())?;
        login.token.renew(login::header(answer.token()));
        Ok(())
    }

    /// Any answer will do, also that of a member without a leader or one that tells its state to nobody.
    async fn is_alive(&self, give_up_at: Instant) -> Result<(), Failure> {
        let asked = self.call(give_up_at, |client| async move {
            client.maintenance_client().status().await.map(|_| ())
        });
        match asked.await {
            Err(failure) if !failure.answered => Err(failure),
            _ => Ok(()),
        }
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
