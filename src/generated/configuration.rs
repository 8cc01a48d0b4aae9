//! The tables of docs/configuration.md.
