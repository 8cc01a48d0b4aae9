//! Whoever wants something of the store asks here: a thread does it, since the kernel's locks and the disk make it wait,
//! and nobody who watches a command may wait without an end.
//!
//! Requests are done in the order in which they were made. One whose time is over before its turn comes is not begun,
//! so it has no effect; one that is under way when its time is over is done, and what was asked for after it comes
//! after it.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use tokio::sync::oneshot;

use super::folder::Folder;
use super::store::{self, Store, Transaction};
use crate::clock::Instant;
use crate::service::deadline::within;
use crate::supervisor::Trouble;

type Request = Box<dyn FnOnce(&mut Option<Store>) + Send>;

/// The thread, from outside.
#[derive(Clone, Debug)]
pub struct Desk {
    folder: Folder,
    requests: Option<Sender<Request>>,
}

impl Desk {
    /// Begins; the folder is there, and is opened with the first request.
    pub fn open(folder: &Folder) -> Self {
        let (requests, asked) = channel::<Request>();
        let work = move || {
            let mut store = None;
            for request in asked {
                request(&mut store);
            }
        };
        let started = thread::Builder::new()
            .name("lock-store".to_owned())
            .spawn(work);
        Self {
            folder: folder.clone(),
            requests: started.is_ok().then_some(requests),
        }
    }

    /// Does something in a transaction.
    pub async fn ask<T: Send + 'static>(
        &self,
        give_up_at: Instant,
        work: impl FnOnce(&mut Transaction<'_>) -> store::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.answered(give_up_at, move |store| store.transact(give_up_at, work))
            .await
    }

    /// Reads something, without waiting for anybody.
    pub async fn read<T: Send + 'static>(
        &self,
        give_up_at: Instant,
        work: impl FnOnce(&Transaction<'_>) -> store::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.answered(give_up_at, move |store| store.read(work))
            .await
    }

    /// Whether there is no store in the folder any more. Uncertain is no.
    pub async fn has_no_store(&self, give_up_at: Instant) -> bool {
        let folder = self.folder.clone();
        let looked = self.done(give_up_at, move |_| Ok(folder.has_no_store()));
        looked.await.unwrap_or(false)
    }

    async fn answered<T: Send + 'static>(
        &self,
        give_up_at: Instant,
        work: impl FnOnce(&mut Store) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let folder = self.folder.clone();
        self.done(give_up_at, move |store| {
            let mut open = match store.take() {
                Some(open) if open.is_current()? => open,
                _ => Store::open(&folder)?,
            };
            let done = work(&mut open);
            *store = Some(open);
            done
        })
        .await
    }

    /// Has it done by the thread.
    async fn done<T: Send + 'static>(
        &self,
        give_up_at: Instant,
        work: impl FnOnce(&mut Option<Store>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (answer, answered) = oneshot::channel();
        let request: Request = Box::new(move |store| {
            // Nobody may wait for it any more.
            let _ = answer.send(work(store));
        });
        let sent = self
            .requests
            .as_ref()
            .is_some_and(|requests| requests.send(request).is_ok());
        if !sent {
            return Err(self
                .folder
                .refused("cannot be used: no thread could be made for it"));
        }
        match within(give_up_at, answered).await {
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(self.folder.refused("cannot be used: its thread ended")),
            None => Err(self.folder.busy()),
        }
    }
}
