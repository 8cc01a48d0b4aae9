//! `leasehold completions SHELL` and `leasehold man`: print what is checked in under completions/. A test makes
//! it from the command line's definition and compares (src/generated/).

use crate::cli::Shell;
use crate::outcome::Ending;
use crate::ui;

/// Prints a completion script.
pub fn completions(shell: Shell) -> Ending {
    ui::print(match shell {
        Shell::Bash => include_str!("../../completions/leasehold.bash"),
        Shell::Zsh => include_str!("../../completions/_leasehold"),
        Shell::Fish => include_str!("../../completions/leasehold.fish"),
        Shell::Elvish => include_str!("../../completions/leasehold.elv"),
        Shell::Powershell => include_str!("../../completions/_leasehold.ps1"),
    })
}

/// Prints the manual page.
pub fn man() -> Ending {
    ui::print(include_str!("../../completions/leasehold.1"))
}
