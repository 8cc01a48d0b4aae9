//! What the processes tell each other: small messages over socket pairs that keep message boundaries
//! (unix(7), SOCK_SEQPACKET). The end of a socket is the death of the process at its other end: each end is
//! held by exactly one process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::outcome::Ending;
use crate::process::page;

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
    Signal {
        signal: i32,
        sender: i32,
        reach: Reach,
    },
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
    Seen { signal: i32, sender: i32 },
    /// F to W: tell me when you have told me of every signal you got.
    Ask(i32),
    /// W to F: I have.
    Answer(i32),
}

type Words = [i32; 4];

impl Message {
    fn encode(self) -> Words {
        match self {
            Self::NotSplit(errno) => [1, errno, 0, 0],
            Self::Ready => [2, 0, 0, 0],
            Self::Go => [3, 0, 0, 0],
            Self::Signal {
                signal,
                sender,
                reach,
            } => [4, signal, sender, reach as i32],
            Self::FrontStopped => [5, 0, 0, 0],
            Self::FrontContinued => [6, 0, 0, 0],
            Self::CommandStopped { signal, group } => [7, signal, group, 0],
            Self::Finish { ending, killed } => {
                [8, page::encode(ending) as i32, i32::from(killed), 0]
            }
            Self::Watch => [9, 0, 0, 0],
            Self::Seen { signal, sender } => [10, signal, sender, 0],
            Self::Ask(number) => [11, number, 0, 0],
            Self::Answer(number) => [12, number, 0, 0],
            Self::StillStopped => [13, 0, 0, 0],
        }
    }

    fn decode([kind, a, b, c]: Words) -> Option<Self> {
        Some(match kind {
            1 => Self::NotSplit(a),
            2 => Self::Ready,
            3 => Self::Go,
            4 => Self::Signal {
                signal: a,
                sender: b,
                reach: match c {
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
            10 => Self::Seen {
                signal: a,
                sender: b,
            },
            11 => Self::Ask(a),
            12 => Self::Answer(a),
            13 => Self::StillStopped,
            _ => return None,
        })
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
        let bytes: [u8; 16] = bytes_of(message.encode());
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(self.0.as_raw_fd(), &bytes, flags);
    }

    /// Reads a message if there is one, and never waits.
    pub fn receive(&self) -> Received {
        let mut bytes = [0; 16];
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

fn bytes_of(words: Words) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn words_of(bytes: [u8; 16]) -> Words {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = i32::from_ne_bytes(bytes.try_into().expect("chunks of four"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Message::Seen {
                signal: 15,
                sender: 1,
            },
            Message::Ask(7),
            Message::Answer(7),
        ];
        for reach in [Reach::Front, Reach::Group, Reach::Terminal] {
            all.push(Message::Signal {
                signal: 64,
                sender: 0,
                reach,
            });
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
    fn an_unknown_kind_is_no_message() {
        assert_eq!(Message::decode([0; 4]), None);
        assert_eq!(Message::decode([99, 0, 0, 0]), None);
        assert_eq!(Message::decode([4, 1, 1, 9]), None);
    }
}
