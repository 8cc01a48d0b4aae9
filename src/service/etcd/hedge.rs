//! The attempts at one request: one through the first member, and while it is not answered others through the
//! next ones. An attempt that failed is made again after a pause, with more patience.

use std::time::Duration;

use super::deadline::within;
use super::race::Race;
use super::trouble::{Failure, Sign};
use crate::clock::{self, Instant};

/// How many members one request is sent to at the same time.
const AT_ONCE_MAX: usize = 3;

/// How long the first attempt through a member may take at least; each further one gets twice as much, so that a
/// slow cluster is not hammered.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);

/// How long any attempt may take where two thirds of the time there is are no less. After a silent one the connection
/// is made anew: over a slow network the answer of the first has to be waited for, since the next ones take longer;
/// and there has to be time for them, since a connection can be dead. Other members are asked meanwhile.
const SLOW_ATTEMPT: Duration = Duration::from_secs(3);

/// The pause before a member is asked again; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How much later than its end an attempt is sure to have ended.
const SLACK: Duration = Duration::from_millis(100);

/// A member's turn to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which member.
    pub member: usize,
    /// How often it was asked before.
    tries: u32,
    /// From when on it may be asked.
    ready_at: Instant,
}

impl Turn {
    fn patience(&self, remaining: Duration) -> Duration {
        let slow = SLOW_ATTEMPT.min(remaining * 2 / 3);
        slow.max(FIRST_ATTEMPT * 2_u32.pow(self.tries.min(6)))
    }

    fn again(self, now: Instant, remaining: Duration) -> Self {
        let pause = PAUSE_MIN * 2_u32.pow(self.tries.min(6));
        Self {
            member: self.member,
            tries: self.tries + 1,
            // At the end of the time too there is a last attempt.
            ready_at: now + pause.min(PAUSE_MAX).min(remaining / 2),
        }
    }
}

/// An attempt that came to an end.
pub struct Ended<T> {
    /// Whose turn it was.
    pub turn: Turn,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub result: Result<T, Failure>,
}

/// The attempts at one request.
pub struct Hedge<'run, T> {
    turns: Vec<Turn>,
    running: Race<'run, Ended<T>>,
    asked: Vec<usize>,
    failures: Vec<Option<Failure>>,
    asked_at: Instant,
    give_up_at: Instant,
    next_at: Instant,
    ambiguous: bool,
}

