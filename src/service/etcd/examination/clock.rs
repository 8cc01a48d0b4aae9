//! What is seen of an endpoint without gRPC: its certificate, and its clock. etcd's API tells no time, but its HTTP
//! server does, in whole seconds: the Date of the answer to `GET /version` (RFC 9110, section 6.6.1).

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::certificate::validity;
use super::super::deadline::within;
use super::super::dial::{Stream, Target, dial_tcp};
use super::super::member::Member;
use super::super::tls::Tls;
use crate::clock::{self, Instant};
use crate::service::checkup::ClockDifference;

/// More of an answer is not read: the head of a small one.
const HEAD_BYTES_MAX: u64 = 4096;

/// What is seen.
#[derive(Debug, Default)]
pub struct Look {
    pub certificate_ends: Option<Timestamp>,
    pub clock: Option<ClockDifference>,
}

/// Looks, in time. What cannot be seen is not worth a word: gRPC answers, and that counts.
pub async fn look(member: &Member, give_up_at: Instant) -> Look {
    let mut look = Look::default();
    let looking = async {
        let tcp = dial_tcp(member.target()).await.ok()?;
        let (mut stream, ends) = secured(member.target(), member.tls(), tcp).await?;
        look.certificate_ends = ends;
        look.clock = difference(&mut stream, &member.target().address).await;
        Some(())
    };
    within(give_up_at, looking).await;
    look
}

async fn secured(
    target: &Target,
    tls: Option<&Tls>,
    tcp: TcpStream,
) -> Option<(Box<dyn Stream>, Option<Timestamp>)> {
    let Some(tls) = tls else {
        return Some((Box::new(tcp), None));
    };
    let stream = tls.handshake_for_http_1(target, tcp).await.ok()?;
    let certificates = stream.get_ref().1.peer_certificates();
    let first = certificates.and_then(<[_]>::first);
    let ends = first.and_then(|der| validity(der)).map(|(_, end)| end);
    Some((Box::new(stream), ends))
}

async fn difference(stream: &mut Box<dyn Stream>, host: &str) -> Option<ClockDifference> {
    let request = format!("GET /version HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let asked_at = clock::wall();
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    // An end that TLS did not announce is an end.
    let _ = stream.take(HEAD_BYTES_MAX).read_to_end(&mut head).await;
    let date = date_of(&String::from_utf8_lossy(&head))?;
    Some(between(asked_at, clock::wall(), date))
}

/// The time in the head of an answer.
fn date_of(head: &str) -> Option<Timestamp> {
    let lines = head.lines().take_while(|line| !line.is_empty());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, date) = fields.find(|(name, _)| name.eq_ignore_ascii_case("date"))?;
    Some(rfc2822::parse(date.trim()).ok()?.timestamp())
}

/// At some instant between `asked` and `answered`, by our clock, it was `date` there, or up to a second later.
fn between(asked: Timestamp, answered: Timestamp, date: Timestamp) -> ClockDifference {
    ClockDifference {
        least_ms: date.as_millisecond() - answered.as_millisecond(),
        most_ms: date.as_millisecond() + 1000 - asked.as_millisecond(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_found_wherever_it_stands() {
        let head = "HTTP/1.1 200 OK\r\ndate: Fri, 27 Nov 2026 18:36:30 GMT\r\n\r\nDate: never";
        let date: Timestamp = "2026-11-27T18:36:30Z".parse().expect("a time");
        assert_eq!(date_of(head), Some(date));
        for none in [
            "",
            "HTTP/1.1 200 OK\r\n\r\nDate: x",
            "Date: yesterday",
            "\u{0}",
        ] {
            assert_eq!(date_of(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_date_in_whole_seconds_says_no_more_than_it_can() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let date = at("2026-11-27T18:36:30Z");
        let difference = between(
            at("2026-11-27T18:36:30.400Z"),
            at("2026-11-27T18:36:30.410Z"),
            date,
        );
        assert_eq!((difference.least_ms, difference.most_ms), (-410, 600));
    }
}
