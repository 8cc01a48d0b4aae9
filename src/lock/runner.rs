//! Who runs for a state file, as its lock file says it: one line. Pure: the file itself is in
//! src/fence/state_file.rs, and what is done to the processes in src/process/preemption.rs.
//!
//! `leasehold-lock 1 <token> <front> <its start> <manager> <its start>`: pids, and when they were started in clock
//! ticks since boot, so that a pid is not mixed up with a later one (proc(5), starttime).

use std::fmt;

use crate::lock::token::Token;

/// What every line begins with.
pub const LINE_BEGINNING: &str = "leasehold-lock 1 ";

/// No line is longer: more is not read.
pub const LINE_BYTES_MAX: usize = 128;

/// A pid, and when its process was started.
pub type PidAndStart = (i32, u64);

/// A run, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerLine {
    /// Its token.
    pub token: Token,
    /// The process that everybody knows.
    pub front: PidAndStart,
    /// The process that can be asked.
    pub manager: PidAndStart,
}

impl fmt::Display for RunnerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token,
            front,
            manager,
        } = self;
        writeln!(
            f,
            "{LINE_BEGINNING}{token} {} {} {} {}",
            front.0, front.1, manager.0, manager.1
        )
    }
}

impl RunnerLine {
    /// What a line says; nothing unless it is exactly as we would have written it. A torn one is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let line = text.strip_suffix('\n')?.strip_prefix(LINE_BEGINNING)?;
        let words: Vec<&str> = line.split(' ').collect();
        let [token, front, front_started, manager, manager_started] = words[..] else {
            return None;
        };
        let process = |pid: &str, started: &str| {
            let pid = pid.parse().ok()?;
            // 0 and 1 are nobody's to signal, and what is negative is a group.
            (pid > 1).then_some((pid, started.parse().ok()?))
        };
        let read = Self {
            token: token.parse().ok()?,
            front: process(front, front_started)?,
            manager: process(manager, manager_started)?,
        };
        (read.to_string() == text).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written_and_nothing_else_is() {
        let line = RunnerLine {
            token: Token::new(34).expect("positive"),
            front: (4711, 1),
            manager: (4713, u64::MAX),
        };
        assert_eq!(RunnerLine::parse(line.to_string().as_bytes()), Some(line));
        assert!(line.to_string().len() < LINE_BYTES_MAX);
        for text in [
            "",
            "leasehold-lock 1 34 4711 1 4713 2",
            "leasehold-lock 2 34 4711 1 4713 2\n",
            "leasehold-lock 1 34 1 1 4713 2\n",
            "leasehold-lock 1 34 4711 1 0 2\n",
            "leasehold-lock 1 34 -4711 1 4713 2\n",
            "leasehold-lock 1 34 +4711 1 4713 2\n",
            "leasehold-lock 1 34 04711 1 4713 2\n",
            "leasehold-lock 1 0 4711 1 4713 2\n",
            "leasehold-lock 1 34 4711 1 4713\n",
            "leasehold-lock 1 34 4711 1 4713 2 3\n",
            "leasehold-lock 1 34 4711 x 4713 2\n",
        ] {
            assert_eq!(RunnerLine::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
