//! Command line > environment > file > default: who says what about a setting, in the order in which they
//! are believed. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::file::{ConfigFile, Pattern};
use crate::config::inherited::{FileState, Inherited, Unresolved};
use crate::config::setting::{self, Fallback, Setting};
use crate::lock::name::LockName;
use crate::outcome::Outcome;

/// Where config.toml is in a configuration folder.
const IN_FOLDER: &str = "leasehold/config.toml";

/// The system's configuration folder.
const SYSTEM_FOLDER: &str = "/etc";

/// What was typed for settings: texts that were checked, by [`Setting::key`]. One may be a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Typed(pub BTreeMap<&'static str, String>);

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Typed.
    CommandLine,
    /// This variable.
    Variable(&'static str),
    /// This file.
    File {
        /// Its path.
        path: PathBuf,
        /// The lock's table in it.
        table: Option<Pattern>,
    },
    /// Asked for on the terminal.
    Terminal,
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => write!(f, "command line"),
            Self::Variable(name) => name.fmt(f),
            Self::File { path, table: None } => write!(f, "{}", path.display()),
            Self::File {
                path,
                table: Some(table),
            } => write!(f, "{} [lock.\"{table}\"]", path.display()),
            Self::Terminal => write!(f, "terminal"),
            Self::Default => write!(f, "default"),
        }
    }
}

impl Source {
    /// What is typed wrongly is a matter of usage, all else of configuration.
    pub fn refusal(&self, why: impl fmt::Display) -> Outcome {
        match self {
            Self::CommandLine => Outcome::Usage(why.to_string()),
            Self::Variable(_) | Self::File { .. } | Self::Terminal | Self::Default => {
                Outcome::Configuration(format!("{why} ({self})"))
            }
        }
    }
}

/// A value and who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<T> {
    /// The value.
    pub value: T,
    /// Who said it.
    pub source: Source,
}

/// What one source says about a setting. The text may be a password.
pub struct Found<'from> {
    /// What it says.
    pub text: &'from str,
    /// Who it is.
    pub source: Source,
}

impl Found<'_> {
    /// The path that it names: relative to the folder of the file it stands in, or to the current one. In a
    /// file `~/` is the user's folder; elsewhere the shell has seen to that.
    pub fn path(&self, inherited: &Inherited) -> PathBuf {
        let folder = match &self.source {
            Source::File { path, .. } => path.parent(),
            _ => return inherited.folder.join(self.text),
        };
        if let (Some(below), Some(home)) = (self.text.strip_prefix("~/"), home(inherited)) {
            return home.join(below);
        }
        folder.unwrap_or(&inherited.folder).join(self.text)
    }
}

/// One place that may say something about several settings at once, such as a user and the password.
#[derive(Clone, Copy)]
pub enum Layer<'from> {
    /// The command line.
    Typed,
    /// The `LEASEHOLD_*` variables.
    Variables,
    /// The `ETCDCTL_*` variables.
    EtcdctlVariables,
    /// One config.toml.
    File(&'from ConfigFile),
}

/// Everybody who says something.
pub struct Layers<'from> {
    typed: Vec<&'from Typed>,
    lock: Option<&'from LockName>,
    inherited: &'from Inherited,
    files: Vec<ConfigFile>,
}

