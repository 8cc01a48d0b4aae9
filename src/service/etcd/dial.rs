//! A connection to one endpoint, up to where HTTP/2 begins: name, address, TLS.
//!
//! It is made here and not by tonic: what was wrong is known by its type and not from the bottom of a chain of
//! errors, every step ends in time, and nothing is connected anew behind our back, where another cluster could
//! answer.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::deadline::reached;
use super::race::Race;
use super::tls::Tls;
use super::trouble::{Failure, innermost};
use crate::clock;

/// How long one address of a name is the only one that is tried: then the next one is too (RFC 8305).
const ADDRESS_STAGGER: Duration = Duration::from_millis(250);

/// How often all addresses are tried at the most. A first packet that is lost is sent again by the kernel after a whole
/// second (RFC 6298, 2.1), which is most of the time that a renewal has: where a network comes and goes once a second,
/// each attempt would meet it gone. So it is not waited for, until the kernel's own second packet is due.
const ROUNDS: usize = 4;

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

/// The addresses of a name. getaddrinfo(3) waits, so it gets a thread, which goes on by itself if nobody waits for it
/// any more. Not tokio's: it panics where no thread can be made (`ulimit -u`, `pids.max`), and a panic would
/// cost the command its lock.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    let (found, addresses) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        let addresses = (host.as_str(), port).to_socket_addrs();
        // An error means that nobody waits for it any more.
        let _ = found.send(addresses.map(Iterator::collect));
    })?;
    addresses
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the resolver gave no answer")))
}

/// Connects. The caller bounds it.
pub async fn dial(target: &Target, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Failure> {
    let tcp = dial_tcp(target).await?;
    match tls {
        None => Ok(Box::new(tcp)),
        Some(tls) => Ok(Box::new(tls.handshake(target, tcp).await?)),
    }
}

/// The same as far as TLS, if any, begins.
pub async fn dial_tcp(target: &Target) -> Result<TcpStream, Failure> {
    let address = &target.address;
    let addresses = resolve(&target.host, target.port).await;
    let addresses = addresses.map_err(|error| {
        let why = innermost(&error);
        Failure::unconnected(
            address,
            &format!("the name {} has no address: {why}", target.host),
        )
    })?;
    let connected = connect(addresses).await;
    let tcp = connected.map_err(|error| Failure::unconnected(address, &innermost(&error)))?;
    // Requests are small and somebody waits for each.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

/// The first of these addresses that accepts.
async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut due = VecDeque::from(addresses.repeat(ROUNDS));
    let mut race = Race::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match due.pop_front() {
            Some(address) => {
                race.enter(async move { (address, TcpStream::connect(address).await) });
            }
            None if race.is_empty() => return Err(last),
            None => {}
        }
        let next_at = clock::now() + ADDRESS_STAGGER;
        tokio::select! {
            biased;
            (address, result) = race.next() => match result {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    last = error;
                    // It would say so again.
                    due.retain(|other| *other != address);
                }
            },
            () = reached(next_at), if !due.is_empty() => {}
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
