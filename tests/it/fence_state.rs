//! The state file of `fence run`, and what is beside it: what cannot be used is refused, and nothing is run.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::harness::leasehold::{Output, Run, binary};
use crate::harness::machine::{Machine, fence_run};
use crate::harness::untested;

#[test]
fn a_state_file_that_cannot_be_used_is_78_and_nothing_runs() {
    let machine = Machine::new();
    fs::write(machine.path("corrupt"), "leasehold-fence 1 - 34 00000000\n").expect("written");
    fs::write(machine.path("empty"), "").expect("written");
    fs::write(machine.path("foreign"), "token = 34\n").expect("written");
    std::os::unix::fs::symlink("nowhere", machine.path("dangling")).expect("linked");
    let cases: [(PathBuf, &str); 7] = [
        (machine.path("corrupt"), "checksum is wrong"),
        (machine.path("empty"), "it is empty"),
        (machine.path("foreign"), "no state file of leasehold"),
        (machine.path("missing/state"), "is no folder; make it"),
        (
            machine.path("dangling"),
            "is a link to a file that is not there",
        ),
        (machine.folder.path().to_owned(), "is a folder"),
        ("/proc/leasehold-state".into(), "/proc/leasehold-state"),
    ];
    for (path, sentence) in cases {
        fence_run(&path, "99")
            .shell("echo ran")
            .output()
            .assert_status(78)
            .assert_stdout("")
            .assert_stderr_has([sentence]);
    }
}

#[test]
fn a_corrupt_file_is_mended_as_it_says() {
    let machine = Machine::new();
    machine.run("33").shell(":").output().assert_status(0);
    let line = machine.state().replace("33", "32");
    fs::write(machine.path("state"), line).expect("written");
    let output = machine.run("32").shell("echo ran").output();
    output.assert_status(78).assert_stdout("");
    let (_, mend) = output.stderr.split_once("remove it: ").expect("a command");
    Run::program("/bin/sh")
        .arguments(["-c", mend.trim()])
        .output()
        .assert_status(0);
    machine.run("33").shell(":").output().assert_status(0);
}

#[test]
fn root_gives_another_users_file_back_and_others_are_refused() {
    if !nix::unistd::geteuid().is_root() {
        untested::not_allowed("only root can make another user's file");
        return;
    }
    let machine = Machine::new();
    let (state, nobody) = (machine.path("state"), 65534);
    machine.run("33").shell(":").output().assert_status(0);
    chown(&state, Some(nobody), Some(nobody)).expect("root may");
    fs::set_permissions(&state, PermissionsExt::from_mode(0o644)).expect("root may");
    machine.run("34").shell(":").output().assert_status(0);
    let kept = fs::metadata(&state).expect("there");
    assert_eq!((kept.uid(), kept.mode() & 0o777), (nobody, 0o644));
    let lock = fs::metadata(machine.path("state.lock")).expect("there");
    assert_eq!(lock.uid(), nobody);
    // A third user, in a folder where everybody may make files.
    let as_another = [
        "setpriv",
        "--reuid=65533",
        "--regid=65533",
        "--clear-groups",
    ];
    fs::set_permissions(machine.folder.path(), PermissionsExt::from_mode(0o777)).expect("root may");
    machine
        .run("35")
        .shell("echo ran")
        .wrapped(as_another)
        .output()
        .assert_status(78)
        .assert_stdout("")
        .assert_stderr_has(["permission denied", "uid 65534"]);
}

#[test]
fn a_full_disk_and_a_read_only_one_run_nothing() {
    let machine = Machine::new();
    let disk = machine.path("disk");
    fs::create_dir(&disk).expect("ours");
    let state = disk.join("state");
    let (disk, state) = (disk.display(), state.display());
    let binary = binary();
    // A mount namespace of its own: nobody else sees this disk.
    let script = format!(
        "mount -t tmpfs -o size=8k,mode=700 tmpfs {disk} || exit 100
         {binary} fence run --state {state} --token 33 -- true || exit 101
         cat /dev/zero >{disk}/filling 2>/dev/null
         {binary} fence run --state {state} --token 34 -- echo ran; echo full $?
         rm {disk}/filling
         mount -o remount,ro {disk} || exit 102
         {binary} fence run --state {state} --token 34 -- echo ran; echo read-only $?
         cat {state}; ls {disk}"
    );
    let output = Run::program("unshare")
        .arguments(["--mount", "--map-root-user", "sh", "-c", &script])
        .output();
    if output.stderr.contains("unshare:") || output.status.code() == Some(100) {
        untested::not_allowed("no disk can be made here");
        return;
    }
    output.assert_status(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(&lines[..2], ["full 78", "read-only 78"]);
    assert!(lines[2].starts_with("leasehold-fence 1 - 33 "), "{lines:?}");
    assert_eq!(&lines[3..], ["state", "state.lock"], "nothing half-written");
    output.assert_stderr_has(["no space left", "free some space", "read-only file system"]);
}

#[test]
fn files_of_the_users_beside_the_state_file_are_not_overwritten() {
    let machine = Machine::new();
    for name in ["state.lock", "state.new"] {
        let path = machine.path(name);
        for content in ["dear diary\n", "leasehold", "leasehold-fence 1 - 3"] {
            let is_ours = name == "state.new" && content.starts_with("leasehold")
                || "leasehold-lock 1 ".starts_with(content);
            fs::write(&path, content).expect("written");
            let output = machine.run("33").shell("echo ran").output();
            if is_ours {
                output.assert_status(0);
            } else {
                refused_as_foreign(&output, &path);
                assert_eq!(fs::read_to_string(&path).expect("there"), content);
            }
        }
        fs::remove_file(&path).unwrap_or_default();
        let target = machine.path("target");
        fs::write(&target, "dear diary\n").expect("written");
        std::os::unix::fs::symlink(&target, &path).expect("linked");
        let output = machine.run("33").shell("echo ran").output();
        output.assert_status(78).assert_stdout("");
        assert_eq!(fs::read_to_string(&target).expect("there"), "dear diary\n");
        fs::remove_file(&path).expect("there");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
        refused_as_foreign(&machine.run("33").shell("echo ran").output(), &path);
        fs::remove_file(&path).expect("there");
    }
    machine.run("33").shell(":").output().assert_status(0);
    // Nor what another state file needs.
    fence_run(&machine.path("state.lock"), "33")
        .shell("echo ran")
        .output()
        .assert_status(78)
        .assert_stdout("");
    let lock = fs::read_to_string(machine.path("state.lock")).expect("there");
    assert!(lock.starts_with("leasehold-lock 1 33 "), "{lock}");
}

#[track_caller]
fn refused_as_foreign(output: &Output, path: &Path) {
    output
        .assert_status(78)
        .assert_stdout("")
        .assert_stderr_has([
            &format!("{} is no file of leasehold fence", path.display()),
            "name another FILE with --state, or move",
            "Nothing was run",
        ]);
}
