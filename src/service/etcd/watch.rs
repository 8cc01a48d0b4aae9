//! Watching the few keys that decide a contender's fate.
//!
//! A watch is a hint and never a fact: etcd's watches are not linearizable and "events in unhealthy clusters
//! might never arrive" (etcd: learning/api_guarantees). So whatever comes out of a stream only means that it
//! is time to read again, and a reader does not wait for one for long.

use etcd_client::{WatchFilterType, WatchOptions, WatchStream};

use super::cluster::Cluster;
use super::deadline::within;
use super::trouble::Failure;
use crate::clock::Instant;

/// An open watch on our own key and at most one other.
pub struct Watch {
    stream: WatchStream,
    other: Option<String>,
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
    /// Watches what happens after `revision`: to `own` everything, to `other` only its deletion.
    pub async fn open(
        cluster: &Cluster,
        own: &str,
        other: Option<&str>,
        revision: i64,
        give_up_at: Instant,
    ) -> Result<Self, Failure> {
        let options = WatchOptions::new().with_start_revision(revision + 1);
        let stream = cluster
            .call(give_up_at, |client| {
                let options = options.clone();
                async move {
                    let mut stream = client
                        .watch_client()
                        .watch(own, Some(options.clone()))
                        .await?;
                    if let Some(other) = other {
                        let deletions = options.with_filters([WatchFilterType::NoPut]);
                        stream.watch(other, Some(deletions)).await?;
                    }
                    Ok(stream)
                }
            })
            .await?;
        // What failed while it was opened was not over it.
        let failures = cluster.failures();
        Ok(Self {
            stream,
            other: other.map(str::to_owned),
            failures,
        })
    }

    /// Whether it watches this key beside our own.
    pub fn covers(&self, other: Option<&str>) -> bool {
        self.other.as_deref() == other
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
                    Ok(Some(response)) if response.events().is_empty() => {}
                    Ok(Some(_)) => return Hint::Changed,
                    Ok(None) | Err(_) => return Hint::Broken,
                }
            }
        };
        let heard = async {
            tokio::select! {
                hint = heard => hint,
                () = cluster.failed_since(known) => Hint::Doubtful,
            }
        };
        within(wake_at, heard).await.unwrap_or(Hint::Silent)
    }
}
