//! The names of locks that somebody holds or waits for: for the completion of names at a prompt, where some
//! now are worth more than all later.

use std::collections::BTreeSet;

use etcd_client::GetOptions;

use super::cluster::Cluster;
use super::trouble::Failure;
use crate::clock::Instant;
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
    let prefix = prefix.to_string();
    let prefix = prefix.as_str();
    let response = cluster
        .call(give_up_at, |client| async move {
            // What is not an entry stands behind all names: `~` sorts after their alphabet.
            let options = GetOptions::new()
                .with_range(format!("{prefix}~"))
                .with_keys_only()
                .with_limit(KEYS_MAX);
            client.kv_client().get(prefix, Some(options)).await
        })
        .await?;
    let names: BTreeSet<String> = response
        .kvs()
        .iter()
        .filter_map(|kv| of_entry(prefix, kv.key()))
        .map(str::to_owned)
        .collect();
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The name of the lock that a key is an entry of, if it may be one.
fn of_entry<'key>(prefix: &str, key: &'key [u8]) -> Option<&'key str> {
    let rest = std::str::from_utf8(key.strip_prefix(prefix.as_bytes())?).ok()?;
    let (name, id) = rest.rsplit_once('/')?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_have_a_name() {
        let name = |key: &'static str| of_entry("/leasehold/", key.as_bytes());
        assert_eq!(name("/leasehold/a/b/1f"), Some("a/b"));
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
