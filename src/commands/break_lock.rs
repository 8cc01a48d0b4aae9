//! `leasehold break NAME --token N`: takes the lock from its holder, or the place from a waiter.

use std::time::Duration;

use crate::cli::operating::BreakArgs;
use crate::commands::status::{headline, person, who};
use crate::commands::{ask, failed};
use crate::config::Inherited;
use crate::lock::entry::harmless;
use crate::outcome::{BUSY_STATUS, Ending, Outcome};
use crate::service::{
    BreakProgress, Breaking, Broken, Connection, InspectedEntry, Inspection, PlaceState,
    Revocation, inspect, take,
};
use crate::{clock, ui};

/// How many tokens are named where somebody typed another one.
const TOKENS_SHOWN: usize = 5;

/// What a lease that ended means for what runs under it.
const RUNS_ON: &str = "its command is killed when its machine notices (not with --on-loss warn); until then it may run on beside the next holder's, so let the token decide (leasehold fence)";

/// How it came out.
enum Came {
    NotThere(Inspection),
    To(InspectedEntry, Broken),
}

/// Runs the subcommand.
pub fn break_lock(args: &BreakArgs, inherited: &Inherited) -> Ending {
    let wanted = Breaking {
        name: args.name.clone(),
        token: args.token,
        by: format!("{}@{}", inherited.user, inherited.host),
        reason: args.reason.clone(),
        force: args.force,
    };
    let breaking = async |connection: &Connection, prefix: &_, give_up_at| {
        let say = |progress| tell(args, &progress);
        match take(connection, prefix, &wanted, give_up_at, say).await? {
            Some((target, broken)) => Ok(Came::To(target, broken)),
            None => inspect(connection, prefix, &args.name, TOKENS_SHOWN, give_up_at)
                .await
                .map(Came::NotThere),
        }
    };
    match ask(&args.connection, inherited, breaking) {
        Ok(Came::NotThere(found)) => {
            let (name, token) = (&args.name, args.token);
            let now = headline(name, &found, clock::wall());
            let shown = found.entries.iter();
            let tokens = shown.map(|entry| entry.token.to_string());
            let tokens = match &tokens.collect::<Vec<String>>()[..] {
                [] => String::new(),
                tokens => format!(" (the first tokens: {})", tokens.join(", ")),
            };
            let stale = Outcome::Stale(format!(
                "{name}: nobody has the token {token}, and nothing was done; {now}{tokens}"
            ));
            failed(name, &stale)
        }
        Ok(Came::To(target, broken)) => end(args, &target, &broken),
        Err(outcome) => failed(&args.name, &outcome),
    }
}

fn tell(args: &BreakArgs, progress: &BreakProgress) {
    let name = &args.name;
    let seconds = |duration: &Duration| duration.as_millis().div_ceil(1000);
    ui::complain(&match progress {
        BreakProgress::Asked(who, ttl) => format!(
            "{name}: {who} was asked; waiting at most {}s for the answer",
            seconds(ttl)
        ),
        BreakProgress::Answered(within) => {
            format!("{name}: it answered, and stops within {}s", seconds(within))
        }
    });
}

fn end(args: &BreakArgs, target: &InspectedEntry, broken: &Broken) -> Ending {
    let (name, token) = (&args.name, args.token);
    let who = who(target);
    let had = match target.state {
        PlaceState::Held => "the lock",
        PlaceState::Reserved | PlaceState::Waiting => "its place",
    };
    let done = match broken {
        Broken::GaveBack => format!("{name}: {who} stopped and gave {had} back (token {token})\n"),
        Broken::Gone => {
            format!("{name}: {who} had gone before it was asked (token {token})\n")
        }
        Broken::Revoked(why, with_it) => {
            let with_it = match &with_it[..] {
                [] => String::new(),
                keys => {
                    let keys: Vec<String> = keys.iter().map(|key| harmless(key)).collect();
                    format!("; with the lease went {}", keys.join(", "))
                }
            };
            let risk = risk(*why);
            format!("{name}: {who} was in the way and {risk} (token {token}{with_it})\n")
        }
        Broken::Vanished => format!(
            "{name}: {who} vanished before it had stopped: its lease ended (token {token}); {RUNS_ON}\n"
        ),
        Broken::Stays => {
            ui::complain(&format!(
                "{name}: {who} answered but still has {had} (token {token}): what it runs could not be stopped, or it cannot reach etcd; see its messages, or give --force"
            ));
            return Ending::Status(BUSY_STATUS);
        }
        Broken::CannotBeAsked => {
            ui::complain(&format!(
                "{name}: {} cannot be asked, and nothing was done: with --force its key goes, but what it runs does not stop",
                person(target)
            ));
            return Ending::Status(BUSY_STATUS);
        }
    };
    ui::print(&done)
}

/// What was done to one that did not give it back by itself, and what that means.
fn risk(why: Revocation) -> String {
    let then = match why {
        Revocation::Kept => {
            "its time of --hold-min was ended; its command had ended before, so nothing runs on"
        }
        Revocation::Foreign => {
            "its key was taken away: nobody stops what it runs, so stop it yourself"
        }
        Revocation::Unanswered => "did not answer within its TTL, so its lease was revoked",
        Revocation::Forced => "its lease was revoked without asking",
    };
    match why {
        Revocation::Kept | Revocation::Foreign => then.to_owned(),
        Revocation::Unanswered | Revocation::Forced => format!("{then}: {RUNS_ON}"),
    }
}
