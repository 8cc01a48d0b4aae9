//! When a certificate of our own is valid: the one fact that explains most refusals of it. Pure.
//!
//! Only what has to be stepped over to get there is understood (RFC 5280, section 4.1).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`: the version, which is there in every certificate but the oldest.
const VERSION: u8 = 0xa0;

/// From when to when a certificate in DER is valid; nothing where that cannot be read.
pub fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (SEQUENCE, certificate, _) = element(der)? else {
        return None;
    };
    let (SEQUENCE, mut fields, _) = element(certificate)? else {
        return None;
    };
    if let (VERSION, _, rest) = element(fields)? {
        fields = rest;
    }
    // The serial number, the algorithm of the signature, the issuer.
    for _ in 0..3 {
        (_, _, fields) = element(fields)?;
    }
    let (SEQUENCE, validity, _) = element(fields)? else {
        return None;
    };
    let (kind, not_before, rest) = element(validity)?;
    let not_before = time(kind, not_before)?;
    let (kind, not_after, _) = element(rest)?;
    Some((not_before, time(kind, not_after)?))
}

/// The first element: its tag, its content, and what follows it (X.690, section 8.1).
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |length, byte| (length << 8) | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn time(kind: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let text = match kind {
        // Two digits of the year: from 1950 to 2049.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i8>().ok();
    let date = DateTime::new(
        text.get(..4)?.parse().ok()?,
        number(4, 6)?,
        number(6, 8)?,
        number(8, 10)?,
        number(10, 12)?,
        number(12, 14)?,
        0,
    );
    let utc = TimeZone::UTC.to_timestamp(date.ok()?);
    utc.ok().filter(|_| text.ends_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validity_of_a_certificate_is_read() {
        let key = rcgen::KeyPair::generate().expect("a key");
        for (from, to, read) in [
            ((2020, 1, 2), (2049, 12, 31), "2020-01-02T00:00:00Z"),
            ((1975, 1, 1), (2051, 1, 1), "1975-01-01T00:00:00Z"),
        ] {
            let mut wanted = rcgen::CertificateParams::new(["a".to_owned()]).expect("a name");
            wanted.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            wanted.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
            let certificate = wanted.self_signed(&key).expect("signed");
            let (not_before, not_after) = validity(certificate.der()).expect("readable");
            assert_eq!(not_before.to_string(), read);
            let end = format!("{:04}-{:02}-{:02}T00:00:00Z", to.0, to.1, to.2);
            assert_eq!(not_after.to_string(), end);
            for cut in 0..certificate.der().len() {
                let _ = validity(&certificate.der()[..cut]);
            }
        }
        assert_eq!(validity(b""), None);
        assert_eq!(validity(b"hello"), None);
    }
}
