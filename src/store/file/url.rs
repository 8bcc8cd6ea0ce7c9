//! The folder in a `file:` URL.

use std::path::PathBuf;

use crate::site::error::{StoreError, StoreErrorKind};
use crate::store::url::PathUrl;

/// The folder of a `file:` URL; `None` for `file:` alone.
pub(in crate::store) fn folder(url: &str) -> Result<Option<PathBuf>, StoreError> {
    let wrong = |message: String| Err(StoreError::new("file", StoreErrorKind::Misconfigured, message));
    let Some(parts) = PathUrl::of(url) else { return Ok(None) };
    if parts.query.is_some_and(|query| !query.is_empty()) {
        return wrong(
            "`file:` takes nothing behind `?`; a `?` in the folder's name is written `%3F`".to_owned(),
        );
    }
    let path = parts.path();
    if parts.written.starts_with("//") && !path.as_os_str().is_empty() && !path.is_absolute() {
        let path = path.display();
        return wrong(format!(
            "what follows `file://` is the name of a machine; write `file:{path}`, or `file:///{path}` for an absolute \
             path"
        ));
    }
    Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
}
