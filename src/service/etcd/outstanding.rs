//! Whether what makes a place, the lease and the entry, may still be carried out when nobody waits for it any more.
//!
//! A request that was sent and never answered can sit in the buffers of a member that is frozen, or in the log of one
//! that is slow, and be carried out seconds after the place was given back: then a lease and an entry come back that
//! nobody renews and everybody waits for. So each is followed from when it is sent to its definite answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use etcd_client::Error;

use super::trouble::{Failure, Sign};

/// How many of the requests that make a place were sent and have no definite answer.
#[derive(Debug, Default)]
pub struct Outstanding(AtomicUsize);

impl Outstanding {
    /// Whether one of them is under way, was given up, was overtaken by another member's answer, or ended in an error
    /// that leaves it open. The last three remain so: nobody can tell when they are over.
    pub fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Follows a request from now on, when it is sent, to its answer.
    pub async fn follow<T>(
        &self,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let answer = request.await;
        if answer.as_ref().err().is_none_or(is_definite) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
        answer
    }
}

fn is_definite(error: &Error) -> bool {
    Failure::of("", error).sign != Sign::Ambiguous
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tonic::{Code, Status};

    use super::*;
    use crate::clock;
    use crate::service::etcd::deadline::within;

    async fn after(answer: Result<(), Error>) -> bool {
        let outstanding = Outstanding::default();
        let _ = outstanding.follow(async { answer }).await;
        outstanding.is_any()
    }

    fn status(code: Code, text: &str) -> Error {
        Error::GRpcStatus(Status::new(code, text))
    }

    #[tokio::test]
    async fn a_definite_answer_ends_a_request_and_silence_and_doubt_do_not() {
        assert!(!after(Ok(())).await);
        for (code, text) in [
            (Code::NotFound, "etcdserver: requested lease not found"),
            (Code::FailedPrecondition, "etcdserver: lease already exists"),
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
        ] {
            assert!(!after(Err(status(code, text))).await, "{text}");
        }
        for (code, text) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unknown, "h2 protocol error"),
        ] {
            assert!(after(Err(status(code, text))).await, "{text}");
        }
        let outstanding = Outstanding::default();
        let silence = outstanding.follow(pending::<Result<(), Error>>());
        assert!(within(clock::now(), silence).await.is_none());
        assert!(outstanding.is_any());
    }

    #[test]
    fn what_was_never_begun_was_not_sent() {
        let outstanding = Outstanding::default();
        drop(outstanding.follow(pending::<Result<(), Error>>()));
        assert!(!outstanding.is_any());
    }
}
