//! stub
use crate::clock::Instant;
use crate::lock::{key::Prefix, name::LockName};
use crate::service::{Inspection, Wanted};
use crate::supervisor::{Event, Trouble};
use tokio::sync::mpsc::UnboundedSender;
pub struct Connection {
    pub endpoints: Vec<String>,
}
pub struct Etcd {}
impl Etcd {
    pub fn new(_: Connection, _: Wanted, _: UnboundedSender<Event>) -> Self {
        Self {}
    }
    pub fn enqueue(&mut self, _: Instant) {}
    pub fn renew(&mut self, _: Instant) {}
    pub fn announce(&mut self) {}
    pub fn release(&mut self, _: Instant) {}
    pub async fn farewell(self, _: Instant) {}
}
pub async fn inspect(
    _: &Connection,
    _: &Prefix,
    _: &LockName,
    _: Instant,
) -> Result<Inspection, Trouble> {
    unimplemented!()
}
