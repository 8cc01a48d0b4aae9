//! The subcommands other than `run`: one file each, thin.

pub mod complete_names;
pub mod config;
pub mod shell_help;
pub mod status;

use crate::outcome::{Ending, Outcome};
use crate::ui;

/// An ending before anything began: what was typed, or a setting, is wrong.
pub fn refuse(outcome: &Outcome) -> Ending {
    if let Outcome::Usage(why) | Outcome::Configuration(why) = outcome {
        ui::complain(why);
    }
    outcome.ending()
}
