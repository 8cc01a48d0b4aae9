//! The metrics of a run in Prometheus' text format, for node_exporter's textfile collector. Pure.
//!
//! A skip (busy, superseded, already done) must look neither like a failed run nor like a successful one. So each value
//! is of the last attempt, or of the last one that was something in particular, and is kept from the file's earlier
//! content until there is another one:
//!
//! | values                           | of the last ...                                 |
//! |----------------------------------|-------------------------------------------------|
//! | attempt, outcome, wait           | attempt                                         |
//! | exit status                      | attempt that was no skip                        |
//! | start, end, duration             | attempt in which the command ran                |
//! | success                          | attempt whose command ended with 0              |

use std::fmt::Write;

use jiff::Timestamp;

use crate::lock::entry::harmless;
use crate::outcome::{Ended, Outcome};
use crate::report::Report;

/// One value for each lock, or none.
struct Gauge {
    name: &'static str,
    help: &'static str,
    /// What it is by this attempt, where that says anything about it.
    of_attempt: fn(&Report, &Outcome) -> Option<String>,
}

/// In the order of the file.
const GAUGES: &[Gauge] = &[
    Gauge {
        name: "leasehold_last_attempt_timestamp_seconds",
        help: "When the attempt that ended last had begun.",
        of_attempt: |report, _| Some(seconds(report.queued_at)),
    },
    Gauge {
        name: "leasehold_last_wait_seconds",
        help: "How long it waited for the lock.",
        of_attempt: |report, _| Some(thousandths(report.waited_ms)),
    },
    Gauge {
        name: "leasehold_last_exit_status",
        help: "The exit status of the last attempt that was no skip (busy, superseded, already-done).",
        of_attempt: |report, outcome| (!outcome.is_skip()).then(|| report.status.to_string()),
    },
    Gauge {
        name: "leasehold_last_start_timestamp_seconds",
        help: "When the command was started last.",
        of_attempt: |report, _| report.started_at.map(seconds),
    },
    Gauge {
        name: "leasehold_last_end_timestamp_seconds",
        help: "When that run was over.",
        of_attempt: |report, _| report.started_at.map(|_| seconds(report.ended_at)),
    },
    Gauge {
        name: "leasehold_last_duration_seconds",
        help: "How long it held the lock: until nothing that the command had started was left.",
        of_attempt: |report, _| report.started_at.and(report.held_ms).map(thousandths),
    },
    Gauge {
        name: "leasehold_last_success_timestamp_seconds",
        help: "When a run was last over whose command ended with 0 and held the lock to its end.",
        of_attempt: |report, outcome| {
            (*outcome == Outcome::Command(Ended::Exited(0))).then(|| seconds(report.ended_at))
        },
    },
];

const OUTCOME: &str = "leasehold_last_outcome";

/// The whole file, after an attempt that ended like this. What it says nothing about is kept from the earlier content.
pub fn text(report: &Report, outcome: &Outcome, earlier: &str) -> String {
    let lock = label(&report.lock);
    let mut text = String::new();
    for gauge in GAUGES {
        let Gauge { name, help, .. } = gauge;
        let series = format!("{name}{{lock=\"{lock}\"}} ");
        let value = (gauge.of_attempt)(report, outcome).or_else(|| kept(&series, earlier));
        if let Some(value) = value {
            head(&mut text, name, help);
            text.push_str(&format!("{series}{value}\n"));
        }
    }
    let help = "How the attempt that ended last ended: 1 for that outcome, 0 for all others.";
    head(&mut text, OUTCOME, help);
    for name in Outcome::NAMES_OF_RUN {
        let value = u8::from(*name == outcome.name());
        let _ = writeln!(
            text,
            "{OUTCOME}{{lock=\"{lock}\",outcome=\"{name}\"}} {value}"
        );
    }
    text
}

