//! The house rules that clippy cannot see: which folder may know what. Read from the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What decides, and so neither waits, nor looks at a clock, nor touches anything.
const PURE: [&str; 5] = [
    "src/config",
    "src/diagnosis",
    "src/lock",
    "src/outcome.rs",
    "src/supervisor",
];

/// Files with more lines of code than this have more than one subject.
const LINES_MAX: usize = 500;

#[test]
fn only_the_etcd_service_knows_etcds_types() {
    let allowed = |path: &Path| {
        path.starts_with("src/service/etcd") || path == Path::new("src/service/etcd.rs")
    };
    nobody_says(&["etcd_client", "tonic::"], |path| !allowed(path));
}

#[test]
fn only_the_process_folder_has_unsafe_code() {
    nobody_says(
        &["unsafe {", "unsafe fn", "unsafe impl", "expect(unsafe_code"],
        |path| !path.starts_with("src/process"),
    );
}

#[test]
fn what_decides_is_pure() {
    let is_pure = |path: &Path| PURE.iter().any(|pure| path.starts_with(pure));
    assert_eq!(
        PURE.iter()
            .filter(|pure| root().join(pure).exists())
            .count(),
        PURE.len()
    );
    nobody_says(
        &[
            "async ",
            ".await",
            "tokio",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "std::env",
            "std::io",
            "nix::unistd",
            "nix::poll",
            "nix::time",
            "nix::sys::wait",
            "libc::",
            "clock::now",
            "clock::wall",
            "SystemTime",
            "println!",
            "eprintln!",
        ],
        is_pure,
    );
}

#[test]
fn only_main_exits() {
    nobody_says(&["process::exit(", "process::abort("], |path| {
        path != Path::new("src/main.rs") && !path.starts_with("src/process")
    });
}

#[test]
fn only_ui_prints() {
    nobody_says(&["println!", "eprintln!", "eprint!(", " print!("], |path| {
        !path.starts_with("src/ui")
    });
}

#[test]
fn only_the_harness_sleeps() {
    // Probes and proxies tick and delay; tests wait for something that can be seen.
    let found = lines("tests", |path| {
        let sleeps = [
            "tests/it/harness/eventually.rs",
            "tests/it/harness/proxy.rs",
            "tests/it/layers.rs",
        ];
        !path.starts_with("tests/probe") && !sleeps.iter().any(|allowed| path == Path::new(allowed))
    })
    .filter(|(_, line)| line.contains("sleep("))
    .collect::<Vec<_>>();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_test_is_ignored() {
    let ignored = ["#[ign", "ore"].concat();
    for folder in ["src", "tests"] {
        let found: Vec<_> = lines(folder, |_| true)
            .filter(|(_, line)| line.trim_start().starts_with(&ignored))
            .collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn files_have_one_subject() {
    for folder in ["src", "tests"] {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (place, line) in lines(folder, |_| true) {
            let file = place.rsplit_once(':').expect("file and line").0;
            *counts.entry(file.to_owned()).or_default() += usize::from(!line.trim().is_empty());
        }
        counts.retain(|_, count| *count > LINES_MAX);
        assert!(counts.is_empty(), "too long: {counts:#?}");
    }
}

/// No line of code of the product, outside its own tests and comments, has one of these words.
#[track_caller]
fn nobody_says(words: &[&str], of: impl Fn(&Path) -> bool) {
    let found: Vec<(String, String)> = lines("src", of)
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .collect();
    assert!(
        found.is_empty(),
        "{words:?} should not stand here: {found:#?}"
    );
}

/// The lines of code of every source file below `folder` that `of` wants, each with where it stands.
fn lines(folder: &str, of: impl Fn(&Path) -> bool) -> impl Iterator<Item = (String, String)> {
    let files: Vec<PathBuf> = sources(&root().join(folder))
        .into_iter()
        // Unit tests in a file of their own.
        .filter(|path| path.file_name().is_none_or(|name| name != "tests.rs"))
        .filter(|path| of(path.strip_prefix(root()).expect("below the root")))
        .collect();
    assert!(!files.is_empty(), "no source file in {folder}");
    files.into_iter().flat_map(|path| {
        let text = fs::read_to_string(&path).expect("readable");
        // Unit tests stand at the end of their file.
        let code = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        let lines: Vec<(String, String)> = code
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(number, line)| {
                (
                    format!("{}:{}", path.display(), number + 1),
                    line.to_owned(),
                )
            })
            .collect();
        lines
    })
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
