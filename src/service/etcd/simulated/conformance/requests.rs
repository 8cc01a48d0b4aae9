//! Requests drawn from a seed: our own transactions as they are shipped, and any others.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, WatchOptions};

use super::{Changes, Real, Step, send, simulated};
use crate::lock::admission::Marker;
use crate::lock::key::Prefix;
use crate::lock::limit::Limit;
use crate::lock::token::{LeaseId, Token};
use crate::service::etcd::transaction::{Guard, Keys};
use crate::simulation::random::Random;
use crate::simulation::store::Store;
use crate::simulation::visit::Visit;

const SEQUENCES: u64 = 40;
const REQUESTS: usize = 40;

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
        match self.random.below(16) {
            // Longer than this test: what the time does is for `leases`.
            0 | 1 => Step::Grant(lease.get(), self.random.between(600, 900) as i64),
            2 => Step::Revoke(lease.get()),
            3 => Step::Delete(keys.locks[0].entry.clone(), None),
            4 => Step::Get("/leasehold/job/".to_owned(), end),
            5 if self.random.percent(30) => Step::Delete("/leasehold/job/".to_owned(), end),
            6..=8 => Step::Txn(self.own(&keys, lease, store)),
            12 => Step::KeepAlive(lease.get()),
            13 => Step::TimeToLive(lease.get()),
            // Also what was compacted already, and what is not there yet.
            14 if self.random.percent(40) => Step::Compact(self.near()),
            14 | 15 => Step::GetAt(
                "/leasehold/".to_owned(),
                "/leasehold0".to_owned(),
                self.near(),
            ),
            _ => Step::Txn(self.any()),
        }
    }

    fn near(&mut self) -> i64 {
        self.revision + 2 - self.random.below(12) as i64
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

#[test]
fn the_model_answers_as_etcd_does() {
    let runtime = super::runtime();
    let server = Real::start();
    let real = runtime.block_on(server.client());
    let mut visit = Visit::begin(1);
    let model = visit.run(simulated());
    let everything = WatchOptions::new().with_start_revision(2).with_from_key();
    let all = || Some(everything.clone());
    let mut told = runtime.block_on(Changes::of(&real, [0], all()));
    let asked = model.clone();
    let options = all();
    let mut model_told = visit.run(async move { Changes::of(&asked, [0], options).await });
    let mut compacted = 0;
    for seed in 0..SEQUENCES {
        let mut drawn = Drawn::new(seed);
        for number in 0..=REQUESTS {
            let step = match number < REQUESTS {
                true => drawn.step(visit.store()),
                // So that both watches have something to tell of the last revision.
                false => Step::Txn(Txn::new().and_then([TxnOp::put("/end", "", None)])),
            };
            let expected = runtime.block_on(send(&real, &step));
            let (client, asked) = (model.clone(), step.clone());
            let answered = visit.run(async move { send(&client, &asked).await });
            assert_eq!(
                answered, expected,
                "seed {seed}, request {number}: {step:?}"
            );
        }
        let revision = visit.store().revision;
        compacted = compacted.max(visit.store().compacted);
        let expected = runtime.block_on(told.until(revision));
        let changes;
        (changes, model_told) = visit.run(async move {
            let mut told = model_told;
            (told.until(revision).await, told)
        });
        assert_eq!(changes, expected, "seed {seed}");
    }
    let revision = visit.store().revision;
    assert!(revision > 200, "too little was written: {revision}");
    assert!(compacted > 200, "too little was compacted: {compacted}");
}
