//! A network that can be slow, lossy or gone: a TCP proxy in front of one server.
//!
//! Also compiled into the helper program, for the measurements with a round trip of 10 ms.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::processes::Moment;

/// A client that was silent for so long starts something new with its next bytes.
const BURST_GAP: Duration = Duration::from_millis(150);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// The proxy; it ends with its owner.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

/// What is known of one connection.
#[derive(Clone, Copy)]
struct Connection {
    number: usize,
    established_at: Moment,
}

#[derive(Default)]
struct State {
    delay: Duration,
    holds_to_server: bool,
    holds_to_client: bool,
    is_cut: bool,
    is_deaf: bool,
    is_over: bool,
    connections: Vec<TcpStream>,
    /// How many connections were made so far.
    made: usize,
    /// Those made before this many have been forgotten.
    forgotten: usize,
    burst_started_at: Option<Moment>,
    client_spoke_at: Option<Moment>,
}

impl Proxy {
    /// Listens on `address` (port 0: any) for clients of `server`.
    pub(crate) fn start(address: SocketAddr, server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let proxy = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Shared {
                server,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        };
        let shared = Arc::clone(&proxy.shared);
        thread::spawn(move || shared.accept(&listener));
        Ok(proxy)
    }

    /// Where clients connect.
    pub(crate) fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Every byte arrives so much later, in each direction: the round trip takes twice that.
    pub(crate) fn delay(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// The network swallows everything, silently: connections stay open and nothing arrives.
    pub(crate) fn blackhole(&self) {
        self.change(|state| {
            state.holds_to_server = true;
            state.holds_to_client = true;
        });
    }

    /// Half-open: nothing arrives in one direction.
    pub(crate) fn hold(&self, way: Way) {
        self.change(|state| match way {
            Way::ToServer => state.holds_to_server = true,
            Way::ToClient => state.holds_to_client = true,
        });
    }

    /// What clients say from now on is lost, their hanging up too; what they said before and was held will arrive.
    pub(crate) fn deafen(&self) {
        self.change(|state| state.is_deaf = true);
    }

    /// What a router does that lost its table: connections that are open stay open and nothing arrives over
    /// them any more, while new ones work.
    pub(crate) fn forget(&self) {
        self.change(|state| state.forgotten = state.made);
    }

    /// Connections are broken, and new ones as soon as they are made.
    pub(crate) fn cut(&self) {
        self.change(|state| {
            state.is_cut = true;
            state.close_connections();
        });
    }

    /// All is well again. What was swallowed arrives now, as TCP would send it again.
    pub(crate) fn mend(&self) {
        self.change(|state| {
            state.holds_to_server = false;
            state.holds_to_client = false;
            state.is_cut = false;
        });
    }

    /// When the clients began their last conversation: a request that was answered before now was sent
    /// then or earlier.
    pub(crate) fn last_burst_started_at(&self) -> Option<Moment> {
        self.shared.lock().burst_started_at
    }

    /// Waits until the clients have begun another conversation and it has gone quiet again.
    #[track_caller]
    pub(crate) fn wait_for_quiet_after_next_burst(&self, time: Duration) -> Moment {
        let deadline = Moment::now() + time;
        let before = self.last_burst_started_at();
        let mut state = self.shared.lock();
        loop {
            let now = Moment::now();
            assert!(now < deadline, "no new conversation within {time:?}");
            let quiet_at = state.client_spoke_at.map(|spoke_at| spoke_at + BURST_GAP);
            match (state.burst_started_at, quiet_at) {
                (Some(started_at), Some(quiet_at))
                    if state.burst_started_at != before && quiet_at <= now =>
                {
                    return started_at;
                }
                _ => {}
            }
            let next = quiet_at.filter(|at| *at > now).unwrap_or(deadline);
            let pause = next.min(deadline).since(now).max(Duration::from_millis(1));
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, pause)
                .expect("nobody panics with it");
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| {
            state.is_over = true;
            state.close_connections();
        });
        // Wakes the thread in accept(2), which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn holds(&self, number: usize, way: Way) -> bool {
        let held = match way {
            Way::ToServer => self.holds_to_server,
            Way::ToClient => self.holds_to_client,
        };
        held || number < self.forgotten
    }

