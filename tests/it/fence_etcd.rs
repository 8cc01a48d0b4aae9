//! `fence check`, `fence put`, `fence delete`: what only the holder can do in etcd, and what is said when it is
//! none any more, or when that cannot be known.

use std::time::Duration;

use crate::harness::etcd::Etcd;
use crate::harness::leasehold::{Run, Running};
use crate::harness::store::{Store, Stored};

/// A holder, and what it was told of its lock.
pub(crate) struct Held {
    pub(crate) etcd: Etcd,
    pub(crate) holder: Running,
    pub(crate) sequencer: String,
}

impl Held {
    pub(crate) fn start() -> Self {
        let etcd = Etcd::start();
        let (holder, sequencer) = hold(&etcd);
        Self {
            etcd,
            holder,
            sequencer,
        }
    }

    /// `leasehold fence` from outside, with the holder's sequencer.
    pub(crate) fn put(&self, key: &str, value: &str) -> Run {
        let sequencer = &self.sequencer;
        self.etcd
            .leasehold(["fence", "put", "--sequencer", sequencer, key, value])
    }

    pub(crate) fn value(&self, key: &str) -> Option<Stored> {
        value(&self.etcd.store(), key)
    }
}

pub(crate) fn hold(etcd: &Etcd) -> (Running, String) {
    let holder = etcd
        .run("job")
        .shell("echo $LEASEHOLD_SEQUENCER; cat")
        .spawn();
    let stdout = holder.expect_stdout(":job\n");
    (holder, stdout.trim().to_owned())
}

pub(crate) fn value(store: &Store, key: &str) -> Option<Stored> {
    store.keys(key).pop()
}

#[test]
fn inside_the_command_nothing_has_to_be_said() {
    let etcd = Etcd::start();
    let binary = crate::harness::leasehold::binary();
    let script = format!(
        "set -e; {binary} fence check; {binary} fence put app/a one; printf 'a\\0b' | {binary} fence put app/b;
         echo -- | {binary} fence put app/c -; {binary} fence put app/d -- -v; {binary} fence put -- app/e -q; {binary} fence delete app/a;
         {binary} fence delete app/a"
    );
    etcd.run("job")
        .shell(&script)
        .output()
        .assert_status(0)
        .assert_silent();
    let store = etcd.store();
    assert!(value(&store, "app/a").is_none());
    for (key, bytes) in [
        ("app/b", &b"a\0b"[..]),
        ("app/c", b"--\n"),
        ("app/d", b"-v"),
        ("app/e", b"-q"),
    ] {
        assert_eq!(value(&store, key).expect(key).value, bytes, "{key}");
    }
}

#[test]
fn inside_a_run_with_another_prefix_and_another_lock_around_it_nothing_has_to_be_said_either() {
    let etcd = Etcd::start();
    let binary = crate::harness::leasehold::binary();
    let inner =
        format!("{binary} fence put app/inner $LEASEHOLD_LOCK_NAME && exec {binary} fence check");
    let inner = format!("{binary} run --prefix /other/ inner -- sh -c '{inner}'");
    // What the inner run exports is its own; the outer one is itself again behind it.
    let outer = format!("{inner} && {binary} fence put app/outer $LEASEHOLD_LOCK_NAME");
    let output = etcd.run("outer").shell(&outer).output();
    output.assert_status(0).assert_silent();
    for name in ["inner", "outer"] {
        let stored = value(&etcd.store(), &format!("app/{name}")).expect(name);
        assert_eq!(stored.value, name.as_bytes());
    }
}

#[test]
fn any_bytes_are_written_as_they_are_from_stdin_a_file_and_an_argument() {
    let held = Held::start();
    let every: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("value");
    std::fs::write(&path, &every).expect("written");
    let path = path.to_str().expect("readable");
    let put = ["fence", "put", "--sequencer", &held.sequencer];
    let put = |more: &[&str]| held.etcd.leasehold(put).all_arguments(more);
    let from_stdin = put(&["app/stdin"]).input(every.clone());
    from_stdin.output().assert_status(0).assert_silent();
    put(&["app/file", "--file", path]).output().assert_status(0);
    put(&["app/empty", ""]).output().assert_status(0);
    let binary = crate::harness::leasehold::binary();
    let script = format!(
        "{binary} fence put --sequencer {} app/argument \"$(printf '\\001\\377\\n\\200x')\"",
        held.sequencer
    );
    let argument = Run::program("/bin/sh").arguments(["-c", &script]);
    argument
        .variable("LEASEHOLD_ENDPOINTS", &held.etcd.endpoints())
        .output()
        .assert_status(0);
    for (key, bytes) in [
        ("app/stdin", &every[..]),
        ("app/file", &every),
        ("app/empty", b""),
        ("app/argument", b"\x01\xff\n\x80x"),
    ] {
        assert!(held.value(key).expect(key).value == bytes, "{key}");
    }
}