/// The lock whose metrics these are, where they are another one's; as it stands there.
pub fn other_lock(content: &str, lock: &str) -> Option<String> {
    let attempts = format!("{}{{lock=\"", GAUGES[0].name);
    let mut of_attempts = content
        .lines()
        .filter_map(|line| line.strip_prefix(&attempts));
    let (label_there, _) = of_attempts.next()?.rsplit_once("\"}")?;
    (label_there != label(lock)).then(|| harmless(label_there))
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// What the earlier content says of this series, if that is a number: it may be anybody's file.
fn kept(series: &str, earlier: &str) -> Option<String> {
    let value = earlier.lines().find_map(|line| line.strip_prefix(series))?;
    let is_number = value.parse().is_ok_and(f64::is_finite);
    is_number.then(|| value.to_owned())
}

/// A label's value: backslash, quote and line feed are escaped, nothing else has to be.
fn label(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

fn seconds(at: Timestamp) -> String {
    // No clock that leasehold runs under is before 1970.
    thousandths(at.as_millisecond().max(0).cast_unsigned())
}

fn thousandths(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Loss;

    fn report(outcome: &Outcome, began: i64, ran: bool) -> Report {
        let at = |second| Timestamp::from_second(second).expect("a time");
        Report {
            started_at: ran.then(|| at(began + 1)),
            ended_at: at(began + 3),
            waited_ms: 500,
            held_ms: ran.then_some(2_050),
            ran,
            ..Report::not_run("job".to_owned(), outcome, at(began), String::new())
        }
    }

    /// The values after these attempts, by the middle of their names; without the outcomes.
    fn after(attempts: &[(Outcome, i64, bool)]) -> Vec<(String, String)> {
        let mut content = String::new();
        for (outcome, began, ran) in attempts {
            content = text(&report(outcome, *began, *ran), outcome, &content);
        }
        let values = content.lines().filter_map(|line| {
            let rest = line.strip_prefix("leasehold_last_")?;
            let (name, value) = rest.split_once("{lock=\"job\"} ")?;
            let name = name.split('_').next()?;
            Some((name.to_owned(), value.to_owned()))
        });
        values.collect()
    }

    fn expect(attempts: &[(Outcome, i64, bool)], wanted: &[(&str, &str)]) {
        let found = after(attempts);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, wanted, "{attempts:?}");
    }

    const SUCCESS: Outcome = Outcome::Command(Ended::Exited(0));
    const FAILURE: Outcome = Outcome::Command(Ended::Exited(3));
    const BUSY: Outcome = Outcome::Busy {
        holder: None,
        status: 75,
    };

    #[test]
    fn a_skip_changes_nothing_but_what_it_is() {
        let skips = [
            BUSY,
            Outcome::Busy {
                holder: None,
                status: 0,
            },
            Outcome::Superseded(None),
            Outcome::AlreadyDone(String::new()),
        ];
        for skip in skips {
            expect(
                &[(SUCCESS, 100, true), (skip.clone(), 200, false)],
                &[
                    ("attempt", "200.000"),
                    ("wait", "0.500"),
                    ("exit", "0"),
                    ("start", "101.000"),
                    ("end", "103.000"),
                    ("duration", "2.050"),
                    ("success", "103.000"),
                ],
            );
            expect(
                &[(skip, 200, false)],
                &[("attempt", "200.000"), ("wait", "0.500")],
            );
        }
    }

    #[test]
    fn a_failure_keeps_the_last_success() {
        expect(
            &[
                (SUCCESS, 100, true),
                (FAILURE, 200, true),
                (BUSY, 250, false),
                (Outcome::Lost(Loss::LeaseGone), 300, true),
            ],
            &[
                ("attempt", "300.000"),
                ("wait", "0.500"),
                ("exit", "79"),
                ("start", "301.000"),
                ("end", "303.000"),
                ("duration", "2.050"),
                ("success", "103.000"),
            ],
        );
    }

    #[test]
    fn what_could_not_run_is_a_failure_but_no_run() {
        expect(
            &[
                (FAILURE, 100, true),
                (Outcome::Unavailable(String::new()), 200, false),
            ],
            &[
                ("attempt", "200.000"),
                ("wait", "0.500"),
                ("exit", "69"),
                ("start", "101.000"),
                ("end", "103.000"),
                ("duration", "2.050"),
            ],
        );
    }

    #[test]
    fn of_another_content_only_numbers_of_this_lock_are_kept() {
        let earlier = "\
leasehold_last_success_timestamp_seconds{lock=\"other\"} 5
leasehold_last_start_timestamp_seconds{lock=\"job\"} 6
leasehold_last_end_timestamp_seconds{lock=\"job\"} NaN
leasehold_last_duration_seconds{lock=\"job\"} 7 8
";
        let text = text(&report(&BUSY, 1, false), &BUSY, earlier);
        assert!(text.contains("start_timestamp_seconds{lock=\"job\"} 6\n"));
        for other in ["success", "end_timestamp", "duration"] {
            assert!(!text.contains(other), "{other} in {text}");
        }
    }

    #[test]
    fn the_file_of_another_lock_is_told_from_ours() {
        let mut ours = report(&BUSY, 1, false);
        ours.lock = "a\"b".to_owned();
        let content = text(&ours, &BUSY, "");
        assert_eq!(other_lock(&content, "a\"b"), None);
        assert_eq!(other_lock(&content, "job").as_deref(), Some("a\\\"b"));
        for nothing in [
            "",
            "other_metric{lock=\"x\"} 1\n",
            "leasehold_last_attempt_timestamp_seconds{lock=\"",
        ] {
            assert_eq!(other_lock(nothing, "job"), None, "{nothing}");
        }
    }

    #[test]
    fn one_outcome_is_1_and_what_was_typed_as_a_name_breaks_nothing() {
        let outcome = Outcome::Usage(String::new());
        let mut report = report(&outcome, 1, false);
        report.lock = "a\"b\\c\nd".to_owned();
        let text = text(&report, &outcome, "");
        let ones: Vec<&str> = text.lines().filter(|line| line.ends_with("} 1")).collect();
        assert_eq!(
            ones,
            [r#"leasehold_last_outcome{lock="a\"b\\c\nd",outcome="usage"} 1"#]
        );
        assert_eq!(
            text.matches("} 0\n").count(),
            Outcome::NAMES_OF_RUN.len() - 1
        );
    }
}
