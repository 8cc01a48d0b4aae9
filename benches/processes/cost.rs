//! What leasehold's processes cost, against timeout(1).

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::holder::{Holder, Setup};
use crate::processes::Moment;
use crate::store::Store;
use crate::{median, ms, sorted};

const STARTS: usize = 100;

pub(crate) fn print(setup: &Setup, store: &Store) {
    let mut timeout = Command::new("timeout")
        .args(["1000", "sleep", "1000"])
        .stdin(Stdio::null())
        .spawn()
        .expect("timeout(1)");
    let holder = Holder::start(setup);
    println!();
    println!(
        "| memory while a command runs (PSS: shared pages count in part; private) | PSS | private |"
    );
    println!("|---|---|---|");
    let mut sum = (0, 0);
    for (name, process) in ["front", "witness", "manager"].iter().zip(holder.own()) {
        let (pss, private) = memory(process.pid);
        sum = (sum.0 + pss, sum.1 + private);
        println!("| {name} | {pss} kB | {private} kB |");
    }
    println!("| all of leasehold | {} kB | {} kB |", sum.0, sum.1);
    let (pss, private) = memory(timeout.id().cast_signed());
    println!("| timeout(1) | {pss} kB | {private} kB |");
    drop(holder);
    timeout.kill().expect("our own child");
    timeout.wait().expect("our own child");

    let alone = time(&["true"]);
    let under_timeout = time(&["timeout", "10", "true"]);
    let endpoints = ["--endpoints", &setup.endpoint];
    let words = [
        &[setup.leasehold.as_str(), "run", "-q"][..],
        &endpoints,
        &["measure/start", "--", "true"],
    ];
    let under_leasehold = time(&words.concat());
    // Nobody listens there: the processes are made, told so and gone.
    let words = [
        setup.leasehold.as_str(),
        "run",
        "-q",
        "--endpoints",
        "127.0.0.1:1",
        "--connect-timeout",
        "0.001",
        "measure/start",
        "--",
        "true",
    ];
    let processes_only = time(&words);
    let commit = sorted((0..STARTS).map(|_| {
        let began_at = Moment::now();
        store.put("measure", "x");
        Moment::now().since(began_at)
    }));
    println!();
    println!("| a whole run of `true` (median of {STARTS}) | |");
    println!("|---|---|");
    println!("| alone | {} |", median(&alone));
    println!("| under timeout(1) | {} |", median(&under_timeout));
    println!(
        "| under leasehold, up to an etcd that refuses connections | {} |",
        median(&processes_only)
    );
    println!("| under leasehold | {} |", median(&under_leasehold));
    println!(
        "| one commit in this etcd, of which a run waits for two | {} |",
        ms(commit[STARTS / 2])
    );
}

fn time(words: &[&str]) -> Vec<Duration> {
    sorted((0..STARTS).map(|_| {
        let began_at = Moment::now();
        let _ = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("it exists");
        Moment::now().since(began_at)
    }))
}

/// PSS and private memory in kB (proc_pid_smaps(5)).
fn memory(pid: i32) -> (u64, u64) {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
    let sum = |names: &[&str]| {
        rollup
            .lines()
            .filter(|line| names.iter().any(|name| line.starts_with(name)))
            .filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
            .sum()
    };
    (sum(&["Pss:"]), sum(&["Private_Clean:", "Private_Dirty:"]))
}
