//! Certificates and keys: which files, and whether they are what they should be. Nothing here verifies a
//! signature; it tells a wrong file from a wrong certificate before etcd is asked. Pure.

use std::path::{Path, PathBuf};

use crate::config::inherited::{Content, Unresolved};
use crate::config::layers::{Layers, Resolved, Source};
use crate::config::secret::Secret;
use crate::config::setting::{CACERT, CERT, KEY, Setting, TLS_SERVER_NAME};
use crate::outcome::Outcome;

/// A PEM file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// Where it is: absolute.
    pub path: PathBuf,
    /// Who named it.
    pub source: Source,
    /// Its content.
    pub pem: Secret,
}

/// Our own certificate with its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those that lead from it to an authority.
    pub cert: PemFile,
    /// The private key.
    pub key: PemFile,
}

/// What TLS is spoken with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities to trust; none: the system's.
    pub cacert: Option<PemFile>,
    /// Who we are.
    pub identity: Option<Identity>,
    /// The name that the members' certificates have to be for; none: each endpoint's host.
    pub server_name: Option<Resolved<String>>,
}

/// What a PEM file is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Certificates,
    PrivateKey,
}

/// Whether an endpoint without scheme is spoken to with TLS: where files for it are given, as etcdctl does.
pub fn is_wanted(layers: &Layers<'_>) -> bool {
    [&CACERT, &CERT]
        .into_iter()
        .any(|setting| layers.find(setting).is_some())
}

/// Resolves what TLS is spoken with.
///
/// # Errors
/// A file that is not read yet, or what is wrong with it.
pub fn tls(layers: &Layers<'_>) -> Result<Tls, Unresolved> {
    let cacert = pem_file(layers, &CACERT, Purpose::Certificates)?;
    let cert = pem_file(layers, &CERT, Purpose::Certificates)?;
    let key = pem_file(layers, &KEY, Purpose::PrivateKey)?;
    let half = |there: PemFile, missing: &str| {
        let path = there.path.display();
        there.source.refusal(format!(
            "{path} is of no use without {missing}: a certificate and its private key go together"
        ))
    };
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some(Identity { cert, key }),
        (Some(cert), None) => return Err(half(cert, "--key").into()),
        (None, Some(key)) => return Err(half(key, "--cert").into()),
        (None, None) => None,
    };
    let server_name = layers.get(&TLS_SERVER_NAME, |text| {
        TLS_SERVER_NAME.kind.check(text)?;
        Ok(text.to_owned())
    })?;
    Ok(Tls {
        cacert,
        identity,
        server_name,
    })
}

fn pem_file(
    layers: &Layers<'_>,
    setting: &Setting,
    purpose: Purpose,
) -> Result<Option<PemFile>, Unresolved> {
    let Some(found) = layers.find(setting) else {
        return Ok(None);
    };
    let path = found.path(layers.inherited());
    let pem = layers
        .inherited()
        .file(&path)?
        .content()
        .and_then(|content| checked(content, &path, purpose))
        .map_err(|why| {
            let path = path.display();
            let source = &found.source;
            let what = match purpose {
                Purpose::Certificates => "certificate",
                Purpose::PrivateKey => "private key",
            };
            Outcome::Configuration(format!(
                "the {what} {path} cannot be used: {why} ({source})"
            ))
        })?;
    let source = found.source;
    Ok(Some(PemFile { path, source, pem }))
}

fn checked(content: &Content, path: &Path, purpose: Purpose) -> Result<Secret, String> {
    // What is no PEM at all is no secret either, and its sentence says more.
    let text = content
        .text()
        .map_err(|why| format!("it is not PEM: {why}"))?;
    check_pem(text, purpose)?;
    if purpose == Purpose::PrivateKey {
        content.check_secrecy(path)?;
    }
    Ok(Secret::new(text))
}

