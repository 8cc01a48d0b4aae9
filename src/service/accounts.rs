//! What happens under some locks while somebody watches, told from their changes: the same of every service.

use std::collections::BTreeMap;

use super::Witnessed;
use crate::lock::chronicle::{Change, Chronicle};
use crate::lock::name::LockName;

/// One change, and of which lock.
pub type Told = (LockName, Change);

/// The accounts of all locks that somebody is in.
#[derive(Default)]
pub struct Accounts {
    chronicles: BTreeMap<LockName, Chronicle>,
    revision: i64,
}

impl Accounts {
    /// Tells what is there already at this revision, one lock after the other; nothing where no more is wanted.
    pub fn begin(
        revision: i64,
        there: Vec<Told>,
        tell: &mut impl FnMut(Witnessed<'_>) -> bool,
    ) -> Option<Self> {
        let mut accounts = Self {
            revision,
            ..Self::default()
        };
        let mut locks: BTreeMap<LockName, Vec<Change>> = BTreeMap::new();
        for (name, change) in there {
            locks.entry(name).or_default().push(change);
        }
        let wanted = locks.iter_mut().all(|(name, changes)| {
            changes.sort_by_key(|change| change.put.as_ref().map(|put| put.create_revision));
            accounts.take_in_one(name, revision, changes, tell)
        });
        wanted.then_some(accounts)
    }

    /// How far they go.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// Tells what these changes mean, in the order of their revisions; whether more is wanted.
    pub fn take_in(
        &mut self,
        mut changes: Vec<Told>,
        tell: &mut impl FnMut(Witnessed<'_>) -> bool,
    ) -> bool {
        changes.sort_by(|(one_name, one), (two_name, two)| {
            (one.revision, one_name.as_str()).cmp(&(two.revision, two_name.as_str()))
        });
        let is_together =
            |one: &Told, two: &Told| one.1.revision == two.1.revision && one.0 == two.0;
        changes.chunk_by(is_together).all(|together| {
            let (name, revision) = (&together[0].0, together[0].1.revision);
            let changes: Vec<Change> = together.iter().map(|(_, it)| it.clone()).collect();
            self.take_in_one(name, revision, &changes, tell)
        })
    }

    fn take_in_one(
        &mut self,
        name: &LockName,
        revision: i64,
        changes: &[Change],
        tell: &mut impl FnMut(Witnessed<'_>) -> bool,
    ) -> bool {
        let chronicle = self.chronicles.entry(name.clone()).or_default();
        self.revision = self.revision.max(revision);
        let happened = chronicle.take_in(revision, changes);
        let wanted = happened.iter().all(|happening| {
            tell(Witnessed::Happened {
                name,
                revision,
                run: &chronicle.runs()[happening.run],
                what: &happening.what,
            })
        });
        chronicle.forget_most();
        if chronicle.is_over() {
            // Nobody is in it, and what it told is told.
            self.chronicles.remove(name);
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::chronicle::{Place, Put, What};

    fn put(lock: &str, revision: i64) -> Told {
        let change = Change {
            revision,
            place: Place::Entry(format!("{revision:x}")),
            put: Some(Put {
                create_revision: revision,
                leased: true,
                value: Vec::new(),
            }),
        };
        (lock.parse().expect("a name"), change)
    }

    #[test]
    fn what_is_there_is_told_by_lock_and_what_comes_by_revision_until_no_more_is_wanted() {
        let mut told = Vec::new();
        let mut note = |witnessed: Witnessed<'_>| {
            if let Witnessed::Happened {
                name,
                run,
                what: What::Queued,
                ..
            } = witnessed
            {
                told.push((name.to_string(), run.token));
            }
            true
        };
        let there = vec![put("b", 3), put("a", 5), put("b", 2)];
        let accounts = Accounts::begin(7, there, &mut note);
        let mut accounts = accounts.expect("more is wanted");
        assert_eq!(accounts.revision(), 7);
        assert!(accounts.take_in(vec![put("a", 9), put("c", 8)], &mut note));
        assert_eq!(accounts.revision(), 9);
        let expected = [("a", 5), ("b", 2), ("b", 3), ("c", 8), ("a", 9)];
        assert_eq!(told, expected.map(|(name, token)| (name.to_owned(), token)));
        assert!(!accounts.take_in(vec![put("d", 10)], &mut |_| false));
        assert!(Accounts::begin(7, vec![put("d", 2)], &mut |_| false).is_none());
    }
}
