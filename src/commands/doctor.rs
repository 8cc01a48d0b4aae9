//! `leasehold doctor [NAME]`: can this machine reach, trust and use the cluster, and which TTL fits it.

use serde_json::{Value, json};

use crate::cli::doctor::DoctorArgs;
use crate::clock;
use crate::commands::{ask_patiently, outcome_of, refuse};
use crate::config::Inherited;
use crate::diagnosis::{self, Advice, Circumstances, Finding};
use crate::lock::name::LockName;
use crate::outcome::{Ending, Outcome};
use crate::process::abilities;
use crate::service::checkup::{Checkup, MemberCheck};
use crate::service::{Connection, etcd};
use crate::ui;

/// The version of the JSON object.
const VERSION: u32 = 1;

/// Whose permissions are tried where no lock is named.
const SAMPLE: &str = "leasehold-doctor";

/// Runs the subcommand.
pub fn doctor(args: &DoctorArgs, inherited: &Inherited) -> Ending {
    let sample = || SAMPLE.parse().expect("a name");
    let name: LockName = args.name.clone().unwrap_or_else(sample);
    let mut remarks = Vec::new();
    let asked = ask_patiently(&args.connection, inherited, async |settings| {
        remarks = settings.remarks();
        let connection = Connection::from(settings);
        let connection = connection.cluster("doctor")?;
        let patience = settings.connect_timeout;
        let examined = etcd::examine(connection, &settings.prefix, &name, patience);
        examined.await.map_err(outcome_of)
    });
    let checkup = match asked {
        Ok(checkup) => checkup,
        Err(outcome @ Outcome::Interrupted(_)) => return outcome.ending(),
        Err(outcome) => return refuse(&outcome),
    };
    let abilities = abilities::abilities();
    let circumstances = Circumstances {
        remarks: &remarks,
        abilities: &abilities,
        lock: args.name.as_ref().map(LockName::as_str),
        now: clock::wall(),
    };
    let findings = diagnosis::findings(&checkup, &circumstances);
    let text = match args.json {
        true => format!("{}\n", to_json(args, &checkup, &findings)),
        false => people(&findings),
    };
    match ui::print(&text) {
        Ending::Status(0) => Ending::Status(diagnosis::status(&findings)),
        failed => failed,
    }
}

/// One line for each finding.
fn people(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let verdict = finding.verdict.name();
        // What etcd says is foreign text.
        let message = finding.message.replace(char::is_control, " ");
        let about = &finding.about;
        format!("{verdict:<7}  {about}: {message}\n")
    };
    findings.iter().map(line).collect()
}

fn to_json(args: &DoctorArgs, checkup: &Checkup, findings: &[Finding]) -> Value {
    let shown = findings.iter().map(|finding| {
        json!({
            "check": finding.check,
            "verdict": finding.verdict.name(),
            "about": finding.about,
            "message": finding.message,
        })
    });
    json!({
        "version": VERSION,
        "status": diagnosis::status(findings),
        "lock": args.name.as_ref().map(LockName::as_str),
        "endpoints": checkup.members.iter().map(endpoint).collect::<Vec<_>>(),
        "ttl": Advice::of(checkup).and_then(Result::ok).map(|advice| json!({
            "recommended_s": advice.ttl.as_secs(),
            "kill_after_s": advice.kill_after.as_secs_f64(),
            "shortest_s": advice.ttl_min.as_secs(),
            "outage_s": advice.outage.as_secs_f64(),
        })),
        "findings": shown.collect::<Vec<_>>(),
    })
}

fn endpoint(member: &MemberCheck) -> Value {
    let state = member.state.as_ref().ok();
    let pace = member.pace.as_ref().and_then(|pace| pace.as_ref().ok());
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    json!({
        "address": member.address,
        "reachable": state.is_some(),
        "version": state.map(|state| &state.version),
        "cluster": state.map(|state| state.cluster.to_string()),
        "leader": state.map(|state| state.leads),
        "learner": state.map(|state| state.is_learner),
        "errors": state.map(|state| &state.errors),
        "certificate_ends": member.certificate_ends.map(|ends| ends.to_string()),
        "clock_ahead_ms": member.clock.map(|clock| [clock.least_ms, clock.most_ms]),
        "read_ms": pace.map(|pace| ms(pace.read)),
        "commit_ms": pace.map(|pace| ms(pace.commit)),
    })
}
