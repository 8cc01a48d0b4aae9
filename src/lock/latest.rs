//! `--queue latest`: whom a newer waiter replaces. The services decide how.

use crate::lock::admission::{Claimant, Line, Snapshot};
use crate::lock::name::LockName;
use crate::lock::token::{LeaseId, Token};

/// An older waiter that said of itself that a newer one replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Older<'snapshot> {
    /// Its token.
    pub token: Token,
    /// The last segment of its keys, and what that means.
    pub id: &'snapshot str,
    /// The lease that they hang on.
    pub lease: LeaseId,
    /// All that it waits for; its note is under the first.
    pub locks: Vec<LockName>,
    /// Who keeps it waiting here.
    pub in_the_way: Vec<Claimant<'snapshot>>,
}

/// Those in the queue of `lock` that the contender with the token `own` replaces: who waits ahead of it, said `latest`, and
/// wants nothing that it does not want too (`ours`).
pub fn replaced_by<'snapshot>(
    own: Token,
    ours: &[&LockName],
    lock: &LockName,
    snapshot: &'snapshot Snapshot,
) -> Vec<Older<'snapshot>> {
    let line = Line::of(snapshot);
    let older = line
        .waiting_ahead_of(own)
        .filter_map(|(entry, in_the_way)| {
            let marker = snapshot.markers.iter().find(|marker| {
                marker.id == entry.id && marker.create_revision == entry.create_revision
            })?;
            let locks = match &marker.replaceable.as_ref()?[..] {
                [] => vec![lock.clone()],
                several => several.to_vec(),
            };
            let is_ours = locks.iter().all(|name| ours.contains(&name));
            is_ours.then_some(Older {
                token: Token::new(entry.create_revision)?,
                id: &entry.id,
                lease: LeaseId::of_hex(&entry.id)?,
                locks,
                in_the_way,
            })
        });
    older.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lock::admission::{Marker, QueuedEntry};
    use crate::lock::limit::Limit;

    fn name(text: &str) -> LockName {
        text.parse().expect("a name")
    }

    fn replaced(others: &[Option<Vec<LockName>>], ours: &[&LockName]) -> Vec<i64> {
        let id = |index: usize| format!("{:x}", index + 1);
        let revision = |index: usize| i64::try_from(index).expect("few") + 2;
        let entry = |index| QueuedEntry {
            create_revision: revision(index),
            id: id(index),
            leased: true,
        };
        let marker = |(index, replaceable): (usize, &Option<Vec<LockName>>)| Marker {
            create_revision: revision(index),
            id: id(index),
            limit: Limit::EXCLUSIVE,
            lock_delay: Duration::ZERO,
            replaceable: replaceable.clone(),
        };
        let snapshot = Snapshot {
            revision: 100,
            entries: (0..=others.len()).map(entry).collect(),
            markers: others.iter().enumerate().map(marker).collect(),
        };
        let own = Token::new(revision(others.len())).expect("above zero");
        let older = replaced_by(own, ours, &name("a"), &snapshot);
        older.iter().map(|older| older.token.get()).collect()
    }

    #[test]
    fn only_who_waits_and_said_latest_and_wants_no_other_lock_is_replaced() {
        let (a, b) = (name("a"), name("b"));
        let alone = || Some(Vec::new());
        let both = || Some(vec![a.clone(), b.clone()]);
        // The holder, a fifo waiter, and two of one lock and of two.
        let others = [alone(), None, alone(), both()];
        assert_eq!(replaced(&others, &[&a]), [4]);
        assert_eq!(replaced(&others, &[&a, &b]), [4, 5]);
        assert_eq!(replaced(&others, &[&b]), [] as [i64; 0]);
    }
}
