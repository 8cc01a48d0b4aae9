//! What etcd, the network and TLS can be up to, each with the sentence for it: for tests/sentences.txt.

use std::io;
use std::time::Duration;

use etcd_client::Error;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};
use tonic::{Code, Status};

use super::tls::Tls;
use super::trouble::{Failure, Sign};
use crate::config;
use crate::config::layers::Source;
use crate::config::secret::Secret;
use crate::config::tls::PemFile;

const ADDRESS: &str = "etcd1:2379";

fn said(failure: Failure) -> String {
    failure.trouble.detail
}

/// What etcd answers, and what it means that it does not.
pub fn troubles() -> Vec<String> {
    let answer = |code: Code, text: &str| {
        let status = Status::new(code, text);
        Failure::of(ADDRESS, &Error::GRpcStatus(status))
    };
    let unpermitted = || answer(Code::PermissionDenied, "etcdserver: permission denied");
    let keys = "read and write the keys below /leasehold/deploy/prod/ and below /leasehold/~run/deploy/prod/";
    let silence = |sign| Failure::unanswered(ADDRESS, sign, Duration::from_secs(3));
    let refused = |address: &str| Failure::unconnected(address, "connection refused");
    let all = vec![
        (ADDRESS, refused(ADDRESS)),
        ("etcd2:2379", refused("etcd2:2379")),
        (
            "etcd3:2379",
            Failure::unanswered("etcd3:2379", Sign::Ambiguous, Duration::from_secs(3)),
        ),
    ];
    let failures = [
        silence(Sign::NotSent),
        silence(Sign::Ambiguous),
        refused(ADDRESS),
        Failure::of_all(all),
        Failure::no_endpoint("etcd1"),
        answer(Code::Unavailable, ""),
        answer(Code::Unavailable, "etcdserver: no leader"),
        answer(Code::Unavailable, "etcdserver: request timed out"),
        answer(
            Code::Unavailable,
            "etcdserver: rpc not supported for learner",
        ),
        answer(
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        ),
        answer(Code::DataLoss, "etcdserver: corrupt cluster"),
        answer(Code::Unimplemented, ""),
        answer(Code::NotFound, "etcdserver: requested lease not found"),
        answer(Code::InvalidArgument, "etcdserver: user name is empty"),
        answer(
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
        ),
        answer(Code::Unauthenticated, "etcdserver: invalid auth token"),
        unpermitted().naming("alice", keys),
        unpermitted().naming("the user in our certificate", keys),
        unpermitted().naming("whoever asks", keys),
    ];
    failures.into_iter().map(said).collect()
}

/// What either side has against the other's certificate.
pub fn tls() -> Vec<String> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let authority = rcgen::CertificateParams::default().self_signed(&key);
    let settings = config::tls::Tls {
        cacert: Some(PemFile {
            path: "/etc/leasehold/ca.pem".into(),
            source: Source::CommandLine,
            pem: Secret::new(authority.expect("signed").pem()),
        }),
        ..config::tls::Tls::default()
    };
    let Ok(tls) = Tls::new(&settings) else {
        panic!("an authority");
    };
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let expected = ServerName::try_from("etcd1".to_owned()).expect("a name");
    let theirs = [
        CertificateError::UnknownIssuer,
        CertificateError::NotValidForNameContext {
            expected,
            presented: vec!["DnsName(\"etcd.example\")".to_owned()],
        },
        CertificateError::NotValidForName,
        CertificateError::ExpiredContext {
            time: at(1_700_000_000),
            not_after: at(1_600_000_000),
        },
        CertificateError::NotValidYetContext {
            time: at(1_700_000_000),
            not_before: at(1_800_000_000),
        },
        CertificateError::Revoked,
    ];
    let theirs = theirs.map(rustls::Error::InvalidCertificate);
    let ours = [
        AlertDescription::CertificateRequired,
        AlertDescription::HandshakeFailure,
    ];
    let ours = ours.map(rustls::Error::AlertReceived);
    let others = [
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
        rustls::Error::HandshakeNotComplete,
    ];
    let all = theirs.into_iter().chain(ours).chain(others);
    let mut sentences: Vec<String> = all
        .map(|error| said(tls.explain(ADDRESS, &error)))
        .collect();
    let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
    sentences.push(said(tls.failure(ADDRESS, &closed)));
    sentences
}
