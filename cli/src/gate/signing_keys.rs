//! The keys that sign assertions: which one signs, which are published, and when one replaces another.
//!
//! 1. A new key is made when the newest one is as old as `rotate`.
//! 2. It is published at once and signs `publish_ahead` later. The first key signs at once.
//! 3. The one before it stays published until its last assertion has expired everywhere; then it is deleted.
//!
//! All of it follows from the times in the keys' file names, so that gates that share a folder agree without a word to
//! each other.

pub(crate) mod folder;
pub(crate) mod key;
pub(crate) mod schedule;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::Context;
use serde::Serialize;

use self::folder::KeyFolder;
use self::key::{PublicKey, SigningKey};
use self::schedule::Schedule;

/// The keys of one gate.
pub(crate) struct SigningKeys {
    /// Where they are kept; without it, in memory alone.
    folder: Option<KeyFolder>,
    schedule: Schedule,
    /// From the oldest to the newest, and never empty.
    keys: RwLock<Arc<[Arc<SigningKey>]>>,
    /// Held by who brings them up to date.
    updating: Mutex<()>,
}

impl SigningKeys {
    /// Reads the keys of a folder, and makes the first one if there is none.
    ///
    /// # Errors
    /// When a file cannot be read as a key, when the folder cannot be read or made, or when others can write to it.
    pub(crate) fn open(folder: Option<PathBuf>, schedule: Schedule, now: i64) -> anyhow::Result<SigningKeys> {
        let folder = folder.map(KeyFolder::open).transpose()?;
        SigningKeys::with(folder, schedule, Arc::new([]), now)
    }

    /// The same after a change of the configuration. Keys that are only in memory are taken along.
    pub(crate) fn reopen(
        &self,
        folder: Option<PathBuf>,
        schedule: Schedule,
        now: i64,
    ) -> anyhow::Result<SigningKeys> {
        let folder = folder.map(KeyFolder::open).transpose()?;
        let keys = if folder.is_none() && self.folder.is_none() { self.all() } else { Arc::new([]) };
        SigningKeys::with(folder, schedule, keys, now)
    }

    fn with(
        folder: Option<KeyFolder>,
        schedule: Schedule,
        keys: Arc<[Arc<SigningKey>]>,
        now: i64,
    ) -> anyhow::Result<SigningKeys> {
        let keys = SigningKeys { folder, schedule, keys: RwLock::new(keys), updating: Mutex::new(()) };
        keys.update(now)?;
        Ok(keys)
    }

    /// Reads the folder again, makes a new key when its time has come, and deletes those that are no longer needed.
    ///
    /// # Errors
    /// When a file cannot be read as a key, or the folder cannot be read. The keys stay as they were then.
    pub(crate) fn update(&self, now: i64) -> anyhow::Result<()> {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = self.read()?;
        if self.schedule.needs_key(&keys, now)
            && let Err(error) = self.add_key(&mut keys, now)
        {
            // An old key is better than none. A folder that an operator fills may be read-only.
            if keys.is_empty() {
                return Err(error);
            }
            tracing::error!(
                error = format!("{error:#}"),
                "no new signing key; the one before it stays in use"
            );
        }
        let retired = self.schedule.retired(&keys, now);
        for key in keys.drain(..retired) {
            if let Some(folder) = &self.folder
                && let Err(error) = folder.remove(&key)
            {
                tracing::error!(error = format!("{error:#}"), "a retired signing key is not deleted");
            }
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
        Ok(())
    }

    fn read(&self) -> anyhow::Result<Vec<Arc<SigningKey>>> {
        match &self.folder {
            Some(folder) => folder.read(),
            None => Ok(self.all().to_vec()),
        }
    }

    fn add_key(&self, keys: &mut Vec<Arc<SigningKey>>, now: i64) -> anyhow::Result<()> {
        let Some(folder) = &self.folder else {
            keys.push(Arc::new(SigningKey::generate(now)?.0));
            return Ok(());
        };
        let _lock = folder.lock();
        // Another gate may have made one meanwhile.
        *keys = folder.read()?;
        if self.schedule.needs_key(keys, now) {
            let (key, pem) = SigningKey::generate(now)?;
            folder.add(&key, &pem)?;
            *keys = folder.read()?;
        }
        Ok(())
    }

    fn all(&self) -> Arc<[Arc<SigningKey>]> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key that signs now.
    pub(crate) fn signing(&self, now: i64) -> anyhow::Result<Arc<SigningKey>> {
        let keys = self.all();
        self.schedule.signing(&keys, now).cloned().context("there is no signing key")
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub(crate) fn public_keys(&self) -> String {
        #[derive(Serialize)]
        struct KeySet<'a> {
            keys: Vec<&'a PublicKey>,
        }
        let keys = self.all();
        let set = KeySet { keys: keys.iter().rev().map(|key| &key.public_key).collect() };
        serde_json::to_string(&set).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
