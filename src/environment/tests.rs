//! What the command gets, and that a leasehold inside understands it.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::cli::{Cli, Command};
use crate::config::connection::Place;
use crate::config::inherited::{Access, Content, FileState, Inherited, Need, Unresolved};
use crate::config::secret::Secret;
use crate::config::setting::{self, Scope};
use crate::lock::token::{ClusterId, LeaseId, Token};
use clap::Parser;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";

fn resolve(words: &[&str], variables: &[(OsString, OsString)]) -> RunConfig {
    let cli = Cli::try_parse_from(["leasehold", "run"].iter().chain(words)).expect("parsed");
    let Command::Run(args) = cli.command else {
        panic!("run was typed");
    };
    let text = |text: &OsString| text.clone().into_string().expect("text");
    let variables = variables.iter();
    let mut inherited = Inherited {
        variables: variables
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        folder: "/work".into(),
        ..Inherited::default()
    };
    loop {
        match RunConfig::resolve(&args, &inherited) {
            Ok(config) => return config,
            Err(Unresolved::Needs(Need::File(path))) => {
                let state = match path.to_str() {
                    Some("/work/c" | "/work/ca") => read(CERTIFICATE),
                    Some("/work/k") => read(KEY),
                    _ => FileState::Absent,
                };
                inherited.files.insert(path, state);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn read(text: &str) -> FileState {
    let bytes = Secret::new(text);
    let access = Some(Access {
        mode: 0o600,
        uid: 0,
    });
    FileState::Read(Content { bytes, access })
}

fn exported_by(config: &RunConfig) -> Vec<(OsString, OsString)> {
    let place = crate::supervisor::Place {
        token: Token::new(7).expect("a token"),
        key: "/x/job/1f".to_owned(),
        lease: LeaseId::new(31).expect("a lease"),
        cluster: ClusterId(5),
    };
    environment(config, &place, 8)
}

/// Everything that says how to reach the cluster is given, in a way that no default or other place gives.
const EVERYTHING: [&str; 16] = [
    "--endpoints",
    "a:1,http://b:2",
    "--prefix",
    "/x",
    "--cacert",
    "ca",
    "--cert",
    "c",
    "--key",
    "k",
    "--tls-server-name",
    "etcd",
    "--user",
    "me:s3cret",
    "job",
    "cmd",
];

#[test]
fn every_documented_variable_is_exported_when_there_is_something_to_say() {
    let names = |words: &[&str]| -> BTreeSet<String> {
        let exported = exported_by(&resolve(words, &[]));
        let names = exported.into_iter().map(|(name, _)| name);
        names
            .map(|name| name.into_string().expect("text"))
            .collect()
    };
    let documented: BTreeSet<String> = EXPORTED.iter().map(|e| e.name.to_owned()).collect();
    assert_eq!(names(&EVERYTHING), documented);
    let without_tls = names(&["job", "cmd"]);
    assert!(
        !without_tls
            .iter()
            .any(|name| name.contains("CERT") || name == "LEASEHOLD_KEY")
    );
}

#[test]
fn an_exported_name_that_is_a_setting_means_the_same_inside_and_no_other_name_is_read_there() {
    let outside = resolve(&EVERYTHING, &[]);
    let exported = exported_by(&outside);
    let inside = resolve(&["job", "cmd"], &exported);
    assert_eq!(
        inside.connection.cluster().endpoints,
        outside.connection.cluster().endpoints
    );
    for variable in EXPORTED {
        let mut settings = setting::ALL.iter();
        let Some(setting) = settings.find(|setting| setting.variable == Some(variable.name)) else {
            continue;
        };
        assert_eq!(setting.scope, Scope::Connection, "{}", variable.name);
        let value = |config: &RunConfig| {
            let mut shown = config.connection.shown.iter();
            let shown = shown.find(|shown| shown.setting.key == setting.key);
            shown.map(|shown| shown.text().to_owned())
        };
        let meant = match setting.key {
            // Completed on the way: with scheme and port, with the slash at the end.
            "endpoints" => Some("https://a:1,http://b:2".to_owned()),
            "prefix" => Some("/x/".to_owned()),
            // Empty, so that nothing inherited counts.
            "local" => Some("in etcd".to_owned()),
            _ => value(&outside),
        };
        assert_eq!(value(&inside), meant, "{}", variable.name);
    }
    assert_eq!(inside.connection.prefix, outside.connection.prefix);
    assert_eq!(inside.wanted.ttl, outside.wanted.ttl);
    assert_eq!(inside.wanted.name, outside.wanted.name);
}

#[test]
fn a_leasehold_inside_a_local_lock_uses_the_same_folder() {
    let outside = resolve(&["--local=/locks", "job", "cmd"], &[]);
    let inherited = ("LEASEHOLD_ENDPOINTS".into(), "a:1".into());
    let mut variables = vec![inherited];
    variables.retain(|(name, _)| exported_by(&outside).iter().all(|(other, _)| other != name));
    variables.extend(exported_by(&outside));
    let inside = resolve(&["job", "cmd"], &variables);
    match inside.connection.place {
        Place::Folder(folder) => assert_eq!(folder, Path::new("/locks")),
        Place::Cluster(cluster) => panic!("{cluster:?}"),
    }
}

#[test]
fn no_secret_is_exported() {
    for (name, value) in exported_by(&resolve(&EVERYTHING, &[])) {
        let value = value.to_string_lossy();
        assert!(
            !value.contains("s3cret") && !value.contains("MIIB"),
            "{name:?}"
        );
    }
}
