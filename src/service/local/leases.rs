//! The leases in a store: whose keys go when somebody ends, and when that is.
//!
//! - A run's lease lives as long as its kernel lock is held (life.rs). While the run waits it has to give signs of life as
//!   well: one that is stopped would keep up everybody behind it.
//! - A lease with a time (`--hold-min`, notes, what is done once) ends then, on this boot's clock; after a reboot the wall
//!   clock has to do.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};

use super::life;
use super::store::{Result, Transaction};
use crate::clock::{self, Instant};
use crate::lock::token::{ClusterId, LeaseId};

impl Transaction<'_> {
    /// A lease that lives for so long, whoever dies.
    pub fn lease_for(&mut self, time: Duration) -> Result<LeaseId> {
        let lease = life::new_lease()?;
        let ends_at = i64::try_from((clock::now() + time).as_nanos()).unwrap_or(i64::MAX);
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let wall = clock::wall()
            .as_second()
            .saturating_add(seconds)
            .saturating_add(1);
        self.db
            .prepare_cached("INSERT INTO times VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![lease.get(), self.boot, ends_at, wall])?;
        Ok(lease)
    }

    /// That the life of this run is in the folder, and the store that it had a place in, if it had one: not where somebody
    /// made another one in its place.
    pub fn require_home(&self, lease: LeaseId, store: Option<ClusterId>) -> Result<()> {
        let is_the_same = store.is_none_or(|store| store == self.cluster());
        match is_the_same && self.is_alive(lease.get()) {
            true => Ok(()),
            false => Err(self
                .folder
                .refused("was removed or replaced while this run was in it; start it again")
                .into()),
        }
    }

    /// Gives a sign of life of the owner of this lease.
    pub fn sign(&self, lease: LeaseId) -> Result<()> {
        let signed = life::sign(self.folder, lease);
        Ok(signed.map_err(|error| self.folder.trouble("takes no sign of life", &error))?)
    }

    /// How long the owner of this lease may give no sign of life, where it waits.
    pub fn patience_with(&self, lease: i64) -> Result<Option<Duration>> {
        let mut query = self
            .db
            .prepare_cached("SELECT ttl_ms FROM ttls WHERE lease = ?1 AND waits")?;
        let ttl_ms: Option<i64> = query.query_row([lease], |row| row.get(0)).optional()?;
        Ok(ttl_ms.map(milliseconds))
    }

    /// Says how long the owner of a run's lease may take to notice anything. From now on it waits: where it gives no sign
    /// of life for so long (life.rs) its place is taken away.
    pub fn set_ttl(&self, lease: LeaseId, ttl: Duration) -> Result<()> {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        self.db
            .prepare_cached("INSERT OR REPLACE INTO ttls VALUES (?1, ?2, 1)")?
            .execute([lease.get(), ttl_ms])?;
        Ok(())
    }

    /// The owner of this lease waits no more: it is told so with this transaction. From now on it keeps its place as long
    /// as anybody of its tree may live, for nobody can say what a tree does that does not run just now.
    pub fn set_admitted(&self, lease: LeaseId) -> Result<()> {
        self.db
            .prepare_cached("UPDATE ttls SET waits = 0 WHERE lease = ?1")?
            .execute([lease.get()])?;
        Ok(())
    }

    /// How long that is; nothing where no run has this lease.
    pub fn ttl(&self, lease: i64) -> Result<Option<Duration>> {
        let mut query = self
            .db
            .prepare_cached("SELECT ttl_ms FROM ttls WHERE lease = ?1")?;
        let found: Option<i64> = query.query_row([lease], |row| row.get(0)).optional()?;
        Ok(found.map(milliseconds))
    }

    /// When a lease with a time ends; nothing for one of a run.
    pub fn ends_at(&self, lease: i64) -> Result<Option<Instant>> {
        let mut query = self
            .db
            .prepare_cached("SELECT boot, ends_at, ends_at_wall FROM times WHERE lease = ?1")?;
        let row = query.query_row([lease], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        });
        let found = row.optional()?;
        Ok(found.map(|(boot, ends_at, ends_at_wall)| {
            if boot == self.boot {
                return Instant::from_nanos(u64::try_from(ends_at).unwrap_or(0));
            }
            let left = ends_at_wall.saturating_sub(clock::wall().as_second());
            clock::now() + Duration::from_secs(u64::try_from(left).unwrap_or(0))
        }))
    }

    /// Ends a lease: everything that hangs on it goes; which keys.
    pub fn end(&mut self, lease: i64) -> Result<Vec<String>> {
        let keys: Vec<String> = {
            let mut query = self
                .db
                .prepare_cached("SELECT key FROM keys WHERE lease = ?1 ORDER BY key")?;
            let found = query.query_map([lease], |row| row.get(0))?;
            found.collect::<rusqlite::Result<_>>()?
        };
        for key in &keys {
            self.delete(key)?;
        }
        for table in ["times", "ttls"] {
            let delete = format!("DELETE FROM {table} WHERE lease = ?1");
            self.db.prepare_cached(&delete)?.execute([lease])?;
        }
        Ok(keys)
    }

    /// Takes away what hangs on leases that have ended.
    pub(super) fn collect(&mut self) -> Result<()> {
        let now = i64::try_from(clock::now().as_nanos()).unwrap_or(i64::MAX);
        let mut ended = self.leases(
            "SELECT lease FROM times WHERE CASE boot WHEN ?1 THEN ends_at <= ?2 ELSE ends_at_wall <= ?3 END",
            params![self.boot, now, clock::wall().as_second()],
        )?;
        let of_runs = self.leases(
            "SELECT lease FROM keys WHERE lease != 0 UNION SELECT lease FROM bells UNION SELECT lease FROM ttls
             EXCEPT SELECT lease FROM times",
            [],
        )?;
        for lease in of_runs {
            if !self.is_alive(lease) {
                ended.push(lease);
            } else if self.is_stopped(lease)? {
                // It lives, and may queue again.
                self.changed = false;
                self.end(lease)?;
                self.ring_for_nothing(lease)?;
            }
        }
        for lease in ended {
            self.changed = false;
            self.end(lease)?;
            self.ring_for_nothing(lease)?;
            self.ended.extend(LeaseId::new(lease));
        }
        self.changed = false;
        Ok(())
    }

    fn leases(&self, query: &str, parameters: impl rusqlite::Params) -> Result<Vec<i64>> {
        let mut query = self.db.prepare_cached(query)?;
        let found = query.query_map(parameters, |row| row.get(0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    fn is_alive(&self, lease: i64) -> bool {
        let Some(lease) = LeaseId::new(lease) else {
            return false;
        };
        // Uncertain is alive here: whoever is taken for dead loses the lock.
        life::is_alive(self.folder, lease).unwrap_or(true)
    }

    /// Whether somebody who waits has given no sign of life for its TTL.
    fn is_stopped(&self, lease: i64) -> Result<bool> {
        let Some(patience) = self.patience_with(lease)? else {
            return Ok(false);
        };
        let sign = LeaseId::new(lease).and_then(|lease| life::last_sign(self.folder, lease));
        Ok(sign.is_some_and(|sign| sign + patience <= clock::now()))
    }
}

fn milliseconds(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}
