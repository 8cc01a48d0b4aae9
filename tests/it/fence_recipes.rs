//! The recipes of docs/fencing.md, each against the real thing; and the story of the paused holder, in all of them
//! at once. The scripts are those that users copy: examples/fencing/.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tempfile::TempDir;

use crate::harness::etcd::Etcd;
use crate::harness::eventually::{SOON, eventually};
use crate::harness::leasehold::{Output, Run, binary};
use crate::harness::servers::{Missing, REDIS_PASSWORD, S3_SECRET_KEY, Server};
use crate::harness::untested;

use nix::sys::signal::Signal;

/// A script, and what it needs.
struct Recipe {
    script: &'static str,
    server: fn() -> Result<Server, Missing>,
    /// It reads before it writes, so it can be paused in between.
    reads_first: bool,
}

const RECIPES: &[Recipe] = &[
    recipe("file.sh", Server::file, false),
    recipe("git-push.sh", Server::git, false),
    recipe("http-if-match.sh", Server::http, true),
    recipe("postgresql-trigger.sh", Server::postgresql, false),
    recipe("postgresql-update.sh", Server::postgresql, false),
    recipe("redis.sh", Server::redis, false),
    recipe("s3.sh", Server::s3, true),
];

const fn recipe(
    script: &'static str,
    server: fn() -> Result<Server, Missing>,
    reads_first: bool,
) -> Recipe {
    Recipe {
        script,
        server,
        reads_first,
    }
}

/// A resource that is ready to be written to.
struct Resource {
    recipe: &'static Recipe,
    server: Rc<Server>,
}

impl Resource {
    /// None, and a word about it, where the machine lacks something.
    fn start(script: &str) -> Option<Self> {
        let recipe = RECIPES.iter().find(|recipe| recipe.script == script);
        let recipe = recipe.expect("a recipe");
        match (recipe.server)() {
            Ok(server) => Some(Self::on(recipe, Rc::new(server))),
            Err(missing) => {
                untested::missing(&missing);
                None
            }
        }
    }

    fn on(recipe: &'static Recipe, server: Rc<Server>) -> Self {
        let resource = Self { recipe, server };
        resource.call(&["setup"]).output().assert_status(0);
        resource
    }

    fn call(&self, words: &[&str]) -> Run {
        let script = examples().join(self.recipe.script);
        let run = Run::program(script.to_str().expect("readable")).all_arguments(words);
        with_leasehold(
            self.server
                .variables
                .iter()
                .fold(run, |run, (name, value)| run.variable(name, value)),
        )
    }

    fn write(&self, token: &str, value: &str) -> Run {
        self.call(&["write", value])
            .variable("LEASEHOLD_TOKEN", token)
    }

