//! Every setting as people may see it, for `config show` and `-v`. Pure.

use crate::config::folder;
use crate::config::kind::Kind;
use crate::config::layers::{Layers, Source};
use crate::config::login::{self, PasswordPlace, User};
use crate::config::setting::{self, Fallback, Setting};
use crate::outcome::Outcome;

/// A setting, its value and who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which setting.
    pub setting: &'static Setting,
    /// Its value; none where it has none.
    pub value: Value,
    /// Who said it.
    pub source: Source,
}

/// A value as people may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// This.
    Text(String),
    /// It has one, which nobody may see.
    Hidden,
    /// It has none, which means this.
    Absent(&'static str),
}

/// Every setting; those of `run` as they are for the lock of these layers.
///
/// # Errors
/// What is wrong with one.
pub fn shown(layers: &Layers<'_>) -> Result<Vec<Shown>, Outcome> {
    let user = login::user(layers)?;
    let password = match &user {
        Some(user) => login::password_place(layers, &user.value)?,
        None => PasswordPlace::Nowhere,
    };
    let is_typed = matches!(layers.inherited().typed_password, Some(Ok(_)));
    let shown = setting::ALL.iter().copied().map(|setting| {
        let found = layers.find(setting);
        let (value, source) = match (setting.kind, found) {
            // Where the password comes from takes more than its own layers: see login.rs.
            (Kind::Password, _) => match &password {
                PasswordPlace::Known(known) => (Value::Hidden, known.source.clone()),
                PasswordPlace::File(found) => (Value::Hidden, found.source.clone()),
                PasswordPlace::Nowhere if is_typed => (Value::Hidden, Source::Terminal),
                PasswordPlace::Nowhere => (Value::Absent("not set"), Source::Default),
            },
            (kind, Some(found)) => {
                kind.check(found.text)
                    .map_err(|why| found.source.refusal(format!("{}: {why}", setting.key)))?;
                let text = match kind {
                    Kind::User => User::parse(found.text).map(|user| user.name),
                    Kind::Path => Ok(found.path(layers.inherited()).display().to_string()),
                    Kind::Folder => folder::shown(&found, layers.inherited()),
                    _ => Ok(found.text.to_owned()),
                };
                (Value::Text(text.unwrap_or_default()), found.source)
            }
            (_, None) => (fallback(setting), Source::Default),
        };
        Ok(Shown {
            setting,
            value,
            source,
        })
    });
    shown.collect()
}

fn fallback(setting: &Setting) -> Value {
    match setting.fallback {
        Fallback::Value(text) => Value::Text(text.to_owned()),
        Fallback::Described(text) => Value::Absent(text),
        Fallback::Nothing => Value::Absent("not set"),
    }
}

impl Shown {
    /// The value for people.
    pub fn text(&self) -> &str {
        match &self.value {
            Value::Text(text) => text,
            Value::Hidden => "set",
            Value::Absent(text) => text,
        }
    }
}
