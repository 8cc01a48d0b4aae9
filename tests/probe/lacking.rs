//! Places that lack something.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::say;

/// As PID 1 of a pid namespace: an init that waits for its command and for nobody else.
pub(crate) fn neglectful_init(command: &[&str]) {
    let status = command_of(command)
        .spawn()
        .and_then(|mut child| child.wait())
        .expect("the command can be run");
    say(&format!("{status}"));
    for pid in fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != 1)
    {
        say(&format!("left: {}", super::processes::describe(pid)));
    }
}

/// Executes the command behind a seccomp filter, which its children inherit: `pidfd` is a kernel before 5.3,
/// `subreaper` one before 3.4, as far as a program can tell.
pub(crate) fn without(call: &str, command: &[&str]) {
    // What the filter looks at: a system call, and its first argument if that matters.
    let (number, argument, errno) = match call {
        "pidfd" => (libc::SYS_pidfd_open, None, libc::ENOSYS),
        "subreaper" => (
            libc::SYS_prctl,
            Some(libc::PR_SET_CHILD_SUBREAPER),
            libc::EINVAL,
        ),
        _ => panic!("see lacking.rs; got {call}"),
    };
    install(&filter(
        number as u32,
        argument.map(|word| word as u32),
        errno as u32,
    ));
    let error = command_of(command).exec();
    panic!("{command:?} cannot be executed: {error}");
}

/// seccomp(2): the call fails with `errno`, all others are let through.
fn filter(number: u32, argument: Option<u32>, errno: u32) -> Vec<libc::sock_filter> {
    // struct seccomp_data: the number at 0, the lower half of the first argument at 16.
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let unless_equal =
        |value, skip| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, value);
    let answer = |value| statement(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let refuse = answer(libc::SECCOMP_RET_ERRNO | errno);
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    match argument {
        None => vec![load(0), unless_equal(number, 1), refuse, allow],
        Some(value) => vec![
            load(0),
            unless_equal(number, 3),
            load(16),
            unless_equal(value, 1),
            refuse,
            allow,
        ],
    }
}

fn statement(code: u32, jump_true: u8, jump_false: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k: value,
    }
}

fn install(filter: &[libc::sock_filter]) {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    nix::sys::prctl::set_no_new_privs().expect("Linux 3.5");
    // SAFETY: the program points to a filter of its length, which the kernel copies.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

fn command_of(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
