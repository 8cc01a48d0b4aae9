//! Inv.
