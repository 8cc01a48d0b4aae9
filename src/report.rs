//! The report: the outcome of a run as one JSON object, for scripts that need more than a status. Pure.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::outcome::{Ended, Loss, Outcome};

/// The report's content. Field names and values are stable; fields may be added.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this format.
    pub version: u32,
    /// The lock.
    pub lock: String,
    /// The lock and all that were wanted with it.
    pub locks: Vec<String>,
    /// [`Outcome::name`].
    pub outcome: &'static str,
    /// The exit status that a shell shows.
    pub status: u8,
    /// Whether the command was executed.
    pub ran: bool,
    /// How the command itself ended.
    pub command: Option<Ended>,
    /// [`Loss::name`], where the lock was lost.
    pub loss: Option<&'static str>,
    /// The fencing token.
    pub token: Option<i64>,
    /// The lease's id in hex.
    pub lease: Option<String>,
    /// The cluster's id in hex.
    pub cluster: Option<String>,
    /// When the run began, RFC 3339.
    #[serde(serialize_with = "rfc_3339")]
    pub queued_at: Timestamp,
    /// When the command was executed.
    #[serde(serialize_with = "rfc_3339_if_any")]
    pub started_at: Option<Timestamp>,
    /// When the run was over.
    #[serde(serialize_with = "rfc_3339")]
    pub ended_at: Timestamp,
    /// From the run's begin until the lock was acquired, or until it gave up.
    pub waited_ms: u64,
    /// From then until no process was left.
    pub held_ms: Option<u64>,
    /// The sentence on stderr.
    pub message: Option<String>,
}

impl Report {
    /// The version written into [`Report::version`].
    pub const VERSION: u32 = 1;

    /// The report of a run that was refused before it began.
    pub fn not_run(lock: String, outcome: &Outcome, wall: Timestamp, message: String) -> Self {
        Self {
            version: Self::VERSION,
            locks: vec![lock.clone()],
            lock,
            outcome: outcome.name(),
            status: outcome.exit_status(),
            ran: false,
            command: None,
            loss: None,
            token: None,
            lease: None,
            cluster: None,
            queued_at: wall,
            started_at: None,
            ended_at: wall,
            waited_ms: 0,
            held_ms: None,
            message: Some(message),
        }
    }

    /// As it stands in the file.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("its fields are texts and numbers");
        json.push(b'\n');
        json
    }

    /// The name of the loss in an outcome.
    pub const fn loss_of(outcome: &Outcome) -> Option<&'static str> {
        match outcome {
            Outcome::Lost(loss) | Outcome::RanOn(loss) => Some(Loss::name(loss)),
            _ => None,
        }
    }
}

fn rfc_3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn rfc_3339_if_any<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc_3339(at, serializer),
        None => serializer.serialize_none(),
    }
}