impl<'run, T: Send + 'run> Hedge<'run, T> {
    /// No attempt was made yet. The members will be asked in this order.
    pub fn new(order: Vec<usize>, give_up_at: Instant) -> Self {
        let now = clock::now();
        let turn = |member| Turn {
            member,
            tries: 0,
            ready_at: now,
        };
        Self {
            failures: vec![None; order.len()],
            turns: order.into_iter().map(turn).collect(),
            running: Race::new(),
            asked: Vec::new(),
            asked_at: now,
            give_up_at,
            next_at: now,
            ambiguous: false,
        }
    }

    /// How long there is left.
    pub fn remaining(&self) -> Duration {
        self.give_up_at.since(clock::now())
    }

    /// Whose turn it is, if another attempt is to be made now; and when that has to end.
    pub fn due(&mut self) -> Option<(Turn, Instant)> {
        let now = clock::now();
        let is_time = self.running.is_empty() || self.next_at <= now;
        // The first attempt is made however little time there is.
        let is_worth_it = self.give_up_at.since(now) >= PAUSE_MIN
            || (self.asked.is_empty() && self.failures.iter().all(Option::is_none));
        if !is_time || !is_worth_it || self.running.len() >= AT_ONCE_MAX {
            return None;
        }
        let index = self.turns.iter().position(|turn| turn.ready_at <= now)?;
        let turn = self.turns.remove(index);
        Some((
            turn,
            self.give_up_at.min(now + turn.patience(self.remaining())),
        ))
    }

    /// Makes an attempt; the next one is due if it is not answered after `overdue_after`.
    pub fn start(
        &mut self,
        turn: Turn,
        overdue_after: Duration,
        attempt: impl Future<Output = Result<T, Failure>> + Send + 'run,
    ) {
        let started_at = clock::now();
        self.next_at = started_at + overdue_after;
        self.asked.push(turn.member);
        self.running.enter(async move {
            let result = attempt.await;
            let took = clock::now().since(started_at);
            Ended { turn, took, result }
        });
    }

    /// The next attempt to come to an end; nothing when it is time for another one.
    pub async fn ended(&mut self) -> Option<Ended<T>> {
        let ready_at = self.turns.iter().map(|turn| turn.ready_at).min();
        let last_at = self.give_up_at - PAUSE_MIN;
        let wake_at = match ready_at.map(|at| at.max(self.next_at)) {
            _ if self.running.is_empty() => ready_at.unwrap_or(self.give_up_at),
            // Late as it may be by now: an attempt that is not made must not be waited for.
            Some(at) if self.running.len() < AT_ONCE_MAX && at.max(clock::now()) <= last_at => at,
            // Attempts end by themselves.
            _ => self.give_up_at + SLACK,
        };
        let ended = within(wake_at, self.running.next()).await?;
        self.asked.retain(|member| *member != ended.turn.member);
        Some(ended)
    }

    /// Takes in a failure that may pass.
    pub fn fail(&mut self, turn: Turn, failure: Failure) {
        self.ambiguous |= failure.sign == Sign::Ambiguous;
        let known = self.failures[turn.member].take();
        self.failures[turn.member] = Some(match known {
            // The last attempt has little time: its silence says less than what the member said before.
            Some(known) if failure.silent && !known.silent => known,
            _ => failure,
        });
        self.next_at = clock::now();
        self.turns.push(turn.again(self.next_at, self.remaining()));
    }

    /// A failure that ends the request, though other attempts may have an effect.
    pub fn last(&self, failure: Failure) -> Failure {
        let ambiguous = self.ambiguous || !self.running.is_empty();
        Failure {
            after_ambiguity: failure.after_ambiguity || ambiguous,
            ..failure
        }
    }

    /// The members whose attempts are still under way.
    pub fn overtaken(&self) -> &[usize] {
        &self.asked
    }

    /// Whether nothing is worth trying any more.
    pub fn is_over(&self) -> bool {
        let is_lasting =
            |failure: &Option<Failure>| failure.as_ref().is_some_and(|failure| failure.lasting);
        let failed = self.failures.iter().any(Option::is_some);
        self.running.is_empty()
            && failed
            && (self.remaining() < PAUSE_MIN || self.failures.iter().all(is_lasting))
    }

    /// What the failures of all members come to; `address` names a member.
    pub fn failure<'name>(self, address: impl Fn(usize) -> &'name str) -> Failure {
        let waited = clock::now().since(self.asked_at);
        let failures = self.failures.into_iter().enumerate();
        let failures = failures
            .filter_map(|(member, failure)| {
                let address = address(member);
                Some((address, failure?.over(address, waited)))
            })
            .collect();
        let failure = Failure::of_all(failures);
        Failure {
            after_ambiguity: failure.after_ambiguity || self.ambiguous,
            ..failure
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::service::etcd::deadline::reached;

    /// What the attempts through one member, one after the other, come to.
    async fn failure_of(attempts: Vec<Failure>) -> Failure {
        let mut hedge = Hedge::<()>::new(vec![0], clock::now() + Duration::from_secs(9));
        for failure in attempts {
            reached(hedge.turns[0].ready_at).await;
            let (turn, _) = hedge.due().expect("its turn");
            hedge.start(turn, Duration::from_secs(1), async { Err(failure) });
            let ended = hedge.ended().await.expect("it has ended");
            hedge.fail(ended.turn, ended.result.expect_err("a failure"));
        }
        hedge.failure(|_| "etcd1:2379")
    }

    #[tokio::test]
    async fn what_a_member_said_is_not_forgotten_over_its_silence() {
        let refused = || Failure::unconnected("etcd1:2379", "connection refused");
        let silence = |sign| Failure::unanswered("etcd1:2379", sign, Duration::from_millis(50));
        let said = failure_of(vec![refused(), silence(Sign::NotSent)]).await;
        assert_eq!(said.trouble, refused().trouble);
        assert!(said.is_without_effect());
        // What its silence leaves open remains open.
        let said = failure_of(vec![refused(), silence(Sign::Ambiguous)]).await;
        assert_eq!(said.trouble, refused().trouble);
        assert!(!said.is_without_effect());
        // What it said last counts.
        let said = failure_of(vec![silence(Sign::NotSent), refused()]).await;
        assert_eq!(said.trouble, refused().trouble);
        let broken = || Failure::unconnected("etcd1:2379", "broken pipe");
        let said = failure_of(vec![refused(), broken()]).await;
        assert_eq!(said.trouble, broken().trouble);
    }

    /// Found by the simulator: it asked again and again, without a pause, whether it was time for an attempt that
    /// there was no time for any more, and nothing else of the process ran meanwhile.
    #[tokio::test]
    async fn one_who_wakes_too_late_for_another_attempt_waits_for_those_that_run() {
        let began_at = clock::now();
        let give_up_at = began_at + Duration::from_millis(500);
        let mut hedge = Hedge::<()>::new(vec![0, 1], give_up_at);
        let (turn, _) = hedge.due().expect("the first attempt");
        hedge.start(turn, Duration::from_millis(10), pending());
        reached(give_up_at - PAUSE_MIN + Duration::from_millis(1)).await;
        assert!(hedge.due().is_none(), "too late");
        assert!(hedge.ended().await.is_none());
        assert!(clock::now() >= give_up_at, "it was not waited for");
    }
}
