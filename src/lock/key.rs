//! Where a lock stands in the store.
//!
//! - An entry is `<prefix><name>/<lease id in hex>`: the layout of etcd's Go recipe
//!   (client/v3/concurrency/mutex.go), so `etcdctl lock /leasehold/NAME`, Go's `concurrency.Mutex` and
//!   leasehold exclude one another.
//! - The entries of a name are the keys below it with exactly one more segment, in hex. So `a/b/1f` is an
//!   entry of `a/b` and not of `a`, and a foreign `a/config` blocks nobody.
//! - All else lives under `<prefix>~kind/`: `~` is in no name, and a key below `<prefix>NAME/` would block
//!   etcdctl for ever.

use std::fmt;
use std::str::FromStr;

use crate::lock::chronicle::Place;
use crate::lock::name::{LockName, is_name_character};
use crate::lock::once::OnceId;
use crate::lock::token::{LeaseId, Token};

/// What every key of ours begins with: it ends with `/`, and its segments are of the alphabet of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

/// Why a text cannot be a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixError(String);

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the prefix {:?} cannot be used: it is made of segments of A-Z a-z 0-9 . _ : @ + = - with one '/' between, as in /leasehold/",
            self.0
        )
    }
}

impl std::error::Error for PrefixError {}

impl Default for Prefix {
    fn default() -> Self {
        Self("/leasehold/".to_owned())
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// A missing `/` at the end is added.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let inner = text.strip_suffix('/').unwrap_or(text);
        let inner = inner.strip_prefix('/').unwrap_or(inner);
        let fits = !inner.is_empty()
            && inner
                .split('/')
                .all(|segment| !segment.is_empty() && segment.chars().all(is_name_character));
        if !fits {
            return Err(PrefixError(text.to_owned()));
        }
        let slash = if text.ends_with('/') { "" } else { "/" };
        Ok(Self(format!("{text}{slash}")))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Prefix {
    /// What all entries of `name` begin with, the last `/` included. Keys of other locks begin with it
    /// too: see [`Prefix::last_segment`].
    pub fn entries(&self, name: &LockName) -> String {
        format!("{}{name}/", self.0)
    }

    /// The key of one entry.
    pub fn entry(&self, name: &LockName, lease: LeaseId) -> String {
        format!("{}{lease}", self.entries(name))
    }

    /// What all run markers of all locks begin with.
    pub fn all_markers(&self) -> String {
        format!("{}~run/", self.0)
    }

    /// What all run markers of `name` begin with.
    pub fn markers(&self, name: &LockName) -> String {
        format!("{}{name}/", self.all_markers())
    }

    /// The key of one run marker: put with the entry, but without a lease, so that it survives it.
    pub fn marker(&self, name: &LockName, lease: LeaseId) -> String {
        format!("{}{lease}", self.markers(name))
    }

    /// The key of a holder's mark for fenced writes: it hangs on the holder's lease.
    pub fn fence_mark(&self, name: &LockName, lease: LeaseId) -> String {
        format!("{}~fence/{name}/{lease}", self.0)
    }

    /// What all notes begin with for waiters under `name` whose place a newer one took away.
    pub fn notes(&self, name: &LockName) -> String {
        format!("{}~superseded/{name}/", self.0)
    }

    /// The key of the note for the one whose place had this token.
    pub fn superseded(&self, name: &LockName, token: Token) -> String {
        format!("{}{token}", self.notes(name))
    }

    /// What all requests begin with that a holder of `name`, or somebody in its queue, give it up.
    pub fn break_requests(&self, name: &LockName) -> String {
        format!("{}~break/{name}/", self.0)
    }

    /// The key of the request to the one with this token.
    pub fn break_request(&self, name: &LockName, token: i64) -> String {
        format!("{}{token}", self.break_requests(name))
    }

    /// What all records of things done once under `name` begin with.
    pub fn once_records(&self, name: &LockName) -> String {
        format!("{}~once/{name}/", self.0)
    }

    /// The key of the record that it was done.
    pub fn once_record(&self, name: &LockName, id: &OnceId) -> String {
        format!("{}{}", self.once_records(name), id.segment())
    }

    /// The key of what is remembered of the last run under `name`.
    pub fn last_run(&self, name: &LockName) -> String {
        format!("{}~last/{name}", self.0)
    }

    /// The key after the last one that begins with the prefix: where all of it ends.
    pub fn end(&self) -> String {
        // `0` comes after the `/` that it ends with.
        format!("{}0", self.0.trim_end_matches('/'))
    }

    /// Where the keys stand that tell what happens under `name`: each range from its first key to its end.
    pub fn told_by(&self, name: &LockName) -> Vec<(String, String)> {
        let below = |first: String| {
            let end = format!("{}0", first.trim_end_matches('/'));
            (first, end)
        };
        let last = self.last_run(name);
        let after = format!("{last}\0");
        let ranges = [
            self.entries(name),
            self.markers(name),
            self.break_requests(name),
            self.notes(name),
        ];
        ranges
            .into_iter()
            .map(below)
            .chain([(last, after)])
            .collect()
    }

    /// Which key of which lock this is, if it tells what happens.
    pub fn place(&self, key: &[u8]) -> Option<(LockName, Place)> {
        let rest = std::str::from_utf8(key.strip_prefix(self.0.as_bytes())?).ok()?;
        if let Some(name) = rest.strip_prefix("~last/") {
            return Some((name.parse().ok()?, Place::LastRun));
        }
        let (before, last) = rest.rsplit_once('/')?;
        let is_hex = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hex = || is_hex.then(|| last.to_owned());
        let (name, place) = match before.split_once('/') {
            Some(("~run", name)) => (name, Place::Marker(hex()?)),
            Some(("~break", name)) => (name, Place::BreakRequest(last.parse().ok()?)),
            Some(("~superseded", name)) => (name, Place::Note(last.parse().ok()?)),
            _ => (before, Place::Entry(hex()?)),
        };
        Some((name.parse().ok()?, place))
    }

    /// Whether `key` is an entry of the lock whose entries begin with `entries`: exactly one more segment,
    /// in hex. The same holds for markers.
    ///
    /// Returns the hex part as it stands; it is foreign text and need not be one of our lease ids.
    pub fn last_segment<'key>(range: &str, key: &'key [u8]) -> Option<&'key str> {
        let rest = key.strip_prefix(range.as_bytes())?;
        let is_hex = |byte: &u8| byte.is_ascii_hexdigit();
        if rest.is_empty() || !rest.iter().all(is_hex) {
            return None;
        }
        std::str::from_utf8(rest).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> LockName {
        text.parse().expect("a name")
    }

    #[test]
    fn an_entry_has_the_layout_of_etcds_own_recipe() {
        let lease = LeaseId::new(0x694d_8a1b_2c3d_4e5f).expect("positive");
        let prefix = Prefix::default();
        assert_eq!(
            prefix.entry(&name("a/b"), lease),
            "/leasehold/a/b/694d8a1b2c3d4e5f"
        );
        assert_eq!(
            prefix.marker(&name("a/b"), lease),
            "/leasehold/~run/a/b/694d8a1b2c3d4e5f"
        );
    }

    #[test]
    fn lock_a_is_not_lock_a_b() {
        let entries = Prefix::default().entries(&name("a"));
        let of = |key: &'static str| Prefix::last_segment(&entries, key.as_bytes());
        assert_eq!(of("/leasehold/a/1f"), Some("1f"));
        for foreign in [
            "/leasehold/a/b/1f",
            "/leasehold/a/",
            "/leasehold/a",
            "/leasehold/a/config",
            "/x/a/1f",
        ] {
            assert_eq!(of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn what_tells_of_a_lock_is_found_again_and_nothing_else_is_taken_for_it() {
        let prefix = Prefix::default();
        let places = [
            ("/leasehold/a/b/1f", Place::Entry("1f".to_owned())),
            ("/leasehold/~run/a/b/1f", Place::Marker("1f".to_owned())),
            ("/leasehold/~break/a/b/33", Place::BreakRequest(33)),
            ("/leasehold/~superseded/a/b/33", Place::Note(33)),
            ("/leasehold/~last/a/b", Place::LastRun),
        ];
        let ranges = prefix.told_by(&name("a/b"));
        for (key, place) in places {
            assert_eq!(prefix.place(key.as_bytes()), Some((name("a/b"), place)));
            let within =
                |(first, end): &(String, String)| first.as_str() <= key && key < end.as_str();
            assert!(ranges.iter().any(within), "{key}");
            assert!(key < prefix.end().as_str(), "{key}");
        }
        for key in [
            "/leasehold/~fence/a/1f",
            "/leasehold/~once/a/1f",
            "/leasehold/~run/a/1f~",
            "/leasehold/a/config",
            "/leasehold/1f",
            "/leasehold/~last/",
            "/x/a/1f",
        ] {
            assert_eq!(prefix.place(key.as_bytes()), None, "{key}");
        }
    }

    #[test]
    fn a_prefix_ends_with_a_slash_and_holds_no_surprises() {
        for (text, prefix) in [
            ("/leasehold/", "/leasehold/"),
            ("/l", "/l/"),
            ("team/locks", "team/locks/"),
        ] {
            assert_eq!(text.parse::<Prefix>().expect(text).to_string(), prefix);
        }
        for text in ["", "/", "//", "/a//b", "/~run/", "/a b/", "/a\n/", "/a,b/"] {
            assert!(text.parse::<Prefix>().is_err(), "{text:?}");
        }
    }
}
