//! What happened, line by line, for people: written only when a history is run again to be read.

use crate::simulation::kernel;
use crate::simulation::protocol::{Answer, KeyValue, Op, OpAnswer, Reply, Request};

/// A history as text.
#[derive(Debug, Default)]
pub struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    pub fn new(wanted: bool) -> Self {
        Self {
            lines: wanted.then(Vec::new),
        }
    }

    /// Writes a line; nothing is made where nothing is written.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let seconds = kernel::time().as_secs_f64();
            lines.push(format!("{seconds:>11.6}  {}", line()));
        }
    }

    pub fn lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// A key without what all of them begin with.
fn short(key: &[u8]) -> String {
    String::from_utf8_lossy(key).replace("/leasehold/", "")
}

/// A request as a person wants to read it.
pub fn spoken(request: &Request) -> String {
    match request {
        Request::Connect => "connect".to_owned(),
        Request::Get { keys, .. } => format!("get {}", short(&keys.key)),
        Request::Delete { keys } => format!("delete {}", short(&keys.key)),
        Request::Grant { lease, ttl } => format!("grant {lease:x} for {ttl} s"),
        Request::Revoke { lease } => format!("revoke {lease:x}"),
        Request::KeepAlive { lease } => format!("keep {lease:x} alive"),
        Request::TimeToLive { lease } => format!("time to live of {lease:x}"),
        Request::Compact { revision } => format!("compact to {revision}"),
        Request::Watch(watch) => {
            let (key, start) = (short(&watch.keys.key), watch.start_revision);
            format!("watch {key} from {start}")
        }
        Request::Transact(transaction) => {
            let then = spoken_ops(&transaction.then);
            if transaction.when.is_empty() {
                return then;
            }
            let (when, otherwise) = (transaction.when.len(), spoken_ops(&transaction.otherwise));
            format!("if {when} hold ({then}) else ({otherwise})")
        }
    }
}

fn spoken_ops(ops: &[Op]) -> String {
    let spoken = ops.iter().map(|op| match op {
        Op::Put { key, lease: 0, .. } => format!("put {}", short(key)),
        Op::Put { key, .. } => format!("put leased {}", short(key)),
        Op::Get { keys, .. } if keys.key.ends_with(b"/0") => {
            format!("list {}", short(&keys.key[..keys.key.len() - 2]))
        }
        Op::Get { keys, .. } => format!("get {}", short(&keys.key)),
        Op::Delete { keys } => format!("delete {}", short(&keys.key)),
    });
    spoken.collect::<Vec<_>>().join(", ")
}

/// A reply in the same way.
pub fn spoken_reply(reply: &Reply) -> String {
    let (header, answer) = match reply {
        Reply::Answered(header, answer) => (header, answer),
        Reply::Refused(refusal) => return format!("{refusal:?}"),
        Reply::Broken => return "a broken connection".to_owned(),
    };
    let answer = match answer {
        Answer::Got(kvs) => spoken_keys(kvs),
        Answer::KeptAlive { ttl, .. } => format!("ttl {ttl}"),
        Answer::Granted { ttl, .. } => format!("granted, ttl {ttl}"),
        Answer::Transacted { succeeded, answers } => {
            let lists = answers.iter().filter_map(|answer| match answer {
                OpAnswer::Get(kvs) => Some(spoken_keys(kvs)),
                _ => None,
            });
            let held = if *succeeded { "yes" } else { "no" };
            std::iter::once(held.to_owned())
                .chain(lists)
                .collect::<Vec<_>>()
                .join(" ")
        }
        other => format!("{other:?}"),
    };
    let (revision, term) = (header.revision, header.raft_term);
    format!("{answer} (revision {revision}, term {term})")
}

fn spoken_keys(kvs: &[KeyValue]) -> String {
    let spoken = kvs.iter().map(|kv| {
        let lease = if kv.lease == 0 { " without lease" } else { "" };
        format!("{}@{}{lease}", short(&kv.key), kv.create_revision)
    });
    format!("[{}]", spoken.collect::<Vec<_>>().join(", "))
}
