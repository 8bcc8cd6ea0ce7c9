//! The folder in a `file:` URL, and the folder and the names of entries in a `filecache:` URL.

use std::path::PathBuf;

use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::cache::CacheFormat;
use crate::store::url::{Parameters, PathUrl};

/// The folder of a `file:` URL; `None` for `file:` alone.
pub(in crate::store) fn folder(url: &str) -> Result<Option<PathBuf>, StoreError> {
    let wrong = |message: String| Err(StoreError::new("file", StoreErrorKind::Misconfigured, message));
    let Some(parts) = PathUrl::of(url) else { return Ok(None) };
    if parts.query.is_some_and(|query| !query.is_empty()) {
        return wrong(
            "`file:` takes nothing behind `?`; a `?` in the folder's name is written `%3F`".to_owned(),
        );
    }
    path("file", &parts)
}

/// The folder and the names of entries in a `filecache:` URL; `None` for another scheme.
pub(in crate::store) fn cache(url: &str) -> Result<Option<(PathBuf, CacheFormat)>, StoreError> {
    let Some(parts) = PathUrl::of(url).filter(|parts| parts.scheme == "filecache") else { return Ok(None) };
    let (_, mut parameters) = Parameters::of("filecache", url)?;
    let format = CacheFormat::take_names(&mut parameters)?;
    parameters.finish(&CacheFormat::NAMES)?;
    let folder = path("filecache", &parts)?.ok_or_else(|| {
        let message = "`filecache:` takes the folder of Django's FileBasedCache, the LOCATION in CACHES: \
                       `filecache:/path/to/folder`";
        StoreError::new("filecache", StoreErrorKind::Misconfigured, message)
    })?;
    Ok(Some((folder, format)))
}

fn path(scheme: &'static str, parts: &PathUrl<'_>) -> Result<Option<PathBuf>, StoreError> {
    let path = parts.path();
    if parts.written.starts_with("//") && !path.as_os_str().is_empty() && !path.is_absolute() {
        let path = path.display();
        let message = format!(
            "what follows `{scheme}://` is the name of a machine; write `{scheme}:{path}`, or `{scheme}:///{path}` for \
             an absolute path"
        );
        return Err(StoreError::new(scheme, StoreErrorKind::Misconfigured, message));
    }
    Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
}
