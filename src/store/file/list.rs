//! Listing: one walk through the folder, in the file system's order.

use std::fs;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::error::{Failure, Task, doing};
use super::names::FileName;
use super::{FileStore, Shared};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Listed, Paged};
use crate::store::loaded::{Loaded, Version};

/// The walk, shared with the listing.
type Walk = Arc<Mutex<fs::ReadDir>>;

#[async_trait]
impl Paged<Listed> for FileStore {
    type Place = Walk;

    async fn page(
        &self,
        after: Option<&Walk>,
        limit: usize,
        _now: DateTime<Utc>,
    ) -> Result<(Vec<Listed>, Option<Walk>), StoreError> {
        let walk = after.cloned();
        self.work(move |shared| {
            let walk = walk.map_or_else(|| shared.walk(), Ok)?;
            let (page, is_done) = shared.page(&walk, limit)?;
            Ok((page, (!is_done).then_some(walk)))
        })
        .await
    }
}

impl Shared {
    fn walk(&self) -> Task<Walk> {
        self.folder.must_be_there()?;
        let entries = fs::read_dir(&self.folder.path).map_err(doing("read the folder"))?;
        Ok(Arc::new(Mutex::new(entries)))
    }

    /// Returns the next sessions, and whether the walk has ended.
    fn page(&self, walk: &Walk, limit: usize) -> Task<(Vec<Listed>, bool)> {
        let (names, is_done) = self.names(walk, limit)?;
        // Outside of the lock, because reading may log a warning, and log subscribers are application code.
        Ok((names.iter().filter_map(|name| self.listed(name)).collect(), is_done))
    }

    fn names(&self, walk: &Walk, limit: usize) -> Task<(Vec<FileName>, bool)> {
        let mut entries = crate::site::lock::lock(walk);
        let mut names = Vec::new();
        while names.len() < limit {
            let Some(entry) = entries.next() else { return Ok((names, true)) };
            let name = entry.map_err(doing("read the folder"))?.file_name();
            // Session file names are ASCII.
            names.extend(name.to_str().and_then(|name| self.folder.names.parse(name)));
        }
        Ok((names, false))
    }

    /// The session in a file; `None` if the file was removed meanwhile.
    fn listed(&self, name: &FileName) -> Option<Listed> {
        let session_key = SessionKey::from_trusted(self.folder.names.session_key(name)?);
        let (expire_date, session) = match self.folder.find(name) {
            Ok(found) => {
                let found = found?;
                let read = self.contents.read(&found);
                let (version, expire_date) = (Version::from_bytes(found.text), read.expire_date);
                let file = self.folder.names.shown(name);
                match read.content {
                    Ok(content) => (expire_date, Ok(Loaded { content: content?, version, expire_date })),
                    Err(error) => (expire_date, Err(Failure::Unreadable { error, file })),
                }
            }
            Err(failure) => (None, Err(failure)),
        };
        let session = session.map_err(|failure| failure.explain(&self.folder));
        Some(Listed { session_key, expire_date, session })
    }
}
