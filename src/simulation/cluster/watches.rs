//! Watches: what a member tells of what it has applied, as late as it applies it.

use std::time::Duration;

use crate::simulation::cluster::{Cluster, Effect, Watching};
use crate::simulation::kernel;
use crate::simulation::protocol::{Change, Notice, WatchFor};
use crate::simulation::sights::Sight;
use crate::simulation::world::Occurrence;

impl Cluster {
    pub(super) fn watch(&mut self, host: usize, member: usize, watch: WatchFor) {
        let header = self.header(member);
        let (stream, number) = (watch.stream, watch.watch);
        let mut notice = |notice| {
            self.effects.push(Effect::Notice {
                host,
                member,
                stream,
                notice,
            });
        };
        notice(Notice::Created {
            watch: number,
            header,
        });
        // Before it, and not at it (etcd: server/storage/mvcc/watcher_group.go, chooseAll).
        if watch.start_revision > 0 && watch.start_revision < self.store.compacted {
            kernel::saw(Sight::WatchCompacted);
            let revision = self.store.compacted;
            return notice(Notice::Compacted {
                watch: number,
                header,
                revision,
            });
        }
        let seen = match watch.start_revision {
            0 => self.store.revision,
            start => start - 1,
        };
        let compacted = Some(self.store.compacted).filter(|it| *it == watch.start_revision);
        self.members[member].watches.push(Watching {
            host,
            watch,
            seen,
            compacted,
        });
        self.tell_watches();
    }

    pub fn close_stream(&mut self, member: usize, stream: u64) {
        let watches = &mut self.members[member].watches;
        watches.retain(|watching| watching.watch.stream != stream);
    }

    pub(super) fn tell_watches(&mut self) {
        for member in 0..self.members.len() {
            if self.members[member].watches.is_empty() {
                continue;
            }
            let lag = self.random.duration(Duration::ZERO, self.knobs.lag_max);
            if lag > Duration::from_millis(50) {
                kernel::saw(Sight::MemberLagged);
            }
            kernel::schedule(kernel::time() + lag, Occurrence::Applied(member));
        }
    }

    /// A member has applied what was committed, and tells those who watch.
    pub fn applied(&mut self, member: usize) {
        if !self.connected(member) {
            return;
        }
        let header = self.header(member);
        for watching in &mut self.members[member].watches {
            let watch = &watching.watch;
            let wanted = |change: &&Change| {
                let filtered = if change.deleted {
                    watch.no_delete
                } else {
                    watch.no_put
                };
                // Without a word: seen on 3.4.23 and 3.5.1.
                let forgotten =
                    change.deleted && watching.compacted == Some(change.kv.mod_revision);
                !filtered && !forgotten && watch.keys.covers(&change.kv.key)
            };
            let news = self.store.changes_since(watching.seen);
            let changes: Vec<Change> = news.iter().filter(wanted).cloned().collect();
            watching.seen = self.store.revision.max(watching.seen);
            if !changes.is_empty() {
                let notice = Notice::Happened {
                    watch: watch.watch,
                    header,
                    changes,
                };
                let (host, stream) = (watching.host, watch.stream);
                self.effects.push(Effect::Notice {
                    host,
                    member,
                    stream,
                    notice,
                });
            }
        }
    }
}
