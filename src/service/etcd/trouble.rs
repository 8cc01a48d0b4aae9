//! What etcd's and the transport's errors mean: for the run (a [`Trouble`]) and for us (a [`Sign`]).
//!
//! - Whatever may pass, or may be different at another member, is `Unreachable`; a definite answer is
//!   `Refused` or `Denied` and ends the attempt (etcd: api/v3rpc/rpctypes/error.go).
//! - What only one member says of itself (its certificate, its cluster) is *lasting*: it is asked no more while
//!   others can be, and final once all say so.
//! - What something between us and etcd answers, a proxy or a web server, is told from what etcd says: tonic makes a
//!   code of an HTTP status, and 403 is not etcd's "permission denied".
//! - Codes alone do not tell: "too many requests" and "not a primary lessor" arrive as Unknown, and a wrong
//!   password as InvalidArgument; so etcd's texts are matched too.

use std::error::Error as _;
use std::time::Duration;

use etcd_client::Error;
use tonic::Code;

use super::dial::ConnectionOver;
use crate::lock::entry::harmless;
use crate::supervisor::{Trouble, TroubleKind};

/// A call that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the run is told.
    pub trouble: Trouble,
    /// What it tells us.
    pub sign: Sign,
    /// Whether nothing came back at all in the time given.
    pub silent: bool,
    /// Whether etcd itself said so.
    pub answered: bool,
    /// Whether an earlier attempt at the same may have been done.
    pub after_ambiguity: bool,
    /// Whether it is about this member only, and will not pass.
    pub lasting: bool,
}

/// What a failed call says about what it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// There was no connection: nothing was done.
    NotSent,
    /// It may have been done, or may be done later.
    Ambiguous,
    /// There is no such lease: nothing was done.
    LeaseNotFound,
    /// This member is of another cluster than the others: nothing was sent to it.
    AnotherCluster,
    /// There is such a lease already.
    LeaseExists,
    /// There is no space. Raised while applying, it comes although the request was done (etcd:
    /// server/etcdserver/apply/quota.go).
    NoSpace,
    /// Who we are was forgotten, or is not known yet: to be told again. Nothing was done.
    TokenRejected,
    /// We may not: nothing was done.
    NotPermitted,
    /// There are no users here, so nobody has to log in.
    NoUsers,
    /// The answer is larger than what is read. The request was done.
    TooLarge,
    /// Any other definite answer: nothing was done.
    Answered,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        failure.trouble
    }
}

impl Failure {
    /// Whether it is worth trying again, here or at another member.
    pub fn may_pass(&self) -> bool {
        self.lasting || self.trouble.kind == TroubleKind::Unreachable
    }

    /// Whether etcd refuses to do it at all, as it refuses transactions where it has no space.
    pub fn is_refusal(&self) -> bool {
        self.trouble.kind == TroubleKind::Refused
            && matches!(self.sign, Sign::NoSpace | Sign::Answered)
    }

    /// Whether it is certain that the request was not done and will not be.
    pub const fn is_without_effect(&self) -> bool {
        let is_answer = matches!(
            self.sign,
            Sign::Answered | Sign::TokenRejected | Sign::NotPermitted
        );
        let is_unsent = matches!(self.sign, Sign::NotSent | Sign::AnotherCluster);
        (is_answer || is_unsent) && !self.after_ambiguity
    }

    /// The same, where an earlier request had an effect.
    pub fn with_effect(self) -> Self {
        Self {
            after_ambiguity: true,
            ..self
        }
    }

    /// Whether the connection is to be mistrusted.
    pub const fn is_of_the_connection(&self) -> bool {
        !self.answered && matches!(self.sign, Sign::NotSent | Sign::Ambiguous)
    }

    /// No answer in time.
    pub fn unanswered(address: &str, sign: Sign, waited: Duration) -> Self {
        // Shown to people: tenths of a second are enough, and 2.999 s are 3 s.
        let tenths = (waited + Duration::from_millis(50)).as_millis() as u64 / 100;
        let waited = Duration::from_millis(tenths * 100);
        let detail = match sign {
            Sign::NotSent => format!("no connection to etcd at {address} within {waited:?}"),
            _ => format!("etcd at {address} did not answer within {waited:?}"),
        };
        Self {
            silent: true,
            ..Self::new(TroubleKind::Unreachable, sign, detail)
        }
    }

