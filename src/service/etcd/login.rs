//! Who we are, for clusters with users: one login for all members.
//!
//! - Asking for a token costs etcd the hashing of the password (about 50 ms of one core), so it is asked for when
//!   it is first needed, from one member, and never from two at a time.
//! - etcd gives a token in a raft entry, so every member knows it (etcd: server/auth/simple_token.go), and
//!   one is enough for all. etcd-client keeps a token for each of its clients and takes none from outside; so it
//!   is put into the requests here.
//! - A token can be forgotten at any time: it expires (300 s after its last use, counted by each member for
//!   itself), and a change of users or roles ends those that are signed. Then it is asked for again.

use std::sync::{Arc, PoisonError, RwLock};

use etcd_client::Channel;
use tokio::task::JoinSet;
use tonic::codegen::http::{HeaderValue, Request};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::trouble::Failure;
use crate::config::login as config;

/// The request that gets a token has none.
const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";

/// Who logs in, and what came of it.
pub struct Login {
    /// The user.
    pub user: String,
    /// The user's password, as etcd takes it.
    pub password: String,
    /// The token.
    pub token: Token,
    /// Held by whoever waits for a token that was asked for. It goes on being asked for where nobody waits any
    /// more: a request that has less time than the hashing takes would have it begin anew each time.
    pub asking: tokio::sync::Mutex<Option<Asking>>,
}

/// A request for a token, and the member that it was sent to.
pub struct Asking {
    /// Which member.
    pub member: usize,
    /// What it comes to. A task of its own: a request that is not polled any more, because nobody waits for it, could
    /// have the making of a connection in its hands. It ends with this.
    pub answer: JoinSet<Result<(), Failure>>,
}

/// The token that every request carries.
#[derive(Clone, Default)]
pub struct Token(Arc<RwLock<State>>);

#[derive(Default)]
struct State {
    value: Option<HeaderValue>,
    /// How often it was asked for.
    number: u64,
}

impl Login {
    /// Nobody is logged in yet.
    pub fn new(settings: &config::Login) -> Self {
        let password = settings.password.value.reveal();
        Self {
            user: settings.user.value.clone(),
            password: String::from_utf8_lossy(password).into_owned(),
            token: Token::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }
}

impl Token {
    /// Which of them the present one is: 0 before there was any.
    pub fn number(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).number
    }

    /// Whether requests carry one.
    pub fn is_there(&self) -> bool {
        self.value().is_some()
    }

    /// The next one; none where no user is needed.
    pub fn renew(&self, value: Option<HeaderValue>) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.number += 1;
        state.value = value;
    }

    fn value(&self) -> Option<HeaderValue> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.value.clone()
    }

    /// A channel whose requests carry whatever the token is when they are sent.
    pub fn carried_by(&self, channel: tonic::transport::Channel) -> Channel {
        let token = self.clone();
        let carrying = move |mut request: Request<tonic::body::Body>| {
            if request.uri().path() != AUTHENTICATE
                && let Some(value) = token.value()
            {
                request.headers_mut().insert("token", value);
            }
            request
        };
        let channel = channel.map_request(carrying).map_err(Into::into);
        Channel::Custom(BoxCloneSyncService::new(channel))
    }
}

/// A token as a header, never shown.
pub fn header(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(token).ok()?;
    value.set_sensitive(true);
    Some(value)
}
