//! Trouble, as the scenario has it.

use std::time::Duration;

use crate::lock::key::Prefix;
use crate::lock::token::LeaseId;
use crate::outcome::Loss;
use crate::simulation::host::name;
use crate::simulation::kernel;
use crate::simulation::machine::Tree;
use crate::simulation::protocol::{Keys, Op, Transaction};
use crate::simulation::scenario::FaultKind;
use crate::simulation::sights::Sight;
use crate::simulation::world::{Occurrence, World};
use crate::supervisor::Event;

/// The leases of those who are not ours begin here, one for each fault.
const FOREIGN_LEASE: i64 = 0x0f0e_1000;

impl World {
    pub fn fault(&mut self, number: usize) {
        let fault = self.scenario.faults[number];
        self.trace
            .note(|| format!("fault    {:?} for {:?}", fault.kind, fault.lasts));
        kernel::schedule(fault.ends_at(), Occurrence::FaultEnds(number));
        self.note_fault(fault.kind);
        match fault.kind {
            FaultKind::PauseMember(member) => self.cluster.pause(member),
            FaultKind::CutMember(member) => self.cluster.cut(member),
            FaultKind::CutLink(host, member) => self.links.cut(host, member, fault.ends_at()),
            FaultKind::Suspend(host) => {
                self.hosts[host].machine.suspended += 1;
                self.checker.suspended(host);
            }
            FaultKind::FreezeManager(host) => {
                self.hosts[host].machine.frozen += 1;
                self.checker.frozen(host, true);
            }
            FaultKind::FreezeFront(host) => self.hosts[host].machine.front_frozen += 1,
            FaultKind::StopFront(host) => self.stop_front(host),
            FaultKind::KillManager(host) => self.kill_manager(host),
            FaultKind::KillFront(host) => self.kill_front(host),
            FaultKind::KillWitness(host) => self.kill_witness(host),
            FaultKind::Signal(host) => self.signal(host),
            FaultKind::RevokeLease(host) => {
                if let Some(lease) = self.lease_of(host) {
                    self.checker.tampered(host);
                    if self.cluster.store.has_lease(lease.get()) {
                        kernel::saw(Sight::LeaseTakenAway);
                    }
                    self.cluster.expire(lease.get(), true);
                }
            }
            FaultKind::DeleteEntry(host) => self.take_entry(host, true, false),
            FaultKind::OverwriteEntry(host) => self.take_entry(host, false, true),
            FaultKind::ReplaceEntry(host) => self.take_entry(host, true, true),
            FaultKind::DeleteEntries => self.delete_entries(),
            FaultKind::Compact => self.cluster.compact_until(fault.ends_at()),
            FaultKind::Foreign => self.foreign_comes(number, fault.lasts),
        }
    }

    fn note_fault(&self, kind: FaultKind) {
        let runs = |host: usize| {
            let host = &self.hosts[host];
            host.manager.is_some() && host.machine.is_alive()
        };
        let (sight, really) = match kind {
            FaultKind::CutLink(..) => (Sight::LinkCut, true),
            FaultKind::Suspend(host) => (Sight::Suspended, runs(host)),
            FaultKind::FreezeManager(host) => (Sight::ManagerFrozen, runs(host)),
            FaultKind::FreezeFront(host) => {
                (Sight::FrontFrozen, self.hosts[host].manager.is_some())
            }
            FaultKind::KillManager(host) => (Sight::ManagerKilled, runs(host)),
            FaultKind::KillFront(host) => (Sight::FrontKilled, runs(host)),
            FaultKind::KillWitness(host) => (Sight::WitnessKilled, runs(host)),
            // Noted where they take effect, or where their effect is met.
            _ => return,
        };
        if really {
            kernel::saw(sight);
        }
    }

    pub fn fault_ends(&mut self, number: usize) {
        let fault = self.scenario.faults[number];
        match fault.kind {
            FaultKind::PauseMember(member) => self.cluster.resume(member),
            FaultKind::CutMember(member) => self.cluster.heal(member),
            FaultKind::Suspend(host) => {
                self.hosts[host].machine.suspended -= 1;
                self.thaw(host, Some(fault.lasts));
            }
            FaultKind::FreezeManager(host) => {
                self.hosts[host].machine.frozen -= 1;
                self.thaw(host, None);
            }
            FaultKind::FreezeFront(host) => {
                self.hosts[host].machine.front_frozen -= 1;
                self.front_answers(host);
            }
            FaultKind::StopFront(host) => self.continue_front(host),
            // An operator removes what stays until somebody does.
            FaultKind::OverwriteEntry(_) | FaultKind::ReplaceEntry(_) => self.operator_looks(),
            FaultKind::Foreign => self.foreign_goes(number),
            _ => {}
        }
        self.trace
            .note(|| format!("fault    {:?} is over", fault.kind));
    }

    /// A host, or its manager, goes on: everything that was due meanwhile happens now.
    fn thaw(&mut self, host: usize, suspended: Option<Duration>) {
        if self.hosts[host].machine.is_suspended() {
            return;
        }
        self.checker
            .frozen(host, self.hosts[host].machine.frozen > 0);
        if self.hosts[host].machine.manager_runs() {
            self.hosts[host].machine.runs_since = kernel::time();
        }
        if let Some(lasted) = suspended {
            self.checker.resumed(host);
            if crate::simulation::mutants::misses_suspends(self.mutant) {
                kernel::miss(host, lasted);
            }
        }
        for what in std::mem::take(&mut self.hosts[host].deferred) {
            kernel::schedule(kernel::time(), what);
        }
        self.front_answers(host);
    }