/// Whether this is PEM (RFC 7468) with what is looked for in it, whole and without a passphrase.
fn check_pem(text: &str, purpose: Purpose) -> Result<(), String> {
    let mut labels = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    for line in text.lines().map(str::trim) {
        match (marker(line, "-----BEGIN "), marker(line, "-----END "), open) {
            (Some(label), _, None) => open = Some((label, 0)),
            (Some(_), _, Some((label, _))) => return Err(cut_off(label)),
            (_, Some(end), Some((label, characters))) if end == label => {
                if characters == 0 {
                    return Err(format!("its {label} is empty"));
                }
                labels.push(label);
                open = None;
            }
            (_, Some(end), _) => return Err(format!("its {end} ends without having begun")),
            (None, None, Some((label, characters))) => {
                if line.contains("ENCRYPTED") {
                    return Err(WITH_PASSPHRASE.to_owned());
                }
                if line.starts_with('-') {
                    return Err(cut_off(label));
                }
                // A header of the old form, as in "DEK-Info: ...".
                let is_header = line.contains(':');
                if !is_header && !line.bytes().all(is_base64) {
                    return Err(format!("its {label} is damaged"));
                }
                open = Some((label, characters + line.len()));
            }
            // Text around the blocks is explanation.
            (None, None, None) => {}
        }
    }
    if let Some((label, _)) = open {
        return Err(cut_off(label));
    }
    check_labels(&labels, purpose)
}

const WITH_PASSPHRASE: &str =
    "it is protected by a passphrase, which leasehold cannot ask for; store it without one";

fn cut_off(label: &str) -> String {
    format!("its {label} is cut off in the middle")
}

fn marker<'line>(line: &'line str, begin: &str) -> Option<&'line str> {
    line.strip_prefix(begin)?.strip_suffix("-----")
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn check_labels(labels: &[&str], purpose: Purpose) -> Result<(), String> {
    let (wanted, what): (fn(&str) -> bool, _) = match purpose {
        Purpose::Certificates => (|label| label == "CERTIFICATE", "certificate"),
        Purpose::PrivateKey => (|label| label.ends_with("PRIVATE KEY"), "private key"),
    };
    if labels.contains(&"ENCRYPTED PRIVATE KEY") && purpose == Purpose::PrivateKey {
        return Err(WITH_PASSPHRASE.to_owned());
    }
    if labels.iter().any(|label| wanted(label)) {
        return Ok(());
    }
    match labels {
        [] => Err(format!("it is not PEM: there is no {what} in it")),
        [label, ..] => Err(format!("there is no {what} in it, but a {label}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(label: &str) -> String {
        format!("-----BEGIN {label}-----\nMIIB+a/0\nAAA=\n-----END {label}-----\n")
    }

    #[test]
    fn pem_of_the_right_kind_is_taken() {
        let certificate = pem("CERTIFICATE");
        let chain = format!("subject=CN = a\n{certificate}\n{certificate}");
        let ec_key = format!("{}{}", pem("EC PARAMETERS"), pem("EC PRIVATE KEY"));
        for (text, purpose) in [
            (certificate.as_str(), Purpose::Certificates),
            (&chain, Purpose::Certificates),
            (&chain.replace('\n', "\r\n"), Purpose::Certificates),
            (&pem("PRIVATE KEY"), Purpose::PrivateKey),
            (&pem("RSA PRIVATE KEY"), Purpose::PrivateKey),
            (&ec_key, Purpose::PrivateKey),
        ] {
            assert_eq!(check_pem(text, purpose), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let certificate = pem("CERTIFICATE");
        let key = pem("PRIVATE KEY");
        let old_encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
        let cases = [
            ("", Purpose::Certificates, "not PEM"),
            ("hello", Purpose::PrivateKey, "not PEM"),
            (&certificate[..40], Purpose::Certificates, "cut off"),
            (
                &format!("{}\n{certificate}", &certificate[..30]),
                Purpose::Certificates,
                "cut off",
            ),
            (
                &certificate.replace("MIIB", "M II\u{1b}"),
                Purpose::Certificates,
                "damaged",
            ),
            (empty, Purpose::Certificates, "empty"),
            (&key, Purpose::Certificates, "but a PRIVATE KEY"),
            (&certificate, Purpose::PrivateKey, "but a CERTIFICATE"),
            (
                &pem("ENCRYPTED PRIVATE KEY"),
                Purpose::PrivateKey,
                "passphrase",
            ),
            (old_encrypted, Purpose::PrivateKey, "passphrase"),
        ];
        for (text, purpose, reason) in cases {
            let why = check_pem(text, purpose).expect_err(text);
            assert!(why.contains(reason), "{text}: {why}");
        }
    }
}
