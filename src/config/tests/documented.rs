//! docs/configuration.md.
