//! How the store lies in SQLite.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use super::folder::Folder;
use super::store::Result;

/// What this program writes. It brings an older one up to it, and understands no newer one.
const VERSION: i32 = 2;

const SCHEMA: &str = "
    CREATE TABLE state (cluster INTEGER NOT NULL, revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
    CREATE TABLE keys (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL,
        mod_revision INTEGER NOT NULL, lease INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX keys_lease ON keys (lease);
    CREATE TABLE changes (
        revision INTEGER NOT NULL, key TEXT NOT NULL, put INTEGER NOT NULL, value BLOB NOT NULL,
        create_revision INTEGER NOT NULL, lease INTEGER NOT NULL
    );
    CREATE INDEX changes_revision ON changes (revision);
    CREATE TABLE times (
        lease INTEGER PRIMARY KEY, boot TEXT NOT NULL, ends_at INTEGER NOT NULL, ends_at_wall INTEGER NOT NULL
    );
    CREATE TABLE ttls (lease INTEGER PRIMARY KEY, ttl_ms INTEGER NOT NULL, waits INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE bells (key TEXT NOT NULL, lease INTEGER NOT NULL, PRIMARY KEY (key, lease)) WITHOUT ROWID;
    CREATE INDEX bells_lease ON bells (lease);
";

/// What a store of version 1 lacks: whoever is in it keeps its place until it ends.
const FROM_1: &str = "ALTER TABLE ttls ADD COLUMN waits INTEGER NOT NULL DEFAULT 0";

fn version(db: &Connection) -> Result<i32> {
    Ok(db.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Whether there are tables that this program understands.
pub fn is_made(db: &Connection, folder: &Folder) -> Result<bool> {
    let version = version(db)?;
    if version > VERSION {
        return Err(folder
            .unusable(&format!(
                "was made by a newer leasehold (layout {version}; this one knows {VERSION}); use that one, or another folder"
            ))
            .into());
    }
    Ok(version == VERSION)
}

/// Makes the tables where nobody else did meanwhile.
pub fn make(db: &mut Connection, folder: &Folder) -> Result<()> {
    // One write and one sync for each transaction; what is on the disk stays in the log until that is long.
    db.pragma_update(None, "journal_mode", "WAL")?;
    if is_made(db, folder)? {
        return Ok(());
    }
    let bits = getrandom::u64().unwrap_or_default().max(1);
    let txn = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if version(&txn)? == 0 {
        txn.execute_batch(SCHEMA)?;
        // As in etcd: the first change is revision 2.
        txn.execute("INSERT INTO state VALUES (?1, 1, 1)", [bits.cast_signed()])?;
    } else {
        txn.execute_batch(FROM_1)?;
    }
    txn.pragma_update(None, "user_version", VERSION)?;
    txn.commit()?;
    Ok(())
}

pub fn prepare(db: &Connection) -> Result<()> {
    db.pragma_update(None, "synchronous", "FULL")?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}
