//! URLs that name a file or a folder: `sqlite:` and `file:`.

use std::path::{Path, PathBuf};

#[cfg(any(feature = "sqlite", feature = "file"))]
use crate::error::{StoreError, StoreErrorKind};

/// A URL in its parts: what stands between the scheme and `?`, and what stands behind that.
struct Parts<'a> {
    scheme: &'a str,
    written: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// The parts of a URL of these schemes.
    fn of(url: &'a str) -> Option<Parts<'a>> {
        let (address, query) =
            url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
        let (scheme, written) = address.split_once(':')?;
        matches!(scheme, "sqlite" | "file").then_some(Parts { scheme, written, query })
    }

    /// The path. In `sqlite:` three slashes are Django's way of writing a relative one; in `file:` the path behind two
    /// slashes and a host, which is this machine, is absolute.
    fn path(&self) -> PathBuf {
        let behind = |prefix| self.written.strip_prefix(prefix);
        let path = match self.scheme {
            "sqlite" => behind("///").or_else(|| behind("//")),
            _ => behind("//localhost").filter(|path| path.starts_with('/')).or_else(|| behind("//")),
        };
        to_path(unquoted(path.unwrap_or(self.written)))
    }

    /// The path for those who take three slashes for the beginning of an absolute one, when something is
    /// there, and nothing is at the place where the path leads.
    fn mistaken(&self, place: &Path) -> Option<PathBuf> {
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

/// The options of a `sqlite:` URL, for [`SqliteOptions::from_url`](super::sqlite::SqliteOptions::from_url).
#[cfg(feature = "sqlite")]
pub(super) fn sqlite(url: &str) -> Result<super::sqlite::SqliteOptions, StoreError> {
    use std::time::Duration;

    use super::sqlite::Mode;

    let wrong = |message: String| Err(StoreError::new("sqlite", StoreErrorKind::Misconfigured, message));
    let Some(parts) = Parts::of(url).filter(|parts| parts.scheme == "sqlite") else {
        return wrong("a URL of SQLite begins with `sqlite:`".to_owned());
    };
    let path = parts.path();
    if path.as_os_str().is_empty() {
        return wrong("the store sqlite: lacks its file; write sqlite:PATH".to_owned());
    }
    let in_memory = "SQLite in memory is one database for each connection; use `memory:`";
    if path == Path::new(":memory:") {
        return wrong(in_memory.to_owned());
    }
    if let Some(other) = parts.mistaken(&path) {
        let (path, other) = (path.display(), other.display());
        return wrong(format!(
            "`sqlite:///{path}` counts from the working folder, as in Django, and there is no {path} there; for {other} \
             write `sqlite:///{other}` or `sqlite:{other}`"
        ));
    }
    let mut options = super::SqliteStore::options(path);
    for parameter in parts.query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match (name, value) {
            ("mode", "ro") => options.mode = Mode::ReadOnly,
            ("mode", "rw") => options.mode = Mode::ReadWrite,
            ("mode", "rwc") => options.mode = Mode::ReadWriteCreate,
            ("mode", "memory") => return wrong(in_memory.to_owned()),
            ("cache", "private") => {}
            ("timeout", seconds) => {
                match seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
                    Some(timeout) => options.busy_timeout = timeout,
                    None => return wrong(format!("`timeout={seconds}` is no number of seconds")),
                }
            }
            _ => {
                let parameter = super::url::parameter_of_path(parameter);
                return wrong(format!(
                    "`{parameter}` is not known here; behind the `?` of `sqlite:` there may be `mode=ro`, `mode=rw` or \
                     `mode=rwc`, and `timeout=SECONDS`. A `?` in the file's name is written `%3F`"
                ));
            }
        }
    }
    Ok(options)
}

