//! A connection to one endpoint, up to where HTTP/2 begins: name, address, TLS.
//!
//! It is made here and not by tonic: what was wrong is known by its type and not from the bottom of a chain of
//! errors, every step ends in time, and nothing is connected anew behind our back, where another cluster could
//! answer.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

use super::deadline::reached;
use super::race::Race;
use super::tls::Tls;
use super::trouble::{Failure, innermost};
use crate::clock;

/// How long one address of a name is the only one that is tried: then the next one is too (RFC 8305).
const ADDRESS_STAGGER: Duration = Duration::from_millis(250);

/// An endpoint, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How it is named to people, and in the requests to it: `host:port`.
    pub address: String,
    /// The name or address; that of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    /// The target in `host:port`.
    pub fn parse(address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            address: address.to_owned(),
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

/// Bytes there and back.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection was asked for a second time.
#[derive(Debug)]
pub struct ConnectionOver;

impl fmt::Display for ConnectionOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the connection was closed")
    }
}

impl std::error::Error for ConnectionOver {}

/// Connects. The caller bounds it.
pub async fn dial(target: &Target, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Failure> {
    let address = &target.address;
    let addresses = lookup_host((target.host.as_str(), target.port)).await;
    let addresses = addresses.map_err(|error| {
        let why = innermost(&error);
        Failure::unconnected(
            address,
            &format!("the name {} has no address: {why}", target.host),
        )
    })?;
    let connected = connect(addresses.collect()).await;
    let tcp = connected.map_err(|error| Failure::unconnected(address, &innermost(&error)))?;
    // Requests are small and somebody waits for each.
    let _ = tcp.set_nodelay(true);
    match tls {
        None => Ok(Box::new(tcp)),
        Some(tls) => Ok(Box::new(tls.handshake(target, tcp).await?)),
    }
}

/// The first of these addresses that accepts.
async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut untried = addresses.into_iter();
    let mut race = Race::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match untried.next() {
            Some(address) => race.enter(TcpStream::connect(address)),
            None if race.is_empty() => return Err(last),
            None => {}
        }
        let next_at = clock::now() + ADDRESS_STAGGER;
        tokio::select! {
            biased;
            result = race.next() => match result {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            },
            () = reached(next_at), if untried.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_taken_apart() {
        let target = |address| Target::parse(address).map(|target| (target.host, target.port));
        assert_eq!(target("etcd1:2379"), Some(("etcd1".to_owned(), 2379)));
        assert_eq!(target("[::1]:2379"), Some(("::1".to_owned(), 2379)));
        assert_eq!(target("etcd1"), None);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_the_next_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let alive = listener
            .and_then(|listener| Ok((listener.local_addr()?, listener)))
            .expect("a port");
        // A closed port, and a documentation address that nobody has (RFC 5737).
        let closed: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let nobody: SocketAddr = "192.0.2.1:9".parse().expect("an address");
        for dead in [closed, nobody] {
            let connected = connect(vec![dead, alive.0]).await.expect("connected");
            assert_eq!(connected.peer_addr().expect("connected"), alive.0);
        }
        assert!(connect(vec![closed]).await.is_err());
        assert!(connect(Vec::new()).await.is_err());
    }
}
