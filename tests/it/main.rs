//! Tests of the shipped binary.

// The scripts of completions/ in their shells.
mod completions;
// Settings from files.
mod configuration;