    fn read(&self) -> String {
        let output = self.call(&["read"]).output();
        output.assert_status(0);
        output.stdout.trim().to_owned()
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fencing")
}

fn with_leasehold(run: Run) -> Run {
    let folder = Path::new(binary()).parent().expect("a folder");
    run.variable("PATH", &format!("{}:/usr/bin:/bin", folder.display()))
}

#[track_caller]
fn newer_tokens_write_and_older_ones_do_not(script: &str) {
    let Some(resource) = Resource::start(script) else {
        return;
    };
    let mut last = String::new();
    for (step, (token, status)) in [
        ("33", 0),
        ("33", 0),
        ("34", 0),
        ("33", 79),
        ("9", 79),
        ("100", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let value = format!("step {step}, it's by $({token})");
        let output = resource.write(token, &value).output();
        output.assert_status(status);
        if status == 0 {
            last = value;
        } else {
            output.assert_stderr_has(["stale"]);
        }
        assert_eq!(resource.read(), last, "{}", output.describe());
    }
}

#[test]
fn a_file_behind_fence_run() {
    newer_tokens_write_and_older_ones_do_not("file.sh");
}

#[test]
fn a_git_repository_with_a_hook() {
    newer_tokens_write_and_older_ones_do_not("git-push.sh");
}

#[test]
fn a_git_repository_with_the_hook_takes_no_push_without_a_token() {
    let Some(resource) = Resource::start("git-push.sh") else {
        return;
    };
    resource.write("33", "fenced").output().assert_status(0);
    let script = "set -e; cd \"$(mktemp -d)\"; git clone -q \"$REPOSITORY\" .
        git -c user.name=a -c user.email=a@localhost commit -q --allow-empty -m plain
        git push -q origin HEAD:main";
    let (_, repository) = &resource.server.variables[0];
    Run::program("/bin/sh")
        .arguments(["-c", script])
        .variable("REPOSITORY", repository)
        .output()
        .assert_status(1)
        .assert_stderr_has(["wants a fencing token with every push"]);
}

#[test]
fn an_http_resource_with_if_match() {
    newer_tokens_write_and_older_ones_do_not("http-if-match.sh");
}

#[test]
fn postgresql_by_a_fenced_update() {
    newer_tokens_write_and_older_ones_do_not("postgresql-update.sh");
}

#[test]
fn postgresql_by_a_trigger() {
    newer_tokens_write_and_older_ones_do_not("postgresql-trigger.sh");
}

#[test]
fn postgresql_by_a_trigger_refuses_writers_without_a_token_and_holds_a_newer_one_back_until_the_commit()
 {
    let Some(resource) = Resource::start("postgresql-trigger.sh") else {
        return;
    };
    let psql = || {
        let run = Run::program("psql").arguments(["-qAt", "--no-psqlrc"]);
        resource
            .server
            .variables
            .iter()
            .fold(run, |run, (name, value)| run.variable(name, value))
    };
    psql()
        .arguments([
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            "UPDATE ledger SET body = 'unfenced'",
        ])
        .output()
        .assert_status(1)
        .assert_stderr_has(["null value in column \"token\""]);
    // An older holder in the middle of its transaction: the newer one waits, and has the last word.
    let mut older = psql()
        .variable("PGOPTIONS", "-c leasehold.token=33")
        .spawn();
    older.type_line("BEGIN; UPDATE ledger SET body = 'older';");
    older.type_line("SELECT 'locked';");
    older.expect_stdout("locked");
    let newer = resource.write("34", "newer").spawn();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    eventually(
        "the newer one waits for the older one's row",
        SOON,
        || match psql().arguments(["-c", waiting]).output().stdout.trim() {
            "1" => Ok(()),
            count => Err(count.to_owned()),
        },
    );
    older.type_line("COMMIT;");
    older.close_stdin();
    drop(older.wait());
    newer.wait().assert_status(0);
    assert_eq!(resource.read(), "newer");
}

#[test]
fn redis_by_a_script() {
    newer_tokens_write_and_older_ones_do_not("redis.sh");
}

#[test]
fn an_object_in_s3_by_conditional_writes() {
    newer_tokens_write_and_older_ones_do_not("s3.sh");
}

#[test]
fn a_write_that_was_delayed_between_reading_and_writing_is_412() {
    for recipe in RECIPES.iter().filter(|recipe| recipe.reads_first) {
        let Some(resource) = Resource::start(recipe.script) else {
            continue;
        };
        resource.write("32", "before").output().assert_status(0);
        // Waits for the end of its stdin.
        let delayed = resource
            .write("33", "late")
            .variable("BEFORE_WRITE", "tee /dev/stderr");
        let mut delayed = delayed.spawn();
        delayed.type_line("about to write");
        delayed.expect_stderr("about to write");
        resource.write("34", "newer").output().assert_status(0);
        delayed
            .wait()
            .assert_status(79)
            .assert_stderr_has(["412", "stale: token 34 has been seen"]);
        assert_eq!(resource.read(), "newer");
    }
}

#[test]
fn a_store_without_etags_is_not_written_without_a_condition() {
    let server = match Server::http_with_etags("None") {
        Ok(server) => Rc::new(server.with_its_url_as("OBJECT")),
        Err(missing) => return untested::missing(&missing),
    };
    for recipe in RECIPES.iter().filter(|recipe| recipe.reads_first) {
        let server = Rc::clone(&server);
        let resource = Resource { recipe, server };
        let call = |token, value| {
            let run = resource.write(token, value);
            let run = run.variable("AWS_ACCESS_KEY_ID", "a");
            run.variable("AWS_SECRET_ACCESS_KEY", "b").output()
        };
        // The first script makes it, on the condition that it is not there.
        if recipe.script == "http-if-match.sh" {
            call("34", "first").assert_status(0);
        }
        call("33", "late")
            .assert_status(1)
            .assert_stderr_has(["has no strong ETag (none at all)"]);
        call("35", "newer").assert_status(1);
    }
}

#[test]
fn a_token_that_a_shell_cannot_compare_is_refused() {
    for script in ["git-push.sh", "http-if-match.sh", "s3.sh"] {
        let Some(resource) = Resource::start(script) else {
            continue;
        };
        let too_large = ["9223372036854775808", "99999999999999999999999"];
        for refused in [false, true] {
            for token in too_large {
                let output = resource.write(token, "too large").output();
                let status = output.status.code();
                assert!(matches!(status, Some(1 | 79)), "{}", output.describe());
            }
            if !refused {
                resource.write("33", "good").output().assert_status(0);
            }
            assert_eq!(resource.read(), "good", "{script}");
        }
    }
}

/// What each holder of the story does: every recipe, none of them before the gate is open.
const HOLDER_1: &str = r#"
cat >gate-keeper <<'KEEPER'
#!/bin/sh
echo here >>gates
until [ -e gate ]; do sleep 0.02; done
KEEPER
chmod +x gate-keeper
export GATE_KEEPER="$PWD/gate-keeper"
for script in $RECIPES; do
    (
        case $script in
            http-*|s3*) export BEFORE_WRITE="$GATE_KEEPER" ;;
            *) ./gate-keeper ;;
        esac
        status=0
        "$EXAMPLES/$script" write 'from holder 1' 2>"$script.stderr" || status=$?
        echo "$status" >"$script.status"
    ) &
