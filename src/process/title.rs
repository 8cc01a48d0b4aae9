//! Names. The manager and the witness carry others than the program's, so that `killall leasehold` and
//! `pkill -f leasehold` leave alive who stops the command.

use std::ffi::CStr;

use nix::sys::prctl;

/// Gives this process a name, in place of the program's name and of all that was typed.
pub fn set(name: &CStr) {
    // Cut to 15 bytes by the kernel; it cannot fail (prctl(2), PR_SET_NAME).
    let _ = prctl::set_name(name);
    if let Some(area) = arguments() {
        overwrite(area, name.to_bytes());
    }
}

/// Where the kernel keeps what was typed: fields 48 and 49 of the stat line (proc_pid_stat(5)).
fn arguments() -> Option<(usize, usize)> {
    let line = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = line.rsplit_once(')')?;
    // Field 3, the state, comes first here.
    let mut fields = rest.split_ascii_whitespace().skip(48 - 3);
    let start = fields.next()?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    Some((start, end))
}

/// Writes the name over the arguments and fills the rest with NUL, as setproctitle(3) does. Afterwards
/// `std::env::args` gives the name and empty strings.
fn overwrite((start, end): (usize, usize), name: &[u8]) {
    // The kernel gives 0 and 0 to those who may not know, and the last byte stays NUL: with another one it
    // would go on reading in the environment.
    let Some(room) = end
        .checked_sub(start)
        .filter(|&size| start != 0 && size > 1)
    else {
        return;
    };
    let length = name.len().min(room - 1);
    let area: *mut u8 = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the kernel placed the arguments of this process at `start..end`, writable, at the top of its
    // stack (execve(2)). No Rust value lives there: std keeps pointers and copies the strings when asked, and
    // nobody asks at the same time, since there is one thread. Every string stays ended by a NUL.
    unsafe {
        std::ptr::write_bytes(area, 0, room);
        std::ptr::copy_nonoverlapping(name.as_ptr(), area, length);
    }
}
