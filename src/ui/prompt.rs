//! Asking for a password on the terminal, like ssh: on /dev/tty, whatever stdin and stdout are, and without
//! showing it.
//!
//! Signals' keys must not end us while the terminal is mute, and a handler would have to be taken back before
//! the command runs. So they make no signals meanwhile but end the line: the terminal is set right first, and
//! then we end by the signal that was meant (as if it had been sent).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};

use crate::config::inherited::NotTyped;
use crate::config::secret::Secret;

/// The longest line that a terminal gives (N_TTY_BUF_SIZE of Linux).
const LINE_BYTES_MAX: usize = 4096;

/// Asks for the password of this user of etcd. Must not be called once there is a second process of ours.
///
/// # Errors
/// Nobody can be asked, or somebody pressed Ctrl-C.
pub fn password(user: &str) -> Result<Secret, NotTyped> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let mut terminal = terminal.map_err(|_| NotTyped::NoTerminal)?;
    let line = ask(&mut terminal, user).map_err(|_| NotTyped::NoTerminal)?;
    match line {
        Line::Typed(line) => Ok(Secret::new(line)),
        Line::Signal(signal) => Err(NotTyped::Signal(signal)),
    }
}

enum Line {
    Typed(Vec<u8>),
    Signal(i32),
}

fn ask(terminal: &mut File, user: &str) -> io::Result<Line> {
    let before = tcgetattr(&*terminal)?;
    let keys = Keys::of(&before);
    // What was typed ahead was not meant to be a password.
    tcsetattr(&*terminal, SetArg::TCSAFLUSH, &mute(before.clone(), &keys))?;
    // The user's name may come from a file or variable: nothing of it may move the cursor.
    let asked = terminal
        .write_all(format!("leasehold: password of {} for etcd: ", user.escape_debug()).as_bytes())
        .and_then(|()| read_line(terminal, &keys));
    // What was typed behind the line is for whoever reads next.
    tcsetattr(&*terminal, SetArg::TCSADRAIN, &before)?;
    // The line's end was not shown either.
    let _ = terminal.write_all(b"\n");
    asked
}

/// The keys that make signals.
struct Keys {
    interrupt: u8,
    quit: u8,
}

impl Keys {
    fn of(termios: &Termios) -> Self {
        let key = |index: SpecialCharacterIndices| termios.control_chars[index as usize];
        Self {
            interrupt: key(SpecialCharacterIndices::VINTR),
            quit: key(SpecialCharacterIndices::VQUIT),
        }
    }
}

fn mute(mut termios: Termios, keys: &Keys) -> Termios {
    termios
        .local_flags
        .remove(LocalFlags::ECHO | LocalFlags::ISIG);
    // Backspace and Ctrl-U work as always; VEOL2 needs IEXTEN.
    termios
        .local_flags
        .insert(LocalFlags::ICANON | LocalFlags::IEXTEN);
    termios.control_chars[SpecialCharacterIndices::VEOL as usize] = keys.interrupt;
    termios.control_chars[SpecialCharacterIndices::VEOL2 as usize] = keys.quit;
    termios
}

fn read_line(terminal: &mut File, keys: &Keys) -> io::Result<Line> {
    let mut buffer = [0_u8; LINE_BYTES_MAX];
    // A terminal gives at most one line per read; nothing at all is Ctrl-D.
    let length = terminal.read(&mut buffer)?;
    let line = &buffer[..length];
    Ok(match line.split_last() {
        Some((key, _)) if *key == keys.interrupt => Line::Signal(libc::SIGINT),
        Some((key, _)) if *key == keys.quit => Line::Signal(libc::SIGQUIT),
        Some((b'\n', line)) => Line::Typed(line.to_vec()),
        _ => Line::Typed(line.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;

    /// What is typed, what becomes of it, and what the screen shows meanwhile.
    fn asked(typed: &[u8]) -> (Line, String) {
        let pty = openpty(None, None).expect("a pseudo-terminal");
        let mut terminal = File::from(pty.slave);
        let mut person = File::from(pty.master);
        let before = tcgetattr(&terminal).expect("a terminal");
        let typed = typed.to_vec();
        let person = std::thread::spawn(move || {
            let mut shown = Vec::new();
            let mut byte = [0_u8];
            // Only then is the terminal mute; what is typed before is thrown away.
            while !shown.ends_with(b"etcd: ") {
                person.read_exact(&mut byte).expect("asked");
                shown.push(byte[0]);
            }
            person.write_all(&typed).expect("typed");
            while !shown.ends_with(b"\r\n") {
                person.read_exact(&mut byte).expect("shown");
                shown.push(byte[0]);
            }
            // The terminal lives as long as its person.
            (person, shown)
        });
        let line = ask(&mut terminal, "a\u{1b}b").expect("answered");
        let (_person, shown) = person.join().expect("a person");
        let after = tcgetattr(&terminal).expect("a terminal");
        assert_eq!(after.local_flags, before.local_flags);
        assert_eq!(after.control_chars, before.control_chars);
        (line, String::from_utf8(shown).expect("text"))
    }

    #[test]
    fn a_password_is_read_without_being_shown() {
        for (typed, password) in [
            (b"s3cret\n".as_slice(), b"s3cret".as_slice()),
            (b"wrong\x15s3cx\x7fret\n", b"s3cret"),
            (b"\n", b""),
            (b"\x04", b""),
        ] {
            let (line, shown) = asked(typed);
            let Line::Typed(line) = line else {
                panic!("{typed:?} is no signal");
            };
            assert_eq!(line, password);
            assert_eq!(shown, "leasehold: password of a\\u{1b}b for etcd: \r\n");
        }
    }

    #[test]
    fn the_keys_of_signals_end_the_question_with_the_terminal_set_right() {
        for (key, signal) in [(b"s3\x03", libc::SIGINT), (b"s3\x1c", libc::SIGQUIT)] {
            let (line, _) = asked(key);
            assert!(matches!(line, Line::Signal(typed) if typed == signal));
        }
    }
}
