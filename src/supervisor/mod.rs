//! Decisions. (Being written.)

pub mod action;
pub mod event;

pub use action::{Action, Message};
pub use event::{Event, Holder, Place, Queue, Trouble, TroubleKind};
