//! All of it at random: contenders count under one lock while a nemesis does one thing after the other to etcd, to the
//! network and to them.
//!
//! Register A is written blindly, register B only through `fence put`. A command that is dead can still have a write on
//! its way (here: swallowed by the network, and delivered when that is mended); only B refuses it.
//!
//! The nemesis does one thing at a time and lets everything come to rest in between: two at once (all members silent
//! *and* the lease revoked by hand) is more than the lock alone promises.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{ended_decently, endpoints_of, proxies, seconds};
use crate::harness::anatomy::name;
use crate::harness::etcd::Etcd;
use crate::harness::eventually::let_time_pass_until;
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Output, Run, binary, probe};
use crate::harness::processes::{Moment, Process, with_environment};
use crate::harness::proxy::{Proxy, Way};
use crate::harness::store::Store;

const MINUTES_VARIABLE: &str = "LEASEHOLD_TEST_SOAK_MINUTES";
const SEED_VARIABLE: &str = "LEASEHOLD_TEST_SEED";

/// Enough for every kind of trouble, and little enough for every change.
const USUAL: Duration = Duration::from_secs(60);

const CONTENDERS: usize = 6;
/// Each with a network of its own.
const HOSTS: usize = 2;
const TTL_S: u32 = 4;
const LOCK: &str = "register";

#[test]
fn contenders_count_under_a_random_nemesis() {
    let mut fault = Fault::of("a random nemesis against contenders who count");
    let (time, seed) = asked_for();
    let mut etcd = Etcd::start_three();
    let hosts = [proxies(&etcd), proxies(&etcd)];
    let site = Site::new(hosts.each_ref().map(|proxies| endpoints_of(proxies)));
    let until = Moment::now() + time;
    let tally = thread::scope(|scope| {
        for contender in 0..CONTENDERS {
            let site = &site;
            scope.spawn(move || {
                // One that fails ends the others too.
                let _end = EndOnDrop(&site.is_over);
                site.contend(contender % HOSTS);
            });
        }
        // Whatever becomes of the nemesis, the contenders end.
        let _end = EndOnDrop(&site.is_over);
        let mut nemesis = Nemesis {
            random: Random::new(seed),
            etcd: &mut etcd,
            hosts: &hosts,
            site: &site,
            tally: BTreeMap::new(),
        };
        while Moment::now() < until && !site.is_over.load(Ordering::Relaxed) {
            nemesis.strike();
        }
        nemesis.tally
    });
    let store = etcd.store();
    // Marks of holders that vanished are removed by the next one.
    let last = etcd.run(LOCK).ttl(TTL_S).shell("true").output();
    last.assert_status(0);
    let left = left_over(&store);
    let a = Register::read(&store, "/count/a");
    let b = Register::read(&store, "/count/b");
    let holds = site.holds();
    let troubles: Vec<String> = tally
        .iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    let endings = site.endings();
    fault.injected(format!(
        "{} against {CONTENDERS} contenders for {} (seed {seed})",
        troubles.join(", "),
        seconds(time)
    ));
    eprintln!("endings: {endings:?}");
    eprintln!("A: {a:?}, B: {b:?}, {} acquisitions", holds.len());
    assert_eq!(overlaps(&holds), Vec::<String>::new(), "overlaps");
    assert_eq!(
        disorders(&holds),
        Vec::<String>::new(),
        "tokens out of order"
    );
    assert_eq!(left, "", "left over");
    assert_eq!(b.lost, 0, "B loses nothing: {b:?}");
    let acknowledged = site.acknowledged.load(Ordering::Relaxed);
    assert!(b.last >= acknowledged, "{b:?}, {acknowledged} acknowledged");
    let outlived = holds.iter().filter(|hold| hold.is_outlived).count();
    assert!(outlived > holds.len() / 2, "{outlived} of {}", holds.len());
    let least = time.as_secs() / 6;
    assert!(holds.len() as u64 > least, "{} acquisitions", holds.len());
    assert!(acknowledged as u64 > least, "{acknowledged} acknowledged");
    fault.seen(format!(
        "{} acquisitions, 0 overlaps, 0 tokens out of order, 0 keys and leases left over; lost updates: A {} of {}, B 0 of {}; \
         statuses {endings:?}",
        holds.len(),
        a.lost,
        a.writes,
        b.writes,
    ));
}

