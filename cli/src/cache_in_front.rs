//! The cache of a `cached_db:` site, from which Django answers without asking the database.

use std::sync::Arc;

use cloakroom::{Clock, SessionKey, SessionStore, StoreErrorKind, SystemClock};

use crate::lines::note as note_line;
use crate::site::{Site, SiteOptions};

/// The cache itself, as a store. None where there is none, or where it is down: that the store says itself.
pub(crate) async fn open(site: &Site) -> anyhow::Result<Option<Arc<dyn SessionStore>>> {
    let Some((_, cache)) = site.url()?.strip_prefix("cached_db:").and_then(|rest| rest.rsplit_once('|'))
    else {
        return Ok(None);
    };
    match site.connect_to(&with_engine(cache)).await {
        Ok(cache) => Ok(Some(cache)),
        Err(error) => match error.downcast_ref::<cloakroom::StoreError>() {
            Some(error) if error.kind() == StoreErrorKind::Unavailable => Ok(None),
            _ => Err(error),
        },
    }
}

/// The cache's URL, for the entries of Django's `cached_db`.
fn with_engine(cache: &str) -> String {
    let (address, query) = cache.split_once('?').unwrap_or((cache, ""));
    let is_shared = ["redis", "memcached"].iter().any(|scheme| address.starts_with(scheme));
    if !is_shared || query.split('&').any(|part| part.starts_with("engine=")) {
        return cache.to_owned();
    }
    let separator = if query.is_empty() { "" } else { "&" };
    format!("{address}?{query}{separator}engine=cached_db")
}

/// Whether the cache has something of this session that Django would answer with.
pub(crate) async fn holds(cache: &dyn SessionStore, session_key: &SessionKey) -> anyhow::Result<bool> {
    match cache.load(session_key, SystemClock.now()).await {
        Ok(copy) => Ok(copy.is_some_and(|copy| !copy.data.is_empty())),
        Err(error) if error.kind() == StoreErrorKind::Unreadable => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Says, after sessions were ended in a database that an option, the environment or the settings file names, what is left
/// where the site has a cache in front of it. A Django project is asked, and tells.
pub(crate) fn note(options: &SiteOptions, url: &str) {
    let is_database = ["sqlite:", "postgres:", "postgresql:", "mysql:", "mariadb:"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if is_database && options.settings.from_django.is_none() {
        note_line(
            "they are ended in this database. If the site's SESSION_ENGINE is cached_db, Django still answers from its \
             cache: name both, --store 'cached_db:DATABASE|CACHE', and run this again",
        );
    }
}
