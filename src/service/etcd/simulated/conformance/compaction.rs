//! What a compaction leaves, and what is said of the rest.

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, WatchOptions};

use super::{Changes, Script, Step, is_the_same_in_both};

/// What stood where at a revision.
fn all_at(revision: i64) -> Step {
    Step::GetAt("/a".to_owned(), "/b".to_owned(), revision)
}

fn put(key: &str) -> Step {
    let leased = PutOptions::new().with_lease(7);
    Step::Txn(Txn::new().and_then([TxnOp::put(key, "new", Some(leased))]))
}

/// Puts once more what was last put at `mod_revision`, and otherwise reads it.
fn put_if(key: &str, mod_revision: i64) -> Step {
    let compare = Compare::mod_revision(key, CompareOp::Equal, mod_revision);
    let txn = Txn::new()
        .when([compare])
        .and_then([TxnOp::put(key, "", None)]);
    Step::Txn(txn.or_else([TxnOp::get(key, None)]))
}

async fn watch(script: &Script, from: i64) -> Changes {
    let options = WatchOptions::new()
        .with_start_revision(from)
        .with_range("/b");
    Changes::of(&script.client, "/a", Some(options)).await
}

async fn compacted(mut script: Script) -> Script {
    script.does(Step::Grant(7, 600)).await;
    // Revisions 2 to 7.
    for key in ["/a/1", "/a/2", "/a/1", "/a/1", "/a/3", "/a/1"] {
        script.does(put(key)).await;
    }
    let mut open = watch(&script, 2).await;
    script.does(Step::Delete("/a/2".to_owned(), None)).await;
    let told = open.until(8).await;
    script.told.extend(told);
    // Once, and no further back, and not into the future.
    for revision in [6, 6, 5, 1, 9] {
        script.does(Step::Compact(revision)).await;
    }
    for revision in 1..=10 {
        script.does(all_at(revision)).await;
    }
    // A watch from before what was compacted, one from there, and one from after it.
    for from in [2, 5, 6, 7, 8] {
        let mut changes = watch(&script, from).await;
        let beginning = changes.beginning().await;
        script.told.push(format!("from {from}: {beginning}"));
        if from < 6 {
            let next = changes.beginning().await;
            script.told.push(next);
        } else {
            let told = changes.until(8).await;
            script.told.extend(told);
        }
    }
    // Transactions ask for what is there now.
    script.does(put_if("/a/1", 7)).await;
    script.does(put_if("/a/1", 2)).await;
    script.does(put_if("/a/2", 0)).await;
    script.does(put_if("/a/3", 6)).await;
    script.does(Step::Compact(11)).await;
    script
        .does(Step::Get("/a".to_owned(), Some("/b".to_owned())))
        .await;
    script.does(put_if("/a/3", 11)).await;
    script.does(put("/a/4")).await;
    // Nobody who was there before is disturbed.
    let told = open.until(13).await;
    script.told.extend(told);
    script.does(Step::Revoke(7)).await;
    let told = open.until(14).await;
    script.told.extend(told);
    script.does(all_at(13)).await;
    script.does(all_at(14)).await;
    script
}

#[test]
fn what_was_compacted_is_gone_as_in_etcd() {
    is_the_same_in_both(compacted);
}
