//! The one table of settings: what each is called as an option, as a variable and as a key of config.toml,
//! what it may be, and what it is when nobody says anything. `--help`, the completions, the manual page,
//! docs/configuration.md, `config show` and the resolution all come from it. Pure.

use crate::config::kind::Kind;

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name: the key in config.toml.
    pub key: &'static str,
    /// The option, without the dashes. None for what must not stand where everybody can read it.
    pub option: Option<&'static str>,
    /// The option's short form.
    pub short: Option<char>,
    /// What stands for its value in `--help`.
    pub value_name: &'static str,
    /// The variable.
    pub variable: Option<&'static str>,
    /// etcdctl's variable of the same meaning, honoured where ours is not set.
    pub etcdctl: Option<&'static str>,
    /// Whether config.toml may have it.
    pub in_files: bool,
    /// What it does, as `--help` says it: no full stop.
    pub meaning: &'static str,
    /// What it is when nobody says anything.
    pub fallback: Fallback,
    /// What it may be.
    pub kind: Kind,
    /// What it belongs to.
    pub scope: Scope,
}

/// What a setting is when nobody says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value.
    Value(&'static str),
    /// No value; this happens.
    Described(&'static str),
    /// No value; nothing happens.
    Nothing,
}

/// What a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// How to reach the lock service: every command has it.
    Connection,
    /// How `run` runs a command: files may have it per lock.
    Run,
}

impl Setting {
    /// The setting of this key in config.toml.
    pub fn of_key(key: &str) -> Option<&'static Self> {
        in_files().find(|setting| setting.key == key)
    }
}

/// The settings that config.toml may have.
pub fn in_files() -> impl Iterator<Item = &'static Setting> {
    ALL.iter().copied().filter(|setting| setting.in_files)
}

const CONNECTION: Setting = Setting {
    key: "",
    option: None,
    short: None,
    value_name: "FILE",
    variable: None,
    etcdctl: None,
    in_files: true,
    meaning: "",
    fallback: Fallback::Nothing,
    kind: Kind::Path,
    scope: Scope::Connection,
};

const RUN: Setting = Setting {
    value_name: "DUR",
    kind: Kind::Duration,
    scope: Scope::Run,
    ..CONNECTION
};

/// Defines each setting and [`ALL`] of them, so that none is forgotten in it.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident = $setting:expr;)*) => {
        $($(#[$doc])* pub static $name: Setting = $setting;)*
        /// Every setting, in the order of `--help`.
        pub static ALL: &[&Setting] = &[$(&$name),*];
    };
}

