//! Whom a signal reached: two processes compare what they got. F compares with W, which shares its process group;
//! M compares what F tells with what M, in a session of its own, got itself.
//!
//! Each notes a signal when it reads it. One that is sent again before it was read is kept only once (signal(7)), so
//! one process may read two where the other reads one: counting is not enough. But each knows between which
//! instants a signal that it has read was sent, and one that cannot have been sent apart is no other.

use std::time::Duration;

use crate::clock::Instant;
use crate::process::signals;

/// How long the other process is given to get and tell of the same. Whoever signals processes one by one, as systemd
/// does, is done by then, or is kept from the processor: then it gets as long again.
const PATIENCE: Duration = Duration::from_millis(15);
/// How long it is given at most. Then the signal is passed on: rather twice than never.
const PATIENCE_MAX: Duration = Duration::from_millis(250);
/// How long a note is remembered that the other process has none to match.
const MEMORY: Duration = Duration::from_millis(500);

/// A signal as one process got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub signal: i32,
    pub sender: i32,
    /// It had not been sent then.
    pub after: Instant,
    /// When it was read: whatever was sent in between is part of it.
    pub at: Instant,
}

impl Note {
    fn is_like(&self, other: &Self) -> bool {
        (self.signal, self.sender) == (other.signal, other.sender)
    }

    /// Whether what one process read once may be what the other read twice, this one and another.
    fn may_be_part_of(&self, other: &Self) -> bool {
        // Real-time signals are kept each.
        self.is_like(other) && self.signal < libc::SIGRTMIN() && self.may_be_as_old_as(other)
    }

    /// Whether this one was never read by a process that has read the other: one that stops and one that continues
    /// drop each other where they wait to be read (signal(7)). Sent to one process after the other, it came to that one
    /// later, and may have been dropped although that one looked after we had read it. Passed on behind the other, it
    /// would undo what came last.
    fn may_be_dropped_by(&self, other: &Self) -> bool {
        let continues = |signal| signal == libc::SIGCONT;
        let opposite = signals::stops(self.signal) && continues(other.signal)
            || continues(self.signal) && signals::stops(other.signal);
        opposite && self.after < other.at && other.after < self.at + PATIENCE_MAX
    }

    fn may_be_as_old_as(&self, other: &Self) -> bool {
        self.after < other.at && other.after < self.at
    }
}

/// One of our notes, when it is known whether the other process got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub note: Note,
    pub both: bool,
}

/// What one process knows of the notes of both.
#[derive(Debug, Default)]
pub struct Notes {
    /// Ours, in the order in which they came, that wait for the other's.
    ours: Vec<Waiting>,
    /// The other's that wait for ours.
    others: Vec<Waiting>,
    /// Ours and the other's that have met.
    our_met: Vec<Note>,
    others_met: Vec<Note>,
    questions: i32,
}

#[derive(Debug)]
struct Waiting {
    note: Note,
    /// It may be part of one that has met already, so it need not meet one of its own.
    is_part: bool,
    /// The other process may have lost it before it read it.
    was_dropped: bool,
    /// When the other has been given its time.
    due: Instant,
    /// The number of the question that the other was asked about it.
    question: Option<i32>,
}

impl Waiting {
    /// Whether the other has had its time, longer if whoever sent the signal may still be at it.
    fn is_due(&mut self, now: Instant, is_busy: impl Fn(i32) -> bool) -> bool {
        if self.due > now {
            return false;
        }
        let waits = now < self.note.at + PATIENCE_MAX && is_busy(self.note.sender);
        if waits {
            self.due = now + PATIENCE;
        }
        !waits
    }
}

impl Notes {
    /// We got one: whether it is known already that the other got it, too.
    pub fn got(&mut self, note: Note) -> bool {
        let Self {
            ours,
            others,
            our_met,
            others_met,
            ..
        } = self;
        meet(note, (ours, our_met), (others, others_met)).is_some()
    }

