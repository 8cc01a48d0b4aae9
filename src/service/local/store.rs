//! The store of one machine: keys with values, as etcd has them, in SQLite.
//!
//! - Everything is done inside a transaction, one at a time: whoever wants one holds the kernel lock of the gate, which
//!   the kernel hands on in order and takes from whoever dies. SQLite's own locks are never waited for.
//! - Everything that one transaction changes is one revision. It is on the disk before anybody hears of it
//!   (`synchronous=FULL`), so a token never comes twice, whatever is killed or loses its power.
//! - Before anything else a transaction takes away what hangs on leases that have ended: each one is a revision of its
//!   own (leases.rs).
//! - Changes are remembered, the last ones, for `history` and `watch`: what is older is compacted.
//! - Who waits for a key to change says so beside the keys, and is rung (bell.rs) once the change is on the disk.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::{fs, io};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior, params};

use super::bell;
use super::folder::{Folder, open_private};
use super::layout;
use super::life;
use crate::clock::{self, Instant};
use crate::lock::entry::harmless;
use crate::lock::token::{ClusterId, LeaseId};
use crate::supervisor::{Trouble, TroubleKind};

/// How many changes are kept at least, and at most.
const CHANGES_MIN: i64 = 10_000;
const CHANGES_MAX: i64 = 12_000;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole key.
    pub key: String,
    /// What stands there.
    pub value: Vec<u8>,
    /// The revision that put it first.
    pub create_revision: i64,
    /// The revision that put it last.
    pub mod_revision: i64,
    /// The lease that it hangs on; 0 for none.
    pub lease: i64,
}

/// One change that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// What was put, or what stood there when it was deleted.
    pub kv: KeyValue,
    /// Whether it was put.
    pub put: bool,
}

/// The store of a folder.
#[derive(Debug)]
pub struct Store {
    folder: Folder,
    db: Connection,
    boot: String,
    /// Device and number of the database.
    is: (u64, u64),
}

/// One transaction: all of it or nothing.
pub struct Transaction<'store> {
    pub(super) db: rusqlite::Transaction<'store>,
    pub(super) folder: &'store Folder,
    /// Which boot this is.
    pub(super) boot: &'store str,
    cluster: ClusterId,
    /// The last one that was made.
    revision: i64,
    /// Whether this transaction has made one of its own.
    pub(super) changed: bool,
    /// Whose bells are to be rung.
    rings: BTreeSet<i64>,
    /// Whose files are of no use any more.
    pub(super) ended: Vec<LeaseId>,
}

/// What SQLite says, or what we say of it.
pub enum Error {
    /// The former.
    Sqlite(rusqlite::Error),
    /// The latter.
    Ours(Trouble),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        Self::Ours(trouble)
    }
}

/// What comes of a step in a transaction.
pub type Result<T> = std::result::Result<T, Error>;

impl Store {
    /// Opens the store of a folder that exists, and makes it where it is missing.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(folder: &Folder) -> std::result::Result<Self, Trouble> {
        let explain = |error| explained(folder, error);
        let mut db = Connection::open(folder.store()).map_err(|error| explain(error.into()))?;
        // Only where there is something to make: whoever has the gate may be stopped.
        if !layout::is_made(&db, folder).map_err(explain)? {
            let _gate = gate(folder)?;
            layout::make(&mut db, folder).map_err(explain)?;
        }
        layout::prepare(&db).map_err(explain)?;
        Ok(Self {
            folder: folder.clone(),
            is: identity(folder)?,
            db,
            boot: boot()?,
        })
    }

    /// Whether it is still the one in the folder: somebody may have removed it, or put another one in its place.
    ///
    /// # Errors
    /// That the folder is not there any more.
    pub fn is_current(&self) -> std::result::Result<bool, Trouble> {
        Ok(identity(&self.folder)? == self.is)
    }

    /// Does something in a transaction, if its turn comes by `give_up_at`; then whoever waits for what it changed is rung.
    ///
    /// # Errors
    /// Why nothing was done.
    pub fn transact<T>(
        &mut self,
        give_up_at: Instant,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T>,
    ) -> std::result::Result<T, Trouble> {
        let _gate = gate(&self.folder)?;
        if give_up_at <= clock::now() {
            return Err(self.folder.busy());
        }
        let Self {
            folder, db, boot, ..
        } = self;
        let done = Self::done(db, folder, boot, work);
        let (result, rings, ended) = done.map_err(|error| explained(folder, error))?;
        for lease in ended {
            // It may be there all the same: somebody has removed its life.
            bell::ring(folder, lease);
            life::bury(folder, lease);
        }
        for lease in rings.into_iter().filter_map(LeaseId::new) {
            bell::ring(folder, lease);
        }
        Ok(result)
    }

    /// Reads something as it is at one revision, whoever has the gate and whatever space is left. What hangs on leases that
    /// have ended is still there.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> std::result::Result<T, Trouble> {
        let Self {
            folder, db, boot, ..
        } = self;
        let read = || {
            let db = db.transaction_with_behavior(TransactionBehavior::Deferred)?;
            work(&Transaction::begin(db, folder, boot)?)
        };
        read().map_err(|error| explained(folder, error))
    }

    fn done<T>(
        db: &mut Connection,
        folder: &Folder,
        boot: &str,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<(T, BTreeSet<i64>, Vec<LeaseId>)> {
        let db = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut txn = Transaction::begin(db, folder, boot)?;
        let revision = txn.revision;
        txn.collect()?;
        let before = txn.revision;
        let result = work(&mut txn)?;
        if txn.revision != revision || before != revision {
            let now = txn.revision;
            txn.db
                .prepare_cached("UPDATE state SET revision = ?1")?
                .execute([now])?;
            txn.compact()?;
        }
        let Transaction {
            db, rings, ended, ..
        } = txn;
        db.commit()?;
        Ok((result, rings, ended))
    }
}

