//! What the facts of an examination mean, for `doctor`: a verdict on each, what it means and what to do. Pure.
//!
//! - A failure is what would refuse a run, or lose it: its exit status is the one that the run would have. What costs a run
//!   nothing as long as nothing else goes wrong is a warning. One endpoint of several that is of no use is a warning.
//! - The TTL: see advice.rs.

mod advice;
mod member;

use jiff::Timestamp;

pub use advice::Advice;

use crate::process::abilities::Ability;
use crate::service::checkup::{Checkup, RangeCheck, ServiceCheck};
use crate::supervisor::{Trouble, TroubleKind};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// A run works, but something may be worth a look.
    Warning,
    /// Runs are refused, with this exit status.
    Failure(u8),
}

impl Verdict {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure(_) => "failure",
        }
    }

    /// What a run would end with for this trouble.
    const fn of(trouble: &Trouble) -> Self {
        Self::Failure(match trouble.kind {
            TroubleKind::Denied => 77,
            TroubleKind::Misconfigured => 78,
            TroubleKind::Unreachable | TroubleKind::Refused => 69,
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stable name of what was looked at.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What it is about: an endpoint, the cluster, this machine.
    pub about: String,
    /// What it means, and what to do; it may have foreign text in it.
    pub message: String,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, about: &str, message: impl Into<String>) -> Self {
        Self {
            check,
            verdict,
            about: about.to_owned(),
            message: message.into(),
        }
    }
}

const CLUSTER: &str = "cluster";
const MACHINE: &str = "this machine";
const SETTINGS: &str = "settings";

/// What is known beside the examination.
pub struct Circumstances<'run> {
    /// What is odd about the settings.
    pub remarks: &'run [String],
    /// What this machine lets us do.
    pub abilities: &'run [Ability],
    /// The lock whose permissions were tried, where one was named.
    pub lock: Option<&'run str>,
    /// When.
    pub now: Timestamp,
}

/// Judges everything, the endpoints first.
pub fn findings(checkup: &Checkup, circumstances: &Circumstances<'_>) -> Vec<Finding> {
    let now = circumstances.now;
    let is_any_usable = checkup.members.iter().any(|member| member.state.is_ok());
    let mut findings = Vec::new();
    for remark in circumstances.remarks {
        findings.push(Finding::new("settings", Verdict::Warning, SETTINGS, remark));
    }
    if let Some(ends) = checkup.own_certificate_ends {
        findings.push(member::certificate("our certificate", ends, now));
    }
    for member in &checkup.members {
        findings.extend(member::findings(member, is_any_usable, now));
    }
    findings.extend(cluster(checkup));
    findings.extend(service(&checkup.service, circumstances.lock));
    findings.extend(advice::finding(checkup));
    findings.extend(circumstances.abilities.iter().map(machine));
    findings
}

/// The exit status: of several failures the one that is nearest to whoever asks, settings before permission before
/// everything else.
pub fn status(findings: &[Finding]) -> u8 {
    let statuses = findings.iter().filter_map(|finding| match finding.verdict {
        Verdict::Failure(status) => Some(status),
        Verdict::Ok | Verdict::Warning => None,
    });
    statuses.max().unwrap_or(0)
}

/// Whether all endpoints are of one cluster.
fn cluster(checkup: &Checkup) -> Option<Finding> {
    let states = checkup.members.iter().filter_map(|member| {
        let state = member.state.as_ref().ok()?;
        Some((&member.address, state.cluster))
    });
    let states: Vec<_> = states.collect();
    let (address, first) = states.first()?;
    let other = states.iter().find(|(_, cluster)| cluster != first);
    Some(match other {
        None => Finding::new(
            "cluster",
            Verdict::Ok,
            CLUSTER,
            format!("its id is {first}"),
        ),
        Some((other_address, other)) => Finding::new(
            "cluster",
            Verdict::Failure(78),
            CLUSTER,
            format!(
                "{address} is of cluster {first}, and {other_address} of cluster {other}: a lock cannot be in two clusters; give the endpoints of one"
            ),
        ),
    })
}

/// What a run finds.
fn service(service: &ServiceCheck, lock: Option<&str>) -> Vec<Finding> {
    match service {
        ServiceCheck::NotTried => Vec::new(),
        ServiceCheck::Unusable(trouble) => {
            let check = match trouble.kind {
                TroubleKind::Denied => "login",
                _ => "cluster",
            };
            let advice = match trouble.kind {
                TroubleKind::Unreachable => {
                    "; no run works until a majority of the members answers"
                }
                _ => "",
            };
            let message = format!("{}{advice}", trouble.detail);
            vec![Finding::new(check, Verdict::of(trouble), CLUSTER, message)]
        }
        ServiceCheck::Tried {
            user,
            is_logged_in,
            ranges,
        } => {
            let login = user.as_ref().map(|user| match is_logged_in {
                true => Finding::new(
                    "login",
                    Verdict::Ok,
                    CLUSTER,
                    format!("{user} is logged in"),
                ),
                false => Finding::new(
                    "login",
                    Verdict::Warning,
                    CLUSTER,
                    format!(
                        "{user} need not log in: users are not enabled, so everybody is let in"
                    ),
                ),
            });
            login.into_iter().chain(permissions(ranges, lock)).collect()
        }
    }
}

fn permissions(ranges: &[RangeCheck], lock: Option<&str>) -> Vec<Finding> {
    let about = lock.map_or_else(|| CLUSTER.to_owned(), |lock| format!("lock {lock}"));
    let hint = match lock {
        None => "; if roles are given for single locks: leasehold doctor NAME",
        Some(_) => "",
    };
    let denied: Vec<Finding> = ranges
        .iter()
        .filter_map(|range| {
            let trouble = range.allowed.as_ref().err()?;
            let (verdict, use_of_it) = match range.kind.needed_for() {
                None => (Verdict::of(trouble), "; no run works without it".to_owned()),
                Some(what) => (Verdict::Warning, format!("; needed for {what}")),
            };
            let message = format!("{}{use_of_it}{hint}", trouble.detail);
            Some(Finding::new("permission", verdict, &about, message))
        })
        .collect();
    if denied.is_empty() {
        let message = "everything that is kept for a lock may be read and written";
        return vec![Finding::new("permission", Verdict::Ok, &about, message)];
    }
    denied
}

fn machine(ability: &Ability) -> Finding {
    let verdict = match (ability.has, ability.is_required) {
        (true, _) => Verdict::Ok,
        (false, false) => Verdict::Warning,
        (false, true) => Verdict::Failure(69),
    };
    Finding::new("machine", verdict, MACHINE, &ability.text)
}

#[cfg(test)]
mod tests;
