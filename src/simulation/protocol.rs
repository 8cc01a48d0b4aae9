//! What is said between a contender and a member of the cluster: etcd's API as plain data, as far as it is
//! used. `service/etcd/simulated` puts it on the wire and takes it off, in etcd's own encoding.

/// A key or a range of keys, as in etcd: no end is one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub key: Vec<u8>,
    pub end: Vec<u8>,
}

impl Keys {
    pub fn covers(&self, key: &[u8]) -> bool {
        if self.end.is_empty() {
            return key == self.key;
        }
        key >= self.key.as_slice() && (self.end == [0] || key < self.end.as_slice())
    }
}

/// What a comparison looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Version(i64),
    Create(i64),
    Mod(i64),
    Lease(i64),
    Value(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Equal,
    Greater,
    Less,
    NotEqual,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    pub keys: Keys,
    pub relation: Relation,
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
        lease: i64,
        ignore_value: bool,
    },
    Get {
        keys: Keys,
        keys_only: bool,
    },
    Delete {
        keys: Keys,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub when: Vec<Compare>,
    pub then: Vec<Op>,
    pub otherwise: Vec<Op>,
}

impl Transaction {
    /// Whether it deletes this key, if its comparisons hold.
    pub fn deletes(&self, key: &[u8]) -> bool {
        let deletes = |op: &Op| matches!(op, Op::Delete { keys } if keys.covers(key));
        self.then.iter().any(deletes)
    }

    /// Whether it deletes anything, if its comparisons hold.
    pub fn deletes_any(&self) -> bool {
        let mut then = self.then.iter();
        then.any(|op| matches!(op, Op::Delete { .. }))
    }

    /// What hangs on a lease that it puts, if its comparisons hold: those leases.
    pub fn leases_of_puts(&self) -> impl Iterator<Item = i64> + '_ {
        self.then.iter().filter_map(|op| match op {
            Op::Put { lease, .. } if *lease != 0 => Some(*lease),
            _ => None,
        })
    }

    /// Whether it changes nothing, whatever its comparisons come to.
    pub fn only_reads(&self) -> bool {
        let mut ops = self.then.iter().chain(&self.otherwise);
        ops.all(|op| matches!(op, Op::Get { .. }))
    }

    /// The key that begins like this and that it puts, if its comparisons hold.
    pub fn put_below(&self, prefix: &[u8]) -> Option<&[u8]> {
        self.then.iter().find_map(|op| match op {
            Op::Put { key, .. } if key.starts_with(prefix) => Some(key.as_slice()),
            _ => None,
        })
    }
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first thing sent over a new connection.
    Connect,
    Get {
        keys: Keys,
        keys_only: bool,
        /// As it was then; 0 is now.
        revision: i64,
    },
    Delete {
        keys: Keys,
    },
    Transact(Transaction),
    Grant {
        lease: i64,
        ttl: i64,
    },
    Revoke {
        lease: i64,
    },
    KeepAlive {
        lease: i64,
    },
    TimeToLive {
        lease: i64,
    },
    /// What was before this revision is forgotten.
    Compact {
        revision: i64,
    },
    /// A watch on a stream; answered by notices on that stream.
    Watch(WatchFor),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchFor {
    pub stream: u64,
    pub watch: i64,
    pub keys: Keys,
    pub start_revision: i64,
    pub no_put: bool,
    pub no_delete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

/// Who answers, and when in the store's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub member: u64,
    pub revision: i64,
    pub raft_term: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpAnswer {
    Put,
    Get(Vec<KeyValue>),
    Deleted(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Connected,
    Got(Vec<KeyValue>),
    Deleted(i64),
    Transacted {
        succeeded: bool,
        answers: Vec<OpAnswer>,
    },
    Granted {
        lease: i64,
        ttl: i64,
    },
    Revoked,
    KeptAlive {
        lease: i64,
        ttl: i64,
    },
    TimeToLive {
        lease: i64,
        /// What is left of it, in whole seconds; -1 where there is no such lease.
        ttl: i64,
        granted: i64,
        keys: Vec<Vec<u8>>,
    },
    Compacted,
}

/// Why a member does not do what it was asked: code and text as etcd has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    LeaseNotFound,
    LeaseExists,
    NoLeader,
    TimedOut,
    NotPrimary,
    /// That revision was compacted.
    Compacted,
    /// There is no such revision yet.
    FutureRevision,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Answered(Header, Answer),
    Refused(Refusal),
    /// The connection broke.
    Broken,
}

/// What comes over a stream of watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Created {
        watch: i64,
        header: Header,
    },
    /// The watch starts before what was compacted.
    Compacted {
        watch: i64,
        header: Header,
        revision: i64,
    },
    Happened {
        watch: i64,
        header: Header,
        changes: Vec<Change>,
    },
    Broken,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub deleted: bool,
    /// After a deletion only its key and mod_revision count.
    pub kv: KeyValue,
}
