//! One config.toml: its settings, and the tables with settings of single locks. Everything in it is checked,
//! also what nobody asks for, so that a mistake shows when it is made and not in the night it matters. Pure.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::config::inherited::Content;
use crate::config::kind::Kind;
use crate::config::login::User;
use crate::config::nearest::nearest;
use crate::config::setting::{self, Scope, Setting};
use crate::lock::name::LockName;

/// The table of the tables of single locks.
const LOCK: &str = "lock";

/// A config.toml that was understood.
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    top: Vec<Entry>,
    locks: Vec<LockTable>,
}

struct Entry {
    setting: &'static Setting,
    text: String,
}

struct LockTable {
    pattern: Pattern,
    entries: Vec<Entry>,
}

/// Which locks a table is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This one.
    Exactly(LockName),
    /// All whose names begin with this and a `/`.
    Below(LockName),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Err("what is for all locks stands at the top, outside of any table".to_owned());
        }
        let (name, below) = match text.strip_suffix("/*") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name: LockName = name.parse().map_err(|error| {
            format!("{error}; a table is for a lock, or for all below as in [lock.\"deploy/*\"]")
        })?;
        Ok(if below {
            Self::Below(name)
        } else {
            Self::Exactly(name)
        })
    }

    fn matches(&self, name: &LockName) -> bool {
        match self {
            Self::Exactly(exactly) => exactly == name,
            Self::Below(folder) => name
                .as_str()
                .strip_prefix(folder.as_str())
                .is_some_and(|rest| rest.starts_with('/')),
        }
    }

    /// The bigger, the more it says about a lock: a name of its own says most.
    fn precision(&self) -> usize {
        match self {
            Self::Exactly(_) => usize::MAX,
            Self::Below(folder) => folder.as_str().len(),
        }
    }

    /// A lock that this is for.
    pub fn example(&self) -> LockName {
        match self {
            Self::Exactly(name) => name.clone(),
            Self::Below(folder) => format!("{folder}/x")
                .parse()
                .unwrap_or_else(|_| folder.clone()),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(name) => write!(f, "{name}"),
            Self::Below(folder) => write!(f, "{folder}/*"),
        }
    }
}

impl ConfigFile {
    /// Understands a file's content.
    ///
    /// # Errors
    /// Every mistake in it, each with its line. No message contains a value that may be a secret.
    pub fn parse(path: &Path, content: &Content) -> Result<Self, Vec<String>> {
        let at_file = |why: &str| vec![format!("{}: {why}", path.display())];
        let text = content.text().map_err(at_file)?;
        let mut reader = Reader {
            path,
            text,
            mistakes: Vec::new(),
        };
        // The parser bounds how deep tables and keys nest (80), so that a hostile file cannot use up the stack.
        // toml's own Display quotes the line, which may hold the password.
        let table = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let key = text.get(span.clone()).unwrap_or_default();
            match error.message() {
                // Nothing else that the parser complains of is surely no secret.
                "duplicate key" => {
                    reader.mistake(span, &format!("duplicate key {}", shortened(key)))
                }
                why => reader.mistake(span, why),
            }
            reader.in_order()
        })?;
        let mut file = Self {
            path: path.to_owned(),
            top: Vec::new(),
            locks: Vec::new(),
        };
        reader.top(table.get_ref(), &mut file);
        if file.holds_a_password()
            && let Err(why) = content.check_secrecy(path)
        {
            reader
                .mistakes
                .push((0, format!("{}: {why}", path.display())));
        }
        if reader.mistakes.is_empty() {
            Ok(file)
        } else {
            Err(reader.in_order())
        }
    }

    fn holds_a_password(&self) -> bool {
        self.top.iter().any(|entry| match entry.setting.kind {
            Kind::Password => true,
            Kind::User => User::parse(&entry.text).is_ok_and(|user| user.password.is_some()),
            _ => false,
        })
    }

    /// What it says about a setting: the lock's own table first, the closest one before the others.
    pub fn find(
        &self,
        setting: &Setting,
        lock: Option<&LockName>,
    ) -> Option<(&str, Option<&Pattern>)> {
        fn text<'entry>(entries: &'entry [Entry], key: &str) -> Option<&'entry str> {
            let entry = entries.iter().find(|entry| entry.setting.key == key)?;
            Some(&entry.text)
        }
        let of_lock = lock.and_then(|lock| {
            self.locks
                .iter()
                .filter(|table| table.pattern.matches(lock))
                .filter_map(|table| Some((text(&table.entries, setting.key)?, &table.pattern)))
                .max_by_key(|(_, pattern)| pattern.precision())
        });
        match of_lock {
            Some((text, pattern)) => Some((text, Some(pattern))),
            None => Some((text(&self.top, setting.key)?, None)),
        }
    }

    /// The locks it has tables for.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.locks.iter().map(|table| &table.pattern)
    }
}

