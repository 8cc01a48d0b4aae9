//! Certificates, made by the test that needs them: of an authority of its own, good and bad.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// An authority, and a folder for what it signs.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate with its private key: two files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
pub(crate) enum Valid {
    Now,
    /// For a few days more.
    NotMuchLonger,
    NotAnyMore,
    NotYet,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the authority of a test");
        let key = KeyPair::generate().expect("a key");
        let authority = Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("signed"),
            folder: TempDir::with_prefix("leasehold-tls-").expect("a temporary folder"),
        };
        fs::write(authority.path(), authority.issuer.pem()).expect("written");
        authority
    }

    /// Its certificate: for `--cacert`.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate of a server that listens at this address.
    pub(crate) fn server(&self, address: IpAddr, valid: Valid) -> Pair {
        self.server_named(&[&address.to_string(), "localhost"], valid)
    }

    /// A certificate of a server with these names.
    pub(crate) fn server_named(&self, names: &[&str], valid: Valid) -> Pair {
        self.sign(names, "etcd", ExtendedKeyUsagePurpose::ServerAuth, valid)
    }

    /// A certificate of a client; the name is that of a user of etcd, where etcd asks for one.
    pub(crate) fn client(&self, name: &str, valid: Valid) -> Pair {
        self.sign(&[], name, ExtendedKeyUsagePurpose::ClientAuth, valid)
    }

    fn sign(
        &self,
        names: &[&str],
        common_name: &str,
        purpose: ExtendedKeyUsagePurpose,
        valid: Valid,
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![purpose];
        let day = |text: &str| -> jiff::civil::Date { text.parse().expect("a day") };
        let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
        let (from, to) = match valid {
            Valid::Now => (day("2020-01-01"), day("2100-01-01")),
            Valid::NotMuchLonger => (
                day("2020-01-01"),
                today.date().saturating_add(jiff::Span::new().days(5)),
            ),
            Valid::NotAnyMore => (day("2020-01-01"), day("2021-01-01")),
            Valid::NotYet => (day("2099-01-01"), day("2100-01-01")),
        };
        let at = |day: jiff::civil::Date| {
            let (month, of_month) = (day.month().cast_unsigned(), day.day().cast_unsigned());
            date_time_ymd(i32::from(day.year()), month, of_month)
        };
        params.not_before = at(from);
        params.not_after = at(to);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("signed");
        let folder = TempDir::with_prefix_in("pair-", self.folder.path());
        let folder = folder.expect("a temporary folder").keep();
        let pair = Pair {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        fs::write(&pair.cert, cert.pem()).expect("written");
        fs::write(&pair.key, key.serialize_pem()).expect("written");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&pair.key, private).expect("ours");
        pair
    }
}