    /// The other got one: the one of ours that this settles.
    pub fn other_got(&mut self, note: Note) -> Option<Settled> {
        let Self {
            ours,
            others,
            our_met,
            others_met,
            ..
        } = self;
        let note = meet(note, (others, others_met), (ours, our_met))?;
        Some(Settled { note, both: true })
    }

    /// Asks about those whose time is up, once: the number of the question, if there is one. `is_busy` tells whether
    /// a process is at work, so that it may not have signalled everybody yet.
    pub fn ask(&mut self, now: Instant, is_busy: impl Fn(i32) -> bool) -> Option<i32> {
        let number = self.questions + 1;
        for waiting in &mut self.ours {
            if waiting.question.is_none() && waiting.is_due(now, &is_busy) {
                waiting.question = Some(number);
                self.questions = number;
            }
        }
        (self.questions == number).then_some(number)
    }

    /// The other has told of everything it got before this question.
    pub fn answered(&mut self, number: i32) -> Vec<Settled> {
        self.settle(|waiting| waiting.question.is_some_and(|asked| asked <= number))
    }

    /// Stops waiting for an other that does not answer.
    pub fn give_up(&mut self, now: Instant) -> Vec<Settled> {
        self.settle(|waiting| now >= waiting.note.at + PATIENCE_MAX)
    }

    /// Those whose time is up, where everything that the other got is known.
    pub fn known(&mut self, now: Instant, is_busy: impl Fn(i32) -> bool) -> Vec<Settled> {
        self.settle(|waiting| waiting.is_due(now, &is_busy))
    }

    /// Nothing will be heard of the other any more.
    pub fn close(&mut self) -> Vec<Settled> {
        self.settle(|_| true)
    }

    fn settle(&mut self, mut which: impl FnMut(&mut Waiting) -> bool) -> Vec<Settled> {
        let mut settled = Vec::new();
        self.ours.retain_mut(|waiting| {
            let is_settled = which(waiting);
            if is_settled {
                settled.push(Settled {
                    note: waiting.note,
                    both: waiting.is_part || waiting.was_dropped,
                });
            }
            !is_settled
        });
        settled
    }

    /// When something is to be done about those that wait.
    pub fn next(&self) -> Option<Instant> {
        let due = |waiting: &Waiting| match waiting.question {
            None => waiting.due,
            Some(_) => waiting.note.at + PATIENCE_MAX,
        };
        self.ours.iter().map(due).min()
    }
}

