//! TLS: whom we trust, who we are, and what it means when either side does not accept the other.
//!
//! - What the files or the names decide is 78, for somebody has to change them; what the server's certificate
//!   or its clock decides is 69; that the server does not accept us is 77 (its certificate authorities) or, when our
//!   certificate has run out, 78.
//! - In TLS 1.3 the client is through before the server has looked at the client's certificate. So the first
//!   bytes of the server are waited for, or its refusal would be lost: whoever writes into a connection that the
//!   other side has closed can lose what it has said before.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore, crypto,
};

use super::certificate::validity;
use super::deadline::within;
use super::dial::Target;
use super::trouble::{Failure, innermost};
use crate::clock;
use crate::config::tls as config;
use crate::supervisor::TroubleKind::{Denied, Misconfigured, Unreachable};

/// How long the server's first bytes are waited for. etcd sends its HTTP/2 settings at once; for what stands
/// before it and waits for ours, this is the price.
const FIRST_BYTES: Duration = Duration::from_millis(500);

/// TLS as one client speaks it.
pub struct Tls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
    /// Who says whom to trust, for people.
    authorities: String,
    identity: Option<Own>,
}

/// Our own certificate, for people.
struct Own {
    path: String,
    validity: Option<(Timestamp, Timestamp)>,
}

impl Tls {
    /// Reads what was configured.
    pub fn new(settings: &config::Tls) -> Result<Self, Failure> {
        let (roots, authorities) = match &settings.cacert {
            Some(file) => (roots_of(file)?, file.path.display().to_string()),
            None => (system_roots()?, "this system".to_owned()),
        };
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::misconfigured(format!("TLS cannot be spoken: {error}")))?
            .with_root_certificates(roots);
        let (mut client, identity) = match &settings.identity {
            None => (builder.with_no_client_auth(), None),
            Some(identity) => {
                let (chain, key) = pair(identity)?;
                let own = Own {
                    path: identity.cert.path.display().to_string(),
                    validity: chain.first().and_then(|first| validity(first)),
                };
                let client = builder.with_client_auth_cert(chain, key);
                let client = client.map_err(|error| mismatch(identity, &error))?;
                (client, Some(own))
            }
        };
        client.alpn_protocols = vec![b"h2".to_vec()];
        let server_name = settings
            .server_name
            .as_ref()
            .map(|name| ServerName::try_from(name.value.clone()).map_err(|_| no_name(&name.value)));
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            server_name: server_name.transpose()?,
            authorities,
            identity,
        })
    }

    /// Whether we show a certificate.
    pub const fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Until when our own certificate is valid.
    pub fn own_end(&self) -> Option<Timestamp> {
        let (_, not_after) = self.identity.as_ref()?.validity?;
        Some(not_after)
    }

    /// Speaks TLS over a connection, to ask one thing by HTTP/1.1. The caller bounds it.
    pub async fn handshake_for_http_1(
        &self,
        target: &Target,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let mut client = ClientConfig::clone(self.connector.config());
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(client));
        let connecting = connector.connect(self.name_of(target)?, tcp).await;
        connecting.map_err(|error| self.failure(&target.address, &error))
    }

    /// The name that a member's certificate has to be for.
    fn name_of(&self, target: &Target) -> Result<ServerName<'static>, Failure> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(target.host.clone()).map_err(|_| no_name(&target.host)),
        }
    }

    /// Speaks TLS over a connection. The caller bounds it.
    pub async fn handshake(
        &self,
        target: &Target,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let name = self.name_of(target)?;
        let failed = |error: io::Error| self.failure(&target.address, &error);
        let mut stream = self.connector.connect(name, tcp).await.map_err(failed)?;
        let first_bytes = within(clock::now() + FIRST_BYTES, stream.fill_buf()).await;
        match first_bytes.map(|read| read.map(<[u8]>::is_empty)) {
            Some(Err(error)) => Err(failed(error)),
            Some(Ok(true)) => Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Some(Ok(false)) | None => Ok(stream),
        }
    }

    /// What an error of a connection means.
    pub fn failure(&self, address: &str, error: &io::Error) -> Failure {
        match cause(error) {
            Some(cause) => self.explain(address, cause),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Failure::unconnected(
                address,
                "it closed the connection while TLS was agreed upon; if it speaks none, write http:// before it",
            ),
            None => Failure::unconnected(address, &innermost(error)),
        }
    }

    /// What an error of TLS means.
    pub fn explain(&self, address: &str, error: &Error) -> Failure {
        match error {
            Error::InvalidCertificate(why) => self.explain_theirs(address, why),
            Error::AlertReceived(alert) => self.explain_refusal(address, *alert),
            Error::InvalidMessage(_) => Failure::lasting(
                Misconfigured,
                format!("etcd at {address} does not speak TLS; write http:// before it"),
            ),
            other => Failure::lasting(
                Unreachable,
                format!("cannot connect to etcd at {address}: TLS: {other}"),
            ),
        }
    }

    /// We do not accept the server.
    fn explain_theirs(&self, address: &str, why: &CertificateError) -> Failure {
        use CertificateError as Why;
        let theirs = format!("the certificate of etcd at {address}");
        match why {
            // An authority of the same name with another key has not signed either.
            Why::UnknownIssuer | Why::BadSignature => Failure::lasting(
                Misconfigured,
                format!(
                    "{theirs} is not from an authority that {} trusts; give the right one with --cacert",
                    self.authorities
                ),
            ),
            Why::NotValidForNameContext {
                expected,
                presented,
            } => {
                let presented = names(presented);
                let expected = expected.to_str();
                Failure::lasting(
                    Misconfigured,
                    format!(
                        "{theirs} is for {presented}, not for {expected}; use one of its names as the endpoint, or give it with --tls-server-name"
                    ),
                )
            }
            Why::NotValidForName => Failure::lasting(
                Misconfigured,
                format!("{theirs} is for another name; give it with --tls-server-name"),
            ),
            Why::ExpiredContext { not_after, .. } => Failure::lasting(
                Unreachable,
                format!(
                    "{theirs} expired at {}; it has to be renewed",
                    date(*not_after)
                ),
            ),
            Why::NotValidYetContext { not_before, .. } => Failure::lasting(
                Unreachable,
                format!(
                    "{theirs} is not valid before {}; is the clock of this machine right?",
                    date(*not_before)
                ),
            ),
            other => Failure::lasting(
                Misconfigured,
                format!("{theirs} cannot be accepted: {other}"),
            ),
        }
    }

    /// The server does not accept us.
    fn explain_refusal(&self, address: &str, alert: AlertDescription) -> Failure {
        use AlertDescription as Alert;
        let is_of_the_certificate = matches!(
            alert,
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError
        );
        let said = format!("TLS alert {alert:?}");
        match &self.identity {
            _ if !is_of_the_certificate => Failure::lasting(
                Unreachable,
                format!("etcd at {address} refuses the connection ({said})"),
            ),
            None => Failure::lasting(
                Denied,
                format!(
                    "etcd at {address} wants a client certificate; give one with --cert and --key ({said})"
                ),
            ),
            Some(own) => own.explain(address, &said, clock::wall()),
        }
    }
}