/// For how long, and with which seed.
fn asked_for() -> (Duration, u64) {
    let time = std::env::var(MINUTES_VARIABLE).map_or(USUAL, |minutes| {
        Duration::from_secs_f64(minutes.parse::<f64>().expect("a number") * 60.0)
    });
    let chance = || {
        Moment::now()
            .since(Moment::parse("0"))
            .subsec_nanos()
            .into()
    };
    let seed = std::env::var(SEED_VARIABLE)
        .map_or_else(|_| chance(), |seed| seed.parse().expect("a number"));
    let minutes = time.as_secs_f64() / 60.0;
    eprintln!("{SEED_VARIABLE}={seed} {MINUTES_VARIABLE}={minutes}");
    (time, seed)
}

/// What contenders share.
struct Site {
    /// As they are seen from each host.
    endpoints: [String; HOSTS],
    folder: tempfile::TempDir,
    is_over: AtomicBool,
    next: AtomicUsize,
    acknowledged: AtomicUsize,
    endings: Mutex<BTreeMap<String, usize>>,
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One command under the lock.
#[derive(Debug)]
struct Hold {
    token: i64,
    began: Moment,
    /// The last of its tree: it leaves a process behind that has made itself a session of its own.
    last_alive: Moment,
    /// What it leaves behind was alive when its command had ended.
    is_outlived: bool,
}

impl Site {
    fn new(endpoints: [String; HOSTS]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("holds")).expect("ours");
        Self {
            endpoints,
            folder,
            is_over: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            endings: Mutex::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes the lock again and again.
    fn contend(&self, host: usize) {
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let output = self.count(number, &self.endpoints[host]);
            ended_decently([&output]);
            self.acknowledged.fetch_add(
                output.stdout.matches("written\n").count(),
                Ordering::Relaxed,
            );
            let ending = output.status.to_string();
            *self
                .endings
                .lock()
                .expect("no panic")
                .entry(ending)
                .or_default() += 1;
        }
    }

    /// One more in A, and one more in B: each read, thought about, and written.
    fn count(&self, number: usize, endpoints: &str) -> Output {
        let etcdctl = "etcdctl --command-timeout 20s --dial-timeout 20s";
        let script = format!(
            "exec 2>>{log}; ulimit -d unlimited
             a=$({etcdctl} get --print-value-only /count/a) && b=$({etcdctl} get --print-value-only /count/b) || exit 1
             sleep 0.1
             {etcdctl} put /count/a $((a + 1)) >&2
             {leasehold} fence put --connect-timeout 3 /count/b $((b + 1)) && echo written",
            log = self.path("log").display(),
            leasehold = binary(),
        );
        let ticks = format!(
            "{}/$LEASEHOLD_TOKEN",
            self.folder.path().join("holds").display()
        );
        let holding = format!("exec {} hold {ticks} '{script}'", probe());
        Run::new(endpoints)
            .lock(LOCK)
            .ttl(TTL_S)
            .arguments(["-q", "-k", "0.5", "-w", "20", "--connect-timeout", "5"])
            .arguments(["--on-leftover", "kill"])
            .variable("ETCDCTL_API", "3")
            .variable("ETCDCTL_ENDPOINTS", endpoints)
            .variable("SOAK", &format!("{}-{number}", std::process::id()))
            .shell(&holding)
            .output()
    }

    /// All that ever held the lock, in the order in which they began.
    fn holds(&self) -> Vec<Hold> {
        let files = std::fs::read_dir(self.path("holds")).expect("ours");
        let mut holds: Vec<Hold> = files
            .flatten()
            .filter_map(|file| Hold::read(&file.path()))
            .collect();
        holds.sort_by_key(|hold| hold.began);
        holds
    }