#[test]
fn a_holder_of_two_locks_writes_only_while_it_has_both() {
    let etcd = Etcd::start();
    let store = etcd.store();
    let lease = store.grant(Duration::from_secs(60));
    let keys = ["a", "b/c"].map(|name| format!("/leasehold/{name}/{lease:x}"));
    let [first, second] = [&*keys[0], &*keys[1]];
    let token = store.put_together([first, second], lease);
    let cluster = store.cluster();
    let sequencer = format!("1:{cluster:x}:exclusive:{token}:{lease:x}:a,b/c");
    let check = || etcd.leasehold(["fence", "check", &sequencer]).output();
    let put = |value: &str| {
        let put = ["fence", "put", "--sequencer", &sequencer, "app/a", value];
        etcd.leasehold(put).output()
    };
    check().assert_status(0).assert_silent();
    put("both").assert_status(0);
    for lost in [first, second] {
        // Gone, and come back as somebody else's.
        store.delete(lost);
        for _ in 0..2 {
            check()
                .assert_status(79)
                .assert_stderr_has(["a,b/c: token", "is stale"]);
            put("late").assert_status(79);
            let delete = ["fence", "delete", "--sequencer", &sequencer, "app/a"];
            etcd.leasehold(delete).output().assert_status(79);
            store.put_leased(lost, "", lease);
        }
    }
    let kept = value(&store, "app/a").expect("there");
    assert_eq!((&kept.value[..], kept.version), (&b"both"[..], 1));
}

#[test]
fn a_token_of_a_lock_that_others_hold_as_well_is_one_while_its_holder_is() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    for (options, mode) in [(&["-s"][..], "shared"), (&["--slots", "2"], "slots")] {
        let [first, second] = [(); 2].map(|()| {
            let run = etcd.run("job").all_arguments(options);
            let holder = run.shell("echo $LEASEHOLD_SEQUENCER; cat").spawn();
            let sequencer = holder.expect_stdout(":job\n").trim().to_owned();
            assert!(sequencer.contains(&format!(":{mode}:")), "{sequencer}");
            (holder, sequencer)
        });
        let put = |sequencer: &str| {
            let put = ["fence", "put", "--sequencer", sequencer, "app/a", mode];
            etcd.leasehold(put).output()
        };
        put(&second.1).assert_status(0);
        put(&first.1).assert_status(0);
        second.0.wait().assert_status(0);
        put(&second.1).assert_status(79);
        put(&first.1).assert_status(0);
        // It orders nothing, so no file can remember it.
        etcd.leasehold(["fence", "run", "--state"])
            .all_arguments(&[state.to_str().expect("readable"), "--token", &first.1])
            .shell("echo ran")
            .output()
            .assert_status(64)
            .assert_stdout("")
            .assert_stderr_has([&format!("mode {mode} orders nothing")]);
        first.0.wait().assert_status(0);
    }
}

#[test]
fn a_holder_that_let_go_is_stale_and_writes_nothing() {
    let held = Held::start();
    held.etcd
        .leasehold(["fence", "check", &held.sequencer])
        .output()
        .assert_status(0)
        .assert_silent();
    held.put("app/a", "mine").output().assert_status(0);
    let Held {
        etcd,
        holder,
        sequencer,
    } = held;
    holder.wait().assert_status(0);
    etcd.leasehold(["fence", "check", &sequencer])
        .output()
        .assert_status(79)
        .assert_stderr_has(["job: token", "is stale"]);
    let late = ["fence", "put", "--sequencer", &sequencer, "app/a", "late"];
    etcd.leasehold(late)
        .output()
        .assert_status(79)
        .assert_stderr_has(["is stale", "app/a was not written"]);
    let quiet = ["fence", "delete", "-q", "--sequencer", &sequencer, "app/a"];
    etcd.leasehold(quiet)
        .output()
        .assert_status(79)
        .assert_silent();
    let kept = value(&etcd.store(), "app/a").expect("not deleted");
    assert_eq!((&kept.value[..], kept.version), (&b"mine"[..], 1));
}

