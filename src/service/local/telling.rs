//! What happened under a lock, and what happens while somebody watches: the changes that the store remembers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::desk::Desk;
use super::store::{Changed, KeyValue, Result as Done, Transaction};
use crate::clock;
use crate::lock::chronicle::{Change, Chronicle, Put};
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::token::ClusterId;
use crate::service::accounts::{Accounts, Told};
use crate::service::deadline::reached;
use crate::service::{Past, Witnessed};
use crate::supervisor::Trouble;

/// How often it is looked for changes, and somebody may want to look again.
const QUIET: Duration = Duration::from_millis(250);

/// Which keys are told of.
#[derive(Clone, Debug)]
struct About {
    prefix: Prefix,
    /// The only lock that is wanted: others stand in its ranges too.
    only: Option<LockName>,
    ranges: Vec<(String, String)>,
}

impl About {
    fn new(prefix: &Prefix, only: Option<&LockName>) -> Self {
        Self {
            prefix: prefix.clone(),
            only: only.cloned(),
            ranges: match only {
                Some(name) => prefix.told_by(name),
                None => vec![(prefix.to_string(), prefix.end())],
            },
        }
    }

    fn told(&self, changed: &Changed) -> Option<Told> {
        let kv = &changed.kv;
        let (name, place) = self.prefix.place(kv.key.as_bytes())?;
        let is_wanted = self.only.as_ref().is_none_or(|only| *only == name);
        let put = changed.put.then(|| put(kv));
        let change = Change {
            revision: kv.mod_revision,
            place,
            put,
        };
        is_wanted.then_some((name, change))
    }

    /// Everything that stands there now.
    fn there(&self, txn: &Transaction<'_>) -> Done<Vec<Told>> {
        let mut there = Vec::new();
        for (first, end) in &self.ranges {
            for kv in txn.range(first, end)? {
                there.extend(self.told(&Changed { kv, put: true }));
            }
        }
        Ok(there)
    }

    /// Everything that changed since, in its order.
    fn since(&self, txn: &Transaction<'_>, revision: i64) -> Done<Vec<Told>> {
        let mut changes = Vec::new();
        for (first, end) in &self.ranges {
            let changed = txn.changes_after(revision, first, end)?;
            changes.extend(changed.iter().filter_map(|it| self.told(it)));
        }
        changes.sort_by_key(|(_, change)| change.revision);
        Ok(changes)
    }
}

fn put(kv: &KeyValue) -> Put {
    Put {
        create_revision: kv.create_revision,
        leased: kv.lease != 0,
        value: kv.value.clone(),
    }
}

/// What happened under a lock since the changes are remembered.
pub fn past(txn: &Transaction<'_>, prefix: &Prefix, name: &LockName) -> Done<Past> {
    let about = About::new(prefix, Some(name));
    let compacted = txn.compacted()?;
    // The first layout begins with 1, and nothing was before.
    let begins = if compacted > 1 { compacted } else { 0 };
    let changes = about.since(txn, begins)?;
    let mut chronicle = Chronicle::default();
    if begins > 0 {
        let then = about.there_at(txn, begins)?;
        chronicle.take_in(begins, &then);
    }
    for together in changes.chunk_by(|one, two| one.1.revision == two.1.revision) {
        let changes: Vec<Change> = together.iter().map(|(_, it)| it.clone()).collect();
        chronicle.take_in(together[0].1.revision, &changes);
    }
    Ok(Past {
        begins,
        until: txn.revision(),
        chronicle,
    })
}

impl About {
    /// What stood there at a revision, as far as it is known: what has not changed since, and what changed later and was
    /// made before. Of the latter the value is the later one.
    fn there_at(&self, txn: &Transaction<'_>, revision: i64) -> Done<Vec<Change>> {
        let mut then: BTreeMap<String, Changed> = BTreeMap::new();
        for (first, end) in &self.ranges {
            for changed in txn.changes_after(revision, first, end)? {
                let was_there = changed.kv.create_revision <= revision;
                let key = changed.kv.key.clone();
                // The first change says whether it was there.
                then.entry(key).or_insert(Changed {
                    put: was_there,
                    ..changed
                });
            }
            for kv in txn.range(first, end)? {
                if kv.mod_revision <= revision {
                    then.insert(kv.key.clone(), Changed { kv, put: true });
                }
            }
        }
        let was_there = then.values().filter(|it| it.put);
        let told = was_there.filter_map(|it| self.told(it));
        let mut changes: Vec<Change> = told
            .map(|(_, change)| Change { revision, ..change })
            .collect();
        changes.sort_by_key(|change| change.put.as_ref().map(|put| put.create_revision));
        Ok(changes)
    }
}

/// What is read at once.
struct Step {
    revision: i64,
    cluster: ClusterId,
    compacted: i64,
    changes: Vec<Told>,
}

impl Step {
    /// Whether something is missing between what was told and this: it is compacted, or of another store that somebody put
    /// in its place.
    fn misses(&self, told: (i64, ClusterId)) -> bool {
        told.1 != self.cluster || told.0 + 1 < self.compacted
    }
}

/// Tells what happens until `tell` wants no more.
pub async fn present(
    desk: &Desk,
    prefix: &Prefix,
    name: Option<&LockName>,
    patience: Duration,
    mut tell: impl FnMut(Witnessed<'_>) -> bool,
) -> Result<(), Trouble> {
    let about = About::new(prefix, name);
    let mut accounts = Accounts::default();
    // How far of which store. Nothing where it begins, or begins anew.
    let mut told: Option<(i64, ClusterId)> = None;
    let mut unreachable = false;
    loop {
        let (asked, from) = (about.clone(), told);
        let read = desk.ask(clock::now() + patience, move |txn| {
            Ok(Step {
                revision: txn.revision(),
                cluster: txn.cluster(),
                compacted: txn.compacted()?,
                changes: match from {
                    Some((from, _)) => asked.since(txn, from)?,
                    None => asked.there(txn)?,
                },
            })
        });
        match read.await {
            Ok(step) if told.is_some_and(|told| step.misses(told)) => told = None,
            Ok(step) => {
                if std::mem::take(&mut unreachable) && !tell(Witnessed::Reached) {
                    return Ok(());
                }
                let wanted = match told {
                    Some(_) => accounts.take_in(step.changes, &mut tell),
                    None if !tell(Witnessed::From(step.revision, step.cluster)) => false,
                    None => match Accounts::begin(step.revision, step.changes, &mut tell) {
                        Some(begun) => {
                            accounts = begun;
                            true
                        }
                        None => false,
                    },
                };
                if !wanted {
                    return Ok(());
                }
                told = Some((step.revision, step.cluster));
            }
            // Whoever asks for the first time is told what is wrong.
            Err(trouble) if told.is_none() => return Err(trouble),
            Err(trouble) => {
                if !std::mem::replace(&mut unreachable, true)
                    && !tell(Witnessed::Unreachable(trouble.detail))
                {
                    return Ok(());
                }
            }
        }
        if !tell(Witnessed::Quiet) {
            return Ok(());
        }
        if told.is_some() {
            reached(clock::now() + QUIET).await;
        }
    }
}
