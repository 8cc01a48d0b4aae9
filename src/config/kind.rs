//! What the text of a setting may be, wherever it comes from. Pure.

use std::num::NonZeroU32;

use crate::cli::{OnLeftover, OnLoss, Queue};
use crate::config::endpoint::Endpoint;
use crate::config::login::User;
use crate::config::{duration, signal};
use crate::lock::key::Prefix;

/// What a setting's text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses with a comma between; in config.toml a list of them as well.
    Endpoints,
    /// What every key begins with.
    Prefix,
    /// A duration; in config.toml a bare number of seconds as well.
    Duration,
    /// A file.
    Path,
    /// A folder for locks, or whether the usual one is meant.
    Folder,
    /// Any text.
    Text,
    /// The name in a certificate.
    ServerName,
    /// `NAME` or `NAME:PASSWORD`.
    User,
    /// A text that nobody may see.
    Password,
    /// A signal by name or number.
    Signal,
    /// An exit status.
    Status,
    /// A number of holders.
    Slots,
    /// A policy of [`OnLeftover`].
    OnLeftover,
    /// A policy of [`OnLoss`].
    OnLoss,
    /// A policy of [`Queue`].
    Queue,
    /// Yes or no.
    Flag,
}

impl Kind {
    /// Whether this text is one.
    ///
    /// # Errors
    /// A sentence for the user, which never contains a password.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Endpoints => Endpoint::parse_list(text, false).map(drop),
            Self::Prefix => text
                .parse::<Prefix>()
                .map(drop)
                .map_err(|error| error.to_string()),
            Self::Duration => duration::parse(text).map(drop),
            Self::Path | Self::Folder | Self::Password => not_empty(text),
            Self::Text => Ok(()),
            Self::ServerName => server_name(text),
            Self::User => User::parse(text).map(drop),
            Self::Signal => signal::parse(text).map(drop),
            Self::Status => status(text).map(drop),
            Self::Slots => slots(text).map(drop),
            Self::OnLeftover => on_leftover(text).map(drop),
            Self::OnLoss => on_loss(text).map(drop),
            Self::Queue => queue(text).map(drop),
            Self::Flag => flag(text).map(drop),
        }
    }

    /// Whether people may have put a password into it, so that no refusal may repeat it.
    pub const fn may_hold_a_password(self) -> bool {
        matches!(self, Self::User | Self::Password | Self::Endpoints)
    }

    /// Whether config.toml may write it as a number.
    pub const fn may_be_integer(self) -> bool {
        matches!(
            self,
            Self::Duration | Self::Signal | Self::Status | Self::Slots
        )
    }

    /// What config.toml has to write, for the refusal of something else.
    pub const fn in_toml(self) -> &'static str {
        match self {
            Self::Endpoints => "a string, or a list of strings",
            Self::Duration => "a string such as \"90s\", or a number of seconds",
            Self::Signal => "a string such as \"TERM\", or a number",
            Self::Status => "a number from 0 to 255",
            Self::Slots => "a number from 1",
            Self::Prefix
            | Self::Path
            | Self::Text
            | Self::ServerName
            | Self::User
            | Self::Password
            | Self::OnLeftover
            | Self::OnLoss
            | Self::Queue => "a string",
            Self::Flag => "true or false",
            Self::Folder => "true, false or a string",
        }
    }
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it cannot be empty".to_owned());
    }
    Ok(())
}

fn server_name(text: &str) -> Result<(), String> {
    let possible = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if text.is_empty() || !text.chars().all(possible) {
        return Err(format!("{text:?} is no host name or address"));
    }
    Ok(())
}

/// Reads an exit status.
///
/// # Errors
/// A sentence for the user.
pub fn status(text: &str) -> Result<u8, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no exit status; write a number from 0 to 255"))
}

/// Reads a number of holders.
///
/// # Errors
/// A sentence for the user.
pub fn slots(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is no number of holders; write a number from 1 to {}",
            u32::MAX
        )
    })
}

/// Reads a policy for processes that outlive the command.
///
/// # Errors
/// A sentence for the user.
pub fn on_leftover(text: &str) -> Result<OnLeftover, String> {
    clap::ValueEnum::from_str(text, false)
        .map_err(|_| format!("{text:?} is no policy; write wait, kill or leave"))
}

/// Reads a policy for a queue.
///
/// # Errors
/// A sentence for the user.
pub fn queue(text: &str) -> Result<Queue, String> {
    clap::ValueEnum::from_str(text, false)
        .map_err(|_| format!("{text:?} is no policy; write fifo or latest"))
}

/// Reads yes or no.
///
/// # Errors
/// A sentence for the user.
pub fn flag(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is neither true nor false"))
}

/// Reads a policy for a lost lock.
///
/// # Errors
/// A sentence for the user.
pub fn on_loss(text: &str) -> Result<OnLoss, String> {
    clap::ValueEnum::from_str(text, false)
        .map_err(|_| format!("{text:?} is no policy; write kill or warn"))
}
