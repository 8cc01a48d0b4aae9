//! The members of one cluster: which of them to ask, and for how long.
//!
//! - Every request of this folder can be repeated: it does the same once or twice. So a request that was not
//!   answered is sent again, to the next member, until its time is up; and one that is not answered *yet* is sent
//!   to a second and third member after a few times what answers usually take. The first good answer counts.
//! - At the start all members are met at once, and the first to answer is the one that is used: it is alive, near
//!   and not busy. The others are given a moment to say that they are of another cluster.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use etcd_client::{Client, Error, Txn, TxnResponse};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Connection;
use super::deadline::{reached, within};
use super::hedge::{Ended, Hedge};
use super::login::{Asking, Login, Token};
use super::member::{Common, Member};
use super::outstanding::Outstanding;
use super::pace::Pace;
use super::race::Race;
use super::tls::Tls;
use super::trouble::{Failure, Sign};
use crate::clock::{self, Instant};

/// How long the other members are waited for at the start when the first has answered: what a frozen one costs.
const COMPARING: Duration = Duration::from_millis(300);

/// The same for one that answers and does not know our token: it is of another cluster, or far behind, and has to hash a
/// password first to say so.
const COMPARING_STRANGER: Duration = Duration::from_secs(5);

/// How often a request is repeated because the login was forgotten: once is the rule, and a change of users
/// while it goes on may be in the way of that.
const LOGINS_MAX: usize = 3;

/// The pause before a login is tried again at members that cannot be reached; it doubles up to
/// [`LOGIN_PAUSE_MAX`].
const LOGIN_PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause.
const LOGIN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The largest answer to a transaction that is read: memory that other people's keys and values can cost a waiter, some
/// 10,000 contenders for one lock, and five times what etcd takes for one value (1.5 MiB).
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// The members of one cluster.
pub struct Cluster {
    members: Vec<Arc<Member>>,
    common: Arc<Common>,
    /// What is asked for, for whoever may not.
    purpose: String,
    preferred: AtomicUsize,
    failures: watch::Sender<usize>,
    pace: Mutex<Pace>,
    unusable: Option<Failure>,
}

impl Cluster {
    /// The cluster behind these endpoints; nothing is sent yet. `purpose` says what will be asked for: `read the keys below ...`.
    pub fn new(connection: &Connection, purpose: String) -> Self {
        let (tls, unusable) = match connection.endpoints.iter().any(|e| e.is_tls()) {
            true => match Tls::new(&connection.tls) {
                Ok(tls) => (Some(tls), None),
                Err(failure) => (None, Some(failure)),
            },
            false => (None, None),
        };
        let common = Arc::new(Common {
            tls,
            login: connection.login.as_ref().map(Login::new),
            id: OnceLock::new(),
            has_several: connection.endpoints.len() > 1,
        });
        let endpoints = connection.endpoints.iter();
        let members: Result<Vec<_>, Failure> = endpoints
            .map(|endpoint| Member::new(endpoint, &common).map(Arc::new))
            .collect();
        let (members, unusable) = match (members, unusable) {
            (Ok(members), None) => (members, None),
            (Err(failure), _) | (_, Some(failure)) => (Vec::new(), Some(failure)),
        };
        Self {
            members,
            common,
            purpose,
            preferred: AtomicUsize::new(0),
            failures: watch::Sender::new(0),
            pace: Mutex::default(),
            unusable,
        }
    }

    /// What is asked for from now on.
    pub fn ask_for(&mut self, purpose: String) {
        self.purpose = purpose;
    }

    /// The token that requests carry, where somebody logs in.
    pub fn token(&self) -> Option<Token> {
        self.common.login.as_ref().map(|login| login.token.clone())
    }

    /// Asks another member first from now on, where there is one that can be trusted.
    pub fn prefer_next(&self) {
        let next = self.preferred.load(Ordering::Relaxed) + 1;
        let order = self.order(next);
        self.prefer(order.first().copied().unwrap_or(0));
    }

    fn prefer(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }

    /// All members, those first that can be trusted.
    fn order(&self, first: usize) -> Vec<usize> {
        let count = self.members.len();
        let now = clock::now();
        let mut order: Vec<usize> = (0..count).map(|step| (first + step) % count).collect();
        order.sort_by_key(|index| self.members[*index].is_distrusted(now));
        order
    }

