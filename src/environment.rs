//! The variables the command gets. They always override what was inherited: locks nest, and `etcdctl lock`
//! hands the inner command the outer lock's token. Pure.
//!
//! No name here means something else as a setting, so that a `leasehold` inside the command needs no options
//! and reads no wrong ones.

use std::ffi::OsString;

use crate::config::connection::{Cluster, Place as Where};
use crate::config::{Connection, ENCLOSING, RunConfig};
use crate::lock::name::LockName;
use crate::lock::sequencer::Sequencer;
use crate::lock::token::joined;
use crate::supervisor::Place;

/// The fencing token alone.
pub const TOKEN: &str = "LEASEHOLD_TOKEN";

/// Everything that `leasehold fence` needs to know of the holder.
pub const SEQUENCER: &str = "LEASEHOLD_SEQUENCER";

/// One variable that the command gets.
pub struct Exported {
    /// Its name.
    pub name: &'static str,
    /// What it holds, for the documentation.
    pub meaning: &'static str,
}

/// Every variable that the command gets, as documented.
pub const EXPORTED: &[Exported] = &[
    exported(
        TOKEN,
        "the fencing token: the create_revision of the lock's key",
    ),
    exported("LEASEHOLD_LOCK_NAME", "NAME"),
    exported(
        "LEASEHOLD_LOCK_NAMES",
        "every lock held, with a comma between",
    ),
    exported("LEASEHOLD_LOCK_KEY", "the lock's key in etcd"),
    exported("LEASEHOLD_LEASE", "the lease's id in hex"),
    exported("LEASEHOLD_CLUSTER", "the cluster's id in hex"),
    exported(
        SEQUENCER,
        "all of it in one string for a resource to check: 1:<cluster>:<mode>:<token>:<lease>:<names>",
    ),
    exported("ETCD_LOCK_KEY", "the lock's key, as etcdctl exports it"),
    exported(
        "ETCD_LOCK_REV",
        "the revision of the reading that admitted us, as etcdctl exports it; never compare it with a LEASEHOLD_TOKEN",
    ),
    exported(
        "LEASEHOLD_ENDPOINTS",
        "how the cluster was reached, without secrets; empty with --local",
    ),
    exported(
        "LEASEHOLD_LOCAL",
        "the lock folder with --local; otherwise empty",
    ),
    exported("LEASEHOLD_PREFIX", "what every key begins with"),
    exported(
        "LEASEHOLD_CACERT",
        "the file with the authorities to trust, if one was named",
    ),
    exported(
        "LEASEHOLD_CERT",
        "the file with our certificate, if one was named",
    ),
    exported(
        "LEASEHOLD_KEY",
        "the file with its private key, if one was named",
    ),
    exported(
        "LEASEHOLD_TLS_SERVER_NAME",
        "the name that the members' certificates have to be for, if one was given",
    ),
    exported(
        "LEASEHOLD_ENCLOSING",
        "the locks held by this and all enclosing runs, so that none waits for itself",
    ),
];

const fn exported(name: &'static str, meaning: &'static str) -> Exported {
    Exported { name, meaning }
}

/// The variables as `leasehold run --help` shows them.
pub fn help() -> String {
    let mut help = "What the command gets, always overriding what was inherited:\n".to_owned();
    for exported in EXPORTED {
        help.push_str(&format!("  {:<20} {}\n", exported.name, exported.meaning));
    }
    help
}

/// The variables and their values for a command that runs at `place`.
pub fn environment(
    config: &RunConfig,
    place: &Place,
    read_revision: i64,
) -> Vec<(OsString, OsString)> {
    let names: Vec<LockName> = config.wanted.names().cloned().collect();
    let mut enclosing = config.plan.enclosing.clone();
    let cluster = place.cluster;
    let paths = config.plan.lock_paths.iter();
    enclosing.extend(paths.map(|path| format!("{cluster}:{path}")));
    let value = |name: &str| {
        Some(match name {
            TOKEN => place.token.to_string(),
            "LEASEHOLD_LOCK_NAME" => config.wanted.name.to_string(),
            "LEASEHOLD_LOCK_NAMES" => joined(&names),
            "LEASEHOLD_LOCK_KEY" | "ETCD_LOCK_KEY" => place.key.clone(),
            "LEASEHOLD_LEASE" => place.lease.to_string(),
            "LEASEHOLD_CLUSTER" => place.cluster.to_string(),
            SEQUENCER => Sequencer {
                cluster: place.cluster,
                mode: config.wanted.entry.limit.mode(),
                token: place.token,
                lease: place.lease,
                names: names.clone(),
            }
            .to_string(),
            "ETCD_LOCK_REV" => read_revision.to_string(),
            ENCLOSING => enclosing.join(","),
            _ => return connection(&config.connection, name),
        })
    };
    EXPORTED
        .iter()
        .filter_map(|exported| {
            let value = value(exported.name).map(OsString::from);
            let value = value.or_else(|| file(&config.connection.place, exported.name));
            Some((exported.name.into(), value?))
        })
        .collect()
}

/// How the cluster was reached, as a text.
fn connection(connection: &Connection, name: &str) -> Option<String> {
    if name == "LEASEHOLD_PREFIX" {
        return Some(connection.prefix.to_string());
    }
    let cluster = match (&connection.place, name) {
        // What was inherited is for another lock; an empty variable counts as not set.
        (Where::Folder(_), "LEASEHOLD_ENDPOINTS") | (Where::Cluster(_), "LEASEHOLD_LOCAL") => {
            return Some(String::new());
        }
        (Where::Folder(_), _) => return None,
        (Where::Cluster(cluster), _) => cluster,
    };
    match name {
        "LEASEHOLD_ENDPOINTS" => Some(endpoints(cluster)),
        "LEASEHOLD_TLS_SERVER_NAME" => {
            let server_name = cluster.tls.server_name.as_ref()?;
            Some(server_name.value.clone())
        }
        _ => None,
    }
}

/// The files that the cluster was reached with.
fn file(place: &Where, name: &str) -> Option<OsString> {
    let cluster = match place {
        Where::Folder(folder) => {
            let is_it = name == "LEASEHOLD_LOCAL";
            return is_it.then(|| folder.clone().into_os_string());
        }
        Where::Cluster(cluster) => cluster,
    };
    let identity = cluster.tls.identity.as_ref();
    let file = match name {
        "LEASEHOLD_CACERT" => cluster.tls.cacert.as_ref(),
        "LEASEHOLD_CERT" => identity.map(|identity| &identity.cert),
        "LEASEHOLD_KEY" => identity.map(|identity| &identity.key),
        _ => None,
    };
    Some(file?.path.clone().into_os_string())
}

fn endpoints(cluster: &Cluster) -> String {
    let urls: Vec<&str> = cluster
        .endpoints
        .iter()
        .map(|endpoint| endpoint.url())
        .collect();
    urls.join(",")
}

#[cfg(test)]
mod tests;
