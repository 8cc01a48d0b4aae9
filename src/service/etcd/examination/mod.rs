//! A look at the whole cluster, for `doctor`: each endpoint by itself, then the cluster as a run uses it. Facts only.
//!
//! Nothing is left in the store, and nobody who holds or wants a lock is disturbed: permissions are tried by transactions
//! whose condition is never true, which etcd checks as if they were to be carried out (etcd:
//! server/etcdserver/apply/apply_auth.go, checkTxnAuth); and commits are measured by granting leases without keys, which
//! are revoked at once and end by themselves after the shortest time that etcd knows.

mod clock;
mod pace;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};

use self::clock::Look;
use super::Connection;
use super::cluster::Cluster;
use super::login::Login;
use super::member::{Common, Member};
use super::race::Race;
use super::session::new_lease_id;
use super::tls::Tls;
use super::transaction::Ranges;
use super::trouble::{Failure, Sign};
use crate::clock::{self as time, Instant};
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::token::{ClusterId, LeaseId};
use crate::service::checkup::{
    Checkup, MemberCheck, MemberState, RangeCheck, RangeKind, ServiceCheck,
};
use crate::supervisor::TroubleKind;

/// Examines the cluster and what may be done under this lock. Each of its three steps takes at most `patience`: the
/// endpoints, the permissions, the paces.
pub async fn examine(
    connection: &Connection,
    prefix: &Prefix,
    name: &LockName,
    patience: Duration,
) -> Result<Checkup, Failure> {
    let mut cluster = Cluster::new(connection, String::new());
    let common = common(connection, &cluster)?;
    let own_certificate_ends = common.tls.as_ref().and_then(Tls::own_end);
    let endpoints = connection.endpoints.iter();
    let members: Result<Vec<Member>, Failure> = endpoints
        .map(|endpoint| Member::new(endpoint, &common))
        .collect();
    let members = members?;
    let mut checks = look_at_all(&members, time::now() + patience).await;
    let probe = Probe {
        prefix,
        name,
        lease: new_lease_id()?,
    };
    let service = match is_one_cluster(&checks) {
        true => try_service(&mut cluster, connection, &probe, time::now() + patience).await,
        false => ServiceCheck::NotTried,
    };
    if let ServiceCheck::Tried { .. } = service {
        let key = prefix.entry(name, probe.lease);
        pace::measure_all(&members, &mut checks, &key, time::now() + patience).await;
    }
    Ok(Checkup {
        members: checks,
        service,
        own_certificate_ends,
    })
}

/// What is shared by members that are asked one by one: the cluster's login, and nothing by which they are compared.
fn common(connection: &Connection, cluster: &Cluster) -> Result<Arc<Common>, Failure> {
    let tls = match connection
        .endpoints
        .iter()
        .any(|endpoint| endpoint.is_tls())
    {
        true => Some(Tls::new(&connection.tls)?),
        false => None,
    };
    let login = connection.login.as_ref().map(|settings| Login {
        token: cluster.token().unwrap_or_default(),
        ..Login::new(settings)
    });
    Ok(Arc::new(Common {
        tls,
        login,
        id: OnceLock::new(),
        has_several: false,
    }))
}

/// Every endpoint at the same time.
async fn look_at_all(members: &[Member], give_up_at: Instant) -> Vec<MemberCheck> {
    let mut looks = Race::new();
    for (index, member) in members.iter().enumerate() {
        looks.enter(async move {
            let state = state_of(member, give_up_at).await;
            // Whoever does not answer has no clock that could be read.
            let look = match &state {
                Ok(_) => clock::look(member, give_up_at).await,
                Err(_) => Look::default(),
            };
            let check = MemberCheck {
                address: member.address().to_owned(),
                state: state.map_err(Into::into),
                certificate_ends: look.certificate_ends,
                clock: look.clock,
                pace: None,
            };
            (index, check)
        });
    }
    let mut checks = Vec::new();
    while !looks.is_empty() {
        checks.push(looks.next().await);
    }
    checks.sort_by_key(|(index, _)| *index);
    checks.into_iter().map(|(_, check)| check).collect()
}

