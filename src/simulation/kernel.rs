//! Time and everything that is under way. This is all that the shipped code sees of the simulation: its clock,
//! its timers, its random numbers and its connections come from here while a simulation runs on the thread.
//!
//! - There is one true time, and each host's clock with an offset, a rate, and the time it was suspended.
//! - What is to happen stands in one queue, ordered by the true time and then by when it was scheduled.
//! - Nobody waits for anything but a slot in here, so a host whose slots are not filled is frozen.

use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::Instant;
use crate::simulation::protocol::{Notice, Reply, Request};
use crate::simulation::random::Random;
use crate::simulation::sights::{Sight, Sights};
use crate::simulation::world::Occurrence;

/// The true time, since the world began.
pub type Time = Duration;

thread_local! {
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

/// One host's CLOCK_BOOTTIME.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    pub offset: Duration,
    /// How much faster than true time it runs, in millionths.
    pub rate_ppm: i64,
    /// What it has missed: nothing, unless it stands on CLOCK_MONOTONIC.
    pub missed: Duration,
}

/// Up to here, two weeks, a time multiplied by a rate fits into 64 bits.
const SHORT_NANOS: u64 = 1 << 50;

impl Clock {
    pub fn at(&self, time: Time) -> Instant {
        let nanos = time.saturating_sub(self.missed).as_nanos() as u64;
        let drift = match nanos < SHORT_NANOS {
            true => nanos as i64 * self.rate_ppm / 1_000_000,
            false => (i128::from(nanos) * i128::from(self.rate_ppm) / 1_000_000) as i64,
        };
        let offset = self.offset.as_nanos() as u64;
        Instant::from_nanos(offset.wrapping_add(nanos).wrapping_add_signed(drift))
    }

    /// The first true time at which this clock shows `instant`, if it is not suspended meanwhile.
    pub fn when(&self, instant: Instant) -> Time {
        let offset = self.offset.as_nanos() as u64;
        let drifted = instant.as_nanos().saturating_sub(offset);
        let second = 1_000_000_u64.wrapping_add_signed(self.rate_ppm);
        let nanos = match drifted < SHORT_NANOS {
            true => drifted / second * 1_000_000 + drifted % second * 1_000_000 / second,
            false => (u128::from(drifted) * 1_000_000 / u128::from(second)) as u64,
        };
        let mut time = Duration::from_nanos(nanos) + self.missed;
        while self.at(time) < instant {
            time += Duration::from_nanos(1);
        }
        time
    }
}

struct Scheduled {
    /// When it happens, in nanoseconds, and then which one it is of those that were scheduled.
    order: (u64, u64),
    /// In a box: it is large, and a heap moves its elements.
    what: Box<Occurrence>,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.cmp(&other.order)
    }
}

/// What a host waits for.
#[derive(Default)]
struct Slot {
    waker: Option<Waker>,
    fired: bool,
    reply: Option<Reply>,
    notices: VecDeque<Notice>,
}

/// All of them. A number is never given twice: a slot that is used again has another one.
#[derive(Default)]
struct Slots {
    slots: Vec<(u64, Option<Slot>)>,
    free: Vec<usize>,
    made: u64,
}

/// So many of the bits of a number say where its slot is.
const PLACE_BITS: u32 = 20;

impl Slots {
    fn make(&mut self) -> u64 {
        self.made += 1;
        let place = self.free.pop().unwrap_or(self.slots.len());
        assert!(place < 1 << PLACE_BITS, "too much is waited for");
        let number = self.made << PLACE_BITS | place as u64;
        let slot = (number, Some(Slot::default()));
        match self.slots.get_mut(place) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        number
    }

    const fn place(number: u64) -> usize {
        (number & ((1 << PLACE_BITS) - 1)) as usize
    }

    fn get(&mut self, number: u64) -> Option<&mut Slot> {
        let (known, slot) = self.slots.get_mut(Self::place(number))?;
        slot.as_mut().filter(|_| *known == number)
    }

    fn own(&mut self, number: u64) -> &mut Slot {
        self.get(number).expect("ours")
    }

    fn forget(&mut self, number: u64) -> Option<Slot> {
        let place = Self::place(number);
        let (known, slot) = self.slots.get_mut(place)?;
        let slot = slot.take_if(|_| *known == number)?;
        self.free.push(place);
        Some(slot)
    }
}

