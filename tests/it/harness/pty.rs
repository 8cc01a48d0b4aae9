//! A pseudo-terminal with somebody typing on it.
//!
//! openpty and forty lines instead of a crate: the session, the controlling terminal and the foreground
//! group are what is tested here, so nothing may set them up behind our back.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::pty::{Winsize, openpty};

use super::captured::Captured;
use super::etcd::die_with_this_thread;
use super::eventually::{SOON, eventually};
use super::processes::Process;

/// A terminal, and the session leader on it.
pub(crate) struct Terminal {
    keyboard: File,
    screen: Captured,
    read: usize,
    leader: Child,
}

impl Terminal {
    /// Starts `command` as the leader of a new session on a new terminal.
    pub(crate) fn start(mut command: Command) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(Some(&size), None).expect("a pseudo-terminal");
        let slave = File::from(pair.slave);
        let descriptor = || Stdio::from(slave.try_clone().expect("a descriptor"));
        command
            .stdin(descriptor())
            .stdout(descriptor())
            .stderr(descriptor());
        // SAFETY: between fork and exec only two async-signal-safe system calls are made.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                // stdin is the terminal already.
                if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        die_with_this_thread(&mut command);
        let leader = command.spawn().expect("the program exists");
        let keyboard = File::from(pair.master);
        Self {
            screen: Captured::from(keyboard.try_clone().expect("a descriptor")),
            keyboard,
            read: 0,
            leader,
        }
    }

    /// Types these characters; `\x03` is Ctrl-C, `\x1a` Ctrl-Z, `\r` Enter.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal is open");
    }

    /// Waits until this text appears behind what was waited for before.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        match self.screen.wait_for(text, self.read, SOON) {
            Some(position) => self.read = position,
            None => panic!(
                "{text:?} did not appear; the screen after what was read before:\n{:?}",
                self.unread()
            ),
        }
    }

    /// Waits until one of these texts appears.
    #[track_caller]
    pub(crate) fn expect_one_of<const N: usize>(&mut self, texts: [&str; N]) {
        let read = self.read;
        let screen = self.screen.clone();
        self.read = eventually(format!("one of {texts:?} appears"), SOON, || {
            texts
                .iter()
                .find_map(|text| screen.wait_for(text, read, Duration::ZERO))
                .ok_or_else(|| format!("{:?}", screen.text()))
        });
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the descriptor is open, and the structure is the one that this request reads.
        let done = unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(done, 0);
    }

    /// Everything that appeared.
    pub(crate) fn screen_text(&self) -> String {
        self.screen.text()
    }

    /// What appeared behind what was waited for.
    pub(crate) fn unread(&self) -> String {
        let bytes = self.screen.bytes();
        String::from_utf8_lossy(&bytes[self.read..]).into_owned()
    }

    /// Waits for the end of the session leader.
    #[track_caller]
    pub(crate) fn wait(mut self) -> ExitStatus {
        let pid = self.leader.id().cast_signed();
        let leader = Process::open(pid).expect("not waited for");
        if !leader.ended_within(SOON) {
            panic!("the session does not end; unread: {:?}", self.unread());
        }
        // Control codes are a terminal's own.
        let panicked = self.screen_text().contains("panicked at");
        assert!(!panicked, "{}", self.screen_text());
        self.leader.wait().expect("our own child")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its terminal goes with it, and so do its jobs (SIGHUP).
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}
