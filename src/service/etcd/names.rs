//! The names of locks that somebody holds or waits for: for the completion of names at a prompt, where some
//! now are worth more than all later.

use std::collections::BTreeSet;

use etcd_client::GetOptions;

use super::cluster::Cluster;
use super::trouble::Failure;
use crate::clock::Instant;
use crate::lock::chronicle::Place;
use crate::lock::key::Prefix;
use crate::lock::name::LockName;

/// How many keys are read.
const KEYS_MAX: i64 = 2000;

/// Reads the names, in order.
pub async fn names(
    cluster: &Cluster,
    prefix: &Prefix,
    give_up_at: Instant,
) -> Result<Vec<LockName>, Failure> {
    let first = prefix.to_string();
    let first = first.as_str();
    let response = cluster
        .call(give_up_at, |client| async move {
            // What is not an entry stands behind all names: `~` sorts after their alphabet.
            let options = GetOptions::new()
                .with_range(format!("{first}~"))
                .with_keys_only()
                .with_limit(KEYS_MAX);
            client.kv_client().get(first, Some(options)).await
        })
        .await?;
    let keys = response.kvs().iter();
    let names: BTreeSet<LockName> = keys.filter_map(|kv| of_entry(prefix, kv.key())).collect();
    Ok(names.into_iter().collect())
}

/// The lock that a key is an entry of, if it may be one.
fn of_entry(prefix: &Prefix, key: &[u8]) -> Option<LockName> {
    match prefix.place(key)? {
        (name, Place::Entry(_)) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_have_a_name() {
        let name = |key: &str| of_entry(&Prefix::default(), key.as_bytes());
        assert_eq!(name("/leasehold/a/b/1f"), "a/b".parse().ok());
        for key in [
            "/leasehold/a/config",
            "/leasehold/a/",
            "/leasehold/1f",
            "/x/a/1f",
        ] {
            assert_eq!(name(key), None, "{key}");
        }
    }
}
