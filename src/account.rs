//! What is said and written down of a run that is over: the sentence on stderr, the report, the metrics.
//!
//! Every ending is written down, also one of a run that never began, so that no older file is taken for this run's.

use std::path::{Path, PathBuf};

use crate::cli::RunArgs;
use crate::clock;
use crate::config::RunConfig;
use crate::lock::name::LockName;
use crate::memory::Began;
use crate::metrics;
use crate::outcome::{Ending, Outcome};
use crate::report::Report;
use crate::result_file::ResultFile;
use crate::supervisor::History;
use crate::ui::sentence::Note;
use crate::ui::{self, Screen, system_error};

/// Where the endings of a run are written down.
#[derive(Debug, Default)]
pub struct Files {
    /// `--report`.
    report: Option<ResultFile>,
    /// `--metrics-file`.
    metrics: Option<ResultFile>,
}

impl Files {
    /// Those that can be written, and why one cannot.
    fn check(report: Option<&Path>, metrics: Option<&Path>, lock: &str) -> (Self, Vec<Refused>) {
        let mut refused = Vec::new();
        let report = report.and_then(|path| {
            let checked = ResultFile::check(path);
            let refuse = |error| refused.push(Refused::Report(unwritable("report", path, &error)));
            checked.map_err(refuse).ok()
        });
        let metrics = metrics.and_then(|path| {
            let path = metrics_path(path, lock);
            let checked = ResultFile::check(&path).map_err(|error| unwritable("metrics file", &path, &error));
            let of_this_lock = checked.and_then(|file| match metrics::other_lock(&file.content(), lock) {
                None => Ok(file),
                Some(other) => Err(format!(
                    "the metrics file {} is that of the lock {other}; give each lock a file of its own, or name a folder",
                    path.display()
                )),
            });
            of_this_lock.map_err(|why| refused.push(Refused::Metrics(why))).ok()
        });
        (Self { report, metrics }, refused)
    }

    /// Writes an ending down; what could not be written.
    fn write(&self, report: &Report, outcome: &Outcome) -> Vec<Note> {
        let written = self.report.as_ref();
        let written = written.map(|file| file.write(&report.to_json()));
        let report_failed = written.and_then(Result::err);
        let report_failed = report_failed.map(|e| Note::ReportNotWritten(system_error(&e)));
        let make = |earlier: &str| metrics::text(report, outcome, earlier);
        let written = self.metrics.as_ref().map(|file| file.rewrite(make));
        let metrics_failed = written.and_then(Result::err);
        let metrics_failed = metrics_failed.map(|e| Note::MetricsNotWritten(system_error(&e)));
        report_failed.into_iter().chain(metrics_failed).collect()
    }
}

/// A file that cannot be used, and why.
enum Refused {
    /// The report.
    Report(String),
    /// The metrics.
    Metrics(String),
}

fn unwritable(what: &str, path: &Path, error: &std::io::Error) -> String {
    let why = system_error(error);
    format!("the {what} {} cannot be written: {why}", path.display())
}

/// In a folder each lock has a file of its own, so that one line in config.toml does for all of them. node_exporter
/// reads files that end with .prom; `%` is in no lock's name.
fn metrics_path(path: &Path, lock: &str) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    path.join(format!("leasehold-{}.prom", lock.replace('/', "%")))
}

/// Where this run's endings are written down.
///
/// # Errors
/// One of them cannot be written, which is said, and written down in the other one.
pub fn checked_files(config: &RunConfig) -> Result<Files, Ending> {
    let lock = config.wanted.name.as_str();
    let metrics = config.metrics_file.as_ref();
    let path = metrics.map(|metrics| metrics.value.as_path());
    let (files, refused) = Files::check(config.report.as_deref(), path, lock);
    let outcome = match (refused.into_iter().next(), metrics) {
        (None, _) => return Ok(files),
        // Whoever wrote it into config.toml has to mend it there.
        (Some(Refused::Metrics(why)), Some(metrics)) => metrics.source.refusal(why),
        (Some(Refused::Metrics(why) | Refused::Report(why)), _) => Outcome::Usage(why),
    };
    Err(refuse(config, &files, &outcome))
}

/// An ending before anything began.
pub fn refuse(config: &RunConfig, files: &Files, outcome: &Outcome) -> Ending {
    let name = &config.wanted.name;
    let mut screen = Screen::new(name.clone(), config.talk);
    screen.say_outcome(outcome);
    let report = Report {
        locks: config.wanted.names().map(LockName::to_string).collect(),
        ..Report::not_run(
            name.to_string(),
            outcome,
            clock::wall(),
            outcome.sentence(name).unwrap_or_default(),
        )
    };
    for note in files.write(&report, outcome) {
        screen.note(&note);
    }
    outcome.ending()
}

/// An ending for what was typed or configured. The metrics file is the one that was typed, or configured, as far as
/// that can be understood.
pub fn refuse_typed(args: &RunArgs, metrics: Option<&Path>, outcome: &Outcome) -> Ending {
    let lock = args
        .words
        .first()
        .map(|name| name.to_string_lossy().into_owned());
    let lock = lock.unwrap_or_default();
    let message = match outcome {
        Outcome::Usage(why) | Outcome::Configuration(why) => why.clone(),
        other => other.name().to_owned(),
    };
    ui::refuse_as(args.log_format, outcome, &lock, &message);
    // Whatever else is wrong comes second.
    let (files, _) = Files::check(args.report.as_deref(), metrics, &lock);
    let report = Report::not_run(lock.clone(), outcome, clock::wall(), message);
    for note in files.write(&report, outcome) {
        ui::note_as(args.log_format, &note, &lock);
    }
    outcome.ending()
}

/// Says how the run ended, and writes it down.
pub fn conclude(
    config: &RunConfig,
    files: &Files,
    began: Began,
    history: &History,
    ran: bool,
    outcome: &Outcome,
) -> Ending {
    let name = &config.wanted.name;
    let mut screen = Screen::new(name.clone(), config.talk);
    screen.say_outcome(outcome);
    let now = clock::now();
    let place = history.place.as_ref();
    let admitted_at = history.admitted_at;
    let report = Report {
        version: Report::VERSION,
        lock: name.to_string(),
        locks: config.wanted.names().map(LockName::to_string).collect(),
        outcome: outcome.name(),
        status: outcome.exit_status(),
        ran,
        command: history.command,
        loss: Report::loss_of(outcome),
        token: place.map(|place| place.token.get()),
        lease: place.map(|place| place.lease.to_string()),
        cluster: place.map(|place| place.cluster.to_string()),
        queued_at: began.wall,
        started_at: history.started_at.map(|at| began.wall_at(at)),
        ended_at: began.wall_at(now),
        waited_ms: admitted_at.unwrap_or(now).since(began.at).as_millis() as u64,
        held_ms: admitted_at.map(|at| {
            let until = history.empty_at.unwrap_or(now);
            until.since(at).as_millis() as u64
        }),
        message: outcome.sentence(name),
    };
    for note in files.write(&report, outcome) {
        screen.note(&note);
    }
    outcome.ending()
}
