//! `fence check`, `fence put`, `fence delete`: what only the holder can do in etcd.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::cli::ConnectionArgs;
use crate::cli::fence::{CheckArgs, ClaimArgs, DeleteArgs, PutArgs};
use crate::clock::{self, Instant};
use crate::config::{self, Inherited};
use crate::fence::claim;
use crate::fence::value::value;
use crate::inherited::resolved;
use crate::lock::entry::harmless;
use crate::lock::key::Prefix;
use crate::lock::sequencer::Sequencer;
use crate::lock::token::joined;
use crate::outcome::{Ending, Outcome};
use crate::service::etcd::fence::{self, Claim, Fenced, Write};
use crate::service::{self, Connection};
use crate::supervisor::{Trouble, TroubleKind};
use crate::ui;

/// `fence check`.
pub fn check(args: &CheckArgs, inherited: &Inherited) -> Ending {
    let checked =
        Fence::resolve(args.sequencer.as_deref(), &args.connection, inherited).map(|fence| {
            let checking = service::check(&fence.connection, &fence.claim, fence.give_up_at());
            fence.outcome(block_on(checking), None, "checked")
        });
    end(checked, args.quiet)
}

/// `fence put`.
pub fn put(args: &PutArgs, inherited: &Inherited) -> Ending {
    let done = Fence::of(&args.claim, &args.connection, inherited).and_then(|fence| {
        let key = fence.key(&args.target)?;
        let value = value(args, key, &fence.claim)?;
        fence.write("fence put", key, Write::Put(&value))
    });
    end(done, args.claim.quiet)
}

/// `fence delete`.
pub fn delete(args: &DeleteArgs, inherited: &Inherited) -> Ending {
    let done = Fence::of(&args.claim, &args.connection, inherited).and_then(|fence| {
        let key = fence.key(&args.target)?;
        fence.write("fence delete", key, Write::Delete)
    });
    end(done, args.claim.quiet)
}

/// Nothing to say means that it went well.
fn end(result: Result<Option<Outcome>, Outcome>, quiet: bool) -> Ending {
    match result {
        Ok(None) => Ending::Status(0),
        // Ctrl-C where a password was asked for.
        Err(outcome @ Outcome::Interrupted(_)) => outcome.ending(),
        Ok(Some(outcome)) | Err(outcome) => {
            match &outcome {
                Outcome::Stale(_) if quiet => {}
                // No command is involved, of which `Outcome::sentence` would speak.
                Outcome::Stale(why)
                | Outcome::Unknown(why)
                | Outcome::Unavailable(why)
                | Outcome::Denied(why)
                | Outcome::Usage(why)
                | Outcome::Configuration(why) => ui::complain(why),
                other => ui::complain(&other.sentence(&"fence").unwrap_or_default()),
            }
            outcome.ending()
        }
    }
}

/// A claim, and where it can be checked.
struct Fence {
    sequencer: Sequencer,
    prefix: Prefix,
    connection: Connection,
    connect_timeout: std::time::Duration,
    claim: Claim,
}

impl Fence {
    fn of(
        args: &ClaimArgs,
        connection: &ConnectionArgs,
        inherited: &Inherited,
    ) -> Result<Self, Outcome> {
        Self::resolve(args.sequencer.as_deref(), connection, inherited)
    }

    fn resolve(
        typed: Option<&str>,
        connection: &ConnectionArgs,
        inherited: &Inherited,
    ) -> Result<Self, Outcome> {
        let sequencer = claim::sequencer(typed, inherited)?;
        let settings = resolved(inherited, |inherited| {
            config::connection(connection, inherited)
        })?;
        Ok(Self {
            claim: Claim {
                cluster: sequencer.cluster,
                token: sequencer.token,
                lease: sequencer.lease,
                keys: sequencer.keys(&settings.prefix),
                mark: sequencer.mark(&settings.prefix),
            },
            sequencer,
            connection: Connection::from(&settings),
            connect_timeout: settings.connect_timeout,
            prefix: settings.prefix,
        })
    }

    fn give_up_at(&self) -> Instant {
        clock::now() + self.connect_timeout
    }

    /// The key that is to be written, if it may be: the locks themselves are not written by hand.
    fn key<'key>(&self, key: &'key OsStr) -> Result<&'key [u8], Outcome> {
        let prefix = &self.prefix;
        if key.is_empty() {
            return Err(Outcome::Usage("KEY is empty".to_owned()));
        }
        if key.as_bytes().starts_with(prefix.to_string().as_bytes()) {
            return Err(Outcome::Usage(format!(
                "the key {} is below {prefix}, where leasehold keeps its locks; choose another one",
                shown(key.as_bytes())
            )));
        }
        Ok(key.as_bytes())
    }

    fn write(&self, what: &str, key: &[u8], write: Write<'_>) -> Result<Option<Outcome>, Outcome> {
        let give_up_at = self.give_up_at();
        let connection = self.connection.cluster(what)?;
        let writing = fence::write(connection, &self.claim, key, write, give_up_at);
        let done = match write {
            Write::Put(_) => "written",
            Write::Delete => "deleted",
        };
        Ok(self.outcome(block_on(writing), Some(key), done))
    }

    /// `done`: what was to be done to the key, as a participle.
    fn outcome(&self, fenced: Fenced, key: Option<&[u8]>, done: &str) -> Option<Outcome> {
        let Sequencer {
            token,
            cluster,
            names,
            ..
        } = &self.sequencer;
        let names = joined(names);
        let nothing = key.map_or_else(String::new, |key| {
            format!("; {} was not {done}", shown(key))
        });
        Some(match fenced {
            Fenced::Done => return None,
            Fenced::Stale => Outcome::Stale(format!(
                "{names}: token {token} is stale: the lock is not held with it any more{nothing}"
            )),
            Fenced::OtherCluster(other) => Outcome::Usage(format!(
                "{names}: token {token} is of cluster {cluster}, and this is cluster {other}: their tokens cannot be compared{nothing}"
            )),
            Fenced::NotDone(trouble) => {
                let why = format!("{names}: {}{nothing}", trouble.detail);
                match trouble.kind {
                    TroubleKind::Denied => Outcome::Denied(why),
                    TroubleKind::Misconfigured => Outcome::Configuration(why),
                    TroubleKind::Unreachable | TroubleKind::Refused => Outcome::Unavailable(why),
                }
            }
            Fenced::Unknown(trouble) => Outcome::Unknown(format!(
                "{names}: whether {} was {done} is not known: {}; give the same command again, it takes effect only while token {token} is current",
                key.map_or_else(String::new, shown),
                trouble.detail
            )),
        })
    }
}

fn shown(key: &[u8]) -> String {
    harmless(&String::from_utf8_lossy(key))
}

fn block_on(work: impl Future<Output = Fenced>) -> Fenced {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build();
    match runtime {
        Ok(runtime) => {
            let done = tokio::task::LocalSet::new().block_on(&runtime, work);
            // A name server that does not answer would hold up the end: that request cannot be taken back.
            runtime.shutdown_background();
            done
        }
        Err(error) => Fenced::NotDone(Trouble {
            kind: TroubleKind::Refused,
            detail: format!("no event loop: {error}"),
        }),
    }
}
