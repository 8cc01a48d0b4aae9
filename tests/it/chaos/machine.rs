//! The machine: its clock, its cores, its disk, and being frozen as a whole.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{ended_decently, endpoints_of, last_spoke_at, proxies, seconds};
use crate::harness::anatomy::wait_stopped;
use crate::harness::etcd::{Etcd, Member, die_with_this_thread, free_port};
use crate::harness::eventually::{SOON, eventually, let_time_pass_until};
use crate::harness::fault::Fault;
use crate::harness::leasehold::{Run, probe};
use crate::harness::processes::Moment;
use crate::harness::proxy::Proxy;
use crate::harness::untested::missing;
use crate::harness::wall_clock::WallClock;

const TTL_S: u32 = 5;
const TTL: Duration = Duration::from_secs(TTL_S as u64);

const DAY_S: i64 = 86_400;

#[test]
fn the_wall_clock_is_stepped_by_a_day_both_ways() {
    let mut fault = Fault::of("wall clock stepped by a day, forward and back");
    let Some(clock) = WallClock::new() else {
        missing("faketime");
        return fault.skip("needs libfaketime");
    };
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report");
    let holder = clock
        .of(etcd.run("job").ttl(TTL_S).report(&report))
        .shell("date +%s; while read -r line; do date +%s; done")
        .spawn();
    let mut holder = holder;
    holder.expect_stdout("\n");
    let waiter = clock
        .of(etcd.run("job").ttl(TTL_S).shell("echo ran"))
        .spawn();
    waiter.expect_stderr("waiting");
    for (number, step) in [DAY_S, -DAY_S].into_iter().enumerate() {
        clock.step(step);
        holder.type_line("now");
        eventually("it tells the time", SOON, || {
            let lines = holder.expect_stdout("\n").lines().count();
            if lines == number + 2 {
                Ok(())
            } else {
                Err(lines)
            }
        });
        let_time_pass_until(Moment::now() + TTL + TTL / 2);
    }
    let holder = holder.wait();
    holder.assert_status(0);
    let times: Vec<i64> = holder
        .stdout
        .lines()
        .map(|line| line.parse().expect("seconds"))
        .collect();
    let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((DAY_S..DAY_S + 60).contains(&steps[0]), "{steps:?}");
    assert!(
        (-2 * DAY_S..60 - 2 * DAY_S).contains(&steps[1]),
        "{steps:?}"
    );
    fault.injected(format!(
        "date(1) under the lock went {:+} s, then {:+} s; 1.5 TTL after each",
        steps[0], steps[1]
    ));
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(0).assert_stdout("ran\n");
    ended_decently([&holder, &waiter]);
    let text = std::fs::read_to_string(&report).expect("a report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let held_ms = report["held_ms"].as_u64().expect("a number");
    let lasted = holder.duration().as_millis() as u64;
    assert!(
        held_ms <= lasted && held_ms + 3000 > lasted,
        "{held_ms} of {lasted} ms"
    );
    etcd.store().assert_clean();
    fault.seen(format!(
        "holder and waiter ended with 0; the report says that the lock was held for {:.1} s of {}",
        held_ms as f64 / 1000.0,
        seconds(holder.duration())
    ));
}

/// Processes that compute and never wait: more than there are cores.
struct Load(Vec<Child>);

impl Load {
    fn start(per_core: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let spin = |_| {
            let mut command = Command::new("sh");
            command
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null());
            die_with_this_thread(&mut command);
            command.spawn().expect("a shell")
        };
        Self((0..cores * per_core).map(spin).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ticks of all cores since boot: idle, and in all (proc(5)).
fn cpu_ticks() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/stat").expect("proc(5)");
    let first = text.lines().next().expect("a line");
    let ticks: Vec<u64> = first
        .split_ascii_whitespace()
        .skip(1)
        .map(|tick| tick.parse().expect("a number"))
        .collect();
    (ticks[3] + ticks[4], ticks[..8].iter().sum())
}

#[test]
fn all_cores_are_busy() {
    let mut fault = Fault::of("all cores saturated");
    let etcd = Etcd::start();
    let (idle_before, all_before) = cpu_ticks();
    let load = Load::start(4);
    let holder = etcd.run("job").ttl(TTL_S).shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").ttl(TTL_S).shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    let_time_pass_until(Moment::now() + TTL * 2);
    let holder = holder.wait();
    holder.assert_status(0);
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(0).assert_stdout("ran\n");
    // And what has to die in time does.
    let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
    let lost = Run::new(&proxy.endpoint())
        .lock("job")
        .ttl(TTL_S)
        .arguments(["--lock-delay", "0"])
        .probe(["tree", "wide:30"])
        .spawn();
    lost.expect_stdout("ready");
    let tree = lost.command_processes();
    let expires_at = proxy.wait_for_quiet_after_next_burst(TTL) + TTL;
    proxy.blackhole();
    for process in &tree {
        process.wait_dead(expires_at.since(Moment::now()));
    }
    let spare = expires_at.since(Moment::now());
    let lost = lost.wait_within(SOON);
    lost.assert_status(79).assert_nobody_left();
    let (idle_after, all_after) = cpu_ticks();
    drop(load);
    proxy.mend();
    ended_decently([&holder, &waiter, &lost]);
    let idle = 100.0 * (idle_after - idle_before) as f64 / (all_after - all_before) as f64;
    assert!(idle < 5.0, "{idle} % idle");
    fault.injected(format!(
        "four spinning processes for each core: {idle:.1} % idle"
    ));
    fault.seen(format!(
        "held for two TTL and ended with 0, the waiter ran; with etcd cut off, a tree of 31 was dead {} before its lease \
         could expire",
        seconds(spare)
    ));
}

/// When a command that ticks was alive; the last line may be torn by its kill.
fn ticks(file: &Path) -> Vec<Moment> {
    let text = std::fs::read_to_string(file).expect("written");
    let (whole, _) = text.rsplit_once('\n').expect("it has ticked");
    whole.lines().map(Moment::parse).collect()
}

/// A disk that takes its time: every fsync of a member is held up by strace.
struct SlowDisk(Child);

impl SlowDisk {
    fn of(member: &Member, delay: Duration) -> Option<Self> {
        let inject = format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
        let mut command = Command::new("strace");
        command
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=fsync,fdatasync",
                "-e",
                &inject,
            ])
            .args(["-p", &member.pid().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        die_with_this_thread(&mut command);
        let mut child = command.spawn().ok()?;
        let pid = member.pid();
        // All its threads have a tracer, or strace may not trace here and has ended.
        eventually("etcd is traced", SOON, || {
            if child.try_wait().expect("our own child").is_some() {
                return Ok(false);
            }
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            match status.contains(&format!("TracerPid:\t{}", child.id())) {
                true => Ok(true),
                false => Err("not yet"),
            }
        })
        .then_some(Self(child))
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_fsync_is_slow() {
    const DELAY: Duration = Duration::from_millis(300);
    let mut fault = Fault::of("slow fsync");
    let etcd = Etcd::start();
    let figures = || {
        let of =
            |what: &str| etcd.metric(&format!("etcd_disk_wal_fsync_duration_seconds_{what}"), "");
        (of("sum"), of("count"))
    };
    let before = figures();
    let Some(slow) = SlowDisk::of(&etcd.members[0], DELAY) else {
        return fault.skip("needs strace and the right to trace");
    };
    let holder = etcd.run("job").ttl(TTL_S).shell("echo ready; cat").spawn();
    holder.expect_stdout("ready");
    let waiter = etcd.run("job").ttl(TTL_S).shell("echo ran").spawn();
    waiter.expect_stderr("waiting");
    let_time_pass_until(Moment::now() + TTL + TTL / 2);
    let holder = holder.wait();
    holder.assert_status(0);
    let waiter = waiter.wait_within(SOON);
    waiter.assert_status(0).assert_stdout("ran\n");
    let alone = etcd.run("job").shell("echo ran").output();
    alone.assert_status(0);
    etcd.store().assert_clean();
    let after = figures();
    drop(slow);
    let (sum, count) = (after.0 - before.0, after.1 - before.1);
    assert!(
        count > 0 && sum as f64 / count as f64 > 0.15,
        "{sum} s in {count} fsyncs"
    );
    ended_decently([&holder, &waiter, &alone]);
    fault.injected(format!("etcd itself counted {sum} s in {count} fsyncs"));
    fault.seen(format!(
        "held for 1.5 TTL and ended with 0, the waiter ran; an uncontended run took {}; nothing left",
        seconds(alone.duration())
    ));
}

#[test]
fn the_leaders_disk_hangs() {
    let mut fault = Fault::of("disk of the leader hangs");
    let etcd = Etcd::start_three();
    let old = etcd.wait_for_leader();
    let proxies = proxies(&etcd);
    let holder = Run::new(&endpoints_of(&proxies))
        .lock("job")
        .ttl(TTL_S)
        .shell("echo ready; cat")
        .spawn();
    holder.expect_stdout("ready");
    let Some(hanging) = SlowDisk::of(&etcd.members[old.index], Duration::from_secs(60)) else {
        return fault.skip("needs strace and the right to trace");
    };
    let hung_at = Moment::now();
    let starting = etcd.run("other").ttl(TTL_S).shell("echo ran").output();
    starting.assert_status(0).assert_stdout("ran\n");
    let new = etcd.wait_for_another_leader(old, &etcd.others(old.index));
    fault.injected(format!(
        "no fsync of the leader of term {} ended any more, another leads in term {}",
        old.term, new.term
    ));
    let_time_pass_until(hung_at + TTL * 2);
    assert!(last_spoke_at(&proxies) > hung_at + TTL, "it renewed");
    let holder = holder.wait();
    holder.assert_status(0);
    drop(hanging);
    ended_decently([&holder, &starting]);
    // What the disk held up arrives now, longer than a TTL after its run: its lease frees the lock, and its mark goes
    // with the next run.
    let store = etcd.store();
    eventually("nothing is left", SOON, || {
        let next = etcd.run("other").ttl(TTL_S).shell("true").output();
        next.assert_status(0);
        let (keys, leases) = (store.keys("/leasehold/"), store.leases());
        match keys.is_empty() && leases.is_empty() {
            true => Ok(()),
            false => Err(format!("keys {keys:?}, leases {leases:x?}")),
        }
    });
    fault.seen(format!(
        "held for two TTL and ended with 0; a run begun meanwhile took {}; nothing left after the next run",
        seconds(starting.duration())
    ));
}

#[test]
fn everything_of_a_run_is_frozen_past_its_ttl_and_resumed() {
    let mut fault = Fault::of("leasehold and its command frozen past the TTL, and resumed");
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ticks");
    let holder = etcd
        .run("job")
        .ttl(TTL_S)
        .arguments(["-q"])
        .shell(&format!(
            "echo $LEASEHOLD_SEQUENCER; exec {} ticks {}",
            probe(),
            file.display()
        ))
        .spawn();
    let said = holder.expect_stdout("ready");
    let sequencer = said.lines().next().expect("said");
    let next = etcd
        .run("job")
        .arguments(["-q"])
        .shell(&format!("{} now; cat", probe()))
        .spawn();
    etcd.store().wait_for_entries("job", 2);
    let all = holder.processes();
    // As a hypervisor or a freezer of cgroups does it: nobody sees the others stop.
    for process in &all {
        process.signal(Signal::SIGSTOP);
    }
    all.iter().for_each(wait_stopped);
    let frozen_at = Moment::now();
    let last = *ticks(&file).last().expect("ticks");
    let began = Moment::parse(next.expect_stdout("\n").lines().next().expect("a line"));
    assert!(
        began > last,
        "the next one began after the first was last alive"
    );
    let resumed_at = Moment::now();
    for process in &all {
        process.signal(Signal::SIGCONT);
    }
    let output = holder.wait_within(SOON);
    output.assert_status(79).assert_nobody_left();
    let late: Vec<Moment> = ticks(&file)
        .into_iter()
        .filter(|tick| *tick > resumed_at)
        .collect();
    let ran_on = late
        .last()
        .map_or(Duration::ZERO, |tick| tick.since(resumed_at));
    assert!(ran_on < Duration::from_millis(500), "{ran_on:?}");
    let check = etcd.leasehold(["fence", "check", sequencer]).output();
    check.assert_status(79);
    next.wait().assert_status(0);
    ended_decently([&output, &check]);
    etcd.store().assert_clean();
    fault.injected(format!(
        "all {} processes of a run stopped for {} with TTL {TTL_S} s, then continued",
        all.len(),
        seconds(resumed_at.since(frozen_at))
    ));
    fault.seen(format!(
        "79; the next holder began {} after the first was stopped; resumed, it was alive for another {} ms, in which only \
         its token, refused by then, keeps it from doing damage",
        seconds(began.since(last)),
        ran_on.as_millis()
    ));
}

#[test]
fn the_network_is_slow_and_narrow() {
    let mut slow = Fault::of("slow network: a round trip takes 400 ms");
    let mut narrow = Fault::of("narrow network: 2,000 bytes a second");
    let etcd = Etcd::start();
    for fault in [&mut slow, &mut narrow] {
        let proxy = Proxy::start(free_port(), etcd.members[0].address()).expect("a free port");
        let run = || Run::new(&proxy.endpoint()).lock("job").ttl(TTL_S * 2);
        let usual = run().shell("echo ran").output();
        usual.assert_status(0);
        let holder = run().shell("echo ready; cat").spawn();
        holder.expect_stdout("ready");
        match fault.name().starts_with("slow") {
            true => proxy.delay(Duration::from_millis(200)),
            false => proxy.throttle(2000),
        }
        let waiter = run()
            .arguments(["--connect-timeout", "30"])
            .shell("echo ran")
            .spawn();
        waiter.expect_stderr("waiting");
        let_time_pass_until(Moment::now() + TTL * 3);
        let holder = holder.wait();
        holder.assert_status(0);
        let waiter = waiter.wait_within(SOON);
        waiter.assert_status(0).assert_stdout("ran\n");
        let troubled = run()
            .arguments(["--connect-timeout", "30"])
            .shell("echo ran")
            .output();
        troubled.assert_status(0);
        assert!(troubled.duration() > usual.duration() * 5, "{troubled:?}");
        ended_decently([&holder, &waiter, &troubled]);
        fault.injected(format!(
            "a whole run took {} in place of {:.0} ms",
            seconds(troubled.duration()),
            usual.duration().as_secs_f64() * 1000.0
        ));
        fault.seen("held for 1.5 TTL and ended with 0, the waiter ran");
    }
    etcd.store().assert_clean();
}
