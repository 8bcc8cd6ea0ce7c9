//! Detects files with a secret or a password that others can read.

use std::path::Path;

use cloakroom::store::StoreUrl;

use crate::output::lines::note;

/// Warns once for each file. Mounted secrets of a container are readable for everybody in it, and cause no
/// warning.
#[cfg(unix)]
pub(crate) fn warn_if_others_can_read(path: &Path, what: &str) {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::Mutex;

    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let Ok((real, metadata)) = path.canonicalize().and_then(|real| Ok((real.clone(), real.metadata()?)))
    else {
        return;
    };
    let is_open = metadata.is_file() && metadata.permissions().mode() & 0o077 != 0;
    if is_open && !real.starts_with("/run") && TOLD.lock().is_ok_and(|mut told| told.insert(real)) {
        let path = path.display();
        note(&format!(
            "{path} holds {what}, and other users of this machine can read it; run `chmod 600 {path}`"
        ));
    }
}

#[cfg(not(unix))]
pub(crate) fn warn_if_others_can_read(_path: &Path, _what: &str) {}

/// Whether a store's URL has a password in it.
pub(crate) fn has_password(url: &StoreUrl) -> bool {
    url.expose().split('|').any(|part| {
        let address = part.split_once("://").map_or("", |(_, rest)| rest);
        let user = address.rsplit_once('@').map_or("", |(user, _)| user);
        user.contains(':') || part.contains("password=")
    })
}
