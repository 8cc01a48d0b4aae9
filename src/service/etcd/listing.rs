//! All locks that anybody has to do with, one after the other: there may be many thousands.
//!
//! - Their names are read from keys alone, a page at a time: of the entries, and of the markers of those who vanished.
//!   A lock's keys do not stand together (those of `a/b` stand among those of `a`), so the names are gathered first;
//!   nothing else of a lock is kept.
//! - Then each lock is read by itself, a few at a time. It is what it was at that moment; the list as a whole is not of
//!   one moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::inspection::inspect;
use super::pages::{Of, Pages};
use super::trouble::Failure;
use crate::clock;
use crate::lock::chronicle::Place;
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::service::Inspection;

/// How many locks are read at once.
const TOGETHER: usize = 16;

/// One look at all of them.
pub struct Listing<'cluster> {
    /// Whom it asks.
    pub cluster: &'cluster Arc<Cluster>,
    /// Where the locks stand.
    pub prefix: &'cluster Prefix,
    /// How long one answer is waited for.
    pub patience: Duration,
}

impl Listing<'_> {
    /// Shows each lock, in the order of the names, as long as `show` wants more.
    pub async fn each(
        &self,
        below: Option<&LockName>,
        detailed: usize,
        mut show: impl FnMut(LockName, Inspection) -> bool,
    ) -> Result<(), Failure> {
        let names: Vec<LockName> = self.names(below).await?;
        for together in names.chunks(TOGETHER) {
            for (name, inspection) in self.read(together, detailed).await? {
                if inspection.entries.is_empty() && inspection.vanished == 0 {
                    // It was given back meanwhile.
                    continue;
                }
                if !show(name, inspection) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        names: &[LockName],
        detailed: usize,
    ) -> Result<Vec<(LockName, Inspection)>, Failure> {
        let give_up_at = clock::now() + self.patience;
        let mut reading = JoinSet::new();
        for name in names {
            let (cluster, prefix) = (Arc::clone(self.cluster), self.prefix.clone());
            let name = name.clone();
            reading.spawn(async move {
                let read = inspect(&cluster, &prefix, &name, detailed, give_up_at).await;
                (name, read)
            });
        }
        let mut read = Vec::new();
        while let Some(answer) = reading.join_next().await {
            // A task of ours that panicked would have ended the program.
            let Ok((name, inspection)) = answer else {
                continue;
            };
            read.push((name, inspection?));
        }
        read.sort_by(|(one, _), (two, _)| one.as_str().cmp(two.as_str()));
        Ok(read)
    }

    async fn names(&self, below: Option<&LockName>) -> Result<Vec<LockName>, Failure> {
        let mut names = BTreeSet::new();
        let (prefix, markers) = (self.prefix.to_string(), self.prefix.all_markers());
        for root in [&prefix, &markers] {
            let (from, end) = match below {
                // `/` and the next character.
                Some(below) => (format!("{root}{below}/"), format!("{root}{below}0")),
                // `~` sorts behind the alphabet of names.
                None => (root.clone(), format!("{root}~")),
            };
            let mut pages = Pages::new(self.cluster, from, end, Of::Keys);
            while let Some(page) = pages.next(clock::now() + self.patience).await? {
                let places = page
                    .kvs()
                    .iter()
                    .filter_map(|kv| self.prefix.place(kv.key()));
                names.extend(places.filter_map(|(name, place)| match place {
                    Place::Entry(_) | Place::Marker(_) => Some(name),
                    _ => None,
                }));
            }
        }
        Ok(names.into_iter().collect())
    }
}
