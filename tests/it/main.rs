//! Tests of the shipped binary against a real etcd: one file per promise, every test a sentence.
//!
//! Rules: nothing is slept for (the one poll is `harness::eventually`), nothing is ignored or tried twice,
//! and whatever a test starts ends with it. `LEASEHOLD_TEST_ETCD` and `LEASEHOLD_TEST_ETCDCTL` choose
//! another etcd than the one in PATH.
#![expect(
    clippy::disallowed_methods,
    reason = "the rules of the product's layers are not those of its tests"
)]
#![expect(unsafe_code, reason = "pidfds and sessions have no safe wrapper")]
#![allow(
    clippy::allow_attributes,
    clippy::print_stderr,
    reason = "tests talk to their reader"
)]

mod harness;

// The harness keeps its own promises.
mod harness_itself;

// A script can tell what happened.
mod exit_status;
// The command runs as if there were no leasehold.
mod transparency;
// First come, first served.
mod queue;
// Readers share, slots are counted.
mod modes;
// And who is woken when one goes.
mod herd;
// Which options go together.
mod combinations;
// Several locks, all or none.
mod also;
// Kept when everybody has gone.
mod hold_min;
// Done once.
mod once;
// The newest one only.
mod latest;
// Taken from whoever has it.
mod break_lock;
// Nobody runs without the lock.
mod lease_loss;
// Unless that was asked for.
mod on_loss;
// Whoever of leasehold dies first.
mod faults;
// A connection that died without a word.
mod dead_connection;
// A holder that vanished.
mod lock_delay;
// etcdctl and leasehold exclude one another.
mod interop;
// Clear sentences for bad input and trouble.
mod bad_input;
// One member of three in trouble costs nothing.
mod cluster;
// Who may look, and break.
mod one_machine;
mod oversight;
// Encrypted, and with certificates on both sides.
mod tls;
// What stands between us and etcd, and is not etcd.
mod in_between;
// Users, passwords, and what they may.
mod login;
// The outcome in a file.
mod report;
// And as metrics.
mod metrics;
// Which wake somebody.
mod alerts;
// Messages for programs.
mod events;
// Who holds it.
mod status;
// Whether a machine and a cluster are fit for it.
mod doctor;
// All of them.
mod list;
mod local;
// What happened.
mod history;
// What happens.
mod watch;
// Nobody reads what it says.
mod unread;
// Somebody at a keyboard.
mod terminal;
// The keys of job control, in every shell.
mod jobcontrol;
// Editors, pagers and shells, and terminals that go away.
mod at_a_terminal;
// Processes that hide.
mod odd_trees;
// Cgroups of the command's own, and frozen ones.
mod cgroups;
// What was let live outside the lock.
mod left_alone;
// Jobs of the shell that executed leasehold.
mod foreign_jobs;
// The table of promises, in milliseconds.
mod promises;
// Before there is a command.
mod births;
// As a service of systemd's.
mod systemd;
// Deadlines that the manager lets pass.
mod starved;
// Signals, and what the command inherits.
mod signals;
// Machines that lack something, and limits that are reached.
mod hardship;
// Who lives on after SIGKILL.
mod survivors;
// Trees that grow while they are killed.
mod crowds;
// What everything else is for.
mod invariant;
// Only the holder writes in etcd.
mod fence_etcd;
// Also where nobody hears whether he did.
mod fence_reply;
// Only the newest holder runs on a machine.
mod fence_run;
// Or keeps an older one from going on.
mod fence_preempt;
// What it remembers is on a disk, among other files.
mod fence_state;
// And no crash makes it forget.
mod fence_crash;
// Resources of all kinds refuse a holder that is one no more.
mod fence_recipes;
// Every fault that etcd, the network and the machine can have, in one table.
mod chaos;
// What users read is true.
mod help;
// What developers read is true.
mod layers;
// The scripts of completions/ in their shells.
mod completions;
// Settings from files.
mod configuration;
