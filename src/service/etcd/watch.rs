//! Watching the few keys that decide a contender's fate.
//!
//! A watch is a hint and never a fact: etcd's watches are not linearizable and "events in unhealthy clusters
//! might never arrive" (etcd: learning/api_guarantees). So whatever comes out of a stream only means that it
//! is time to read again, and a reader does not wait for one for long.

use std::collections::BTreeSet;

use etcd_client::{Error, WatchFilterType, WatchOptions, WatchStream};

use super::cluster::Cluster;
use super::deadline::within;
use super::transaction::Ranges;
use super::trouble::Failure;
use crate::clock::Instant;
use crate::lock::admission::Obstacle;

/// The keys, beside our own, of which one has to go before anything changes for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    keys: BTreeSet<String>,
    ranges: Vec<(String, String)>,
}

impl Others {
    /// Those who keep us waiting in this queue.
    pub fn of(obstacles: &[Obstacle], ranges: &Ranges) -> Self {
        let keys = obstacles.iter().map(|obstacle| match obstacle {
            Obstacle::Entry(entry) => ranges.entry(&entry.id),
            Obstacle::Vanished { marker, .. } => ranges.marker(&marker.id),
        });
        Self {
            keys: keys.collect(),
            ranges: ranges.watched().to_vec(),
        }
    }

    /// What to watch: the one key, or for several of them all keys of the lock, from key to end. Then we are told of
    /// each one that goes, and read only when it is one of these; a watch for each would be as many as there
    /// are slots, for every waiter.
    fn watched(&self) -> Vec<(String, Option<String>)> {
        match self.keys.len() {
            0 | 1 => self.keys.iter().map(|key| (key.clone(), None)).collect(),
            _ => {
                let range = |(first, end): &(String, String)| (first.clone(), Some(end.clone()));
                self.ranges.iter().map(range).collect()
            }
        }
    }
}

/// An open watch on our own keys and those of others.
pub struct Watch {
    stream: WatchStream,
    own: BTreeSet<String>,
    others: Others,
    failures: usize,
}

/// Why a watch came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Something happened to a key.
    Changed,
    /// The watch is of no use any more.
    Broken,
    /// Nothing was heard in the time given; the watch goes on.
    Silent,
    /// A request failed meanwhile, so the connection may be dead without a word.
    Doubtful,
}

impl Watch {
    /// Watches what happens after `revision`: to `own` everything, to `others` only their deletion.
    pub async fn open(
        cluster: &Cluster,
        own: Vec<&str>,
        others: &Others,
        revision: i64,
        give_up_at: Instant,
    ) -> Result<Self, Failure> {
        let options = WatchOptions::new().with_start_revision(revision + 1);
        let stream = cluster
            .call(give_up_at, |client| {
                let (options, own) = (options.clone(), own.clone());
                async move {
                    let [first, more @ ..] = &own[..] else {
                        return Err(Error::InvalidArgs("a run without a lock".to_owned()));
                    };
                    let mut watches = client.watch_client();
                    let mut stream = watches.watch(*first, Some(options.clone())).await?;
                    for key in more {
                        stream.watch(*key, Some(options.clone())).await?;
                    }
                    for (key, end) in others.watched() {
                        let deletions = options.clone().with_filters([WatchFilterType::NoPut]);
                        let deletions = match end {
                            None => deletions,
                            Some(end) => deletions.with_range(end),
                        };
                        stream.watch(key, Some(deletions)).await?;
                    }
                    Ok(stream)
                }
            })
            .await?;
        // What failed while it was opened was not over it.
        let failures = cluster.failures();
        Ok(Self {
            stream,
            own: own.into_iter().map(str::to_owned).collect(),
            others: others.clone(),
            failures,
        })
    }

    /// Whether it watches these keys beside our own.
    pub fn covers(&self, others: &Others) -> bool {
        self.others == *others
    }

    fn is_about_us(&self, event: &etcd_client::Event) -> bool {
        event.kv().is_none_or(|kv| {
            let key = String::from_utf8_lossy(kv.key());
            self.own.contains(key.as_ref()) || self.others.keys.contains(key.as_ref())
        })
    }

    /// Whether nothing has happened since it was opened that could have cut it off.
    pub fn is_trusted(&self, cluster: &Cluster) -> bool {
        self.failures == cluster.failures()
    }

    /// Waits for a hint, until `wake_at` at most.
    pub async fn hint(&mut self, cluster: &Cluster, wake_at: Instant) -> Hint {
        let known = self.failures;
        let heard = async {
            loop {
                match self.stream.message().await {
                    // Also a compaction and a refusal arrive as a cancellation.
                    Ok(Some(response)) if response.canceled() => return Hint::Broken,
                    Ok(Some(response)) => {
                        if response
                            .events()
                            .iter()
                            .any(|event| self.is_about_us(event))
                        {
                            return Hint::Changed;
                        }
                    }
                    Ok(None) | Err(_) => return Hint::Broken,
                }
            }
        };
        let heard = async {
            tokio::select! {
                // Not by chance, which no seed decides: a change says more than a doubt.
                biased;
                hint = heard => hint,
                () = cluster.failed_since(known) => Hint::Doubtful,
            }
        };
        within(wake_at, heard).await.unwrap_or(Hint::Silent)
    }
}
