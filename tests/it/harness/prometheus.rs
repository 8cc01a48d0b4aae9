//! Prometheus' own view of what leasehold writes for it: its client library's parser, and promtool.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use super::untested;

/// What scripts/setup.sh has put into the build's folder.
const PYTHON: &str = concat!(
    env!("CARGO_TARGET_TMPDIR"),
    "/../prometheus-client/bin/python3"
);

/// Prints each sample as a line: name, labels as JSON, value.
const PARSE: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.buffer.read().decode()):
    assert family.type == 'gauge' and family.documentation, family
    for sample in family.samples:
        assert sample.timestamp is None, sample
        print(json.dumps([sample.name, sample.labels, sample.value]))
";

/// The samples of a file: by name, and with `/OUTCOME` behind it for one that has that label. Nothing where there is no
/// parser on this machine.
#[track_caller]
pub(crate) fn samples(path: &Path, lock: &str) -> Option<BTreeMap<String, f64>> {
    if !Path::new(PYTHON).exists() {
        untested::missing("prometheus_client");
        return None;
    }
    let file = std::fs::File::open(path).expect("metrics were written");
    let output = Command::new(PYTHON)
        .args(["-c", PARSE])
        .stdin(file)
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", text(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let samples = printed.lines().map(|line| {
        let sample: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(sample[1]["lock"], lock, "{sample}");
        let name = sample[0].as_str().expect("a name");
        let name = name.trim_start_matches("leasehold_last_");
        let name = match sample[1]["outcome"].as_str() {
            Some(outcome) => format!("{name}/{outcome}"),
            None => name.to_owned(),
        };
        (name, sample[2].as_f64().expect("a number"))
    });
    let samples: BTreeMap<String, f64> = samples.collect();
    assert_eq!(
        samples.len(),
        printed.lines().count(),
        "each once: {printed}"
    );
    Some(samples)
}

/// `promtool ARGUMENTS`, which has to find everything right. Nothing is tried where it is missing.
#[track_caller]
pub(crate) fn promtool(arguments: &[&str], input: Option<&Path>) {
    let mut command = Command::new("promtool");
    command.args(arguments);
    if let Some(path) = input {
        command.stdin(std::fs::File::open(path).expect("it is there"));
    }
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{arguments:?}: {}", text(&output)),
        Err(_) => untested::missing("promtool"),
    }
}

fn text(output: &Output) -> String {
    let Output { stdout, stderr, .. } = output;
    let text = [stdout.as_slice(), stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}