impl Own {
    fn explain(&self, address: &str, said: &str, now: Timestamp) -> Failure {
        let path = &self.path;
        match self.validity {
            Some((_, not_after)) if not_after < now => Failure::lasting(
                Misconfigured,
                format!(
                    "the certificate {path} expired at {not_after}, and etcd at {address} refuses it ({said}); renew it"
                ),
            ),
            Some((not_before, _)) if not_before > now => Failure::lasting(
                Misconfigured,
                format!(
                    "the certificate {path} is not valid before {not_before}, and etcd at {address} refuses it ({said}); is the clock of this machine right?"
                ),
            ),
            _ => Failure::lasting(
                Denied,
                format!(
                    "etcd at {address} does not accept the certificate {path} ({said}): is it from an authority that etcd trusts (its --trusted-ca-file), and for clients?"
                ),
            ),
        }
    }
}

/// The error of TLS in a chain of errors.
pub fn cause<'error>(error: &'error (dyn StdError + 'static)) -> Option<&'error Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(found);
        }
        // What an io::Error was made of is not what it says its source is.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn roots_of(file: &config::PemFile) -> Result<RootCertStore, Failure> {
    let unusable = |why: &dyn std::fmt::Display| {
        let path = file.path.display();
        let source = &file.source;
        Failure::misconfigured(format!(
            "the certificate {path} cannot be used: {why} ({source})"
        ))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(file.pem.reveal()) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems have authorities that are no X.509 as it should be; they are nobody's.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})"));
        return Err(Failure::misconfigured(format!(
            "this system trusts no certificate authority{}; give etcd's with --cacert",
            why.unwrap_or_default()
        )));
    }
    Ok(roots)
}

fn pair(
    identity: &config::Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
    let chain = CertificateDer::pem_slice_iter(identity.cert.pem.reveal()).collect();
    let chain: Result<Vec<_>, _> = chain;
    let chain = chain.map_err(|error| {
        let path = identity.cert.path.display();
        Failure::misconfigured(format!("the certificate {path} cannot be used: {error}"))
    })?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.pem.reveal()).map_err(|error| {
        let path = identity.key.path.display();
        Failure::misconfigured(format!("the private key {path} cannot be used: {error}"))
    })?;
    Ok((chain, key))
}

fn mismatch(identity: &config::Identity, error: &Error) -> Failure {
    let cert = identity.cert.path.display();
    let key = identity.key.path.display();
    Failure::misconfigured(match error {
        Error::InconsistentKeys(_) => {
            format!("the private key {key} is not that of the certificate {cert}")
        }
        Error::InvalidCertificate(why) => format!("the certificate {cert} cannot be used: {why}"),
        other => format!("the private key {key} cannot be used: {other}"),
    })
}

fn no_name(name: &str) -> Failure {
    Failure::misconfigured(format!(
        "{name:?} can be in no certificate: it is no host name and no address"
    ))
}

/// The names in a certificate: a handful, and without rustls' own wrapping.
fn names(presented: &[String]) -> String {
    const SHOWN_MAX: usize = 4;
    let name = |text: &String| {
        let inner = text
            .split_once('(')
            .and_then(|(_, rest)| rest.split(')').next());
        inner.unwrap_or(text).trim_matches('"').to_owned()
    };
    let shown: Vec<String> = presented.iter().take(SHOWN_MAX).map(name).collect();
    match (shown.is_empty(), presented.len() > SHOWN_MAX) {
        (true, _) => "no name at all".to_owned(),
        (false, false) => shown.join(", "),
        (false, true) => format!("{} and others", shown.join(", ")),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds)
        .map_or_else(|_| "an impossible time".to_owned(), |time| time.to_string())
}
