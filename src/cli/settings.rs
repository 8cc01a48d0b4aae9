//! The options that come from the table of settings (src/config/setting.rs), so that `--help` and the
//! completions say what it says.

use std::ffi::OsStr;

use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum, ValueHint};

use crate::cli::{ConnectionArgs, OnLeftover, OnLoss, Queue, RunSettingArgs};
use crate::config::kind::Kind;
use crate::config::layers::Typed;
use crate::config::setting::{self, Fallback, Scope, Setting};

/// The heading over the options that every command has.
const CONNECTION: &str = "Connection";

impl Args for ConnectionArgs {
    fn augment_args(command: Command) -> Command {
        augment(command, Scope::Connection)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConnectionArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            typed: typed(matches, Scope::Connection),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for RunSettingArgs {
    fn augment_args(command: Command) -> Command {
        augment(command, Scope::Run)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RunSettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            typed: typed(matches, Scope::Run),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn of_scope(scope: Scope) -> impl Iterator<Item = &'static Setting> {
    setting::ALL
        .iter()
        .copied()
        .filter(move |setting| setting.scope == scope)
}

fn augment(command: Command, scope: Scope) -> Command {
    let args = of_scope(scope).filter_map(|setting| {
        let arg = arg(setting)?;
        Some(match scope {
            Scope::Connection => arg.help_heading(CONNECTION),
            Scope::Run => arg,
        })
    });
    command.args(args)
}

fn arg(setting: &'static Setting) -> Option<Arg> {
    let mut arg = Arg::new(setting.key)
        .long(setting.option?)
        .value_name(setting.value_name)
        .help(help(setting))
        .action(ArgAction::Set)
        .value_hint(hint(setting.kind))
        .value_parser(parser(setting.kind));
    if let Some(short) = setting.short {
        arg = arg.short(short);
    }
    if matches!(setting.kind, Kind::Flag | Kind::Folder) {
        // `--record`; and `--record=false` against a file that says otherwise.
        arg = arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true");
    }
    Some(arg)
}

fn help(setting: &Setting) -> String {
    let mut help = setting.meaning.to_owned();
    if let Fallback::Value(default) | Fallback::Described(default) = setting.fallback {
        help.push_str(&format!(" [default: {default}]"));
    }
    if let Some(variable) = setting.variable {
        help.push_str(&format!(" [env: {variable}]"));
    }
    help
}

/// The text is kept as it was typed: it is understood where all sources are, in [`crate::config`].
#[derive(Clone)]
struct AsTyped(Kind);

impl TypedValueParser for AsTyped {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        let Self(kind) = *self;
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        match (kind.check(&text), arg) {
            (Ok(()), _) => Ok(text),
            // clap's own refusals repeat the value.
            (Err(why), Some(arg)) if kind.may_hold_a_password() => {
                let why = format!("'{arg}' cannot be used: {why}\n");
                Err(clap::Error::raw(ErrorKind::ValueValidation, why).with_cmd(command))
            }
            (Err(why), _) => {
                let refusing = move |_: &str| Err::<String, String>(why.clone());
                refusing.parse_ref(command, arg, value)
            }
        }
    }
}

fn parser(kind: Kind) -> ValueParser {
    match kind {
        Kind::OnLeftover => return policies::<OnLeftover>(),
        Kind::OnLoss => return policies::<OnLoss>(),
        Kind::Queue => return policies::<Queue>(),
        Kind::Flag => return PossibleValuesParser::new(["true", "false"]).into(),
        _ => {}
    }
    ValueParser::new(AsTyped(kind))
}

fn policies<P: ValueEnum>() -> ValueParser {
    let values = P::value_variants()
        .iter()
        .filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(values).into()
}

const fn hint(kind: Kind) -> ValueHint {
    match kind {
        Kind::Path => ValueHint::FilePath,
        Kind::Folder => ValueHint::DirPath,
        Kind::ServerName | Kind::Endpoints => ValueHint::Hostname,
        Kind::Prefix
        | Kind::Duration
        | Kind::Text
        | Kind::User
        | Kind::Password
        | Kind::Signal
        | Kind::Status
        | Kind::Slots
        | Kind::OnLeftover
        | Kind::OnLoss
        | Kind::Queue
        | Kind::Flag => ValueHint::Other,
    }
}

fn typed(matches: &ArgMatches, scope: Scope) -> Typed {
    let texts = of_scope(scope).filter_map(|setting| {
        setting.option?;
        let text = matches.get_one::<String>(setting.key)?;
        Some((setting.key, text.clone()))
    });
    Typed(texts.collect())
}
