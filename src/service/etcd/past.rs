//! What happened under one lock since the store was last compacted, for `history`.

use std::time::Duration;

use super::changes::{News, SILENCE, Source};
use super::trouble::Failure;
use crate::clock::{self, Instant};
use crate::lock::chronicle::{Change, Chronicle};
use crate::service::Past;
use crate::service::accounts::Told;
use crate::supervisor::TroubleKind;

/// How often it is asked how far the store has told.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How often it is begun anew, where the store is compacted or a member fails meanwhile.
const TRIES: usize = 5;

/// Reads it.
pub async fn past(source: &Source<'_>) -> Result<Past, Failure> {
    let mut begins = 0;
    for _ in 0..TRIES {
        match attempt(source, begins).await? {
            Came::All(past) => return Ok(*past),
            Came::Compacted(first) => begins = first,
            Came::Broken => source.cluster.prefer_next(),
        }
    }
    Err(Failure::refused(
        "the store was compacted, or its members changed, faster than it could be read".to_owned(),
    ))
}

enum Came {
    All(Box<Past>),
    Compacted(i64),
    Broken,
}

/// `begins`: the first revision that the store still has, where something is compacted.
async fn attempt(source: &Source<'_>, begins: i64) -> Result<Came, Failure> {
    // It asks for each of them, so whoever may not read one is told so.
    let until = source.revision().await?;
    let mut chronicle = Chronicle::default();
    if begins > 0 {
        let there = match source.read(begins).await {
            Ok(there) => there,
            Err(failure) if failure.trouble.kind == TroubleKind::Denied => return Err(failure),
            // Compacted again by now; where it is something else, that shows.
            Err(_) => return Ok(Came::Compacted(0)),
        };
        let there: Vec<Change> = there.puts.into_iter().map(|(_, change)| change).collect();
        chronicle.take_in(begins, &there);
    }
    let mut stream = source.follow(begins).await?;
    let mut changes: Vec<Told> = Vec::new();
    let mut heard_at = clock::now();
    let mut asked_at = Instant::from_nanos(0);
    loop {
        let now = clock::now();
        if asked_at + ASK_EVERY <= now {
            stream.ask_progress(now + ASK_EVERY).await;
            asked_at = now;
        }
        match stream.next(now + ASK_EVERY).await {
            Some(News::Changes(mut more)) => {
                // What comes later is not asked for, and may never end.
                more.retain(|(_, change)| change.revision <= until);
                if !more.is_empty() {
                    heard_at = clock::now();
                }
                changes.extend(more);
            }
            Some(News::Progress(at)) if until <= at && heard_at + SILENCE <= clock::now() => break,
            Some(News::Compacted(first)) => return Ok(Came::Compacted(first)),
            Some(News::Broken) => return Ok(Came::Broken),
            Some(News::Progress(_)) | None => {}
        }
        if heard_at + source.patience <= clock::now() {
            return Ok(Came::Broken);
        }
    }
    changes.sort_by_key(|(_, change)| change.revision);
    let changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
    for together in changes.chunk_by(|one, two| one.revision == two.revision) {
        chronicle.take_in(together[0].revision, together);
    }
    Ok(Came::All(Box::new(Past {
        begins,
        until,
        chronicle,
    })))
}