done
wait
"#;

const HOLDER_2: &str = r#"
for script in $RECIPES; do
    "$EXAMPLES/$script" write 'from holder 2' || exit 1
done
echo "$LEASEHOLD_TOKEN written"
cat
"#;

#[test]
fn a_holder_that_was_paused_past_its_lease_is_rejected_in_every_recipe() {
    let etcd = Etcd::start();
    let resources = all_resources();
    let mut scripts: Vec<&str> = resources.iter().map(|r| r.recipe.script).collect();
    scripts.push("etcd.sh");
    let folder = TempDir::with_prefix("leasehold-story-").expect("a folder");
    let holder = |script: &str, ttl: u32| {
        let script = format!("cd {}\n{script}", folder.path().display());
        // With --on-loss warn, leasehold itself stops nobody: the fence alone has to do it.
        let run = etcd
            .run("story")
            .ttl(ttl)
            .arguments(["--on-loss", "warn", "--lock-delay", "0"])
            .shell(&script)
            .variable("EXAMPLES", examples().to_str().expect("readable"))
            .variable("RECIPES", &scripts.join(" "));
        let variables = resources.iter().flat_map(|r| &r.server.variables);
        with_leasehold(variables.fold(run, |run, (name, value)| run.variable(name, value)))
    };

    // Holder 1 has the lock, and is about to write.
    let first = holder(HOLDER_1, 3).spawn();
    eventually("all stand before the gate", SOON, || {
        let gates = fs::read_to_string(folder.path().join("gates")).unwrap_or_default();
        match gates.lines().count() {
            count if count == scripts.len() => Ok(()),
            count => Err(format!("{count} of {}", scripts.len())),
        }
    });
    // It is paused, all of it, as with its machine; its lease runs out.
    let paused = first.processes();
    for process in &paused {
        process.signal(Signal::SIGSTOP);
    }
    // Holder 2 gets the lock, and writes.
    let second = holder(HOLDER_2, 60).spawn();
    second.expect_stdout("written");
    // Holder 1 wakes up, and writes.
    fs::write(folder.path().join("gate"), "open").expect("ours");
    for process in paused.iter().rev() {
        process.signal(Signal::SIGCONT);
    }
    let output = first.wait();
    output.assert_status(79).assert_stderr_has([
        "lock lost",
        "runs on without it",
        "ran on without it",
    ]);
    for script in &scripts {
        assert_rejected(&folder, script, &output);
    }
    for resource in &resources {
        assert_eq!(
            resource.read(),
            "from holder 2",
            "{}",
            resource.recipe.script
        );
    }
    let stored = etcd.store().keys("app/state").remove(0);
    assert_eq!(stored.value, b"from holder 2");
    second.wait().assert_status(0);
}

