//! What the facts about one endpoint mean.

use std::time::Duration;

use jiff::Timestamp;

use crate::diagnosis::{Finding, Verdict};
use crate::lock::entry::harmless;
use crate::service::checkup::{ClockDifference, MemberCheck, MemberState, Pace};

/// A certificate that ends before is worth a warning: long enough for whoever is on holiday.
const CERTIFICATE_LEFT: Duration = Duration::from_secs(14 * 24 * 3600);

/// Clocks that differ by more are worth a warning. Nothing here depends on them but people, cron, and certificates.
const CLOCKS_DIFFER_MS: i64 = 2_000;

/// Before these, leases could be kept alive, or revoked where no key hung on them, without any permission
/// (etcd: CHANGELOG of each).
const LEASES_GUARDED: [(u32, u32, u32); 3] = [(3, 4, 42), (3, 5, 28), (3, 6, 9)];

/// Everything about one endpoint.
pub fn findings(member: &MemberCheck, is_any_usable: bool, now: Timestamp) -> Vec<Finding> {
    let address = &member.address;
    let state = match &member.state {
        Ok(state) => state,
        Err(trouble) => {
            // Runs pass it over while there are others.
            let verdict = match is_any_usable {
                true => Verdict::Warning,
                false => Verdict::of(trouble),
            };
            let passed_over = match is_any_usable {
                true => "; runs use the others meanwhile",
                false => "",
            };
            let message = format!("{}{passed_over}", trouble.detail);
            return vec![Finding::new("endpoint", verdict, address, message)];
        }
    };
    let mut findings = vec![role(address, state)];
    findings.extend(state.errors.iter().map(|error| alarm(address, error)));
    findings.extend(version(address, &state.version));
    if let Some(ends) = member.certificate_ends {
        findings.push(certificate(address, ends, now));
    }
    findings.extend(member.clock.map(|difference| clock(address, difference)));
    findings.extend(member.pace.as_ref().map(|pace| match pace {
        Ok(pace) => Finding::new("pace", Verdict::Ok, address, said_of(pace)),
        Err(trouble) => {
            let message = format!(
                "how fast it answers could not be measured: {}",
                trouble.detail
            );
            Finding::new("pace", Verdict::Warning, address, message)
        }
    }));
    findings
}

fn role(address: &str, state: &MemberState) -> Finding {
    let version = harmless(&state.version);
    let (verdict, role) = match (state.is_learner, state.leads) {
        (true, _) => (
            Verdict::Warning,
            "is a learner: it has no vote, and runs pass it over until it is promoted",
        ),
        (false, true) => (Verdict::Ok, "is the leader"),
        (false, false) => (Verdict::Ok, "follows the leader"),
    };
    Finding::new(
        "endpoint",
        verdict,
        address,
        format!("etcd {version} {role}"),
    )
}

/// An alarm, or whatever else a member says against itself.
fn alarm(address: &str, error: &str) -> Finding {
    let error = harmless(error.trim());
    let (verdict, message) = if error.contains("NOSPACE") {
        let why = "its database is full (alarm NOSPACE), so every run is refused; compact, defragment, and disarm the alarm";
        (Verdict::Failure(69), why.to_owned())
    } else if error.contains("CORRUPT") {
        let why = "its data is not that of the others (alarm CORRUPT); replace the member";
        (Verdict::Failure(69), why.to_owned())
    } else {
        (Verdict::Warning, format!("it says of itself: {error}"))
    };
    Finding::new("alarm", verdict, address, message)
}

fn version(address: &str, version: &str) -> Option<Finding> {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let (major, minor, patch) = (next()?, next()?, next()?);
    let (of_major, of_minor, since) = LEASES_GUARDED
        .into_iter()
        .find(|(of_major, of_minor, _)| (*of_major, *of_minor) == (major, minor))?;
    (patch < since).then(|| {
        let message = format!(
            "etcd before {of_major}.{of_minor}.{since} lets everybody who reaches it keep leases alive, and revoke those without keys; update it where not all who do are trusted"
        );
        Finding::new("version", Verdict::Warning, address, message)
    })
}

/// A certificate that is valid now.
pub fn certificate(about: &str, ends: Timestamp, now: Timestamp) -> Finding {
    let left = ends.duration_since(now);
    let days = left.as_hours() / 24;
    let (verdict, advice) =
        match left < jiff::SignedDuration::try_from(CERTIFICATE_LEFT).unwrap_or_default() {
            true => (Verdict::Warning, "; renew it"),
            false => (Verdict::Ok, ""),
        };
    let what = match about.contains(':') {
        true => "its certificate is",
        false => "it is",
    };
    let message = format!("{what} valid until {ends}, for {days} days{advice}");
    Finding::new("certificate", verdict, about, message)
}

fn clock(address: &str, difference: ClockDifference) -> Finding {
    let ClockDifference { least_ms, most_ms } = difference;
    let middle = (least_ms + most_ms) / 2;
    let exact = seconds((most_ms - least_ms + 1) / 2);
    let ahead = match middle {
        0.. => "ahead of",
        _ => "behind",
    };
    let (verdict, message) = match least_ms > CLOCKS_DIFFER_MS || most_ms < -CLOCKS_DIFFER_MS {
        true => (
            Verdict::Warning,
            format!(
                "its clock is {} {ahead} ours, give or take {exact}; locks do not depend on it, but cron, times in status and certificates do: set the clock that is wrong",
                seconds(middle.abs())
            ),
        ),
        false if least_ms <= 0 && most_ms >= 0 => (
            Verdict::Ok,
            format!("its clock agrees with ours, as exactly as it tells the time ({exact})"),
        ),
        false => (
            Verdict::Ok,
            format!(
                "its clock is {} {ahead} ours, give or take {exact}",
                seconds(middle.abs())
            ),
        ),
    };
    Finding::new("clock", verdict, address, message)
}

fn seconds(ms: i64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

fn said_of(pace: &Pace) -> String {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    format!(
        "a linearizable read takes {}, a commit {} (medians of 5)",
        ms(pace.read),
        ms(pace.commit)
    )
}
