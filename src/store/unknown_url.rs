//! The message for a URL that names no store.

/// The schemes that need a feature, and its name.
const FEATURES: [(&str, &str); 11] = [
    ("sqlite", "sqlite"),
    ("file", "file"),
    ("postgres", "postgres"),
    ("postgresql", "postgres"),
    ("mysql", "mysql"),
    ("mariadb", "mysql"),
    ("redis", "redis"),
    ("rediss", "redis-tls"),
    ("redis+cluster", "redis-cluster"),
    ("redis+sentinel", "redis-sentinel"),
    ("memcached", "memcached"),
];

/// Shows the URL only where it is a plain path, as it may hold a password.
pub(super) fn message(url: &str) -> String {
    let (scheme, is_url) = url.split_once(':').map_or((url, false), |(scheme, _)| (scheme, true));
    if let Some((_, feature)) = FEATURES.iter().find(|(known, _)| is_url && *known == scheme) {
        return format!(
            "stores of the scheme `{scheme}:` are not compiled in; add the feature `{feature}` to cloakroom in Cargo.toml"
        );
    }
    // A connection string, such as libpq's, has equals signs and blanks.
    let may_be_secret =
        |letter: char| "@|=?&#'\"".contains(letter) || letter.is_whitespace() || letter.is_control();
    let is_path = !url.is_empty() && !is_url && !url.contains(may_be_secret);
    if is_path {
        return format!(
            "`{url}` is no URL; for a SQLite file write `sqlite:{url}`, for a folder of session files `file:{url}`"
        );
    }
    "this URL names no store; use `memory:`, `cookie:`, `sqlite:PATH` (feature `sqlite`), `file:FOLDER` (feature `file`), \
     `postgres://…` (feature `postgres`), `mysql://…` (feature `mysql`), `redis://…` (feature `redis`), \
     `memcached://…` (feature `memcached`), or `cached_db:DATABASE|CACHE` or `moving:OLD|NEW` made of two of them"
        .to_owned()
}