    /// The same after several attempts: where nothing came back, it did not in the whole time.
    pub fn over(self, address: &str, waited: Duration) -> Self {
        if !self.silent {
            return self;
        }
        Self {
            after_ambiguity: self.after_ambiguity,
            ..Self::unanswered(address, self.sign, waited)
        }
    }

    /// What all members together come to: each has failed.
    pub fn of_all(failures: Vec<(&str, Self)>) -> Self {
        let all = |is: fn(&Self) -> bool| failures.iter().all(|(_, failure)| is(failure));
        let lasting = all(|failure| failure.lasting);
        let silent = all(|failure| failure.silent);
        let sign = match all(|failure| failure.sign == Sign::NotSent) {
            true => Sign::NotSent,
            false => Sign::Ambiguous,
        };
        let after_ambiguity = !all(|failure| !failure.after_ambiguity);
        // While one of them may be of use again, the others do not say what to do.
        let kind = match failures.first() {
            Some((_, first)) if lasting => first.trouble.kind,
            _ => TroubleKind::Unreachable,
        };
        let details = failures
            .into_iter()
            .map(|(address, failure)| (address, failure.trouble.detail));
        Self {
            sign,
            silent,
            answered: false,
            after_ambiguity,
            lasting,
            trouble: Trouble {
                kind,
                detail: of_several(details),
            },
        }
    }

    /// No connection.
    pub fn unconnected(address: &str, why: &str) -> Self {
        Self::new(
            TroubleKind::Unreachable,
            Sign::NotSent,
            format!("cannot connect to etcd at {address}: {why}"),
        )
    }

    /// What one member says of itself, and will go on saying; nothing was sent to it.
    pub fn lasting(kind: TroubleKind, detail: String) -> Self {
        Self {
            lasting: true,
            ..Self::new(kind, Sign::NotSent, detail)
        }
    }

    /// The same, with what may help.
    pub fn adding(mut self, hint: &str) -> Self {
        self.trouble.detail = format!("{}; {hint}", self.trouble.detail);
        self
    }

    /// The same, with whose permission for what is missing.
    pub fn naming(mut self, who: &str, purpose: &str) -> Self {
        let detail = &self.trouble.detail;
        self.trouble.detail = format!("{detail}: {who} must be allowed to {purpose}");
        self
    }

    /// Settings or files that cannot be used; nothing was sent.
    pub fn misconfigured(detail: String) -> Self {
        Self::new(TroubleKind::Misconfigured, Sign::NotSent, detail)
    }

    /// The same, where what failed was only on the way to the request.
    pub fn before_request(self) -> Self {
        Self {
            sign: Sign::NotSent,
            ..self
        }
    }

    /// A refusal of our own, before anything was sent.
    pub fn refused(detail: String) -> Self {
        Self::new(TroubleKind::Refused, Sign::NotSent, detail)
    }

    /// An endpoint that is none.
    pub fn no_endpoint(address: &str) -> Self {
        Self::refused(format!(
            "{address:?} is no endpoint; write it as HOST:PORT or http://HOST:PORT"
        ))
    }

    /// What an error of etcd-client means.
    pub fn of(address: &str, error: &Error) -> Self {
        let broken = |cause: String| {
            let detail = format!("the connection to etcd at {address} broke: {cause}");
            Self::new(TroubleKind::Unreachable, Sign::Ambiguous, detail)
        };
        match error {
            Error::GRpcStatus(status) => match status.source() {
                // Only errors of the transport have a source; etcd's answers are code and text.
                Some(source) if is_over(source) => {
                    Self::unconnected(address, &ConnectionOver.to_string())
                }
                Some(_) => broken(innermost(status)),
                None => match http_status(status.message()) {
                    Some(http) => Self::of_something_between(address, http),
                    None => Self::of_answer(address, status.code(), &harmless(status.message())),
                },
            },
            Error::LeaseKeepAliveError(text) if text == "lease not found" => Self::of_answer(
                address,
                Code::NotFound,
                "etcdserver: requested lease not found",
            ),
            Error::TransportError(error) => Self::unconnected(address, &innermost(error)),
            Error::InvalidUri(_) | Error::InvalidArgs(_) => Self::no_endpoint(address),
            other => broken(other.to_string()),
        }
    }

