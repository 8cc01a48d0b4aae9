//! The helper program that tests run under leasehold. It reports what happens to it, or misbehaves.
//!
//! | command | what it does |
//! |---|---|
//! | `now` | prints nanoseconds since boot |
//! | `hold FILE SCRIPT` | runs SCRIPT by sh, leaves `left-behind FILE` behind, and writes to FILE when each was alive |
//! | `left-behind FILE` | writes to FILE when it was last alive, until it is killed |
//! | `ticks FILE` | prints `ready`, then writes the time to FILE for ever |
//! | `signals` | prints `ready`, then a line for every signal; USR2 ends it |
//! | `own-group COMMAND...` | makes a process group of its own and goes on as another line of this table |
//! | `die SIGNAL` | dies of the signal with this number |
//! | `watch SIGNAL...` | prints `ready`, then a line for each of these; others have their usual effect |
//! | `second-thread` | ends its first thread, prints `ready`, and then the signal TERM, which ends it |
//! | `trace-me` | lets itself be traced by its parent, prints `ready` and sends itself a TERM, which stops it then |
//! | `raw` | makes the terminal raw, ignores TERM, prints `raw` and stays until `q` is typed |
//! | `state` | prints what it inherited: descriptors, masks, limits, ... |
//! | `witness FILE` | appends a line to FILE; fails when another one does at the same time |
//! | `census COOKIE` | prints the living processes of another run's command |
//! | `tree SHAPE` | starts a tree of processes, prints `ready` and stays: see `tree.rs` |
//! | `init COMMAND...` | as PID 1: runs COMMAND, reaps nobody else, prints who is left |
//! | `without CALL COMMAND...` | runs COMMAND where a system call does not exist: see `lacking.rs` |
//! | `killed-at PROCESS CALL COMMAND...` | runs COMMAND, a leasehold, and kills one of its processes: see `strike.rs` |
//! | `killed-after PROCESS CALL COMMAND...` | the same, but its calls are counted from the end of the run's command |
//! | `hang FOLDER` | mounts a file system there that never answers, until the process that is left is killed |
//! | `greet` | greets whoever connects to the socket that systemd passes, once |
//! | `notify TEXT` | sends TEXT to $NOTIFY_SOCKET, as a service of Type=notify does |
//! | `fork-bomb [sessions]` | forks until it is stopped; with `sessions` each process makes a session of its own |
//! | `fork-chain [sessions]` | forks and ends, and so does its child, for ever |
//! | `memory MEGABYTES` | writes to so much memory, prints `ready` and stays |
//! | `odd SHAPE` | starts a tree of processes that hide: see `odd.rs` |
//! | `proxy LISTEN SERVER MILLISECONDS` | a slow network in front of SERVER |
//! | `unreachable LISTEN` | swallows whoever connects |
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program of its own, not a part of leasehold"
)]
#![expect(unsafe_code, reason = "it forks and changes signal dispositions")]

mod hang;
mod lacking;
mod odd;
#[path = "../it/harness/processes.rs"]
#[expect(dead_code, reason = "made for the tests, partly used here")]
mod processes;
#[path = "../it/harness/proxy.rs"]
#[expect(dead_code, reason = "made for the tests, partly used here")]
mod proxy;
mod state;
mod strike;
mod terminal;
mod tree;
#[path = "../it/harness/unreachable.rs"]
#[expect(dead_code, reason = "made for the tests, partly used here")]
mod unreachable;

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::time::{ClockId, clock_gettime};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    go(&words);
}

fn go(words: &[&str]) {
    match words[..] {
        ["own-group", ref rest @ ..] => {
            let own = nix::unistd::Pid::from_raw(0);
            nix::unistd::setpgid(own, own).expect("not the leader of a session");
            go(rest);
        }
        ["now"] => say(&nanos_since_boot().to_string()),
        ["hold", file, script] => hold(file, script),
        ["left-behind", file] => left_behind(file),
        ["ticks", file] => ticks(file),
        ["signals"] => signals(),
        ["die", signal] => die(signal.parse().expect("a number")),
        ["watch", ref names @ ..] => terminal::watch(names),
        ["second-thread"] => {
            SigSet::from(Signal::SIGTERM)
                .thread_block()
                .expect("a valid mask");
            odd::in_second_thread(|| terminal::watch_once("TERM"));
        }
        ["trace-me"] => terminal::trace_me(),
        ["raw"] => terminal::raw(),
        ["init", ref command @ ..] => lacking::neglectful_init(command),
        ["without", call, ref command @ ..] => lacking::without(call, command),
        ["killed-at", process, call, ref command @ ..] => {
            strike::at(strike::Since::Birth, process, call, command)
        }
        ["killed-after", process, call, ref command @ ..] => {
            strike::at(strike::Since::TheCommandsEnd, process, call, command)
        }
        ["hang", folder] => hang::mount(folder),
        ["greet"] => greet(),
        ["notify", text] => notify(text),
        ["fork-bomb"] => tree::bomb(false),
        ["fork-bomb", "sessions"] => tree::bomb(true),
        ["fork-chain"] => tree::chain(false),
        ["fork-chain", "sessions"] => tree::chain(true),
        ["memory", megabytes] => memory(megabytes.parse().expect("a number")),
        ["state"] => state::print(),
        ["witness", file] => witness(file),
        ["census", cookie] => census(cookie),
        ["tree", shape] => tree::stand(shape),
        ["odd", shape] => odd::stand(shape),
        ["proxy", listen, server, milliseconds] => slow_proxy(listen, server, milliseconds),
        ["unreachable", listen] => unreachable(listen),
        _ => panic!("see the table in tests/probe/main.rs; got {words:?}"),
    }
}

