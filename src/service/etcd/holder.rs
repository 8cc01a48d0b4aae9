//! Who stands in the way, for people: reads the value of the oldest entry, once for each of its changes.
//! That it cannot be read, or says nothing we understand, changes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::Cluster;
use super::reading::Reading;
use super::transaction::Ranges;
use crate::clock;
use crate::lock::admission::{Line, QueuedEntry};
use crate::lock::entry::Entry;
use crate::lock::token::Token;
use crate::supervisor::{Holder, Queue};

/// How long a waiter's next step may be held up for the sake of a name.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks at a queue for one contender.
pub struct QueueView {
    cluster: Arc<Cluster>,
    ranges: Ranges,
    known: Option<((QueuedEntry, i64), Holder)>,
}

impl QueueView {
    /// Nothing is known yet.
    pub const fn new(cluster: Arc<Cluster>, ranges: Ranges) -> Self {
        Self {
            cluster,
            ranges,
            known: None,
        }
    }

    /// The queue as the contender with the entry `own` sees it, or as one that is not in it.
    pub async fn queue(&mut self, reading: &Reading, own: Option<Token>) -> Queue {
        let entries = &reading.snapshot.entries;
        let own = own.map_or(i64::MAX, Token::get);
        let is_ahead = |entry: &&QueuedEntry| entry.create_revision < own;
        let ahead = entries.iter().filter(is_ahead).count();
        let line = Line::of(&reading.snapshot);
        // Not ourselves, should we be one of them by now.
        let holders = line.holders().min(ahead);
        let anybody_vanished = line.vanished().next().is_some();
        let holder = match &reading.head {
            Some(head) if holders > 0 => self.holder(head).await,
            _ if anybody_vanished => Holder::Vanished,
            _ => Holder::Unknown,
        };
        Queue {
            place: ahead - holders + 1,
            waiting: entries.len() - holders,
            holder,
            others: holders.saturating_sub(1),
            lock: None,
            folder: None,
        }
    }

    async fn holder(&mut self, head: &(QueuedEntry, i64)) -> Holder {
        if let Some((known, holder)) = &self.known
            && known == head
        {
            return holder.clone();
        }
        let holder = self.read(&head.0).await;
        if holder != Holder::Unknown {
            self.known = Some((head.clone(), holder.clone()));
        }
        holder
    }

    async fn read(&self, head: &QueuedEntry) -> Holder {
        let key = self.ranges.entry(&head.id);
        let key = key.as_str();
        let value = self
            .cluster
            .call(clock::now() + PATIENCE, |client| async move {
                let response = client.kv_client().get(key, None).await?;
                Ok(response.kvs().first().map(|kv| Entry::parse(kv.value())))
            })
            .await;
        match value {
            Ok(Some(Some(entry))) => Holder::Known(Box::new(entry)),
            Ok(None) | Err(_) => Holder::Unknown,
            Ok(Some(None)) => Holder::Foreign {
                id: head.id.clone(),
                leased: head.leased,
            },
        }
    }
}
