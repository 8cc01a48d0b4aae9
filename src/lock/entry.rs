//! What a contender says about itself: the JSON value of its entry and of its run marker.
//!
//! It is for people. Admission needs only the order of the keys, so an entry that is foreign, broken, of a
//! newer version or a megabyte large still counts: as one exclusive entry of unknown origin. Text from other
//! hosts is bounded and made harmless right where it is parsed, so that no later code can forget it.
//!
//! The command's arguments are never in it: they may hold secrets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lock::limit::Limit;
use crate::lock::name::{LOCKS_MAX, LockName};

/// The version this program writes, and the newest it understands.
const VERSION: u32 = 1;

/// A larger value is not parsed: ours have a few hundred bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// What is kept of a text from another host, in characters.
pub const TEXT_CHARACTERS_MAX: usize = 200;

/// The longest lock delay that a stored value can impose on a successor.
pub const LOCK_DELAY_MAX: Duration = Duration::from_secs(300);

/// The lock delay where none was asked for, and for markers that cannot be read.
pub const LOCK_DELAY_DEFAULT: Duration = Duration::from_secs(2);

/// A contender's description of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of this format.
    pub v: u32,
    /// How many may hold the lock together with this one.
    pub limit: Limit,
    /// The machine's host name.
    pub host: String,
    /// The login name, or the uid where it has none.
    pub user: String,
    /// The pid of the front process on that host.
    pub pid: i32,
    /// The command's file name, without its arguments.
    pub program: String,
    /// `--reason`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it queued, RFC 3339, by that host's wall clock.
    pub queued: String,
    /// When its command was started, where it had to wait for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Until when the lock is kept although its command has ended, by that host's wall clock: `--hold-min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<String>,
    /// `--queue`.
    #[serde(default, skip_serializing_if = "QueuePolicy::is_fifo")]
    pub queue: QueuePolicy,
    /// All locks that its run wants together, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
    /// How long successors wait when it vanishes without releasing, in milliseconds.
    pub lock_delay_ms: u64,
}

/// What becomes of somebody who waits when a newer one comes: `--queue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueuePolicy {
    /// A newer one that says the same takes its place away.
    Latest,
    /// It keeps its place; so does whoever says something that we do not understand.
    #[default]
    #[serde(other)]
    Fifo,
}

impl QueuePolicy {
    /// Whether it keeps its place.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for a reference"
    )]
    pub const fn is_fifo(&self) -> bool {
        matches!(self, Self::Fifo)
    }
}

impl Entry {
    /// The version written into [`Entry::v`].
    pub const VERSION: u32 = VERSION;

    /// The value to store.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }

    /// When its holder got the lock, as far as it says: when it queued if it never had to wait.
    pub fn since(&self) -> &str {
        self.held.as_deref().unwrap_or(&self.queued)
    }

    /// Who it is: `deploy@build7`.
    pub fn login(&self) -> String {
        format!("{}@{}", self.user, self.host)
    }

    /// Whose an entry is, where it may not be leasehold's.
    pub fn owner(entry: Option<&Self>) -> String {
        entry.map_or_else(|| "not leasehold's".to_owned(), Self::login)
    }

    /// Who it is, and why, in a few words: `deploy@build7 ("release 4.2")`.
    pub fn who(&self) -> String {
        let login = self.login();
        match self.reason.as_str() {
            "" => login,
            reason => format!("{login} (\"{reason}\")"),
        }
    }

    /// What a stored value says; nothing where it is not ours, or not of a version we understand.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let entry: Self = serde_json::from_slice(value).ok()?;
        (entry.v <= VERSION).then(|| entry.bounded())
    }

    fn bounded(mut self) -> Self {
        let texts = [
            &mut self.host,
            &mut self.user,
            &mut self.program,
            &mut self.reason,
            &mut self.queued,
        ];
        self.locks.truncate(LOCKS_MAX);
        self.locks.retain(|lock| lock.parse::<LockName>().is_ok());
        let times = self
            .held
            .as_mut()
            .into_iter()
            .chain(self.held_until.as_mut());
        for text in texts.into_iter().chain(times) {
            *text = harmless(text);
        }
        self
    }
}

