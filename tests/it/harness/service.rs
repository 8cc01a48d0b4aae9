//! The lock service that a test of behaviour runs against: an etcd, or a folder of this machine (`--local`).
//!
//! A test that does not speak of the network is written once. It runs by its name against etcd; and once more, as
//! `in_a_folder::` with the same name, where the file names it in [`in_a_folder_too`].

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, params};
use tempfile::TempDir;

use super::etcd::Etcd;
use super::eventually::SOON;
use super::leasehold::{Run, Running, binary};
use super::processes::Moment;
use super::store::{Store, Stored, assert_nothing_left, wait_for_entries, without_signs};

thread_local! {
    static IN_A_FOLDER: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test against a folder.
pub(crate) fn in_a_folder(test: impl FnOnce()) {
    IN_A_FOLDER.set(true);
    test();
}

/// Runs these tests of the file against a folder too.
macro_rules! in_a_folder_too {
    ($($test:ident),* $(,)?) => {
        mod in_a_folder {
            $(
                #[test]
                fn $test() {
                    crate::harness::service::in_a_folder(super::$test);
                }
            )*
        }
    };
}
pub(crate) use in_a_folder_too;

/// A lock service.
pub(crate) enum Service {
    Etcd(Box<Etcd>),
    Folder(TempDir),
}

/// What etcd alone has, such as members.
impl Deref for Service {
    type Target = Etcd;

    fn deref(&self) -> &Etcd {
        match self {
            Self::Etcd(etcd) => etcd,
            Self::Folder(_) => panic!("this test speaks of etcd: it is none for a folder"),
        }
    }
}

impl DerefMut for Service {
    fn deref_mut(&mut self) -> &mut Etcd {
        match self {
            Self::Etcd(etcd) => etcd,
            Self::Folder(_) => panic!("this test speaks of etcd: it is none for a folder"),
        }
    }
}

impl Service {
    /// One that is ready.
    pub(crate) fn start() -> Self {
        if !IN_A_FOLDER.get() {
            return Self::Etcd(Box::new(Etcd::start()));
        }
        let folder = TempDir::with_prefix("leasehold-local-").expect("a folder");
        let service = Self::Folder(folder);
        // Makes the store.
        service.leasehold(["list"]).output().assert_status(0);
        service
    }

    /// The variable that says where it is, as a user sets it.
    pub(crate) fn variable(&self) -> (&'static str, String) {
        match self {
            Self::Etcd(etcd) => ("LEASEHOLD_ENDPOINTS", etcd.endpoints()),
            Self::Folder(folder) => {
                let folder = folder.path().to_str().expect("a readable path");
                ("LEASEHOLD_LOCAL", folder.to_owned())
            }
        }
    }

    /// The entry that says so in a command's environment, as leasehold exports it.
    pub(crate) fn exported(&self) -> String {
        match (self, self.variable()) {
            (Self::Etcd(_), (name, endpoints)) => format!("{name}=http://{endpoints}"),
            (Self::Folder(_), (name, folder)) => format!("{name}={folder}"),
        }
    }

    /// `leasehold` with this service in its environment.
    pub(crate) fn program(&self) -> Run {
        let (name, value) = self.variable();
        Run::program(binary()).variable(name, &value)
    }

    /// `leasehold run NAME`.
    pub(crate) fn run(&self, name: &str) -> Run {
        self.program().lock(name)
    }

    /// `leasehold` with these arguments.
    pub(crate) fn leasehold<const N: usize>(&self, arguments: [&str; N]) -> Run {
        self.program().arguments(arguments)
    }

    /// Somebody who holds the lock `name` until it is waited for (its stdin ends) or dropped.
    #[track_caller]
    pub(crate) fn hold(&self, name: &str) -> Running {
        let holder = self.run(name).shell("echo ready; cat").spawn();
        holder.expect_stdout("ready");
        holder
    }

    /// What is in it.
    pub(crate) fn store(&self) -> Shelf {
        match self {
            Self::Etcd(etcd) => Shelf::Etcd(Box::new(etcd.store())),
            Self::Folder(folder) => Shelf::Folder(Folder(folder.path().to_owned())),
        }
    }
}

/// What is in a lock service, behind leasehold's back.
pub(crate) enum Shelf {
    Etcd(Box<Store>),
    Folder(Folder),
}

/// What can be done to etcd alone.
impl Deref for Shelf {
    type Target = Store;

    fn deref(&self) -> &Store {
        match self {
            Self::Etcd(store) => store,
            Self::Folder(_) => panic!("this test speaks of etcd's store: it is none for a folder"),
        }
    }
}

impl Shelf {
    /// The keys that begin with `prefix`, oldest first.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<Stored> {
        match self {
            Self::Etcd(store) => store.keys(prefix),
            Self::Folder(folder) => folder.keys(prefix),
        }
    }

    /// The entries of a lock, the holder first.
    pub(crate) fn entries(&self, name: &str) -> Vec<Stored> {
        self.keys(&format!("/leasehold/{name}/"))
    }

    /// The run markers of a lock.
    pub(crate) fn markers(&self, name: &str) -> Vec<Stored> {
        without_signs(self.keys(&format!("/leasehold/~run/{name}/")))
    }

    /// Waits until `count` entries stand in the queue, and returns them.
    #[track_caller]
    pub(crate) fn wait_for_entries(&self, name: &str, count: usize) -> Vec<Stored> {
        wait_for_entries(name, count, || self.entries(name))
    }

    /// The ids of all living leases.
    pub(crate) fn leases(&self) -> Vec<i64> {
        match self {
            Self::Etcd(store) => store.leases(),
            Self::Folder(folder) => folder.leases(),
        }
    }

    /// Nothing of ours is left.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        match self {
            Self::Etcd(store) => store.assert_clean(),
            Self::Folder(folder) => folder.assert_clean(),
        }
    }

    pub(crate) fn delete(&self, key: &str) {
        match self {
            Self::Etcd(store) => store.delete(key),
            Self::Folder(folder) => folder.delete(&[key.to_owned()]),
        }
    }

    /// Puts a key that hangs on no lease.
    pub(crate) fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        match self {
            Self::Etcd(store) => store.put(key, value),
            Self::Folder(folder) => folder.put(key, &value),
        }
    }

    /// The create_revision of every key below `prefix` that was ever put.
    pub(crate) fn history(&self, prefix: &str) -> BTreeMap<String, i64> {
        match self {
            Self::Etcd(store) => store.history(prefix),
            Self::Folder(folder) => folder.history(prefix),
        }
    }

    pub(crate) fn revoke(&self, lease: i64) {
        match self {
            Self::Etcd(store) => store.revoke(lease),
            Self::Folder(folder) => {
                let db = folder.open().expect("a store");
                db.execute("DELETE FROM ttls WHERE lease = ?1", [lease])
                    .expect("the layout");
                let keys = folder.keys("").into_iter().filter(|kv| kv.lease == lease);
                folder.delete(&keys.map(|kv| kv.key).collect::<Vec<_>>());
            }
        }
    }

    /// The store's revision now.
    pub(crate) fn revision(&self) -> i64 {
        match self {
            Self::Etcd(store) => store.revision(),
            Self::Folder(folder) => folder.number("SELECT revision FROM state"),
        }
    }

    /// Whose tokens these are.
    pub(crate) fn cluster(&self) -> u64 {
        match self {
            Self::Etcd(store) => store.cluster(),
            Self::Folder(folder) => folder.number("SELECT cluster FROM state").cast_unsigned(),
        }
    }
}