    fn next_number(&mut self) -> usize {
        self.made += 1;
        self.made - 1
    }

    fn close_connections(&mut self) {
        for connection in self.connections.drain(..) {
            // An error means that it is closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn client_speaks(&mut self, now: Moment) {
        let is_new = self
            .client_spoke_at
            .is_none_or(|spoke_at| now.since(spoke_at) > BURST_GAP);
        if is_new {
            self.burst_started_at = Some(now);
        }
        self.client_spoke_at = Some(now);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().flatten() {
            if self.lock().is_over {
                return;
            }
            // A server that is not there: the client sees its connection closed.
            let _ = Arc::clone(&self).connect(client);
        }
    }

    fn connect(self: Arc<Self>, client: TcpStream) -> io::Result<()> {
        if self.lock().is_cut {
            return client.shutdown(Shutdown::Both);
        }
        let server = TcpStream::connect(self.server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        {
            let mut state = self.lock();
            state.connections.push(client.try_clone()?);
            state.connections.push(server.try_clone()?);
        }
        let mut state = self.lock();
        let connection = Connection {
            number: state.next_number(),
            // Our side of the connection stands at once; over a slow network it would take TCP a round trip.
            established_at: Moment::now() + state.delay * 2,
        };
        drop(state);
        let (client_out, server_out) = (client.try_clone()?, server.try_clone()?);
        let shared = Arc::clone(&self);
        thread::spawn(move || shared.pump(connection, Way::ToServer, client, server_out));
        thread::spawn(move || self.pump(connection, Way::ToClient, server, client_out));
        Ok(())
    }

    /// Reads at once and writes later, so that a delay does not make the line narrower. What the client says before it
    /// could have been connected, it would have said so much later, at the same distances.
    fn pump(self: Arc<Self>, connection: Connection, way: Way, mut from: TcpStream, to: TcpStream) {
        let line = Arc::new(Line::default());
        let (shared, other_end) = (Arc::clone(&self), Arc::clone(&line));
        thread::spawn(move || shared.deliver(connection.number, way, &other_end, to));
        let mut buffer = [0; 64 * 1024];
        let mut last_due_at = connection.established_at;
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            let now = Moment::now();
            if way == Way::ToServer && count > 0 {
                self.lock().client_speaks(now);
                self.changed.notify_all();
            }
            let (delay, is_deaf) = {
                let state = self.lock();
                (state.delay, state.is_deaf && way == Way::ToServer)
            };
            let is_early = way == Way::ToServer && now < connection.established_at;
            let connecting = if is_early { delay * 2 } else { Duration::ZERO };
            last_due_at = last_due_at.max(now + connecting + delay);
            if !is_deaf {
                line.push(last_due_at, buffer[..count].to_vec());
            }
            if count == 0 {
                return;
            }
        }
    }

    fn deliver(&self, number: usize, way: Way, line: &Line, mut to: TcpStream) {
        loop {
            let (due_at, bytes) = line.pop();
            thread::sleep(due_at.since(Moment::now()));
            let mut state = self.lock();
            while state.holds(number, way) && !state.is_over && !state.is_cut {
                state = self.changed.wait(state).expect("nobody panics with it");
            }
            drop(state);
            if bytes.is_empty() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

/// What is on its way in one direction of one connection; no bytes mean the end.
#[derive(Default)]
struct Line {
    queue: Mutex<VecDeque<(Moment, Vec<u8>)>>,
    changed: Condvar,
}

impl Line {
    fn push(&self, due_at: Moment, bytes: Vec<u8>) {
        let mut queue = self.queue.lock().expect("nobody panics with it");
        queue.push_back((due_at, bytes));
        self.changed.notify_one();
    }

    fn pop(&self) -> (Moment, Vec<u8>) {
        let mut queue = self.queue.lock().expect("nobody panics with it");
        loop {
            if let Some(next) = queue.pop_front() {
                return next;
            }
            queue = self.changed.wait(queue).expect("nobody panics with it");
        }
    }
}
