//! What happens under some locks while somebody watches, for `watch`. It goes on through outages and the loss of
//! members: whatever the store still has is told afterwards.

use std::time::Duration;

use super::changes::{News, SILENCE, Source, Stream};
use super::deadline::{reached, within};
use super::trouble::Failure;
use crate::clock::{self, Instant};
use crate::service::Witnessed;
use crate::service::accounts::{Accounts, Told};

/// How often somebody may want to look again.
const QUIET: Duration = Duration::from_millis(250);

/// How often the store is asked whether it is still there.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The pause before a store that does not answer is asked again.
const TROUBLE_PAUSE: Duration = Duration::from_millis(500);

/// Tells what happens until `tell` wants no more.
pub async fn tell(
    source: &Source<'_>,
    mut tell: impl FnMut(Witnessed<'_>) -> bool,
) -> Result<(), Failure> {
    let Some(mut accounts) = begin(source, &mut tell).await? else {
        return Ok(());
    };
    let mut unreachable = false;
    loop {
        let Some(followed) = while_it_takes(source.follow(accounts.revision()), &mut tell).await
        else {
            return Ok(());
        };
        let came = match followed {
            Ok(stream) => {
                let mut listening = Listening {
                    stream,
                    accounts: &mut accounts,
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
                Ok(Some(anew)) => accounts = anew,
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
) -> Result<Option<Accounts>, Failure> {
    let there = source.read(0).await?;
    let revision = there.revision;
    if !tell(Witnessed::From(revision, there.cluster)) {
        return Ok(None);
    }
    let Some(accounts) = Accounts::begin(revision, there.puts, tell) else {
        return Ok(None);
    };
    // What comes now was not there before.
    Ok(tell(Witnessed::Quiet).then_some(accounts))
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
    accounts: &'watch mut Accounts,
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
            if !self.accounts.take_in(changes, tell) || !tell(Witnessed::Quiet) {
                return Came::Enough;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::chronicle::{Change, Place};

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
