//! The command's tree as /proc shows it: to send it signals, and to name who is left. Whether anybody is left
//! is never decided here: that is the kernel's answer to waitpid(2), in kill.rs.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::process::signals;

/// A process that is left, for the user to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its pid.
    pub pid: i32,
    /// The name it gives itself, at most 15 bytes: untrusted text.
    pub comm: String,
    /// Its state as in proc_pid_stat(5).
    pub state: char,
    /// Why it cannot be killed, if there is a reason.
    pub obstacle: Option<Obstacle>,
}

/// Why a process outlives SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It runs as another user, whom we may not signal.
    OtherUser,
    /// It is in uninterruptible sleep, as on a file server that does not answer.
    Uninterruptible,
    /// A debugger holds it.
    Traced,
}

/// One line of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub state: char,
    /// The kernel's flags word (proc_pid_stat(5)).
    flags: u32,
    /// How many of its threads are not gone. The state is that of the first one, which may have ended before the others.
    pub threads: u32,
    /// When it started, in clock ticks since boot: tells two users of one pid apart.
    pub started: u64,
    pub comm: String,
}

impl Process {
    /// Reads `/proc/PID/stat` of a process; none when it is gone.
    pub fn read(pid: i32) -> Option<Self> {
        // Longer than any stat line: 52 numbers of at most 20 digits, and 15 bytes of name.
        let mut buffer = [0; 1536];
        let length = File::open(format!("/proc/{pid}/stat"))
            .and_then(|mut file| file.read(&mut buffer))
            .ok()?;
        Self::parse(&buffer[..length])
    }

    /// Parses a stat line: `pid (comm) state ppid ...`. The name may hold spaces and parentheses, so it ends
    /// at the last one (proc_pid_stat(5)).
    fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let pid = std::str::from_utf8(line.get(..open)?).ok()?.trim();
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        // Field 3, the state, comes first here.
        let mut fields = rest.split_ascii_whitespace();
        Some(Self {
            pid: pid.parse().ok()?,
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            flags: fields.nth(9 - 5)?.parse().ok()?,
            threads: fields.nth(20 - 10)?.parse().ok()?,
            started: fields.nth(22 - 21)?.parse().ok()?,
            comm: String::from_utf8_lossy(line.get(open + 1..close)?).into_owned(),
        })
    }

    /// What no other process has: the pid alone comes to be used again.
    pub const fn identity(&self) -> (i32, u64) {
        (self.pid, self.started)
    }

    /// Dead, but not yet reaped. While other threads live it is not, although the first one has ended (pthread_exit(3)).
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }

    /// Dead, or about to be: it does not adopt orphans any more (kernel/exit.c, find_alive_thread).
    pub const fn is_exiting(&self) -> bool {
        /// PF_EXITING (include/linux/sched.h).
        const EXITING: u32 = 4;
        self.flags & EXITING != 0 || self.is_dead()
    }

    /// Stopped by a signal or a debugger.
    pub const fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Sends it a signal, unless its pid has come to mean another process.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        if self.parent == std::process::id() as i32 {
            // A child keeps its pid until we reap it, and the snapshot is younger than our last reaping.
            return signals::send(self.pid, signal);
        }
        match pidfd_open(self.pid) {
            Ok(pidfd) => {
                self.check()?;
                pidfd_send_signal(&pidfd, signal)
            }
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(error),
            // No pidfds (before Linux 5.3, or a seccomp filter): a pid would have to be used again within
            // the microseconds between these two calls.
            Err(_) => {
                self.check()?;
                signals::send(self.pid, signal)
            }
        }
    }

    /// Whether the pid still means this process.
    fn check(&self) -> io::Result<()> {
        match Self::read(self.pid) {
            Some(now) if now.started == self.started => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }

    /// Why it outlives SIGKILL, as far as one can see.
    fn obstacle(&self) -> Option<Obstacle> {
        match self.state {
            'D' => Some(Obstacle::Uninterruptible),
            't' => Some(Obstacle::Traced),
            // Signal 0 only asks for the permission (kill(2)).
            _ => match self.signal(0) {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    Some(Obstacle::OtherUser)
                }
                _ => None,
            },
        }
    }
}

/// Whether a process is stopped by a signal.
pub fn is_stopped(pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| process.is_stopped())
}

/// Whether a process has something to do: one of its threads runs, or waits for the processor.
pub fn is_at_work(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .any(|thread| thread.state == 'R')
}

/// The descendants of a process, the nearest first. What is forked while /proc is read can be missing: callers
/// that need all of them repeat.
pub fn descendants(root: i32) -> Vec<Process> {
    below(root, snapshot())
}

/// Sends a signal to every descendant of this process, also to those that are forked meanwhile.
pub fn signal_all(signals: &[i32]) {
    // A tree that forks faster than this is being told to end, not killed: it will be, at the deadline.
    const PASSES: usize = 5;
    let mut told = HashSet::new();
    for _ in 0..PASSES {
        let mut news = false;
        for process in descendants(std::process::id() as i32) {
            if process.is_dead() || !told.insert(process.identity()) {
                continue;
            }
            news = true;
            for &signal in signals {
                // Gone or not ours to signal: nothing to be done here.
                let _ = process.signal(signal);
            }
        }
        if !news {
            return;
        }
    }
}

