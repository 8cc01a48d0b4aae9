//! From etcd's messages to plain data and back.

use prost::{DecodeError, Message};

use super::messages::{self as wire, RequestOf, ResponseOf, TargetOf};
use crate::simulation::protocol::{
    Answer, Change, Compare, Header, KeyValue, Keys, Notice, Op, OpAnswer, Relation, Request,
    Target, Transaction, WatchFor,
};

/// Whose tokens the simulated cluster gives.
pub const CLUSTER: u64 = 0xc1;

/// What a call with this path asks for.
pub fn request(path: &str, message: &[u8]) -> Result<Request, DecodeError> {
    Ok(match path {
        "/etcdserverpb.KV/Range" => {
            let mut range = wire::RangeRequest::decode(message)?;
            let revision = std::mem::take(&mut range.revision);
            let range = plain(range);
            Request::Get {
                keys_only: range.keys_only,
                keys: keys(range.key, range.range_end),
                revision,
            }
        }
        "/etcdserverpb.KV/DeleteRange" => {
            let range = wire::DeleteRangeRequest::decode(message)?;
            Request::Delete {
                keys: keys(range.key, range.range_end),
            }
        }
        "/etcdserverpb.KV/Txn" => {
            let txn = wire::TxnRequest::decode(message)?;
            Request::Transact(Transaction {
                when: txn.compare.into_iter().map(compare).collect(),
                then: txn.success.into_iter().map(op).collect(),
                otherwise: txn.failure.into_iter().map(op).collect(),
            })
        }
        "/etcdserverpb.KV/Compact" => Request::Compact {
            revision: wire::CompactionRequest::decode(message)?.revision,
        },
        "/etcdserverpb.Lease/LeaseGrant" => {
            let grant = wire::LeaseGrantRequest::decode(message)?;
            Request::Grant {
                lease: grant.id,
                ttl: grant.ttl,
            }
        }
        "/etcdserverpb.Lease/LeaseRevoke" => Request::Revoke {
            lease: wire::LeaseRequest::decode(message)?.id,
        },
        "/etcdserverpb.Lease/LeaseKeepAlive" => Request::KeepAlive {
            lease: wire::LeaseRequest::decode(message)?.id,
        },
        "/etcdserverpb.Lease/LeaseTimeToLive" => Request::TimeToLive {
            lease: wire::LeaseRequest::decode(message)?.id,
        },
        other => unimplemented!("{other} is not simulated"),
    })
}

/// The watch that a message on a stream creates.
pub fn watch(stream: u64, watch: i64, message: &[u8]) -> Result<Option<WatchFor>, DecodeError> {
    let Some(create) = wire::WatchRequest::decode(message)?.create else {
        return Ok(None);
    };
    Ok(Some(WatchFor {
        stream,
        watch,
        keys: keys(create.key, create.range_end),
        start_revision: create.start_revision,
        no_put: create.filters.contains(&0),
        no_delete: create.filters.contains(&1),
    }))
}

/// A reading of all that is there now, in the order of the keys, through the leader: nothing shipped asks for another in
/// the simulation, and what does has to be put into the model first.
fn plain(range: wire::RangeRequest) -> wire::RangeRequest {
    let asks_for_more = range.limit != 0
        || range.revision != 0
        || range.sort_order != 0
        || range.sort_target != 0
        || range.serializable
        || range.count_only;
    assert!(!asks_for_more, "not simulated: {range:?}");
    range
}

const fn keys(key: Vec<u8>, end: Vec<u8>) -> Keys {
    Keys { key, end }
}

fn compare(compare: wire::Compare) -> Compare {
    let target = match (compare.target, compare.target_union) {
        (0, Some(TargetOf::Version(number))) => Target::Version(number),
        (1, Some(TargetOf::Create(number))) => Target::Create(number),
        (2, Some(TargetOf::Mod(number))) => Target::Mod(number),
        (3, Some(TargetOf::Value(value))) => Target::Value(value),
        (4, Some(TargetOf::Lease(number))) => Target::Lease(number),
        other => unimplemented!("a comparison with {other:?}"),
    };
    let relations = [
        Relation::Equal,
        Relation::Greater,
        Relation::Less,
        Relation::NotEqual,
    ];
    Compare {
        keys: keys(compare.key, compare.range_end),
        relation: relations[compare.result as usize],
        target,
    }
}

fn op(op: wire::RequestOp) -> Op {
    match op.request.expect("an operation") {
        RequestOf::Range(range) => {
            let range = plain(range);
            Op::Get {
                keys_only: range.keys_only,
                keys: keys(range.key, range.range_end),
            }
        }
        RequestOf::Put(put) => {
            assert!(!put.prev_kv && !put.ignore_lease, "not simulated: {put:?}");
            Op::Put {
                key: put.key,
                value: put.value,
                lease: put.lease,
                ignore_value: put.ignore_value,
            }
        }
        RequestOf::DeleteRange(range) => {
            assert!(!range.prev_kv, "not simulated: {range:?}");
            Op::Delete {
                keys: keys(range.key, range.range_end),
            }
        }
    }
}