/// `text` cut to a bounded length, with everything escaped that could move a cursor, change a colour, break
/// a line or turn the reading direction.
pub fn harmless(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(TEXT_CHARACTERS_MAX) {
        let invisible = matches!(
            character,
            // Zero-width and bidirectional controls (Unicode TR 36, section 2.6), and the line separators.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        );
        if character.is_control() || invisible {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// What admission has to know of a contender: it is read from its marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How many may hold the lock together with it.
    pub limit: Limit,
    /// How long a successor waits after it has vanished.
    pub lock_delay: Duration,
    /// Where a newer one takes its place away: all the locks that it waits for together, if they are several.
    pub replaceable: Option<Vec<LockName>>,
}

impl Terms {
    /// The terms in the value of a run marker; exclusive, where they are not understood.
    pub fn parse(marker_value: &[u8]) -> Self {
        let not_understood = Self {
            limit: Limit::EXCLUSIVE,
            lock_delay: LOCK_DELAY_DEFAULT,
            replaceable: None,
        };
        Entry::parse(marker_value).map_or(not_understood, |entry| {
            let locks = entry.locks.iter().filter_map(|lock| lock.parse().ok());
            Self {
                limit: entry.limit,
                lock_delay: Duration::from_millis(entry.lock_delay_ms).min(LOCK_DELAY_MAX),
                replaceable: (entry.queue == QueuePolicy::Latest).then(|| locks.collect()),
            }
        })
    }
}

#[cfg(test)]
impl Entry {
    /// An entry like any other, for whoever needs one.
    pub fn sample() -> Self {
        Self {
            v: 1,
            limit: Limit::EXCLUSIVE,
            host: "build7".to_owned(),
            user: "deploy".to_owned(),
            pid: 4711,
            program: "release".to_owned(),
            reason: "release 4.2".to_owned(),
            queued: "2026-11-22T03:00:00Z".to_owned(),
            held: None,
            held_until: None,
            queue: QueuePolicy::Fifo,
            locks: Vec::new(),
            lock_delay_ms: 2000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> Entry {
        Entry::sample()
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Entry::parse(&entry().to_json()), Some(entry()));
    }

    #[test]
    fn foreign_newer_and_huge_values_are_of_unknown_origin() {
        let newer = Entry { v: 2, ..entry() };
        assert_eq!(Entry::parse(&newer.to_json()), None);
        assert_eq!(Entry::parse(b""), None);
        assert_eq!(Entry::parse(b"\xff\x00not json"), None);
        assert_eq!(Entry::parse(&vec![b' '; 1 << 20]), None);
        let deep = "[".repeat(60_000);
        assert_eq!(Entry::parse(deep.as_bytes()), None);
    }

    #[test]
    fn locks_that_are_none_are_left_out() {
        let names = ["a", "b/c", "d e", "\u{1b}[31m", ""];
        let hostile = Entry {
            locks: names.map(str::to_owned).to_vec(),
            ..entry()
        };
        let read = Entry::parse(&hostile.to_json()).expect("ours");
        assert_eq!(read.locks, ["a", "b/c"]);
        let endless = Entry {
            locks: vec!["a".to_owned(); 1000],
            ..entry()
        };
        let read = Entry::parse(&endless.to_json()).expect("ours");
        assert_eq!(read.locks.len(), LOCKS_MAX);
    }

    #[test]
    fn a_limit_that_is_not_understood_is_exclusive() {
        let limit = |value: &str| Terms::parse(value.as_bytes()).limit;
        let stored = |limit: Limit| {
            let entry = Entry { limit, ..entry() };
            String::from_utf8(entry.to_json()).expect("JSON")
        };
        let shared = stored(Limit::Unlimited);
        assert_eq!(limit(&shared), Limit::Unlimited);
        for other in ["null", "0", "\"many\"", "-3", "{}"] {
            let other = shared.replace("\"unlimited\"", other);
            assert_eq!(limit(&other), Limit::EXCLUSIVE, "{other}");
        }
        let missing = shared.replace("\"limit\":\"unlimited\",", "");
        assert_ne!(missing, shared);
        assert_eq!(limit(&missing), Limit::EXCLUSIVE);
        let newer = shared.replace("\"v\":1", "\"v\":2");
        assert_eq!(limit(&newer), Limit::EXCLUSIVE);
    }

    #[test]
    fn a_delay_from_another_host_is_bounded_and_never_missing() {
        let endless = Entry {
            lock_delay_ms: u64::MAX,
            ..entry()
        };
        let lock_delay = |value: &[u8]| Terms::parse(value).lock_delay;
        assert_eq!(lock_delay(&endless.to_json()), LOCK_DELAY_MAX);
        assert_eq!(lock_delay(b"{}"), LOCK_DELAY_DEFAULT);
        assert_eq!(lock_delay(&entry().to_json()), Duration::from_secs(2));
    }

    #[test]
    fn text_from_other_hosts_cannot_play_tricks_on_a_terminal() {
        let hostile = Entry {
            reason: "\u{1b}]0;pwned\u{7}\r\nfree\u{202e}".to_owned(),
            ..entry()
        };
        let read = Entry::parse(&hostile.to_json()).expect("ours");
        assert_eq!(
            read.reason,
            "\\u{1b}]0;pwned\\u{7}\\u{d}\\u{a}free\\u{202e}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_bounded(value in prop::collection::vec(any::<u8>(), 0..200), host in ".{0,400}") {
            let _ = Entry::parse(&value);
            let long = Entry { host, ..entry() };
            let read = Entry::parse(&long.to_json()).expect("ours");
            prop_assert!(read.host.chars().count() <= TEXT_CHARACTERS_MAX * 10);
            prop_assert!(!read.host.chars().any(char::is_control));
        }
    }
}