    fn endings(&self) -> BTreeMap<String, usize> {
        self.endings.lock().expect("no panic").clone()
    }
}

impl Hold {
    /// Nothing where it was killed before it had begun.
    fn read(path: &Path) -> Option<Self> {
        let token = path.file_name()?.to_str()?.parse().expect("a token");
        let text = std::fs::read_to_string(path).expect("ours");
        let mut moments = text.split_ascii_whitespace().map(Moment::parse);
        let (began, root) = (moments.next()?, moments.next()?);
        let left_behind = moments.next();
        Some(Self {
            token,
            began,
            last_alive: left_behind.map_or(root, |at| at.max(root)),
            is_outlived: left_behind.is_some_and(|at| at > root),
        })
    }
}

fn overlaps(holds: &[Hold]) -> Vec<String> {
    let pairs = holds
        .windows(2)
        .filter(|pair| pair[0].last_alive >= pair[1].began);
    pairs.map(|pair| format!("{pair:?}")).collect()
}

fn disorders(holds: &[Hold]) -> Vec<String> {
    let pairs = holds
        .windows(2)
        .filter(|pair| pair[0].token >= pair[1].token);
    pairs.map(|pair| format!("{pair:?}")).collect()
}

/// A counter that everybody increments by one.
#[derive(Debug)]
struct Register {
    writes: usize,
    last: usize,
    /// Writes that did not make it larger than it ever was: somebody's update is gone.
    lost: usize,
}

impl Register {
    fn read(store: &Store, key: &str) -> Self {
        let versions = store.versions(key);
        let values: Vec<usize> = versions
            .iter()
            .map(|value| String::from_utf8_lossy(value).parse().expect("a number"))
            .collect();
        let mut most = 0;
        let mut lost = 0;
        for value in &values {
            lost += usize::from(*value <= most);
            most = most.max(*value);
        }
        Self {
            writes: values.len(),
            last: values.last().copied().unwrap_or(0),
            lost,
        }
    }
}

/// Keys below the prefix and leases, when everybody has gone: nothing within a TTL and some.
fn left_over(store: &Store) -> String {
    let look = || {
        let keys: Vec<String> = store
            .keys("/leasehold/")
            .into_iter()
            .map(|stored| stored.key)
            .collect();
        let leases = store.leases();
        match keys.is_empty() && leases.is_empty() {
            true => String::new(),
            false => format!("keys {keys:?}, leases {leases:x?}"),
        }
    };
    let until = Moment::now() + Duration::from_secs(u64::from(TTL_S) + 2);
    loop {
        let left = look();
        if left.is_empty() || Moment::now() > until {
            return left;
        }
        let_time_pass_until(Moment::now() + Duration::from_millis(100));
    }
}

/// Who makes trouble.
struct Nemesis<'a> {
    random: Random,
    etcd: &'a mut Etcd,
    hosts: &'a [Vec<Proxy>; HOSTS],
    site: &'a Site,
    tally: BTreeMap<&'static str, usize>,
}

