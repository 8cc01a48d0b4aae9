//! The resources that recipes protect: real servers, each with a folder and an address of its own, for one test.
//!
//! Whoever wants a server that is missing on a machine says so and goes on without; not on CI (harness/untested.rs).

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use super::etcd::{die_with_this_thread, free_port};
use super::eventually::{SOON, eventually};

/// "Immediate shutdown", with its shared memory removed (postgres(1)).
const POSTGRESQL_END: Signal = Signal::SIGQUIT;

/// What a client has to know.
pub(crate) const REDIS_PASSWORD: &str = "the-password-of-redis";
const S3_ACCESS_KEY: &str = "the-name-in-s3";
pub(crate) const S3_SECRET_KEY: &str = "the/secret+of/s3";

/// Servers that refuse to run as root run as nobody.
const NOBODY: u32 = 65534;

/// A server, and what has to be in the environment to find it.
pub(crate) struct Server {
    pub(crate) variables: Vec<(String, String)>,
    child: Option<Child>,
    /// Ends it at once, with all its processes.
    end: Signal,
    folder: TempDir,
}

/// What is missing.
pub(crate) type Missing = String;

impl Server {
    /// PostgreSQL, with a cluster of its own.
    pub(crate) fn postgresql() -> Result<Self, Missing> {
        let programs = postgresql_programs()?;
        let (folder, address) = (folder(), free_port());
        let data = folder.path().join("data");
        let data = data.to_str().expect("readable");
        let made = unprivileged(&programs.join("initdb"), Signal::SIGKILL)
            .args(["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"])
            .args(["--no-sync", "--no-instructions"])
            .stdout(Stdio::null())
            .status();
        assert!(made.is_ok_and(|status| status.success()), "initdb");
        let mut command = unprivileged(&programs.join("postgres"), POSTGRESQL_END);
        command
            .stdin(Stdio::null())
            .args(["-D", data, "-c", "fsync=off"])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", &format!("listen_addresses={}", address.ip())])
            .args(["-p", &address.port().to_string()]);
        let server = Self::started(folder, command, address, POSTGRESQL_END);
        let server = server.with("PGHOST", address.ip());
        let server = server.with("PGPORT", address.port());
        let server = server
            .with("PGUSER", "postgres")
            .with("PGDATABASE", "postgres");
        // It listens before it answers.
        eventually("PostgreSQL answers", SOON, || {
            let mut asked = Command::new("psql");
            asked
                .args(["-qc", "SELECT 1"])
                .envs(server.variables.clone());
            match asked.stdout(Stdio::null()).stderr(Stdio::null()).status() {
                Ok(status) if status.success() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        Ok(server)
    }

    /// Redis, in memory.
    pub(crate) fn redis() -> Result<Self, Missing> {
        let program = program("redis-server")?;
        let (folder, address) = (folder(), free_port());
        let mut command = Command::new(program);
        command
            .args(["--bind", &address.ip().to_string()])
            .args(["--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path());
        // From stdin, where nobody reads the password in passing.
        let config = format!("requirepass {REDIS_PASSWORD}\n");
        let path = folder.path().join("config");
        fs::write(&path, config).expect("ours");
        command.stdin(fs::File::open(&path).expect("ours")).arg("-");
        let server = Self::started(folder, command, address, Signal::SIGTERM);
        Ok(server
            .with("REDIS_HOST", address.ip())
            .with("REDIS_PORT", address.port())
            .with("REDISCLI_AUTH", REDIS_PASSWORD))
    }

    /// Apache with WebDAV, one request at a time: mod_dav's check and write are two steps.
    pub(crate) fn http() -> Result<Self, Missing> {
        Self::http_with_etags("Digest")
    }

    /// The same with other ETags, as Apache's FileETag has them.
    pub(crate) fn http_with_etags(etags: &str) -> Result<Self, Missing> {
        let program = program("apache2")?;
        let (folder, address) = (folder(), free_port());
        let root = folder.path().display();
        let config = format!(
            "ServerRoot {root}
             ServerName localhost
             Listen {address}
             PidFile {root}/pid
             ErrorLog {root}/log
             DefaultRuntimeDir {root}
             LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
             LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
             LoadModule dav_module /usr/lib/apache2/modules/mod_dav.so
             LoadModule dav_fs_module /usr/lib/apache2/modules/mod_dav_fs.so
             StartServers 1
             MaxSpareServers 1
             MaxRequestWorkers 1
             FileETag {etags}
             DocumentRoot {root}/www
             DavLockDB {root}/locks
             <Directory {root}/www>
               Dav On
               Require all granted
             </Directory>\n"
        );
        let path = folder.path().join("config");
        fs::write(&path, config).expect("ours");
        fs::create_dir(folder.path().join("www")).expect("ours");
        give_away(&folder.path().join("www"));
        let mut command = unprivileged(&program, Signal::SIGTERM);
        command.stdin(Stdio::null());
        command.arg("-DFOREGROUND").arg("-f").arg(path);
        let server = Self::started(folder, command, address, Signal::SIGTERM);
        Ok(server.with("URL", format!("http://{address}/state")))
    }

    /// Apache, speaking HTTP/2 as gRPC does, that answers everything with this status: somebody else's web server, or
    /// a proxy that lets nobody in.
    pub(crate) fn answering(status: u16) -> Result<(Self, SocketAddr), Missing> {
        Self::in_between(&format!("Redirect {status} /"))
    }

    /// Apache as a proxy before this address.
    pub(crate) fn proxy_before(address: SocketAddr) -> Result<(Self, SocketAddr), Missing> {
        Self::in_between(&format!("ProxyPass / h2c://{address}/"))
    }

    /// nginx before an etcd, answering in its place who asks for a lease's time to live as etcd does since 3.4.42, 3.5.28
    /// and 3.6.9: without a token, or (`never`) with one that it does not know.
    pub(crate) fn asking_who(etcd: SocketAddr, never: bool) -> Result<(Self, SocketAddr), Missing> {
        let program = program("nginx")?;
        let (folder, address) = (folder(), free_port());
        let root = folder.path().display();
        let (refused, text) = match never {
            true => (".?", "invalid auth token"),
            false => ("^$", "user name is empty"),
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|of| format!("{of}_temp_path {root}/{of}; "))
            .concat();
        let config = format!(
            "daemon off; worker_processes 1; pid {root}/pid; error_log {root}/log;
             events {{ }}
             http {{
               access_log off; {temporary}
               grpc_read_timeout 1h; grpc_send_timeout 1h; client_body_timeout 1h; client_max_body_size 0;
               server {{
                 listen {address} http2;
                 location / {{ grpc_pass grpc://{etcd}; }}
                 location = /etcdserverpb.Lease/LeaseTimeToLive {{
                   error_page 418 = @who;
                   if ($http_token ~ \"{refused}\") {{ return 418; }}
                   grpc_pass grpc://{etcd};
                 }}
                 location @who {{
                   default_type application/grpc;
                   add_header grpc-status 16 always;
                   add_header grpc-message \"etcdserver: {text}\" always;
                   return 204;
                 }}
               }}
             }}\n"
        );
        let path = folder.path().join("config");
        fs::write(&path, config).expect("ours");
        let mut command = unprivileged(&program, Signal::SIGTERM);
        command.stdin(Stdio::null()).arg("-e");
        command.arg(folder.path().join("log")).arg("-c").arg(path);
        let server = Self::started(folder, command, address, Signal::SIGTERM);
        Ok((server, address))
    }

    fn in_between(line: &str) -> Result<(Self, SocketAddr), Missing> {
        let program = program("apache2")?;
        let (folder, address) = (folder(), free_port());
        let root = folder.path().display();
        let modules = "/usr/lib/apache2/modules/mod";
        let config = format!(
            "ServerRoot {root}
             ServerName localhost
             Listen {address}
             PidFile {root}/pid
             ErrorLog {root}/log
             DefaultRuntimeDir {root}
             LoadModule mpm_event_module {modules}_mpm_event.so
             LoadModule authz_core_module {modules}_authz_core.so
             LoadModule alias_module {modules}_alias.so
             LoadModule http2_module {modules}_http2.so
             LoadModule proxy_module {modules}_proxy.so
             LoadModule proxy_http2_module {modules}_proxy_http2.so
             StartServers 1
             Protocols h2c
             {line}\n"
        );
        let path = folder.path().join("config");
        fs::write(&path, config).expect("ours");
        let mut command = unprivileged(&program, Signal::SIGTERM);
        command.stdin(Stdio::null());
        command.arg("-DFOREGROUND").arg("-f").arg(path);
        let server = Self::started(folder, command, address, Signal::SIGTERM);
        Ok((server, address))
    }

    /// The same under another name as well.
    pub(crate) fn with_its_url_as(self, name: &str) -> Self {
        let url = self.variables[0].1.clone();
        self.with(name, url)
    }

    /// s3s-fs, which speaks S3, checks signatures, and keeps objects as files. It compares and writes in two steps,
    /// where Amazon's does it in one: so two writers at the very same moment are not for it.
    pub(crate) fn s3() -> Result<Self, Missing> {
        let program = program("s3s-fs")?;
        let (folder, address) = (folder(), free_port());
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .args(["--host", &address.ip().to_string()])
            .args(["--port", &address.port().to_string()])
            .args(["--access-key", S3_ACCESS_KEY, "--secret-key", S3_SECRET_KEY])
            .arg(folder.path());
        let server = Self::started(folder, command, address, Signal::SIGTERM);
        let object = format!("http://{address}/bucket/state");
        Ok(server
            .with("OBJECT", object)
            .with("AWS_ACCESS_KEY_ID", S3_ACCESS_KEY)
            .with("AWS_SECRET_ACCESS_KEY", S3_SECRET_KEY))
    }

    /// No server: a folder for a bare repository.
    pub(crate) fn git() -> Result<Self, Missing> {
        program("git")?;
        let server = Self::folder_only();
        let path = server.folder.path().join("repository");
        Ok(server.with("REPOSITORY", path.display()))
    }

    /// No server: a folder for a file.
    pub(crate) fn file() -> Result<Self, Missing> {
        let server = Self::folder_only();
        let path = server.folder.path().join("state");
        Ok(server.with("FILE", path.display()))
    }

    fn folder_only() -> Self {
        Self {
            variables: Vec::new(),
            child: None,
            end: Signal::SIGTERM,
            folder: folder(),
        }
    }

    fn started(folder: TempDir, mut command: Command, address: SocketAddr, end: Signal) -> Self {
        let log = fs::File::create(folder.path().join("output")).expect("ours");
        command
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        die_with_this_thread(&mut command);
        let child = command.spawn().expect("found before");
        let server = Self {
            variables: Vec::new(),
            child: Some(child),
            end,
            folder,
        };
        eventually(format!("{command:?} listens"), SOON, || {
            TcpStream::connect(address).map_err(|error| {
                let output = fs::read_to_string(server.folder.path().join("output"));
                format!("{error}: {}", output.unwrap_or_default())
            })
        });
        server
    }

    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = Pid::from_raw(child.id().cast_signed());
            let _ = kill(pid, self.end);
            let _ = child.wait();
        }
    }
}

fn folder() -> TempDir {
    let folder = TempDir::with_prefix("leasehold-server-").expect("a folder");
    give_away(folder.path());
    folder
}

fn give_away(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("root may");
    }
}

/// A program as somebody who is not root; it gets `end` when the test dies.
fn unprivileged(program: &Path, end: Signal) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")])
        // Changing the user would cancel it.
        .args(["--clear-groups", "--pdeathsig", end.as_str(), "--"])
        .arg(program);
    command
}

fn program(name: &str) -> Result<PathBuf, Missing> {
    // cargo installs where only the developer's own PATH leads, and Debian has servers where it does not.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
        .ok_or_else(|| name.to_owned())
}

/// Debian keeps the server's programs outside of PATH, one folder for each version.
fn postgresql_programs() -> Result<PathBuf, Missing> {
    program("psql")?;
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
        .ok_or_else(|| "the server of postgresql".to_owned())
}
