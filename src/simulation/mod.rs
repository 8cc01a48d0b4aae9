//! A seeded world in which the shipped code runs: the supervisor, the lock's rules and the whole service on etcd,
//! against a model of etcd, the network, the clocks and the processes. No thread, no socket, no process, and no
//! time passes: a thousand histories a second on one core, each the same again for the same seed.
//!
//! ```text
//!  Scenario ──▶ World ── turns ──▶ Host: Supervisor (shipped) ◀─▶ Etcd (shipped) ── etcd-client
//!   a seed's     │ │                └ Machine: front, witness, tree                   │
//!   history      │ └ Checker: the promises, after every step                          │ bytes
//!                └── Cluster: members, leases, elections ◀── Links: delay, loss ◀─────┘
//!                     └ Store: revisions, transactions
//! ```
//! - The shipped code meets the simulation in five places, each a few lines under `cfg(test)`: `clock::now`,
//!   `clock::wall`, `deadline::reached`, `Member::connect`, `session::new_lease_id`. All ask the kernel.
//! - Faults are drawn before a history begins (scenario.rs, plots.rs), so it can be printed, replayed, and made
//!   smaller (shrink.rs).
//! - A mutant (mutants/) breaks one rule at the seams. The simulator has to find every one.
//! - What the model does is compared with a real etcd (service/etcd/simulated/conformance, visit.rs).
//!
//! docs/correctness.md says what all this shows, and what it does not.

/// Made for many small pieces, of which a history consists.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// What the shipped code sees of it.
pub mod kernel;
// etcd's API as plain data.
pub mod protocol;
// Chance.
pub mod random;
// A history before it happens.
mod scenario;
// Histories in which not everybody wants the lock alone.
mod modes;
// Runs that want more than the lock.
mod policies;
// Coincidences that chance alone would rarely bring about.
mod plots;
// What etcd keeps.
pub mod store;
// Who of its members answers what.
mod cluster;
// Messages under way.
mod network;
// The processes around a command.
mod machine;
// One contender.
mod host;
// What run.rs does with it.
mod shell;
// Everything that happens.
mod world;
// What is looked at after it.
mod observer;
// Everything that goes wrong.
mod faults;
// What must hold.
mod checker;
// What was met.
pub mod sights;
// Broken rules.
mod mutants;
// Which check finds which of them.
mod matrix;
// The page that says so.
mod page;
// Somebody else's view of the cluster.
pub mod visit;
// For people.
mod shrink;
// Histories that broke a promise once.
mod regressions;
mod tests;
mod trace;
