//! docs/configuration.md: its example means what it says.

use super::*;

const PAGE: &str = include_str!("../../../docs/configuration.md");

fn example() -> Machine {
    let (_, rest) = PAGE.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    Machine::default()
        .file(SYSTEMS, example)
        .file("/etc/leasehold/ca.pem", certificate)
        .file("/etc/leasehold/password", "s3cret\nnot this\n")
}

#[test]
fn the_example_reaches_etcd_as_its_comments_say() {
    let connection = example().job().connection;
    let urls: Vec<&str> = connection
        .cluster()
        .endpoints
        .iter()
        .map(|e| e.url())
        .collect();
    assert_eq!(urls.len(), 3);
    assert!(
        urls.iter().all(|url| url.starts_with("https://etcd-")),
        "{urls:?}"
    );
    let login = connection.cluster().login.as_ref().expect("a user");
    assert_eq!(login.user.value, "cron");
    assert_eq!(login.password.value.reveal(), b"s3cret");
}

#[test]
fn the_examples_locks_have_the_settings_that_it_says() {
    let any = example().job();
    assert_eq!(any.wanted.ttl.as_secs(), 60);
    assert_eq!(any.plan.wait, None);
    let deploy = example().run(&["deploy/eu/prod", "cmd"]).expect("accepted");
    assert_eq!(deploy.plan.wait, Some(Duration::from_secs(300)));
    assert_eq!(deploy.plan.kill_after.as_secs(), 15);
    let report = example().run(&["nightly-report", "cmd"]).expect("accepted");
    assert!(report.wanted.nonblock);
    assert_eq!(report.plan.conflict_status, 0);
    assert_eq!(report.plan.max_runtime, Some(Duration::from_secs(7200)));
    assert_eq!(report.wanted.entry.reason, "the nightly report");
}

#[test]
fn every_table_that_the_documentation_names_is_one() {
    let texts = [
        include_str!("../../../README.md"),
        include_str!("../../../docs/configuration.md"),
    ];
    let mut tables = 0;
    for rest in texts.iter().flat_map(|text| text.split("[lock.").skip(1)) {
        let (name, _) = rest.split_once(']').expect("an end");
        let table = format!("[lock.{name}]\nrecord = true\n");
        let config = Machine::default()
            .file(SYSTEMS, &table)
            .run(&["job", "cmd"]);
        assert!(config.is_ok(), "{table}: {config:?}");
        tables += 1;
    }
    assert!(tables > 4, "{tables}");
}
