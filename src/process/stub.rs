//! C before it is the command: forked before there is any thread, it waits until it may become it.
//!
//! So no parent can hang in spawn when the terminal stops the job at that moment, and the command's parent is a
//! thread that lives as long as the manager does (prctl(2), PR_SET_PDEATHSIG).

use std::ffi::{CStr, CString, OsString, c_char};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::clock::now;
use crate::process::{Common, leave};

/// Variables that carry the pid they are meant for (sd_listen_fds(3), sd_watchdog_enabled(3)).
const ADDRESSED: [&[u8]; 2] = [b"LISTEN_PID", b"WATCHDOG_PID"];
/// Says the same in another way (sd_listen_fds(3), systemd 258), and need not be there.
const ADDRESSED_TWICE: &[u8] = b"LISTEN_PIDFDID";
/// Far above what a run exports, and no reason to believe a length that is higher.
const ENVIRONMENT_BYTES_MAX: usize = 1 << 20;

/// Waits for the environment on `go`, then becomes the command, or writes why not to `failure`. An end of `go`
/// without an environment means that there is nothing to run.
pub fn run(common: &Common, manager: i32, go: OwnedFd, failure: OwnedFd) -> ! {
    // Against the race with a manager that is dead already (prctl(2) warns of it).
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || nix::unistd::getppid().as_raw() != manager
    {
        leave(1);
    }
    crate::process::title::set(c"lock-command");
    let Some(given) = read_environment(go) else {
        leave(0);
    };
    // M looked at the deadline before it said so, but it, or we, may have been frozen since.
    let errno = if common.page.is_over(now()) {
        libc::ETIME
    } else {
        execute(common, &environment(&given, common.front))
    };
    let _ = File::from(failure).write_all(&errno.to_ne_bytes());
    leave(127)
}

/// What [`read_environment`] understands: the length, then `NAME=value` strings, each ended by NUL.
pub fn encode_environment(pairs: &[(OsString, OsString)]) -> Vec<u8> {
    let mut strings = Vec::new();
    for (name, value) in pairs {
        strings.extend_from_slice(name.as_bytes());
        strings.push(b'=');
        strings.extend_from_slice(value.as_bytes());
        strings.push(0);
    }
    let mut message = (strings.len() as u32).to_ne_bytes().to_vec();
    message.append(&mut strings);
    message
}

/// None when the manager went away before it had sent everything: then nothing may be started.
fn read_environment(go: OwnedFd) -> Option<Vec<CString>> {
    let mut go = File::from(go);
    let mut length = [0; 4];
    go.read_exact(&mut length).ok()?;
    let length = u32::from_ne_bytes(length) as usize;
    if length > ENVIRONMENT_BYTES_MAX {
        return None;
    }
    let mut strings = vec![0; length];
    go.read_exact(&mut strings).ok()?;
    strings
        .split_inclusive(|&byte| byte == 0)
        .map(|string| CString::from_vec_with_nul(string.to_vec()).ok())
        .collect()
}

/// The command's environment: what we inherited, with `given` in place of the same names.
fn environment(given: &[CString], front: i32) -> Vec<CString> {
    let own = std::process::id().to_string();
    let front = front.to_string();
    let is_moved =
        |entry: &CStr| ADDRESSED.contains(&name(entry)) && value(entry) == Some(front.as_bytes());
    let are_moved = inherited_environment().any(is_moved);
    let mut environment: Vec<CString> = inherited_environment()
        .filter(|entry| !given.iter().any(|new| name(new) == name(entry)))
        .filter(|entry| !(are_moved && name(entry) == ADDRESSED_TWICE))
        .map(|entry| match is_moved(entry) {
            true => {
                let mut moved = name(entry).to_vec();
                moved.push(b'=');
                moved.extend_from_slice(own.as_bytes());
                CString::new(moved).expect("made of strings without NUL")
            }
            false => entry.to_owned(),
        })
        .collect();
    environment.extend(given.iter().cloned());
    environment
}

/// Every entry as it came, also what std would pass over.
fn inherited_environment() -> impl Iterator<Item = &'static CStr> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut index = 0;
    std::iter::from_fn(move || {
        // SAFETY: `environ` is a null-terminated array of strings (environ(7)), or null; nobody changes the
        // environment in this process, which has one thread.
        unsafe {
            let entry = *environ.as_ref().map(|_| environ.add(index))?;
            index += 1;
            (!entry.is_null()).then(|| CStr::from_ptr(entry))
        }
    })
}

fn name(entry: &CStr) -> &[u8] {
    let entry = entry.to_bytes();
    entry.split(|&byte| byte == b'=').next().unwrap_or(entry)
}

fn value(entry: &CStr) -> Option<&[u8]> {
    let entry = entry.to_bytes();
    let at = entry.iter().position(|&byte| byte == b'=')?;
    entry.get(at + 1..)
}

/// Becomes the command. Returns the errno when it cannot.
fn execute(common: &Common, environment: &[CString]) -> i32 {
    let arguments = pointers(&common.argv);
    let environment = pointers(environment);
    common.inherited.restore();
    // SAFETY: two null-terminated arrays of strings, alive until the call returns, which it does only when it
    // failed. The search uses our own PATH, which is the command's.
    unsafe { libc::execvpe(arguments[0], arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Option<Vec<CString>> {
        let (go, mut manager) = nix::unistd::pipe()
            .map(|(r, w)| (r, File::from(w)))
            .unwrap();
        manager.write_all(message).unwrap();
        drop(manager);
        read_environment(go)
    }

    #[test]
    fn the_environment_arrives_whole_or_not_at_all() {
        let pairs = [
            ("LEASEHOLD_TOKEN".into(), "42".into()),
            ("EMPTY".into(), "".into()),
            ("LINES".into(), "a\nb=c".into()),
        ];
        let message = encode_environment(&pairs);
        let whole = read(&message).expect("whole");
        assert_eq!(
            whole,
            [
                c"LEASEHOLD_TOKEN=42".into(),
                c"EMPTY=".into(),
                CString::from(c"LINES=a\nb=c")
            ]
        );
        for length in 0..message.len() {
            assert_eq!(read(&message[..length]), None, "{length} bytes");
        }
        assert_eq!(read(&encode_environment(&[])), Some(Vec::new()));
    }

    #[test]
    fn what_is_given_takes_the_place_of_what_was_inherited() {
        let given = [c"PATH=/nowhere".to_owned(), c"NEW=1".to_owned()];
        let result = environment(&given, 1);
        assert_eq!(
            result.iter().filter(|entry| name(entry) == b"PATH").count(),
            1
        );
        assert!(result.contains(&given[0]) && result.contains(&given[1]));
        assert_eq!(name(c"A=b=c"), b"A");
        assert_eq!(value(c"A=b=c"), Some(&b"b=c"[..]));
        assert_eq!(value(c"A"), None);
    }
}
