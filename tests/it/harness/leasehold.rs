//! The command under test: what is typed ([`Run`]), the running thing ([`Running`]), and what came of it
//! ([`Output`]).
//!
//! Hermetic: nothing of the developer's environment gets in, and whatever is started is found again by a
//! cookie in its environment and ended with the test.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use super::captured::Captured;
use super::decency;
use super::etcd::die_with_this_thread;
use super::eventually::{SOON, eventually};
use super::processes::{Moment, Process, describe, of_the_command, with_environment};

/// A run that takes longer is stuck.
const RUN_TIME: Duration = Duration::from_secs(60);

/// How long leasehold may go on in the background after its end, before what is left of it is killed.
const FAREWELL_TIME: Duration = Duration::from_secs(3);

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const COOKIE: &str = "TEST_COOKIE";

/// The binary under test.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_leasehold")
}

/// The helper program that is run as the command: tests/probe/.
pub(crate) fn probe() -> String {
    let path = Path::new(binary()).with_file_name("examples").join("probe");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --examples`, or cargo nextest run without --test",
        path.display()
    );
    path.to_str().expect("a readable path").to_owned()
}

/// A command line being put together.
#[derive(Clone)]
#[must_use = "nothing runs before spawn() or output()"]
pub(crate) struct Run {
    program: PathBuf,
    arguments: Vec<OsString>,
    lock: Option<String>,
    command: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    input: Option<Vec<u8>>,
    own_group: bool,
    folder_of: Option<u32>,
    /// While a fault is tried.
    has_to_be_decent: bool,
}

impl Run {
    /// `leasehold`, with the cluster in its environment.
    pub(crate) fn new(endpoints: &str) -> Self {
        Self::program(binary()).variable("LEASEHOLD_ENDPOINTS", endpoints)
    }

    /// A lock folder belongs to one user: to this one from the start of the run on, until another one runs there.
    pub(crate) fn in_folder_of(mut self, uid: u32) -> Self {
        self.folder_of = Some(uid);
        self
    }

    fn give_folder(&self) {
        let is_it = |(name, _): &&(String, OsString)| name == "LEASEHOLD_LOCAL";
        let folder = self.variables.iter().find(is_it);
        let Some((_, folder)) = folder else { return };
        let uid = self.folder_of.unwrap_or(geteuid().as_raw());
        let owner = std::fs::metadata(folder).map(|found| found.uid());
        if owner.is_ok_and(|owner| owner != uid) {
            let mut given = Command::new("chown");
            let given = given.args(["-R", &uid.to_string()]).arg(folder).status();
            assert!(given.is_ok_and(|status| status.success()), "chown");
        }
    }

    /// Any other program.
    pub(crate) fn program(path: &str) -> Self {
        Self {
            program: path.into(),
            arguments: Vec::new(),
            lock: None,
            command: Vec::new(),
            variables: Vec::new(),
            input: None,
            own_group: false,
            folder_of: None,
            has_to_be_decent: path == binary() && decency::is_asked_for(),
        }
    }

    /// `run [OPTIONS] NAME -- COMMAND`: options go before the name, whenever they are added.
    pub(crate) fn lock(mut self, name: &str) -> Self {
        self.arguments.push("run".into());
        self.lock = Some(name.to_owned());
        self
    }

    pub(crate) fn arguments<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.arguments.extend(arguments.map(OsString::from));
        self
    }

    pub(crate) fn all_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    pub(crate) fn ttl(self, seconds: u32) -> Self {
        self.arguments(["--ttl", &seconds.to_string()])
    }

    pub(crate) fn report(self, path: &Path) -> Self {
        self.arguments(["--report", path.to_str().expect("a readable path")])
    }

    /// The command, with a `--` before it.
    pub(crate) fn command<const N: usize>(mut self, command: [&str; N]) -> Self {
        self.command.push("--".into());
        self.command.extend(command.map(OsString::from));
        self
    }

    /// The command, run by `sh -c`.
    pub(crate) fn shell(self, script: &str) -> Self {
        self.command(["sh", "-c", script])
    }

    /// The helper program as the command.
    pub(crate) fn probe<const N: usize>(self, arguments: [&str; N]) -> Self {
        self.all_probe(&arguments)
    }

    pub(crate) fn all_probe(self, arguments: &[&str]) -> Self {
        let mut run = self.command([&probe()]);
        run.command.extend(arguments.iter().map(OsString::from));
        run
    }

    /// What comes after the name, without a `--`.
    pub(crate) fn words<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.command.extend(words.map(OsString::from));
        self
    }

    /// Puts another program in front, which is expected to execute the rest.
    pub(crate) fn wrapped<const N: usize>(self, wrapper: [&str; N]) -> Self {
        self.wrapped_by(&wrapper.map(str::to_owned))
    }

    pub(crate) fn wrapped_by(mut self, wrapper: &[String]) -> Self {
        let mut arguments: Vec<OsString> = wrapper[1..].iter().map(OsString::from).collect();
        arguments.push(std::mem::replace(&mut self.program, wrapper[0].clone().into()).into());
        arguments.append(&mut self.arguments);
        self.arguments = arguments;
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// What it reads from stdin; /dev/null otherwise.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Makes it a process group of its own, as an interactive shell does.
    pub(crate) fn own_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn output(self) -> Output {
        self.spawn().wait()
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn spawn(self) -> Running {
        let cookie = new_cookie();
        let mut command = self.to_command();
        command.env(COOKIE, &cookie);
        if self.own_group {
            command.process_group(0);
        }
        let started_at = Moment::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.typed()));
        let stdin = child.stdin.take().expect("piped");
        Running {
            process: Process::open(child.id().cast_signed())
                .expect("our own child, not waited for"),
            stdout: Captured::from(child.stdout.take().expect("piped")),
            stderr: Captured::from(child.stderr.take().expect("piped")),
            child,
            stdin: feed(stdin, self.input.as_deref()),
            typed: self.typed(),
            cookie: format!("{COOKIE}={cookie}"),
            started_at,
            was_waited_for: false,
            has_to_be_decent: self.has_to_be_decent,
        }
    }

    /// The command line as std's Command, for a terminal or for odd descriptors.
    pub(crate) fn to_command(&self) -> Command {
        self.give_folder();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .args(&self.lock)
            .args(&self.command)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", env!("CARGO_TARGET_TMPDIR"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        die_with_this_thread(&mut command);
        with_a_clean_start(&mut command);
        if self.has_to_be_decent {
            decency::bound_memory(&mut command);
        }
        command
    }

    /// What a person would have typed, for messages.
    pub(crate) fn typed(&self) -> String {
        let words = std::iter::once(self.program.as_os_str())
            .chain(self.arguments.iter().map(OsString::as_os_str))
            .chain(self.lock.iter().map(|lock| lock.as_ref()))
            .chain(self.command.iter().map(OsString::as_os_str));
        let words: Vec<String> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        words.join(" ")
    }
}

/// A program under test while it runs. Dropping it kills it and everything it started.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) started_at: Moment,
    stdout: Captured,
    stderr: Captured,
    child: Child,
    stdin: Option<ChildStdin>,
    typed: String,
    cookie: String,
    was_waited_for: bool,
    has_to_be_decent: bool,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// The environment entry that all processes of this run share.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Sends a signal to the process that was started, and to no other.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until stdout has this text; returns all of stdout so far.
    #[track_caller]
    pub(crate) fn expect_stdout(&self, text: &str) -> String {
        self.expect(&self.stdout, "stdout", text)
    }

    /// All of stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until stderr has this text; returns all of stderr so far.
    #[track_caller]
    pub(crate) fn expect_stderr(&self, text: &str) -> String {
        self.expect(&self.stderr, "stderr", text)
    }

    /// Writes to its stdin.
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is still open");
        writeln!(stdin, "{line}").expect("it reads its stdin");
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// All living processes of this run, leasehold's own included.
    pub(crate) fn processes(&self) -> Vec<Process> {
        with_environment(&self.cookie)
    }

    /// The living processes of the command's tree.
    pub(crate) fn command_processes(&self) -> Vec<Process> {
        of_the_command(self.processes())
    }

    /// Everything of this run is gone at once, without a chance to say good-bye: as if the power failed.
    pub(crate) fn vanish(mut self) {
        // Stopped first, so that nobody sees the others die and cleans up.
        for process in self.processes() {
            process.signal(Signal::SIGSTOP);
        }
        self.kill_all();
    }

    /// Asks it to end, and waits until everything of it has.
    #[track_caller]
    pub(crate) fn stop_and_wait(self) {
        self.signal(Signal::SIGTERM);
        self.wait().assert_nobody_left();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(self) -> Output {
        self.wait_within(RUN_TIME)
    }

    /// Waits for its end; a later one fails the test.
    #[track_caller]
    pub(crate) fn wait_within(mut self, time: Duration) -> Output {
        self.stdin = None;
        if !self.process.ended_within(time) {
            panic!("not ended within {time:?}:\n{}", self.describe());
        }
        let ended_at = Moment::now();
        let status = self.child.wait().expect("our own child");
        self.was_waited_for = true;
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            assert!(
                stream.wait_end(SOON),
                "{status}, but somebody still holds its {name}:\n{}",
                self.describe()
            );
        }
        self.assert_decent();
        Output {
            status,
            stdout: self.stdout.text(),
            stdout_bytes: self.stdout.bytes(),
            stderr: self.stderr.text(),
            typed: self.typed.clone(),
            cookie: self.cookie.clone(),
            started_at: self.started_at,
            ended_at,
        }
    }

    #[track_caller]
    fn expect(&self, stream: &Captured, name: &str, text: &str) -> String {
        if stream.wait_for(text, 0, SOON).is_none() {
            panic!("{text:?} did not come on {name}:\n{}", self.describe());
        }
        stream.text()
    }

    #[track_caller]
    fn assert_decent(&self) {
        if self.has_to_be_decent {
            decency::assert_decent(&self.stderr.text(), || self.describe());
        }
    }

    /// Kills what is left of this run until nothing is.
    fn kill_all(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let deadline = Moment::now() + SOON;
        loop {
            let left = self.processes();
            if left.is_empty() || Moment::now() > deadline {
                return;
            }
            for process in left {
                process.signal(Signal::SIGKILL);
                process.wait_briefly();
            }
        }
    }

    fn describe(&self) -> String {
        let left: Vec<String> = self
            .processes()
            .iter()
            .map(|process| describe(process.pid))
            .collect();
        format!(
            "$ {}\n-- stdout:\n{}\n-- stderr:\n{}\n-- processes left:\n{}",
            self.typed,
            self.stdout.text(),
            self.stderr.text(),
            left.join("\n")
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A manager that takes its leave after a good end must not be disturbed: it revokes the lease.
        let farewell_until = Moment::now() + FAREWELL_TIME;
        if self.was_waited_for {
            for process in self.processes() {
                process.ended_within(farewell_until.since(Moment::now()));
            }
        }
        self.kill_all();
        if !std::thread::panicking() {
            self.assert_decent();
        }
    }
}

/// What came of a run.
#[must_use = "assert its exit status"]
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stdout_bytes: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) started_at: Moment,
    pub(crate) ended_at: Moment,
    typed: String,
    cookie: String,
}

impl Output {
    /// It ended by exit with this status, and not by a signal.
    #[track_caller]
    pub(crate) fn assert_status(&self, status: i32) -> &Self {
        assert_eq!(
            (self.status.code(), self.status.signal()),
            (Some(status), None),
            "exit status and signal of {}",
            self.describe()
        );
        self
    }

    /// The lock was lost, and not for what would be a defect of leasehold's: a manager that crashed or hung.
    #[track_caller]
    pub(crate) fn assert_lost(&self) -> &Self {
        let of_its_own = self.stderr.contains("leasehold's manager process");
        assert!(!of_its_own, "{}", self.describe());
        self.assert_status(79)
    }

    /// It died of this signal.
    #[track_caller]
    pub(crate) fn assert_signal(&self, signal: i32) -> &Self {
        assert_eq!(
            (self.status.code(), self.status.signal()),
            (None, Some(signal)),
            "exit status and signal of {}",
            self.describe()
        );
        self
    }

    #[track_caller]
    pub(crate) fn assert_stdout(&self, text: &str) -> &Self {
        assert_eq!(self.stdout, text, "stdout of {}", self.describe());
        self
    }

    /// Its messages have each of these texts, whatever their case.
    #[track_caller]
    pub(crate) fn assert_stderr_has<const N: usize>(&self, texts: [&str; N]) -> &Self {
        let stderr = self.stderr.to_lowercase();
        for text in texts {
            assert!(
                stderr.contains(&text.to_lowercase()),
                "{text:?} should be in stderr of {}",
                self.describe()
            );
        }
        self
    }

    #[track_caller]
    pub(crate) fn assert_silent(&self) -> &Self {
        assert_eq!(self.stderr, "", "stderr of {}", self.describe());
        self
    }

    /// No process of the run is alive, leasehold's own included.
    #[track_caller]
    pub(crate) fn assert_nobody_left(&self) -> &Self {
        eventually("no process is left", SOON, || {
            let left = with_environment(&self.cookie);
            let left: Vec<String> = left.iter().map(|process| describe(process.pid)).collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(left.join("; "))
            }
        });
        self
    }

    /// How long it took, as seen from outside.
    pub(crate) fn duration(&self) -> Duration {
        self.ended_at.since(self.started_at)
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "$ {}\n-- {}\n-- stdout:\n{}\n-- stderr:\n{}",
            self.typed, self.status, self.stdout, self.stderr
        )
    }
}

/// Writes `input` from a thread, since nobody may read it; without one the pipe stays with the caller.
fn feed(mut stdin: ChildStdin, input: Option<&[u8]>) -> Option<ChildStdin> {
    let Some(input) = input.map(<[u8]>::to_vec) else {
        return Some(stdin);
    };
    std::thread::spawn(move || {
        // A command that does not read to the end is no error.
        let _ = stdin.write_all(&input);
    });
    None
}

fn new_cookie() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// No core dumps, and no signal ignored because whoever runs the tests ignores it (CI, nohup).
fn with_a_clean_start(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe system calls are made.
    unsafe {
        command.pre_exec(|| {
            setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
            for signal in Signal::iterator() {
                // KILL and STOP cannot be changed; nothing is lost.
                libc::signal(signal as i32, libc::SIG_DFL);
            }
            Ok(())
        });
    }
}