/// Every living descendant of this process except those below `spared`, as the user wants to see them.
pub fn leftovers(spared: &[i32]) -> Vec<Leftover> {
    let root = std::process::id() as i32;
    let all = snapshot();
    let kept: Vec<Process> = all
        .into_iter()
        .filter(|process| !spared.contains(&process.pid))
        .collect();
    below(root, kept)
        .into_iter()
        .filter(|process| !process.is_dead())
        .map(|process| Leftover {
            obstacle: process.obstacle(),
            pid: process.pid,
            state: process.state,
            comm: process.comm,
        })
        .collect()
}

/// Every process that /proc shows us.
pub fn snapshot() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect()
}

/// Those of a snapshot that descend from `root`, the nearest first.
pub fn below(root: i32, snapshot: Vec<Process>) -> Vec<Process> {
    let mut by_parent: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in snapshot {
        by_parent.entry(process.parent).or_default().push(process);
    }
    let mut found = by_parent.remove(&root).unwrap_or_default();
    let mut next = 0;
    while let Some(process) = found.get(next) {
        // Removed from the map, so that a pid that was used again while /proc was read makes no circle.
        let children = by_parent.remove(&process.pid).unwrap_or_default();
        found.extend(children);
        next += 1;
    }
    found
}

/// A descriptor that means one process for ever (pidfd_open(2)).
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, close-on-exec by definition, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process that a pidfd means.
pub fn pidfd_send_signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: with a null siginfo the call behaves as kill(2) and touches no memory of ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            no_info,
            0,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0";

    fn process(pid: i32, parent: i32) -> Process {
        Process {
            pid,
            parent,
            state: 'S',
            flags: 0,
            threads: 1,
            started: 1,
            comm: "x".to_owned(),
        }
    }

    #[test]
    fn a_stat_line_is_read_whatever_the_process_calls_itself() {
        for comm in ["sh", "a b", "x) R 1 (", "))", ""] {
            let line = format!("42 ({comm}) S 7 {TAIL} 4711 8 9\n");
            let found = Process::parse(line.as_bytes()).expect(comm);
            assert_eq!((found.pid, found.parent, found.state), (42, 7, 'S'));
            assert_eq!(found.threads, 1, "field 20");
            assert_eq!(found.started, 4711, "field 22");
            assert_eq!(found.comm, comm);
        }
    }

    #[test]
    fn a_torn_stat_line_is_no_process() {
        let line = format!("42 (sh) S 7 {TAIL} 4711");
        for length in 0..line.len() - 4 {
            assert_eq!(Process::parse(&line.as_bytes()[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_lives_as_long_as_another_one_does() {
        let of = |state, threads| Process {
            state,
            threads,
            ..process(3, 2)
        };
        assert!(of('Z', 1).is_dead() && of('X', 0).is_dead());
        assert!(!of('Z', 2).is_dead() && !of('S', 1).is_dead());
    }

    #[test]
    fn whoever_is_on_its_way_out_is_told_by_its_flags() {
        let line = |flags| format!("7 (a b) R 5 7 7 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 99 0");
        let read = |flags: u32| Process::parse(line(flags).as_bytes()).expect("a line");
        assert!(read(0x40_0104).is_exiting());
        let alive = read(0x40_0140);
        assert!(!alive.is_exiting());
        assert_eq!((alive.parent, alive.threads, alive.started), (5, 1, 99));
        let own = Process::read(std::process::id() as i32).expect("/proc is there");
        assert!(!own.is_exiting());
    }

    #[test]
    fn who_looks_is_at_work_and_who_sleeps_or_is_gone_is_not() {
        assert!(is_at_work(std::process::id() as i32));
        assert!(!is_at_work(0));
    }

    #[test]
    fn our_own_line_is_read_from_proc() {
        let own = Process::read(std::process::id() as i32).expect("/proc is there");
        assert_eq!(own.parent, std::os::unix::process::parent_id() as i32);
        assert!(own.check().is_ok());
    }

    #[test]
    fn descendants_are_found_in_any_order_and_others_are_not() {
        let all = vec![
            process(5, 4),
            process(4, 3),
            process(9, 8),
            process(3, 2),
            process(6, 2),
        ];
        let mut pids: Vec<i32> = below(2, all).iter().map(|found| found.pid).collect();
        assert_eq!(pids[..2], [3, 6], "the nearest first");
        pids.sort_unstable();
        assert_eq!(pids, [3, 4, 5, 6]);
    }

    #[test]
    fn a_circle_of_reused_pids_ends() {
        let all = vec![process(3, 2), process(4, 3), process(3, 4)];
        assert_eq!(below(2, all).len(), 3);
    }
}