pub struct Kernel {
    now: Time,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    clocks: Vec<Clock>,
    /// Whose code runs at the moment.
    host: usize,
    slots: Slots,
    random: Random,
    sights: Sights,
    seed: u64,
    /// How often the clock was looked at since anything happened.
    looks: u64,
    /// How many things have happened at this instant.
    at_once: u64,
    /// Who goes round in circles.
    circle: Option<String>,
    /// Timers fire so much too early.
    early: Duration,
}

/// Whoever looks at the clock so often while nothing happens spins, and nothing else of its process runs. The most that
/// a history needs is some hundreds.
const LOOKS_MAX: u64 = 100_000;

/// So much does not happen at one instant, unless somebody goes round in circles.
const AT_ONCE_MAX: u64 = 100_000;

impl Kernel {
    pub fn install(seed: u64, clocks: Vec<Clock>) {
        let kernel = Self {
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            scheduled: 0,
            clocks,
            host: 0,
            slots: Slots::default(),
            random: Random::new(seed),
            sights: Sights::default(),
            seed,
            looks: 0,
            at_once: 0,
            circle: None,
            early: Duration::ZERO,
        };
        KERNEL.with_borrow_mut(|installed| *installed = Some(kernel));
    }

    pub fn remove() {
        let kernel = KERNEL.take();
        // Dropped outside the borrow.
        drop(kernel);
    }

    /// A history that would never end says so, and which one it is.
    fn goes_round(&mut self) -> &str {
        let (now, host, seed) = (self.now, self.host, self.seed);
        self.circle.get_or_insert_with(|| {
            format!("{now:?}: host {host} goes round in circles: make simulate SEED={seed} RUNS=1")
        })
    }

    fn schedule(&mut self, at: Time, what: Occurrence) {
        self.scheduled += 1;
        let at = at.max(self.now).as_nanos() as u64;
        self.queue.push(Reverse(Scheduled {
            order: (at, self.scheduled),
            what: Box::new(what),
        }));
    }
}

fn with<T>(work: impl FnOnce(&mut Kernel) -> T) -> T {
    KERNEL.with_borrow_mut(|kernel| work(kernel.as_mut().expect("a simulation runs")))
}

fn is_running() -> bool {
    KERNEL.with_borrow(Option::is_some)
}

// For the world.

pub fn time() -> Time {
    with(|kernel| kernel.now)
}

pub fn schedule(at: Time, what: Occurrence) {
    with(|kernel| kernel.schedule(at, what));
}

/// The next thing to happen; the clocks go on to when it does.
pub fn next() -> Option<Box<Occurrence>> {
    with(|kernel| {
        let Reverse(scheduled) = kernel.queue.pop()?;
        let (at, _) = scheduled.order;
        let at = Duration::from_nanos(at);
        kernel.at_once = match at == kernel.now {
            true => kernel.at_once + 1,
            false => 0,
        };
        if kernel.at_once >= AT_ONCE_MAX {
            kernel.goes_round();
        }
        kernel.looks = 0;
        kernel.now = at;
        Some(scheduled.what)
    })
}

/// Who goes round in circles, if somebody does.
pub fn circle() -> Option<String> {
    with(|kernel| kernel.circle.take())
}

/// Lets timers fire so much too early.
pub fn fire_early(early: Duration) {
    with(|kernel| kernel.early = early);
}

/// Notes that this happened.
pub fn saw(sight: Sight) {
    with(|kernel| kernel.sights.see(sight));
}

pub fn sights() -> Sights {
    with(|kernel| kernel.sights.clone())
}

pub fn enter(host: usize) {
    with(|kernel| kernel.host = host);
}

pub fn clock(host: usize) -> Clock {
    with(|kernel| kernel.clocks[host].clone())
}

pub fn miss(host: usize, missed: Duration) {
    with(|kernel| kernel.clocks[host].missed += missed);
}

pub fn host_now(host: usize) -> Instant {
    with(|kernel| kernel.clocks[host].at(kernel.now))
}

/// Whether somebody still waits for that slot; it is filled by `fill`.
fn fill(slot: u64, fill: impl FnOnce(&mut Slot)) -> bool {
    let waker = with(|kernel| {
        let slot = kernel.slots.get(slot)?;
        fill(slot);
        Some(slot.waker.take())
    });
    match waker {
        Some(waker) => {
            waker.inspect(Waker::wake_by_ref);
            true
        }
        None => false,
    }
}