/// An answer as a message with its length before it, as gRPC sends it.
pub fn framed(header: Header, answer: Answer) -> Vec<u8> {
    let header = Some(self::header(header));
    match answer {
        Answer::Connected => Vec::new(),
        Answer::Got(kvs) => frame(&range(header, kvs)),
        Answer::Deleted(deleted) => frame(&wire::DeleteRangeResponse { header, deleted }),
        Answer::Transacted { succeeded, answers } => frame(&wire::TxnResponse {
            header,
            succeeded,
            responses: answers.into_iter().map(op_answer).collect(),
        }),
        Answer::Granted { lease, ttl } => frame(&wire::LeaseGrantResponse {
            header,
            id: lease,
            ttl,
        }),
        Answer::Revoked => frame(&wire::LeaseRevokeResponse { header }),
        Answer::KeptAlive { lease, ttl } => frame(&wire::LeaseResponse {
            header,
            id: lease,
            ttl,
            ..wire::LeaseResponse::default()
        }),
        Answer::TimeToLive {
            lease,
            ttl,
            granted,
            keys,
        } => frame(&wire::LeaseResponse {
            header,
            id: lease,
            ttl,
            granted_ttl: granted,
            keys,
        }),
        Answer::Compacted => frame(&wire::CompactionResponse { header }),
    }
}

/// A notice in the same form; none where the stream breaks.
pub fn framed_notice(notice: Notice) -> Option<Vec<u8>> {
    let response = match notice {
        Notice::Created { watch, header } => wire::WatchResponse {
            header: Some(self::header(header)),
            watch_id: watch,
            created: true,
            ..wire::WatchResponse::default()
        },
        Notice::Compacted {
            watch,
            header,
            revision,
        } => wire::WatchResponse {
            header: Some(self::header(header)),
            watch_id: watch,
            canceled: true,
            compact_revision: revision,
            ..wire::WatchResponse::default()
        },
        Notice::Happened {
            watch,
            header,
            changes,
        } => wire::WatchResponse {
            header: Some(self::header(header)),
            watch_id: watch,
            events: changes.into_iter().map(event).collect(),
            ..wire::WatchResponse::default()
        },
        Notice::Broken => return None,
    };
    Some(frame(&response))
}

fn event(change: Change) -> wire::Event {
    wire::Event {
        r#type: i32::from(change.deleted),
        kv: Some(key_value(change.kv)),
    }
}

fn header(header: Header) -> wire::Header {
    wire::Header {
        cluster_id: CLUSTER,
        member_id: header.member,
        revision: header.revision,
        raft_term: header.raft_term,
    }
}

fn range(header: Option<wire::Header>, kvs: Vec<KeyValue>) -> wire::RangeResponse {
    wire::RangeResponse {
        header,
        count: kvs.len() as i64,
        kvs: kvs.into_iter().map(key_value).collect(),
        more: false,
    }
}

fn op_answer(answer: OpAnswer) -> wire::ResponseOp {
    let response = match answer {
        OpAnswer::Put => ResponseOf::Put(wire::PutResponse::default()),
        OpAnswer::Get(kvs) => ResponseOf::Range(range(None, kvs)),
        OpAnswer::Deleted(deleted) => ResponseOf::DeleteRange(wire::DeleteRangeResponse {
            header: None,
            deleted,
        }),
    };
    wire::ResponseOp {
        response: Some(response),
    }
}

fn key_value(kv: KeyValue) -> wire::KeyValue {
    wire::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

/// gRPC over HTTP/2, "Length-Prefixed-Message": not compressed, the length, the message.
fn frame(message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut frame = Vec::with_capacity(5 + length);
    frame.push(0);
    frame.extend((length as u32).to_be_bytes());
    message.encode(&mut frame).expect("a vector grows");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_the_model_does_not_know_is_refused() {
        let refused: [fn(&mut wire::RangeRequest); 5] = [
            |range| range.limit = 1,
            |range| range.sort_order = 1,
            |range| range.sort_target = 2,
            |range| range.serializable = true,
            |range| range.count_only = true,
        ];
        assert!(request("/etcdserverpb.KV/Range", &[]).is_ok());
        for change in refused {
            let mut range = wire::RangeRequest::default();
            change(&mut range);
            let message = range.encode_to_vec();
            let asked = std::panic::catch_unwind(|| request("/etcdserverpb.KV/Range", &message));
            assert!(asked.is_err(), "{range:?}");
        }
    }
}