/// One line on stdout, at once: the tests wait for it.
fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("stdout is open");
}

fn nanos_since_boot() -> u128 {
    let now: Duration = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .expect("CLOCK_BOOTTIME")
        .into();
    now.as_nanos()
}

/// Three numbers in FILE, nanoseconds since boot: when it began, when it was last seen alive, and when the one was that
/// it leaves behind in a session of its own.
#[expect(clippy::exit, reason = "it ends as its child has ended")]
#[expect(
    clippy::zombie_processes,
    reason = "who is left behind is somebody else's to kill and to reap"
)]
fn hold(path: &str, script: &str) {
    let began = nanos_since_boot();
    let file = File::create(path).expect("the file can be written");
    let tick = || {
        let line = format!("{began:020} {:020}\n", nanos_since_boot());
        file.write_all_at(line.as_bytes(), 0)
            .expect("the file can be written");
    };
    tick();
    let program = std::env::current_exe().expect("its path");
    Command::new("setsid")
        .arg(program)
        .args(["left-behind", path])
        .spawn()
        .expect("setsid");
    let mut child = Command::new("sh")
        .args(["-c", script])
        .spawn()
        .expect("a shell");
    loop {
        tick();
        if let Some(status) = child.try_wait().expect("our own child") {
            std::process::exit(status.code().unwrap_or(1));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Until it is killed; for two minutes, if nobody does.
fn left_behind(path: &str) {
    let file = File::options().write(true).open(path);
    let file = file.expect("the file can be written");
    for _ in 0..120_000 {
        let line = format!("{:020}\n", nanos_since_boot());
        file.write_all_at(line.as_bytes(), 42)
            .expect("the file can be written");
        thread::sleep(Duration::from_millis(1));
    }
}

fn ticks(file: &str) {
    let mut file = File::create(file).expect("the file can be written");
    say("ready");
    loop {
        writeln!(file, "{}", nanos_since_boot()).expect("the file can be written");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Reads signals instead of being interrupted by them, so that two that come together are both counted
/// (as long as they differ: standard signals do not queue, signal(7)).
fn signals() {
    let all = SigSet::all();
    all.thread_block().expect("a valid mask");
    say("ready");
    loop {
        let signal = all.wait().expect("a valid mask");
        say(&format!("signal {}", signal.as_str()));
        if signal == Signal::SIGUSR2 {
            return;
        }
    }
}

fn die(signal: i32) {
    // Rust ignores SIGPIPE at its start, and a test may have been started with others ignored.
    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: kill(2) touches no memory.
    unsafe { libc::kill(libc::getpid(), signal) };
    // A signal to oneself that is not blocked arrives before kill returns: kill(2).
    panic!("signal {signal} does not kill");
}

fn memory(megabytes: usize) {
    let pages = vec![1_u8; megabytes << 20];
    say("ready");
    loop {
        nix::unistd::pause();
        std::hint::black_box(&pages);
    }
}

/// Everybody who holds the lock comes by here: two at the same time are one too many.
fn witness(file: &str) {
    let inside = format!("{file}.inside");
    File::create_new(&inside).expect("nobody else may be here");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let line = format!(
        "{} {} {} {}\n",
        variable("LEASEHOLD_TOKEN"),
        variable("LEASEHOLD_LOCK_KEY"),
        variable("ETCD_LOCK_REV"),
        nanos_since_boot(),
    );
    let mut log = File::options()
        .create(true)
        .append(true)
        .open(file)
        .expect("the file can be written");
    log.write_all(line.as_bytes())
        .expect("the file can be written");
    fs::remove_file(&inside).expect("we made it");
}

fn unreachable(listen: &str) {
    let address = listen.parse().expect("an address");
    let _unreachable = unreachable::Unreachable::start(address);
    say("ready");
    loop {
        thread::park();
    }
}

fn notify(text: &str) {
    let socket = std::env::var("NOTIFY_SOCKET").expect("somebody wants to know");
    let sender = UnixDatagram::unbound().expect("a socket");
    sender
        .send_to(text.as_bytes(), socket)
        .expect("somebody listens");
}

/// As sd_listen_fds(3) says.
fn greet() {
    let own = std::process::id().to_string();
    assert_eq!(std::env::var("LISTEN_PID"), Ok(own), "meant for us");
    assert_eq!(std::env::var("LISTEN_FDS").as_deref(), Ok("1"));
    // SAFETY: the first descriptor that is passed is 3, and nobody else in this process knows it.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    let (mut stream, _) = listener.accept().expect("somebody connects");
    let text = b"hello from the command\n";
    stream.write_all(text).expect("somebody reads");
}

fn census(cookie: &str) {
    let found = processes::of_the_command(processes::with_environment(cookie));
    for process in &found {
        say(&format!("alive: {}", processes::describe(process.pid)));
    }
    say(&format!("{} alive", found.len()));
}

fn slow_proxy(listen: &str, server: &str, milliseconds: &str) {
    let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
    let proxy = proxy::Proxy::start(address(listen), address(server)).expect("the address is free");
    let delay: u64 = milliseconds.parse().expect("a number");
    proxy.delay(Duration::from_millis(delay));
    say(&format!("ready {}", proxy.endpoint()));
    loop {
        thread::park();
    }
}

/// Ignores a signal: inherited over exec, as nohup(1) does it.
fn ignore(signal: Signal) {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: SIG_IGN installs no code.
    unsafe { sigaction(signal, &action) }.expect("a signal that can be ignored");
}
