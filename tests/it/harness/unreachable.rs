//! An address at which connections are swallowed, as a firewall does it, or the network before a host that is gone.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// It lasts as long as this.
pub struct Unreachable {
    /// Where nobody answers, not even that nobody is there.
    pub address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Unreachable {
    /// Connections that nobody accepts, until the kernel drops further ones without a word.
    pub fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("ours");
        // SAFETY: listen(2) on an open socket changes nothing but the length of its queue.
        let result = unsafe { libc::listen(listener.as_raw_fd(), 0) };
        assert_eq!(result, 0);
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
        let waiting = std::iter::from_fn(|| connect().ok()).take(8).collect();
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}
