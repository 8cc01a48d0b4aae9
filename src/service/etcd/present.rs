//! What happens under some locks while somebody watches, for `watch`. It goes on through outages and the loss of
//! members: whatever the store still has is told afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use super::changes::{News, SILENCE, Source, Stream, Told};
use super::deadline::{reached, within};
use super::trouble::Failure;
use crate::clock::{self, Instant};
use crate::lock::chronicle::{Change, Chronicle};
use crate::lock::name::LockName;
use crate::service::Witnessed;

/// How often somebody may want to look again.
const QUIET: Duration = Duration::from_millis(250);

/// How often the store is asked whether it is still there.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The pause before a store that does not answer is asked again.
const TROUBLE_PAUSE: Duration = Duration::from_millis(500);

/// The account of all of them.
#[derive(Default)]
struct Account {
    chronicles: BTreeMap<LockName, Chronicle>,
    /// How far it goes.
    revision: i64,
}

impl Account {
    /// Tells what these changes mean, in the order of their revisions; whether more is wanted.
    fn take_in(
        &mut self,
        mut changes: Vec<Told>,
        tell: &mut impl FnMut(Witnessed<'_>) -> bool,
    ) -> bool {
        changes.sort_by(|(one_name, one), (two_name, two)| {
            (one.revision, one_name.as_str()).cmp(&(two.revision, two_name.as_str()))
        });
        let is_together =
            |one: &Told, two: &Told| one.1.revision == two.1.revision && one.0 == two.0;
        for together in changes.chunk_by(is_together) {
            let (name, revision) = (&together[0].0, together[0].1.revision);
            let changes: Vec<Change> = together.iter().map(|(_, it)| it.clone()).collect();
            if !self.take_in_one(name, revision, &changes, tell) {
                return false;
            }
        }
        true
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

/// Tells what happens until `tell` wants no more.
pub async fn tell(
    source: &Source<'_>,
    mut tell: impl FnMut(Witnessed<'_>) -> bool,
) -> Result<(), Failure> {
    let Some(mut account) = begin(source, &mut tell).await? else {
        return Ok(());
    };
    let mut unreachable = false;
    loop {
        let Some(followed) = while_it_takes(source.follow(account.revision), &mut tell).await
        else {
            return Ok(());
        };
        let came = match followed {
            Ok(stream) => {
                let mut listening = Listening {
                    stream,
                    account: &mut account,
                    unreachable: &mut unreachable,
                };
                listening.listen(&mut tell).await
            }
            Err(failure) if !failure.may_pass() => return Err(failure),
            Err(failure) => Came::Lost(failure.trouble.detail),
        };
        match came {
            Came::Enough => return Ok(()),
            Came::Compacted => match begin(source, &mut tell).await {
                Ok(Some(anew)) => account = anew,
                Ok(None) => return Ok(()),
                Err(failure) if !failure.may_pass() => return Err(failure),
                Err(_) => {}
            },
            Came::Lost(why) => {
                if !std::mem::replace(&mut unreachable, true) && !tell(Witnessed::Unreachable(why))
                {
                    return Ok(());
                }
                source.cluster.prefer_next();
                // Time goes on for whoever looks at it.
                if !tell(Witnessed::Quiet) {
                    return Ok(());
                }
                reached(clock::now() + TROUBLE_PAUSE).await;
            }
        }
    }
}

/// What it comes to; meanwhile time goes on for whoever looks at it. Nothing where no more is wanted.
async fn while_it_takes<T>(
    work: impl Future<Output = T>,
    tell: &mut impl FnMut(Witnessed<'_>) -> bool,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        if let Some(result) = within(clock::now() + QUIET, &mut work).await {
            return Some(result);
        }
        if !tell(Witnessed::Quiet) {
            return None;
        }
    }
}

/// What is there already; nothing where no more is wanted.
async fn begin(
    source: &Source<'_>,
    tell: &mut impl FnMut(Witnessed<'_>) -> bool,
) -> Result<Option<Account>, Failure> {
    let there = source.read(0).await?;
    let revision = there.revision;
    if !tell(Witnessed::From(revision, there.cluster)) {
        return Ok(None);
    }
    let mut account = Account {
        revision,
        ..Account::default()
    };
    let mut locks: BTreeMap<&LockName, Vec<Change>> = BTreeMap::new();
    let mut puts = there.puts;
    puts.sort_by_key(|(_, change)| change.put.as_ref().map(|put| put.create_revision));
    for (name, change) in &puts {
        locks.entry(name).or_default().push(change.clone());
    }
    for (name, changes) in locks {
        if !account.take_in_one(name, revision, &changes, tell) {
            return Ok(None);
        }
    }
    // What comes now was not there before.
    Ok(tell(Witnessed::Quiet).then_some(account))
}

enum Came {
    Enough,
    Compacted,
    Lost(String),
}

/// Changes that came, until others of the same revision have come too.
#[derive(Default)]
struct HeldBack {
    changes: Vec<(Instant, Told)>,
}

impl HeldBack {
    fn hold(&mut self, changes: Vec<Told>, heard_at: Instant) {
        let heard = changes.into_iter().map(|change| (heard_at, change));
        self.changes.extend(heard);
    }

    /// When the next ones have waited for long enough.
    fn due(&self) -> Option<Instant> {
        self.changes.first().map(|(at, _)| *at + SILENCE)
    }

    /// Those that have, with all of the same revision and of earlier ones.
    fn take(&mut self, now: Instant) -> Vec<Told> {
        let has_waited = |(at, _): &&(Instant, Told)| *at + SILENCE <= now;
        let waited = self.changes.iter().take_while(has_waited);
        let Some(until) = waited.map(|(_, (_, change))| change.revision).max() else {
            return Vec::new();
        };
        let due = self
            .changes
            .extract_if(.., |(_, (_, it))| it.revision <= until);
        due.map(|(_, told)| told).collect()
    }
}

struct Listening<'watch> {
    stream: Stream<'watch>,
    account: &'watch mut Account,
    unreachable: &'watch mut bool,
}

impl Listening<'_> {
    async fn listen(&mut self, tell: &mut impl FnMut(Witnessed<'_>) -> bool) -> Came {
        let mut held_back = HeldBack::default();
        let mut heard_at = clock::now();
        let mut heard = false;
        let mut asked_at = None;
        loop {
            let now = clock::now();
            if asked_at.is_none_or(|at| at + ASK_EVERY <= now) {
                self.stream.ask_progress(now + QUIET).await;
                asked_at = Some(now);
            }
            let quiet_at = now + QUIET;
            let wake_at = held_back.due().map_or(quiet_at, |due| due.min(quiet_at));
            match self.stream.next(wake_at).await {
                Some(News::Changes(more)) => {
                    (heard, heard_at) = (true, clock::now());
                    held_back.hold(more, heard_at);
                }
                Some(News::Progress(_)) => (heard, heard_at) = (true, clock::now()),
                Some(News::Compacted(_)) => return Came::Compacted,
                Some(News::Broken) => return Came::Lost("the connection was lost".to_owned()),
                None => {}
            }
            if heard_at + ASK_EVERY * 2 <= clock::now() {
                return Came::Lost("no answer for 10s".to_owned());
            }
            if heard && std::mem::take(self.unreachable) && !tell(Witnessed::Reached) {
                return Came::Enough;
            }
            let changes = held_back.take(clock::now());
            if !self.account.take_in(changes, tell) || !tell(Witnessed::Quiet) {
                return Came::Enough;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::chronicle::Place;

    const fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn change(revision: i64) -> Told {
        let change = Change {
            revision,
            place: Place::LastRun,
            put: None,
        };
        ("job".parse().expect("a name"), change)
    }

    fn revisions(told: &[Told]) -> Vec<i64> {
        told.iter().map(|(_, change)| change.revision).collect()
    }

    /// A watch that the store had to catch up with told its part of a release in the next batch: the run was said to
    /// have vanished.
    #[test]
    fn what_belongs_together_is_told_together_though_it_never_becomes_silent() {
        let mut held_back = HeldBack::default();
        assert_eq!(held_back.due(), None);
        held_back.hold(vec![change(5)], at(0));
        assert_eq!(held_back.due(), Some(at(250)));
        held_back.hold(vec![change(6)], at(100));
        held_back.hold(vec![change(4), change(5)], at(200));
        assert!(held_back.take(at(249)).is_empty());
        assert_eq!(revisions(&held_back.take(at(250))), [5, 4, 5]);
        assert_eq!(held_back.due(), Some(at(350)));
        held_back.hold(vec![change(7)], at(349));
        assert_eq!(revisions(&held_back.take(at(350))), [6]);
        assert_eq!(revisions(&held_back.take(at(599))), [7]);
        assert_eq!(held_back.due(), None);
    }
}