    /// How many attempts have failed so far: where it grows, an open stream may be dead without a word.
    pub fn failures(&self) -> usize {
        *self.failures.borrow()
    }

    /// Waits until there are others than the `known` failures.
    pub async fn failed_since(&self, known: usize) {
        let mut failures = self.failures.subscribe();
        // It cannot be closed: its sender is ours.
        let _ = failures.wait_for(|failures| *failures != known).await;
    }

    /// Meets the members, and has one to ask.
    pub async fn connect(&self, give_up_at: Instant) -> Result<(), Failure> {
        if self.common.has_several && self.meet_all(give_up_at).await? {
            return Box::pin(self.meet_known(give_up_at)).await;
        }
        self.hedged(None, give_up_at, |_, member, ends| member.connect(ends))
            .await
    }

    /// Whether a member was met in time.
    async fn meet_all(&self, give_up_at: Instant) -> Result<bool, Failure> {
        let started_at = clock::now();
        let mut meeting = Race::new();
        for (index, member) in self.members.iter().enumerate() {
            meeting.enter(async move { (index, member.connect(give_up_at).await) });
        }
        let mut missing: Vec<usize> = (0..self.members.len()).collect();
        let mut wait_until = give_up_at.min(started_at + COMPARING);
        let mut met = false;
        while let false = meeting.is_empty()
            && let Some((index, answer)) = within(wait_until, meeting.next()).await
        {
            missing.retain(|other| *other != index);
            match answer {
                Ok(()) if !met => {
                    met = true;
                    self.prefer(index);
                    let now = clock::now();
                    self.learn(now.since(started_at));
                    wait_until = give_up_at.min(now + COMPARING);
                }
                Ok(()) => {}
                Err(failure) if failure.sign == Sign::AnotherCluster => return Err(failure),
                Err(_) => self.members[index].trust(false),
            }
        }
        if met {
            for index in missing {
                self.members[index].trust(false);
            }
        }
        Ok(met)
    }

