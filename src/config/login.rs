//! Who logs in to etcd, and with which password. Pure.
//!
//! A password belongs to the user who is named beside it (in the same file, or in variables of the same
//! family): whoever types another user is not given that one's password.

use std::path::Path;

use crate::config::inherited::{Content, Need, NotTyped, Unresolved};
use crate::config::layers::{Found, Layer, Layers, Resolved, Source};
use crate::config::secret::Secret;
use crate::config::setting::{PASSWORD, PASSWORD_FILE, USER};
use crate::outcome::Outcome;

/// What to do where a user has no password.
const WAYS: &str = "give it with --password-file FILE, LEASEHOLD_PASSWORD, or password or password_file in config.toml; on a terminal it is asked for";

/// `NAME` or `NAME:PASSWORD`.
pub struct User {
    /// The name.
    pub name: String,
    /// What stands behind the first `:`, as for etcdctl.
    pub password: Option<Secret>,
}

impl User {
    /// Reads one.
    ///
    /// # Errors
    /// A sentence for the user, without the password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, password) = match text.split_once(':') {
            Some((name, password)) => (name, Some(password)),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("the user's name is missing; write NAME or NAME:PASSWORD".to_owned());
        }
        if password == Some("") {
            return Err("the password behind ':' is missing".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            password: password.map(Secret::new),
        })
    }
}

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: Resolved<String>,
    /// The user's password.
    pub password: Resolved<Secret>,
}

/// Where the password is, before any file is read.
pub enum PasswordPlace<'from> {
    /// Here.
    Known(Resolved<Secret>),
    /// In the file that is named there.
    File(Found<'from>),
    /// Nowhere.
    Nowhere,
}

/// Resolves who logs in, if anybody does.
///
/// # Errors
/// What is wrong, a file that is not read yet, or the password if it has to be asked for.
pub fn login(layers: &Layers<'_>) -> Result<Option<Login>, Unresolved> {
    let Some(user) = user(layers)? else {
        return match layers.in_layer(Layer::Typed, &PASSWORD_FILE) {
            Some(_) => Err(Outcome::Usage("--password-file needs --user".to_owned()).into()),
            None => Ok(None),
        };
    };
    let password = match password_place(layers, &user.value)? {
        PasswordPlace::Known(password) => password,
        PasswordPlace::File(found) => from_file(layers, found)?,
        PasswordPlace::Nowhere => typed(layers, &user)?,
    };
    Ok(Some(Login { user, password }))
}

/// The user's name.
///
/// # Errors
/// What is wrong with it.
pub fn user(layers: &Layers<'_>) -> Result<Option<Resolved<String>>, Outcome> {
    layers.get(&USER, |text| Ok(User::parse(text)?.name))
}

/// Where the user's password is.
///
/// # Errors
/// Two in one place.
pub fn password_place<'layers>(
    layers: &'layers Layers<'_>,
    user: &str,
) -> Result<PasswordPlace<'layers>, Outcome> {
    for layer in layers.in_order() {
        let named = layers.in_layer(layer, &USER);
        let named = named.and_then(|found| Some((User::parse(found.text).ok()?, found.source)));
        if named.as_ref().is_some_and(|(named, _)| named.name != user) {
            continue;
        }
        let beside_user = named.and_then(|(named, source)| {
            let value = named.password?;
            Some(PasswordPlace::Known(Resolved { value, source }))
        });
        let alone = layers.in_layer(layer, &PASSWORD).map(|found| {
            let value = Secret::new(found.text);
            let source = found.source;
            PasswordPlace::Known(Resolved { value, source })
        });
        let file = layers
            .in_layer(layer, &PASSWORD_FILE)
            .map(PasswordPlace::File);
        let mut places = [beside_user, alone, file].into_iter().flatten();
        match (places.next(), places.next()) {
            (None, _) => {}
            (Some(place), None) => return Ok(place),
            (Some(place), Some(_)) => {
                let why = "two passwords are given; give one";
                return Err(place.source().refusal(why));
            }
        }
    }
    Ok(PasswordPlace::Nowhere)
}

impl PasswordPlace<'_> {
    /// Who says where it is.
    pub const fn source(&self) -> &Source {
        match self {
            Self::Known(password) => &password.source,
            Self::File(found) => &found.source,
            Self::Nowhere => &Source::Default,
        }
    }
}

fn from_file(layers: &Layers<'_>, found: Found<'_>) -> Result<Resolved<Secret>, Unresolved> {
    let path = found.path(layers.inherited());
    let value = layers
        .inherited()
        .file(&path)?
        .content()
        .and_then(|content| first_line(content, &path))
        .map_err(|why| {
            let why = format!("the password file {} cannot be used: {why}", path.display());
            Outcome::Configuration(format!("{why} ({})", found.source))
        })?;
    let source = found.source;
    Ok(Resolved { value, source })
}

fn first_line(content: &Content, path: &Path) -> Result<Secret, String> {
    content.check_secrecy(path)?;
    match content.text()?.lines().next() {
        None | Some("") => Err("its first line is empty".to_owned()),
        Some(line) => Ok(Secret::new(line)),
    }
}

fn typed(layers: &Layers<'_>, user: &Resolved<String>) -> Result<Resolved<Secret>, Unresolved> {
    let name = &user.value;
    let refused = |why: String| Outcome::Configuration(format!("{why} ({})", user.source));
    match &layers.inherited().typed_password {
        None => Err(Unresolved::Needs(Need::Password(name.clone()))),
        Some(Err(NotTyped::Signal(signal))) => Err(Outcome::Interrupted(*signal).into()),
        Some(Err(NotTyped::NoTerminal)) => {
            Err(refused(format!("the password of {name} is missing; {WAYS}")).into())
        }
        Some(Ok(typed)) if typed.reveal().is_empty() => {
            Err(refused(format!("no password was typed for {name}")).into())
        }
        // etcd takes no other, and half of one must not be refused as a wrong one.
        Some(Ok(typed)) if std::str::from_utf8(typed.reveal()).is_err() => {
            Err(refused(format!("what was typed for {name} is no text (not UTF-8)")).into())
        }
        Some(Ok(typed)) => Ok(Resolved {
            value: typed.clone(),
            source: Source::Terminal,
        }),
    }
}
