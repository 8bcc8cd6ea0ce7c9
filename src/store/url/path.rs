//! Paths in URLs: `sqlite:`, `file:` and `filecache:`.

use std::path::{Path, PathBuf};

/// A parsed URL: the part between the scheme and `?`, and the part after `?`.
pub(in crate::store) struct PathUrl<'a> {
    pub(in crate::store) scheme: &'a str,
    pub(in crate::store) written: &'a str,
    pub(in crate::store) query: Option<&'a str>,
}

impl<'a> PathUrl<'a> {
    /// Parses a URL of these schemes.
    pub(in crate::store) fn of(url: &'a str) -> Option<PathUrl<'a>> {
        let (address, query) =
            url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
        let (scheme, written) = address.split_once(':')?;
        matches!(scheme, "sqlite" | "file" | "filecache").then_some(PathUrl { scheme, written, query })
    }

    /// The path. In `sqlite:` three slashes begin a relative path, as in Django. In the others the path
    /// after two slashes and a host, which must be this machine, is absolute.
    pub(in crate::store) fn path(&self) -> PathBuf {
        let behind = |prefix| self.written.strip_prefix(prefix);
        let path = match self.scheme {
            "sqlite" => behind("///").or_else(|| behind("//")),
            _ => behind("//localhost").filter(|path| path.starts_with('/')).or_else(|| behind("//")),
        };
        to_path(unquoted(path.unwrap_or(self.written)))
    }

    /// The path if three slashes were meant as the start of an absolute one: when a file exists there, and
    /// none at the relative path.
    pub(in crate::store) fn mistaken(&self, place: &Path) -> Option<PathBuf> {
        let path = self.path();
        if self.scheme != "sqlite" || !self.written.starts_with("///") || path.is_absolute() {
            return None;
        }
        let is_in_folder = path.parent().is_some_and(|folder| !folder.as_os_str().is_empty());
        let other = Path::new("/").join(path);
        let has_folder = |path: &Path| path.parent().is_some_and(Path::is_dir);
        let is_there =
            (other.exists() && !place.exists()) || (is_in_folder && has_folder(&other) && !has_folder(place));
        is_there.then_some(other)
    }
}

/// The URL of a path, with every character percent-encoded that has a meaning in URLs.
pub(super) fn encoded(scheme: &str, path: &Path) -> String {
    let mut url = format!("{scheme}:");
    // Two leading slashes would be read as part of the URL's syntax.
    let bytes = path.as_os_str().as_encoded_bytes();
    let slashes = bytes.iter().take_while(|byte| **byte == b'/').count();
    for chunk in bytes[slashes.saturating_sub(1)..].utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '%' | '?' | '|' => url.push_str(&format!("%{:02X}", u32::from(character))),
                other => url.push(other),
            }
        }
        chunk.invalid().iter().for_each(|byte| url.push_str(&format!("%{byte:02X}")));
    }
    url
}

/// Resolves a relative path in the URL against this folder.
pub(super) fn from_folder(url: &str, folder: &Path) -> String {
    let Some(parts) = PathUrl::of(url) else { return url.to_owned() };
    let path = parts.path();
    let is_relative = path.is_relative() && !path.as_os_str().is_empty() && path != Path::new(":memory:");
    let has_host = parts.scheme != "sqlite" && parts.written.starts_with("//");
    // Opening reports the mistake.
    if !is_relative || has_host || parts.mistaken(&folder.join(&path)).is_some() {
        return url.to_owned();
    }
    let query = parts.query.map(|query| format!("?{query}")).unwrap_or_default();
    encoded(parts.scheme, &folder.join(path)) + &query
}

/// Decodes percent codes. A percent sign without a code stands for itself, as in Python's `unquote`.
pub(super) fn unquoted(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.first_chunk().filter(|_| first == b'%').and_then(|&[high, low]| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(high)? * 16 + digit(low)?).ok()
        });
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    bytes
}

#[cfg(unix)]
fn to_path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn to_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}
