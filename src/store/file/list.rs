//! Listing: one walk through the folder, in the file system's order.

use std::fs;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cloakroom_formats::DecodeError;

use super::error::{Failure, Task, doing};
use super::folder::{FileName, Found};
use super::{FileStore, Shared};
use crate::site::error::StoreError;
use crate::site::session_key::SessionKey;
use crate::store::listing::{Listed, Paged};
use crate::store::loaded::{Content, Loaded, Version};

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
            names.extend(name.to_str().and_then(|name| self.folder.parse(name)));
        }
        Ok((names, false))
    }

    /// The session in a file; `None` if the file was removed meanwhile.
    fn listed(&self, name: &FileName) -> Option<Listed> {
        let session_key = SessionKey::from_trusted(name.session_key(&self.folder));
        let (expire_date, session) = match self.folder.find(name) {
            Ok(found) => {
                let found = found?;
                match self.read(&found) {
                    Ok((content, expire_date)) => {
                        let version = Version::from_bytes(found.text);
                        let expire_date = Some(expire_date);
                        (expire_date, Ok(Loaded { content, version, expire_date }))
                    }
                    Err(error) => (None, Err(Failure::Unreadable(error))),
                }
            }
            Err(failure) => (None, Err(failure)),
        };
        let session = session.map_err(|failure| failure.explain(&self.folder.path));
        Some(Listed { session_key, expire_date, session })
    }

    /// Decodes a file's content and its session's expiry.
    pub(super) fn read(&self, found: &Found) -> Result<(Content, DateTime<Utc>), DecodeError> {
        match self.decode(found) {
            Ok((data, expire_date)) => Ok((Content::Genuine(data), expire_date)),
            Err(DecodeError::BadSignature) => Ok((Content::NotGenuine, self.usual_end(found.modified))),
            Err(error) => Err(error),
        }
    }
}
