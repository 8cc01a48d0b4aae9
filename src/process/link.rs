//! What the processes tell each other: small messages over socket pairs that keep message boundaries
//! (unix(7), SOCK_SEQPACKET). The end of a socket is the death of the process at its other end: each end is
//! held by exactly one process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::clock::Instant;
use crate::outcome::Ending;
use crate::process::notes::Note;
use crate::process::{page, tree};

/// Who else got a signal that F got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only F: it was meant for the command.
    Front = 0,
    /// The whole process group.
    Group = 1,
    /// The kernel sent it for the terminal, to the processes it concerns.
    Terminal = 2,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// M or W to F: a process could not be made, for this errno. The sender is gone.
    NotSplit(i32),
    /// M to F: a command is about to start; is anybody there?
    Ready,
    /// F to M: yes, start it.
    Go,
    /// F to M: this signal arrived.
    Signal { note: Note, reach: Reach },
    /// F to M: I am about to be stopped.
    FrontStopped,
    /// F to M: I go on.
    FrontContinued,
    /// M to F: the command, a member of this process group, was stopped by this signal.
    CommandStopped { signal: i32, group: i32 },
    /// F to M: is it still? It came together with a SIGCONT.
    StillStopped,
    /// M to F: the run is over; whether the command was killed, so that the terminal needs repair.
    Finish { ending: Ending, killed: bool },
    /// F to W: from now on a deadline can exist.
    Watch,
    /// W to F: I got this signal.
    Seen(Note),
    /// F to W: tell me when you have told me of every signal you got.
    Ask(i32),
    /// W to F: I have.
    Answer(i32),
}

type Words = [i32; 8];
const BYTES: usize = size_of::<Words>();

impl Message {
    fn encode(self) -> Words {
        let mut words = Words::default();
        let (kind, rest) = words.split_at_mut(1);
        let (kind_is, rest_is): (i32, &[i32]) = match self {
            Self::NotSplit(errno) => (1, &[errno]),
            Self::Ready => (2, &[]),
            Self::Go => (3, &[]),
            Self::Signal { note, reach } => {
                (4, &[&encode_note(note)[..], &[reach as i32]].concat())
            }
            Self::FrontStopped => (5, &[]),
            Self::FrontContinued => (6, &[]),
            Self::CommandStopped { signal, group } => (7, &[signal, group]),
            Self::Finish { ending, killed } => {
                (8, &[page::encode(ending) as i32, i32::from(killed)])
            }
            Self::Watch => (9, &[]),
            Self::Seen(note) => (10, &encode_note(note)),
            Self::Ask(number) => (11, &[number]),
            Self::Answer(number) => (12, &[number]),
            Self::StillStopped => (13, &[]),
        };
        kind[0] = kind_is;
        rest[..rest_is.len()].copy_from_slice(rest_is);
        words
    }

    fn decode([kind, rest @ ..]: Words) -> Option<Self> {
        let [a, b, ..] = rest;
        Some(match kind {
            1 => Self::NotSplit(a),
            2 => Self::Ready,
            3 => Self::Go,
            4 => Self::Signal {
                note: decode_note(rest),
                reach: match rest[6] {
                    0 => Reach::Front,
                    1 => Reach::Group,
                    2 => Reach::Terminal,
                    _ => return None,
                },
            },
            5 => Self::FrontStopped,
            6 => Self::FrontContinued,
            7 => Self::CommandStopped {
                signal: a,
                group: b,
            },
            8 => Self::Finish {
                ending: page::decode(a as u32)?,
                killed: b != 0,
            },
            9 => Self::Watch,
            10 => Self::Seen(decode_note(rest)),
            11 => Self::Ask(a),
            12 => Self::Answer(a),
            13 => Self::StillStopped,
            _ => return None,
        })
    }
}

fn encode_note(note: Note) -> [i32; 6] {
    let [after, at] = [note.after, note.at].map(Instant::as_nanos);
    let (high, low) = (|nanos: u64| (nanos >> 32) as i32, |nanos: u64| nanos as i32);
    [
        note.signal,
        note.sender,
        high(after),
        low(after),
        high(at),
        low(at),
    ]
}

fn decode_note([signal, sender, after_high, after_low, at_high, at_low, _]: [i32; 7]) -> Note {
    let instant = |high: i32, low: i32| {
        Instant::from_nanos(u64::from(high as u32) << 32 | u64::from(low as u32))
    };
    Note {
        signal,
        sender,
        after: instant(after_high, after_low),
        at: instant(at_high, at_low),
    }
}

