//! How to reach the lock service. Pure.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::ConnectionArgs;
use crate::config::duration;
use crate::config::endpoint::Endpoint;
use crate::config::folder;
use crate::config::inherited::{Inherited, Unresolved};
use crate::config::layers::{Layer, Layers, Resolved, Source};
use crate::config::login::{self, Login};
use crate::config::setting::{
    CACERT, CERT, CONNECT_TIMEOUT, ENDPOINTS, KEY, PASSWORD_FILE, PREFIX, TLS_SERVER_NAME, USER,
};
use crate::config::shown::{self, Shown};
use crate::config::tls::{self, Tls};
use crate::lock::key::Prefix;
use crate::outcome::Outcome;

/// How to reach the lock service: everything that a client of it has to know.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where the locks are.
    pub place: Place,
    /// What every key begins with.
    pub prefix: Prefix,
    /// How long to look for a working member.
    pub connect_timeout: Duration,
    /// Every setting with its source, for `-v`.
    pub shown: Vec<Shown>,
}

/// Where the locks are.
#[derive(Clone, Debug)]
pub enum Place {
    /// In etcd.
    Cluster(Box<Cluster>),
    /// In this folder of this machine: `--local`.
    Folder(PathBuf),
}

/// A cluster of etcd.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its members.
    pub endpoints: Vec<Endpoint>,
    /// What TLS is spoken with, to those endpoints that speak it.
    pub tls: Tls,
    /// Who logs in, if anybody does.
    pub login: Option<Login>,
}

/// Resolves how to reach the lock service, for a command without other settings.
///
/// # Errors
/// What is still needed from outside; or [`crate::outcome::Outcome::Usage`] for what was typed and
/// [`crate::outcome::Outcome::Configuration`] for a variable or file, with the sentence for the user.
pub fn connection(args: &ConnectionArgs, inherited: &Inherited) -> Result<Connection, Unresolved> {
    resolve(&Layers::gather(&[&args.typed], None, inherited)?)
}

/// Resolves how to reach the lock service. The password is asked for last, when nothing else is wrong.
pub(super) fn resolve(layers: &Layers<'_>) -> Result<Connection, Unresolved> {
    let prefix = layers.value(&PREFIX, |text| {
        text.parse::<Prefix>().map_err(|error| error.to_string())
    })?;
    let connect_timeout = layers.value(&CONNECT_TIMEOUT, duration::parse)?;
    if connect_timeout.value.is_zero() {
        let why = "--connect-timeout cannot be 0";
        return Err(connect_timeout.source.refusal(why).into());
    }
    let place = match folder::folder(layers)? {
        Some(folder) => {
            refuse_what_is_etcds(layers)?;
            Place::Folder(folder)
        }
        None => Place::Cluster(Box::new(cluster(layers)?)),
    };
    Ok(Connection {
        prefix: prefix.value,
        connect_timeout: connect_timeout.value,
        shown: shown::shown(layers)?,
        place,
    })
}

/// How a cluster is reached. The password is asked for last, when nothing else is wrong.
fn cluster(layers: &Layers<'_>) -> Result<Cluster, Unresolved> {
    let with_tls = tls::is_wanted(layers);
    let endpoints = layers.value(&ENDPOINTS, |text| Endpoint::parse_list(text, with_tls))?;
    Ok(Cluster {
        endpoints: endpoints.value,
        tls: tls::tls(layers)?,
        login: login::login(layers)?,
    })
}

/// What was typed for a cluster means that one was meant; what was inherited is for other times.
fn refuse_what_is_etcds(layers: &Layers<'_>) -> Result<(), Outcome> {
    let settings = [
        &CACERT,
        &CERT,
        &KEY,
        &TLS_SERVER_NAME,
        &USER,
        &PASSWORD_FILE,
    ];
    for setting in settings {
        if layers.in_layer(Layer::Typed, setting).is_some()
            && let Some(option) = setting.option
        {
            return Err(Outcome::Usage(format!(
                "--{option} is for etcd, and the lock is in a folder of this machine (local); give one of them"
            )));
        }
    }
    Ok(())
}

impl Connection {
    /// What works, but not as somebody may think.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let Place::Cluster(cluster) = &self.place else {
            return remarks;
        };
        let plain = cluster.endpoints.iter().find(|endpoint| !endpoint.is_tls());
        if let (Some(plain), true) = (plain, cluster.tls != Tls::default()) {
            remarks.push(format!(
                "certificates are given, but {plain} is spoken to without TLS; write https:// for it"
            ));
        }
        if let (Some(plain), Some(_)) = (plain, &cluster.login) {
            remarks.push(format!("the password goes to {plain} unencrypted"));
        }
        if let Some(Login {
            password: Resolved { source, .. },
            ..
        }) = &cluster.login
            && *source == Source::CommandLine
            && self.is_password_typed()
        {
            remarks.push(
                "the password stands in the command line, where everybody on this machine can read it; use --password-file".to_owned(),
            );
        }
        remarks
    }

    /// Whether the password itself was typed, and not the name of its file.
    fn is_password_typed(&self) -> bool {
        let file_typed = |shown: &Shown| {
            shown.setting.key == PASSWORD_FILE.key && shown.source == Source::CommandLine
        };
        !self.shown.iter().any(file_typed)
    }
}

#[cfg(test)]
impl Connection {
    /// The cluster, for tests of one.
    pub fn cluster(&self) -> &Cluster {
        match &self.place {
            Place::Cluster(cluster) => cluster,
            Place::Folder(folder) => panic!("{} in place of a cluster", folder.display()),
        }
    }
}