    /// HTTP, and not etcd.
    fn of_something_between(address: &str, status: u16) -> Self {
        let said = format!("what answers at {address} is not etcd (HTTP status {status})");
        let refused = |hint| Self {
            lasting: true,
            // It was not let through.
            ..Self::new(
                TroubleKind::Unreachable,
                Sign::Answered,
                format!("{said}: {hint}"),
            )
        };
        match status {
            401 | 403 | 407 => {
                refused("a proxy in front of it lets nobody in; give the address of etcd itself")
            }
            200..=399 | 404 | 405 => refused("a web server, or a proxy that knows no etcd"),
            _ => Self::new(
                TroubleKind::Unreachable,
                Sign::Ambiguous,
                format!("{said}: a proxy in front of it is in trouble, or cannot reach it"),
            ),
        }
    }

    fn of_answer(address: &str, code: Code, message: &str) -> Self {
        let text = message
            .trim_start_matches("etcdserver: ")
            .trim_start_matches("mvcc: ");
        let (kind, sign) = classify(code, text);
        let detail = match (kind, code) {
            (TroubleKind::Unreachable, _) if text.is_empty() => {
                format!("etcd at {address} is not available")
            }
            (TroubleKind::Unreachable, _) if text == "no leader" => {
                format!("etcd at {address} has no leader: a quorum is missing, or being found")
            }
            (TroubleKind::Unreachable, _) if text == LEARNER => {
                format!("etcd at {address} has no vote yet (a learner); give the other members too")
            }
            (TroubleKind::Unreachable, _) => format!("etcd at {address} is not available: {text}"),
            (TroubleKind::Refused, Code::ResourceExhausted) if is_no_space(text) => format!(
                "etcd at {address} refuses: database space exceeded (NOSPACE); free space and disarm the alarm"
            ),
            (TroubleKind::Refused, Code::DataLoss) => {
                format!(
                    "etcd at {address} refuses: a member has other data than the others (alarm CORRUPT); replace it"
                )
            }
            (TroubleKind::Refused, Code::Unimplemented) => {
                format!("{address} does not speak the API of etcd v3")
            }
            (TroubleKind::Refused, _) if sign == Sign::TooLarge => {
                format!("etcd at {address} has more to answer than is read: {text}")
            }
            (TroubleKind::Denied, _) if text == "user name is empty" => {
                format!("etcd at {address} lets in users only; say who you are with --user")
            }
            (TroubleKind::Denied, _) if sign == Sign::Answered => {
                format!("etcd at {address} refuses the user name or the password")
            }
            _ => format!("etcd at {address} refuses: {text}"),
        };
        Self {
            answered: true,
            lasting: code == Code::Unimplemented,
            ..Self::new(kind, sign, detail)
        }
    }

    fn new(kind: TroubleKind, sign: Sign, detail: String) -> Self {
        Self {
            trouble: Trouble { kind, detail },
            sign,
            silent: false,
            answered: false,
            after_ambiguity: false,
            lasting: false,
        }
    }
}

/// What a member says that has no vote yet.
const LEARNER: &str = "rpc not supported for learner";

fn is_no_space(text: &str) -> bool {
    text == "database space exceeded"
}

/// The status in tonic's words where the answer is none of gRPC: without a body (tonic: src/status.rs,
/// infer_grpc_status), or with a page (src/codec/decode.rs).
fn http_status(text: &str) -> Option<u16> {
    const PAGE: &str = "protocol error: received message with invalid compression flag";
    let status = match text.strip_prefix(PAGE) {
        Some(rest) => rest.split_once("while receiving response with status: ")?.1,
        None => text.strip_prefix("grpc-status header missing, mapped from HTTP status code ")?,
    };
    status.split(' ').next()?.parse().ok()
}

/// tonic's words where an answer is over the limit (tonic: src/codec/decode.rs).
fn is_too_large(text: &str) -> bool {
    text.starts_with("Error, decoded message length too large")
}