/// What there is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Message(Message),
    /// Nothing now.
    Nothing,
    /// The process at the other end is gone.
    End,
}

/// One end of a connection between two processes.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Two connected ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Self(one), Self(other)))
    }

    /// Sends a message and never waits. A message that cannot be delivered is dropped: the receiver is
    /// gone, which its other guards notice, or has not read for hundreds of messages.
    pub fn send(&self, message: Message) {
        let bytes: [u8; BYTES] = bytes_of(message.encode());
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(self.0.as_raw_fd(), &bytes, flags);
    }

    /// Reads a message if there is one, and never waits.
    pub fn receive(&self) -> Received {
        let mut bytes = [0; BYTES];
        loop {
            match recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Received::End,
                Ok(_) => match Message::decode(words_of(bytes)) {
                    Some(message) => return Received::Message(message),
                    None => continue,
                },
                Err(Errno::EAGAIN) => return Received::Nothing,
                // The other end closed without reading all of ours (unix(7)); what it wrote comes after this.
                Err(Errno::ECONNRESET | Errno::EINTR) => continue,
                Err(_) => return Received::End,
            }
        }
    }

    /// A descriptor of the process at the other end, whose pid this is; none if it is dead, since the pid may mean
    /// another one then.
    pub fn pidfd_of_other(&self, pid: i32) -> Option<OwnedFd> {
        let pidfd = tree::pidfd_open(pid).ok()?;
        // Asked last: it lived when the descriptor was opened.
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::empty())];
        let ended = poll(&mut fds, PollTimeout::ZERO) != Ok(0);
        (!ended).then_some(pidfd)
    }

    /// A second descriptor of this end, to wait on.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn bytes_of(words: Words) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn words_of(bytes: [u8; BYTES]) -> Words {
    let mut words = Words::default();
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = i32::from_ne_bytes(bytes.try_into().expect("chunks of four"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        Note {
            signal: 64,
            sender: 1,
            after: Instant::from_nanos(0x0FED_CBA9_8765_4321),
            at: Instant::from_nanos(0x1234_5678_9ABC_DEF0),
        }
    }

    fn every_message() -> Vec<Message> {
        let mut all = vec![
            Message::NotSplit(11),
            Message::Ready,
            Message::Go,
            Message::FrontStopped,
            Message::FrontContinued,
            Message::CommandStopped {
                signal: 20,
                group: 4_194_304,
            },
            Message::StillStopped,
            Message::Watch,
            Message::Seen(note()),
            Message::Ask(7),
            Message::Answer(7),
        ];
        for reach in [Reach::Front, Reach::Group, Reach::Terminal] {
            let note = note();
            all.push(Message::Signal { note, reach });
        }
        for (ending, killed) in [(Ending::Status(255), false), (Ending::Signal(9), true)] {
            all.push(Message::Finish { ending, killed });
        }
        all
    }

    #[test]
    fn every_message_arrives_as_it_was_sent_and_then_the_end() {
        let (one, other) = Link::pair().unwrap();
        for message in every_message() {
            one.send(message);
            assert_eq!(other.receive(), Received::Message(message));
        }
        assert_eq!(other.receive(), Received::Nothing);
        one.send(Message::Go);
        drop(one);
        assert_eq!(other.receive(), Received::Message(Message::Go));
        assert_eq!(other.receive(), Received::End);
    }

    #[test]
    fn the_last_words_of_a_process_that_did_not_listen_are_heard() {
        let (one, other) = Link::pair().unwrap();
        other.send(Message::Ready);
        one.send(Message::Go);
        drop(one);
        assert_eq!(other.receive(), Received::Message(Message::Go));
        assert_eq!(other.receive(), Received::End);
    }

    #[test]
    fn a_descriptor_is_given_of_a_process_at_the_other_end_while_it_is_there() {
        let (one, other) = Link::pair().unwrap();
        let own = std::process::id() as i32;
        assert!(one.pidfd_of_other(own).is_some());
        other.send(Message::Go);
        assert!(one.pidfd_of_other(own).is_some(), "with mail");
        drop(other);
        assert!(one.pidfd_of_other(own).is_none(), "it may be anybody");
    }

    #[test]
    fn an_unknown_kind_is_no_message() {
        assert_eq!(Message::decode(Words::default()), None);
        assert_eq!(Message::decode([99, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Message::decode([4, 1, 1, 0, 0, 0, 0, 9]), None);
    }
}
