//! Tests of the shipped binary.
