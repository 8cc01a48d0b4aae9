//! examples/leasehold-alerts.yml: rules that Prometheus takes, of metrics that there are, and when they wake somebody.

use crate::harness::etcd::Etcd;
use crate::harness::prometheus::promtool;
use crate::metrics::metrics_path;

#[test]
fn the_example_rules_wake_somebody_when_a_job_has_not_succeeded_for_a_day() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/leasehold-alerts.yml");
    promtool(&["check", "rules", rules], None);
    let etcd = Etcd::start();
    let (folder, path) = metrics_path();
    etcd.run("job")
        .metrics(&path)
        .shell("true")
        .output()
        .assert_status(0);
    let metrics = std::fs::read_to_string(&path).expect("written");
    let text = std::fs::read_to_string(rules).expect("readable");
    let names = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    for name in names.filter(|word| word.starts_with("leasehold_")) {
        assert!(
            metrics.contains(&format!("\n{name}{{lock=")),
            "{name} is no metric"
        );
    }
    // Two hosts; the second one only skips, but for one run whose lock is lost. `new` fails from the beginning.
    let test = format!(
        r#"
rule_files: ["{rules}"]
evaluation_interval: 10m
tests:
  - interval: 5m
    input_series:
      - series: 'leasehold_last_success_timestamp_seconds{{lock="job",instance="a"}}'
        values: '3600x864'
      - series: 'leasehold_last_attempt_timestamp_seconds{{lock="job",instance="a"}}'
        values: '0+300x864'
      - series: 'leasehold_last_attempt_timestamp_seconds{{lock="job",instance="b"}}'
        values: '0+300x864'
      - series: 'leasehold_last_attempt_timestamp_seconds{{lock="new",instance="a"}}'
        values: '0+300x864'
      - series: 'leasehold_last_outcome{{lock="job",instance="b",outcome="lost"}}'
        values: '0x359 1 0x500'
    alert_rule_test:
      - {{eval_time: 24h, alertname: JobHasNotSucceededForADay, exp_alerts: []}}
      - eval_time: 26h
        alertname: JobHasNotSucceededForADay
        exp_alerts: [{{exp_labels: {{lock: job, severity: warning}}, exp_annotations: {{
          summary: 'The job under the lock job last succeeded 1d 1h 0m 0s ago.',
          description: 'Who holds the lock, and how the last run ended: leasehold status job'}}}}]
      - {{eval_time: 23h, alertname: JobHasNeverSucceeded, exp_alerts: []}}
      - eval_time: 25h
        alertname: JobHasNeverSucceeded
        exp_alerts: [{{exp_labels: {{lock: new, severity: warning}}, exp_annotations: {{
          summary: 'The job under the lock new is tried, but has not succeeded on any host.'}}}}]
      - {{eval_time: 29h, alertname: JobLostItsLock, exp_alerts: []}}
      - eval_time: 30h
        alertname: JobLostItsLock
        exp_alerts: [{{exp_labels: {{lock: job, instance: b, severity: warning}}, exp_annotations: {{
          summary: 'b lost the lock job while the job ran; do not trust its result.'}}}}]
"#
    );
    let file = folder.path().join("test.yml");
    std::fs::write(&file, test).expect("written");
    promtool(&["test", "rules", file.to_str().expect("readable")], None);
}
