//! The changes of some locks' keys: those that the store still has, and those that come.
//!
//! - A lock's keys stand in several ranges, each with a watch of its own over one stream. Every watch tells its changes
//!   in order, but they come in between one another: whoever wants one account waits for a moment of silence, and
//!   puts them in the order of their revisions.
//! - How far the store has told is known by asking for progress. Before 3.4.25 and 3.5.8 etcd answers that too early
//!   (its issue 15220), so only an answer behind a longer silence counts than there is between two batches (100 ms).
//! - A watch is told nothing by a member that is cut off, and does not end: where even progress is not answered, the
//!   next member is asked from there on.

use std::time::Duration;

use etcd_client::{EventType, GetOptions, KeyValue, WatchOptions, WatchStream};

use super::cluster::Cluster;
use super::deadline::within;
use super::pages::{Of, Pages};
use super::trouble::Failure;
use crate::clock::{self, Instant};
use crate::lock::chronicle::{Change, Place, Put};
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::token::ClusterId;
use crate::service::accounts::Told;

/// Longer than between two batches of changes from one store: what is of the same revision has come by then, over
/// whichever watch.
pub const SILENCE: Duration = Duration::from_millis(250);

/// An answer with many of the largest values.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What is longer is nothing that we understand, and is not kept.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Where the changes come from.
pub struct Source<'cluster> {
    /// Whom it asks.
    pub cluster: &'cluster Cluster,
    /// What the keys begin with.
    pub prefix: &'cluster Prefix,
    /// The only lock that is wanted: others stand in its ranges too.
    pub only: Option<&'cluster LockName>,
    /// The ranges, each from its first key to its end.
    pub ranges: Vec<(String, String)>,
    /// How long one answer is waited for.
    pub patience: Duration,
}

/// What stood there.
#[derive(Debug)]
pub struct There {
    /// At which revision.
    pub revision: i64,
    /// Whose it is.
    pub cluster: ClusterId,
    /// Every key, as if it was put there then.
    pub puts: Vec<Told>,
}

/// What a stream says.
#[derive(Debug)]
pub enum News {
    /// Something changed.
    Changes(Vec<Told>),
    /// Everything up to here was told.
    Progress(i64),
    /// What was asked for is compacted; this is the first revision that can be asked for.
    Compacted(i64),
    /// The stream is of no use any more.
    Broken,
}

impl Source<'_> {
    /// Everything that stood there at a revision, or (0) stands there now.
    pub async fn read(&self, revision: i64) -> Result<There, Failure> {
        let mut there = There {
            revision,
            cluster: ClusterId(0),
            puts: Vec::new(),
        };
        for (first, end) in &self.ranges {
            let mut pages = Pages::new(self.cluster, first.as_str(), end.as_str(), Of::Values);
            // All of it is of the same moment.
            pages.revision = there.revision;
            while let Some(page) = pages.next(clock::now() + self.patience).await? {
                if let Some(header) = page.header() {
                    there.cluster = ClusterId(header.cluster_id());
                    if there.revision == 0 {
                        there.revision = header.revision();
                    }
                }
                pages.revision = there.revision;
                let puts = page.kvs().iter().filter_map(|kv| self.put(kv));
                there.puts.extend(puts);
            }
        }
        Ok(there)
    }

    /// The store's revision now.
    pub async fn revision(&self) -> Result<i64, Failure> {
        let mut revision = 0;
        for (first, end) in &self.ranges {
            let read = self
                .cluster
                .call(clock::now() + self.patience, |client| async move {
                    let options = GetOptions::new()
                        .with_range(end.as_str())
                        .with_keys_only()
                        .with_limit(1);
                    let mut kv = client.kv_client();
                    let answer = kv.get(first.as_str(), Some(options)).await?;
                    Ok(answer.header().map_or(0, |header| header.revision()))
                })
                .await?;
            revision = revision.max(read);
        }
        Ok(revision)
    }

    /// What changes after a revision.
    pub async fn follow(&self, revision: i64) -> Result<Stream<'_>, Failure> {
        let ranges = &self.ranges;
        let stream = self
            .cluster
            .call(clock::now() + self.patience, |client| async move {
                let client = client.watch_client();
                let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
                let options = |end: &String| {
                    WatchOptions::new()
                        .with_range(end.as_str())
                        .with_start_revision(revision + 1)
                };
                let mut ranges = ranges.iter();
                let (first, end) = ranges.next().cloned().unwrap_or_default();
                let mut stream = client.watch(first, Some(options(&end))).await?;
                for (first, end) in ranges {
                    stream.watch(first.as_str(), Some(options(end))).await?;
                }
                Ok(stream)
            })
            .await?;
        Ok(Stream {
            source: self,
            stream,
            failures: self.cluster.failures(),
        })
    }

    fn place(&self, key: &[u8]) -> Option<(LockName, Place)> {
        let (name, place) = self.prefix.place(key)?;
        let is_wanted = self.only.is_none_or(|only| *only == name);
        is_wanted.then_some((name, place))
    }

    fn put(&self, kv: &KeyValue) -> Option<Told> {
        let (name, place) = self.place(kv.key())?;
        let value = match kv.value().len() <= VALUE_BYTES_MAX {
            true => kv.value().to_vec(),
            false => Vec::new(),
        };
        let put = Put {
            create_revision: kv.create_revision(),
            leased: kv.lease() != 0,
            value,
        };
        let change = Change {
            revision: kv.mod_revision(),
            place,
            put: Some(put),
        };
        Some((name, change))
    }

    fn change(&self, event: &etcd_client::Event) -> Option<Told> {
        let kv = event.kv()?;
        match event.event_type() {
            EventType::Put => self.put(kv),
            EventType::Delete => {
                let (name, place) = self.place(kv.key())?;
                let change = Change {
                    revision: kv.mod_revision(),
                    place,
                    put: None,
                };
                Some((name, change))
            }
        }
    }
}

/// An open stream.
pub struct Stream<'source> {
    source: &'source Source<'source>,
    stream: WatchStream,
    failures: usize,
}

impl Stream<'_> {
    /// What it says next; nothing where it says nothing until then.
    pub async fn next(&mut self, wake_at: Instant) -> Option<News> {
        let (source, stream) = (self.source, &mut self.stream);
        let known = self.failures;
        let heard = async {
            loop {
                let Ok(Some(response)) = stream.message().await else {
                    return News::Broken;
                };
                if response.canceled() {
                    return match response.compact_revision() {
                        0 => News::Broken,
                        first => News::Compacted(first),
                    };
                }
                let events = response.events();
                if events.is_empty() && !response.created() {
                    let at = response.header().map_or(0, |header| header.revision());
                    return News::Progress(at);
                }
                let changes: Vec<Told> = events.iter().filter_map(|it| source.change(it)).collect();
                if !changes.is_empty() {
                    return News::Changes(changes);
                }
            }
        };
        let heard = async {
            tokio::select! {
                news = heard => news,
                () = source.cluster.failed_since(known) => News::Broken,
            }
        };
        within(wake_at, heard).await
    }

    /// Asks how far it has told.
    pub async fn ask_progress(&mut self, give_up_at: Instant) {
        // One that cannot be asked says nothing more either, and that is noticed.
        let _ = within(give_up_at, self.stream.request_progress()).await;
    }
}