    /// Meets those that want to know first who we are, as etcd does since 3.4.42, 3.5.28 and 3.6.9: without it two
    /// hosts could each use another one of two clusters, and both hold the lock.
    async fn meet_known(&self, give_up_at: Instant) -> Result<(), Failure> {
        let mut unmet = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            if member.asked_who_we_are() {
                unmet.push((index, member));
            }
        }
        if unmet.is_empty() {
            return Ok(());
        }
        self.log_in_first(give_up_at).await?;
        let mut meeting = Race::new();
        let now = clock::now();
        let (heard_by, compared_by) = (now + COMPARING, give_up_at.min(now + COMPARING_STRANGER));
        for (index, member) in unmet {
            meeting.enter(async move { (index, member.meet_as_user(heard_by, compared_by).await) });
        }
        while let false = meeting.is_empty()
            && let Some((index, answer)) = within(compared_by, meeting.next()).await
        {
            match answer {
                Err(failure) if failure.sign == Sign::AnotherCluster => return Err(failure),
                Err(_) => self.members[index].trust(false),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Sends a request, that can be repeated, until it is answered.
    pub async fn call<T, Answer>(
        &self,
        give_up_at: Instant,
        request: impl Fn(Arc<Client>) -> Answer + Sync,
    ) -> Result<T, Failure>
    where
        Answer: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let request = &request;
        self.through_any(None, give_up_at, |_, member, ends| {
            member.call(ends, request)
        })
        .await
    }

    /// Makes attempts through members until one succeeds: `attempt` is told which member it is, and until when
    /// to try. `first` is the member to begin with.
    pub async fn through_any<'a, T, Attempt>(
        &'a self,
        first: Option<usize>,
        give_up_at: Instant,
        attempt: impl Fn(usize, &'a Member, Instant) -> Attempt,
    ) -> Result<T, Failure>
    where
        Attempt: Future<Output = Result<T, Failure>> + Send + 'a,
        T: Send + 'a,
    {
        if let Some(failure) = &self.unusable {
            return Err(failure.clone());
        }
        let mut logins = 0;
        let mut ambiguous = false;
        loop {
            let seen = self.log_in_first(give_up_at).await?;
            let result = self.hedged(first, give_up_at, &attempt).await;
            match (result, &self.common.login) {
                (Err(failure), Some(login))
                    if failure.sign == Sign::TokenRejected && logins < LOGINS_MAX =>
                {
                    logins += 1;
                    ambiguous |= failure.after_ambiguity;
                    let logged_in = Box::pin(self.log_in(login, seen, give_up_at)).await;
                    if let Err(failure) = logged_in {
                        // An earlier sending may be carried out all the same.
                        return Err(match ambiguous {
                            true => failure.with_effect(),
                            false => failure,
                        });
                    }
                }
                (Err(failure), _) if ambiguous => {
                    return Err(self.explained(failure.with_effect()));
                }
                (result, _) => return result.map_err(|failure| self.explained(failure)),
            }
        }
    }

    fn explained(&self, failure: Failure) -> Failure {
        if failure.sign != Sign::NotPermitted {
            return failure;
        }
        let has_identity = self.common.tls.as_ref().is_some_and(Tls::has_identity);
        match &self.common.login {
            Some(login) => failure.naming(&login.user, &self.purpose),
            None if has_identity => failure.naming("the user in our certificate", &self.purpose),
            None => failure.naming("whoever asks", &self.purpose),
        }
    }

    /// Which token requests carry by now.
    pub async fn log_in_first(&self, give_up_at: Instant) -> Result<u64, Failure> {
        let Some(login) = &self.common.login else {
            return Ok(0);
        };
        match login.token.number() {
            // In a box: it is large, and most requests need none.
            0 => Box::pin(self.log_in(login, 0, give_up_at)).await,
            number => Ok(number),
        }
    }

    /// Gets a token that is newer than the one `seen`.
    async fn log_in(&self, login: &Login, seen: u64, give_up_at: Instant) -> Result<u64, Failure> {
        let started_at = clock::now();
        let mut asking = within(give_up_at, login.asking.lock()).await;
        let Some(asking) = asking.as_mut().filter(|_| login.token.number() == seen) else {
            return Ok(login.token.number());
        };
        let mut pause = LOGIN_PAUSE_MIN;
        loop {
            let mut failures = Vec::new();
            // Never two at a time: hashing is what makes a cluster slow when many start.
            for index in self.order(self.preferred.load(Ordering::Relaxed)) {
                let failure = match self.log_in_through(index, asking, give_up_at).await {
                    Ok(()) => return Ok(login.token.number()),
                    Err(failure) if failure.sign == Sign::NoUsers => {
                        login.token.renew(None);
                        return Ok(login.token.number());
                    }
                    Err(failure) if !failure.may_pass() => return Err(failure),
                    Err(failure) => failure,
                };
                let address = self.members[index].address();
                failures.push((
                    address,
                    failure.over(address, clock::now().since(started_at)),
                ));
                if give_up_at <= clock::now() {
                    break;
                }
            }
            let now = clock::now();
            let is_lasting = failures.iter().all(|(_, failure)| failure.lasting);
            if is_lasting || give_up_at.since(now) < LOGIN_PAUSE_MIN {
                return Err(Failure::of_all(failures).before_request());
            }
            reached(give_up_at.min(now + pause)).await;
            pause = (pause * 2).min(LOGIN_PAUSE_MAX);
        }
    }

    /// Asks a member for a token, or waits for the answer of the one that was asked before.
    async fn log_in_through(
        &self,
        index: usize,
        asking: &mut Option<Asking>,
        give_up_at: Instant,
    ) -> Result<(), Failure> {
        let asked_at = clock::now();
        let asked = asking.get_or_insert_with(|| {
            let mut answer = JoinSet::new();
            answer.spawn(Arc::clone(&self.members[index]).authenticate(give_up_at));
            Asking {
                member: index,
                answer,
            }
        });
        let index = asked.member;
        let Some(answer) = within(give_up_at, asked.answer.join_next()).await else {
            let address = self.members[index].address();
            let waited = clock::now().since(asked_at);
            return Err(Failure::unanswered(address, Sign::NotSent, waited));
        };
        *asking = None;
        let address = self.members[index].address();
        // It is ended by nobody but us, so it comes to something.
        let gone = || Failure::unanswered(address, Sign::NotSent, clock::now().since(asked_at));
        let answer = answer.and_then(Result::ok).unwrap_or_else(|| Err(gone()));
        match &answer {
            Ok(()) => self.prefer(index),
            Err(failure) if failure.may_pass() => self.distrust(index),
            Err(_) => {}
        }
        answer
    }

    /// Makes attempts: one, and while it is not answered others through the next members. An attempt that failed
    /// is made again after a pause.
    async fn hedged<'a, T, Attempt>(
        &'a self,
        first: Option<usize>,
        give_up_at: Instant,
        attempt: impl Fn(usize, &'a Member, Instant) -> Attempt,
    ) -> Result<T, Failure>
    where
        Attempt: Future<Output = Result<T, Failure>> + Send + 'a,
        T: Send + 'a,
    {
        if let Some(failure) = &self.unusable {
            return Err(failure.clone());
        }
        let first = first.unwrap_or_else(|| self.preferred.load(Ordering::Relaxed));
        let mut hedge = Hedge::new(self.order(first), give_up_at);
        loop {
            if let Some((turn, ends)) = hedge.due() {
                let overdue_after = self.overdue_after(hedge.remaining());
                let member = &self.members[turn.member];
                // In a box: it is large, and would be moved three times.
                let attempt = Box::pin(attempt(turn.member, member, ends));
                hedge.start(turn, overdue_after, attempt);
            }
            let Some(Ended { turn, took, result }) = hedge.ended().await else {
                if hedge.is_over() {
                    return Err(hedge.failure(|member| self.members[member].address()));
                }
                continue;
            };
            match result {
                Ok(answer) => {
                    self.learn(took);
                    self.settle(turn.member, hedge.overtaken());
                    return Ok(answer);
                }
                Err(failure) if !failure.may_pass() => {
                    self.settle(turn.member, hedge.overtaken());
                    return Err(hedge.last(failure));
                }
                Err(failure) => {
                    self.distrust(turn.member);
                    hedge.fail(turn, failure);
                    if hedge.is_over() {
                        return Err(hedge.failure(|member| self.members[member].address()));
                    }
                }
            }
        }
    }

    fn overdue_after(&self, remaining: Duration) -> Duration {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.overdue_after(remaining)
    }

    fn learn(&self, took: Duration) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.learn(took);
    }