    fn stop_front(&mut self, host: usize) {
        let machine = &mut self.hosts[host].machine;
        // A command that runs is what Ctrl-Z stops; the front does not report that.
        machine.front_stopped += 1;
        if machine.tree == Tree::None && machine.front_alive && machine.front_frozen == 0 {
            kernel::saw(Sight::FrontStopped);
            self.tell_if_managed(host, Event::FrontStopped);
        }
    }

    fn continue_front(&mut self, host: usize) {
        let machine = &mut self.hosts[host].machine;
        machine.front_stopped -= 1;
        if machine.front_stopped == 0 && machine.front_alive {
            self.tell_if_managed(host, Event::FrontContinued);
            self.front_answers(host);
        }
    }

    fn tell_if_managed(&mut self, host: usize, event: Event) {
        if self.hosts[host].manager.is_some() {
            self.tell(host, event);
        }
    }

    fn kill_manager(&mut self, host: usize) {
        // Once the run has said how it ended, the manager only tidies up.
        if !self.checker.has_ended(host) {
            self.manager_is_dead(host, Loss::ManagerDied);
        }
    }

    fn kill_front(&mut self, host: usize) {
        let begun = self.hosts[host].manager.is_some();
        let machine = &mut self.hosts[host].machine;
        if begun && std::mem::replace(&mut machine.front_alive, false) {
            self.checker.guard_is_gone(host);
            self.tell_if_managed(host, Event::FrontGone);
        }
    }

    fn kill_witness(&mut self, host: usize) {
        let begun = self.hosts[host].manager.is_some();
        let machine = &mut self.hosts[host].machine;
        if begun && std::mem::replace(&mut machine.witness_alive, false) {
            self.checker.guard_is_gone(host);
            self.tell_if_managed(host, Event::WitnessGone);
        }
    }

    fn signal(&mut self, host: usize) {
        let machine = &self.hosts[host].machine;
        // While a command runs, it is the command's.
        let is_for_us = !matches!(machine.tree, Tree::Alive { command: true });
        if is_for_us && machine.front_answers() {
            self.tell_if_managed(host, Event::Signal(15));
        }
    }

    fn lease_of(&self, host: usize) -> Option<LeaseId> {
        self.hosts[host].place().map(|(_, lease)| lease)
    }

    /// Somebody other than its owner takes an entry away.
    fn take_entry(&mut self, host: usize, delete: bool, put: bool) {
        let Some(lease) = self.lease_of(host) else {
            return;
        };
        let key = Prefix::default().entry(&name(), lease).into_bytes();
        if self.cluster.store.one(&key).is_none() {
            return;
        }
        self.checker.tampered(host);
        kernel::saw(Sight::EntryTaken);
        let keys = Keys {
            key: key.clone(),
            end: Vec::new(),
        };
        let replaced = key.clone();
        self.replaced.remove(&*String::from_utf8_lossy(&key));
        self.cluster.interfere(|store| {
            if delete {
                store.delete(&keys);
            }
            if put {
                let put = Op::Put {
                    key,
                    value: b"somebody else's".to_vec(),
                    lease: 0,
                    ignore_value: false,
                };
                let _ = store.transact(&Transaction {
                    then: vec![put],
                    ..Transaction::default()
                });
            }
        });
        if delete && put {
            self.replaced
                .insert(String::from_utf8_lossy(&replaced).into_owned());
        }
        self.look_at_entries();
    }

    fn delete_entries(&mut self) {
        let entries = Prefix::default().entries(&name()).into_bytes();
        let end = [&entries[..], b"~"].concat();
        self.cluster.interfere(|store| {
            store.delete(&Keys { key: entries, end });
        });
        self.look_at_entries();
    }

    /// Removes the entries that hang on no lease.
    pub fn operator_looks(&mut self) {
        let stuck = self.cluster.unleased_entries();
        self.replaced.clear();
        self.cluster.interfere(|store| {
            for keys in stuck {
                store.delete(&keys);
            }
        });
    }

    /// etcdctl takes part: an entry with a lease, and no marker.
    fn foreign_comes(&mut self, number: usize, lasts: Duration) {
        let lease = FOREIGN_LEASE + number as i64;
        let key = format!("{}{lease:x}", Prefix::default().entries(&name()));
        let ttl = lasts.as_secs() as i64 + 1_000;
        self.cluster.interfere(|store| {
            let _ = store.grant(lease, ttl);
            let put = Op::Put {
                key: key.into_bytes(),
                value: Vec::new(),
                lease,
                ignore_value: false,
            };
            let _ = store.transact(&Transaction {
                then: vec![put],
                ..Transaction::default()
            });
        });
    }

    fn foreign_goes(&mut self, number: usize) {
        let lease = FOREIGN_LEASE + number as i64;
        self.cluster.interfere(|store| {
            let _ = store.revoke(lease);
        });
    }
}