settings! {
    /// `--slots`
    SLOTS = Setting {
        key: "slots",
        option: Some("slots"),
        value_name: "N",
        meaning: "At most N holders at a time",
        fallback: Fallback::Described("one"),
        kind: Kind::Slots,
        ..RUN
    };
    /// `--wait`
    WAIT = Setting {
        key: "wait",
        option: Some("wait"),
        short: Some('w'),
        meaning: "Give up waiting after DUR, connecting included; 0 is -n",
        fallback: Fallback::Described("wait for ever"),
        ..RUN
    };
    /// `--conflict-exit-code`
    CONFLICT_EXIT_CODE = Setting {
        key: "conflict_exit_code",
        option: Some("conflict-exit-code"),
        short: Some('E'),
        value_name: "N",
        meaning: "Exit status when it gave up because the lock was busy",
        fallback: Fallback::Value("75"),
        kind: Kind::Status,
        ..RUN
    };
    /// `--ttl`
    TTL = Setting {
        key: "ttl",
        option: Some("ttl"),
        meaning: "Lease time to live: how long a crashed host blocks others, and how long an outage is survived",
        fallback: Fallback::Value("60s"),
        ..RUN
    };
    /// `--kill-after`
    KILL_AFTER = Setting {
        key: "kill_after",
        option: Some("kill-after"),
        short: Some('k'),
        meaning: "Time between TERM and KILL, taken out of the lease",
        fallback: Fallback::Described("a quarter of the TTL, at most 10s"),
        ..RUN
    };
    /// `--kill-signal`
    KILL_SIGNAL = Setting {
        key: "kill_signal",
        option: Some("kill-signal"),
        value_name: "SIG",
        meaning: "The signal that asks the command to end",
        fallback: Fallback::Value("TERM"),
        kind: Kind::Signal,
        ..RUN
    };
    /// `--max-runtime`
    MAX_RUNTIME = Setting {
        key: "max_runtime",
        option: Some("max-runtime"),
        meaning: "Stop the command DUR after the lock was acquired",
        fallback: Fallback::Described("no limit"),
        ..RUN
    };
    /// `--lock-delay`
    LOCK_DELAY = Setting {
        key: "lock_delay",
        option: Some("lock-delay"),
        meaning: "How much longer successors wait if this holder vanishes without giving the lock back",
        fallback: Fallback::Value("2s"),
        ..RUN
    };
    /// `--on-leftover`
    ON_LEFTOVER = Setting {
        key: "on_leftover",
        option: Some("on-leftover"),
        value_name: "POLICY",
        meaning: "What to do with processes that outlive the command",
        fallback: Fallback::Value("wait"),
        kind: Kind::OnLeftover,
        ..RUN
    };
    /// `--on-loss`
    ON_LOSS = Setting {
        key: "on_loss",
        option: Some("on-loss"),
        value_name: "POLICY",
        meaning: "What a lost lock does to the command",
        fallback: Fallback::Value("kill"),
        kind: Kind::OnLoss,
        ..RUN
    };
    /// `--queue`
    QUEUE = Setting {
        key: "queue",
        option: Some("queue"),
        value_name: "POLICY",
        meaning: "What becomes of waiters when a newer one comes",
        fallback: Fallback::Value("fifo"),
        kind: Kind::Queue,
        ..RUN
    };
    /// `--hold-min`
    HOLD_MIN = Setting {
        key: "hold_min",
        option: Some("hold-min"),
        meaning: "Keep the lock at least DUR from when it was acquired, also when the command and leasehold have ended",
        fallback: Fallback::Value("0"),
        ..RUN
    };
    /// `--once-keep`
    ONCE_KEEP = Setting {
        key: "once_keep",
        option: Some("once-keep"),
        meaning: "How long --once remembers",
        fallback: Fallback::Value("30d"),
        ..RUN
    };
    /// `--record`
    RECORD = Setting {
        key: "record",
        option: Some("record"),
        value_name: "BOOL",
        meaning: "Remember in etcd how the last run of each lock ended, for status and history",
        fallback: Fallback::Value("false"),
        kind: Kind::Flag,
        ..RUN
    };
    /// `--metrics-file`
    METRICS_FILE = Setting {
        key: "metrics_file",
        option: Some("metrics-file"),
        value_name: "FILE",
        meaning: "Write metrics to FILE for node_exporter's textfile collector, or into a folder, one file for each lock",
        kind: Kind::Path,
        ..RUN
    };
    /// `--reason`
    REASON = Setting {
        key: "reason",
        option: Some("reason"),
        value_name: "TEXT",
        meaning: "Shown to waiters and in status",
        kind: Kind::Text,
        ..RUN
    };
    /// `--endpoints`
    ENDPOINTS = Setting {
        key: "endpoints",
        option: Some("endpoints"),
        value_name: "HOST:PORT,...",
        variable: Some("LEASEHOLD_ENDPOINTS"),
        etcdctl: Some("ETCDCTL_ENDPOINTS"),
        meaning: "The etcd members; https:// before one, or a certificate file, means TLS",
        fallback: Fallback::Value("127.0.0.1:2379"),
        kind: Kind::Endpoints,
        ..CONNECTION
    };
    /// `--local`
    LOCAL = Setting {
        key: "local",
        option: Some("local"),
        value_name: "DIR",
        variable: Some("LEASEHOLD_LOCAL"),
        meaning: "Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others",
        fallback: Fallback::Described("in etcd"),
        kind: Kind::Folder,
        ..CONNECTION
    };
    /// `--prefix`
    PREFIX = Setting {
        key: "prefix",
        option: Some("prefix"),
        value_name: "PREFIX",
        variable: Some("LEASEHOLD_PREFIX"),
        meaning: "What every key begins with",
        fallback: Fallback::Value("/leasehold/"),
        kind: Kind::Prefix,
        ..CONNECTION
    };
    /// `--connect-timeout`
    CONNECT_TIMEOUT = Setting {
        key: "connect_timeout",
        option: Some("connect-timeout"),
        value_name: "DUR",
        variable: Some("LEASEHOLD_CONNECT_TIMEOUT"),
        meaning: "How long to look for a working etcd before giving up",
        fallback: Fallback::Value("10s"),
        kind: Kind::Duration,
        ..CONNECTION
    };
    /// `--cacert`
    CACERT = Setting {
        key: "cacert",
        option: Some("cacert"),
        variable: Some("LEASEHOLD_CACERT"),
        etcdctl: Some("ETCDCTL_CACERT"),
        meaning: "Trust members whose certificate one of these authorities signed (PEM)",
        fallback: Fallback::Described("the system's authorities"),
        ..CONNECTION
    };
    /// `--cert`
    CERT = Setting {
        key: "cert",
        option: Some("cert"),
        variable: Some("LEASEHOLD_CERT"),
        etcdctl: Some("ETCDCTL_CERT"),
        meaning: "Our own certificate (PEM); needs --key",
        ..CONNECTION
    };
    /// `--key`
    KEY = Setting {
        key: "key",
        option: Some("key"),
        variable: Some("LEASEHOLD_KEY"),
        etcdctl: Some("ETCDCTL_KEY"),
        meaning: "The private key of our certificate (PEM)",
        ..CONNECTION
    };
    /// `--tls-server-name`
    TLS_SERVER_NAME = Setting {
        key: "tls_server_name",
        option: Some("tls-server-name"),
        value_name: "NAME",
        variable: Some("LEASEHOLD_TLS_SERVER_NAME"),
        meaning: "The name that the members' certificates have to be for",
        fallback: Fallback::Described("the host of each endpoint"),
        kind: Kind::ServerName,
        ..CONNECTION
    };
    /// `--user`
    USER = Setting {
        key: "user",
        option: Some("user"),
        value_name: "NAME[:PASSWORD]",
        variable: Some("LEASEHOLD_USER"),
        etcdctl: Some("ETCDCTL_USER"),
        meaning: "Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for",
        kind: Kind::User,
        ..CONNECTION
    };
    /// The password; no option, since everybody can read the arguments of a process.
    PASSWORD = Setting {
        key: "password",
        value_name: "PASSWORD",
        variable: Some("LEASEHOLD_PASSWORD"),
        etcdctl: Some("ETCDCTL_PASSWORD"),
        meaning: "The user's password",
        kind: Kind::Password,
        ..CONNECTION
    };
    /// `--password-file`
    PASSWORD_FILE = Setting {
        key: "password_file",
        option: Some("password-file"),
        variable: Some("LEASEHOLD_PASSWORD_FILE"),
        meaning: "The password is the first line of FILE",
        ..CONNECTION
    };
    /// `--config`
    CONFIG = Setting {
        key: "config",
        option: Some("config"),
        variable: Some("LEASEHOLD_CONFIG"),
        in_files: false,
        meaning: "Read settings from FILE",
        fallback: Fallback::Described("leasehold/config.toml in ~/.config, then in /etc"),
        ..CONNECTION
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{duration, kind};

    #[test]
    fn a_setting_is_called_alike_everywhere() {
        for setting in ALL {
            let key = setting.key;
            if let Some(option) = setting.option {
                assert_eq!(option, key.replace('_', "-"));
            }
            if let Some(variable) = setting.variable {
                assert_eq!(variable, format!("LEASEHOLD_{}", key.to_uppercase()));
            }
            if let Some(etcdctl) = setting.etcdctl {
                assert_eq!(etcdctl, format!("ETCDCTL_{}", key.to_uppercase()));
            }
            let variable_wanted = setting.scope == Scope::Connection;
            assert_eq!(setting.variable.is_some(), variable_wanted, "{key}");
        }
    }

    #[test]
    fn every_default_is_a_possible_value() {
        for setting in ALL {
            if let Fallback::Value(value) = setting.fallback {
                assert_eq!(setting.kind.check(value), Ok(()), "{}", setting.key);
            }
        }
        assert_eq!(kind::status("75"), Ok(crate::outcome::BUSY_STATUS));
        assert_eq!(
            duration::parse("2s"),
            Ok(crate::lock::entry::LOCK_DELAY_DEFAULT)
        );
    }
}
