//! The tables of docs/configuration.md.

use super::compare;
use crate::config::setting::{self, Fallback, Scope, Setting};

const PAGE: &str = include_str!("../../docs/configuration.md");
const BEGIN: &str = "<!-- settings: generated from src/config/setting.rs -->\n";
const END: &str = "<!-- end of settings -->";

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn option(setting: &Setting) -> String {
    let long = setting
        .option
        .map(|option| format!("`--{option} {}`", setting.value_name));
    let short = setting.short.map(|short| format!("`-{short}`, "));
    format!("{}{}", short.unwrap_or_default(), long.unwrap_or_default())
}

fn default(setting: &Setting) -> String {
    match setting.fallback {
        Fallback::Value(value) => code(value),
        Fallback::Described(text) => text.to_owned(),
        Fallback::Nothing => String::new(),
    }
}

fn table(scope: Scope) -> String {
    let with_variables = scope == Scope::Connection;
    let mut table = if with_variables {
        "| in config.toml | option | variable | default | meaning |\n|---|---|---|---|---|\n"
    } else {
        "| in config.toml | option | default | meaning |\n|---|---|---|---|\n"
    }
    .to_owned();
    for setting in setting::ALL.iter().filter(|setting| setting.scope == scope) {
        let key = if setting.in_files {
            code(setting.key)
        } else {
            String::new()
        };
        let variables = [setting.variable, setting.etcdctl].into_iter().flatten();
        let variables: Vec<String> = variables.map(code).collect();
        let variables = if with_variables {
            format!(" {} |", variables.join(", "))
        } else {
            String::new()
        };
        table.push_str(&format!(
            "| {key} | {} |{variables} {} | {} |\n",
            option(setting),
            default(setting),
            setting.meaning
        ));
    }
    table
}

#[test]
fn the_page_has_every_setting() {
    let begin = PAGE.find(BEGIN).expect("the begin is marked") + BEGIN.len();
    let end = PAGE.find(END).expect("the end is marked");
    let wanted = format!(
        "{}\nHow to reach etcd, for every command:\n\n{}\nHow `run` runs a command:\n\n{}\n{}",
        &PAGE[..begin],
        table(Scope::Connection),
        table(Scope::Run),
        &PAGE[end..]
    );
    compare("docs/configuration.md", &wanted);
}