/// What an answer of etcd means; `text` without "etcdserver: " and "mvcc: ".
fn classify(code: Code, text: &str) -> (TroubleKind, Sign) {
    use TroubleKind::{Denied, Refused, Unreachable};
    match (code, text) {
        (Code::NotFound, "requested lease not found") => (Refused, Sign::LeaseNotFound),
        (Code::FailedPrecondition, "lease already exists") => (Refused, Sign::LeaseExists),
        (Code::ResourceExhausted, text) if is_no_space(text) => (Refused, Sign::NoSpace),
        (Code::OutOfRange, text) if is_too_large(text) => (Refused, Sign::TooLarge),
        (_, "authentication is not enabled") => (Refused, Sign::NoUsers),
        (_, text) if text.starts_with("authentication failed") => (Denied, Sign::Answered),
        (Code::Unauthenticated, _)
        | (Code::InvalidArgument, "user name is empty" | "revision of auth store is old")
        | (Code::Unknown, "invalid auth token") => (Denied, Sign::TokenRejected),
        (Code::PermissionDenied, _) => (Denied, Sign::NotPermitted),
        // The member is of no use now; another one may be.
        (Code::FailedPrecondition, "not leader" | "not capable")
        | (_, LEARNER | "too many requests") => (Unreachable, Sign::Ambiguous),
        (
            Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal,
            _,
        ) => (Unreachable, Sign::Ambiguous),
        _ => (Refused, Sign::Answered),
    }
}

/// What several members did, each with its own sentence; where all did the same, it is said once.
fn of_several<'name>(details: impl Iterator<Item = (&'name str, String)>) -> String {
    const ADDRESS: &str = "\u{0}";
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (address, detail) in details {
        let what = detail.replace(address, ADDRESS);
        match groups.iter_mut().find(|(known, _)| *known == what) {
            Some((_, addresses)) if addresses.contains(&address) => {}
            Some((_, addresses)) => addresses.push(address),
            None => groups.push((what, vec![address])),
        }
    }
    let sentences: Vec<String> = groups
        .into_iter()
        .map(|(what, addresses)| what.replace(ADDRESS, &addresses.join(", ")))
        .collect();
    sentences.join("; ")
}