impl<'store> Transaction<'store> {
    fn begin(
        db: rusqlite::Transaction<'store>,
        folder: &'store Folder,
        boot: &'store str,
    ) -> Result<Self> {
        let (cluster, revision) =
            db.query_row("SELECT cluster, revision FROM state", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get(1)?))
            })?;
        Ok(Self {
            db,
            folder,
            boot,
            cluster: ClusterId(cluster.cast_unsigned()),
            revision,
            changed: false,
            rings: BTreeSet::new(),
            ended: Vec::new(),
        })
    }
}

impl Transaction<'_> {
    /// Whose tokens these are.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Where the store is; harmless text.
    pub fn folder(&self) -> String {
        harmless(&self.folder.shown().to_string())
    }

    /// The revision that was made last: what is read here is of it.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// The first revision of which the changes are known.
    pub fn compacted(&self) -> Result<i64> {
        let compacted = self
            .db
            .query_row("SELECT compacted FROM state", [], |row| row.get(0))?;
        Ok(compacted)
    }

    /// What stands under a key.
    pub fn get(&self, key: &str) -> Result<Option<KeyValue>> {
        let mut query = self.db.prepare_cached(
            "SELECT key, value, create_revision, mod_revision, lease FROM keys WHERE key = ?1",
        )?;
        Ok(query.query_row([key], key_value).optional()?)
    }

    /// What stands between two keys, the second not included.
    pub fn range(&self, first: &str, end: &str) -> Result<Vec<KeyValue>> {
        let mut query = self.db.prepare_cached(
            "SELECT key, value, create_revision, mod_revision, lease FROM keys WHERE key >= ?1 AND key < ?2 ORDER BY key",
        )?;
        let found = query.query_map([first, end], key_value)?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// What stands below a key that ends with `/`.
    pub fn below(&self, first: &str) -> Result<Vec<KeyValue>> {
        // `0` comes after `/`.
        self.range(first, &format!("{}0", first.trim_end_matches('/')))
    }

    /// Puts a value there, on this lease.
    pub fn put(&mut self, key: &str, value: &[u8], lease: Option<LeaseId>) -> Result<()> {
        let before = self.get(key)?;
        let revision = self.change();
        let kv = KeyValue {
            key: key.to_owned(),
            value: value.to_vec(),
            create_revision: before.map_or(revision, |before| before.create_revision),
            mod_revision: revision,
            lease: lease.map_or(0, LeaseId::get),
        };
        self.db
            .prepare_cached("INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                kv.key,
                kv.value,
                kv.create_revision,
                revision,
                kv.lease
            ])?;
        self.remember(&kv, true)
    }

    /// Deletes what stands there, if anything does.
    pub fn delete(&mut self, key: &str) -> Result<()> {
        let Some(mut kv) = self.get(key)? else {
            return Ok(());
        };
        kv.mod_revision = self.change();
        self.db
            .prepare_cached("DELETE FROM keys WHERE key = ?1")?
            .execute([key])?;
        self.remember(&kv, false)
    }

    /// From now on the owner of this lease is rung when one of these keys changes, and for no other.
    pub fn ring_for(&mut self, lease: LeaseId, keys: BTreeSet<String>) -> Result<()> {
        // A look that finds nothing new writes nothing.
        if self.bells_of(lease)? == keys {
            return Ok(());
        }
        self.ring_for_nothing(lease.get())?;
        let mut insert = self
            .db
            .prepare_cached("INSERT OR IGNORE INTO bells VALUES (?1, ?2)")?;
        for key in keys {
            insert.execute(params![key, lease.get()])?;
        }
        Ok(())
    }

    fn bells_of(&self, lease: LeaseId) -> Result<BTreeSet<String>> {
        let mut query = self
            .db
            .prepare_cached("SELECT key FROM bells WHERE lease = ?1")?;
        let found = query.query_map([lease.get()], |row| row.get(0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// What changed after a revision between two keys, in its order.
    pub fn changes_after(&self, revision: i64, first: &str, end: &str) -> Result<Vec<Changed>> {
        let mut query = self.db.prepare_cached(
            "SELECT key, value, create_revision, revision, lease, put FROM changes
             WHERE revision > ?1 AND key >= ?2 AND key < ?3 ORDER BY revision, rowid",
        )?;
        let found = query.query_map(params![revision, first, end], |row| {
            Ok(Changed {
                kv: key_value(row)?,
                put: row.get(5)?,
            })
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    pub(super) fn ring_for_nothing(&self, lease: i64) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM bells WHERE lease = ?1")?
            .execute([lease])?;
        Ok(())
    }

    /// The revision of what is changed now.
    const fn change(&mut self) -> i64 {
        if !self.changed {
            self.changed = true;
            self.revision += 1;
        }
        self.revision
    }

    fn remember(&mut self, kv: &KeyValue, put: bool) -> Result<()> {
        self.db
            .prepare_cached("INSERT INTO changes VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                kv.mod_revision,
                kv.key,
                put,
                kv.value,
                kv.create_revision,
                kv.lease
            ])?;
        let mut query = self
            .db
            .prepare_cached("SELECT lease FROM bells WHERE key = ?1")?;
        let rung = query.query_map([&kv.key], |row| row.get::<_, i64>(0))?;
        for lease in rung {
            self.rings.insert(lease?);
        }
        Ok(())
    }

    fn compact(&self) -> Result<()> {
        let count: i64 = {
            let mut query = self
                .db
                .prepare_cached("SELECT coalesce(max(rowid) - min(rowid), 0) FROM changes")?;
            query.query_row([], |row| row.get(0))?
        };
        if count <= CHANGES_MAX {
            return Ok(());
        }
        let first: i64 = self.db.query_row(
            "SELECT revision FROM changes WHERE rowid >= (SELECT max(rowid) FROM changes) - ?1 ORDER BY rowid LIMIT 1",
            [CHANGES_MIN],
            |row| row.get(0),
        )?;
        self.db
            .execute("DELETE FROM changes WHERE revision < ?1", [first])?;
        self.db
            .execute("UPDATE state SET compacted = ?1", [first])?;
        Ok(())
    }
}

fn key_value(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeyValue> {
    Ok(KeyValue {
        key: row.get(0)?,
        value: row.get(1)?,
        create_revision: row.get(2)?,
        mod_revision: row.get(3)?,
        lease: row.get(4)?,
    })
}

/// Which boot this is: what is measured since the boot is compared with nothing else.
fn boot() -> std::result::Result<String, Trouble> {
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    match read {
        Ok(boot) => Ok(boot.trim().to_owned()),
        // Another one each time: then the wall clock has to do.
        Err(_) => Ok(life::new_lease()?.to_string()),
    }
}

fn identity(folder: &Folder) -> std::result::Result<(u64, u64), Trouble> {
    let found = fs::metadata(folder.store());
    let found = found.map_err(|error| folder.trouble("cannot be read", &error))?;
    Ok((found.dev(), found.ino()))
}

/// Waits until nobody else reads or changes the store. The kernel gives it to whoever has waited longest, and takes it
/// from whoever dies; it is held for one transaction.
fn gate(folder: &Folder) -> std::result::Result<fs::File, Trouble> {
    let open = || {
        let opened = open_private(&folder.gate());
        opened.map_err(|error| folder.trouble("cannot be written to", &error))
    };
    let file = open()?;
    loop {
        match file.lock() {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(folder.trouble("has no locks", &error)),
        }
    }
}

fn explained(folder: &Folder, error: Error) -> Trouble {
    let error = match error {
        Error::Ours(trouble) => return trouble,
        Error::Sqlite(error) => error,
    };
    let (kind, why) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (
            TroubleKind::Refused,
            "no space is left on its disk".to_owned(),
        ),
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => (
            TroubleKind::Denied,
            format!("its store.db cannot be opened or written ({error})"),
        ),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => (
            TroubleKind::Misconfigured,
            format!("its store.db is none of leasehold's, or damaged ({error}); see docs/local.md"),
        ),
        _ => (TroubleKind::Refused, error.to_string()),
    };
    Trouble {
        kind,
        detail: format!("the lock folder {}: {why}", folder.shown()),
    }
}