pub fn fire(timer: u64) -> bool {
    fill(timer, |slot| slot.fired = true)
}

pub fn answer(exchange: u64, reply: Reply) -> bool {
    fill(exchange, |slot| slot.reply = Some(reply))
}

pub fn notify(stream: u64, notice: Notice) -> bool {
    fill(stream, |slot| slot.notices.push_back(notice))
}

// For the shipped code.

/// The clock of the host whose code runs; none without a simulation.
pub fn now() -> Option<Instant> {
    is_running().then(|| {
        with(|kernel| {
            kernel.looks += 1;
            // Out of the circle; a task's runtime takes that for the end of the task.
            assert!(kernel.looks < LOOKS_MAX, "{}", kernel.goes_round());
            kernel.clocks[kernel.host].at(kernel.now)
        })
    })
}

/// What the wall clock shows; nothing without a simulation.
pub fn wall() -> Option<jiff::Timestamp> {
    let began = 1_795_330_800;
    is_running().then(|| {
        let seconds = began + with(|kernel| kernel.now.as_secs()) as i64;
        jiff::Timestamp::from_second(seconds).expect("a year that has four digits")
    })
}

/// Random bits for a lease id; none without a simulation.
pub fn random_bits() -> Option<u64> {
    is_running().then(|| with(|kernel| kernel.random.bits()))
}

/// A wait until `instant` on the host's clock; none without a simulation.
pub fn reached(instant: Instant) -> Option<Reached> {
    is_running().then(|| Reached {
        instant,
        host: with(|kernel| kernel.host),
        timer: None,
    })
}

pub struct Reached {
    instant: Instant,
    host: usize,
    timer: Option<u64>,
}

impl Future for Reached {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if host_now(self.host) + with(|kernel| kernel.early) >= self.instant {
            return Poll::Ready(());
        }
        let (host, instant) = (self.host, self.instant);
        let fired = |timer: u64| with(|kernel| kernel.slots.own(timer).fired);
        if self.timer.is_none_or(fired) {
            forget(self.timer);
            self.timer = with(|kernel| {
                let timer = kernel.slots.make();
                let at = kernel.clocks[host].when(instant);
                kernel.schedule(at, Occurrence::Timer { host, timer });
                Some(timer)
            });
        }
        wait_for(self.timer.expect("just made"), context)
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        forget(self.timer);
    }
}

fn wait_for<T>(slot: u64, context: &Context<'_>) -> Poll<T> {
    let waker = context.waker().clone();
    // The old one may be the last that holds its task: dropped outside the borrow.
    let _old = with(|kernel| kernel.slots.own(slot).waker.replace(waker));
    Poll::Pending
}

fn forget(slot: Option<u64>) {
    if let Some(slot) = slot
        && is_running()
    {
        with(|kernel| kernel.slots.forget(slot));
    }
}

/// A request on its way to a member of the cluster, and its answer on the way back.
pub struct Exchange {
    slot: u64,
}

impl Exchange {
    pub fn send(member: usize, request: Request) -> Self {
        with(|kernel| {
            let exchange = kernel.slots.make();
            let host = kernel.host;
            kernel.schedule(
                kernel.now,
                Occurrence::Sent {
                    host,
                    member,
                    exchange,
                    request,
                },
            );
            Self { slot: exchange }
        })
    }
}

impl Future for Exchange {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let reply = with(|kernel| kernel.slots.own(self.slot).reply.take());
        match reply {
            Some(reply) => Poll::Ready(reply),
            None => wait_for(self.slot, context),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        forget(Some(self.slot));
    }
}

/// A stream of watches.
pub struct Stream {
    pub number: u64,
    member: usize,
}

impl Stream {
    pub fn open(member: usize) -> Self {
        let number = with(|kernel| kernel.slots.make());
        Self { number, member }
    }

    pub fn poll_notice(&self, context: &mut Context<'_>) -> Poll<Notice> {
        let notices = |kernel: &mut Kernel| kernel.slots.own(self.number).notices.pop_front();
        match with(notices) {
            Some(notice) => Poll::Ready(notice),
            None => wait_for(self.number, context),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        forget(Some(self.number));
        if is_running() {
            let (member, stream) = (self.member, self.number);
            with(|kernel| {
                kernel.schedule(kernel.now, Occurrence::StreamClosed { member, stream });
            });
        }
    }
}