fn is_over(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<ConnectionOver>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// The error at the bottom of a chain says what happened ("Connection refused"); those above only where.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, message: &str) -> Failure {
        let status = tonic::Status::new(code, message);
        Failure::of("etcd1:2379", &Error::GRpcStatus(status))
    }

    #[test]
    fn what_may_pass_is_unreachable_and_tried_again() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::Unavailable, "etcdserver: request timed out"),
            (
                Code::Unavailable,
                "etcdserver: rpc not supported for learner",
            ),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Cancelled, "Timeout expired"),
            (Code::DeadlineExceeded, "context deadline exceeded"),
            (Code::Unknown, "not a primary lessor"),
            (Code::Unknown, "etcdserver: too many requests"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (Code::FailedPrecondition, "etcdserver: not leader"),
            (Code::Unknown, "h2 protocol error"),
        ] {
            let failure = of(code, message);
            assert!(failure.may_pass(), "{message}: {failure:?}");
            assert_eq!(failure.sign, Sign::Ambiguous, "{message}");
        }
    }

    #[test]
    fn who_we_are_and_what_we_may_do_is_denied() {
        for (code, message) in [
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
        ] {
            assert_eq!(
                of(code, message).trouble.kind,
                TroubleKind::Denied,
                "{message}"
            );
        }
    }

    #[test]
    fn a_refusal_is_final_and_says_what_to_do() {
        let no_space = of(
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        );
        assert_eq!(no_space.trouble.kind, TroubleKind::Refused);
        assert!(no_space.is_refusal() && !no_space.is_without_effect());
        assert_eq!(
            no_space.trouble.detail,
            "etcd at etcd1:2379 refuses: database space exceeded (NOSPACE); free space and disarm the alarm"
        );
        for (code, message) in [
            (Code::DataLoss, "etcdserver: corrupt cluster"),
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (Code::Unimplemented, "unknown service etcdserverpb.KV"),
        ] {
            assert_eq!(
                of(code, message).trouble.kind,
                TroubleKind::Refused,
                "{message}"
            );
        }
    }

    #[test]
    fn only_a_definite_answer_to_the_first_attempt_is_without_effect() {
        let denied = of(Code::PermissionDenied, "etcdserver: permission denied");
        assert!(denied.is_without_effect());
        assert!(!denied.with_effect().is_without_effect());
        let lost = of(Code::Unavailable, "etcdserver: request timed out");
        assert!(!lost.is_without_effect());
        let unconnected = Failure::unanswered("x", Sign::NotSent, Duration::from_secs(1));
        assert!(unconnected.is_without_effect());
    }

    #[test]
    fn what_was_answered_at_too_great_a_length_was_done() {
        let words = "Error, decoded message length too large: found 70000000 bytes, the limit is: 67108864 bytes";
        let large = of(Code::OutOfRange, words);
        assert_eq!(
            (large.trouble.kind, large.sign),
            (TroubleKind::Refused, Sign::TooLarge)
        );
        assert!(!large.is_without_effect() && !large.is_refusal() && !large.may_pass());
        let compacted = of(
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
        );
        assert_eq!(compacted.sign, Sign::Answered);
    }

    #[test]
    fn what_stands_between_us_and_etcd_is_not_etcd() {
        // The words and codes are those that tonic makes of them: without a body, and with a page.
        let empty = "grpc-status header missing, mapped from HTTP status code";
        let page = "protocol error: received message with invalid compression flag: 60 (valid flags are 0 and 1) while receiving response with status:";
        for (words, http, code, is_lasting) in [
            (empty, "401", Code::Unauthenticated, true),
            (empty, "403", Code::PermissionDenied, true),
            (empty, "404", Code::Unimplemented, true),
            (empty, "429", Code::Unavailable, false),
            (empty, "500", Code::Unknown, false),
            (page, "200 OK", Code::Internal, true),
            (page, "403 Forbidden", Code::Internal, true),
            (page, "502 Bad Gateway", Code::Internal, false),
        ] {
            let failure = of(code, &format!("{words} {http}"));
            assert_eq!(failure.trouble.kind, TroubleKind::Unreachable, "{http}");
            assert_eq!(failure.lasting, is_lasting, "{http}");
            assert!(!failure.answered, "{http}: etcd did not say so");
            let status = format!("(HTTP status {})", &http[..3]);
            assert!(failure.trouble.detail.contains(&status), "{failure:?}");
        }
    }

    #[test]
    fn a_silence_is_told_with_the_whole_time() {
        let last = Failure::unanswered("x", Sign::Ambiguous, Duration::from_millis(40));
        let all = last.over("x", Duration::from_millis(9_970));
        assert_eq!(all.trouble.detail, "etcd at x did not answer within 10s");
    }

    #[test]
    fn what_several_members_did_is_said_once_where_it_is_the_same() {
        let refused = |address: &'static str| {
            let failure = Failure::unconnected(address, "connection refused");
            (address, failure)
        };
        let silent = Failure::unanswered("c:1", Sign::Ambiguous, Duration::from_secs(2));
        let all = Failure::of_all(vec![refused("a:1"), refused("b:1"), ("c:1", silent)]);
        assert_eq!(
            all.trouble.detail,
            "cannot connect to etcd at a:1, b:1: connection refused; etcd at c:1 did not answer within 2s"
        );
        assert_eq!(all.sign, Sign::Ambiguous);
        let same = Failure::of_all(vec![refused("a:1"), refused("a:1")]);
        assert_eq!(
            same.trouble.detail,
            "cannot connect to etcd at a:1: connection refused"
        );
        assert!(same.is_without_effect());
    }

    #[test]
    fn only_where_all_members_are_of_no_use_for_good_their_status_counts() {
        let expired = || {
            let detail = "the certificate of etcd at a:1 expired".to_owned();
            ("a:1", Failure::lasting(TroubleKind::Misconfigured, detail))
        };
        let closed = ("b:1", Failure::unconnected("b:1", "connection refused"));
        let both = Failure::of_all(vec![expired(), closed]);
        assert_eq!(
            (both.trouble.kind, both.lasting),
            (TroubleKind::Unreachable, false)
        );
        let all = Failure::of_all(vec![expired(), expired()]);
        assert_eq!(
            (all.trouble.kind, all.lasting),
            (TroubleKind::Misconfigured, true)
        );
    }

    #[test]
    fn signs_about_leases_are_told_from_other_refusals() {
        assert_eq!(
            of(Code::NotFound, "etcdserver: requested lease not found").sign,
            Sign::LeaseNotFound
        );
        assert_eq!(
            of(Code::FailedPrecondition, "etcdserver: lease already exists").sign,
            Sign::LeaseExists
        );
        let crate_says = Error::LeaseKeepAliveError("lease not found".to_owned());
        assert_eq!(Failure::of("x", &crate_says).sign, Sign::LeaseNotFound);
    }
}