/// The folder of a `file:` URL; none for `file:` alone.
#[cfg(feature = "file")]
pub(super) fn folder(url: &str) -> Result<Option<PathBuf>, StoreError> {
    let wrong = |message: String| Err(StoreError::new("file", StoreErrorKind::Misconfigured, message));
    let Some(parts) = Parts::of(url) else { return Ok(None) };
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

/// The URL of a path, for [`connect`](super::connect): `sqlite` or `file`, and the path with what means something in a
/// URL percent-encoded.
///
/// ```
/// use std::path::Path;
/// use cloakroom::store::path_url;
///
/// assert_eq!(path_url("sqlite", Path::new("/srv/site/db.sqlite3")), "sqlite:/srv/site/db.sqlite3");
/// assert_eq!(path_url("file", Path::new("100% ours?")), "file:100%25 ours%3F");
/// ```
pub fn path_url(scheme: &str, path: &Path) -> String {
    let mut url = format!("{scheme}:");
    // What begins with two slashes would be the URL's own.
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

/// The URL of the same store with a relative path counted from this folder, also inside of `cached_db:` and `moving:`. For URLs in a
/// file of settings, whose paths count from where that file lies.
///
/// ```
/// use std::path::Path;
/// use cloakroom::store::url_from_folder;
///
/// let from = |url| url_from_folder(url, Path::new("/srv/site"));
/// assert_eq!(from("sqlite:db.sqlite3"), "sqlite:/srv/site/db.sqlite3");
/// assert_eq!(from("sqlite:///db.sqlite3?mode=ro"), "sqlite:/srv/site/db.sqlite3?mode=ro");
/// assert_eq!(from("cached_db:sqlite:db.sqlite3|file:copies"), "cached_db:sqlite:/srv/site/db.sqlite3|file:/srv/site/copies");
/// for absolute in ["sqlite:/db.sqlite3", "sqlite:////db.sqlite3", "file:///sessions", "redis://cache/1"] {
///     assert_eq!(from(absolute), absolute);
/// }
/// ```
pub fn url_from_folder(url: &str, folder: &Path) -> String {
    if let Some((database, cache)) = url.strip_prefix("cached_db:").and_then(|rest| rest.rsplit_once('|')) {
        return format!("cached_db:{}|{}", url_from_folder(database, folder), url_from_folder(cache, folder));
    }
    if let Some(rest) = url.strip_prefix("moving:")
        && let Some((old, new)) = super::moving::two_urls(rest)
    {
        let bar = &rest[old.len()..rest.len() - new.len()];
        return format!("moving:{}{bar}{}", url_from_folder(old, folder), url_from_folder(new, folder));
    }
    let Some(parts) = Parts::of(url) else { return url.to_owned() };
    let path = parts.path();
    let is_relative = path.is_relative() && !path.as_os_str().is_empty() && path != Path::new(":memory:");
    let has_host = parts.scheme == "file" && parts.written.starts_with("//");
    // Opening tells of the mistake.
    if !is_relative || has_host || parts.mistaken(&folder.join(&path)).is_some() {
        return url.to_owned();
    }
    let query = parts.query.map(|query| format!("?{query}")).unwrap_or_default();
    path_url(parts.scheme, &folder.join(path)) + &query
}

/// Without the percent signs. One that begins no code stands for itself, as in Python's `unquote`.
fn unquoted(text: &str) -> Vec<u8> {
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

#[cfg(all(test, feature = "sqlite", feature = "file"))]
mod tests {
    use super::super::sqlite::Mode;
    use super::*;

    #[test]
    fn paths_are_those_of_django_and_of_file_urls() {
        for (url, path) in [
            ("sqlite:db.sqlite3", "db.sqlite3"),
            ("sqlite:/db.sqlite3", "/db.sqlite3"),
            ("sqlite://db.sqlite3", "db.sqlite3"),
            ("sqlite://nowhere/db.sqlite3", "nowhere/db.sqlite3"),
            ("sqlite:///db.sqlite3", "db.sqlite3"),
            ("sqlite:///./db.sqlite3", "./db.sqlite3"),
            ("sqlite:////nowhere/db.sqlite3", "/nowhere/db.sqlite3"),
            ("sqlite:a%20b%3Fc%25.sqlite3", "a b?c%.sqlite3"),
            ("sqlite:100%.sqlite3", "100%.sqlite3"),
            ("sqlite:db.sqlite3?mode=rwc", "db.sqlite3"),
        ] {
            assert_eq!(sqlite(url).unwrap().path, Path::new(path), "{url}");
        }
        for (url, path) in [
            ("file:", None),
            ("file://", None),
            ("file:sessions", Some("sessions")),
            ("file:/srv/sessions", Some("/srv/sessions")),
            ("file:///srv/ses%20sions", Some("/srv/ses sions")),
            ("file://localhost/srv/sessions", Some("/srv/sessions")),
        ] {
            assert_eq!(folder(url).unwrap().as_deref(), path.map(Path::new), "{url}");
        }
    }

    #[test]
    fn what_stands_behind_the_question_mark_is_heeded_or_refused_by_name() {
        let options = sqlite("sqlite:db?mode=ro&timeout=0.5&cache=private").unwrap();
        assert_eq!((options.mode, options.busy_timeout.as_millis()), (Mode::ReadOnly, 500));
        assert_eq!(sqlite("sqlite:db?mode=rw").unwrap().mode, Mode::ReadWrite);
        for (url, part) in [
            ("sqlite:db?cache=shared", "`cache=shared` is not known here"),
            ("sqlite:db?mode=rwx", "`mode=rwx` is not known here"),
            ("sqlite:db?key=hunter2", "`key=…` is not known here"),
            ("sqlite:db?timeout=-1", "`timeout=-1` is no number of seconds"),
            ("sqlite:db?mode=memory", "use `memory:`"),
            ("sqlite::memory:", "use `memory:`"),
            ("sqlite:///:memory:", "use `memory:`"),
            ("sqlite://", "lacks its file"),
            ("file:db", "begins with `sqlite:`"),
        ] {
            let message = sqlite(url).unwrap_err().to_string();
            assert!(message.contains(part), "{url}: {message}");
        }
        assert!(folder("file:sessions?mode=ro").unwrap_err().to_string().contains("%3F"));
        let message = folder("file://srv/sessions").unwrap_err().to_string();
        assert!(message.contains("`file:srv/sessions`, or `file:///srv/sessions`"), "{message}");
    }

    /// Nothing is made or opened where the other reading of three slashes was meant.
    #[test]
    fn three_slashes_before_an_absolute_path_are_explained() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("db.sqlite3");
        let url = format!("sqlite://{}", path.display());
        for exists in [false, true] {
            let message = sqlite(&url).unwrap_err().to_string();
            let both = format!("write `sqlite:///{0}` or `sqlite:{0}`", path.display());
            assert!(message.contains(&both), "{message}");
            assert_eq!(url_from_folder(&url, Path::new("/nowhere")), url);
            assert_eq!(path.exists(), exists);
            std::fs::write(&path, "").unwrap();
        }
        for right in [format!("sqlite:///{}", path.display()), format!("sqlite:{}", path.display())] {
            assert_eq!(sqlite(&right).unwrap().path, path);
        }
    }

    #[test]
    fn any_path_comes_back_from_its_url() {
        use std::os::unix::ffi::OsStrExt;

        for name in
            [&b"db.sqlite3"[..], b"/a/b", b"a|b?c%41", b"100%", b"\xff\xfe", "\u{e4}".as_bytes(), b"//a"]
        {
            let path = Path::new(std::ffi::OsStr::from_bytes(name));
            let url = path_url("sqlite", path);
            assert_eq!(sqlite(&url).unwrap().path, path, "{url}");
            assert_eq!(folder(&path_url("file", path)).unwrap().as_deref(), Some(path));
        }
    }
}