/// It says this to everybody, whether it has a vote and a login is needed or not.
async fn state_of(member: &Member, give_up_at: Instant) -> Result<MemberState, Failure> {
    let asked = member.call(give_up_at, |client| async move {
        client.maintenance_client().status().await
    });
    let status = asked.await?;
    let header = status.header();
    Ok(MemberState {
        version: status.version().to_owned(),
        cluster: ClusterId(header.map_or(0, |header| header.cluster_id())),
        leads: header.is_some_and(|header| header.member_id() == status.leader()),
        is_learner: status.is_learner(),
        errors: status.errors().to_vec(),
    })
}

/// Whether somebody answered, and nobody is of another cluster than the others.
fn is_one_cluster(checks: &[MemberCheck]) -> bool {
    let states = checks.iter().filter_map(|check| check.state.as_ref().ok());
    let mut clusters: Vec<ClusterId> = states.map(|state| state.cluster).collect();
    clusters.dedup();
    clusters.len() == 1
}

/// Whose permissions are tried, with a lease that nobody has.
struct Probe<'run> {
    prefix: &'run Prefix,
    name: &'run LockName,
    lease: LeaseId,
}

impl Probe<'_> {
    /// A key of this kind that nobody has, what all keys of its kind are called, and how they are read.
    fn keys(&self, kind: RangeKind) -> (String, String, Vec<TxnOp>) {
        let Self {
            prefix,
            name,
            lease,
        } = self;
        let below = |range: String| (format!("{range}{lease}"), format!("the keys below {range}"));
        let [entries, markers] = Ranges::new(prefix, name).readings();
        let (key, keys) = match kind {
            RangeKind::Entries => below(prefix.entries(name)),
            RangeKind::Markers => below(prefix.markers(name)),
            RangeKind::Fence => below(format!("{prefix}~fence/{name}/")),
            RangeKind::Once => below(prefix.once_records(name)),
            RangeKind::Superseded => below(prefix.notes(name)),
            RangeKind::LastRun => {
                let key = prefix.last_run(name);
                (key.clone(), format!("the key {key}"))
            }
            RangeKind::Break => below(prefix.break_requests(name)),
        };
        let reading = match kind {
            RangeKind::Entries => entries,
            RangeKind::Markers => markers,
            _ => TxnOp::get(key.as_str(), None),
        };
        (key, keys, vec![reading])
    }
}

/// The cluster as a run uses it: met, logged in to, and asked for each range.
async fn try_service(
    cluster: &mut Cluster,
    connection: &Connection,
    probe: &Probe<'_>,
    give_up_at: Instant,
) -> ServiceCheck {
    let met = async {
        cluster.connect(give_up_at).await?;
        cluster.log_in_first(give_up_at).await
    };
    if let Err(failure) = met.await {
        return ServiceCheck::Unusable(failure.into());
    }
    let mut ranges = Vec::new();
    for kind in RangeKind::ALL {
        let (key, keys, readings) = probe.keys(kind);
        cluster.ask_for(format!("read and write {keys}"));
        let never = Compare::create_revision(key.as_str(), CompareOp::Less, 0);
        let txn = Txn::new()
            .when([never])
            .and_then([TxnOp::put(key.as_str(), "", None)])
            .or_else(readings);
        let allowed = cluster.transact(&txn, give_up_at).await.map(|_| ());
        match allowed {
            // Nothing about this range: nobody is let in, or nothing works.
            Err(failure) if !is_about_permission(&failure) => {
                return ServiceCheck::Unusable(failure.into());
            }
            allowed => ranges.push(RangeCheck {
                kind,
                allowed: allowed.map_err(Into::into),
            }),
        }
    }
    ServiceCheck::Tried {
        is_logged_in: cluster.token().is_some_and(|token| token.is_there()),
        user: connection
            .login
            .as_ref()
            .map(|login| login.user.value.clone()),
        ranges,
    }
}

fn is_about_permission(failure: &Failure) -> bool {
    failure.trouble.kind == TroubleKind::Denied && failure.sign == Sign::NotPermitted
}
