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

/// What is lost at a client's n-th step: what it says from then on, or what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Request,
    Reply,
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
    /// Bytes a second in each direction of each connection; 0: as many as there are.
    rate: u64,
    /// How often clients have spoken: what one read(2) gives is a step.
    steps: usize,
    stops_at: Option<(usize, Lost)>,
    refusals: usize,
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

    /// A narrow line: so many bytes a second in each direction of each connection.
    pub(crate) fn throttle(&self, bytes_per_second: u64) {
        self.change(|state| state.rate = bytes_per_second);
    }

    /// How many connections were broken as soon as they were made.
    pub(crate) fn refusals(&self) -> usize {
        self.shared.lock().refusals
    }

    /// How often clients have spoken so far.
    pub(crate) fn steps(&self) -> usize {
        self.shared.lock().steps
    }

    /// The line goes dead when a client speaks for the n-th time from now on (the first is 1): before that arrives,
    /// or before its reply does.
    pub(crate) fn stop_at(&self, step: usize, lost: Lost) {
        self.change(|state| state.stops_at = Some((state.steps + step, lost)));
    }

    /// Waits for that.
    pub(crate) fn wait_until_stopped(&self, time: Duration) -> bool {
        let deadline = Moment::now() + time;
        let mut state = self.shared.lock();
        loop {
            if state.has_stopped() {
                return true;
            }
            let left = deadline.since(Moment::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("nobody panics with it");
        }
    }

    /// All is well again. What was swallowed arrives now, as TCP would send it again.
    pub(crate) fn mend(&self) {
        self.change(|state| {
            state.holds_to_server = false;
            state.holds_to_client = false;
            state.is_cut = false;
            state.rate = 0;
            state.stops_at = None;
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
    fn holds(&self, number: usize, way: Way, step: usize) -> bool {
        let held = match way {
            Way::ToServer => self.holds_to_server,
            Way::ToClient => self.holds_to_client,
        };
        let stopped = match (self.stops_at, way) {
            (None, _) => false,
            (Some((at, Lost::Request)), Way::ToServer) => step >= at,
            (Some((at, Lost::Reply)), Way::ToServer) => step > at,
            (Some(_), Way::ToClient) => self.has_stopped(),
        };
        held || stopped || number < self.forgotten
    }

    fn has_stopped(&self) -> bool {
        self.stops_at.is_some_and(|(at, _)| self.steps >= at)
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
        self.steps += 1;
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
        {
            let mut state = self.lock();
            if state.is_cut {
                state.refusals += 1;
                return client.shutdown(Shutdown::Both);
            }
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
            let (delay, step, is_deaf) = {
                let mut state = self.lock();
                if way == Way::ToServer && count > 0 {
                    state.client_speaks(now);
                }
                let is_deaf = state.is_deaf && way == Way::ToServer;
                (state.delay, state.steps, is_deaf)
            };
            self.changed.notify_all();
            let is_early = way == Way::ToServer && now < connection.established_at;
            let connecting = if is_early { delay * 2 } else { Duration::ZERO };
            last_due_at = last_due_at.max(now + connecting + delay);
            if !is_deaf {
                line.push(Parcel {
                    due_at: last_due_at,
                    bytes: buffer[..count].to_vec(),
                    step,
                });
            }
            if count == 0 {
                return;
            }
        }
    }

    fn deliver(&self, number: usize, way: Way, line: &Line, mut to: TcpStream) {
        loop {
            let Parcel {
                due_at,
                bytes,
                step,
            } = line.pop();
            thread::sleep(due_at.since(Moment::now()));
            let mut state = self.lock();
            while state.holds(number, way, step) && !state.is_over && !state.is_cut {
                state = self.changed.wait(state).expect("nobody panics with it");
            }
            let rate = state.rate;
            drop(state);
            if let Some(nanos) = (bytes.len() as u64 * 1_000_000_000).checked_div(rate) {
                thread::sleep(Duration::from_nanos(nanos));
            }
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

/// What is on its way in one direction of one connection.
#[derive(Default)]
struct Line {
    queue: Mutex<VecDeque<Parcel>>,
    changed: Condvar,
}

/// What one read(2) gave; no bytes mean the end.
struct Parcel {
    due_at: Moment,
    bytes: Vec<u8>,
    /// How often clients had spoken by then, this time included.
    step: usize,
}

impl Line {
    fn push(&self, parcel: Parcel) {
        let mut queue = self.queue.lock().expect("nobody panics with it");
        queue.push_back(parcel);
        self.changed.notify_one();
    }

    fn pop(&self) -> Parcel {
        let mut queue = self.queue.lock().expect("nobody panics with it");
        loop {
            if let Some(next) = queue.pop_front() {
                return next;
            }
            queue = self.changed.wait(queue).expect("nobody panics with it");
        }
    }
}