    fn distrust(&self, index: usize) {
        self.failures.send_modify(|failures| *failures += 1);
        self.members[index].trust(false);
        if self.preferred.load(Ordering::Relaxed) == index {
            self.prefer_next();
        }
    }

    /// One member has answered, before those that it has overtaken.
    fn settle(&self, winner: usize, overtaken: &[usize]) {
        self.members[winner].trust(true);
        for index in overtaken {
            // It may be slow, frozen, or not there any more: who asks it next finds out over a new connection.
            self.members[*index].disconnect();
            self.distrust(*index);
        }
        if !overtaken.is_empty() {
            self.prefer(winner);
        }
    }

    /// Sends a transaction, that can be repeated, until it is answered. Also reads are transactions: they
    /// are linearizable and see one revision.
    pub async fn transact(&self, txn: &Txn, give_up_at: Instant) -> Result<TxnResponse, Failure> {
        // Nobody asks what is outstanding of it.
        self.transact_followed(txn, &Outstanding::default(), give_up_at)
            .await
    }

    /// The same, where it matters whether it may be carried out later.
    pub async fn transact_followed(
        &self,
        txn: &Txn,
        outstanding: &Outstanding,
        give_up_at: Instant,
    ) -> Result<TxnResponse, Failure> {
        self.through_any(None, give_up_at, |_, member, ends| async move {
            let answered = member.call(ends, |client| {
                let mut kv = client
                    .kv_client()
                    .max_decoding_message_size(ANSWER_BYTES_MAX);
                let txn = txn.clone();
                async move { outstanding.follow(kv.txn(txn)).await }
            });
            let response = answered.await?;
            member.check_cluster(response.header())?;
            Ok(response)
        })
        .await
    }

    /// Deletes one key, as it is.
    pub async fn delete(&self, key: &str, give_up_at: Instant) -> Result<(), Failure> {
        self.call(give_up_at, |client| async move {
            client.kv_client().delete(key, None).await.map(|_| ())
        })
        .await
    }
}
