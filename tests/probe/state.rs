//! What a command inherits: printed line by line, so that a run with leasehold and one without can be
//! compared as text.

use std::fs;
use std::os::fd::AsRawFd;

use super::say;

/// Lines of /proc/self/status that a process inherits.
const STATUS_LINES: [&str; 4] = ["Umask:", "SigBlk:", "SigIgn:", "NoNewPrivs:"];

pub(crate) fn print() {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    for line in status.lines() {
        if STATUS_LINES.iter().any(|name| line.starts_with(name)) {
            say(line);
        }
    }
    say(&format!("Descriptors: {}", descriptors().join(" ")));
    let folder = std::env::current_dir().expect("a working folder");
    say(&format!("Folder: {}", folder.display()));
    say(&format!("Nice: {}", nice()));
    print!(
        "{}",
        fs::read_to_string("/proc/self/limits").expect("/proc")
    );
    for (name, value) in std::env::vars() {
        let is_ours = name.starts_with("LEASEHOLD_") || name.starts_with("ETCD_LOCK_");
        if !is_ours && name != "TEST_COOKIE" {
            say(&format!("Variable: {name}={value}"));
        }
    }
}

/// The open descriptors, without the one that reads the folder.
fn descriptors() -> Vec<String> {
    let folder = fs::File::open("/proc/self/fd").expect("/proc");
    let own = folder.as_raw_fd();
    let mut numbers: Vec<i32> = fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number != own)
        // The descriptor that read_dir has open is closed by now.
        .filter(|number| fs::read_link(format!("/proc/self/fd/{number}")).is_ok())
        .collect();
    numbers.sort_unstable();
    numbers.iter().map(i32::to_string).collect()
}

fn nice() -> String {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc");
    let after_name = stat.rsplit(") ").next().expect("proc(5)");
    // Field 19 of the file is the 17th behind the name.
    after_name.split(' ').nth(16).unwrap_or_default().to_owned()
}