impl Nemesis<'_> {
    /// Does something bad, lets it last, and makes it good again.
    fn strike(&mut self) {
        let lasting = Duration::from_millis(self.random.between(300, 8000));
        let one = self.random.below(3);
        let choice = self.random.below(13);
        let what = match choice {
            0 => self.member_killed(one, lasting),
            1 => self.member_frozen(one, lasting),
            2 => self.leader_frozen(lasting),
            3 => self.all_members_killed(),
            4 => self.network(lasting, "network silent", Proxy::blackhole),
            5 => self.network(lasting, "requests held", |proxy| proxy.hold(Way::ToServer)),
            6 => self.network(lasting, "answers held", |proxy| proxy.hold(Way::ToClient)),
            7 => self.network(lasting, "connections cut", Proxy::cut),
            8 => self.network(Duration::ZERO, "connections forgotten", Proxy::forget),
            9 => self.network(lasting, "network slow", |proxy| {
                proxy.delay(Duration::from_millis(50))
            }),
            10 => self.lease_revoked(),
            11 => self.process_killed(),
            _ => self.process_frozen(lasting),
        };
        eprintln!("{what} for {}", seconds(lasting));
        *self.tally.entry(what).or_default() += 1;
        let rest = self.random.between(500, 2500);
        let_time_pass_until(Moment::now() + Duration::from_millis(rest));
    }

    fn member_killed(&mut self, index: usize, lasting: Duration) -> &'static str {
        self.etcd.members[index].stop();
        let_time_pass_until(Moment::now() + lasting);
        self.etcd.members[index].restart();
        "member killed"
    }

    fn member_frozen(&mut self, index: usize, lasting: Duration) -> &'static str {
        self.etcd.members[index].pause();
        let_time_pass_until(Moment::now() + lasting);
        self.etcd.members[index].resume();
        "member frozen"
    }

    /// For longer than the TTL: resumed, it may revoke what lives.
    fn leader_frozen(&mut self, lasting: Duration) -> &'static str {
        let leader = self.etcd.wait_for_leader();
        let long = Duration::from_secs(u64::from(TTL_S)) + lasting / 2;
        self.member_frozen(leader.index, long);
        "leader frozen past the TTL"
    }

    fn all_members_killed(&mut self) -> &'static str {
        self.etcd.stop_all();
        self.etcd.restart_all();
        "all members killed"
    }

    fn network(
        &mut self,
        lasting: Duration,
        what: &'static str,
        trouble: impl Fn(&Proxy),
    ) -> &'static str {
        // Of one host, or of both.
        let struck = self.random.below(HOSTS + 1);
        let proxies = || {
            let hosts = self.hosts.iter().enumerate();
            hosts
                .filter(move |(host, _)| struck == HOSTS || *host == struck)
                .flat_map(|(_, proxies)| proxies)
        };
        proxies().for_each(trouble);
        let_time_pass_until(Moment::now() + lasting);
        for proxy in proxies() {
            proxy.delay(Duration::ZERO);
            proxy.mend();
        }
        what
    }

    fn lease_revoked(&mut self) -> &'static str {
        let store = self.etcd.store();
        if let Some(holder) = store.entries(LOCK).first() {
            // It may be gone by now; then nothing happens.
            store.try_revoke(holder.lease);
            return "holder's lease revoked";
        }
        NOBODY
    }

    fn process_killed(&mut self) -> &'static str {
        if let Some(victim) = self.one_of_the_holder() {
            victim.signal(Signal::SIGKILL);
            return "process of a holder killed";
        }
        NOBODY
    }

    fn process_frozen(&mut self, lasting: Duration) -> &'static str {
        if let Some(victim) = self.one_of_the_holder() {
            victim.signal(Signal::SIGSTOP);
            let_time_pass_until(Moment::now() + lasting);
            victim.signal(Signal::SIGCONT);
            return "process of a holder frozen";
        }
        NOBODY
    }

    /// One of leasehold's own processes around a command that runs.
    fn one_of_the_holder(&mut self) -> Option<Process> {
        let site = format!("{}-", std::process::id());
        let number = self.site.next.load(Ordering::Relaxed);
        let first = number.saturating_sub(CONTENDERS * 2);
        let mut found: Vec<Process> = (first..number)
            .map(|number| with_environment(&format!("SOAK={site}{number}")))
            .filter(|run| run.iter().any(|process| name(process.pid) == "probe"))
            .flatten()
            .filter(|process| {
                ["leasehold", "lock-witness", "lock-manager"].contains(&name(process.pid).as_str())
            })
            .collect();
        if found.is_empty() {
            return None;
        }
        let index = self.random.below(found.len());
        Some(found.swap_remove(index))
    }
}

/// There was no holder to strike.
const NOBODY: &str = "nothing: nobody held it";

/// xorshift64*: enough to choose trouble by, and a seed that can be printed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // The first numbers of similar seeds are similar.
        for _ in 0..20 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least)
    }
}