#[test]
fn a_holder_whose_key_is_gone_is_stale_before_anybody_else_has_the_lock() {
    let held = Held::start();
    let entry = held.etcd.store().entries("job").remove(0);
    held.etcd.store().delete(&entry.key);
    held.put("app/a", "late").output().assert_status(79);
    assert!(held.value("app/a").is_none());
}

#[test]
fn tokens_of_another_cluster_are_refused_before_anything_is_written() {
    let held = Held::start();
    let (_, rest) = held.sequencer[2..].split_once(':').expect("a cluster");
    let foreign = format!("1:beef:{rest}");
    for words in [
        vec!["check", foreign.as_str()],
        vec!["put", "--sequencer", &foreign, "app/a", "x"],
        vec!["delete", "--sequencer", &foreign, "app/a"],
    ] {
        held.etcd
            .leasehold(["fence"])
            .all_arguments(&words)
            .output()
            .assert_status(64)
            .assert_stderr_has(["is of cluster beef", "cannot be compared"]);
    }
    assert!(held.value("app/a").is_none());
}

#[test]
fn bad_input_is_refused_with_its_own_sentence() {
    let etcd = Etcd::start();
    let cases: &[(&[&str], &str)] = &[
        (&["check"], "$leasehold_sequencer is not set"),
        (&["check", ""], "the sequencer is empty"),
        (
            &["check", "1:cafe:exclusive:33"],
            "cut short: it has 4 of 6",
        ),
        (
            &["check", "2:cafe:exclusive:33:1f:a"],
            "is of version \"2\"",
        ),
        (&["check", "1:cafe:exclusive:0:1f:a"], "0 is no token"),
        (&["check", "1:cafe:exclusive:-7:1f:a"], "-7 is no token"),
        (&["check", "1:cafe:exclusive:x:1f:a"], "is not a number"),
        (
            &["check", "1:cafe:exclusive:9223372036854775808:1f:a"],
            "the largest there can be",
        ),
        (&["check", "1:cafe:open:3:1f:a"], "mode \"open\""),
        (
            &["check", "1:cafe:exclusive:3:1f:a b"],
            "cannot contain ' '",
        ),
        (
            &[
                "put",
                "--sequencer",
                "1:c:exclusive:3:1f:a",
                "/leasehold/a",
                "x",
            ],
            "where leasehold keeps its locks",
        ),
        (
            &["put", "--sequencer", "1:c:exclusive:3:1f:a", "", "x"],
            "key is empty",
        ),
        (
            &[
                "put",
                "--sequencer",
                "1:c:exclusive:3:1f:a",
                "k",
                "--file",
                "/nonexistent",
            ],
            "/nonexistent cannot be read",
        ),
    ];
    for (words, sentence) in cases {
        etcd.leasehold(["fence"])
            .all_arguments(words)
            .output()
            .assert_status(64)
            .assert_stderr_has([sentence]);
    }
    let given = "1:cafe:exclusive:33:1f:a";
    etcd.leasehold(["fence", "check"])
        .variable("LEASEHOLD_SEQUENCER", given)
        .variable("LEASEHOLD_TOKEN", "34")
        .output()
        .assert_status(64)
        .assert_stderr_has(["the environment is that of two runs"]);
}

#[test]
fn a_value_that_etcd_cannot_take_is_refused_before_the_transaction() {
    let held = Held::start();
    let sequencer = &held.sequencer;
    let put = ["fence", "put", "--sequencer", sequencer, "app/a"];
    held.etcd
        .leasehold(put)
        .input(vec![0; 3 << 19])
        .output()
        .assert_status(64)
        .assert_stderr_has(["stdin is too large", "1.5 mib", "nothing was written"]);
    assert!(held.value("app/a").is_none());
    // The largest that is let through is one that etcd takes.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("value");
    let mut bytes = 3 << 19;
    let mut status = Some(64);
    while status == Some(64) {
        bytes -= 16;
        std::fs::write(&path, vec![7; bytes]).expect("written");
        let file = ["--file", path.to_str().expect("readable")];
        status = held
            .etcd
            .leasehold(put)
            .arguments(file)
            .output()
            .status
            .code();
    }
    assert_eq!(status, Some(0), "{bytes} bytes");
    assert_eq!(held.value("app/a").expect("there").value.len(), bytes);
}

