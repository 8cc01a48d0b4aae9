//! What the time does to leases, and what they take with them.

use std::time::Duration;

use etcd_client::{
    LeaseKeepAliveResponse, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp, WatchOptions,
};

use super::{Changes, PATIENCE, Script, Step, is_the_same_in_both, time_to_live};
use crate::clock;
use crate::service::etcd::deadline::{reached, within};

/// Long enough for a machine that is busy with other tests.
const TTL: i64 = 5;

/// How often something is looked at.
const PACE: Duration = Duration::from_millis(200);

fn put(key: &str, lease: i64) -> Step {
    let leased = PutOptions::new().with_lease(lease);
    Step::Txn(Txn::new().and_then([TxnOp::put(key, "", Some(leased))]))
}

fn all() -> Step {
    Step::Get("/a".to_owned(), Some("/b".to_owned()))
}

async fn watch(script: &Script) -> Changes {
    let changes = WatchOptions::new().with_start_revision(2).with_range("/b");
    Changes::of(&script.client, "/a", Some(changes)).await
}

/// A lease that is kept alive over one stream.
struct Kept {
    keeper: LeaseKeeper,
    replies: LeaseKeepAliveStream,
}

impl Kept {
    async fn of(script: &Script, lease: i64) -> Self {
        let stream = script.client.lease_client().keep_alive(lease).await;
        let (keeper, replies) = stream.expect("it lives");
        Self { keeper, replies }
    }

    async fn again(&mut self) -> LeaseKeepAliveResponse {
        self.keeper.keep_alive().await.expect("the stream is open");
        let reply = within(clock::now() + PATIENCE, self.replies.message()).await;
        reply
            .expect("it answers")
            .expect("it goes on")
            .expect("an answer")
    }
}

async fn granted_kept_and_revoked(mut script: Script) -> Script {
    let mut changes = watch(&script).await;
    // The shortest that etcd grants is two seconds.
    script.does(Step::Grant(9, 1)).await;
    script.does(Step::Grant(7, 600)).await;
    script.does(Step::TimeToLive(7)).await;
    script.does(Step::KeepAlive(7)).await;
    // Again: its time stays as it was granted.
    script.does(Step::Grant(7, 700)).await;
    script.does(Step::TimeToLive(7)).await;
    script.does(Step::Grant(8, 600)).await;
    for (key, lease) in [
        ("/a/2", 7),
        ("/a/1", 7),
        ("/a/3", 7),
        ("/a/4", 7),
        ("/a/5", 8),
    ] {
        script.does(put(key, lease)).await;
    }
    // One goes to another lease, one to none, one is gone before.
    script.does(put("/a/3", 8)).await;
    script.does(put("/a/4", 0)).await;
    script.does(put("/a/6", 7)).await;
    script.does(Step::Delete("/a/6".to_owned(), None)).await;
    script.does(Step::TimeToLive(7)).await;
    script.does(Step::TimeToLive(8)).await;
    // A stream that outlives its lease.
    let mut kept = Kept::of(&script, 7).await;
    for revoked in [false, true] {
        if revoked {
            script.does(Step::Revoke(7)).await;
        }
        let reply = kept.again().await;
        let (id, ttl) = (reply.id(), reply.ttl());
        script.told.push(format!(
            "over one stream, revoked {revoked}: {id:x} kept for {ttl}"
        ));
    }
    after_its_end(&mut script, 7).await;
    // And so with a lease that never was.
    after_its_end(&mut script, 0x77).await;
    script.does(all()).await;
    script.does(put("/a/end", 0)).await;
    let last = "/a/end put at 12".to_owned();
    let told = changes.until(12).await;
    script.sees("all of it was told", told.contains(&last));
    script.told.extend(told);
    script
}

/// What becomes of a lease that is gone.
async fn after_its_end(script: &mut Script, lease: i64) {
    script.does(Step::TimeToLive(lease)).await;
    script.does(Step::KeepAlive(lease)).await;
    script.does(Step::Revoke(lease)).await;
    script.does(put("/a/late", lease)).await;
}

/// One lease runs out, and another one, which is as long and is kept alive, does not.
async fn left_alone_and_kept(mut script: Script) -> Script {
    let mut changes = watch(&script).await;
    let granted_at = clock::now();
    script.does(Step::Grant(7, TTL)).await;
    script.does(Step::Grant(8, TTL)).await;
    for (key, lease) in [
        ("/a/2", 7),
        ("/a/1", 7),
        ("/a/3", 8),
        ("/a/4", 7),
        ("/a/5", 7),
    ] {
        script.does(put(key, lease)).await;
    }
    script.does(put("/a/4", 8)).await;
    script.does(put("/a/5", 0)).await;
    let mut kept = Kept::of(&script, 8).await;
    let ttl = Duration::from_secs(TTL as u64);
    // Until the one is gone, and for as long again.
    let told = loop {
        let reply = kept.again().await;
        assert_eq!(reply.ttl(), TTL, "it was kept alive all the time");
        if let Some(told) = within(clock::now() + PACE, changes.until(9)).await {
            break told;
        }
        assert!(clock::now().since(granted_at) < PATIENCE, "it does not end");
    };
    let lived = clock::now().since(granted_at);
    script.sees("it lived for as long as it was granted", lived >= ttl);
    script.told.extend(told);
    while clock::now().since(granted_at) < ttl * 2 {
        let reply = kept.again().await;
        assert_eq!(reply.ttl(), TTL, "it was kept alive all the time");
        reached(clock::now() + PACE).await;
    }
    after_its_end(&mut script, 7).await;
    script.does(Step::TimeToLive(8)).await;
    script.does(all()).await;
    // The name is free again, and nothing of before hangs on it.
    script.does(Step::Grant(7, 600)).await;
    script.does(Step::TimeToLive(7)).await;
    script.does(put("/a/1", 7)).await;
    script.does(all()).await;
    script
}

/// A keepalive makes the time begin anew.
async fn refreshed(mut script: Script) -> Script {
    let granted = Duration::from_secs(600);
    let granted_at = clock::now();
    script.does(Step::Grant(7, 600)).await;
    let left = async |script: &Script| {
        let left = time_to_live(&script.client, 7).await.expect("it is there");
        Duration::from_secs(left.ttl as u64)
    };
    let mut before = left(&script).await;
    while before + Duration::from_secs(3) > granted {
        reached(clock::now() + PACE).await;
        before = left(&script).await;
    }
    let ends_after = clock::now().since(granted_at) + before;
    let second = Duration::from_secs(1);
    script.sees("it ends when it was to end", ends_after <= granted + second);
    script.does(Step::KeepAlive(7)).await;
    let after = left(&script).await;
    let ends_after = clock::now().since(granted_at) + after;
    script.sees("now it ends later", ends_after > granted + second);
    script
}

#[test]
fn a_lease_is_granted_kept_and_revoked_as_in_etcd() {
    is_the_same_in_both(granted_kept_and_revoked);
}

#[test]
fn a_lease_runs_out_as_in_etcd() {
    is_the_same_in_both(left_alone_and_kept);
}

#[test]
fn a_keepalive_refreshes_as_in_etcd() {
    is_the_same_in_both(refreshed);
}
