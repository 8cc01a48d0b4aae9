//! One or more of everything that says something: who adds a variant adds a sample, or this does not compile.

use crate::lock::entry::Entry;
use crate::outcome::{BUSY_STATUS, Ended, Loss, Outcome};
use crate::supervisor::{Holder, Message, Queue, Trouble, TroubleKind};
use crate::ui::sentence::Note;

/// Makes a function that lists samples, at least one for each variant.
macro_rules! samples {
    ($(#[$doc:meta])* $name:ident: $type:ty { $($pattern:pat => [$($sample:expr),+ $(,)?]),+ $(,)? }) => {
        $(#[$doc])*
        pub(super) fn $name() -> Vec<$type> {
            // Without a wildcard.
            let listed = |sample: &$type| match sample { $($pattern => {})+ };
            let mut samples = Vec::new();
            $($(
                let sample: $type = $sample;
                assert!(matches!(sample, $pattern), "{sample:?} is a sample of something else");
                listed(&sample);
                samples.push(sample);
            )+)+
            samples
        }
    };
}

/// Stands for what etcd or the network says.
pub(super) const DETAIL: &str = "etcd at etcd1:2379 did not answer within 3s";

fn detail() -> String {
    DETAIL.to_owned()
}

fn trouble() -> Trouble {
    Trouble {
        kind: TroubleKind::Unreachable,
        detail: detail(),
    }
}

fn entry() -> Entry {
    Entry {
        held: Some("2026-11-22T03:00:12Z".to_owned()),
        ..Entry::sample()
    }
}

fn kept() -> Entry {
    Entry {
        held_until: Some("2026-11-22T03:05:12Z".to_owned()),
        ..entry()
    }
}

fn queue(holder: Holder) -> Queue {
    Queue {
        place: 2,
        waiting: 5,
        holder,
        ..Queue::default()
    }
}

samples! {
    /// Who stands in the way.
    holders: Holder {
        Holder::Known(_) => [Holder::Known(Box::new(entry())), Holder::Known(Box::new(kept()))],
        Holder::Foreign { .. } => [
            Holder::Foreign { id: "6d8f".to_owned(), leased: true },
            Holder::Foreign { id: "6d8f".to_owned(), leased: false },
        ],
        Holder::Vanished => [Holder::Vanished],
        Holder::Unknown => [Holder::Unknown],
    }
}

samples! {
    /// Why a lock is lost.
    losses: Loss {
        Loss::NotRenewed(_) => [Loss::NotRenewed(detail())],
        Loss::LeaseGone => [Loss::LeaseGone],
        Loss::KeyDeleted => [Loss::KeyDeleted],
        Loss::KeyOverwritten => [Loss::KeyOverwritten],
        Loss::StoreGone => [Loss::StoreGone],
        Loss::EndedTooLate => [Loss::EndedTooLate],
        Loss::ManagerDied => [Loss::ManagerDied],
        Loss::WitnessDied => [Loss::WitnessDied],
        Loss::ManagerFrozen => [Loss::ManagerFrozen],
        Loss::Broken(_) => [Loss::Broken("ops@bastion (\"stuck since noon\")".to_owned())],
    }
}

samples! {
    /// How a run, or a `fence`, ends.
    outcomes: Outcome {
        Outcome::Command(_) => [
            Outcome::Command(Ended::Exited(0)),
            Outcome::Command(Ended::Signaled(15)),
        ],
        Outcome::Interrupted(_) => [Outcome::Interrupted(15)],
        Outcome::FrontKilled => [Outcome::FrontKilled],
        Outcome::Lost(_) => [Outcome::Lost(Loss::LeaseGone)],
        Outcome::RanOn(_) => [Outcome::RanOn(Loss::LeaseGone)],
        Outcome::Stale(_) => [Outcome::Stale("(a sentence of fence: below)".to_owned())],
        Outcome::Preempted => [Outcome::Preempted],
        Outcome::Unknown(_) => [Outcome::Unknown("(a sentence of fence: below)".to_owned())],
        Outcome::MaxRuntime => [Outcome::MaxRuntime],
        Outcome::Busy { .. } => [
            Outcome::Busy { holder: Some(queue(holders().swap_remove(0)).held_by()), status: BUSY_STATUS },
            Outcome::Busy { holder: None, status: BUSY_STATUS },
        ],
        Outcome::Superseded(_) => [
            Outcome::Superseded(Some("deploy@build8: release (pid 12)".to_owned())),
            Outcome::Superseded(None),
        ],
        Outcome::Broken(_) => [Outcome::Broken("ops@bastion".to_owned())],
        Outcome::AlreadyDone(_) => [
            Outcome::AlreadyDone("2026-11-22T03:00:12Z by deploy@build7".to_owned()),
        ],
        Outcome::NotRecorded(_) => [Outcome::NotRecorded(detail())],
        Outcome::Unavailable(_) => [Outcome::Unavailable(detail())],
        Outcome::Denied(_) => [
            Outcome::Denied("etcd at etcd1:2379 refuses the user name or the password".to_owned()),
        ],
        Outcome::NotExecutable(_) => [Outcome::not_started("/opt/report", libc::EACCES)],
        Outcome::NotFound(_) => [Outcome::not_started("/opt/report", libc::ENOENT)],
        Outcome::Usage(_) => [Outcome::Usage("--ttl can be at most 300s".to_owned())],
        Outcome::Configuration(_) => [
            Outcome::Configuration("/etc/leasehold/config.toml, line 3: \"tll\" is no setting".to_owned()),
        ],
        Outcome::HelperKilled(_) => [
            Outcome::HelperKilled("manager"),
            Outcome::HelperKilled("witness"),
        ],
    }
}

samples! {
    /// What a run says on its way.
    messages: Message {
        Message::Waiting(_) => [Message::Waiting(queue(holders().swap_remove(0)))],
        Message::QueueingAgain(_) => [Message::QueueingAgain("its lease is gone (revoked or expired)".to_owned())],
        Message::PlaceGivenUp => [Message::PlaceGivenUp],
        Message::Acquired => [Message::Acquired],
        Message::RenewalFailing(_) => [Message::RenewalFailing(trouble())],
        Message::RunningOn(_) => [Message::RunningOn(Loss::LeaseGone)],
        Message::RenewalRecovered => [Message::RenewalRecovered],
        Message::Stopping(_) => [Message::Stopping("--max-runtime is over".to_owned())],
        Message::NotReleased(_) => [Message::NotReleased(trouble())],
        Message::NotKept(_) => [Message::NotKept(trouble())],
        Message::NotRecorded(_) => [Message::NotRecorded(trouble())],
    }
}

const LEFT: &str = "sleep (4711), cp (4712, uninterruptible) and 3 more";

samples! {
    /// What is said beside that.
    notes: Note {
        Note::Setting(_) => [Note::Setting("endpoints: etcd1:2379 (LEASEHOLD_ENDPOINTS)".to_owned())],
        Note::Remark(_) => [Note::Remark("the password goes to etcd1:2379 unencrypted".to_owned())],
        Note::Ability(_) => [Note::Ability("pidfd: a signal cannot hit a process that took over a pid".to_owned())],
        Note::Leftovers(_) => [Note::Leftovers(LEFT.to_owned())],
        Note::KeptForSurvivors(_) => [Note::KeptForSurvivors(LEFT.to_owned())],
        Note::LostToSurvivors(_) => [Note::LostToSurvivors(LEFT.to_owned())],
        Note::ReportNotWritten(_) => [Note::ReportNotWritten("No space left on device".to_owned())],
        Note::MetricsNotWritten(_) => [Note::MetricsNotWritten("No space left on device".to_owned())],
    }
}

#[test]
fn the_outcomes_of_a_run_are_all_but_those_of_a_fence() {
    let of_fences = ["stale", "preempted", "unknown"];
    let outcomes = outcomes();
    let mut names: Vec<&str> = outcomes.iter().map(Outcome::name).collect();
    names.retain(|name| !of_fences.contains(name));
    names.dedup();
    assert_eq!(names, Outcome::NAMES_OF_RUN);
}
