//! How to reach the lock service. Pure.

use std::time::Duration;

use crate::cli::ConnectionArgs;
use crate::config::duration;
use crate::config::endpoint::Endpoint;
use crate::config::inherited::{Inherited, Unresolved};
use crate::config::layers::{Layers, Resolved, Source};
use crate::config::login::{self, Login};
use crate::config::setting::{CONNECT_TIMEOUT, ENDPOINTS, PREFIX};
use crate::config::shown::{self, Shown};
use crate::config::tls::{self, Tls};
use crate::lock::key::Prefix;

/// How to reach the lock service: everything that a client of it has to know.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The cluster's members.
    pub endpoints: Vec<Endpoint>,
    /// What every key begins with.
    pub prefix: Prefix,
    /// How long to look for a working member.
    pub connect_timeout: Duration,
    /// What TLS is spoken with, to those endpoints that speak it.
    pub tls: Tls,
    /// Who logs in, if anybody does.
    pub login: Option<Login>,
    /// Every setting with its source, for `-v`.
    pub shown: Vec<Shown>,
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
    let with_tls = tls::is_wanted(layers);
    let endpoints = layers.value(&ENDPOINTS, |text| Endpoint::parse_list(text, with_tls))?;
    let prefix = layers.value(&PREFIX, |text| {
        text.parse::<Prefix>().map_err(|error| error.to_string())
    })?;
    let connect_timeout = layers.value(&CONNECT_TIMEOUT, duration::parse)?;
    if connect_timeout.value.is_zero() {
        let why = "--connect-timeout cannot be 0";
        return Err(connect_timeout.source.refusal(why).into());
    }
    Ok(Connection {
        endpoints: endpoints.value,
        prefix: prefix.value,
        connect_timeout: connect_timeout.value,
        tls: tls::tls(layers)?,
        shown: shown::shown(layers)?,
        login: login::login(layers)?,
    })
}

impl Connection {
    /// What works, but not as somebody may think.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let plain = self.endpoints.iter().find(|endpoint| !endpoint.is_tls());
        if let (Some(plain), true) = (plain, self.tls != Tls::default()) {
            remarks.push(format!(
                "certificates are given, but {plain} is spoken to without TLS; write https:// for it"
            ));
        }
        if let (Some(plain), Some(_)) = (plain, &self.login) {
            remarks.push(format!("the password goes to {plain} unencrypted"));
        }
        if let Some(Login {
            password: Resolved { source, .. },
            ..
        }) = &self.login
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
            shown.setting.key == crate::config::setting::PASSWORD_FILE.key
                && shown.source == Source::CommandLine
        };
        !self.shown.iter().any(file_typed)
    }
}
