//! What tests are made of. A test reads from top to bottom: an etcd, a run, what came of it.
#![allow(dead_code, reason = "written before the tests that will use it")]

// A cluster of its own for every test.
pub(crate) mod etcd;
// Certificates, good and bad.
pub(crate) mod certificates;
// Cgroups that are delegated, or frozen.
pub(crate) mod cgroup;
// An etcd, or a folder of this machine.
pub(crate) mod service;
// A look into the store behind leasehold's back.
pub(crate) mod store;
// The command under test.
pub(crate) mod leasehold;
// What programs print.
pub(crate) mod captured;
// What holds whatever happens.
pub(crate) mod decency;
// A network that fails.
pub(crate) mod proxy;
// A host that is gone.
pub(crate) mod unreachable;
// Other processes, and the clock.
pub(crate) mod processes;
// Somebody at a terminal.
pub(crate) mod pty;
// The only poll.
pub(crate) mod eventually;
// What locks protect.
pub(crate) mod servers;
// Another time of day.
pub(crate) mod wall_clock;
// Who reads metrics.
pub(crate) mod prometheus;
// What `fence run` protects.
pub(crate) mod machine;
// What a machine lacks.
pub(crate) mod untested;
// Many runs at a time.
pub(crate) mod together;
// Who is who around a command, and places where leasehold has to do without something.
pub(crate) mod anatomy;
// An interactive shell.
pub(crate) mod shell;
// A fault, and the line that tells of it.
pub(crate) mod fault;
// Hosts on a network of their own.
pub(crate) mod network;