/// Everything that this machine has; the two recipes for PostgreSQL share one server.
fn all_resources() -> Vec<Resource> {
    let mut resources: Vec<Resource> = Vec::new();
    for recipe in RECIPES {
        let is_alike = |other: &&Resource| other.recipe.server as usize == recipe.server as usize;
        match resources.iter().find(is_alike) {
            Some(other) => {
                let server = Rc::clone(&other.server);
                resources.push(Resource::on(recipe, server));
            }
            None => resources.extend(Resource::start(recipe.script)),
        }
    }
    resources
}

fn assert_rejected(folder: &TempDir, script: &str, output: &Output) {
    let read = |what: &str| {
        let path = folder.path().join(format!("{script}.{what}"));
        fs::read_to_string(path).unwrap_or_default()
    };
    assert_eq!(
        read("status").trim(),
        "79",
        "{script}: {}\n{}",
        read("stderr"),
        output.describe()
    );
}

#[test]
fn no_secret_is_among_the_arguments_where_everybody_can_read_it() {
    let secrets = [
        ("redis.sh", "redis-cli", REDIS_PASSWORD),
        ("s3.sh", "curl", S3_SECRET_KEY),
    ];
    for (script, program, secret) in secrets {
        let Some(resource) = Resource::start(script) else {
            continue;
        };
        let folder = TempDir::with_prefix("leasehold-arguments-").expect("a folder");
        let log = folder.path().join("log");
        let noting = folder.path().join(program);
        let text = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" >>{}\nexec /usr/bin/{program} \"$@\"\n",
            log.display()
        );
        fs::write(&noting, text).expect("ours");
        fs::set_permissions(&noting, PermissionsExt::from_mode(0o755)).expect("ours");
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let write = resource.write("33", "value").variable("PATH", &path);
        write.output().assert_status(0);
        let read = resource.call(&["read"]).variable("PATH", &path).output();
        read.assert_status(0).assert_stdout("value\n");
        let log = fs::read_to_string(&log).expect("it was called");
        assert!(!log.contains(secret), "{script}: {log}");
    }
}

#[test]
fn the_first_five_minutes_of_the_documentation_work_as_they_are_typed() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fencing.md");
    let docs = fs::read_to_string(docs).expect("there");
    let (_, rest) = docs.split_once("\n## In five minutes\n").expect("there");
    let mut blocks = rest
        .split("\n## ")
        .next()
        .expect("some")
        .split("```")
        .skip(1)
        .step_by(2);
    let folder = TempDir::with_prefix("leasehold-docs-").expect("a folder");
    let home = fs::canonicalize(folder.path()).expect("there");
    let etcd = Etcd::start();
    let mut tried = 0;
    while let (Some(typed), Some(seen)) = (blocks.next(), blocks.next()) {
        let typed = typed.strip_prefix("sh\n").expect("what is typed");
        let seen = seen.strip_prefix("text\n").expect("what is seen");
        let run = Run::program("/bin/sh").arguments(["-c", &format!("exec 2>&1\n{typed}")]);
        let run = run
            .wrapped(["env", "-C", home.to_str().expect("readable")])
            .variable("LEASEHOLD_ENDPOINTS", &etcd.endpoints())
            .variable("ETCDCTL_ENDPOINTS", &etcd.endpoints())
            .variable("ETCDCTL_API", "3");
        let output = with_leasehold(run).output();
        let stdout = output
            .stdout
            .replace(home.to_str().expect("readable"), "/home/you");
        let printed: Vec<String> = stdout.lines().map(without_numbers).collect();
        for line in seen.lines() {
            let has_it = printed.contains(&without_numbers(line));
            assert!(has_it, "{line:?} is missing:\n{}", output.describe());
        }
        tried += 1;
    }
    assert_eq!(tried, 2);
}

/// Tokens differ from run to run; exit statuses do not.
fn without_numbers(line: &str) -> String {
    let words = line.split(' ').scan("", |last, word| {
        let is_token = *last == "token" && word.starts_with(|c: char| c.is_ascii_digit());
        *last = word;
        Some(if is_token { "N" } else { word })
    });
    words.collect::<Vec<&str>>().join(" ")
}

#[test]
fn every_script_is_one_that_a_shell_understands() {
    for entry in fs::read_dir(examples()).expect("the examples") {
        let path = entry.expect("one").path();
        let path = path.to_str().expect("readable");
        for shell in ["sh", "bash"] {
            Run::program("/usr/bin/env")
                .arguments([shell, "-n", path])
                .output()
                .assert_status(0)
                .assert_silent();
        }
    }
}