impl<'from> Layers<'from> {
    /// Gathers them. `lock` is whose tables count.
    ///
    /// # Errors
    /// A file that is not read yet, or what is wrong with it.
    pub fn gather(
        typed: &[&'from Typed],
        lock: Option<&'from LockName>,
        inherited: &'from Inherited,
    ) -> Result<Self, Unresolved> {
        let mut layers = Self {
            lock,
            ..Self::typed_only(typed, inherited)
        };
        layers.check_variables()?;
        for place in places(&layers) {
            if let Some(file) = place.read(inherited)? {
                layers.files.push(file);
            }
        }
        Ok(layers)
    }

    /// Those that need no file, where one has a mistake in it.
    pub fn typed_only(typed: &[&'from Typed], inherited: &'from Inherited) -> Self {
        Self {
            typed: typed.to_vec(),
            lock: None,
            inherited,
            files: Vec::new(),
        }
    }

    fn check_variables(&self) -> Result<(), Outcome> {
        for setting in setting::ALL {
            let names = [setting.variable, setting.etcdctl];
            for name in names.into_iter().flatten() {
                let refused = |why: &str| Outcome::Configuration(format!("{name}: {why}"));
                if self.inherited.garbled.contains(name) {
                    return Err(refused("its value is no text (not UTF-8)"));
                }
            }
        }
        Ok(())
    }

    /// Every layer, the strongest first.
    pub fn in_order(&self) -> impl Iterator<Item = Layer<'_>> {
        [Layer::Typed, Layer::Variables, Layer::EtcdctlVariables]
            .into_iter()
            .chain(self.files.iter().map(Layer::File))
    }

    /// What one layer says about a setting.
    pub fn in_layer<'layers>(
        &'layers self,
        layer: Layer<'layers>,
        setting: &Setting,
    ) -> Option<Found<'layers>> {
        let variable = |name: Option<&'static str>| {
            let name = name?;
            let text = self.inherited.variable(name)?;
            let source = Source::Variable(name);
            Some(Found { text, source })
        };
        match layer {
            Layer::Typed => {
                let text = self
                    .typed
                    .iter()
                    .find_map(|typed| typed.0.get(setting.key))?;
                let source = Source::CommandLine;
                Some(Found { text, source })
            }
            Layer::Variables => variable(setting.variable),
            Layer::EtcdctlVariables => variable(setting.etcdctl),
            Layer::File(file) => {
                let (text, table) = file.find(setting, self.lock)?;
                let source = Source::File {
                    path: file.path.clone(),
                    table: table.cloned(),
                };
                Some(Found { text, source })
            }
        }
    }

    /// What the strongest of those who say anything says.
    pub fn find(&self, setting: &Setting) -> Option<Found<'_>> {
        self.in_order()
            .find_map(|layer| self.in_layer(layer, setting))
    }

    /// The value of a setting; none where nobody says anything and the table has no default.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn get<T>(
        &self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<Resolved<T>>, Outcome> {
        let default = match setting.fallback {
            Fallback::Value(text) => Some(Found {
                text,
                source: Source::Default,
            }),
            Fallback::Described(_) | Fallback::Nothing => None,
        };
        let Some(found) = self.find(setting).or(default) else {
            return Ok(None);
        };
        let value = parse(found.text).map_err(|why| found.source.refusal(why))?;
        let source = found.source;
        Ok(Some(Resolved { value, source }))
    }

    /// The value of a setting that has a default.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn value<T>(
        &self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Resolved<T>, Outcome> {
        let resolved = self.get(setting, parse)?;
        Ok(resolved.expect("only a setting with a default is asked for its value"))
    }

    /// What the process was given.
    pub const fn inherited(&self) -> &'from Inherited {
        self.inherited
    }

    /// The files that say something.
    pub fn files(&self) -> &[ConfigFile] {
        &self.files
    }
}

/// Where a config.toml may be.
pub struct Place {
    /// Its path.
    pub path: PathBuf,
    /// Who named it, where it was named: then it has to be there.
    pub named_by: Option<Source>,
}

impl Place {
    /// What is in it, if it is there.
    ///
    /// # Errors
    /// It is not read yet, cannot be read, or has mistakes in it.
    pub fn read(&self, inherited: &Inherited) -> Result<Option<ConfigFile>, Unresolved> {
        let state = inherited.file(&self.path)?;
        if *state == FileState::Absent && self.named_by.is_none() {
            return Ok(None);
        }
        let parsed = match state.content() {
            Ok(content) => ConfigFile::parse(&self.path, content),
            Err(why) => Err(vec![self.unusable(&why)]),
        };
        let file = parsed.map_err(|mistakes| Outcome::Configuration(summary(&mistakes)))?;
        Ok(Some(file))
    }

    fn unusable(&self, why: &str) -> String {
        let path = self.path.display();
        match &self.named_by {
            Some(source) => format!("the configuration {path} cannot be used: {why} ({source})"),
            None => format!(
                "the configuration {path} cannot be used: {why}; --config FILE reads another one in its place"
            ),
        }
    }
}

/// The first mistake, and how to see the others.
fn summary(mistakes: &[String]) -> String {
    match mistakes {
        [] => String::new(),
        [only] => only.clone(),
        [first, others @ ..] => format!(
            "{first} (and {} more: leasehold config check)",
            others.len()
        ),
    }
}

/// Where to look for files: the one that was named, or the user's and the system's.
fn places(layers: &Layers<'_>) -> Vec<Place> {
    let inherited = layers.inherited();
    if let Some(found) = layers.find(&setting::CONFIG) {
        let path = found.path(inherited);
        let named_by = Some(found.source);
        return vec![Place { path, named_by }];
    }
    let place = |folder: &Path| Place {
        path: folder.join(IN_FOLDER),
        named_by: None,
    };
    let users =
        folder_of(inherited, "XDG_CONFIG_HOME").or_else(|| Some(home(inherited)?.join(".config")));
    let system = Path::new(SYSTEM_FOLDER);
    users
        .as_deref()
        .into_iter()
        .chain([system])
        .map(place)
        .collect()
}

/// The user's folder.
pub fn home(inherited: &Inherited) -> Option<PathBuf> {
    folder_of(inherited, "HOME").or_else(|| inherited.home.clone())
}

/// The folder that a variable names. A relative one is invalid and to be ignored, says the XDG base directory
/// specification.
pub fn folder_of(inherited: &Inherited, variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(inherited.variable(variable)?);
    path.is_absolute().then_some(path)
}

/// Where to look for files, for `config check`.
pub fn config_places(typed: &Typed, inherited: &Inherited) -> Vec<Place> {
    places(&Layers::typed_only(&[typed], inherited))
}
