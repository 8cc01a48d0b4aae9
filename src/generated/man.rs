//! The manual page: one page with every subcommand.

use clap::Command;
use clap_mangen::Man;

use super::{command, compare};
use crate::config::setting::{self, Setting};
use crate::environment::EXPORTED;
use crate::outcome::exit_status_table;

const DESCRIPTION: &str = "\
.B leasehold run
takes a lock in etcd, runs a command, and gives the lock back when the last process of the command is gone.
If the lock can no longer be proved to be held, the command and everything it started is stopped before
anybody else can get the lock.
Everything after
.I NAME
is the command; no shell is involved unless
.B \\-c
is used.
.PP
A duration is written as
.BR 1.5 ,
.BR 90s ,
.BR 5m ,
.B 2h
or
.BR 1d ;
a bare number is seconds.
";

const FILES: &str = "\
.TP
.I ~/.config/leasehold/config.toml
The user's settings (below
.I $XDG_CONFIG_HOME
where that is set).
.TP
.I /etc/leasehold/config.toml
The system's settings.
.PP
What the command line says is believed before variables, these before the user's file, that before the
system's file, and that before the default.
In a file, a table such as
.B [lock.\"deploy/prod\"]
or
.B [lock.\"deploy/*\"]
has settings of
.B leasehold run
for these locks.
.B leasehold config show
tells every setting and where it came from.
";

const SEE_ALSO: &str = "\
.BR flock (1),
.BR timeout (1),
.BR etcdctl (1),
.BR sysexits (3)
";

/// Text that roff takes as it is.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.strip_prefix(['.', '\'']) {
        Some(_) => format!("\\&{text}"),
        None => text,
    }
}

fn page() -> String {
    let command = command();
    let version = env!("CARGO_PKG_VERSION");
    // No date: the page is a function of the definitions.
    // What the crate roff writes for an apostrophe.
    let mut page = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n".to_owned();
    page.push_str(&format!(
        ".TH LEASEHOLD 1 \"\" \"leasehold {version}\" \"\"\n"
    ));
    page.push_str(".SH NAME\nleasehold \\- ");
    let about = command.get_about().map(ToString::to_string);
    page.push_str(&escaped(about.unwrap_or_default().trim_end_matches('.')));
    page.push_str("\n.SH SYNOPSIS\n");
    let subcommands = visible(&command);
    let synopses: Vec<String> = subcommands.iter().map(synopsis).collect();
    page.push_str(&synopses.join(".br\n"));
    page.push_str(".SH DESCRIPTION\n");
    page.push_str(DESCRIPTION);
    page.push_str(".SH COMMANDS\n");
    for subcommand in &subcommands {
        page.push_str(&section(subcommand));
    }
    page.push_str(".SH CONNECTION\nEvery command that talks to etcd has these options.\n");
    page.push_str(&connection(&subcommands));
    page.push_str(".SH EXIT STATUS\nOf\n.BR \"leasehold run\" :\n");
    for row in exit_status_table() {
        let (status, meaning, ran) = (escaped(row.status), escaped(row.meaning), row.ran);
        page.push_str(&format!(
            ".TP\n.B {status}\n{meaning}. Did the command run: {ran}.\n"
        ));
    }
    page.push_str(".SH ENVIRONMENT\n");
    page.push_str(&environment());
    page.push_str(".SH FILES\n");
    page.push_str(FILES);
    page.push_str(".SH SEE ALSO\n");
    page.push_str(SEE_ALSO);
    page
}

/// The subcommands that do something, `config show` rather than `config`.
fn visible(command: &Command) -> Vec<Command> {
    let subcommands = command.get_subcommands();
    let shown = subcommands
        .filter(|subcommand| !subcommand.is_hide_set() && subcommand.get_name() != "help");
    shown
        .flat_map(|subcommand| {
            if subcommand.has_subcommands() {
                visible(subcommand)
            } else {
                vec![subcommand.clone()]
            }
        })
        .collect()
}

/// `leasehold config show`
fn called(subcommand: &Command) -> &str {
    subcommand.get_bin_name().expect("a built command has one")
}