/// One side has got a note: the first of the other side that it meets, or it waits.
fn meet(
    note: Note,
    (waiting, met): (&mut Vec<Waiting>, &mut Vec<Note>),
    (others_waiting, others_met): (&mut Vec<Waiting>, &mut Vec<Note>),
) -> Option<Note> {
    let fresh = |other: &Note| note.at.since(other.at) < MEMORY;
    met.retain(fresh);
    others_met.retain(fresh);
    waiting.retain(|other| fresh(&other.note));
    for other in others_waiting.iter_mut() {
        other.was_dropped |= other.note.may_be_dropped_by(&note);
    }
    let found = others_waiting.iter().position(|other| {
        let like = other.note.is_like(&note) && fresh(&other.note);
        like && (!other.is_part || other.note.may_be_as_old_as(&note))
    });
    let Some(found) = found else {
        let drops = |other: &Note| note.may_be_dropped_by(other);
        waiting.push(Waiting {
            note,
            is_part: others_met.iter().any(|other| note.may_be_part_of(other)),
            was_dropped: others_met.iter().any(drops)
                || others_waiting.iter().any(|other| drops(&other.note)),
            due: note.at + PATIENCE,
            question: None,
        });
        return None;
    };
    let other = others_waiting.remove(found).note;
    for rest in others_waiting.iter_mut() {
        rest.is_part |= rest.note.may_be_part_of(&note);
    }
    for rest in waiting.iter_mut() {
        rest.is_part |= rest.note.may_be_part_of(&other);
    }
    met.push(note);
    others_met.push(other);
    Some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: fn(i32) -> bool = |_| false;
    const BUSY: fn(i32) -> bool = |_| true;

    fn ms(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    fn sent(signal: i32, after: u64, at: u64) -> Note {
        Note {
            signal,
            sender: 1,
            after: ms(after),
            at: ms(at),
        }
    }

    fn term(after: u64, at: u64) -> Note {
        sent(libc::SIGTERM, after, at)
    }

    fn both(note: Note) -> Settled {
        Settled { note, both: true }
    }

    fn alone(note: Note) -> Settled {
        Settled { note, both: false }
    }

    #[test]
    fn a_signal_that_both_got_is_known_to_be_the_same_whoever_read_it_first() {
        let mut notes = Notes::default();
        assert!(!notes.got(term(0, 1)));
        assert_eq!(notes.other_got(term(0, 2)), Some(both(term(0, 1))));
        assert_eq!(notes.other_got(term(3, 11)), None);
        // Sent to one after the other, and read apart.
        assert!(notes.got(term(12, 13)));
        assert_eq!(notes.known(ms(100), IDLE), []);
    }

    #[test]
    fn a_signal_that_only_one_got_waits_until_the_other_answers_or_the_time_is_up() {
        let mut notes = Notes::default();
        assert!(!notes.got(term(0, 1)));
        assert_eq!(notes.next(), Some(ms(16)));
        assert_eq!(notes.ask(ms(2), IDLE), None, "too early");
        assert_eq!(notes.ask(ms(16), IDLE), Some(1));
        assert_eq!(notes.ask(ms(17), IDLE), None, "asked already");
        assert!(!notes.got(term(2, 17)));
        assert_eq!(notes.answered(1), [alone(term(0, 1))]);
        assert_eq!(notes.known(ms(31), IDLE), []);
        assert_eq!(notes.known(ms(32), IDLE), [alone(term(2, 17))]);
        assert!(!notes.got(term(32, 33)));
        assert_eq!(notes.give_up(ms(282)), []);
        assert_eq!(notes.give_up(ms(283)), [alone(term(32, 33))]);
    }

    #[test]
    fn while_the_sender_is_at_work_it_gets_more_time_but_not_for_ever() {
        let mut notes = Notes::default();
        assert!(!notes.got(term(0, 1)));
        assert_eq!(notes.ask(ms(16), BUSY), None);
        assert_eq!(notes.next(), Some(ms(31)));
        assert_eq!(notes.ask(ms(31), IDLE), Some(1));
        assert_eq!(notes.answered(1).len(), 1);
        assert!(!notes.got(term(40, 41)));
        assert_eq!(notes.known(ms(290), BUSY), []);
        assert_eq!(notes.known(ms(291), BUSY), [], "it was given more time");
        assert_eq!(notes.known(ms(305), BUSY), [alone(term(40, 41))]);
    }

    #[test]
    fn two_that_the_other_could_read_only_as_one_are_both_known_to_have_reached_it() {
        // The second was sent before the other read, and read by us before or after that.
        for second in [term(1, 2), term(1, 4)] {
            let mut notes = Notes::default();
            assert!(!notes.got(term(0, 1)));
            assert!(!notes.got(second));
            assert_eq!(notes.other_got(term(0, 3)), Some(both(term(0, 1))));
            assert_eq!(notes.known(ms(100), IDLE), [both(second)]);
            // The other's note came first.
            let mut notes = Notes::default();
            assert!(!notes.got(term(0, 1)));
            assert_eq!(notes.other_got(term(0, 3)), Some(both(term(0, 1))));
            assert!(!notes.got(second));
            assert_eq!(notes.known(ms(100), IDLE), [both(second)]);
        }
    }

    #[test]
    fn one_that_was_sent_after_the_other_has_read_is_another_one() {
        let mut notes = Notes::default();
        assert!(!notes.got(term(0, 1)));
        assert_eq!(notes.other_got(term(0, 2)), Some(both(term(0, 1))));
        assert!(!notes.got(term(3, 4)));
        assert_eq!(notes.known(ms(100), IDLE), [alone(term(3, 4))]);
    }

    #[test]
    fn two_of_the_others_that_we_could_read_only_as_one_leave_nothing_behind() {
        for early in [true, false] {
            let mut notes = Notes::default();
            assert_eq!(notes.other_got(term(0, 1)), None);
            if early {
                assert_eq!(notes.other_got(term(1, 2)), None);
            }
            assert!(notes.got(term(0, 3)));
            if !early {
                assert_eq!(notes.other_got(term(1, 2)), None);
            }
            // So this one, which only we got, is not taken for the other's second.
            assert!(!notes.got(term(4, 5)), "{early}");
        }
    }

    #[test]
    fn two_pairs_whose_times_touch_are_two_pairs() {
        let mut notes = Notes::default();
        assert_eq!(notes.other_got(term(0, 2)), None);
        assert!(notes.got(term(0, 5)));
        // It may be part of the first that we read late; but it is not.
        assert_eq!(notes.other_got(term(3, 8)), None);
        assert!(notes.got(term(6, 9)));
        assert_eq!(notes.known(ms(100), IDLE), []);
    }

    #[test]
    fn one_that_continues_may_have_been_dropped_by_one_that_stops() {
        let (cont, stop) = (libc::SIGCONT, libc::SIGTSTP);
        for early in [true, false] {
            let mut notes = Notes::default();
            if early {
                assert_eq!(notes.other_got(sent(stop, 0, 4)), None);
            }
            assert!(!notes.got(sent(cont, 0, 1)));
            if !early {
                assert_eq!(notes.other_got(sent(stop, 0, 4)), None);
            }
            assert!(notes.got(sent(stop, 2, 3)));
            assert_eq!(notes.known(ms(100), IDLE), [both(sent(cont, 0, 1))]);
        }
        // The other looked in between, when it had not come there yet.
        let mut notes = Notes::default();
        assert!(!notes.got(sent(cont, 0, 1)));
        assert_eq!(notes.other_got(sent(stop, 2, 4)), None);
        assert_eq!(notes.known(ms(100), IDLE), [both(sent(cont, 0, 1))]);
        let mut notes = Notes::default();
        assert!(!notes.got(sent(cont, 0, 1)));
        assert_eq!(notes.other_got(sent(stop, 251, 252)), None, "far too late");
        assert_eq!(notes.known(ms(300), IDLE), [alone(sent(cont, 0, 1))]);
        let mut notes = Notes::default();
        assert_eq!(notes.other_got(sent(stop, 0, 1)), None);
        assert!(!notes.got(sent(cont, 1, 2)), "sent after that was read");
        assert_eq!(notes.known(ms(100), IDLE), [alone(sent(cont, 1, 2))]);
    }

    #[test]
    fn real_time_signals_are_kept_each_and_counted_each() {
        let mut notes = Notes::default();
        let queued = |at| sent(libc::SIGRTMIN(), 0, at);
        assert!(!notes.got(queued(1)));
        assert!(!notes.got(queued(2)));
        assert_eq!(notes.other_got(queued(3)), Some(both(queued(1))));
        assert_eq!(notes.other_got(queued(3)), Some(both(queued(2))));
        assert_eq!(notes.other_got(queued(4)), None);
        assert_eq!(notes.other_got(queued(4)), None);
        assert!(notes.got(queued(5)));
        assert!(notes.got(queued(6)));
        assert!(!notes.got(queued(7)));
    }

    #[test]
    fn others_senders_and_signals_are_told_apart_and_old_notes_are_forgotten() {
        let mut notes = Notes::default();
        let other_sender = Note {
            sender: 2,
            ..term(0, 1)
        };
        assert!(!notes.got(term(0, 1)));
        assert_eq!(notes.other_got(sent(libc::SIGHUP, 0, 1)), None);
        assert_eq!(notes.other_got(other_sender), None);
        assert_eq!(notes.known(ms(20), IDLE), [alone(term(0, 1))]);
        assert!(!notes.got(sent(libc::SIGHUP, 999, 1000)), "forgotten");
    }
}