/// One pass over a file, which goes on after a mistake.
struct Reader<'text> {
    path: &'text Path,
    text: &'text str,
    /// Each with its line.
    mistakes: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn mistake(&mut self, span: Range<usize>, why: &str) {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let path = self.path.display();
        self.mistakes.push((line, format!("{path}:{line}: {why}")));
    }

    /// The mistakes as somebody reads them who goes through the file.
    fn in_order(&mut self) -> Vec<String> {
        self.mistakes.sort();
        let mistakes = self.mistakes.drain(..);
        mistakes.map(|(_, mistake)| mistake).collect()
    }

    fn top(&mut self, table: &DeTable<'_>, file: &mut ConfigFile) {
        for (key, value) in table {
            if key.get_ref() == LOCK {
                self.locks(value, file);
            } else if let Some(entry) = self.entry(key, value, None) {
                file.top.push(entry);
            }
        }
    }

    fn locks(&mut self, value: &Spanned<DeValue<'_>>, file: &mut ConfigFile) {
        let wanted = "lock is for tables such as [lock.\"deploy/prod\"]";
        let DeValue::Table(tables) = value.get_ref() else {
            return self.mistake(value.span(), wanted);
        };
        for (name, table) in tables {
            let pattern = match Pattern::parse(name.get_ref()) {
                Ok(pattern) => pattern,
                Err(why) => {
                    self.mistake(name.span(), &why);
                    continue;
                }
            };
            let DeValue::Table(settings) = table.get_ref() else {
                // `[lock]` with a setting right below it.
                self.mistake(name.span(), wanted);
                continue;
            };
            let entries = settings
                .iter()
                .filter_map(|(key, value)| self.entry(key, value, Some(&pattern)))
                .collect();
            file.locks.push(LockTable { pattern, entries });
        }
    }

    fn entry(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        table: Option<&Pattern>,
    ) -> Option<Entry> {
        let name: &str = key.get_ref();
        let Some(setting) = Setting::of_key(name) else {
            // `[lock.db.backup]`: TOML reads a table in a table.
            if let (Some(lock), DeValue::Table(_)) = (table, value.get_ref()) {
                let why = "the name of a lock with dots or slashes stands in quotes";
                let meant = shortened(&format!("{lock}.{name}"));
                self.mistake(key.span(), &format!("{why}: [lock.{meant:?}]"));
                return None;
            }
            let hint = hint(name, table.is_none());
            self.mistake(
                key.span(),
                &format!("{:?} is no setting{hint}", shortened(name)),
            );
            return None;
        };
        if table.is_some() && setting.scope == Scope::Connection {
            let why = format!("{name} is the same for all locks; put it above the first table");
            self.mistake(key.span(), &why);
            return None;
        }
        match text_of(setting.kind, value.get_ref()) {
            None => {
                let found = with_article(value.get_ref().type_str());
                let wanted = setting.kind.in_toml();
                let why = format!("{name} has to be {wanted}, not {found}");
                self.mistake(value.span(), &why);
                None
            }
            Some(text) => match setting.kind.check(&text) {
                Ok(()) => Some(Entry { setting, text }),
                Err(why) => {
                    self.mistake(value.span(), &format!("{name}: {why}"));
                    None
                }
            },
        }
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'i']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}

/// The value as it would be typed.
fn text_of(kind: Kind, value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) if kind != Kind::Status && kind != Kind::Flag => {
            Some(text.to_string())
        }
        DeValue::Boolean(flag) if matches!(kind, Kind::Flag | Kind::Folder) => {
            Some(flag.to_string())
        }
        DeValue::Integer(number) if kind.may_be_integer() => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Float(number) if kind == Kind::Duration => Some(number.as_str().replace('_', "")),
        DeValue::Array(list) if kind == Kind::Endpoints => joined(list),
        _ => None,
    }
}

fn joined(list: &DeArray<'_>) -> Option<String> {
    let texts: Option<Vec<&str>> = list.iter().map(|value| value.get_ref().as_str()).collect();
    Some(texts?.join(","))
}

/// `; did you mean ttl?`
fn hint(typed: &str, at_top: bool) -> String {
    let typed = shortened(&typed.to_lowercase().replace('-', "_"));
    let keys = setting::in_files()
        .filter(|setting| at_top || setting.scope == Scope::Run)
        .map(|setting| setting.key);
    nearest(&typed, keys.chain(Some(LOCK).filter(|_| at_top)))
        .map(|key| format!("; did you mean {key}?"))
        .unwrap_or_default()
}

/// Enough of a foreign text to recognise it.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