fn synopsis(subcommand: &Command) -> String {
    let usage = subcommand.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").lines().map(|line| {
        let line = escaped(line.trim());
        let line = line.strip_prefix("leasehold ").unwrap_or(&line).to_owned();
        format!(".B leasehold\n{line}\n")
    });
    usage.collect::<Vec<String>>().join(".br\n")
}

/// A subcommand without the options that all have.
fn section(subcommand: &Command) -> String {
    let about = subcommand.get_about().map(ToString::to_string);
    let about = escaped(&about.unwrap_or_default());
    let own = subcommand
        .get_arguments()
        .filter(|argument| argument.get_help_heading().is_none() && argument.get_id() != "help");
    let own = Command::new("x").disable_help_flag(true).args(own.cloned());
    let options = options(own);
    let after = subcommand.get_after_help().map(ToString::to_string);
    // The exit statuses have a section of their own.
    let after = after.filter(|_| subcommand.get_name() != "run");
    let after = after.map(|text| format!(".PP\n.nf\n{}\n.fi\n", escaped(text.trim_end())));
    let name = called(subcommand);
    format!(
        ".SS {name}\n{about}.\n{options}{}",
        after.unwrap_or_default()
    )
}

fn options(mut command: Command) -> String {
    command.build();
    let mut options = Vec::new();
    let rendered = Man::new(command).render_options_section(&mut options);
    rendered.expect("memory can be written");
    let options = String::from_utf8(options).expect("a page is text");
    // Behind roff's preamble and the heading of a page that has only options.
    let heading = ".SH OPTIONS\n";
    let start = options.find(heading).map(|start| start + heading.len());
    start.map_or_else(String::new, |start| options[start..].to_owned())
}

fn connection(subcommands: &[Command]) -> String {
    let run = subcommands
        .iter()
        .find(|command| command.get_name() == "run");
    let run = run.expect("run is a subcommand");
    let common = run
        .get_arguments()
        .filter(|argument| argument.get_help_heading().is_some());
    // Without the heading, which would begin a section.
    let common = common.map(|argument| argument.clone().help_heading(None::<&str>));
    options(Command::new("x").disable_help_flag(true).args(common))
}

fn environment() -> String {
    let mut text = "These are settings; what an option says is believed before them.\n".to_owned();
    let variables = setting::ALL.iter().filter_map(|setting| {
        let etcdctl = setting.etcdctl.map(|name| format!(" (or {name})"));
        Some((setting.variable?, etcdctl.unwrap_or_default(), *setting))
    });
    for (variable, etcdctl, setting) in variables {
        let meaning = escaped(&meaning(setting));
        text.push_str(&format!(".TP\n.B {variable}{etcdctl}\n{meaning}.\n"));
    }
    text.push_str(".PP\nThe command gets these, whatever was inherited:\n");
    for exported in EXPORTED {
        let meaning = escaped(exported.meaning);
        text.push_str(&format!(".TP\n.B {}\n{meaning}.\n", exported.name));
    }
    text
}

fn meaning(setting: &Setting) -> String {
    match setting.option {
        Some(option) => format!("As --{option}"),
        None => setting.meaning.to_owned(),
    }
}

#[test]
fn the_manual_page_is_that_of_the_definitions() {
    compare("completions/leasehold.1", &page());
}

#[test]
fn the_manual_page_has_every_subcommand_option_status_and_variable() {
    // As a reader sees it.
    let page = page().replace("\\-", "-");
    for subcommand in visible(&command()) {
        assert!(page.contains(&format!(".SS {}", called(&subcommand))));
        for option in subcommand.get_arguments().filter_map(clap::Arg::get_long) {
            let named = page.contains(&format!("--{option}")) || option == "help";
            assert!(named, "--{option}");
        }
    }
    for row in exit_status_table() {
        assert!(
            page.contains(&format!(".B {}", row.status)),
            "{}",
            row.status
        );
    }
    for exported in EXPORTED {
        assert!(
            page.contains(&format!(".B {}", exported.name)),
            "{}",
            exported.name
        );
    }
    assert!(!page.contains("complete-names"));
}
