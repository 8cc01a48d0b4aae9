//! How many may hold a lock together: what an exclusive, a shared and a slots contender differ in, and all
//! that they differ in.
//!
//! It is stored as the number of holders, or as the word "unlimited". Whatever else stands there is not
//! understood, and its entry counts as exclusive.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lock::token::Mode;

/// What is stored in place of a number.
const UNLIMITED: &str = "unlimited";

/// How many may hold a lock together with this contender, it included. The smaller one is the stricter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
pub enum Limit {
    /// At most so many; one is exclusive.
    Holders(NonZeroU32),
    /// Any number.
    Unlimited,
}

impl Limit {
    /// One holder.
    pub const EXCLUSIVE: Self = Self::Holders(NonZeroU32::MIN);

    /// Whether somebody may hold the lock together with so many others.
    pub fn admits(self, others: usize) -> bool {
        match self {
            Self::Holders(holders) => others < holders.get() as usize,
            Self::Unlimited => true,
        }
    }

    /// The word for it.
    pub fn mode(self) -> Mode {
        match self {
            Self::EXCLUSIVE => Mode::Exclusive,
            Self::Holders(_) => Mode::Slots,
            Self::Unlimited => Mode::Shared,
        }
    }
}

impl From<Limit> for Value {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Holders(holders) => holders.get().into(),
            Limit::Unlimited => UNLIMITED.into(),
        }
    }
}

impl TryFrom<Value> for Limit {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        if value == UNLIMITED {
            return Ok(Self::Unlimited);
        }
        let holders = value.as_u64().and_then(|number| u32::try_from(number).ok());
        holders
            .and_then(NonZeroU32::new)
            .map(Self::Holders)
            .ok_or("no limit that this version understands")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders(number: u32) -> Limit {
        Limit::Holders(NonZeroU32::new(number).expect("positive"))
    }

    #[test]
    fn the_stricter_limit_is_the_smaller_one() {
        assert!(Limit::EXCLUSIVE < holders(2));
        assert!(holders(2) < holders(3));
        assert!(holders(u32::MAX) < Limit::Unlimited);
    }

    #[test]
    fn so_many_may_hold_it_together() {
        assert!(Limit::EXCLUSIVE.admits(0) && !Limit::EXCLUSIVE.admits(1));
        assert!(holders(3).admits(2) && !holders(3).admits(3));
        assert!(Limit::Unlimited.admits(usize::MAX));
    }

    #[test]
    fn what_is_stored_is_read_back_and_nothing_else_is_understood() {
        for limit in [
            Limit::EXCLUSIVE,
            holders(2),
            holders(u32::MAX),
            Limit::Unlimited,
        ] {
            let stored = serde_json::to_string(&limit).expect("a value");
            assert_eq!(
                serde_json::from_str::<Limit>(&stored).expect(&stored),
                limit
            );
        }
        for stored in [
            "0",
            "-1",
            "1.5",
            "4294967296",
            "null",
            "\"2\"",
            "\"shared\"",
            "[]",
        ] {
            assert!(serde_json::from_str::<Limit>(stored).is_err(), "{stored}");
        }
    }

    #[test]
    fn one_slot_is_an_exclusive_lock() {
        assert_eq!(holders(1).mode(), Mode::Exclusive);
        assert_eq!(holders(2).mode(), Mode::Slots);
        assert_eq!(Limit::Unlimited.mode(), Mode::Shared);
    }
}