/// A folder with locks: its own client, so that a defect of the product's cannot hide itself.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Nobody has made a store in it yet: nothing.
    fn open(&self) -> Option<Connection> {
        let path = self.0.join("store.db");
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let db = Connection::open_with_flags(path, flags).ok()?;
        db.busy_timeout(SOON).expect("a time");
        let version: i64 = db
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .expect("a store");
        (version > 0).then_some(db)
    }

    /// As in etcd, an empty store is at revision 1.
    fn number(&self, query: &str) -> i64 {
        let answer = |db: Connection| db.query_row(query, [], |row| row.get(0)).expect("a number");
        self.open().map_or(1, answer)
    }

    /// What hangs on a lease that has ended is not there any more, whoever takes it away.
    fn is_alive(&self, lease: i64) -> bool {
        if lease == 0 {
            return true;
        }
        let ends_at: Option<i64> = self.open().and_then(|db| {
            let query = "SELECT ends_at FROM times WHERE lease = ?1";
            db.query_row(query, [lease], |row| row.get(0))
                .optional()
                .expect("the layout")
        });
        if let Some(ends_at) = ends_at {
            return Moment::parse(&ends_at.to_string()) > Moment::now();
        }
        let file = File::open(self.0.join("leases").join(format!("{lease:x}")));
        file.is_ok_and(|file| file.try_lock_shared().is_err())
    }

    fn keys(&self, prefix: &str) -> Vec<Stored> {
        let Some(db) = self.open() else {
            return Vec::new();
        };
        let mut query = db
            .prepare(
                "SELECT key, value, create_revision, lease FROM keys ORDER BY create_revision, key",
            )
            .expect("the layout");
        let found = query.query_map([], |row| {
            Ok(Stored {
                key: row.get(0)?,
                value: row.get(1)?,
                create_revision: row.get(2)?,
                version: 0,
                lease: row.get(3)?,
            })
        });
        let found = found.expect("the layout").map(|kv| kv.expect("a key"));
        let alive = found.filter(|kv| self.is_alive(kv.lease));
        alive.filter(|kv| kv.key.starts_with(prefix)).collect()
    }

    /// Those of runs, and those with a time that something hangs on.
    fn leases(&self) -> Vec<i64> {
        let files = std::fs::read_dir(self.0.join("leases"));
        let names = files
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| file.file_name());
        let runs = names.filter_map(|name| i64::from_str_radix(name.to_str()?, 16).ok());
        let timed = self
            .keys("")
            .into_iter()
            .map(|kv| kv.lease)
            .filter(|lease| *lease != 0);
        let all: BTreeSet<i64> = runs.chain(timed).collect();
        all.into_iter()
            .filter(|lease| self.is_alive(*lease))
            .collect()
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert_nothing_left(|| (self.keys(""), self.leases()));
    }

    fn put(&self, key: &str, value: &[u8]) {
        self.change(&[key.to_owned()], |txn| {
            txn.execute(
                "INSERT OR REPLACE INTO keys SELECT ?1, ?2, revision, revision, 0 FROM state",
                params![key, value],
            )?;
            txn.execute(
                "INSERT INTO changes SELECT revision, ?1, 1, ?2, revision, 0 FROM state",
                params![key, value],
            )
        });
    }

    fn history(&self, prefix: &str) -> BTreeMap<String, i64> {
        let Some(db) = self.open() else {
            return BTreeMap::new();
        };
        let mut query = db
            .prepare("SELECT key, create_revision FROM changes WHERE put")
            .expect("the layout");
        let found = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let found = found.expect("the layout").map(|kv| kv.expect("a key"));
        found
            .filter(|(key, _): &(String, i64)| key.starts_with(prefix))
            .collect()
    }

    /// Takes keys away in one revision.
    fn delete(&self, keys: &[String]) {
        self.change(keys, |txn| {
            for key in keys {
                txn.execute(
                    "INSERT INTO changes SELECT (SELECT revision FROM state), key, 0, value, create_revision, lease FROM keys WHERE key = ?1",
                    [key],
                )?;
                txn.execute("DELETE FROM keys WHERE key = ?1", [key])?;
            }
            Ok(0)
        });
    }

    /// Changes these keys in one revision, and rings whoever waits for that.
    fn change(
        &self,
        keys: &[String],
        change: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<usize>,
    ) {
        let gate = File::open(self.0.join("gate")).expect("a gate");
        gate.lock().expect("a lock");
        let mut db = self.open().expect("a store");
        let txn = db.transaction().expect("a transaction");
        txn.execute("UPDATE state SET revision = revision + 1", [])
            .expect("the layout");
        change(&txn).expect("the layout");
        let mut query = txn
            .prepare("SELECT key, lease FROM bells")
            .expect("the layout");
        let bells = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
        let bells: Vec<(String, i64)> = bells
            .expect("the layout")
            .map(|it| it.expect("a bell"))
            .collect();
        drop(query);
        txn.commit().expect("written");
        for (_, lease) in bells.iter().filter(|(key, _)| keys.contains(key)) {
            let bell = self.0.join("bells").join(format!("{lease:x}"));
            let mut options = File::options();
            let bell = options
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(bell);
            if let Ok(mut bell) = bell {
                let _ = bell.write_all(b"!");
            }
        }
    }
}