#[test]
fn the_keys_of_a_long_name_count_as_well() {
    let etcd = Etcd::start();
    let name = "n".repeat(250);
    let holder = etcd.run(&name).shell("echo $LEASEHOLD_SEQUENCER; cat");
    let holder = holder.spawn();
    let sequencer = holder.expect_stdout("n\n").trim().to_owned();
    let put = |bytes: usize| {
        let put = ["fence", "put", "--sequencer", &sequencer, "app/a"];
        etcd.leasehold(put).input(vec![7; bytes]).output()
    };
    let refused = put((3 << 19) - 5 * 64 - 2 * 250);
    refused
        .assert_status(64)
        .assert_stderr_has(["nothing was written"]);
    let (_, rest) = refused.stderr.split_once("leaves ").expect("a number");
    let most: usize = rest
        .split_once(' ')
        .and_then(|(most, _)| most.parse().ok())
        .expect("a number");
    put(most + 1).assert_status(64);
    put(most).assert_status(0);
}

#[test]
fn an_etcd_that_is_not_there_is_69_and_nothing_was_written() {
    let mut held = Held::start();
    held.etcd.only().stop();
    let put = held.put("app/a", "x").arguments(["--connect-timeout", "1"]);
    put.output()
        .assert_status(69)
        .assert_stderr_has(["cannot connect", "app/a was not written"]);
    let check = ["fence", "check", "--connect-timeout", "1", &held.sequencer];
    held.etcd.leasehold(check).output().assert_status(69);
}

#[test]
fn writers_of_one_holder_do_not_lose_each_others_changes_to_errors() {
    let held = Held::start();
    let writing: Vec<Running> = (0..8)
        .map(|number| held.put("app/a", &number.to_string()).spawn())
        .collect();
    for writer in writing {
        writer.wait().assert_status(0);
    }
    assert_eq!(held.value("app/a").expect("there").version, 8);
}

#[test]
fn where_etcd_has_users_a_check_needs_to_read_the_lock_and_a_write_its_mark_and_key_as_well() {
    let mut etcd = Etcd::start();
    etcd.enable_users("root's");
    let lock = ["read", "/leasehold/job/"];
    let mark = ["readwrite", "/leasehold/~fence/job/"];
    let key = ["readwrite", "app/"];
    let users: [(&str, &[[&str; 2]]); 3] = [
        ("checks", &[lock]),
        ("nearly", &[lock, key]),
        ("writes", &[lock, mark, key]),
    ];
    for (name, rights) in users {
        let with_password = format!("{name}:secret");
        let mut lines = vec![
            vec!["user", "add", &with_password],
            vec!["role", "add", name],
            vec!["user", "grant-role", name, name],
        ];
        for [what, prefix] in rights {
            lines.push(vec![
                "role",
                "grant-permission",
                name,
                "--prefix=true",
                what,
                prefix,
            ]);
        }
        for line in lines {
            let output = etcd.etcdctl([]).all_arguments(&line).output();
            output.assert_status(0);
        }
    }
    let as_user = |run: Run, name: &str| run.variable("LEASEHOLD_USER", &format!("{name}:secret"));
    let holder = etcd.run("job").shell("echo $LEASEHOLD_SEQUENCER; cat");
    let holder = holder.variable("LEASEHOLD_USER", "root:root's").spawn();
    let sequencer = holder.expect_stdout(":job\n").trim().to_owned();
    let put = ["fence", "put", "--sequencer", &sequencer, "app/a", "x"];
    for (name, status) in [("checks", 77), ("nearly", 77), ("writes", 0)] {
        let check = etcd.leasehold(["fence", "check", &sequencer]);
        as_user(check, name).output().assert_status(0);
        let output = as_user(etcd.leasehold(put), name).output();
        output.assert_status(status);
        assert_eq!(value(&etcd.store(), "app/a").is_some(), status == 0);
        if status == 77 {
            output.assert_stderr_has(["job: ", name, "app/a was not written"]);
        }
    }
}

#[test]
fn a_member_without_a_quorum_says_nothing_rather_than_what_it_remembers() {
    let mut etcd = Etcd::start_three();
    let (_holder, sequencer) = hold(&etcd);
    for member in &mut etcd.members[1..] {
        member.stop();
    }
    let left = etcd.members[0].endpoint();
    Run::new(&left)
        .arguments(["fence", "check", "--connect-timeout", "2", &sequencer])
        .output()
        .assert_status(69);
}
