//! The completion scripts: clap_complete's, and around them what it cannot know (hooks/): lock names come from
//! the cluster, and after NAME the command completes itself.

use clap::{Arg, Command};
use clap_complete::aot::{Generator, Shell};

use super::{command, compare};

/// Of one subcommand that takes a lock's name: how to find the name among the words.
struct Named {
    subcommand: String,
    /// Options that take the next word, as `--wait`.
    long: Vec<String>,
    /// Short options that stand alone.
    flags: String,
    /// Short options that take the next word.
    short: String,
}

fn named(command: &Command) -> Vec<Named> {
    let takes_name = |subcommand: &&Command| {
        let mut positionals = subcommand.get_positionals();
        !subcommand.is_hide_set()
            && positionals.any(|argument| matches!(argument.get_id().as_str(), "name" | "words"))
    };
    let subcommands = command.get_subcommands().filter(takes_name);
    subcommands.map(of_subcommand).collect()
}

fn of_subcommand(subcommand: &Command) -> Named {
    let takes_value = |argument: &&Arg| argument.get_action().takes_values();
    let options = || subcommand.get_opts();
    let flags = subcommand
        .get_arguments()
        .filter(|argument| !argument.is_positional() && !takes_value(argument));
    Named {
        subcommand: subcommand.get_name().to_owned(),
        long: options()
            .filter(takes_value)
            .flat_map(|option| option.get_long_and_visible_aliases().unwrap_or_default())
            .map(|long| format!("--{long}"))
            .collect(),
        flags: flags.filter_map(Arg::get_short).collect(),
        short: options()
            .filter(takes_value)
            .filter_map(Arg::get_short)
            .collect(),
    }
}

impl Named {
    /// Matches a word whose last letter is a short option that takes the next word: `-w`, `-qw`.
    fn short_pattern(&self) -> String {
        if self.short.is_empty() {
            // Matches nothing.
            return "^-$".to_owned();
        }
        format!("^-[{}]*[{}]$", self.flags, self.short)
    }
}

/// clap_complete's script. It knows nothing of hidden subcommands.
fn generated(shell: Shell) -> String {
    let all = <crate::cli::Cli as clap::CommandFactory>::command();
    let visible = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut visible = Command::new("leasehold")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .subcommands(visible.cloned());
    visible.set_bin_name("leasehold");
    visible.build();
    let mut script = Vec::new();
    shell.generate(&visible, &mut script);
    String::from_utf8(script).expect("a script is text")
}

/// The script with every occurrence of a text replaced; the text has to be there, or clap_complete has changed.
fn replaced(script: &str, from: &str, to: &str) -> String {
    assert!(
        script.contains(from),
        "clap_complete writes no {from:?} any more"
    );
    script.replace(from, to)
}

fn cases(template: &str, case: impl Fn(&Named) -> String) -> String {
    let cases: String = named(&command()).iter().map(case).collect();
    replaced(template, "@CASES@", cases.trim_end())
}

fn bash() -> String {
    let script = generated(Shell::Bash);
    let end = script
        .find("\nif [[ \"${BASH_VERSINFO[0]}\" -eq 4")
        .expect("it registers itself");
    let hooks = cases(include_str!("hooks/leasehold.bash"), |named| {
        let long = named.long.join(" ");
        let short = named.short_pattern();
        format!(
            "        {}) long=' {long} ' short='{short}' ;;\n",
            named.subcommand
        )
    });
    let registration = replaced(&script[end..], "-F _leasehold ", "-F _leasehold_or_names ");
    format!("{}\n{hooks}{registration}", &script[..end])
}

fn zsh() -> String {
    let script = generated(Shell::Zsh);
    let script = replaced(&script, "\n_leasehold() {", "\n_leasehold_options() {");
    let end = script
        .find("\nif [ \"$funcstack[1]\"")
        .expect("it registers itself");
    let hooks = cases(include_str!("hooks/_leasehold"), |named| {
        let long = named.long.join(" ");
        let short = named.short_pattern();
        format!(
            "        {}) long=({long}) short='{short}' ;;\n",
            named.subcommand
        )
    });
    format!("{}\n{hooks}{}", &script[..end], &script[end..])
}

fn fish() -> String {
    let script = generated(Shell::Fish);
    let script = replaced(
        &script,
        "-n \"__fish_leasehold_using_subcommand run\"",
        "-n \"__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name\"",
    );
    let hooks = cases(include_str!("hooks/leasehold.fish"), |named| {
        let long = named.long.join(" ");
        let short = named.short_pattern();
        let subcommand = &named.subcommand;
        format!(
            "        case {subcommand}\n            set long {long}\n            set short '{short}'\n"
        )
    });
    format!("{script}{}\n{hooks}", fish_values())
}

/// What clap_complete leaves out for fish: the values of words that are no options.
fn fish_values() -> String {
    let command = command();
    let positionals = command.get_subcommands().flat_map(|subcommand| {
        let positionals = subcommand.get_positionals();
        positionals.map(move |positional| (subcommand.get_name(), positional))
    });
    let lines = positionals.filter_map(|(subcommand, positional)| {
        let values = positional.get_possible_values();
        let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        (!names.is_empty()).then(|| {
            let condition = format!("__fish_leasehold_using_subcommand {subcommand}");
            format!(
                "complete -c leasehold -n \"{condition}\" -f -a '{}'\n",
                names.join(" ")
            )
        })
    });
    lines.collect()
}

fn elvish() -> String {
    let script = generated(Shell::Elvish);
    let hooks = cases(include_str!("hooks/leasehold.elv"), |named| {
        let long = named.long.join(" ");
        let short = named.short_pattern();
        format!("    &{}=[[{long}] '{short}']\n", named.subcommand)
    });
    format!("{}\n{hooks}", script.trim_start())
}

#[test]
fn the_completion_scripts_are_those_of_the_definition() {
    compare("completions/leasehold.bash", &bash());
    compare("completions/_leasehold", &zsh());
    compare("completions/leasehold.fish", &fish());
    compare("completions/leasehold.elv", &elvish());
    compare(
        "completions/_leasehold.ps1",
        generated(Shell::PowerShell).trim_start(),
    );
}

#[test]
fn the_words_before_a_name_are_told_from_it() {
    let named = named(&command());
    let run = named
        .iter()
        .find(|named| named.subcommand == "run")
        .expect("run");
    assert!(run.long.contains(&"--ttl".to_owned()) && run.long.contains(&"--command".to_owned()));
    assert!(run.flags.contains('n') && run.flags.contains('h') && !run.flags.contains('w'));
    assert!(run.short.contains('w') && run.short.contains('c') && !run.short.contains('n'));
    assert!(named.iter().any(|named| named.subcommand == "status"));
}
