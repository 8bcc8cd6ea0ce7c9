//! The cache of a `cached_db:` site, from which Django answers without asking the database.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::store::{StoreScheme, StoreUrl, StoreUrlParts};
use cloakroom::{Clock, SessionKey, SessionStore, StoreErrorKind, SystemClock};

use crate::output::lines::note as note_line;
use crate::site::{Site, SiteOptions};

/// The state of a site's cache.
pub(crate) enum Front {
    /// There is no cache.
    Missing,
    Cache(Arc<dyn SessionStore>),
    /// The cache does not answer.
    Down(anyhow::Error),
}

impl Front {
    /// The cache, if it answers.
    pub(crate) fn cache(&self) -> Option<&Arc<dyn SessionStore>> {
        match self {
            Front::Cache(cache) => Some(cache),
            Front::Missing | Front::Down(_) => None,
        }
    }
}

pub(crate) async fn open(site: &Site) -> anyhow::Result<Front> {
    open_of(site, site.url()?).await
}

/// The stores that a URL names: two for a moving site, otherwise one.
pub(crate) fn stores(url: &StoreUrl) -> anyhow::Result<Vec<StoreUrl>> {
    Ok(match url.parts()? {
        StoreUrlParts::Moving { old, new } => vec![old, new],
        _ => vec![url.clone()],
    })
}

/// Opens the cache of one of the site's stores.
pub(crate) async fn open_of(site: &Site, url: &StoreUrl) -> anyhow::Result<Front> {
    let StoreUrlParts::CachedDb { cache, .. } = url.parts()? else { return Ok(Front::Missing) };
    match site.connect_to(&cache).await {
        Ok(cache) => Ok(Front::Cache(cache)),
        Err(error) => match error.downcast_ref::<cloakroom::StoreError>() {
            Some(store) if store.kind() == StoreErrorKind::Unavailable => Ok(Front::Down(error)),
            _ => Err(error),
        },
    }
}

/// Whether the cache has a copy of this session with which Django would answer.
pub(crate) async fn holds(cache: &dyn SessionStore, session_key: &SessionKey) -> anyhow::Result<bool> {
    match cache.load(session_key, SystemClock.now()).await {
        Ok(copy) => Ok(copy.is_some_and(|copy| copy.data().is_some_and(|data| !data.is_empty()))),
        Err(error) if error.kind() == StoreErrorKind::Unreadable => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Notes, after sessions were ended in a database from an option, the environment or the settings file, that
/// a cache in front of it may still have copies. A Django project's settings tell about its cache, so there
/// no note is needed.
pub(crate) fn note(options: &SiteOptions, url: &StoreUrl) {
    let is_table = url.scheme().is_some_and(StoreScheme::is_database) && !url.is_cache();
    if is_table && options.settings.from_django.is_none() {
        note_line(
            "they are ended in this database. If the site's SESSION_ENGINE is cached_db, Django still answers from its \
             cache: `cloakroom revoke --user ID` or `cloakroom delete KEY` with --store 'cached_db:DATABASE|CACHE' ends \
             them there",
        );
    }
}

/// How long a Django request may take that read a row before its deletion, and then puts it into the cache.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Waits for requests in progress.
pub(crate) async fn wait() {
    tokio::time::sleep(UNDER_WAY).await;
}

/// Ends those of these sessions again that such a request has put back into the cache.
pub(crate) async fn end_again(
    store: &dyn SessionStore,
    front: &Front,
    keys: &[SessionKey],
) -> anyhow::Result<()> {
    let Some(cache) = front.cache().filter(|_| !keys.is_empty()) else { return Ok(()) };
    wait().await;
    for key in keys {
        if holds(&**cache, key).await? {
            store.delete(key).await?;
        }
    }
    Ok(())
}
